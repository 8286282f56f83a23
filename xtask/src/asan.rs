//! The tests under AddressSanitizer: engine, protocols, the simulator and the end-to-end tests of
//! the real binary.
//!
//! It needs the nightly compiler (`-Z sanitizer`) and its own build folder. Leaks are not reported:
//! the exit of a ring with operations in flight leaks its region on purpose and counts it (I5), and
//! that count has its own tests.

use std::process::Command;

use crate::run;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The target is named so that build scripts and procedural macros are not instrumented.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Each line is one cargo test run. The harness of documentation tests does not take the flags, so
/// they are left out. `engine/asan` poisons the pool's pages that nobody may look at.
const RUNS: &[&[&str]] = &[
    &["-p", "engine", "--features", "asan,sim", "--lib", "--tests"],
    &["-p", "protocols", "-p", "router", "-p", "lanes", "-p", "observe", "-p", "control", "--lib"],
    &["-p", "gateway", "--features", "engine/asan", "--lib", "--tests"],
    &["-p", "cli", "--features", "asan", "--test", "e2e*", "--", "--skip", KEEPS_MEMORY],
];

/// It waits for freed memory to go back to the system; the sanitizer keeps 256 MiB of it, to see
/// who still uses it.
const KEEPS_MEMORY: &str = "memory_near_its_limit";

/// Runs every line of the table.
pub(crate) fn main(workspace: &Workspace, seeds: u32) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for scope in RUNS {
        let mut args = vec!["test", "--no-fail-fast", "--target", TARGET];
        args.extend_from_slice(scope);
        let mut command = run::cargo_nightly(workspace, &args);
        instrument(&mut command, workspace);
        command.env("RINGWAY_SEEDS", seeds.to_string());
        tally.add(run::tests(command)?);
    }
    Ok(tally)
}

fn instrument(command: &mut Command, workspace: &Workspace) {
    command.env("RUSTFLAGS", "-Zsanitizer=address -Cforce-frame-pointers=yes");
    command.env("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=1:symbolize=1");
    command.env("CARGO_TARGET_DIR", workspace.target().join("asan"));
}
