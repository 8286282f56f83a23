//! End to end: HTTP/2 on both sides with curl as the client, and what gRPC calls are told when the
//! gateway answers by itself. `interop_h2.rs` has the peers that do more.
#![forbid(unsafe_code)]

mod support;

use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use support::{Authority, Client, Folder, Gateway, OpenSsl, Origin, Setup, until};

/// Answers each request with its body; one for `/silent` never.
fn echo() -> Origin {
    Origin::start(|mut accepted| {
        while let Some(head) = accepted.read_head() {
            if head.contains(" /silent ") {
                return accepted.drain();
            }
            let lines = head.lines().map(str::to_ascii_lowercase);
            let mut lengths =
                lines.filter_map(|line| line.strip_prefix("content-length: ").map(str::to_owned));
            let length = lengths.next().and_then(|text| text.parse().ok()).unwrap_or(0);
            let Some(body) = accepted.read_exactly(length) else { return };
            let reply = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            accepted.write(&[reply.as_bytes(), &body].concat());
        }
    })
}

/// A gateway before an HTTP/1.1 origin, and one before that over HTTP/2.
fn chain(folder: &Folder, origin: SocketAddr) -> (Gateway, Gateway) {
    let behind = Setup::upstream(origin).start();
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         clusters: {{c: {{endpoints: ['{}'], protocol: http2}}}}\n\
         routes: [{{id: r, cluster: c}}]\n",
        behind.address
    );
    (Setup::config(&folder.write("front.yaml", config)).start(), behind)
}

/// Standard output of curl, which must succeed.
fn curl(args: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "60", "--http2-prior-knowledge"]);
    let output = command.args(args).stdin(Stdio::null()).output().expect("curl runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {}: {error}", args.join(" "));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn bodies_larger_than_any_window_go_both_ways() {
    let folder = Folder::new();
    let origin = echo();
    let (front, behind) = chain(&folder, origin.address);
    let body = "0123456789abcdef".repeat(200_000);
    let file = folder.write("body", &body);
    let data = format!("@{}", file.display());
    for gateway in [&front, &behind] {
        let url = format!("http://{}/", gateway.address);
        assert!(curl(&["--data-binary", &data, &url]) == body, "3.2 MB there and back");
    }
    let mut client = front.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(client.reply().expect("a reply").text(), "hello", "HTTP/1.1 over HTTP/2");
    let log = behind.log(3);
    assert!(log.iter().all(|line| line["protocol"] == "http/2"), "{log:?}");
    front.until_idle();
    behind.until_idle();
}

#[test]
fn a_client_that_resets_its_stream_ends_the_exchange() {
    let folder = Folder::new();
    let origin = echo();
    let (front, behind) = chain(&folder, origin.address);
    let url = format!("http://{}/silent", front.address);
    let mut child = Command::new("curl")
        .args(["--silent", "--http2-prior-knowledge", &url])
        .stdin(Stdio::null())
        .spawn()
        .expect("curl runs");
    let active = |gateway: &Gateway| gateway.metric("http_server_active_requests");
    until("the request has arrived", || active(&behind) == 1.0);
    child.kill().expect("curl runs");
    child.wait().expect("curl ends");
    front.until_idle();
    behind.until_idle();
    assert_eq!(behind.log(1)[0]["status"], 499);
}

#[test]
fn calls_are_answered_in_their_own_terms() {
    let folder = Folder::new();
    let origin = echo();
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         clusters: {{c: {{endpoints: ['{}']}}, none: {{endpoints: ['{}']}}}}\n\
         routes:\n\
         - {{id: r, match: {{path: /silent}}, cluster: c}}\n\
         - {{id: n, match: {{path: /none/*}}, cluster: none}}\n",
        origin.address,
        Origin::absent()
    );
    let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
    let ask = |path: &str, timeout: &str| {
        let url = format!("http://{}{path}", gateway.address);
        let timeout = format!("grpc-timeout: {timeout}");
        let grpc = ["--header", "content-type: application/grpc", "--header", &timeout];
        curl(&[&["--include", "--data-binary", ""], &grpc[..], &[&url]].concat())
    };
    let cases = [
        ("/silent", "200m", "4", "request_timeout", "c"),
        ("/a.B/C", "5S", "12", "no_route", ""),
        ("/none/x", "5S", "14", "upstream_connect_failed", "none"),
        ("/silent", "5", "13", "bad_grpc_timeout", "c"),
    ];
    for (path, timeout, status, reason, cluster) in cases {
        let reply = ask(path, timeout);
        assert!(reply.starts_with("HTTP/2 200"), "{reply}");
        assert!(reply.contains(&format!("grpc-status: {status}\r\n")), "{path}: {reply}");
        assert!(reply.contains(&format!("grpc-message: {reason}\r\n")), "{path}: {reply}");
        let labels = format!("{{cluster=\"{cluster}\",grpc_status=\"{status}\"}}");
        assert_eq!(gateway.metric_of("ringway_grpc_calls_total", &labels), 1.0, "{labels}");
    }
    for (line, case) in gateway.log(cases.len()).iter().zip(cases) {
        assert_eq!(line["grpc_status"].to_string(), case.2, "{line}");
    }
    assert_eq!(gateway.metric("ringway_grpc_calls_total"), 4.0);
    gateway.until_idle();
}

/// One message tells of a hundred services, and more are refused.
#[test]
fn a_list_of_services_has_an_end() {
    let folder = Folder::new();
    let names = |count| (0..count).map(|n| format!("s{n}")).collect::<Vec<_>>().join(", ");
    let config = format!(
        "version: 1\nlisteners:\n\
         - {{address: '127.0.0.1:0', grpc_health: {{services: [{}]}}}}\n\
         - {{address: '127.0.0.2:0', grpc_health: {{services: [{}]}}}}\n\
         clusters: {{c: {{endpoints: ['{}']}}}}\nroutes: [{{id: r, cluster: c}}]\n",
        names(99),
        names(100),
        Origin::absent()
    );
    let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
    let message = format!("@{}", folder.write("message", [0; 5]).display());
    let ask = |address: SocketAddr| {
        let url = format!("http://{address}/grpc.health.v1.Health/List");
        let grpc = ["--header", "content-type: application/grpc", "--data-binary", &message];
        curl(&[&["--include"], &grpc[..], &[&url]].concat())
    };
    let addresses = gateway.addresses();
    let list = ask(addresses[0]);
    assert!(list.contains("grpc-status: 0\r\n") && list.contains("\x03s98\x12"), "{list:?}");
    let refused = ask(addresses[1]);
    assert!(refused.contains("grpc-status: 8\r\n"), "{refused}");
    assert!(refused.contains("grpc-message: grpc_health_list_too_long\r\n"), "{refused}");
    let log = gateway.log(2);
    assert_eq!((&log[0]["reason"], &log[0]["status"]), (&"grpc_health".into(), &200.into()));
    let line = (&log[1]["reason"], &log[1]["status"], &log[1]["grpc_status"]);
    assert_eq!(line, (&"grpc_health_list_too_long".into(), &503.into(), &8.into()));
}

/// A preface that comes byte by byte is one, and one that ends early is a bad request.
#[test]
fn the_first_bytes_tell() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let origin = echo();
    let gateway = Setup::upstream(origin.address).start();
    let mut client = Client::connect(gateway.address);
    for byte in PREFACE {
        client.send([*byte]);
    }
    client.send([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    let frame = client.exactly(9).expect("SETTINGS of the gateway");
    assert_eq!(frame[3], 4, "{frame:?}");
    let mut half = Client::connect(gateway.address);
    half.send(&PREFACE[..10]);
    half.shut_write();
    assert!(half.is_closed());
    let mut other = Client::connect(gateway.address);
    other.send("PR");
    other.send("OPFIND / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(other.reply().expect("a reply").status, 200, "no preface after all");
}

/// A gateway before a cluster of HTTP/2 in TLS, with so many retries.
fn over_tls(folder: &Folder, endpoints: &str, retries: u32) -> Gateway {
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         clusters: {{c: {{endpoints: [{endpoints}], retries: {retries}, protocol: http2, \
         tls: {{sni: edge.test, ca: ca.pem}}}}}}\n\
         routes: [{{id: r, cluster: c}}]\n"
    );
    Setup::config(&folder.write("front.yaml", config)).start()
}

const NOT_AGREED: &str = "upstream_tls_no_application_protocol";

fn certified() -> Folder {
    let folder = Folder::new();
    Authority::new(&folder, "ca").issue(&folder, "edge", &["edge.test"]);
    folder
}

/// RFC 9113 section 3.3: HTTP/2 in TLS is agreed on by ALPN. Servers that know none, or offer
/// something else, are sent nothing.
#[test]
fn an_upstream_that_does_not_agree_to_h2_is_sent_nothing() {
    let folder = certified();
    for args in [&[][..], &["-tls1_2"], &["-alpn", "http/1.1"]] {
        let server = OpenSsl::start(&folder, args);
        let gateway = over_tls(&folder, &format!("'{}'", server.address), 0);
        let url = format!("http://{}/", gateway.address);
        let reply = curl(&["--include", &url]);
        assert!(reply.starts_with("HTTP/2 502"), "{reply}");
        assert!(reply.ends_with(&format!("502 {NOT_AGREED}\n")), "{reply}");
        let grpc = ["--include", "--data-binary", "", "--header", "content-type: application/grpc"];
        let reply = curl(&[&grpc[..], &[&url]].concat());
        assert!(reply.contains("grpc-status: 14\r\n"), "{reply}");
        assert!(reply.contains(&format!("grpc-message: {NOT_AGREED}\r\n")), "{reply}");
        assert!(gateway.log(2).iter().all(|line| line["reason"] == NOT_AGREED), "{args:?}");
        let label = format!("result=\"{NOT_AGREED}\"");
        assert_eq!(gateway.metric_of("ringway_upstream_tls_handshakes_total", &label), 2.0);
        assert_eq!(gateway.metric("ringway_upstream_connect_failures_total"), 2.0);
        let said = server.end();
        assert!(!said.contains("PRI ") && !said.contains("POST"), "{args:?}: {said}");
    }
}

/// As after a connection that was refused, another endpoint is asked.
#[test]
fn an_endpoint_that_agrees_to_h2_is_asked_instead() {
    let folder = certified();
    let origin = echo();
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0', tls: {{certificates: \
         [{{cert: edge.pem, key: edge.key}}]}}}}]\n\
         clusters: {{c: {{endpoints: ['{}']}}}}\nroutes: [{{id: r, cluster: c}}]\n",
        origin.address
    );
    let behind = Setup::config(&folder.write("behind.yaml", config)).start();
    let deaf = OpenSsl::start(&folder, &[]);
    let endpoints = format!("'{}', '{}'", deaf.address, behind.address);
    let gateway = over_tls(&folder, &endpoints, 1);
    let url = format!("http://{}/", gateway.address);
    for _ in 0..4 {
        assert_eq!(curl(&["--data-binary", "hello", &url]), "hello");
    }
    let retried = gateway.metric_of("ringway_retries_total", NOT_AGREED);
    assert!(retried > 0.0, "round robin begins somewhere, and has asked both");
    assert!(behind.log(4).iter().all(|line| line["protocol"] == "http/2"));
    let said = deaf.end();
    assert!(!said.contains("PRI "), "{said}");
}

/// Frames of a request: HEADERS whose fields stand for themselves, without END_STREAM.
fn request(stream: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short text"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    let length = u8::try_from(block.len()).expect("a short head");
    [&[0, 0, length, 1, 4, 0, 0, 0, stream], &block[..]].concat()
}

const CALL: [(&str, &str); 5] = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/silent"),
    (":authority", "a"),
    ("content-type", "application/grpc"),
];

/// Reads on to the next RST_STREAM: its stream and its code.
fn next_reset(client: &mut Client) -> (u8, u8) {
    loop {
        let head = client.exactly(9).expect("a frame's head");
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = client.exactly(length).expect("a frame's payload");
        if head[3] == 3 {
            return (head[8], payload[3]);
        }
    }
}

/// How an upstream says that it did nothing with a request.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    RefusedStream,
    /// That names no stream as the last one.
    GoAway,
}

/// An upstream that refuses its first requests, and answers the others.
fn refuses(requests: u32, refusal: Refusal) -> Origin {
    let left = AtomicU32::new(requests);
    let takes_one = move || {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    };
    Origin::start(move |mut accepted| {
        let Some(_preface) = accepted.read_exactly(24) else { return };
        accepted.write(b"\0\0\0\x04\0\0\0\0\0");
        while let Some(head) = accepted.read_exactly(9) {
            let length = usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some(_payload) = accepted.read_exactly(length) else { return };
            if head[3] == 1 {
                let stream = &head[5..];
                let refusal: [&[u8]; 3] = match refusal {
                    Refusal::RefusedStream => [b"\0\0\x04\x03\0", stream, b"\0\0\0\x07"],
                    Refusal::GoAway => [b"\0\0\x08\x07\0", &[0; 4], &[0; 8]],
                };
                let reply: [&[u8]; 3] = [b"\0\0\x01\x01\x05", stream, b"\x88"];
                accepted.write(&if takes_one() { refusal } else { reply }.concat());
            }
        }
    })
}

/// Tries of what an upstream did nothing with are counted apart: servers that end their connections
/// in turn may meet one request twice.
#[test]
fn a_refused_request_is_tried_again_a_few_times() {
    use Refusal::{GoAway, RefusedStream};
    let refused = "502 upstream_refused_stream\n";
    let cases = [
        (3, RefusedStream, "{}", "", 200, 4),
        (4, RefusedStream, "{}", refused, 502, 4),
        (1, RefusedStream, "{retries: 0}", refused, 502, 1),
        (4, RefusedStream, "{retries: 4}", "", 200, 5),
        (3, GoAway, "{}", "", 200, 4),
        (4, GoAway, "{}", refused, 502, 4),
    ];
    for (refusals, how, settings, body, status, tries) in cases {
        let folder = Folder::new();
        let origin = refuses(refusals, how);
        let config = format!(
            "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
             clusters: {{c: {{endpoints: ['{}'], protocol: http2}}}}\n\
             routes: [{{id: r, cluster: c}}]\nsettings: {settings}\n",
            origin.address
        );
        let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
        let url = format!("http://{}/", gateway.address);
        assert_eq!(curl(&["--request", "POST", &url]), body, "{refusals} {how:?} with {settings}");
        let log = gateway.log(1);
        assert_eq!((&log[0]["status"], &log[0]["tries"]), (&status.into(), &tries.into()));
        gateway.until_idle();
    }
}

/// What the wire refuses is no exchange, but a call, counted and logged as its caller is told.
#[test]
fn calls_that_are_refused_are_counted() {
    let origin = echo();
    let gateway = Setup::upstream(origin.address).flag("--h2-streams-max", "1").start();
    let mut client = Client::connect(gateway.address);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    client.send(request(1, &[&CALL[..], &[("connection", "x")]].concat()));
    assert_eq!(next_reset(&mut client), (1, 1), "PROTOCOL_ERROR");
    client.send(request(3, &CALL));
    client.send(request(5, &CALL));
    assert_eq!(next_reset(&mut client), (5, 7), "REFUSED_STREAM");
    client.send(request(7, &CALL[..4]));
    assert_eq!(next_reset(&mut client), (7, 7), "REFUSED_STREAM, of no call");
    drop(client);
    let log = gateway.log(4);
    let said: Vec<_> = log
        .iter()
        .map(|line| format!("{} {} {}", line["status"], line["grpc_status"], line["reason"]))
        .collect();
    let want = [
        "400 13 \"connection_field\"",
        "503 14 \"stream_refused\"",
        "503 null \"stream_refused\"",
        "499 1 \"client_gone\"",
    ];
    assert_eq!(said, want);
    for (status, cluster) in [("13", ""), ("14", ""), ("1", "upstream")] {
        let labels = format!("{{cluster=\"{cluster}\",grpc_status=\"{status}\"}}");
        assert_eq!(gateway.metric_of("ringway_grpc_calls_total", &labels), 1.0, "{labels}");
    }
    assert_eq!(gateway.metric("ringway_grpc_calls_total"), 3.0);
}
