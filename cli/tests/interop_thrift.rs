//! Interop over Thrift: Apache Thrift on both sides, in every dialect that it has, beside curl and
//! grpcio on one port, with and without TLS. An absent program fails its test.
#![forbid(unsafe_code)]

mod support;

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

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

#[test]
fn apache_thrift_on_both_sides() {
    let folder = Folder::new();
    let ports: Vec<u16> = SERVERS.iter().map(|_| Origin::absent().port()).collect();
    let gateway = start(&folder, &ports);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/thrift_cases.py");
    let interpreter = env::var("RINGWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let addresses = gateway.addresses();
    let output = Command::new(interpreter)
        .arg("-B")
        .arg(script)
        .args(ports.iter().map(u16::to_string))
        .args([format!("plain={}", addresses[0]), format!("tls={}", addresses[1])])
        .stdin(Stdio::null())
        .output()
        .expect("python3 is needed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{text}{errors}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{text}{errors}");
    gateway.until_idle();
    let told = |protocol| gateway.metric_of("ringway_connection_protocols_total", protocol);
    for protocol in ["http1", "http2", "thrift_framed", "thrift_buffered", "thrift_theader"] {
        assert!(told(protocol) > 0.0, "{protocol}");
    }
}
