//! The registry of commands: it drives parsing and help.
//!
//! To add a command: a file beside this one with a `COMMAND`, and its line in [`COMMANDS`].

use clap::ArgMatches;

use crate::failure::Failure;
use crate::{
    certs, check, conns, demo, doctor, expect, explain, mock, routes, run, signal, version,
};

/// One command.
pub(crate) struct Command {
    /// What is typed.
    pub(crate) name: &'static str,
    /// One line of help.
    pub(crate) about: &'static str,
    /// Adds the command's flags.
    pub(crate) define: fn(clap::Command) -> clap::Command,
    /// Does it.
    pub(crate) run: fn(&ArgMatches) -> Result<(), Failure>,
}

/// Every command, in the order of the help.
pub(crate) const COMMANDS: &[Command] = &[
    run::COMMAND,
    demo::COMMAND,
    check::COMMAND,
    certs::COMMAND,
    explain::COMMAND,
    routes::COMMAND,
    expect::COMMAND,
    doctor::COMMAND,
    conns::COMMAND,
    signal::RELOAD,
    signal::STOP,
    signal::QUIT,
    signal::REOPEN,
    mock::COMMAND,
    version::COMMAND,
];
