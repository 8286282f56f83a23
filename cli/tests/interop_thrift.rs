//! Interop over Thrift: Apache Thrift on both sides, in every dialect that it has, beside curl and
//! grpcio on one port, with and without TLS, and each of the three at a port of its own. An absent
//! program fails its test.
#![forbid(unsafe_code)]

mod support;

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use support::{Authority, Folder, Gateway, Origin, Setup};

/// What the script calls its servers by, in the order of their ports.
const SERVERS: &[(&str, &str)] = &[
    ("framed_binary", "protocol: thrift"),
    ("framed_compact", "protocol: thrift, thrift: {transport: framed}"),
    ("buffered_binary", "protocol: thrift, thrift: {transport: buffered}"),
    ("buffered_compact", "protocol: thrift, thrift: {transport: buffered, protocol: compact}"),
    ("theader", "protocol: thrift, thrift: {transport: theader}"),
    ("web", "protocol: http1"),
    ("grpc", "protocol: http2"),
];

/// Methods that lead elsewhere than to the server of their name.
const ROUTES: &str = "\
- {id: slow, match: {thrift: {method: slow}}, cluster: theader, timeout: 300ms}
- {id: absent, match: {thrift: {method: absent}}, cluster: absent}
- {id: only_binary, match: {thrift: {method: only_binary}}, cluster: binary}
- {id: only_compact, match: {thrift: {method: only_compact}}, cluster: buffered_compact}
- {id: orders, match: {thrift: {service: Orders, method: binary}}, cluster: framed_binary}
- {id: compact, match: {thrift: {service: Orders, method: compact}}, cluster: framed_compact}
- {id: calls, match: {path: '/{service}/web'}, cluster: web}
- {id: pages, match: {path: '/page/*'}, cluster: web}
- {id: rpc, match: {grpc: {service: Echo}}, cluster: grpc}
";

fn start(folder: &Folder, ports: &[u16]) -> Gateway {
    Authority::new(folder, "ca").issue(folder, "edge", &["edge.test", "localhost"]);
    let mut config = "version: 1\n\
        listeners:\n\
        - {name: plain, address: '127.0.0.1:0', protocols: [http1, http2, thrift]}\n\
        - {name: tls, address: '127.0.0.2:0', protocols: [http1, http2, thrift], \
        tls: {certificates: [{cert: edge.pem, key: edge.key}]}}\n\
        clusters:\n"
        .to_owned();
    for ((name, speaks), port) in SERVERS.iter().zip(ports) {
        config += &format!("  {name}: {{{speaks}, endpoints: ['127.0.0.1:{port}']}}\n");
    }
    let binary = "protocol: thrift, thrift: {protocol: binary}";
    config += &format!("  binary: {{{binary}, endpoints: ['127.0.0.1:{}']}}\n", ports[0]);
    let absent = Origin::absent();
    config += &format!("  absent: {{protocol: thrift, endpoints: ['{absent}']}}\nroutes:\n");
    for (name, _) in &SERVERS[..5] {
        config += &format!("- {{id: {name}, match: {{thrift: {{method: {name}}}}}, ");
        config += &format!("cluster: {name}}}\n");
    }
    Setup::config(&folder.write("ringway.yaml", config + ROUTES)).start()
}

/// `ringway mock`, which ends with this.
struct Mock(Child);

impl Drop for Mock {
    fn drop(&mut self) {
        self.0.kill().expect("it runs");
        self.0.wait().expect("its end");
    }
}

#[test]
fn apache_thrift_asks_the_mock() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(["mock", "--protocol", "thrift"]).stderr(Stdio::piped());
    let mut mock = Mock(command.spawn().expect("a mock"));
    let mut line = String::new();
    let said = mock.0.stderr.take().expect("what it says");
    BufReader::new(said).read_line(&mut line).expect("its address");
    let address = line.trim().rsplit(' ').next().expect("an address");
    passes("thrift_cases.py", &[format!("mock={address}")]);
}

#[test]
fn apache_thrift_on_both_sides() {
    let folder = Folder::new();
    let ports: Vec<u16> = SERVERS.iter().map(|_| Origin::absent().port()).collect();
    let gateway = start(&folder, &ports);
    let addresses = gateway.addresses();
    let mut args: Vec<String> = ports.iter().map(u16::to_string).collect();
    args.extend([format!("plain={}", addresses[0]), format!("tls={}", addresses[1])]);
    passes("thrift_cases.py", &args);
    gateway.until_idle();
    let told = |protocol| gateway.metric_of("ringway_connection_protocols_total", protocol);
    for protocol in ["http1", "http2", "thrift_framed", "thrift_buffered", "thrift_theader"] {
        assert!(told(protocol) > 0.0, "{protocol}");
    }
}

/// Runs a script, which judges by itself.
fn passes(script: &str, args: &[String]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(script);
    let interpreter = env::var("RINGWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(interpreter);
    command.arg("-B").arg(script).args(args).stdin(Stdio::null());
    let output = command.output().expect("python3 is needed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{text}{errors}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{text}{errors}");
}

/// The example with a port for each protocol, as it is, with upstreams from flags or from a second
/// file.
#[test]
fn each_protocol_at_a_port_of_its_own() {
    let folder = Folder::new();
    Authority::new(&folder, "ca").issue(&folder, "edge", &["edge.test"]);
    let example = "../docs/examples/gateway-config.yaml";
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join(example);
    let text = |path: PathBuf| path.display().to_string();
    let (cert, key) = (text(folder.file("edge.pem")), text(folder.file("edge.key")));
    for by_flag in [true, false] {
        let [web, rpc, calls] = [0; 3].map(|_| Origin::absent());
        let setup = Setup::config(&example)
            .flag("--listen", "http=127.0.0.1:0,grpc=127.0.0.1:0,thrift=127.0.0.1:0")
            .flag("--tls-cert", &cert)
            .flag("--tls-key", &key);
        let gateway = if by_flag {
            setup.flag("--upstream", &format!("http={web},grpc={rpc},thrift={calls}")).start()
        } else {
            let rest = format!(
                "version: 1\n\
                 clusters:\n\
                 \u{20} web: {{endpoints: ['{web}']}}\n\
                 \u{20} rpc: {{endpoints: ['{rpc}'], protocol: http2}}\n\
                 \u{20} calls: {{endpoints: ['{calls}'], protocol: thrift}}\n\
                 routes:\n\
                 - {{id: rpc, match: {{grpc: {{service: Echo}}}}, cluster: rpc}}\n\
                 - {{id: calls, match: {{thrift: {{method: say}}}}, cluster: calls}}\n\
                 - {{id: web, cluster: web}}\n"
            );
            setup.flag("--config", &text(folder.write("routes.yaml", rest))).start()
        };
        let ports = [web, rpc, calls].map(|address| address.port().to_string()).join(",");
        let addresses = gateway.addresses();
        let named = ["http", "grpc", "thrift"].iter().zip(&addresses);
        let named = named.map(|(name, address)| format!("{name}={address}"));
        let mut args = vec![ports, text(folder.file("ca.pem"))];
        args.extend(named);
        passes("protocols_cases.py", &args);
        gateway.until_idle();
        let refused = gateway.metric_of("ringway_connection_closes_total", "protocol_not_allowed");
        assert_eq!(refused, 1.0, "the caller that is not framed");
    }
}
