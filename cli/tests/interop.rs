//! Interop: programs that we did not write on both sides of the real binary.
//!
//! Upstreams are nginx and Node's http server; clients are curl, wrk, ab and Python's http.client;
//! h11, websockets and wsproto are on both sides; the case tables are those of Go's net/http. An
//! absent program fails its test. `RINGWAY_INTEROP_SECONDS` is the length of a load run (10 when
//! unset), `RINGWAY_PYTHON` an interpreter that has the three libraries.
#![forbid(unsafe_code)]

mod support;

use std::env;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use support::{Folder, Gateway, Origin, Setup, until};

/// A server process, killed at the end of its test.
struct Server {
    address: SocketAddr,
    child: Child,
    folder: Folder,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body that nginx serves, and Node's `/bytes` likewise.
fn pattern(bytes: usize) -> Vec<u8> {
    b"ringway.".iter().copied().cycle().take(bytes).collect()
}

const LARGE_BYTES: usize = 20_000_000;

/// nginx in the foreground: static files, and uploads by PUT into the same folder.
fn nginx() -> Server {
    let folder = Folder::new();
    folder.write("small", pattern(100));
    folder.write("large", pattern(LARGE_BYTES));
    let address = Origin::absent();
    let config = format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr warn;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off; client_max_body_size 64m; keepalive_requests 1000000;\n\
         client_body_temp_path tmp_body; proxy_temp_path tmp_proxy; fastcgi_temp_path tmp_fcgi;\n\
         uwsgi_temp_path tmp_uwsgi; scgi_temp_path tmp_scgi;\n\
         server {{ listen {address} backlog=4096; root .; dav_methods PUT; }}\n}}\n"
    );
    folder.write("nginx.conf", config);
    let mut command = Command::new(system_program("nginx"));
    command.arg("-p").arg(folder.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let child = command.spawn().expect("nginx is installed");
    let server = Server { address, child, folder };
    until("nginx accepts", || TcpStream::connect(address).is_ok());
    server
}

fn node() -> Server {
    let folder = Folder::new();
    let mut command = Command::new("node");
    command.arg(script("server.mjs")).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("node is installed");
    let mut port = String::new();
    let stdout = child.stdout.take().expect("standard output is piped");
    BufReader::new(stdout).read_line(&mut port).expect("node prints its port");
    let port = port.trim().parse().expect("a port");
    Server { address: SocketAddr::from(([127, 0, 0, 1], port)), child, folder }
}

/// `/usr/sbin` is not in an ordinary user's PATH.
fn system_program(name: &str) -> PathBuf {
    let path = Path::new("/usr/sbin").join(name);
    if path.exists() { path } else { name.into() }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name)
}

fn in_front_of(server: &Server) -> Gateway {
    Setup::upstream(server.address).flag("--shards", "2").start()
}

fn run(program: &str, args: &[&str]) -> Output {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{program} is needed: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {error}", args.join(" "));
    output
}

fn curl(args: &[&str]) -> Vec<u8> {
    let common = ["--silent", "--show-error", "--fail", "--max-time", "60"];
    run("curl", &[&common, args].concat()).stdout
}

fn json(bytes: &[u8]) -> serde_json::Value {
    serde_json::from_slice(bytes).expect("JSON from the upstream")
}

#[test]
fn curl_in_front_of_nginx() {
    let server = nginx();
    let gateway = in_front_of(&server);
    let url = |path: &str| format!("http://{}/{path}", gateway.address);
    assert_eq!(curl(&[&url("small")]), pattern(100));
    assert_eq!(curl(&["--http1.0", &url("small")]), pattern(100));
    assert!(curl(&[&url("large")]) == pattern(LARGE_BYTES), "20 MB through nginx");
    let range = curl(&["--range", "1000-1999", &url("large")]);
    assert_eq!(range, pattern(LARGE_BYTES)[1000..2000]);
    let head = String::from_utf8(curl(&["--head", &url("large")])).expect("text");
    assert!(head.to_lowercase().contains(&format!("content-length: {LARGE_BYTES}")), "{head}");
    let reused = curl(&["--write-out", "%{num_connects} ", &url("small"), &url("small")]);
    assert!(String::from_utf8_lossy(&reused).ends_with("0 "), "the connection was not reused");
    let body = server.folder.write("body", pattern(1024 * 1024));
    for (name, framing) in [("length", "X-A: b"), ("chunks", "Transfer-Encoding: chunked")] {
        let file = body.display().to_string();
        curl(&["--upload-file", &file, "--header", framing, &url(name)]);
        let stored = std::fs::read(server.folder.file(name)).expect("nginx stored the upload");
        assert!(stored == pattern(1024 * 1024), "{name}");
    }
}

#[test]
fn curl_in_front_of_node() {
    let server = node();
    let gateway = in_front_of(&server);
    let url = |path: &str| format!("http://{}/{path}", gateway.address);
    let seen = json(&curl(&["--header", "X-Kept: yes", &url("a/b?c=d")]));
    assert_eq!((&seen["url"], &seen["method"]), (&"/a/b?c=d".into(), &"GET".into()));
    assert_eq!(seen["headers"]["x-kept"], "yes");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    let body = server.folder.write("body", pattern(1024 * 1024));
    let data = format!("@{}", body.display());
    for framing in ["X-A: b", "Transfer-Encoding: chunked"] {
        let seen = json(&curl(&["--data-binary", &data, "--header", framing, &url("post")]));
        assert_eq!((&seen["length"], &seen["method"]), (&(1024 * 1024).into(), &"POST".into()));
    }
    for query in ["bytes?n=20000000", "bytes?n=20000000&chunked=1"] {
        assert!(curl(&[&url(query)]) == pattern(LARGE_BYTES), "{query}");
    }
    let old = curl(&["--http1.0", &url("bytes?n=1000&chunked=1")]);
    assert_eq!(old, pattern(1000), "chunks are no part of HTTP/1.0");
}

fn python(name: &str) {
    let server = node();
    let gateway = in_front_of(&server);
    let interpreter = env::var("RINGWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let (host, port) = (gateway.address.ip().to_string(), gateway.address.port().to_string());
    let script = script(name).display().to_string();
    let output = run(&interpreter, &[&script, &host, &port]);
    assert!(!output.stdout.is_empty());
}

#[test]
fn pythons_http_client() {
    python("http_client.py");
}

#[test]
fn pythons_h11() {
    python("h11_client.py");
}

/// Runs a script that plays the origin itself and ends with `N passed, M failed`; what it exits
/// with says whether a failure has no reason.
fn judged_by(name: &str, args: &[String]) {
    let interpreter = env::var("RINGWAY_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = script(name).display().to_string();
    let mut words = vec!["-B", &script];
    words.extend(args.iter().map(String::as_str));
    let output = run(&interpreter, &words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains(" passed, ") && !last.starts_with("0 "), "{last}");
}

/// A gateway of HTTP/1.1 alone that adds no fields of its own and leaves paths as they are, in
/// front of a script that is its origin.
fn in_front_of_script(name: &str) {
    let (folder, origin) = (Folder::new(), Origin::absent());
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0', protocols: http1}}]\n\
         clusters: {{c: {{endpoints: ['{origin}']}}}}\nroutes: [{{id: r, cluster: c}}]\n"
    );
    let setup = Setup::config(&folder.write("ringway.yaml", config));
    let gateway = setup.bare("").flag("--path-rule", "off").start();
    let (host, port) = (gateway.address.ip(), gateway.address.port());
    judged_by(name, &[host.to_string(), port.to_string(), origin.port().to_string()]);
}

/// The tables' requests and replies, judged by the script; it plays the origin itself.
#[test]
fn gos_case_tables() {
    in_front_of_script("go_cases.py");
}

/// h11 is client and origin at once.
#[test]
fn h11_in_both_roles() {
    in_front_of_script("h11_cases.py");
}

/// Clients and servers of two libraries in every pairing; the script plays all of them.
#[test]
fn websocket_libraries_in_both_roles() {
    let folder = Folder::new();
    let origins = [Origin::absent(), Origin::absent()];
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         clusters: {{a: {{endpoints: ['{}']}}, b: {{endpoints: ['{}']}}}}\n\
         routes:\n\
         - {{id: a, match: {{path: /websockets/*}}, cluster: a, upgrade: [websocket]}}\n\
         - {{id: b, match: {{path: /wsproto/*}}, cluster: b, upgrade: [websocket]}}\n\
         - {{id: c, match: {{path: /plain/websockets/*}}, cluster: a}}\n\
         - {{id: d, match: {{path: /plain/wsproto/*}}, cluster: b}}\n",
        origins[0], origins[1]
    );
    let config = folder.write("ringway.yaml", config);
    let gateway = Setup::config(&config).flag("--shards", "2").start();
    let idle = Setup::config(&config).flag("--tunnel-idle-timeout", "1s").start();
    let [a, b] = origins.map(|origin| origin.port().to_string());
    judged_by("ws_cases.py", &[gateway.address.to_string(), idle.address.to_string(), a, b]);
    gateway.until_idle();
    idle.until_idle();
}

fn seconds() -> String {
    let seconds = env::var("RINGWAY_INTEROP_SECONDS").unwrap_or_else(|_| "10".to_owned());
    format!("{}s", seconds.parse::<u32>().expect("RINGWAY_INTEROP_SECONDS is a number"))
}

/// wrk reports a line `Socket errors` or `Non-2xx` only when there are any.
fn wrk(gateway: &Gateway, connections: &str, path: &str) {
    let url = format!("http://{}/{path}", gateway.address);
    let load = ["-t", "2", "-c", connections, "-d", &seconds(), &url];
    let text = String::from_utf8_lossy(&run("wrk", &load).stdout).into_owned();
    println!("{text}");
    let requests = text.lines().find(|line| line.contains(" requests in ")).expect("a summary");
    let count = requests.trim().split(' ').next().and_then(|count| count.parse::<u64>().ok());
    assert!(count.is_some_and(|count| count > 0), "{requests}");
    assert!(!text.contains("Socket errors") && !text.contains("Non-2xx"), "{text}");
}

#[test]
fn wrk_with_64_and_512_connections() {
    let (nginx, node) = (nginx(), node());
    for connections in ["64", "512"] {
        wrk(&in_front_of(&nginx), connections, "small");
        wrk(&in_front_of(&node), connections, "bytes?n=100");
    }
}

#[test]
fn ab_with_keep_alive() {
    let server = nginx();
    let gateway = in_front_of(&server);
    let url = format!("http://{}/small", gateway.address);
    let text = run("ab", &["-k", "-q", "-n", "20000", "-c", "64", &url]).stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found.map(|rest| rest.trim().to_owned()).unwrap_or_default()
    };
    assert_eq!(line("Complete requests:"), "20000", "{text}");
    assert_eq!(line("Failed requests:"), "0", "{text}");
    assert_eq!(line("Keep-Alive requests:"), "20000", "{text}");
    assert!(!text.contains("Non-2xx"), "{text}");
}
