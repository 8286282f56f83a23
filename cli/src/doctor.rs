//! `ringway doctor`: what this machine allows, and what to do where it does not.

use clap::ArgMatches;
use engine::probe;

use crate::command::Command;
use crate::failure::Failure;
use crate::output;

pub(crate) const COMMAND: Command = Command {
    name: "doctor",
    about: "Check kernel, io_uring permission, limits and cores; each with its remedy",
    define: |command| command,
    run,
};

fn run(_matches: &ArgMatches) -> Result<(), Failure> {
    let report = probe::run();
    output::print(&format!("{report}\n"))?;
    if report.ok() {
        return Ok(());
    }
    Err(Failure::Environment("this machine does not allow what ringway needs; see above".into()))
}
