//! What follows on a connection: options of Connection, versions, and requests behind each other.

use crate::support::Talk;

const GET: &str = "GET / HTTP/1.1\r\nHost: test\r\n";

/// Requests that say `keep-alive` in so many words follow each other (RFC 9112 §9.3).
#[test]
fn explicit_keep_alive() {
    let mut talk = Talk::start();
    let request = format!("{GET}Connection: keep-alive\r\n\r\n");
    talk.client(request.repeat(2));
    talk.forwarded_get("").answered().forwarded_get("").answered().goes_on();
}

/// Behind a request of HTTP/1.0 without `keep-alive` nothing is served (RFC 9112 §9.3).
#[test]
fn http_10_ends_with_its_reply() {
    let mut talk = Talk::start();
    talk.client(format!("GET /old HTTP/1.0\r\nHost: test\r\n\r\n{GET}\r\n"));
    talk.forwarded("GET /old HTTP/1.1\r\nhost: test\r\n\r\n").origin("HTTP/1.1 204 N\r\n\r\n");
    talk.reply("HTTP/1.1 204 N\r\nconnection: close\r\n\r\n").closed();
}

/// HTTP/1.0 with `keep-alive` may be kept, and is told so, or ended, and is told that: nothing
/// behind it is served by accident (RFC 9112 §9.3).
#[test]
fn http_10_with_keep_alive() {
    let mut talk = Talk::start();
    let old = "GET /old HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n\r\n";
    talk.client(old.repeat(2));
    for _ in 0..2 {
        talk.forwarded("GET /old HTTP/1.1\r\nhost: test\r\n\r\n").origin("HTTP/1.1 204 N\r\n\r\n");
        talk.reply("HTTP/1.1 204 N\r\nconnection: keep-alive\r\n\r\n");
    }
    talk.goes_on();
}

/// `close` counts with white space around it, among other options, and before `keep-alive`
/// (RFC 9112 §9.3, §9.6). What only contains the word means nothing.
#[test]
fn close_among_other_options() {
    let mut talk = Talk::start();
    for options in [
        "close\t",
        "\tclose \t",
        "close, token, upgrade, token, keep-alive",
        "keep-alive, close",
        "keep-alive\r\nConnection: CLOSE",
    ] {
        talk.client(format!("{GET}Connection: {options}\r\n\r\n{GET}\r\n")).forwarded_get("");
        talk.origin("HTTP/1.1 204 N\r\n\r\n");
        talk.reply("HTTP/1.1 204 N\r\nconnection: close\r\n\r\n").closed();
    }
    for options in ["closed", "close-not", "x-close", "\"close\"", "close;q=1"] {
        talk.get(&format!("Connection: {options}\r\n")).forwarded_get("").answered().goes_on();
    }
}

/// Content, an empty line that belongs to nobody, and another request: served after `keep-alive`,
/// not after `close` (RFC 9112 §2.2, §9.6).
#[test]
fn an_empty_line_behind_content() {
    let mut talk = Talk::start();
    let post = |option: &str| {
        format!("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 4\r\n{option}\r\nq=42\r\n")
    };
    let forwarded = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nq=42";
    talk.client(format!("{}{GET}\r\n", post("")));
    talk.forwarded(forwarded).answered().forwarded_get("").answered();
    talk.client(format!("{}{GET}\r\n", post("Connection: close\t\r\n"))).forwarded(forwarded);
    talk.origin("HTTP/1.1 204 N\r\n\r\n");
    talk.reply("HTTP/1.1 204 N\r\nconnection: close\r\n\r\n").closed();
}

/// Three methods, three bodies, one write; then chunks with a request right behind (RFC 9112
/// §9.3.2).
#[test]
fn pipelined_requests_with_content() {
    let mut talk = Talk::start();
    let one = |method: &str, name: &str, body: &str| {
        let length = body.len();
        format!("{method} / HTTP/1.1\r\n{name}: test\r\ncontent-length: {length}\r\n\r\n{body}")
    };
    let bodies = [("POST", "AAA"), ("PUT", "GET /"), ("PATCH", "\r\n\r\n\r\n")];
    talk.client(bodies.map(|(method, body)| one(method, "Host", body)).concat());
    for (method, body) in bodies {
        talk.forwarded(one(method, "host", body)).answered();
    }
    let chunks = "ransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    talk.client(format!("POST / HTTP/1.1\r\nHost: test\r\nT{chunks}{GET}\r\n"));
    talk.forwarded(format!("POST / HTTP/1.1\r\nhost: test\r\nt{chunks}")).answered();
    talk.forwarded_get("").answered().goes_on();
}

/// The second request of a connection is read as strictly as the first (RFC 9110 §5.5).
#[test]
fn a_bad_second_request() {
    let mut talk = Talk::start();
    talk.client(format!("{GET}X: fine\r\n\r\n{GET}X: a\u{c}b\r\n\r\n"));
    talk.forwarded_get("X: fine\r\n").answered().refused(400, "bad_field_value");
}

/// A length in odd letters, of a method without content by custom, in HTTP/1.0 (RFC 9110 §5.1).
#[test]
fn a_length_in_odd_letters() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.0\r\nhOsT: test\r\nconTENT-Length: 5\r\n\r\nHELLO");
    talk.forwarded("GET / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nHELLO");
    talk.origin("HTTP/1.1 204 N\r\n\r\n");
    talk.reply("HTTP/1.1 204 N\r\nconnection: close\r\n\r\n").closed();
}

/// An upgrade that is not granted does not change where the content ends: what is behind it is the
/// next request, which is none (RFC 9110 §7.8).
#[test]
fn content_of_an_upgrade_that_is_not_granted() {
    let mut talk = Talk::start();
    let lines = "Connection: upgrade\r\nContent-Length: 4\r\nUpgrade: ws\r\n";
    talk.client(format!("PUT / HTTP/1.1\r\nHost: test\r\n{lines}\r\nabcd(fgh\r\n\r\n"));
    talk.forwarded("PUT / HTTP/1.1\r\nhost: test\r\ncontent-length: 4\r\n\r\nabcd").answered();
    talk.refused(400, "bad_request_line");
}

/// A request that comes a byte at a time is the request that it is at once (RFC 9112 §2.2).
#[test]
fn a_request_byte_by_byte() {
    let mut talk = Talk::start();
    let head = "\r\nPOST /a HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for byte in format!("{head}a;x=\"y\"\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n").bytes() {
        talk.client([byte]);
    }
    talk.forwarded("POST /a HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
    // Payload leaves as it comes, in chunks of any size.
    let content = read_chunks(&mut talk);
    assert_eq!(content, b"0123456789");
    talk.forwarded("X-Sum: 1\r\n\r\n").answered().goes_on();
}

/// The content of chunks up to the line of the last one.
fn read_chunks(talk: &mut Talk) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(talk.origin.byte().expect("a size"));
        }
        let digits = std::str::from_utf8(&line[..line.len() - 2]).expect("digits");
        let size = usize::from_str_radix(digits, 16).expect("a size");
        if size == 0 {
            return content;
        }
        content.extend((0..size).map(|_| talk.origin.byte().expect("payload")));
        talk.forwarded("\r\n");
    }
}

/// A head that never gets its last line is answered once the client ends: with nothing (RFC 9112
/// §8). Each proper part of a head is one.
#[test]
fn every_part_of_a_head() {
    let mut talk = Talk::start();
    let head = "GET / HTTP/1.1\r\nHost: test\r\n\r\n";
    for end in 0..head.len() {
        talk.client(&head[..end]).client_finishes();
        assert!(talk.is_closed(), "{:?} was answered", &head[..end]);
        talk.next_client();
    }
    talk.goes_on();
}
