//! RFC 9112 section 9: what may follow on a connection.

use crate::support::Talk;

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

/// One request at a time goes out on a link, and what comes back answers that one (§9.2).
#[test]
fn a_link_carries_one_request_at_a_time() {
    let mut talk = Talk::start();
    talk.client("GET /1 HTTP/1.1\r\nHost: test\r\n\r\nGET /2 HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("GET /1 HTTP/1.1\r\nhost: test\r\n\r\n");
    talk.origin("HTTP/1.1 201 A\r\nContent-Length: 0\r\n\r\n");
    talk.forwarded("GET /2 HTTP/1.1\r\nhost: test\r\n\r\n");
    talk.origin("HTTP/1.1 202 B\r\nContent-Length: 0\r\n\r\n");
    talk.reply("HTTP/1.1 201 A\r\ncontent-length: 0\r\n\r\n");
    talk.reply("HTTP/1.1 202 B\r\ncontent-length: 0\r\n\r\n").goes_on();
    assert_eq!(talk.origin.links(), 1);
}

/// Bytes on a link that no request waits on are no reply; the link closes (§9.2).
#[test]
fn a_reply_that_nobody_asked_for_is_dropped() {
    let mut talk = Talk::start();
    talk.goes_on().origin("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil").link_closed();
    talk.goes_on();
    assert_eq!(talk.origin.links(), 2);
}

/// An early reply does not make the rest of its request another request: what is short is read and
/// dropped (§9.3).
#[test]
fn the_rest_of_an_answered_request_is_dropped() {
    let mut talk = Talk::start();
    let body = "GET /no HTTP/1.1\r\nHost: test\r\n\r\n";
    let length = body.len();
    let lines = format!("ontent-length: {length}\r\n\r\n");
    talk.client(format!("POST / HTTP/1.1\r\nHost: test\r\nC{lines}"));
    talk.forwarded(format!("POST / HTTP/1.1\r\nhost: test\r\nc{lines}")).answered().link_closed();
    talk.client(body).goes_on();
}

/// What is too long to be dropped ends the connection, and the reply says so (§9.3).
#[test]
fn a_long_rest_of_an_answered_request_ends_the_connection() {
    let mut talk = Talk::start();
    talk.client("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10000000\r\n\r\n");
    talk.forwarded("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 10000000\r\n\r\n");
    talk.origin("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n");
    talk.reply("HTTP/1.1 413 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").closed();
}

/// A link is used again only when its reply was read to the end (§9.3).
#[test]
fn a_link_whose_reply_was_left_is_not_used_again() {
    let mut talk = Talk::start();
    talk.client(GET).forwarded_get("");
    talk.origin("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhel");
    talk.client_finishes().link_closed().closed();
}

/// Connections persist by default, on both sides (§9.3).
#[test]
fn connections_persist() {
    let mut talk = Talk::start();
    talk.goes_on().goes_on().goes_on();
    assert_eq!(talk.origin.links(), 1);
}

/// Replies to pipelined requests come in the order of the requests (§9.3.2).
#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut talk = Talk::start();
    let numbers = 1..=20;
    talk.client(numbers.clone().map(request).collect::<String>());
    for number in numbers {
        talk.forwarded(request(number).replace("Host", "host"));
        talk.origin(format!("HTTP/1.1 204 N{number}\r\n\r\n"));
        talk.reply(format!("HTTP/1.1 204 N{number}\r\n\r\n"));
    }
    talk.goes_on();
}

fn request(number: u32) -> String {
    format!("GET /{number} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// After a request with `close` nothing more is served: the reply says `close` too, the connection
/// ends, a request behind it is not processed (§9.6).
#[test]
fn nothing_is_served_after_a_clients_close() {
    let mut talk = Talk::start();
    talk.client(format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: Close\r\n\r\n{GET}"));
    talk.forwarded_get("").origin(NO_CONTENT);
    talk.reply("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").closed();
    talk.client(format!("GET / HTTP/1.1\r\nHost: test\r\nConnection: x, close\r\n\r\n{GET}"));
    talk.forwarded_get("").origin(NO_CONTENT);
    talk.reply("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").closed();
}

/// After a reply that says `close` nothing more is served either (§9.6).
#[test]
fn nothing_is_served_after_the_gateways_close() {
    let mut talk = Talk::with(&[("--requests-per-connection", "1")]);
    talk.client(format!("{GET}{GET}")).forwarded_get("").origin(NO_CONTENT);
    talk.reply("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
    assert!(talk.is_closed());
}

/// A link whose reply says `close` carries no further request and is closed (§9.6).
#[test]
fn no_request_follows_an_origins_close() {
    let mut talk = Talk::start();
    talk.client(GET).forwarded_get("");
    talk.origin("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").reply(NO_CONTENT);
    talk.link_closed().goes_on();
    assert_eq!(talk.origin.links(), 2);
}

/// An HTTP/1.0 link without `keep-alive` ends with its reply, one with it goes on (§9.3).
#[test]
fn an_http_10_link_persists_only_when_it_says_so() {
    let mut talk = Talk::start();
    let length = "Content-Length: 0\r\n\r\n";
    talk.client(GET).forwarded_get("").origin(format!("HTTP/1.0 200 OK\r\n{length}"));
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").link_closed();
    let kept = format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{length}");
    talk.client(GET).forwarded_get("").origin(kept);
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").goes_on();
    assert_eq!(talk.origin.links(), 2);
}
