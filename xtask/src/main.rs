//! `cargo xtask`: what a developer and CI type to check this project.
//!
//! It is not part of the gateway and uses none of its crates; it only starts cargo and other tools
//! and reads files. Invariant: every command ends with a line `N passed, M failed` and exits
//! non-zero when M > 0 or nothing ran. One file a command: `test`, `ci`, `soak`, `tidy`, `mutants`;
//! `run`, `tally` and `tools` serve them.
#![forbid(unsafe_code)]

use std::process::ExitCode;

mod asan;
mod ci;
mod fuzz;
mod interop;
mod mutants;
mod python;
mod release;
mod run;
mod soak;
mod tally;
mod test;
mod tidy;
mod tools;
mod workspace;

use tally::Tally;
use workspace::Workspace;

/// One sub-command: its name, what it does, and the function behind it.
struct Command {
    name: &'static str,
    what: &'static str,
    run: fn(&Workspace, &[String]) -> anyhow::Result<Tally>,
}

const COMMANDS: &[Command] = &[
    Command { name: "test", what: "unit, simulator and end-to-end tests", run: test::main },
    Command { name: "ci", what: "the whole check; `ci STEP..` or `--skip STEP`", run: ci::main },
    Command { name: "tidy", what: "rules that rustc and clippy do not know", run: tidy::main },
    Command {
        name: "mutants",
        what: "planted faults the simulator must catch",
        run: mutants::main,
    },
    Command { name: "soak", what: "the long runs; writes docs/soak.md", run: soak::main },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = args.split_first() else { return usage() };
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        return usage();
    };
    let workspace = Workspace::of_this_build();
    match (command.run)(&workspace, rest) {
        Ok(tally) => finish(tally),
        Err(error) => {
            eprintln!("xtask {name}: {error:#}");
            finish(Tally::one_failed())
        }
    }
}

fn finish(tally: Tally) -> ExitCode {
    println!("{tally}");
    if tally.is_green() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("usage: cargo xtask COMMAND\n");
    for command in COMMANDS {
        eprintln!("  {:<8} {}", command.name, command.what);
    }
    ExitCode::from(2)
}
