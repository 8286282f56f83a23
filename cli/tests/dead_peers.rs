//! Peers that vanish without a word: their machine loses its link, and no FIN or RST ever comes.
//!
//! Each test runs in a network namespace of its own, joined by veth to a second one where the peer
//! runs; then the peer's link is set down. It needs `unshare`, `nsenter`, `ip` and `python3`, and
//! fails where one is missing or no namespace can be had. The kernel counts keepalive in seconds:
//! with the least, 1 s, a peer is given up after about 2 s.
#![forbid(unsafe_code)]

mod support;

use std::env;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use mock::http1::{Options, Running};
use support::{Gateway, Setup, until};

/// Addresses of the gateway's and of the peer's end of the link; RFC 5737 sets them aside.
const HERE: &str = "192.0.2.1";
const THERE: &str = "192.0.2.2";
const PEER_PORT: u16 = 9001;
/// Tells the test that it is inside its namespace.
const INSIDE: &str = "RINGWAY_TEST_NETNS";

/// Runs the test called `name` again in a network namespace of its own; true inside of it.
fn is_inside(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        tool("ip", &["link", "set", "lo", "up"]);
        return true;
    }
    let test = env::current_exe().expect("the test's own path");
    let ways = [&["--net"][..], &["--map-root-user", "--net"]];
    let probe = |way: &&&[&str]| {
        let status = Command::new("unshare").args(**way).arg("true").stderr(Stdio::null()).status();
        status.expect("unshare is needed (util-linux)").success()
    };
    let way = ways.iter().find(probe).expect("a network namespace; run as root");
    let mut command = Command::new("unshare");
    command.args(*way).arg(test).args([name, "--exact", "--nocapture"]).env(INSIDE, "1");
    let output = command.output().expect("unshare starts");
    // Only the times and the failures: whoever counts results must not count this test twice.
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|l| l.contains(" after ")) {
        println!("{line}");
    }
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} inside its namespace: {error}");
    false
}

fn tool(program: &str, args: &[&str]) {
    // An ordinary user's PATH lacks `/usr/sbin`.
    let system = Path::new("/usr/sbin").join(program);
    let path = if system.exists() { system } else { program.into() };
    let status = Command::new(path).args(args).status();
    let status = status.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    assert!(status.success(), "{program} {}", args.join(" "));
}

/// A process that says words and ends when its standard input does, or when dropped.
struct Process {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("standard output is piped"));
        Self { child, said }
    }

    /// Waits for the next line, which must be `word`.
    fn says(&mut self, word: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("a line");
        assert_eq!(line.trim_end(), word);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other end of the link: a namespace that lives as long as this value.
struct Far(Process);

impl Far {
    fn join() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo ready; exec cat"]);
        let mut far = Far(Process::start(&mut command));
        far.0.says("ready");
        let pid = far.0.child.id().to_string();
        tool("ip", &["link", "add", "far", "type", "veth", "peer", "name", "near"]);
        tool("ip", &["link", "set", "near", "netns", &pid]);
        tool("ip", &["addr", "add", &format!("{HERE}/24"), "dev", "far"]);
        tool("ip", &["link", "set", "far", "up"]);
        far.run(&["ip", "addr", "add", &format!("{THERE}/24"), "dev", "near"]);
        far.run(&["ip", "link", "set", "near", "up"]);
        far
    }

    fn words<'a>(pid: &'a str, words: &[&'a str]) -> Vec<&'a str> {
        [&["--target", pid, "--net"], words].concat()
    }

    fn run(&self, words: &[&str]) {
        tool("nsenter", &Far::words(&self.0.child.id().to_string(), words));
    }

    /// A peer there; `vanishing.py` says what the kinds do.
    fn peer(&self, kind: &str, address: SocketAddr) -> Process {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
        let script = folder.join("vanishing.py").display().to_string();
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        let pid = self.0.child.id().to_string();
        let words = Far::words(&pid, &["python3", &script, kind, &host, &port]);
        Process::start(Command::new("nsenter").args(words))
    }

    /// The peer's machine is gone: nothing it sends arrives, nothing sent reaches it.
    fn vanish(&self) -> Instant {
        self.run(&["ip", "link", "set", "near", "down"]);
        Instant::now()
    }
}

fn mock() -> Running {
    mock::http1::start(Options::default()).expect("a mock upstream")
}

/// A gateway whose own timeouts are far away: what happens is the kernel's doing.
fn patient(upstream: SocketAddr, keepalive: &str) -> Gateway {
    let setup = Setup::listening(&format!("{HERE}:0"), upstream)
        .flag("--tcp-keepalive", keepalive)
        .flag("--tcp-user-timeout", "1s");
    let never = ["--idle-timeout", "--body-idle-timeout", "--write-stall-timeout"];
    never.into_iter().fold(setup, |setup, name| setup.flag(name, "1h")).start()
}

fn down_count(gateway: &Gateway) -> f64 {
    gateway.metric("ringway_connections")
}

#[test]
fn an_idle_client_that_vanished_is_noticed() {
    if !is_inside("an_idle_client_that_vanished_is_noticed") {
        return;
    }
    let (far, mock) = (Far::join(), mock());
    let gateway = patient(mock.address, "1s");
    let mut client = far.peer("client", gateway.address);
    client.says("idle");
    until("the table shows it", || down_count(&gateway) == 1.0);
    let since = far.vanish();
    until("the table is empty", || down_count(&gateway) == 0.0);
    println!("an idle client was gone after {:?}", since.elapsed());
    let (_, table) = gateway.admin("/connections");
    assert!(!table.contains("\"down\""), "{table}");
    assert_eq!(gateway.metric("ringway_connections_closed_total"), 1.0);
}

#[test]
fn a_client_that_vanished_in_mid_reply_is_noticed() {
    if !is_inside("a_client_that_vanished_in_mid_reply_is_noticed") {
        return;
    }
    let (far, mock) = (Far::join(), mock());
    // Bytes wait for an acknowledgement, so that this is the user timeout's to notice.
    let gateway = patient(mock.address, "off");
    let mut client = far.peer("reader", gateway.address);
    client.says("reading");
    let since = far.vanish();
    until("the table is empty", || down_count(&gateway) == 0.0);
    println!("a client in mid-reply was gone after {:?}", since.elapsed());
    assert_eq!(gateway.log(1)[0]["reason"], "client_gone");
}

#[test]
fn an_upstream_that_vanished_in_mid_reply_is_noticed() {
    if !is_inside("an_upstream_that_vanished_in_mid_reply_is_noticed") {
        return;
    }
    let far = Far::join();
    let upstream = SocketAddr::new(THERE.parse().expect("an address"), PEER_PORT);
    let mut server = far.peer("server", upstream);
    server.says("listening");
    let gateway = patient(upstream, "1s");
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    server.says("half");
    assert_eq!(client.head().expect("a head").status, 200);
    let since = far.vanish();
    let rest = client.rest();
    println!("an upstream in mid-reply was gone after {:?}", since.elapsed());
    assert!(rest.is_err() || rest.is_ok_and(|rest| rest.len() <= 500), "the cut is visible");
    assert_eq!(gateway.log(1)[0]["reason"], "upstream_reset_in_reply");
    until("no link is left", || {
        gateway.metric("ringway_upstream_pool_active") == 0.0
            && gateway.metric("ringway_upstream_pool_idle") == 0.0
    });
}
