//! The release binaries, and the scripts that measure with them.
//!
//! They are built with `-p` for the two packages alone, so that no feature of a test is in them.

use std::process::Command;

use anyhow::ensure;

use crate::run;
use crate::workspace::Workspace;

/// Builds the binaries and gives the command that runs a script with them.
pub(crate) fn script(workspace: &Workspace, path: &str) -> anyhow::Result<Command> {
    for package in ["cli", "bench"] {
        let build = run::cargo(workspace, &["build", "--release", "-p", package]);
        ensure!(run::succeeds(build)?, "the release build of {package} fails");
    }
    let mut command = run::command(workspace, "bash", &[path]);
    command.env("RINGWAY_BIN", workspace.target().join("release/ringway"));
    command.env("RINGWAY_BENCH_BIN", workspace.target().join("release/ringway-bench"));
    Ok(command)
}
