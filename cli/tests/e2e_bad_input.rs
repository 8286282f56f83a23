//! End to end: what a client must not send. The real binary answers with a status, closes, and
//! forwards nothing; a recording origin behind it proves the last.
#![forbid(unsafe_code)]

mod support;

use support::{Folder, Gateway, Origin, Setup};

/// A bad request's name, its bytes and the status that answers it.
struct Case {
    name: &'static str,
    request: String,
    status: u16,
}

fn case(name: &'static str, request: impl Into<String>, status: u16) -> Case {
    Case { name, request: request.into(), status }
}

/// A GET whose field lines after Host are `lines`, each ended with CR LF.
fn get_with(name: &'static str, lines: &str, status: u16) -> Case {
    case(name, format!("GET / HTTP/1.1\r\nHost: test\r\n{lines}\r\n"), status)
}

/// A POST whose framing fields are `lines`; the bytes after the head look like a second request.
fn post_with(name: &'static str, lines: &str, status: u16) -> Case {
    let inner = "GET /smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    case(name, format!("POST / HTTP/1.1\r\nHost: test\r\n{lines}\r\n{inner}"), status)
}

fn request_lines() -> Vec<Case> {
    let long = "a".repeat(9 * 1024);
    vec![
        case("no target", "GET\r\n\r\n", 400),
        case("no version", "GET /\r\nHost: test\r\n\r\n", 400),
        case("two spaces", "GET  / HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        case("method of no token", "G@T / HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        case("space in target", "GET /a b HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        case("bad escape", "GET /%zz HTTP/1.1\r\nHost: test\r\n\r\n", 400),
        case("HTTP/2.0 in words", "GET / HTTP/2.0\r\nHost: test\r\n\r\n", 505),
        case("HTTP/0.9 in words", "GET / HTTP/0.9\r\nHost: test\r\n\r\n", 505),
        case("CONNECT", "CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n", 501),
        case("long target", format!("GET /{long} HTTP/1.1\r\nHost: test\r\n\r\n"), 414),
        case("bare LF", "GET / HTTP/1.1\nHost: test\n\n", 400),
        case("TLS hello", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{3}\u{3}\r\n\r\n", 400),
    ]
}

fn fields() -> Vec<Case> {
    let line = format!("X-Long: {}\r\n", "a".repeat(17 * 1024));
    let many = "X-Many: 1\r\n".repeat(101);
    let large = format!("X-Large: {}\r\n", "a".repeat(8 * 1024)).repeat(9);
    vec![
        case("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
        get_with("two Hosts", "Host: other\r\n", 400),
        case("bad Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        get_with("space before colon", "X-A : 1\r\n", 400),
        get_with("empty name", ": 1\r\n", 400),
        get_with("no colon", "X-A\r\n", 400),
        get_with("folded line", "X-A: 1\r\n 2\r\n", 400),
        get_with("NUL in a value", "X-A: a\0b\r\n", 400),
        get_with("CR in a value", "X-A: a\rb\r\n", 400),
        get_with("long line", &line, 431),
        get_with("many fields", &many, 431),
        get_with("large head", &large, 431),
    ]
}

fn framings() -> Vec<Case> {
    vec![
        post_with("both framings", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", 400),
        post_with("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", 400),
        post_with("list of lengths", "Content-Length: 5, 6\r\n", 400),
        post_with("signed length", "Content-Length: +5\r\n", 400),
        post_with("hex length", "Content-Length: 0x5\r\n", 400),
        post_with("huge length", "Content-Length: 99999999999999999999\r\n", 400),
        post_with("empty length", "Content-Length: \r\n", 400),
        post_with("unknown coding", "Transfer-Encoding: zip, chunked\r\n", 501),
        post_with("coding without chunks", "Transfer-Encoding: gzip\r\n", 400),
        post_with("chunked not last", "Transfer-Encoding: chunked, gzip\r\n", 400),
        post_with("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", 400),
        post_with(
            "coding in two lines",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            400,
        ),
        case(
            "coding in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
    ]
}

#[test]
fn bad_requests_are_answered_closed_and_never_forwarded() {
    let origin = Origin::recording();
    let gateway = Setup::upstream(origin.address).start();
    let mut wrong = Vec::new();
    let cases: Vec<Case> = [request_lines(), fields(), framings()].into_iter().flatten().collect();
    for case in &cases {
        let mut client = gateway.client();
        client.send(&case.request);
        match client.reply() {
            Ok(reply) if reply.status == case.status => {}
            other => wrong.push(format!("{}: wanted {}, got {other:?}", case.name, case.status)),
        }
        if !client.is_closed() {
            wrong.push(format!("{}: the connection lives on", case.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(origin.received(), "", "something was forwarded");
    assert_eq!(gateway.client().get("/good").status, 200);
    assert_eq!(origin.received().matches("HTTP/1.1\r\n").count(), 1);
    let log = gateway.log(cases.len() + 1);
    assert!(log.iter().all(|line| line["status"] != 400 || line["reason"].is_string()));
}

/// The head is forwarded before the body is seen to be broken; what the origin gets must not look
/// whole.
#[test]
fn a_broken_chunk_ends_the_request_without_a_last_chunk() {
    let origin = Origin::recording();
    let gateway = Setup::upstream(origin.address).start();
    for broken in ["zz\r\n", "5\r\nhelloX\r\n", "-1\r\n", "5;\0\r\n", "11111111111111111\r\n"] {
        let mut client = gateway.client();
        let head = "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{broken}"));
        let status = client.reply().map_or(400, |reply| reply.status);
        // The origin answers as soon as it has the head, so its 200 may have been first.
        assert!(status == 400 || status == 200, "{broken:?}: {status}");
        assert!(client.is_closed(), "{broken:?}");
    }
    assert!(!origin.received().contains("0\r\n\r\n"), "{}", origin.received());
}

#[test]
fn a_head_that_never_ends_is_408() {
    let origin = Origin::recording();
    let gateway = Setup::upstream(origin.address).flag("--head-timeout", "200ms").start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.1\r\nHost: te");
    assert_eq!(client.reply().unwrap().status, 408);
    assert!(client.is_closed());
    assert_eq!(origin.received(), "");
}

#[test]
fn an_idle_connection_is_closed_without_words() {
    let origin = Origin::recording();
    let gateway = Setup::upstream(origin.address).flag("--idle-timeout", "200ms").start();
    let mut client = gateway.client();
    assert_eq!(client.get("/").status, 200);
    assert!(client.is_closed());
}

#[test]
fn a_body_over_its_limit_is_413() {
    let origin = Origin::recording();
    let gateway = Setup::upstream(origin.address).flag("--body-bytes-max", "1000B").start();
    let mut announced = gateway.client();
    announced.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1001\r\n\r\n");
    assert_eq!(announced.reply().unwrap().status, 413);
    assert_eq!(origin.received(), "", "an announced length is judged before forwarding");
    let fits = format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n{:1000}", "");
    let mut client = gateway.client();
    client.send(fits);
    assert_eq!(client.reply().unwrap().status, 200);
}

#[test]
fn chunks_over_the_limit_are_413_and_never_whole() {
    let origin = Origin::start(|mut accepted| accepted.drain());
    let gateway = Setup::upstream(origin.address).flag("--body-bytes-max", "1000B").start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("200\r\n{:512}\r\n200\r\n{:512}\r\n0\r\n\r\n", "", ""));
    assert_eq!(client.reply().unwrap().status, 413);
    assert!(client.is_closed());
    assert!(!origin.received().contains("\r\n0\r\n"));
    assert_eq!(gateway_log_reason(&gateway), "body_too_large");
}

#[test]
fn a_routes_own_limit_holds_for_chunks_and_is_judged_before_the_end_is_passed_on() {
    let origin = Origin::start(|mut accepted| accepted.drain());
    let folder = Folder::new();
    let config = format!(
        "version: 1\nlisteners: [{{name: edge, address: '127.0.0.1:0'}}]\n\
         clusters: {{c: {{endpoints: ['{}']}}}}\n\
         routes: [{{id: r, match: {{path: /*}}, cluster: c, body_bytes_max: 10B}}]\n",
        origin.address
    );
    let gateway = Setup::config(&folder.write("ringway.yaml", config)).start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("b\r\nhello world\r\n0\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 413);
    assert!(!origin.received().contains("hello"), "nothing over the limit is passed on");
}

fn gateway_log_reason(gateway: &Gateway) -> String {
    gateway.log(1)[0]["reason"].as_str().unwrap_or_default().to_owned()
}
