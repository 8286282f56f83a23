//! Interop over HTTP/2, with and without TLS on either side: grpcio, grpc-js, tonic and Python's h2
//! on both sides; nghttp, h2load, curl and httpx as clients; nghttpd as upstream. An absent program
//! fails its test.
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

/// Runs a program that is client and server at once, with the gateway between them in each
/// combination of TLS and h2c on its two sides. It serves the two ports that it is told first, and
/// ends with `N passed, M failed`.
fn between_itself(program: &str, first: &[&str]) -> [Gateway; 2] {
    let folder = folder();
    let (plain, tls) = (Origin::absent(), Origin::absent());
    let clusters = [
        format!("endpoints: ['{plain}'], protocol: http2"),
        format!("endpoints: ['{tls}'], protocol: http2, tls: {{sni: edge.test, ca: ca.pem}}"),
    ];
    let gateways = clusters.map(|cluster| start(&folder, &cluster));
    let mut words = vec![plain.port().to_string(), tls.port().to_string()];
    for name in ["edge.pem", "edge.key", "ca.pem"] {
        words.push(folder.file(name).display().to_string());
    }
    for gateway in &gateways {
        let addresses = gateway.addresses();
        words.extend([format!("h2c={}", addresses[0]), format!("tls={}", addresses[1])]);
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let output = run(program, &[first, &words[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.ends_with(" passed, 0 failed") && !last.starts_with("0 "), "{text}");
    gateways.iter().for_each(Gateway::until_idle);
    gateways
}

fn python(name: &str) -> [Gateway; 2] {
    let interpreter = env::var("RINGWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    between_itself(&interpreter, &["-B", &script(name).display().to_string()])
}

/// Every kind of call.
#[test]
fn grpcio_on_both_sides() {
    for gateway in python("grpc_cases.py") {
        for status in ["0", "1", "9", "12"] {
            let label = format!("{{cluster=\"c\",grpc_status=\"{status}\"}}");
            assert!(gateway.metric_of("ringway_grpc_calls_total", &label) > 0.0, "{label}");
        }
        let (calls, requests) = ("ringway_grpc_calls_total", "ringway_requests_total");
        assert_eq!(gateway.metric(calls), gateway.metric(requests), "each is a call");
    }
}

/// Every kind of call; `RINGWAY_NODE_MODULES` is a folder with the library.
#[test]
fn grpc_js_on_both_sides() {
    between_itself("node", &[&script("grpc_cases.mjs").display().to_string()]);
}

/// Every kind of call; `RINGWAY_TONIC` is the program in `interop/tonic`, built.
#[test]
fn tonic_on_both_sides() {
    let program = env::var("RINGWAY_TONIC").expect("RINGWAY_TONIC names the program");
    between_itself(&program, &[]);
}

/// Streams by frames, and httpx as one more client.
#[test]
fn pythons_h2_on_both_sides() {
    python("h2_cases.py");
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

fn nghttpd(folder: &Folder, has_tls: bool, more: &[&str]) -> Server {
    folder.write("small", vec![b'x'; 100]);
    folder.write("large", vec![b'x'; 3_000_000]);
    let address = Origin::absent();
    let mut command = Command::new("nghttpd");
    command.args(["-a", "127.0.0.1", "-d"]).arg(folder.path()).args(more);
    if !has_tls {
        command.arg("--no-tls");
    }
    command.arg(address.port().to_string());
    if has_tls {
        command.arg(folder.file("edge.key")).arg(folder.file("edge.pem"));
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let child = command.spawn().unwrap_or_else(|error| panic!("nghttpd is needed: {error}"));
    until("nghttpd accepts", || TcpStream::connect(address).is_ok());
    Server(address, child)
}

/// Gateways before nghttpd without and with TLS, which echoes uploads and ends replies to downloads
/// with a trailer.
fn before_nghttpd(folder: &Folder) -> [(Server, Gateway); 2] {
    [("", false), (", tls: {sni: edge.test, ca: ca.pem}", true)].map(|(tls, has_tls)| {
        let more = ["--echo-upload", "--trailer", "x-end: z"];
        let server = nghttpd(folder, has_tls, &more);
        let cluster = format!("endpoints: ['{}'], protocol: http2{tls}", server.0);
        let gateway = start(folder, &cluster);
        (server, gateway)
    })
}

/// Downloads, uploads and trailers, by each of TLS and h2c on both sides.
#[test]
fn nghttp_in_front_of_nghttpd() {
    let folder = folder();
    let upload = folder.write("upload", (0..200_000).map(|at| at as u8).collect::<Vec<_>>());
    for (_server, gateway) in &before_nghttpd(&folder) {
        for (scheme, address) in ["http", "https"].iter().zip(gateway.addresses()) {
            let url = |path: &str| format!("{scheme}://{address}/{path}");
            let nghttp = |args: &[&str]| run("nghttp", &[&["--no-verify-peer"], args].concat());
            assert_eq!(nghttp(&[&url("large")]).stdout, vec![b'x'; 3_000_000]);
            let file = upload.display().to_string();
            let echo = nghttp(&["--data", &file, "--trailer", "x-mine: y", &url("any")]);
            assert!(echo.stdout == std::fs::read(&upload).expect("the file"), "{scheme}");
            let many = nghttp(&["--verbose", "--null-out", "--multiply", "50", &url("small")]);
            let frames = String::from_utf8_lossy(&many.stdout).into_owned();
            assert_eq!(frames.matches(":status: 200").count(), 50, "{frames}");
            assert_eq!(frames.matches("x-end: z").count(), 50, "{frames}");
        }
        gateway.until_idle();
    }
}

/// By ALPN, by prior knowledge, and by an upgrade that is not taken: HTTP/1.1 answers then.
#[test]
fn curl_with_http2_in_front_of_nghttpd() {
    let folder = folder();
    let upload = folder.write("upload", vec![b'u'; 3_000_000]);
    let data = format!("@{}", upload.display());
    let authority = folder.file("ca.pem").display().to_string();
    for (_server, gateway) in &before_nghttpd(&folder) {
        let addresses = gateway.addresses();
        let [plain, tls] = [addresses[0].to_string(), format!("edge.test:{}", addresses[1].port())];
        let resolve = format!("{tls}:{}", addresses[1].ip());
        for (url, flag, version) in [
            (format!("https://{tls}/"), "--http2", "2"),
            (format!("http://{plain}/"), "--http2-prior-knowledge", "2"),
            (format!("http://{plain}/"), "--http2", "1.1"),
        ] {
            let curl = |args: &[&str]| {
                let common = ["--silent", "--show-error", "--fail", "--max-time", "60", flag];
                let trust = ["--cacert", &authority, "--resolve", &resolve];
                run("curl", &[&common[..], &trust, args].concat()).stdout
            };
            let large = format!("{url}large");
            let said = curl(&["--write-out", "%{http_version}", &large]);
            let (body, said) = said.split_at(3_000_000);
            assert!(body.iter().all(|byte| *byte == b'x'), "{url}");
            assert_eq!(String::from_utf8_lossy(said), version, "{url} {flag}");
            assert!(curl(&["--data-binary", &data, &url]) == vec![b'u'; 3_000_000], "{url}");
        }
        gateway.until_idle();
    }
}

/// Many streams on each connection of both sides, and payload larger than any window.
#[test]
fn h2load_in_front_of_nghttpd() {
    let folder = folder();
    let server = nghttpd(&folder, false, &[]);
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
    let server = nghttpd(&folder, false, &[]);
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
    let server = nghttpd(&folder, false, &[]);
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
