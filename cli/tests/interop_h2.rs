//! Interop over HTTP/2: grpcio on both sides, h2load as client, nghttpd as upstream, with and
//! without TLS on either side. An absent program fails its test.
#![forbid(unsafe_code)]

mod support;

use std::env;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::{Authority, Folder, Gateway, Origin, Setup, until};

/// Two listeners, `h2c` and `tls`, before one cluster.
fn start(folder: &Folder, cluster: &str) -> Gateway {
    let config = format!(
        "version: 1\n\
         listeners:\n\
         - {{name: h2c, address: '127.0.0.1:0'}}\n\
         - {{name: tls, address: '127.0.0.2:0', tls: {{certificates: [{{cert: edge.pem, \
         key: edge.key}}]}}}}\n\
         clusters: {{c: {{{cluster}}}}}\n\
         routes: [{{id: r, cluster: c}}]\n"
    );
    Setup::config(&folder.write("ringway.yaml", config)).start()
}

fn folder() -> Folder {
    let folder = Folder::new();
    Authority::new(&folder, "ca").issue(&folder, "edge", &["edge.test", "localhost"]);
    folder
}

fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let both = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&both);
    assert!(output.status.success(), "{program} {}: {said}", args.join(" "));
    output
}

/// Every kind of call, through the gateway with each of TLS and h2c on both of its sides.
#[test]
fn grpcio_on_both_sides() {
    let folder = folder();
    let (plain, tls) = (Origin::absent(), Origin::absent());
    let clusters = [
        format!("endpoints: ['{plain}'], protocol: http2"),
        format!("endpoints: ['{tls}'], protocol: http2, tls: {{sni: edge.test, ca: ca.pem}}"),
    ];
    let gateways = clusters.map(|cluster| start(&folder, &cluster));
    let mut words = vec![
        script("grpc_cases.py").display().to_string(),
        plain.port().to_string(),
        tls.port().to_string(),
    ];
    for name in ["edge.pem", "edge.key", "ca.pem"] {
        words.push(folder.file(name).display().to_string());
    }
    for gateway in &gateways {
        let addresses = gateway.addresses();
        words.extend([format!("h2c={}", addresses[0]), format!("tls={}", addresses[1])]);
    }
    let interpreter = env::var("RINGWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = run(&interpreter, &[&["-B"], &words[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{text}");
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

/// nghttpd, killed at the end of its test.
struct Server(SocketAddr, Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.1.kill();
        let _ = self.1.wait();
    }
}

fn nghttpd(folder: &Folder) -> Server {
    folder.write("small", vec![b'x'; 100]);
    folder.write("large", vec![b'x'; 3_000_000]);
    let address = Origin::absent();
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "-a", "127.0.0.1", "-d"]).arg(folder.path());
    command.arg(address.port().to_string()).stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.spawn().unwrap_or_else(|error| panic!("nghttpd is needed: {error}"));
    until("nghttpd accepts", || TcpStream::connect(address).is_ok());
    Server(address, child)
}

/// Many streams on each connection of both sides, and payload larger than any window.
#[test]
fn h2load_in_front_of_nghttpd() {
    let folder = folder();
    let server = nghttpd(&folder);
    let gateway = start(&folder, &format!("endpoints: ['{}'], protocol: http2", server.0));
    let addresses = gateway.addresses();
    for (scheme, address) in ["http", "https"].iter().zip(&addresses) {
        for (path, requests) in [("small", "2000"), ("large", "60")] {
            let url = format!("{scheme}://{address}/{path}");
            let output = run("h2load", &["-n", requests, "-c", "8", "-m", "20", &url]);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let all = format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout");
            assert!(text.contains(&all), "{text}");
            assert!(text.contains(&format!("status codes: {requests} 2xx")), "{text}");
        }
    }
    let links = gateway.metric("ringway_upstream_connects_total");
    assert!(links <= 8.0, "requests share links: {links} were made");
    gateway.until_idle();
}

/// Three versions of HTTP at one port, told apart by their first bytes.
#[test]
fn one_port_for_both_versions() {
    let folder = folder();
    let server = nghttpd(&folder);
    let gateway = start(&folder, &format!("endpoints: ['{}'], protocol: http2", server.0));
    let url = format!("http://{}/large", gateway.addresses()[0]);
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let args = ["--silent", "--show-error", "--fail", "--max-time", "60", version, &url];
        assert_eq!(run("curl", &args).stdout.len(), 3_000_000, "{version}");
    }
}

/// Streams outlive every configuration that they see come and go.
#[test]
fn reloads_break_no_stream() {
    let folder = folder();
    let server = nghttpd(&folder);
    let gateway = start(&folder, &format!("endpoints: ['{}'], protocol: http2", server.0));
    let url = format!("http://{}/large", gateway.addresses()[0]);
    let mut load = Command::new("h2load");
    load.args(["-n", "400", "-c", "4", "-m", "20", &url]).stdin(Stdio::null());
    let mut load = load.stdout(Stdio::piped()).spawn().expect("h2load is needed");
    for generation in 2..=11 {
        gateway.signal("HUP");
        let is_there = || gateway.metric("ringway_config_generation") == f64::from(generation);
        until("the reload is in force", is_there);
    }
    assert!(load.try_wait().expect("a child").is_none(), "it all happened under load");
    let output = load.wait_with_output().expect("h2load ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("400 succeeded, 0 failed, 0 errored, 0 timeout"), "{text}");
    gateway.until_idle();
}
