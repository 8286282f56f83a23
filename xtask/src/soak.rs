//! `cargo xtask soak`: the long runs, and the report of the last ones in `docs/soak.md`.
//!
//! `soak STEP..` runs only those steps, `soak fuzz/TARGET..` only those fuzz targets. Each section
//! of the report names the commit it ran on, so a partial run renews its own sections and leaves
//! the others. A fuzz target has a section of its own, written as soon as it has ended.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::release::Profile;
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{fuzz, interop, mutants, release, run, tools};

struct Step {
    name: &'static str,
    what: &'static str,
    run: Run,
}

#[derive(Clone, Copy)]
enum Run {
    /// One section.
    Whole(fn(&Workspace) -> anyhow::Result<Outcome>),
    /// A section for each part; all parts when none is named.
    Parts(fn(&Workspace, &[String]) -> anyhow::Result<Tally>),
}

use Run::{Parts, Whole};

/// What a step came to, and the lines of its output worth keeping.
struct Outcome {
    tally: Tally,
    figures: String,
}

const STEPS: &[Step] = &[
    Step { name: "simulator", what: "20 000 seeds, release build", run: Whole(simulator) },
    Step { name: "memory", what: "Private memory per idle connection", run: Whole(memory) },
    Step { name: "slow", what: "What slow clients cost the others", run: Whole(slow) },
    Step { name: "floods", what: "What floods cost the others, beside nginx", run: Whole(floods) },
    Step { name: "peers", what: "interop with load runs of 10 s", run: Whole(peers) },
    Step {
        name: "versus",
        what: "CPU per request beside nginx, HAProxy and Envoy",
        run: Whole(versus),
    },
    Step { name: "rules", what: "A million routes, and changes of them", run: Whole(rules) },
    Step { name: "streams", what: "Streams of gRPC held through reloads", run: Whole(streams) },
    Step { name: "mutants", what: "planted faults", run: Whole(planted) },
    Step { name: "fuzz", what: "10 million inputs a parser of peers' bytes", run: Parts(parsers) },
];

const SIMULATOR_SEEDS: &str = "20000";
/// Inputs of a parser that sees what a peer sent.
const FUZZ_INPUTS: u64 = 10_000_000;
/// Inputs of what operators alone feed: each makes tables of rules, at up to 10 ms.
const FUZZ_INPUTS_OPERATORS: u64 = 200_000;
const FED_BY_OPERATORS: [&str; 5] = ["config", "journal", "route_changes", "route_lines", "table"];
const PEERS_SECONDS: u32 = 10;
/// What is spoken, and the bytes that an idle connection may cost.
const FRONTS: [(&str, &str); 3] = [("plain", "1024"), ("tls", "12288"), ("h2", "9216")];
/// Cases of each of the table's properties, over a million in all; those that make large trees or
/// tables take a 16th of them.
const TABLE_CASES: &str = "320000";
const REPORT: &str = "docs/soak.md";

/// Runs all steps or those named, and renews their sections of the report.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> anyhow::Result<Tally> {
    for name in args {
        ensure!(position(name).is_some(), "no step `{name}`");
    }
    tools::require(workspace, &[tools::CI, tools::SOAK].concat())?;
    let mut tally = Tally::default();
    for step in STEPS {
        let parts: Vec<String> = args.iter().filter_map(|name| part(name, step)).collect();
        if !args.is_empty() && parts.is_empty() && !args.contains(&step.name.into()) {
            continue;
        }
        println!("\n=== {}: {}", step.name, step.what);
        tally.add(match step.run {
            Whole(run) => whole(workspace, step, run)?,
            Parts(run) => run(workspace, &parts)?,
        });
    }
    Ok(tally)
}

/// Place of a step among all; a part is named behind its step.
fn position(name: &str) -> Option<usize> {
    let (of, part) = name.split_once('/').unwrap_or((name, ""));
    let is_it = |step: &Step| step.name == of && (part.is_empty() || matches!(step.run, Parts(_)));
    STEPS.iter().position(is_it)
}

/// Which part of a step a name means.
fn part(name: &str, step: &Step) -> Option<String> {
    let (of, part) = name.split_once('/')?;
    (of == step.name).then(|| part.to_owned())
}

fn whole(
    workspace: &Workspace,
    step: &Step,
    run: fn(&Workspace) -> anyhow::Result<Outcome>,
) -> anyhow::Result<Tally> {
    let started = Instant::now();
    let outcome = run(workspace).unwrap_or_else(|error| Outcome {
        tally: Tally::one_failed(),
        figures: format!("{error:#}\n"),
    });
    let section = section(workspace, step.name, step.what, &outcome, started.elapsed());
    record(workspace, step.name, &section)?;
    Ok(outcome.tally)
}

fn section(
    workspace: &Workspace,
    name: &str,
    what: &str,
    outcome: &Outcome,
    took: Duration,
) -> String {
    let kernel = first_line(workspace, "uname", &["-sr"]);
    let mut commit = first_line(workspace, "git", &["rev-parse", "--short=12", "HEAD"]);
    // The report itself is being written by the steps before.
    let changed = ["status", "--porcelain", "--", ".", ":!docs/soak.md"];
    if !first_line(workspace, "git", &changed).is_empty() {
        commit.push_str("-dirty");
    }
    let figures = match outcome.figures.as_str() {
        "" => String::new(),
        figures => format!("\n```text\n{figures}```\n"),
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let (seconds, tally) = (took.as_secs(), outcome.tally);
    format!(
        "## {name}\n\n{what}. Commit {commit}, {kernel}, {cores} cores, {seconds} s: {tally}.\n\
         {figures}"
    )
}

fn first_line(workspace: &Workspace, program: &str, args: &[&str]) -> String {
    let output = run::command(workspace, program, args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}

fn record(workspace: &Workspace, name: &str, section: &str) -> anyhow::Result<()> {
    let path = workspace.path(REPORT);
    let old = fs::read_to_string(&path).unwrap_or_default();
    fs::create_dir_all(workspace.path("docs"))?;
    fs::write(&path, renewed(&old, name, section))?;
    Ok(())
}

const HEADING: &str = "# The last long runs\n\nWritten by `cargo xtask soak`; \
                       each section names the commit it ran on.\n";

/// The report with one section replaced, or added, in the order of `STEPS` and of names.
fn renewed(report: &str, name: &str, section: &str) -> String {
    let place = |name: &str| position(name).map(|at| (at, name.to_owned()));
    let old = report.split("\n## ").skip(1).filter_map(|text| {
        let name = place(text.lines().next()?)?;
        Some((name, format!("## {}\n", text.trim_end())))
    });
    let mut sections: BTreeMap<(usize, String), String> = old.collect();
    sections.extend(place(name).map(|name| (name, section.to_owned())));
    let sections = sections.values().map(|section| format!("\n{section}"));
    format!("{HEADING}{}", sections.collect::<String>())
}

fn simulator(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let args = [
        "test",
        "--release",
        "-p",
        "gateway",
        "--features",
        "sim",
        "--test",
        "sim",
        "--",
        "--nocapture",
    ];
    let mut command = run::cargo(workspace, &args);
    command.env("RINGWAY_SEEDS", SIMULATOR_SEEDS).env("RINGWAY_SEED_FIRST", "1");
    tests_with_figures(command)
}

fn memory(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let mut sum = Outcome { tally: Tally::default(), figures: String::new() };
    for (front, limit_bytes) in FRONTS {
        let mut command = release::script(workspace, "scripts/memory.sh", Profile::Dist)?;
        command.args(["--front", front, "--limit-bytes", limit_bytes]);
        let outcome = measured(command)?;
        sum.tally.add(outcome.tally);
        sum.figures.push_str(&outcome.figures);
    }
    Ok(sum)
}

fn slow(workspace: &Workspace) -> anyhow::Result<Outcome> {
    script(workspace, "scripts/slow.sh")
}

fn floods(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let mut command = release::script(workspace, "scripts/floods.sh", Profile::Dist)?;
    // Neighbours' time slices are as long as the turns that are judged.
    command.arg("--realtime");
    measured(command)
}

/// 10 000 streams over 100 connections, 1 000 reloads.
fn streams(workspace: &Workspace) -> anyhow::Result<Outcome> {
    script(workspace, "scripts/streams.sh")
}

fn versus(workspace: &Workspace) -> anyhow::Result<Outcome> {
    script(workspace, "scripts/versus.sh")
}

/// A measuring script with the release binaries; its output is the figures.
fn script(workspace: &Workspace, path: &str) -> anyhow::Result<Outcome> {
    measured(release::script(workspace, path, Profile::Dist)?)
}

/// Runs a program whose output is the figures.
fn measured(command: Command) -> anyhow::Result<Outcome> {
    let captured = run::captured(command)?;
    Ok(Outcome { tally: Tally::step(captured.succeeded), figures: captured.text })
}

/// What a million routes cost, in a simulated shard and in a real gateway; what changes of them
/// cost, and what a kill loses; and whether the table is right.
fn rules(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let bench = run::cargo(workspace, &["bench", "-p", "gateway", "--bench", "rules"]);
    let mut changes = release::script(workspace, "scripts/changes.sh", Profile::Dist)?;
    changes.arg("--realtime");
    let properties = ["test", "--release", "-p", "router", "--lib", "table::"];
    let mut properties = run::cargo(workspace, &properties);
    properties.env("RINGWAY_CASES", TABLE_CASES);
    let parts = [
        measured(bench)?,
        script(workspace, "scripts/rules.sh")?,
        measured(changes)?,
        tests_with_figures(properties)?,
    ];
    let mut all = Outcome { tally: Tally::default(), figures: String::new() };
    for part in parts {
        all.tally.add(part.tally);
        all.figures.push_str(&part.figures);
    }
    Ok(all)
}

/// Runs tests that print their figures; the harness's own progress lines are not figures.
fn tests_with_figures(command: Command) -> anyhow::Result<Outcome> {
    let captured = run::captured(command)?;
    let mut tally = Tally::default();
    captured.text.lines().for_each(|line| tally.read_line(line));
    let is_figure = |line: &&str| !line.is_empty() && !line.starts_with("running ");
    let mut figures = String::new();
    for line in captured.text.lines().filter(is_figure) {
        figures.push_str(line);
        figures.push('\n');
    }
    Ok(Outcome { tally: tally.settled(captured.succeeded), figures })
}

fn peers(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let tally = interop::main(workspace, PEERS_SECONDS)?;
    Ok(Outcome { tally, figures: format!("{tally}\n") })
}

fn planted(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let tally = mutants::main(workspace, &[])?;
    Ok(Outcome { tally, figures: format!("caught, survived: {tally}\n") })
}

/// Fuzz targets: these, or all.
fn parsers(workspace: &Workspace, targets: &[String]) -> anyhow::Result<Tally> {
    let report = Mutex::new(());
    let ended = |target: &str, tally: Tally, took: Duration| {
        // INVARIANT: no job panics while it has the report.
        let _mine = report.lock().expect("no job panics");
        let (name, outcome) = (format!("fuzz/{target}"), Outcome { tally, figures: String::new() });
        let what = format!("{} inputs", inputs(target));
        let section = section(workspace, &name, &what, &outcome, took);
        record(workspace, &name, &section)
    };
    fuzz::run(workspace, targets, (&inputs, "none"), &ended)
}

fn inputs(target: &str) -> u64 {
    if FED_BY_OPERATORS.contains(&target) { FUZZ_INPUTS_OPERATORS } else { FUZZ_INPUTS }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_in_its_place() {
        let one = renewed("", "versus", "## versus\n\nfirst\n");
        let two = renewed(&one, "simulator", "## simulator\n\nseeds\n");
        let three = renewed(&two, "fuzz/hpack", "## fuzz/hpack\n\nclean\n");
        let four = renewed(&three, "versus", "## versus\n\nsecond\n");
        let sections: Vec<&str> = four.split("\n## ").skip(1).collect();
        let hpack = "fuzz/hpack\n\nclean\n";
        assert_eq!(sections, ["simulator\n\nseeds\n", "versus\n\nsecond\n", hpack]);
        assert!(four.starts_with("# The last long runs\n"));
    }

    #[test]
    fn a_part_is_named_behind_its_step() {
        assert!(position("fuzz/hpack").is_some() && position("fuzz") == position("fuzz/hpack"));
        assert_eq!((position("versus/get-100"), position("none")), (None, None));
    }
}
