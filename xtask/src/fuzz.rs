//! Runs every fuzz target for a number of inputs; a crash fails, and so does an empty list of
//! targets.
//!
//! Targets are one line each in `fuzz/`, around the `fuzz_*` functions beside the parsers. Work is
//! counted in inputs, not in seconds, so that a slow machine tests as much as a fast one.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, ensure};

use crate::run;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// Longest input in bytes: more is not needed to reach every state.
const INPUT_BYTES_MAX: u32 = 8192;
/// Longest script of two wires: 256 steps. All messages so far are checked after each, so that the
/// cost grows with the square, and ten million scripts of 4 096 steps would take days.
const SCRIPT_BYTES_MAX: u32 = 512;

/// What is told of a target that has ended.
pub(crate) type Ended<'a> = &'a (dyn Fn(&str, Tally, Duration) -> anyhow::Result<()> + Sync);

/// How many inputs a target gets.
pub(crate) type Inputs<'a> = &'a (dyn Fn(&str) -> u64 + Sync);

/// `inputs` for each target, under `sanitizer` (`address`, or `none`: several times faster). As
/// many targets run at a time as there are cores; each is one step of the tally.
pub(crate) fn main(workspace: &Workspace, inputs: u64, sanitizer: &str) -> anyhow::Result<Tally> {
    run(workspace, &[], (&|_| inputs, sanitizer), &|_, _, _| Ok(()))
}

/// As [`main`], of some targets only unless none is named, each with its own number of inputs.
pub(crate) fn run(
    workspace: &Workspace,
    only: &[String],
    (inputs, sanitizer): (Inputs<'_>, &str),
    ended: Ended<'_>,
) -> anyhow::Result<Tally> {
    let mut targets = targets(workspace)?;
    if let Some(unknown) = only.iter().find(|name| !targets.contains(name)) {
        bail!("no fuzz target `{unknown}`");
    }
    targets.retain(|target| only.is_empty() || only.contains(target));
    // Once, so that the jobs below find everything built.
    let build = ["fuzz", "build", "--sanitizer", sanitizer];
    ensure!(run::succeeds(run::cargo_nightly(workspace, &build))?, "fuzz targets do not build");
    let next = AtomicUsize::new(0);
    let job = || -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        while let Some(target) = targets.get(next.fetch_add(1, Relaxed)) {
            let started = Instant::now();
            let one = one(workspace, target, inputs(target), sanitizer)?;
            ended(target, one, started.elapsed())?;
            tally.add(one);
        }
        Ok(tally)
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let ended = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..cores).map(|_| scope.spawn(job)).collect();
        jobs.into_iter().map(|job| job.join()).collect::<Vec<_>>()
    });
    let mut tally = Tally::default();
    for job in ended {
        tally.add(job.unwrap_or_else(|_| Err(anyhow!("a fuzz job panicked")))?);
    }
    Ok(tally)
}

fn one(workspace: &Workspace, target: &str, inputs: u64, sanitizer: &str) -> anyhow::Result<Tally> {
    let runs = format!("-runs={inputs}");
    let is_script = target.ends_with("_pair");
    let bytes_max = if is_script { SCRIPT_BYTES_MAX } else { INPUT_BYTES_MAX };
    let max_len = format!("-max_len={bytes_max}");
    let args = ["fuzz", "run", "--sanitizer", sanitizer, target, "--", &runs, &max_len];
    let succeeded = run::succeeds(run::cargo_nightly(workspace, &args))?;
    println!("fuzz {target}: {}", if succeeded { "ok" } else { "FAILED" });
    Ok(Tally::step(succeeded))
}

fn targets(workspace: &Workspace) -> anyhow::Result<Vec<String>> {
    let listed = run::captured(run::cargo_nightly(workspace, &["fuzz", "list"]))?;
    let targets: Vec<String> = listed.text.lines().map(str::to_owned).collect();
    ensure!(listed.succeeded && !targets.is_empty(), "fuzz/ lists no targets");
    Ok(targets)
}
