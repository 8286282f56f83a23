//! End to end: bodies that a route buffers, and the pages it answers errors with.
#![forbid(unsafe_code)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mock::http1::{Options, body_byte};
use support::{Folder, Gateway, Origin, Setup, until};

fn gateway(folder: &Folder, upstream: SocketAddr, more: &str) -> Gateway {
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         clusters: {{c: {{endpoints: ['{upstream}']}}}}\n\
         routes: [{{id: r, cluster: c, {more}}}]\n"
    );
    Setup::config(&folder.write("ringway.yaml", config)).start()
}

#[test]
fn a_buffered_request_reaches_the_upstream_whole_and_with_its_length() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let gateway = gateway(&folder, origin.address, "buffer: {request: 100KB}");
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n1\r\n \r\n");
    until("the request is being collected", || gateway.metric("ringway_buffered_bytes") == 6.0);
    assert_eq!(origin.connections(), 0, "no link is held for half a request");
    client.send("5\r\nworld\r\n0\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 200);
    let forwarded = origin.received();
    assert!(forwarded.contains("\r\ncontent-length: 11\r\n"), "{forwarded}");
    assert!(!forwarded.contains("transfer-encoding"), "{forwarded}");
}

#[test]
fn a_client_that_waits_for_a_hundred_gets_it_from_the_gateway() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let gateway = gateway(&folder, origin.address, "buffer: {request: 100KB}");
    let mut client = gateway.client();
    client.send("POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n");
    client.send("Expect: 100-continue\r\n\r\n");
    assert_eq!(client.next(false).unwrap().status, 100);
    client.send("four");
    assert_eq!(client.reply().unwrap().status, 200);
    assert!(!origin.received().contains("expect"));
}

#[test]
fn what_is_too_long_to_buffer_is_refused_before_anything_is_forwarded() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let gateway = gateway(&folder, origin.address, "buffer: {request: 4KiB}");
    for framing in ["Content-Length: 5000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1388\r\n"] {
        let mut client = gateway.client();
        client.send(format!("POST /a HTTP/1.1\r\nHost: test\r\n{framing}"));
        client.send(vec![b'x'; 5000]);
        let reply = client.reply().unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (413, "413 body_too_large\n"));
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(gateway.metric("ringway_buffered_bytes"), 0.0);
}

#[test]
fn a_stored_request_is_sent_again_on_a_fresh_link() {
    // Each connection serves one request and dies on the next, as a server that times out does.
    let tries = Arc::new(AtomicUsize::new(0));
    let origin_tries = Arc::clone(&tries);
    let origin = Origin::start(move |mut accepted| {
        while let Some(head) = accepted.read_head() {
            let body = if head.starts_with("PUT") { accepted.read(5) } else { None };
            if head.starts_with("PUT") && origin_tries.fetch_add(1, Ordering::SeqCst) == 0 {
                return;
            }
            let echo = String::from_utf8(body.unwrap_or_default()).unwrap();
            accepted.write(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{echo}", echo.len())
                    .as_bytes(),
            );
        }
    });
    let folder = Folder::new();
    let gateway = gateway(&folder, origin.address, "buffer: {request: 4KiB}");
    let mut client = gateway.client();
    assert_eq!(client.get("/warm").status, 200);
    client.send("PUT /a HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nfive!");
    let reply = client.reply().unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (200, "five!"));
    assert_eq!((tries.load(Ordering::SeqCst), origin.connections()), (2, 2));
}

#[test]
fn a_buffered_reply_frees_its_link_before_the_client_has_read_it() {
    let mock = mock::http1::start(Options::default()).expect("a mock upstream");
    let folder = Folder::new();
    let gateway = gateway(&folder, mock.address, "buffer: {reply: 64MiB}");
    let mut slow = gateway.client();
    let bytes = 20 << 20;
    slow.send(format!("GET /?bytes={bytes} HTTP/1.1\r\nHost: test\r\n\r\n"));
    assert_eq!(slow.head().unwrap().status, 200);
    until("the link is idle again", || gateway.metric("ringway_upstream_pool_idle") == 1.0);
    assert_eq!(gateway.metric("http_server_active_requests"), 1.0);
    assert!(gateway.metric("ringway_buffered_bytes") > 0.0);
    let body = slow.exactly(bytes).unwrap();
    assert!(body.iter().zip(0..).all(|(byte, at)| *byte == body_byte(at)), "the reply differs");
    gateway.until_idle();
    until("nothing is buffered", || gateway.metric("ringway_buffered_bytes") == 0.0);
    assert_eq!(mock.connections(), 1);
}

#[test]
fn a_reply_longer_than_the_buffer_still_arrives_whole() {
    let mock = mock::http1::start(Options::default()).expect("a mock upstream");
    let folder = Folder::new();
    let gateway = gateway(&folder, mock.address, "buffer: {reply: 64KiB}");
    let mut client = gateway.client();
    for _ in 0..3 {
        let reply = client.get("/?bytes=3000000");
        assert!(reply.body.iter().zip(0..).all(|(byte, at)| *byte == body_byte(at)));
        assert_eq!(reply.body.len(), 3_000_000);
    }
}

#[test]
fn errors_are_answered_with_the_pages_of_their_route() {
    let folder = Folder::new();
    folder.write("down.html", "<h1>Back soon</h1>");
    let gateway = gateway(
        &folder,
        Origin::absent(),
        "body_bytes_max: 1KiB, error_pages: [{status: [502, 504], file: down.html}, \
         {status: [413], body: '{\"error\":\"too long\"}', content_type: application/json}]",
    );
    let mut client = gateway.client();
    let reply = client.get("/");
    assert_eq!((reply.status, reply.text().as_str()), (502, "<h1>Back soon</h1>"));
    assert_eq!(reply.field("content-type"), Some("text/html; charset=utf-8"));
    client.send("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5000\r\n\r\n");
    let reply = client.reply().unwrap();
    assert_eq!((reply.status, reply.text().as_str()), (413, "{\"error\":\"too long\"}"));
    assert_eq!(reply.field("content-type"), Some("application/json"));
}
