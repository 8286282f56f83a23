//! End to end: Unix sockets, IPv6, and many listeners at once, on both sides of the gateway.
//!
//! The client of the Unix sockets is curl, which the tests fail without.
#![forbid(unsafe_code)]

mod support;

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use mock::http1::{Options, Running};
use support::{Exit, Folder, Setup, until};

fn mock(listen: &str) -> Running {
    let listen = listen.parse().expect("an address");
    mock::http1::start(Options { listen, ..Options::default() }).expect("a mock upstream")
}

/// curl's standard output: the body, then status and number of new connections.
fn curl(words: &[&str]) -> String {
    let common = ["--silent", "--show-error", "--max-time", "60"];
    let output = Command::new("curl").args(common).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("curl is needed: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {}: {error}", words.join(" "));
    String::from_utf8(output.stdout).expect("text")
}

fn config(listeners: &str, endpoint: &str) -> String {
    format!(
        "version: 1\nlisteners:\n{listeners}\
         clusters:\n  only: {{endpoints: ['{endpoint}']}}\n\
         routes:\n  - {{id: all, cluster: only}}\n"
    )
}

/// The first line is TCP, so that the start can be waited for as usual.
fn with_unix(path: &Path) -> String {
    let path = path.display();
    format!("  - {{address: '127.0.0.1:0'}}\n  - {{name: local, address: 'unix:{path}'}}\n")
}

/// An origin on a Unix socket: answers every request with its own head as the body.
fn unix_origin(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket file");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut writer = stream.try_clone().expect("a second handle");
                let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
                loop {
                    let head: Vec<_> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
                    let body = head.join("\n");
                    let length = body.len();
                    let reply =
                        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
                    if head.is_empty() || writer.write_all(reply.as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn a_unix_listener_serves_curl_with_two_shards() {
    let (mock, folder) = (mock("127.0.0.1:0"), Folder::new());
    let socket = folder.file("edge.sock");
    let file = folder.write("r.yaml", config(&with_unix(&socket), &mock.address.to_string()));
    let mut gateway = Setup::config(&file).flag("--shards", "2").start();
    let path = socket.display().to_string();
    let unix = ["--unix-socket", &path, "--write-out", " %{http_code} %{num_connects}\n"];
    let said = curl(&[&unix[..], &["http://any.example/", "http://any.example/"]].concat());
    assert!(said.contains(" 200 1\n") && said.ends_with(" 200 0\n"), "{said}");
    let echoed = curl(&["--unix-socket", &path, "http://any.example/echo?x=1"]);
    let seen: serde_json::Value = serde_json::from_str(&echoed).expect("the request as JSON");
    let text = seen.to_string();
    assert!(text.contains("any.example") && text.contains("/echo?x=1"), "{text}");
    let data = format!("@{}", file.display());
    let raw = curl(&["--unix-socket", &path, "--data-binary", &data, "http://any.example/raw"]);
    assert_eq!(raw, std::fs::read_to_string(&file).expect("the body"));
    assert_eq!(gateway.log(4)[0]["status"], 200);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Exit(Some(0)));
    // The file of the last run does not keep the next one from listening.
    let again = Setup::config(&file).start();
    assert!(curl(&[&unix[..], &["http://any.example/"]].concat()).ends_with(" 200 1\n"));
    assert_eq!(again.metric("ringway_connections_accepted_total"), 1.0);
}

#[test]
fn a_unix_upstream_is_reached_and_its_links_are_reused() {
    let folder = Folder::new();
    let socket = folder.file("origin.sock");
    unix_origin(&socket);
    let endpoint = format!("unix:{}", socket.display());
    let listener = "  - {address: '127.0.0.1:0'}\n";
    let file = folder.write("r.yaml", config(listener, &endpoint));
    let gateway = Setup::config(&file).start();
    let mut client = gateway.client();
    let reply = client.get("/over/unix");
    assert!(reply.text().starts_with("GET /over/unix HTTP/1.1"), "{}", reply.text());
    assert!(reply.text().to_lowercase().contains("x-forwarded-for: 127.0.0.1"), "{}", reply.text());
    assert_eq!(client.get("/again").status, 200);
    assert_eq!(gateway.metric("ringway_upstream_reuses_total"), 1.0);
    assert_eq!(gateway.log(1)[0]["upstream"], endpoint);
}

#[test]
fn from_a_unix_client_to_a_unix_upstream() {
    let folder = Folder::new();
    let (edge, origin) = (folder.file("edge.sock"), folder.file("origin.sock"));
    unix_origin(&origin);
    let endpoint = format!("unix:{}", origin.display());
    let file = folder.write("r.yaml", config(&with_unix(&edge), &endpoint));
    let _gateway = Setup::config(&file).start();
    let path = edge.display().to_string();
    let said = curl(&["--unix-socket", &path, "http://any.example/both"]).to_lowercase();
    assert!(said.starts_with("get /both http/1.1"), "{said}");
    assert!(said.contains("host: any.example"), "{said}");
    assert!(!said.contains("x-forwarded-for"), "a Unix peer has no address: {said}");
}

#[test]
fn an_absent_unix_upstream_is_a_502() {
    let folder = Folder::new();
    let endpoint = format!("unix:{}", folder.file("nobody.sock").display());
    let file = folder.write("r.yaml", config("  - {address: '127.0.0.1:0'}\n", &endpoint));
    let gateway = Setup::config(&file).start();
    let reply = gateway.client().get("/");
    assert_eq!((reply.status, reply.text().as_str()), (502, "502 upstream_connect_failed\n"));
}

#[test]
fn ipv6_on_both_sides() {
    let (mock, folder) = (mock("[::1]:0"), Folder::new());
    let listeners = "  - {address: '[::1]:0'}\n  - {address: '127.0.0.1:0'}\n";
    let file = folder.write("r.yaml", config(listeners, &mock.address.to_string()));
    let gateway = Setup::config(&file).flag("--shards", "2").start();
    let [v6, v4] = gateway.addresses()[..] else { panic!("two addresses") };
    assert!(v6.is_ipv6() && v4.is_ipv4());
    let said = curl(&[&format!("http://{v6}/echo"), "--header", "X-A: b"]);
    let seen = said.to_lowercase();
    assert!(seen.contains(&format!("[::1]:{}", v6.port())), "the Host field: {said}");
    assert!(seen.contains("x-forwarded-for") && seen.contains("::1"), "{said}");
    assert!(curl(&[&format!("http://{v4}/echo")]).to_lowercase().contains("127.0.0.1"));
    let line = &gateway.log(1)[0];
    assert_eq!(line["upstream"], mock.address.to_string());
    // [::] and 0.0.0.0 are two addresses: IPv6 sockets take IPv6 only.
    let port = v6.port();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err() || port == v4.port());
}

/// Seven of each kind and one more.
#[test]
fn twenty_mixed_listeners() {
    let (mock, folder) = (mock("127.0.0.1:0"), Folder::new());
    let mut listeners = String::new();
    let socket = |at: usize| folder.file(&format!("{at}.sock"));
    for at in 0..20 {
        let address = match at % 3 {
            0 => format!("127.0.0.{}:0", at + 1),
            // Equal addresses are refused, so a port is chosen where only the port differs.
            1 => free_v6().to_string(),
            _ => format!("unix:{}", socket(at).display()),
        };
        writeln!(listeners, "  - {{name: l{at}, address: '{address}'}}").expect("text");
    }
    let file = folder.write("r.yaml", config(&listeners, &mock.address.to_string()));
    let gateway = Setup::config(&file).flag("--shards", "2").start();
    let tcp = gateway.addresses();
    assert_eq!(tcp.len(), 14, "{:?}", gateway.said());
    for address in tcp {
        assert_eq!(support::Client::connect(address).get("/").status, 200, "{address}");
    }
    for at in (2..20).step_by(3) {
        let path = socket(at).display().to_string();
        let words = ["--unix-socket", &path, "--write-out", " %{http_code}", "http://any/"];
        assert!(curl(&words).ends_with(" 200"), "{path}");
    }
    until("all were accepted", || gateway.metric("ringway_connections_accepted_total") == 20.0);
    assert_eq!(mock.requests(), 20);
}

fn free_v6() -> SocketAddr {
    let listener = TcpListener::bind("[::1]:0").expect("IPv6 on the loopback");
    listener.local_addr().expect("a bound address")
}
