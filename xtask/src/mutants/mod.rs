//! `cargo xtask mutants`: plants one fault at a time and requires the simulator to fail on it.
//!
//! The faults are exact text replacements (`table`) in a copy of the tree under `target/mutants`,
//! which keeps its own build folder, so each costs an incremental build. The unchanged copy must
//! pass first, with the same seeds. A text that no longer stands exactly once, or a fault that does
//! not compile, is an error of the table and counts as failed. The simulator running past its limit
//! counts as caught.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::run::{self, Ended};
use crate::tally::Tally;
use crate::workspace::Workspace;

mod table;

use table::MUTANTS;

/// A fault: `find` in `file` becomes `replace`.
struct Mutant {
    name: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
    /// What would go wrong in production.
    why: &'static str,
}

/// What runs on the simulated ring: the engine alone, and a whole shard.
const SUITES: &[&[&str]] = &[
    &["test", "--quiet", "-p", "engine", "--features", "sim", "--test", "sim*"],
    &["test", "--quiet", "-p", "gateway", "--test", "sim"],
];

/// Seeds of one round. From 40 on the simulator also demands that every kind of fault was met,
/// which is no verdict on the code: a mutant must break an invariant.
const SEEDS: u64 = 39;
/// Rounds before a mutant counts as survived.
const ROUNDS: u64 = 2;
/// The unchanged simulator and the builds need a part of this; a fault may make it wait for ever.
const RUN_LIMIT: Duration = Duration::from_secs(300);

/// Plants every fault, or only those named in `args`.
pub(crate) fn main(workspace: &Workspace, args: &[String]) -> anyhow::Result<Tally> {
    let chosen: Vec<&Mutant> = MUTANTS
        .iter()
        .filter(|mutant| args.is_empty() || args.iter().any(|arg| arg == mutant.name))
        .collect();
    ensure!(!chosen.is_empty(), "no mutant of that name");
    let folder = workspace.target().join("mutants");
    let copy = Workspace::at(folder.join("tree"));
    mirror(workspace, &copy)?;
    let bench = Bench { copy, build: folder.join("build") };
    ensure!(bench.builds()?, "the unchanged copy does not build");
    ensure!(bench.simulate()? == Ended::Succeeded, "the simulator fails on the unchanged copy");
    let mut tally = Tally::default();
    for mutant in chosen {
        let verdict = bench.try_mutant(mutant)?;
        println!("{:<24} {verdict:?}: {}", mutant.name, mutant.why);
        tally.add(Tally::step(matches!(verdict, Verdict::Caught | Verdict::CaughtHanging)));
    }
    Ok(tally)
}

#[derive(Debug, Eq, PartialEq)]
enum Verdict {
    Caught,
    CaughtHanging,
    DoesNotBuild,
    Stale,
    Survived,
}

/// The copy and its build folder.
struct Bench {
    copy: Workspace,
    build: std::path::PathBuf,
}

impl Bench {
    fn try_mutant(&self, mutant: &Mutant) -> anyhow::Result<Verdict> {
        let path = self.copy.path(mutant.file);
        let original = fs::read_to_string(&path).with_context(|| mutant.file)?;
        let Some(mutated) = planted(&original, mutant) else { return Ok(Verdict::Stale) };
        fs::write(&path, mutated)?;
        let verdict = self.judge();
        fs::write(&path, original)?;
        verdict
    }

    fn judge(&self) -> anyhow::Result<Verdict> {
        if !self.builds()? {
            return Ok(Verdict::DoesNotBuild);
        }
        Ok(match self.simulate()? {
            Ended::Failed => Verdict::Caught,
            Ended::TimedOut => Verdict::CaughtHanging,
            Ended::Succeeded => Verdict::Survived,
        })
    }

    fn builds(&self) -> anyhow::Result<bool> {
        for suite in SUITES {
            let command = self.cargo(&[*suite, &["--no-run"]].concat());
            if run::quietly(command, RUN_LIMIT)? != Ended::Succeeded {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs the suites, round by round; the first that does not pass ends it.
    fn simulate(&self) -> anyhow::Result<Ended> {
        for round in 0..ROUNDS {
            for suite in SUITES {
                let mut command = self.cargo(suite);
                command.env("RINGWAY_SEEDS", SEEDS.to_string());
                command.env("RINGWAY_SEED_FIRST", (1 + round * SEEDS).to_string());
                match run::quietly(command, RUN_LIMIT)? {
                    Ended::Succeeded => {}
                    other => return Ok(other),
                }
            }
        }
        Ok(Ended::Succeeded)
    }

    fn cargo(&self, args: &[&str]) -> Command {
        let mut command = run::cargo(&self.copy, args);
        command.env("CARGO_TARGET_DIR", &self.build);
        command.env("RUSTFLAGS", "-Awarnings");
        // Assertions as in a debug build; a seed takes a fifth of the time.
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
        command
    }
}

/// The text with the fault in it; None when the text to be replaced does not stand exactly once.
fn planted(original: &str, mutant: &Mutant) -> Option<String> {
    let stands_once = original.matches(mutant.find).count() == 1;
    stands_once.then(|| original.replacen(mutant.find, mutant.replace, 1))
}

/// Makes `copy` equal to the workspace; unchanged files keep their times, so that cargo does not
/// rebuild them.
fn mirror(workspace: &Workspace, copy: &Workspace) -> anyhow::Result<()> {
    fs::create_dir_all(copy.root())?;
    let wanted = workspace.files()?;
    for path in &wanted {
        copy_if_changed(&workspace.path(path), &copy.path(path))?;
    }
    for path in copy.files()? {
        if !wanted.contains(&path) {
            fs::remove_file(copy.path(&path))?;
        }
    }
    Ok(())
}

fn copy_if_changed(from: &Path, to: &Path) -> anyhow::Result<()> {
    let content = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(());
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(to, content).with_context(|| to.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: Mutant =
        Mutant { name: "sample", file: "a.rs", find: "x + 1", replace: "x", why: "counts nothing" };

    #[test]
    fn a_text_must_stand_exactly_once() {
        assert_eq!(planted("let y = x + 1;", &SAMPLE).as_deref(), Some("let y = x;"));
        assert_eq!(planted("let y = x + 2;", &SAMPLE), None);
        assert_eq!(planted("x + 1, x + 1", &SAMPLE), None);
    }

    #[test]
    fn every_text_of_the_table_stands_once() {
        let workspace = Workspace::of_this_build();
        let stale: Vec<&str> = MUTANTS
            .iter()
            .filter(|mutant| {
                let text = fs::read_to_string(workspace.path(mutant.file)).unwrap_or_default();
                planted(&text, mutant).is_none()
            })
            .map(|mutant| mutant.name)
            .collect();
        assert!(stale.is_empty(), "stale: {stale:?}");
    }

    #[test]
    fn mirroring_copies_changes_and_removes_the_rest() {
        let folder = std::env::temp_dir().join(format!("xtask-mirror-{}", std::process::id()));
        let (from, to) = (Workspace::at(folder.join("from")), Workspace::at(folder.join("to")));
        fs::create_dir_all(from.path("a/src")).unwrap();
        fs::write(from.path("a/src/lib.rs"), "one").unwrap();
        mirror(&from, &to).unwrap();
        fs::write(to.path("a/src/stray.rs"), "stray").unwrap();
        fs::write(from.path("a/src/lib.rs"), "two").unwrap();
        mirror(&from, &to).unwrap();
        assert_eq!(to.files().unwrap(), ["a/src/lib.rs"]);
        assert_eq!(fs::read_to_string(to.path("a/src/lib.rs")).unwrap(), "two");
        fs::remove_dir_all(folder).unwrap();
    }
}
