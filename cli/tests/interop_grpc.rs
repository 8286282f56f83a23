//! Interop of what the gateway does for gRPC by itself: its health service, asked by grpcio's
//! client for it. An absent program fails its test.
#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use support::{Authority, Folder, Setup};

/// A script of `tests/interop`, killed at the end of its test.
struct Script {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Script {
    fn start(name: &str, args: &[String]) -> Self {
        let interpreter = env::var("RINGWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name);
        let mut command = Command::new(interpreter);
        command.arg("-B").arg(script).args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("an interpreter of Python is needed");
        let lines = BufReader::new(child.stdout.take().expect("standard output is piped"));
        Self { child, lines }
    }

    /// The next line; none at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("lines of text");
        line.ends_with('\n').then(|| line.trim_end().to_owned())
    }

    /// So many lines, in any order.
    fn lines(&mut self, count: usize) -> BTreeSet<String> {
        let next = |_| self.line().expect("one more line");
        (0..count).map(next).collect()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Listeners `h2c` and `tls`, and what follows them.
fn config(folder: &Folder, services: &str, rest: &str) -> PathBuf {
    let text = format!(
        "version: 1\n\
         listeners:\n\
         - {{name: h2c, address: '127.0.0.1:0', grpc_health: &health {{services: [{services}]}}}}\n\
         - {{name: tls, address: '127.0.0.2:0', grpc_health: *health, tls: {{certificates: \
         [{{cert: edge.pem, key: edge.key}}]}}}}\n{rest}"
    );
    folder.write("ringway.yaml", text)
}

const NO_ROUTES: &str =
    "clusters: {c: {endpoints: ['127.0.0.1:9']}}\nroutes: [{id: r, cluster: c}]\n";

fn each(lines: &[&str]) -> BTreeSet<String> {
    let both = ["h2c", "tls"].iter();
    both.flat_map(|kind| lines.iter().map(move |line| format!("{kind} {line}"))).collect()
}

/// What is checked once, and then what watchers are told of a reload and of the end.
#[test]
fn the_health_service_tells_changes() {
    let folder = Folder::new();
    Authority::new(&folder, "ca").issue(&folder, "edge", &["edge.test"]);
    let file = config(&folder, "shop.v1.Orders", NO_ROUTES);
    let mut gateway = Setup::config(&file).flag("--drain-grace", "300ms").start();
    let addresses = gateway.addresses();
    let args = [
        folder.file("ca.pem").display().to_string(),
        format!("h2c={}", addresses[0]),
        format!("tls={}", addresses[1]),
    ];
    let mut script = Script::start("health_cases.py", &args);
    assert_eq!(script.lines(4), each(&["all SERVING", "shop.v1.Orders SERVING"]));
    config(&folder, "shop.v1.Other", NO_ROUTES);
    gateway.signal("HUP");
    assert_eq!(script.lines(2), each(&["shop.v1.Orders SERVICE_UNKNOWN"]), "a reload is told");
    gateway.signal("TERM");
    let told = ["all NOT_SERVING", "all UNAVAILABLE", "shop.v1.Orders UNAVAILABLE"];
    assert_eq!(script.lines(6), each(&told), "and the end of it");
    assert_eq!(script.line(), None);
    assert_eq!(gateway.wait(), support::Exit(Some(0)));
    let log = gateway.log(2);
    let statuses: BTreeSet<_> = log.iter().map(|line| line["grpc_status"].to_string()).collect();
    let want = ["0", "1", "12", "13", "14", "5", "8"];
    assert_eq!(statuses, want.map(str::to_owned).into());
}
