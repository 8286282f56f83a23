//! End to end: ordinary traffic through the real binary, and upstreams and clients that fail
//! half-way.
#![forbid(unsafe_code)]

mod support;

use std::io::{self, Write as _};

use mock::http1::{Options, Running, body_byte};
use support::{Gateway, Origin, Setup, until};

fn mock() -> Running {
    mock::http1::start(Options::default()).expect("a mock upstream")
}

fn in_front_of(mock: &Running) -> Gateway {
    Setup::upstream(mock.address).start()
}

/// The fields that the upstream saw, as the mock's echo gives them, names in lower case.
fn echoed(text: &str) -> Vec<(String, String)> {
    let json: serde_json::Value = serde_json::from_str(text).expect("the echo is JSON");
    let fields = json["fields"].as_array().expect("the echo has fields").clone();
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    fields.iter().map(|pair| (word(&pair[0]).to_lowercase(), word(&pair[1]))).collect()
}

fn value<'a>(fields: &'a [(String, String)], name: &str) -> Option<&'a str> {
    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

#[test]
fn a_connection_is_reused_on_both_sides() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    let mut client = gateway.client();
    for _ in 0..50 {
        let reply = client.get("/");
        assert_eq!((reply.status, reply.body.len()), (200, 100));
    }
    assert_eq!((mock.requests(), mock.connections()), (50, 1));
}

#[test]
fn the_upstream_learns_who_asks() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    let mut client = gateway.client();
    client.send(
        "GET /echo HTTP/1.1\r\nHost: Shop.Example:8080\r\nConnection: X-Private, keep-alive\r\n\
         X-Private: 1\r\nKeep-Alive: timeout=5\r\nX-Forwarded-For: 10.9.8.7\r\nX-Kept: yes\r\n\r\n",
    );
    let fields = echoed(&client.reply().unwrap().text());
    assert_eq!(value(&fields, "host"), Some("Shop.Example:8080"));
    assert_eq!(value(&fields, "x-kept"), Some("yes"));
    assert_eq!(value(&fields, "x-forwarded-proto"), Some("http"));
    assert_eq!(value(&fields, "x-forwarded-host"), Some("Shop.Example:8080"));
    assert!(value(&fields, "x-forwarded-for").is_some_and(|list| list.ends_with("127.0.0.1")));
    assert!(value(&fields, "x-request-id").is_some_and(|id| id.len() >= 16));
    for hop in ["x-private", "keep-alive"] {
        assert_eq!(value(&fields, hop), None, "{hop} is for one hop only");
    }
}

#[test]
fn a_request_id_is_kept_and_logged() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    let mut client = gateway.client();
    client.send("GET /echo HTTP/1.1\r\nHost: test\r\nX-Request-Id: abc-123\r\n\r\n");
    let fields = echoed(&client.reply().unwrap().text());
    assert_eq!(value(&fields, "x-request-id"), Some("abc-123"));
    assert_eq!(gateway.log(1)[0]["request_id"], "abc-123");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    let mut client = gateway.client();
    let requests: String =
        (1..=40).map(|n| format!("GET /?bytes={n} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    client.send(requests);
    for n in 1..=40 {
        assert_eq!(client.reply().unwrap().body.len(), n);
    }
}

#[test]
fn http_10_and_connection_close_end_the_connection() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    for request in [
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        "GET /?chunked=1 HTTP/1.0\r\nHost: test\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(request);
        let reply = client.reply().unwrap();
        assert_eq!((reply.status, reply.body.len()), (200, 100), "{request:?}");
        assert!(client.is_closed(), "{request:?}");
    }
    let mut kept = gateway.client();
    for _ in 0..2 {
        kept.send("GET / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(kept.reply().unwrap().body.len(), 100);
    }
}

#[test]
fn replies_without_a_body_have_none() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    let mut client = gateway.client();
    client.send("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    let head = client.reply_to_head().unwrap();
    assert_eq!((head.status, head.field("content-length")), (200, Some("100")));
    assert_eq!(client.get("/?status=204").status, 204);
    assert_eq!(client.get("/?status=304").status, 304);
    assert_eq!(client.get("/").body.len(), 100);
}

#[test]
fn bodies_pass_unchanged_in_both_framings() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    let body: Vec<u8> = (0..1024 * 1024).map(body_byte).collect();
    let mut client = gateway.client();
    let head =
        format!("POST /raw HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(head);
    client.send(&body);
    assert!(client.reply().unwrap().body == body, "a body with a length");
    for path in ["/raw", "/duplex"] {
        client.send(format!("POST {path} HTTP/1.1\r\nHost: test\r\n"));
        client.send("Transfer-Encoding: chunked\r\n\r\n");
        let sender = std::thread::scope(|scope| {
            let pieces = body.chunks(10_007).map(|piece| {
                [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
            });
            let whole: Vec<u8> = pieces.flatten().chain(*b"0\r\n\r\n").collect();
            let mut writer = client.writer();
            scope.spawn(move || writer.write_all(&whole).expect("the gateway reads"));
            client.reply()
        });
        assert!(sender.unwrap().body == body, "{path} in chunks");
    }
}

#[test]
fn interim_replies_pass() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    let mut client = gateway.client();
    client.send("GET /?hints=1 HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(client.next(false).unwrap().status, 103);
    assert_eq!(client.next(false).unwrap().status, 200);
}

#[test]
fn a_large_reply_arrives_whole() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    let bytes = 64 * 1024 * 1024;
    for framing in ["", "&chunked=1", "&until_close=1"] {
        let reply = gateway.client().get(&format!("/?bytes={bytes}{framing}"));
        assert_eq!(reply.body.len(), bytes, "{framing}");
        let wrong = (0..bytes).find(|at| reply.body[*at] != body_byte(*at as u64));
        assert_eq!(wrong, None, "{framing}");
    }
}

#[test]
fn an_upstream_that_dies_inside_its_reply_is_not_covered_up() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    for framing in ["", "&chunked=1"] {
        let mut client = gateway.client();
        let target = format!("/?bytes=100000&abort_after=5000{framing}");
        client.send(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        let error = client.reply().expect_err("a cut reply is no reply");
        let cut = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        assert!(cut.contains(&error.kind()), "{framing}: {error}");
    }
    for line in gateway.log(2) {
        let reason = line["reason"].as_str().unwrap_or_default();
        assert!(reason.starts_with("upstream_"), "{line}");
    }
}

#[test]
fn an_absent_upstream_is_502() {
    let gateway = Setup::upstream(Origin::absent()).start();
    let mut client = gateway.client();
    assert_eq!(client.get("/").status, 502);
    assert_eq!(client.get("/").status, 502, "the client's connection is kept");
    assert_eq!(gateway.log(2)[0]["reason"], "upstream_connect_failed");
    assert!(gateway.metric("ringway_local_replies_total") >= 2.0);
}

#[test]
fn an_upstream_that_closes_or_talks_nonsense_is_502() {
    let replies: [&[u8]; 4] = [
        b"",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Le",
    ];
    for reply in replies {
        let origin = Origin::start(move |mut accepted| {
            accepted.read_head();
            accepted.write(reply);
        });
        let gateway = Setup::upstream(origin.address).start();
        assert_eq!(gateway.client().get("/").status, 502, "{reply:?}");
    }
}

#[test]
fn a_silent_upstream_is_504() {
    let mock = mock();
    let gateway = Setup::upstream(mock.address).flag("--first-byte-timeout", "300ms").start();
    assert_eq!(gateway.client().get("/?silent=1").status, 504);
    assert_eq!(gateway.log(1)[0]["reason"], "upstream_first_byte_timeout");
}

#[test]
fn a_request_past_its_deadline_is_504() {
    let mock = mock();
    let gateway = Setup::upstream(mock.address).flag("--request-timeout", "300ms").start();
    assert_eq!(gateway.client().get("/?silent=1").status, 504);
    assert_eq!(gateway.log(1)[0]["reason"], "request_timeout");
}

#[test]
fn a_stale_upstream_connection_costs_a_safe_request_nothing() {
    let options = Options { requests_per_connection_max: Some(1), ..Options::default() };
    let mock = mock::http1::start(options).expect("a mock upstream");
    let gateway = in_front_of(&mock);
    let mut client = gateway.client();
    for _ in 0..200 {
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn a_client_that_leaves_frees_what_it_held() {
    let mock = mock();
    let gateway = in_front_of(&mock);
    assert_eq!(gateway.client().get("/").status, 200);
    let mut clients: Vec<_> = (0..200).map(|_| gateway.client()).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        match index % 4 {
            0 => client.send("GET /?bytes=50000000 HTTP/1.1\r\nHost: test\r\n\r\n"),
            1 => client.send("POST /raw HTTP/1.1\r\nHost: test\r\nContent-Length: 99\r\n\r\nhalf"),
            2 => client.send("GET /?silent=1 HTTP/1.1\r\nHost: test\r\n\r\n"),
            _ => client.send("GET / HT"),
        }
    }
    // Unread bytes make the kernel send a reset instead of a FIN at the close.
    for client in clients.iter_mut().step_by(4) {
        client.head().expect("the reply begins");
    }
    drop(clients);
    until("every request has ended", || gateway.metric("http_server_active_requests") == 0.0);
    until("every client socket is closed", || {
        let closed = gateway.metric("ringway_connections_closed_total");
        closed == gateway.metric("ringway_connections_accepted_total")
    });
    assert_eq!(gateway.client().get("/").status, 200);
}

#[test]
fn a_slow_reader_holds_a_bounded_amount() {
    const HELD_BYTES_MAX: f64 = 256.0 * 1024.0;
    let mock = mock();
    let gateway = in_front_of(&mock);
    let bytes = 256 * 1024 * 1024;
    let mut slow = gateway.client();
    slow.send(format!("GET /?bytes={bytes} HTTP/1.1\r\nHost: test\r\n\r\n"));
    slow.head().expect("the reply begins");
    // The kernel's socket buffers take a few megabytes; then the gateway must stop reading.
    let sent = || gateway.metric("ringway_network_bytes_total");
    let mut last = -1.0;
    until("the gateway has stopped reading", || std::mem::replace(&mut last, sent()) == last);
    assert!(sent() < bytes as f64);
    assert_eq!(gateway.client().get("/").status, 200, "others are served meanwhile");
    assert!(gateway.metric("ringway_connection_held_bytes_max") <= HELD_BYTES_MAX);
    assert_eq!(slow.exactly(bytes).expect("the rest of the reply").len(), bytes);
    assert!(gateway.metric("ringway_connection_held_bytes_max") <= HELD_BYTES_MAX);
}

#[test]
fn many_clients_on_several_shards() {
    let mock = mock();
    let gateway = Setup::upstream(mock.address).flag("--shards", "2").start();
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = gateway.client();
                for n in 1..100 {
                    assert_eq!(client.get(&format!("/?bytes={n}")).body.len(), n);
                }
            });
        }
    });
    assert_eq!(gateway.log(16 * 99).len(), 16 * 99);
}
