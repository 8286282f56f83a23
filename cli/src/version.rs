//! `ringway version`: what this binary is; with `--verbose`, what it runs on.

use clap::{Arg, ArgAction, ArgMatches};

use crate::command::Command;
use crate::failure::Failure;
use crate::output;

/// The version of every crate of the workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(crate) const COMMAND: Command = Command {
    name: "version",
    about: "Print the version (-v); with --verbose what it was built for and runs on (-V)",
    define,
    run,
};

fn define(command: clap::Command) -> clap::Command {
    let verbose = Arg::new("verbose").long("verbose").short('V').action(ArgAction::SetTrue);
    command.arg(verbose.help("Also print protocols, build and kernel"))
}

fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut text = format!("ringway {VERSION}\n");
    if matches.get_flag("verbose") {
        let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
        let arch = std::env::consts::ARCH;
        text.push_str("protocols: http/1.0 http/1.1 tcp\n");
        text.push_str("backend: io_uring (Linux 6.1 or later), allocator mimalloc\n");
        text.push_str(&format!("build: {profile} {arch}\n"));
        text.push_str(&format!("kernel: {}\n", kernel()));
    }
    output::print(&text)
}

/// The running kernel's release, as `uname -r` says it.
pub(crate) fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if release.is_empty() { "unknown".into() } else { release.into() }
}
