//! `cargo xtask test`: every unit, property, simulator and end-to-end test that needs nothing but
//! the toolchain.
//!
//! It is plain `cargo test` over the workspace plus a count. The simulator draws `RINGWAY_SEEDS`
//! seeds (its own default when unset); a failing seed is printed by it and replayed with
//! `RINGWAY_SEED=`. Tests that need other programs (interop, soak) are behind features of `cli` and
//! are not built here.

use crate::run;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Runs the tests; further arguments are handed to cargo, such as `-p engine`.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> anyhow::Result<Tally> {
    let scope = if args.is_empty() { vec!["--workspace".to_owned()] } else { args.to_vec() };
    let mut arguments = vec!["test", "--no-fail-fast"];
    arguments.extend(scope.iter().map(String::as_str));
    run::tests(run::cargo(workspace, &arguments))
}
