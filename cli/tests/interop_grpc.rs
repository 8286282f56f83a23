//! Interop of what the gateway does for gRPC by itself: its health service, asked by grpcio's
//! client for it, and gRPC-Web in front of a server of grpcio. An absent program fails its test.
#![forbid(unsafe_code)]

mod support;

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use support::{Authority, Folder, Gateway, Origin, Reply, Setup, until};

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
fn config(folder: &Folder, health: &str, rest: &str) -> PathBuf {
    let text = format!(
        "version: 1\n\
         listeners:\n\
         - {{name: h2c, address: '127.0.0.1:0', grpc_health: &health {{{health}}}}}\n\
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
    let file = config(&folder, "services: [shop.v1.Orders], clusters: [c]", NO_ROUTES);
    let mut gateway = Setup::config(&file).flag("--drain-grace", "300ms").start();
    let addresses = gateway.addresses();
    let args = [
        folder.file("ca.pem").display().to_string(),
        format!("h2c={}", addresses[0]),
        format!("tls={}", addresses[1]),
    ];
    let mut script = Script::start("health_cases.py", &args);
    assert_eq!(script.lines(4), each(&["all SERVING", "shop.v1.Orders SERVING"]));
    config(&folder, "services: [shop.v1.Other]", NO_ROUTES);
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

/// A cluster is down while no connection to it can be made, and is given another chance later.
#[test]
fn the_health_of_a_cluster_is_told() {
    let folder = Folder::new();
    Authority::new(&folder, "ca").issue(&folder, "edge", &["edge.test"]);
    let origin = Origin::absent();
    let rest =
        format!("clusters: {{c: {{endpoints: ['{origin}']}}}}\nroutes: [{{id: r, cluster: c}}]\n");
    let gateway = Setup::config(&config(&folder, "clusters: [c]", &rest)).start();
    let target = format!("h2c={}", gateway.addresses()[0]);
    let ca = folder.file("ca.pem").display().to_string();
    let mut script = Script::start("health_cases.py", &[ca, "watch=c".to_owned(), target]);
    let mut next = || script.line().expect("one more line");
    assert_eq!(next(), "h2c c SERVING", "nothing else is known");
    let mut client = gateway.client();
    assert_eq!(client.get("/").status, 502);
    assert_eq!(next(), "h2c c NOT_SERVING");
    let listener = TcpListener::bind(origin).expect("a port that was free");
    let answer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").expect("a client that reads");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    assert_eq!(client.get("/").status, 204);
    assert_eq!(next(), "h2c c SERVING", "it has come back");
    // Its link ends with the thread, once the gateway has closed it for idleness.
    answer.join().expect("a thread that ends");
    assert_eq!(client.get("/").status, 502);
    assert_eq!(next(), "h2c c NOT_SERVING");
    assert_eq!(next(), "h2c c SERVING", "without a further request");
}

/// A gateway in front of a server of grpcio.
struct Web {
    gateway: Gateway,
    folder: Folder,
    _server: Script,
}

/// A method that sends one message and goes on for ever.
const BEGIN: &str = "/ringway.test.Echo/Begin";
const PAGE: &str = "https://page.test";

impl Web {
    fn start() -> Self {
        let folder = Folder::new();
        Authority::new(&folder, "ca").issue(&folder, "edge", &["edge.test"]);
        let port = Origin::absent().port();
        let mut server = Script::start("grpc_peer.py", &[port.to_string()]);
        assert_eq!(server.line().as_deref(), Some("ready"));
        let rest = format!(
            "clusters: {{orders: {{endpoints: ['127.0.0.1:{port}'], protocol: http2}}, \
             idle: {{endpoints: ['{}'], protocol: http2}}}}\n\
             routes:\n\
             - {{id: buffered, match: {{path: /*, headers: {{x-buffer: '1'}}}}, cluster: orders, \
             grpc_web: &web {{allow_origins: ['{PAGE}'], allow_credentials: true, \
             allow_headers: [x-sent], expose_headers: [x-quota], message_bytes_max: 1MiB}}, \
             buffer: {{request: 1MiB}}}}\n\
             - {{id: brief, match: {{path: {BEGIN}}}, cluster: orders, grpc_web: *web, \
             timeout: 700ms}}\n\
             - {{id: brief_buffered, match: {{path: {BEGIN}, headers: {{x-buffer: '1'}}}}, \
             cluster: orders, grpc_web: *web, timeout: 700ms, buffer: {{request: 1MiB}}}}\n\
             - {{id: gone, match: {{path: /gone/*}}, cluster: idle, grpc_web: *web}}\n\
             - {{id: web, match: {{methods: [POST]}}, cluster: orders, grpc_web: *web}}\n",
            Origin::absent()
        );
        let gateway = Setup::config(&config(&folder, "", &rest)).start();
        Self { gateway, folder, _server: server }
    }

    /// A call over HTTP/1.1, its body one chunk or as many as it has bytes.
    fn call(&self, method: &str, fields: &str, body: &[u8], step: usize) -> Reply {
        let mut client = self.gateway.client();
        client.send(format!(
            "POST {method} HTTP/1.1\r\nHost: t\r\n{fields}Transfer-Encoding: chunked\r\n\r\n"
        ));
        for piece in body.chunks(step) {
            client.send([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat());
        }
        client.send("0\r\n\r\n");
        client.reply().expect("a reply")
    }

    /// The reply to what a vector holds.
    fn vector(&self, name: &str) -> Reply {
        let mut client = self.gateway.client();
        client.send(vector(name));
        client.reply().expect("a reply")
    }

    /// Standard output of curl, head included.
    fn curl(&self, address: SocketAddr, scheme: &str, fields: &[&str], body: &[u8]) -> Vec<u8> {
        let file = self.folder.write("body", body);
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--include", "--max-time", "60", "--http2"]);
        command.args(["--http2-prior-knowledge", "--cacert"]).arg(self.folder.file("ca.pem"));
        command.arg("--connect-to").arg(format!("edge.test:443:{address}"));
        command.arg("--connect-to").arg(format!("edge.test:80:{address}"));
        for field in fields {
            command.args(["--header", field]);
        }
        command.arg("--data-binary").arg(format!("@{}", file.display()));
        command.arg(format!("{scheme}://edge.test{ECHO}"));
        let output = command.stdin(Stdio::null()).output().expect("curl runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

const ECHO: &str = "/ringway.test.Echo/Echo";
const BINARY: &str = "Content-Type: application/grpc-web+proto\r\n";
const TEXT: &str = "Content-Type: application/grpc-web-text\r\n";

/// Bytes of a file of the wires' test data.
fn vector(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocols/testdata/grpc_web");
    let text = std::fs::read_to_string(folder.join(name).with_extension("hex")).expect("a vector");
    let digits: Vec<u32> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.chars().map(|digit| digit.to_digit(16).expect("a digit")))
        .collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

#[test]
fn calls_of_grpc_web_over_http1() {
    let web = Web::start();
    for (name, text) in [
        ("tonic_binary_request", false),
        ("tonic_text_request", true),
        ("tonic_text_noaccept_request", true),
    ] {
        let reply = web.vector(name);
        let form = if text { "grpc-web-text" } else { "grpc-web" };
        let content_type = reply.field("content-type").unwrap_or_default();
        assert!(content_type.starts_with(&format!("application/{form}")), "{name}: {reply:?}");
        let body = vector(if text { "response_text" } else { "response_binary" });
        assert_eq!((reply.status, reply.body), (200, body), "{name}");
    }
    let error = web.vector("tonic_error_request");
    assert_eq!((error.status, error.field("grpc-status")), (200, Some("5")), "{error:?}");
    assert_eq!(error.field("grpc-message"), Some("n%C3%A3o 100%25 found"));
    let calls = |label| web.gateway.metric_of("ringway_grpc_calls_total", label);
    assert_eq!(calls("cluster=\"orders\",grpc_status=\"0\""), 3.0);
    assert_eq!(calls("cluster=\"orders\",grpc_status=\"5\""), 1.0);
    let log = web.gateway.log(4);
    let statuses = log.iter().map(|line| line["grpc_status"].as_u64());
    assert_eq!(statuses.collect::<Vec<_>>(), [Some(0), Some(0), Some(0), Some(5)]);
}

/// Bodies cut at every byte, with and without a buffer, and a stream of messages.
#[test]
fn bodies_may_come_in_any_pieces() {
    let web = Web::start();
    let (binary, text) = (vector("request_binary"), b"AAAAAAYKAmhpECk=");
    for buffered in ["", "X-Buffer: 1\r\n"] {
        for step in [1, 2, 3, 5, 100] {
            let reply = web.call(ECHO, &format!("{BINARY}{buffered}"), &binary, step);
            assert_eq!(reply.body, vector("response_binary"), "{reply:?}");
            let reply = web.call(ECHO, &format!("{TEXT}{buffered}"), text, step);
            assert_eq!(reply.body, vector("response_text"), "{reply:?}");
        }
    }
    let many = web.call("/ringway.test.Echo/Many", TEXT, b"AAAAAAA=", 8);
    let trailers = "gAAAAB5ncnBjLXN0YXR1czowDQpncnBjLW1lc3NhZ2U6DQo=";
    assert_eq!(many.text(), format!("{}{trailers}", "AAAAAAYKAmhpECo=".repeat(3)));
    let fields = format!("{TEXT}Accept: application/grpc-web\r\nX-Sent: a\r\nX-Grpc-Web: 1\r\n");
    let reply = web.call("/ringway.test.Echo/Metadata", &fields, b"AAAAAAA=", 8);
    assert!(reply.text().contains("None|None|"), "not for the server: {}", reply.text());
    assert!(reply.text().contains("|a"), "{}", reply.text());
    let large =
        [&[0, 0, 0x0f, 0xff, 0xfb, b's', b'i', b'z', b'e'][..], &vec![7; 0xf_fff7]].concat();
    let reply = web.call(ECHO, BINARY, &large, 50_000);
    assert!(reply.text().contains("1048571"), "1 MiB arrives: {:?}", reply.fields);
    web.gateway.until_idle();
}

#[test]
fn calls_of_grpc_web_over_http2() {
    let web = Web::start();
    let addresses = web.gateway.addresses();
    for (scheme, address) in [("http", addresses[0]), ("https", addresses[1])] {
        for (form, body, want) in [
            ("application/grpc-web+proto", &vector("request_binary")[..], "response_binary"),
            ("application/grpc-web-text", b"AAAAAAYKAmhpECk=", "response_text"),
        ] {
            let fields = [&format!("content-type: {form}"), &format!("origin: {PAGE}")[..]];
            let reply = web.curl(address, scheme, &fields, body);
            assert!(reply.starts_with(b"HTTP/2 200"), "{}", reply.escape_ascii());
            assert!(reply.ends_with(&vector(want)), "{}", reply.escape_ascii());
            let head = String::from_utf8_lossy(&reply).into_owned();
            assert!(head.contains(&format!("access-control-allow-origin: {PAGE}\r\n")), "{head}");
            assert!(head.contains("access-control-allow-credentials: true\r\n"), "{head}");
            assert!(head.contains("x-quota: 7\r\n") && head.contains(",x-quota\r\n"), "{head}");
        }
    }
    for origin in ["x-none: 1", "origin: https://other.test"] {
        let fields = ["content-type: application/grpc-web-text", origin];
        let reply = web.curl(addresses[0], "http", &fields, b"AAAAAAYKAmhpECk=");
        let head = String::from_utf8_lossy(&reply).into_owned();
        assert!(head.contains("x-quota: 7\r\n") && !head.contains("access-control"), "{head}");
    }
    let reply = web.curl(addresses[0], "http", &["content-type: application/grpc-web-text"], b"*");
    let head = String::from_utf8_lossy(&reply).into_owned();
    assert!(head.contains("grpc-status: 13\r\n") && !head.contains("access-control"), "{head}");
}

#[test]
fn what_is_wrong_has_a_status_of_grpc() {
    let web = Web::start();
    for (form, body, status, reason) in [
        (TEXT, &b"AAAA\nAYKAmhpECk="[..], "13", "grpc_web_base64"),
        (TEXT, b"AAAAAAYKAmhpEC", "13", "grpc_web_base64"),
        (TEXT, b"AAAAAAYKAmhp", "13", "grpc_message_truncated"),
        (BINARY, b"\0\0\0\0\x06\x0a", "13", "grpc_message_truncated"),
        (BINARY, b"\x80\0\0\0\0", "13", "grpc_message_flag"),
        (BINARY, b"\x81\0\0\0\0", "13", "grpc_message_flag"),
        (BINARY, b"\0\0\x10\0\x01", "8", "grpc_message_too_large"),
    ] {
        for buffered in ["", "X-Buffer: 1\r\n"] {
            let reply = web.call(ECHO, &format!("{form}{buffered}"), body, 3);
            assert_eq!(reply.status, 200, "{reply:?}");
            assert_eq!(reply.field("grpc-status"), Some(status), "{reason}: {reply:?}");
            assert_eq!(reply.field("grpc-message"), Some(reason));
            let content_type = reply.field("content-type").unwrap_or_default();
            assert!(content_type.starts_with("application/grpc-web"), "{reply:?}");
        }
    }
    let fields = format!("{BINARY}Origin: {PAGE}\r\n");
    let gone = web.call("/gone/x", &fields, &vector("request_binary"), 100);
    assert_eq!(gone.field("grpc-status"), Some("14"), "{gone:?}");
    assert_eq!(gone.field("access-control-allow-origin"), Some(PAGE), "its page may know");
    let late = format!("{BINARY}Grpc-Timeout: 5\r\n");
    let late = web.call(ECHO, &late, &vector("request_binary"), 100);
    assert_eq!(late.field("grpc-message"), Some("bad_grpc_timeout"), "{late:?}");
    web.gateway.until_idle();
}

/// What has begun cannot end with a status any more: it must not look whole. The deadline is the
/// route's, which the server does not know: one of the call's it would keep itself.
#[test]
fn a_reply_that_has_begun_is_cut_at_the_deadline() {
    let web = Web::start();
    for buffered in ["", "X-Buffer: 1\r\n"] {
        let mut client = web.gateway.client();
        client.send(format!(
            "POST {BEGIN} HTTP/1.1\r\nHost: t\r\n{TEXT}{buffered}Content-Length: 8\r\n\r\nAAAAAAA="
        ));
        assert_eq!(client.head().expect("a head").status, 200);
        assert_eq!(client.exactly(22).expect("a chunk"), b"10\r\nAAAAAAYKAmhpECo=\r\n");
        assert_eq!(client.rest().unwrap_or_default(), b"", "no last chunk");
    }
    for line in web.gateway.log(2) {
        assert_eq!((&line["grpc_status"], &line["reason"]), (&4.into(), &"request_timeout".into()));
    }
}

#[test]
fn a_page_asks_before_it_calls() {
    let web = Web::start();
    let ask = |origin: &str, method: &str| {
        let mut client = web.gateway.client();
        client.send(format!(
            "OPTIONS {ECHO} HTTP/1.1\r\nHost: t\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: {method}\r\n\r\n"
        ));
        client.reply().expect("a reply")
    };
    let allowed = ask(PAGE, "POST");
    assert_eq!(allowed.status, 204, "{allowed:?}");
    assert_eq!(allowed.field("access-control-allow-origin"), Some(PAGE));
    assert_eq!(allowed.field("access-control-allow-credentials"), Some("true"));
    assert_eq!(allowed.field("access-control-allow-methods"), Some("POST"));
    let fields = "content-type,x-grpc-web,x-user-agent,grpc-timeout,x-sent";
    assert_eq!(allowed.field("access-control-allow-headers"), Some(fields));
    assert_eq!(allowed.field("vary"), Some("origin"));
    let refused = ask("https://other.test", "POST");
    assert_eq!((refused.status, refused.text().as_str()), (403, "403 origin_refused\n"));
    assert_eq!(refused.field("access-control-allow-origin"), None);
    assert_eq!(refused.field("access-control-allow-credentials"), None);
    assert_eq!(ask(PAGE, "PUT").status, 404, "no route takes it");
    let reasons: Vec<_> = web.gateway.log(3).iter().map(|line| line["reason"].clone()).collect();
    assert_eq!(reasons, ["grpc_web_preflight", "origin_refused", "no_route"]);
}

/// A server of HTTP/2 that knows nothing of gRPC says what it says.
#[test]
fn a_reply_that_is_none_of_grpc_keeps_its_status() {
    let folder = Folder::new();
    Authority::new(&folder, "ca").issue(&folder, "edge", &["edge.test"]);
    let address = Origin::absent();
    let mut command = Command::new("nghttpd");
    command.args(["--no-tls", "-a", "127.0.0.1", "-d"]).arg(folder.path());
    command.arg(address.port().to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("nghttpd is needed");
    let lines = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let _server = Script { child, lines };
    until("nghttpd accepts", || TcpStream::connect(address).is_ok());
    let rest = format!(
        "clusters: {{c: {{endpoints: ['{address}'], protocol: http2}}}}\n\
         routes: [{{id: r, cluster: c, grpc_web: {{allow_origins: ['*']}}}}]\n"
    );
    let gateway = Setup::config(&config(&folder, "", &rest)).start();
    let mut client = gateway.client();
    let (body, origin) = ("AAAAAAA=", "Origin: https://any.test\r\nContent-Length: 8\r\n");
    client.send(format!("POST /none HTTP/1.1\r\nHost: t\r\n{TEXT}{origin}\r\n{body}"));
    let reply = client.reply().expect("a reply");
    assert_eq!((reply.status, reply.field("grpc-status")), (404, Some("12")), "{reply:?}");
    assert_eq!(reply.field("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.field("access-control-allow-credentials"), None);
    assert!(reply.text().contains("404"), "its body is there: {}", reply.text());
    assert_eq!(gateway.log(1)[0]["grpc_status"], 12);
}
