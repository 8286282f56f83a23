//! Interop over Thrift: Apache Thrift, thriftpy2, npm's thrift and volo-thrift, each as a client of
//! the servers of all four, in every pair of dialects that the gateway joins. An absent program
//! fails its test.
#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use support::thrift::{REPLY, call, frame, message, text};
use support::{Authority, Client, Folder, Gateway, Setup};

/// The clusters, which methods of the same names lead to: a server, and how it is spoken to.
const CLUSTERS: &[(&str, &str, &str)] = &[
    ("apache_framed_binary", "apache_framed_binary", "protocol: binary"),
    ("apache_framed_compact", "apache_framed_compact", "protocol: compact"),
    ("apache_buffered_binary", "apache_buffered_binary", "transport: buffered, protocol: binary"),
    ("apache_buffered_compact", "apache_buffered_compact", "transport: buffered"),
    ("apache_theader", "apache_theader", "transport: theader"),
    ("thriftpy2_framed_binary", "thriftpy2_framed_binary", "transport: framed"),
    ("thriftpy2_framed_compact", "thriftpy2_framed_compact", "transport: framed"),
    ("thriftpy2_buffered_binary", "thriftpy2_buffered_binary", "transport: buffered"),
    ("thriftpy2_buffered_compact", "thriftpy2_buffered_compact", "transport: buffered"),
    ("npm_framed_binary", "npm_framed_binary", "transport: framed"),
    ("npm_framed_compact", "npm_framed_compact", "transport: framed"),
    ("npm_buffered_binary", "npm_buffered_binary", "transport: buffered"),
    ("npm_buffered_compact", "npm_buffered_compact", "transport: buffered"),
    ("npm_theader_binary", "npm_theader_binary", "transport: theader, protocol: binary"),
    ("volo_framed", "volo", "transport: framed"),
    ("volo_buffered", "volo", "transport: buffered"),
    ("volo_ttheader", "volo", "transport: ttheader"),
    ("volo_multiplexed", "volo_multiplexed", "transport: ttheader, calls_max: 64"),
    ("orders", "thriftpy2_orders", "transport: framed"),
    ("stock", "npm_stock", "transport: framed"),
];

/// Routes beside those by a cluster's name.
const ROUTES: &str = "\
- {id: pages, match: {path: '/page/*'}, cluster: web}
- {id: rpc, match: {grpc: {service: Echo, method: Unary}}, cluster: grpc}
- {id: orders, match: {thrift: {service: Orders, method: thriftpy2_framed_binary}}, cluster: orders}
- {id: stock, match: {thrift: {service: Stock, method: npm_framed_binary}}, cluster: stock}
- {id: tell_apache, match: {path: '/{service}/tell_apache'}, cluster: apache_theader}
- {id: tell_thriftpy2, match: {path: '/{service}/tell_thriftpy2'}, cluster: thriftpy2_framed_binary}
- {id: tell_npm, match: {path: '/{service}/tell_npm'}, cluster: npm_buffered_binary}
- {id: tell_volo, match: {path: '/{service}/tell_volo'}, cluster: volo_ttheader}
";

/// A program of one implementation.
fn program(name: &str) -> Command {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    match name {
        "python" => {
            let interpreter = env::var("RINGWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
            let mut command = Command::new(interpreter);
            command.arg("-B").arg(scripts.join("thrift_peers.py")).arg(idl());
            command
        }
        "npm" => {
            let mut command = Command::new("node");
            command.arg(scripts.join("thrift_peers.mjs"));
            command
        }
        _ => Command::new(env::var("RINGWAY_VOLO").expect("RINGWAY_VOLO names the peer of volo")),
    }
}

fn idl() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../interop/echo.thrift")
}

/// The servers of one implementation, ended with the test.
struct Servers {
    child: Child,
    ports: Vec<(String, u16)>,
}

impl Servers {
    fn start(name: &str) -> Self {
        Self::start_with(name, &[])
    }

    fn start_with(name: &str, args: &[&str]) -> Self {
        let mut command = program(name);
        command.arg("serve").args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut line = String::new();
        let stdout = child.stdout.take().expect("standard output is piped");
        BufReader::new(stdout).read_line(&mut line).expect("a line of text");
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("ready"), "{name}: {line}");
        let port = |word: &str| {
            let (server, port) = word.split_once('=').expect("NAME=PORT");
            (server.to_owned(), port.parse().expect("a port"))
        };
        Self { ports: words.map(port).collect(), child }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everybody's servers behind listeners `plain`, `tls` and one that believes its callers.
fn start(folder: &Folder, servers: &[Servers]) -> Gateway {
    Authority::new(folder, "ca").issue(folder, "edge", &["edge.test", "localhost"]);
    let ports: BTreeMap<&str, u16> =
        servers.iter().flat_map(|one| &one.ports).map(|(name, port)| (&name[..], *port)).collect();
    let mut config = "version: 1\nlisteners:\n\
        - {name: plain, address: '127.0.0.1:0', protocols: [http1, http2, thrift]}\n\
        - {name: tls, address: '127.0.0.2:0', protocols: [http1, http2, thrift], \
        tls: {certificates: [{cert: edge.pem, key: edge.key}]}}\n\
        - {name: own, address: '127.0.0.3:0', protocols: [thrift], trust_metadata: true}\n\
        clusters:\n"
        .to_owned();
    for (name, protocol) in [("web", "http1"), ("grpc", "http2")] {
        let port = ports.get(name).unwrap_or_else(|| panic!("no server {name}"));
        config += &format!("  {name}: {{protocol: {protocol}, endpoints: ['127.0.0.1:{port}']}}\n");
    }
    for (name, server, speaks) in CLUSTERS {
        let port = ports.get(server).unwrap_or_else(|| panic!("no server {server}"));
        config += &format!("  {name}: {{protocol: thrift, thrift: {{{speaks}}}, ");
        config += &format!("endpoints: ['127.0.0.1:{port}']}}\n");
    }
    config += &format!("routes:\n{ROUTES}");
    for (name, ..) in &CLUSTERS[..18] {
        let path = format!("'/{{service}}/{name}'");
        config += &format!("- {{id: {name}, match: {{path: {path}}}, cluster: {name}}}\n");
    }
    Setup::config(&folder.write("ringway.yaml", config)).start()
}

/// Asks all cases of one implementation's clients.
fn ask(name: &str, args: &[String]) {
    let mut command = program(name);
    let output = command.arg("call").args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{name}: {text}{errors}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{name}");
}

/// Callers that wait for a word before they ask, ended with the test.
struct Waiting(String, Child, BufReader<ChildStdout>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.1.kill();
        let _ = self.1.wait();
    }
}

impl Waiting {
    fn start(name: &str, target: String) -> Self {
        let mut command = program(name);
        command.args(["load".to_owned(), target]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut lines = BufReader::new(child.stdout.take().expect("standard output is piped"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line of text");
        assert_eq!(line, "ready\n", "{name}");
        Self(name.to_owned(), child, lines)
    }

    /// They ask from now on.
    fn go(&mut self) {
        let mut stdin = self.1.stdin.take().expect("standard input is piped");
        stdin.write_all(b"go\n").expect("they wait for it");
    }

    /// How many answers they had, all of them right.
    fn answers(mut self) -> u32 {
        let mut text = String::new();
        self.2.read_to_string(&mut text).expect("text");
        let status = self.1.wait().expect("it was started");
        let last = text.lines().last().unwrap_or_default();
        let count = last.strip_suffix(" passed, 0 failed").and_then(|count| count.parse().ok());
        assert!(status.success() && count > Some(0), "{}: {text}", self.0);
        count.unwrap_or_default()
    }
}

#[test]
fn one_port_serves_everybody_at_once() {
    let servers = ["python", "npm", "volo"].map(Servers::start);
    let folder = Folder::new();
    let gateway = start(&folder, &servers);
    let plain = gateway.address;
    let mut callers = [
        Waiting::start("python", format!("plain={plain}")),
        Waiting::start("volo", plain.to_string()),
    ];
    callers.iter_mut().for_each(Waiting::go);
    let answers = callers.map(Waiting::answers);
    gateway.until_idle();
    let asked = gateway.metric("ringway_requests_total");
    assert_eq!(asked, f64::from(answers.iter().sum::<u32>()), "{answers:?}");
    assert_eq!(gateway.metric("ringway_local_replies_total"), 0.0);
    let told = |protocol| gateway.metric_of("ringway_connection_protocols_total", protocol);
    for protocol in PROTOCOLS {
        assert!(told(protocol) > 0.0, "{protocol}");
    }
}

/// Connections to volo's server that 64 callers at a time need, whose calls take it 2 ms each.
fn connections_of_64(server: &str, speaks: &str) -> f64 {
    let (servers, folder) = (Servers::start_with("volo", &["2"]), Folder::new());
    let port = servers.ports.iter().find(|(name, _)| name == server).expect("a server").1;
    let config = format!(
        "version: 1\n\
         listeners: [{{address: '127.0.0.1:0', protocols: [thrift]}}]\n\
         clusters: {{volo: {{protocol: thrift, thrift: {{{speaks}}}, \
         endpoints: ['127.0.0.1:{port}']}}}}\n\
         routes: [{{id: all, match: {{thrift: {{}}}}, cluster: volo}}]\n"
    );
    let setup = Setup::config(&folder.write("ringway.yaml", config));
    let gateway = setup.flag("--shards", "2").start();
    let mut callers: Vec<Client> = (0..64).map(|_| Client::connect(gateway.address)).collect();
    for round in 0..ROUNDS {
        for (caller, number) in callers.iter_mut().zip(0..) {
            let said = text(&format!("{number} in round {round}"));
            caller.send(call("volo_framed", round, &said));
        }
        for (caller, number) in callers.iter_mut().zip(0..) {
            let mut said = text(&format!("{number} in round {round}"));
            // What a method gives back has the number 0.
            said[2] = 0;
            assert_eq!(frame(caller), message(REPLY, "volo_framed", round, &said));
        }
    }
    assert_eq!(gateway.metric("ringway_requests_total"), f64::from(64 * ROUNDS));
    gateway.metric("ringway_upstream_connects_total")
}

/// Enough that all 64 meet in one.
const ROUNDS: u32 = 30;

#[test]
fn callers_share_the_connections_of_a_server_that_takes_many_calls() {
    let framed = connections_of_64("volo", "transport: framed");
    let shared = connections_of_64("volo_multiplexed", "transport: ttheader, calls_max: 64");
    println!("{framed} connections with a call each, {shared} with up to 64");
    assert!(shared >= 1.0 && shared * 8.0 <= framed, "{shared} of {framed}");
}

/// What connections of the one port begin with.
const PROTOCOLS: &[&str] =
    &["http1", "http2", "thrift_framed", "thrift_buffered", "thrift_theader", "thrift_ttheader"];

#[test]
fn four_implementations_ask_each_other() {
    let servers = ["python", "npm", "volo"].map(Servers::start);
    let folder = Folder::new();
    let gateway = start(&folder, &servers);
    let [plain, tls, own] = gateway.addresses()[..] else { panic!("three listeners") };
    let both = [format!("plain={plain}"), format!("tls={tls}")];
    ask("npm", &both);
    ask("python", &both);
    ask("volo", &[plain.to_string(), own.to_string()]);
    gateway.until_idle();
    let told = |protocol| gateway.metric_of("ringway_connection_protocols_total", protocol);
    for protocol in &PROTOCOLS[2..] {
        assert!(told(protocol) > 0.0, "{protocol}");
    }
    assert!(gateway.metric_of("ringway_metadata_dropped_total", "untrusted") > 0.0);
}
