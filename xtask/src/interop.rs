//! The step of `ci` in which independent programs are the peers of the real binary.
//!
//! The tests themselves are in `cli/tests`: `interop.rs`, `interop_h2.rs`, `interop_grpc.rs`,
//! `interop_thrift.rs`, `interop_thrift_peers.rs`, `addresses.rs` (Unix sockets, IPv6),
//! `dead_peers.rs` (peers that vanish, in a network namespace) and `parsers.rs` (situations of
//! other parsers' test suites; `test` runs them as well), and `grpcio.rs` in `mock/tests`. This
//! gives them the Python interpreter, the modules of Node, the peers of tonic and volo, and the
//! length of the load runs. A program that is absent fails its test.

use std::path::PathBuf;
use std::process::Command;

use anyhow::ensure;

use crate::tally::Tally;
use crate::workspace::Workspace;
use crate::{python, run};

/// Runs the interop tests with load runs of `seconds`, and grpcio against the mock.
pub(crate) fn main(workspace: &Workspace, seconds: u32) -> anyhow::Result<Tally> {
    let cargo = ["test", "--no-fail-fast", "-p", "cli", "--features", "interop"];
    let targets = [
        "interop",
        "interop_h2",
        "interop_grpc",
        "interop_thrift",
        "interop_thrift_peers",
        "addresses",
        "dead_peers",
        "parsers",
    ];
    let targets = targets.map(|target| ["--test", target]).concat();
    let (tonic, volo) = (peer(workspace, "tonic")?, peer(workspace, "volo")?);
    let mut command = run::cargo(workspace, &[&cargo[..], &targets].concat());
    command.env("RINGWAY_TONIC", tonic).env("RINGWAY_VOLO", volo);
    command.env("RINGWAY_NODE_MODULES", workspace.path("target/npm/node_modules"));
    command.env("RINGWAY_PYTHON", workspace.path(python::VENV_PYTHON));
    command.env("RINGWAY_INTEROP_SECONDS", seconds.to_string());
    let mut tally = run::tests(command)?;
    let mock = ["test", "-p", "mock", "--features", "interop", "--test", "grpcio"];
    let mut command = run::cargo(workspace, &mock);
    command.env("RINGWAY_PYTHON", workspace.path(python::VENV_PYTHON));
    tally.add(run::tests(command)?);
    Ok(tally)
}

/// Peers of Rust. Each is a workspace of its own, which the steps for the workspace do not see.
pub(crate) const PEERS: [&str; 2] = ["tonic", "volo"];

/// The manifest of a peer, below the root.
pub(crate) fn manifest(name: &str) -> String {
    format!("interop/{name}/Cargo.toml")
}

/// `cargo VERB` on a peer, in a target folder that all verbs share: macros and build scripts are
/// built once.
pub(crate) fn peer_cargo(workspace: &Workspace, name: &str, verb: &str) -> Command {
    let manifest = manifest(name);
    let mut command = run::cargo(workspace, &[verb, "--locked", "--manifest-path", &manifest]);
    command.arg("--target-dir").arg(peer_target(workspace, name));
    command
}

fn peer_target(workspace: &Workspace, name: &str) -> PathBuf {
    workspace.target().join(format!("interop-{name}"))
}

/// Builds a peer; its path.
fn peer(workspace: &Workspace, name: &str) -> anyhow::Result<PathBuf> {
    let build = peer_cargo(workspace, name, "build");
    ensure!(run::succeeds(build)?, "interop/{name} does not build");
    Ok(peer_target(workspace, name).join(format!("debug/ringway-interop-{name}")))
}
