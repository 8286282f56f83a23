//! The release binaries, and the scripts that measure with them.
//!
//! They are built with `-p` for the two packages alone, so that no feature of a test is in them.

use std::process::Command;

use anyhow::ensure;

use crate::run;
use crate::workspace::Workspace;

/// How optimised the gateway is. The load generator is always a release build.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    /// As `cargo run --release` builds it: enough to see that a script works.
    Release,
    /// With link-time optimisation, as it is shipped: what is measured.
    Dist,
}

impl Profile {
    fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Dist => "dist",
        }
    }
}

/// Builds the binaries and gives the command that runs a script with them.
pub(crate) fn script(
    workspace: &Workspace,
    path: &str,
    profile: Profile,
) -> anyhow::Result<Command> {
    for (package, profile) in [("cli", profile), ("bench", Profile::Release)] {
        let build = run::cargo(workspace, &["build", "--profile", profile.name(), "-p", package]);
        ensure!(run::succeeds(build)?, "the {} build of {package} fails", profile.name());
    }
    let mut command = run::command(workspace, "bash", &[path]);
    command.env("RINGWAY_BIN", workspace.target().join(profile.name()).join("ringway"));
    command.env("RINGWAY_BENCH_BIN", workspace.target().join("release/ringway-bench"));
    Ok(command)
}
