//! `ringway doctor`: what this machine allows, and what to do where it does not.

use clap::ArgMatches;
use engine::probe;

use crate::command::Command;
use crate::descriptors::Descriptors;
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
    output::print(&format!("{report}\n{}\n", conns()))?;
    if report.ok() {
        return Ok(());
    }
    Err(Failure::Environment("this machine does not allow what ringway needs; see above".into()))
}

/// What the descriptors come to, for one listener and one endpoint with default settings.
fn conns() -> String {
    let nofile = probe::raise_nofile().or_else(|_| probe::nofile_soft()).unwrap_or(u64::MAX);
    let settings = control::Settings::default();
    let links = u64::from(settings.links_max());
    let descriptors = Descriptors::of(nofile, engine::cores().len() as u64, 1, links);
    format!("ok   {:<9} {}", "conns", descriptors.describe(settings.max_conns()))
}
