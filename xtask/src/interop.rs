//! The step of `ci` in which independent programs are the peers of the real binary.
//!
//! The tests themselves are in `cli/tests`: `interop.rs`, `interop_h2.rs`, `addresses.rs` (Unix
//! sockets, IPv6), `dead_peers.rs` (peers that vanish, in a network namespace) and `parsers.rs`
//! (situations of other parsers' test suites; `test` runs them as well), and `grpcio.rs` in
//! `mock/tests`. This gives them the Python
//! interpreter and the length of the load runs. A program that is absent fails its test.

use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{python, run};

/// Runs the interop tests with load runs of `seconds`, and grpcio against the mock.
pub(crate) fn main(workspace: &Workspace, seconds: u32) -> anyhow::Result<Tally> {
    let cargo = ["test", "--no-fail-fast", "-p", "cli", "--features", "interop"];
    let targets = ["interop", "interop_h2", "addresses", "dead_peers", "parsers"];
    let targets = targets.map(|target| ["--test", target]).concat();
    let mut command = run::cargo(workspace, &[&cargo[..], &targets].concat());
    command.env("RINGWAY_PYTHON", workspace.path(python::VENV_PYTHON));
    command.env("RINGWAY_INTEROP_SECONDS", seconds.to_string());
    let mut tally = run::tests(command)?;
    let mock = ["test", "-p", "mock", "--features", "interop", "--test", "grpcio"];
    let mut command = run::cargo(workspace, &mock);
    command.env("RINGWAY_PYTHON", workspace.path(python::VENV_PYTHON));
    tally.add(run::tests(command)?);
    Ok(tally)
}
