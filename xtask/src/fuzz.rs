//! Runs every fuzz target for a number of inputs; a crash fails, and so does an empty list of
//! targets.
//!
//! Targets are one line each in `fuzz/`, around the `fuzz_*` functions beside the parsers. Work is
//! counted in inputs, not in seconds, so that a slow machine tests as much as a fast one.

use anyhow::ensure;

use crate::run;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Longest input in bytes: more is not needed to reach every state.
const INPUT_BYTES_MAX: u32 = 8192;
/// Longest script of two wires: 256 steps. All messages so far are checked after each, so that the
/// cost grows with the square, and ten million scripts of 4 096 steps would take days.
const SCRIPT_BYTES_MAX: u32 = 512;

/// `inputs` for each target, under `sanitizer` (`address`, or `none`: several times faster). A
/// target is one step of the tally.
pub(crate) fn main(workspace: &Workspace, inputs: u64, sanitizer: &str) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for target in targets(workspace)? {
        let runs = format!("-runs={inputs}");
        let is_script = target.ends_with("_pair");
        let bytes_max = if is_script { SCRIPT_BYTES_MAX } else { INPUT_BYTES_MAX };
        let max_len = format!("-max_len={bytes_max}");
        let args = ["fuzz", "run", "--sanitizer", sanitizer, &target, "--", &runs, &max_len];
        let succeeded = run::succeeds(run::cargo_nightly(workspace, &args))?;
        println!("fuzz {target}: {}", if succeeded { "ok" } else { "FAILED" });
        tally.add(Tally::step(succeeded));
    }
    Ok(tally)
}

fn targets(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let listed = run::captured(run::cargo_nightly(workspace, &["fuzz", "list"]))?;
    let targets: Vec<String> = listed.text.lines().map(str::to_owned).collect();
    ensure!(listed.succeeded && !targets.is_empty(), "fuzz/ lists no targets");
    Ok(targets)
}
