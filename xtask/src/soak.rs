//! `cargo xtask soak`: the long runs, and the report of the last ones in `docs/soak.md`.
//!
//! `soak STEP..` runs only those steps. Each step's section of the report names the commit it ran
//! on, so a partial run renews its own sections and leaves the others.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::ensure;

use crate::release::Profile;
use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{fuzz, interop, mutants, release, run, tools};

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace) -> anyhow::Result<Outcome>,
}

/// What a step came to, and the lines of its output worth keeping.
struct Outcome {
    tally: Tally,
    figures: String,
}

const STEPS: &[Step] = &[
    Step { name: "simulator", what: "20 000 seeds, release build", run: simulator },
    Step { name: "memory", what: "Private memory per idle connection", run: memory },
    Step { name: "slow", what: "What slow clients cost the others", run: slow },
    Step { name: "floods", what: "What floods cost the others, beside nginx", run: floods },
    Step { name: "peers", what: "interop with load runs of 10 s", run: peers },
    Step { name: "versus", what: "CPU per request beside nginx and HAProxy", run: versus },
    Step { name: "rules", what: "A million routes, and changes of them", run: rules },
    Step { name: "streams", what: "Streams of gRPC held through reloads", run: streams },
    Step { name: "mutants", what: "planted faults", run: planted },
    Step { name: "fuzz", what: "10 million inputs a parser", run: parsers },
];

const SIMULATOR_SEEDS: &str = "20000";
const FUZZ_INPUTS: u64 = 10_000_000;
const PEERS_SECONDS: u32 = 10;
/// What is spoken, and the bytes that an idle connection may cost.
const FRONTS: [(&str, &str); 3] = [("plain", "1024"), ("tls", "12288"), ("h2", "9216")];
/// Cases of each of the table's properties; those with large tables take an eighth of them. A
/// million in all.
const TABLE_CASES: &str = "320000";
const REPORT: &str = "docs/soak.md";

/// Runs all steps or those named, and renews their sections of the report.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> anyhow::Result<Tally> {
    for name in args {
        ensure!(STEPS.iter().any(|step| step.name == name), "no step `{name}`");
    }
    tools::require(workspace, &[tools::CI, tools::SOAK].concat())?;
    let mut tally = Tally::default();
    for step in STEPS.iter().filter(|step| args.is_empty() || args.contains(&step.name.into())) {
        println!("\n=== {}: {}", step.name, step.what);
        let started = Instant::now();
        let outcome = (step.run)(workspace).unwrap_or_else(|error| Outcome {
            tally: Tally::one_failed(),
            figures: format!("{error:#}\n"),
        });
        let seconds = started.elapsed().as_secs();
        tally.add(outcome.tally);
        record(workspace, step, &section(workspace, step, &outcome, seconds))?;
    }
    Ok(tally)
}

fn section(workspace: &Workspace, step: &Step, outcome: &Outcome, seconds: u64) -> String {
    let kernel = first_line(workspace, "uname", &["-sr"]);
    let mut commit = first_line(workspace, "git", &["rev-parse", "--short=12", "HEAD"]);
    // The report itself is being written by the steps before.
    let changed = ["status", "--porcelain", "--", ".", ":!docs/soak.md"];
    if !first_line(workspace, "git", &changed).is_empty() {
        commit.push_str("-dirty");
    }
    format!(
        "## {}\n\n{}. Commit {commit}, {kernel}, {} cores, {seconds} s: {}.\n\n```text\n{}```\n",
        step.name,
        step.what,
        std::thread::available_parallelism().map_or(0, usize::from),
        outcome.tally,
        outcome.figures,
    )
}

fn first_line(workspace: &Workspace, program: &str, args: &[&str]) -> String {
    let output = run::command(workspace, program, args).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_default()
}

fn record(workspace: &Workspace, step: &Step, section: &str) -> anyhow::Result<()> {
    let path = workspace.path(REPORT);
    let old = fs::read_to_string(&path).unwrap_or_default();
    fs::create_dir_all(workspace.path("docs"))?;
    fs::write(&path, renewed(&old, step.name, section))?;
    Ok(())
}

const HEADING: &str = "# The last long runs\n\nWritten by `cargo xtask soak`; \
                       each section names the commit it ran on.\n";

/// The report with one section replaced, or appended, in the order of `STEPS`.
fn renewed(report: &str, name: &str, section: &str) -> String {
    let sections: Vec<&str> = report.split("\n## ").skip(1).collect();
    let mut text = HEADING.to_owned();
    for step in STEPS {
        let old = sections.iter().find(|text| text.lines().next() == Some(step.name));
        if step.name == name {
            text.push('\n');
            text.push_str(section);
        } else if let Some(old) = old {
            text.push_str("\n## ");
            text.push_str(old.trim_end());
            text.push('\n');
        }
    }
    text
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
    properties.env("PROPTEST_CASES", TABLE_CASES);
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

fn parsers(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let tally = fuzz::main(workspace, FUZZ_INPUTS, "none")?;
    Ok(Outcome { tally, figures: format!("targets: {tally}\n") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_replaced_in_its_place() {
        let one = renewed("", "versus", "## versus\n\nfirst\n");
        let two = renewed(&one, "simulator", "## simulator\n\nseeds\n");
        let three = renewed(&two, "versus", "## versus\n\nsecond\n");
        let sections: Vec<&str> = three.split("\n## ").skip(1).collect();
        assert_eq!(sections, ["simulator\n\nseeds\n", "versus\n\nsecond\n"]);
        assert!(three.starts_with("# The last long runs\n"));
    }
}
