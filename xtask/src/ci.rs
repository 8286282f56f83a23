//! `cargo xtask ci`: the whole check, step by step; what CI runs is what a developer runs.
//!
//! Missing tools are named together, with one install line, before anything is built. A failing
//! step does not stop the later ones. `ci STEP..` runs only those; `ci --skip STEP` leaves one out
//! (`.ci/run` has run `test` before).

use std::time::Instant;

use anyhow::{bail, ensure};

use crate::release::Profile;
use crate::tally::Tally;
use crate::tools::{self, Tool};
use crate::workspace::Workspace;
use crate::{asan, fuzz, interop, release, run, test, tidy};

struct Step {
    name: &'static str,
    run: fn(&Workspace) -> anyhow::Result<Tally>,
    /// Names of the programs in `tools::CI` that this step starts.
    tools: &'static [&'static str],
}

const STEPS: &[Step] = &[
    Step { name: "fmt", run: fmt, tools: &["rustfmt"] },
    Step { name: "tidy", run: |workspace| tidy::main(workspace, &[]), tools: &[] },
    Step { name: "clippy", run: clippy, tools: &["clippy"] },
    Step { name: "deny", run: deny, tools: &["cargo-deny"] },
    Step { name: "doc", run: doc, tools: &[] },
    Step {
        name: "test",
        run: |workspace| test::main(workspace, &[]),
        tools: &["curl", "nginx", "openssl"],
    },
    Step {
        name: "interop",
        run: |workspace| interop::main(workspace, INTEROP_SECONDS),
        tools: &[
            "curl",
            "wrk",
            "ab",
            "nginx",
            "node",
            "python3",
            "h11",
            "websockets",
            "wsproto",
            "grpcio",
            "grpcio-health-checking",
            "grpc-js",
            "h2",
            "httpx",
            "nghttp",
            "thrift",
            "h2load",
            "nghttpd",
            "ip",
            "unshare",
            "nsenter",
        ],
    },
    Step { name: "scripts", run: scripts, tools: &["wrk", "curl", "ip", "unshare"] },
    Step {
        name: "asan",
        run: |workspace| asan::main(workspace, ASAN_SEEDS),
        tools: &["nightly toolchain"],
    },
    Step {
        name: "fuzz",
        run: |workspace| fuzz::main(workspace, FUZZ_INPUTS, "address"),
        tools: &["nightly toolchain", "cargo-fuzz", "c++"],
    },
];

/// Load runs are short here; `soak` holds the ten seconds.
const INTEROP_SECONDS: u32 = 2;
/// Instrumented code is several times slower; `test` has run more seeds without it.
const ASAN_SEEDS: u32 = 20;
/// Some 15 seconds a parser; `soak` runs ten million.
const FUZZ_INPUTS: u64 = 50_000;

/// Runs the steps and prints one line for each at the end.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> anyhow::Result<Tally> {
    let steps = chosen(args)?;
    tools::require(workspace, &needed(&steps))?;
    let mut tally = Tally::default();
    let mut report = Vec::new();
    for step in steps {
        println!("\n=== {}", step.name);
        let started = Instant::now();
        let result = (step.run)(workspace);
        let outcome = result.unwrap_or_else(|error| {
            eprintln!("{}: {error:#}", step.name);
            Tally::one_failed()
        });
        tally.add(outcome);
        report.push(format!("{:<8} {outcome} in {} s", step.name, started.elapsed().as_secs()));
    }
    println!("\n{}", report.join("\n"));
    Ok(tally)
}

fn chosen(args: &[String]) -> anyhow::Result<Vec<&'static Step>> {
    let (skip, names) = match args.split_first() {
        Some((first, rest)) if first == "--skip" => (true, rest),
        _ => (false, args),
    };
    ensure!(!skip || !names.is_empty(), "--skip needs the name of a step");
    for name in names {
        if !STEPS.iter().any(|step| step.name == name) {
            let known: Vec<_> = STEPS.iter().map(|step| step.name).collect();
            bail!("no step `{name}`; there are {}", known.join(", "));
        }
    }
    let named = |step: &&Step| names.iter().any(|name| name == step.name);
    let wanted = |step: &&Step| names.is_empty() || named(step) != skip;
    Ok(STEPS.iter().filter(wanted).collect())
}

fn needed(steps: &[&Step]) -> Vec<Tool> {
    let is_used = |tool: &&Tool| steps.iter().any(|step| step.tools.contains(&tool.name));
    tools::CI.iter().filter(is_used).copied().collect()
}

fn cargo_step(workspace: &Workspace, args: &[&str]) -> anyhow::Result<Tally> {
    Ok(Tally::step(run::succeeds(run::cargo(workspace, args))?))
}

fn fmt(workspace: &Workspace) -> anyhow::Result<Tally> {
    let mut tally = cargo_step(workspace, &["fmt", "--all", "--", "--check"])?;
    for peer in interop::PEERS {
        let manifest = interop::manifest(peer);
        let args = ["fmt", "--manifest-path", &manifest, "--", "--check"];
        tally.add(cargo_step(workspace, &args)?);
    }
    Ok(tally)
}

fn clippy(workspace: &Workspace) -> anyhow::Result<Tally> {
    let args = ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"];
    let mut tally = cargo_step(workspace, &args)?;
    for peer in interop::PEERS {
        let mut command = interop::peer_cargo(workspace, peer, "clippy");
        command.args(["--all-targets", "--", "-D", "warnings"]);
        tally.add(Tally::step(run::succeeds(command)?));
    }
    Ok(tally)
}

fn deny(workspace: &Workspace) -> anyhow::Result<Tally> {
    cargo_step(workspace, &["deny", "--all-features", "check", "bans", "licenses", "sources"])
}

fn doc(workspace: &Workspace) -> anyhow::Result<Tally> {
    let args = ["doc", "--workspace", "--no-deps", "--document-private-items"];
    let mut command = run::cargo(workspace, &args);
    // The docs are read by whoever works on the crates, private items included.
    command.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links");
    Ok(Tally::step(run::succeeds(command)?))
}

/// The Lua scripts under wrk against the release binary.
fn scripts(workspace: &Workspace) -> anyhow::Result<Tally> {
    Ok(Tally::step(run::succeeds(release::script(
        workspace,
        "scripts/check.sh",
        Profile::Release,
    )?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(args: &[&str]) -> Vec<&'static str> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        chosen(&args).unwrap().iter().map(|step| step.name).collect()
    }

    #[test]
    fn steps_are_chosen_or_skipped_by_name() {
        assert_eq!(names(&[]).len(), STEPS.len());
        assert_eq!(names(&["tidy", "fmt"]), ["fmt", "tidy"]);
        assert_eq!(names(&["--skip", "test"]).len(), STEPS.len() - 1);
        assert!(chosen(&["tidi".to_owned()]).is_err());
        assert!(chosen(&["--skip".to_owned()]).is_err());
    }

    #[test]
    fn every_tool_of_a_step_is_known() {
        for name in STEPS.iter().flat_map(|step| step.tools) {
            assert!(tools::CI.iter().any(|tool| tool.name == *name), "{name}");
        }
    }
}
