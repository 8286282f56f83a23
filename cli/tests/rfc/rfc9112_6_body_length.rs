//! RFC 9112 section 6: where a body ends.

use crate::support::Talk;

/// A POST's start up to its framing fields.
const POST: &str = "POST / HTTP/1.1\r\nHost: test\r\n";

/// Framing fields of a POST whose body would be read as another request by a server that takes
/// them otherwise.
fn post(lines: &str) -> String {
    format!("{POST}{lines}\r\nGET /hidden HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Chunked is never applied twice, and a message that says so is refused (§6.1).
#[test]
fn chunked_twice_is_refused() {
    let mut talk = Talk::start();
    let twice = "Transfer-Encoding: chunked, chunked\r\n";
    talk.client(post(twice)).refused(400, "bad_transfer_encoding");
    let lines = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    talk.client(post(lines)).refused(400, "bad_transfer_encoding");
    let reply = format!("HTTP/1.1 200 OK\r\n{twice}\r\n0\r\n\r\n");
    talk.get("").forwarded_get("").origin(reply).reply_refused();
}

/// A coding that the gateway does not know is 501; it never forwards what it cannot frame (§6.1).
#[test]
fn an_unknown_coding_is_501() {
    let mut talk = Talk::start();
    talk.client(post("Transfer-Encoding: gzip, chunked\r\n")).refused(501, "unknown_coding");
    let lines = "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n";
    talk.client(post(lines)).refused(501, "unknown_coding");
    let reply = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n";
    talk.get("").forwarded_get("").origin(reply).reply_refused();
}

/// No Transfer-Encoding goes out in a 1xx or 204, whatever the origin says there (§6.1).
#[test]
fn a_1xx_or_204_has_no_transfer_encoding() {
    let mut talk = Talk::start();
    let coded = "Transfer-Encoding: chunked\r\nX: y\r\n\r\n";
    talk.get("").forwarded_get("");
    talk.origin(format!("HTTP/1.1 103 Early Hints\r\n{coded}"));
    talk.reply("HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n");
    talk.origin(format!("HTTP/1.1 204 No Content\r\n{coded}"));
    talk.reply("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n").goes_on();
}

/// A client of HTTP/1.0 gets no chunks: its reply ends with the connection (§6.1).
#[test]
fn http_10_gets_no_transfer_encoding() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.0\r\nHost: test\r\n\r\n").forwarded_get("");
    talk.origin("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    talk.reply("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok").closed();
}

/// Transfer-Encoding in an HTTP/1.0 message is faulty framing, with or without a length: the
/// connection ends (§6.1).
#[test]
fn transfer_encoding_in_http_10_is_refused() {
    let mut talk = Talk::start();
    let start = "POST / HTTP/1.0\r\nHost: test\r\nConnection: keep-alive\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let request = format!("{start}{chunked}\r\n0\r\n\r\n");
    talk.client(request).refused(400, "transfer_encoding_in_http10");
    let both = format!("{start}{chunked}Content-Length: 5\r\n\r\n0\r\n\r\n");
    talk.client(both).refused(400, "length_conflict");
    let reply = format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{chunked}\r\n0\r\n\r\n");
    talk.get("").forwarded_get("").origin(reply).reply_refused();
}

/// Both framings in a request: refused, and the connection ends (§6.1, §6.3).
#[test]
fn content_length_with_transfer_encoding_is_refused() {
    let mut talk = Talk::start();
    for lines in [
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n",
    ] {
        talk.client(post(lines)).refused(400, "length_conflict");
    }
}

/// Both framings in a reply: discarded, the link closes, the client gets 502 (§6.3).
#[test]
fn a_reply_with_both_framings_is_502() {
    let mut talk = Talk::start();
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let reply = format!("HTTP/1.1 200 OK\r\n{lines}\r\n0\r\n\r\n");
        talk.get("").forwarded_get("").origin(reply).reply_refused();
    }
}

/// A message leaves with one framing field: no Content-Length beside chunks (§6.2).
#[test]
fn a_chunked_message_is_sent_without_content_length() {
    let mut talk = Talk::start();
    let chunks = "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let forwarded = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    talk.client(format!("{POST}{chunks}"));
    talk.forwarded(format!("POST / HTTP/1.1\r\nhost: test\r\n{forwarded}"));
    talk.origin(format!("HTTP/1.1 200 OK\r\n{chunks}"));
    talk.reply(format!("HTTP/1.1 200 OK\r\n{forwarded}")).goes_on();
}

/// A request whose last coding is not chunked has no readable end: 400 and close (§6.3).
#[test]
fn a_request_not_ending_in_chunked_is_400() {
    let mut talk = Talk::start();
    for coding in ["gzip", "identity", "chunked, gzip", "xchunked", "chunked;q=1", ""] {
        let lines = format!("Transfer-Encoding: {coding}\r\n");
        talk.client(post(&lines)).refused(400, "bad_transfer_encoding");
    }
}

/// A Content-Length that is no plain number, or two of them, is 400 and close (§6.3).
#[test]
fn an_invalid_content_length_is_400() {
    let mut talk = Talk::start();
    for length in ["", "+5", "-5", "5 5", "0x5", "5;", "\"5\"", "1e3", "five"] {
        let lines = format!("Content-Length: {length}\r\n");
        talk.client(post(&lines)).refused(400, "bad_content_length");
    }
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5,\r\n",
    ] {
        talk.client(post(lines)).refused(400, "duplicate_content_length");
    }
}

/// The same in a reply: the link closes, the reply is discarded, the client gets 502 (§6.3).
#[test]
fn an_invalid_content_length_in_a_reply_is_502() {
    let mut talk = Talk::start();
    for lines in [
        "Content-Length: -1\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 0x2\r\n",
        "Content-Length: \r\n",
        "Content-Length: 2, 3\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nContent-Length: 2\r\n",
    ] {
        talk.get("").forwarded_get("").origin(format!("HTTP/1.1 200 OK\r\n{lines}\r\nok"));
        talk.reply_refused();
    }
}

/// A request's body is as long as its Content-Length; what follows is the next request (§6.3).
#[test]
fn content_length_is_the_length_of_a_request() {
    let mut talk = Talk::start();
    let body = "GET /no HTTP/1.1\r\nHost: test\r\n\r\n";
    let length = body.len();
    let head = format!("Content-Length: {length}\r\n\r\n{body}");
    talk.client(format!("{POST}{head}{}", "GET /yes HTTP/1.1\r\nHost: test\r\n\r\n"));
    talk.forwarded(format!(
        "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
    ));
    talk.answered().forwarded("GET /yes HTTP/1.1\r\nhost: test\r\n\r\n").answered().goes_on();
}

/// A request without framing fields has no body (§6.3).
#[test]
fn a_request_without_framing_has_no_body() {
    let mut talk = Talk::start();
    talk.client(format!("{POST}\r\nGET /yes HTTP/1.1\r\nHost: test\r\n\r\n"));
    talk.forwarded("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n").answered();
    talk.forwarded("GET /yes HTTP/1.1\r\nhost: test\r\n\r\n").answered().goes_on();
}

/// A reply without framing fields ends with the link; a client of HTTP/1.1 gets it in chunks, so
/// that its end is certain (§6.3).
#[test]
fn a_reply_without_framing_ends_with_the_link() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("").origin("HTTP/1.1 200 OK\r\n\r\nok");
    talk.reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n");
    talk.origin_finishes().reply("0\r\n\r\n").link_closed().goes_on();
}

/// A reply to HEAD, a 1xx, a 204 and a 304 end with their head, whatever framing they announce
/// (§6.3).
#[test]
fn replies_that_end_with_their_head() {
    let mut talk = Talk::start();
    talk.client("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n");
    talk.origin("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").goes_on();
    talk.get("").forwarded_get("").origin("HTTP/1.1 103 E\r\nContent-Length: 5\r\n\r\n");
    talk.reply("HTTP/1.1 103 E\r\n\r\n");
    talk.origin("HTTP/1.1 204 N\r\nContent-Length: 5\r\n\r\n");
    talk.reply("HTTP/1.1 204 N\r\n\r\n").goes_on();
    talk.get("").forwarded_get("").origin("HTTP/1.1 304 N\r\nTransfer-Encoding: chunked\r\n\r\n");
    talk.reply("HTTP/1.1 304 N\r\n\r\n").goes_on();
}

/// Bytes behind a complete reply are no reply to anybody: they are dropped with their link (§6.3).
#[test]
fn bytes_behind_a_reply_are_not_another_reply() {
    let mut talk = Talk::start();
    let reply = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    talk.get("").forwarded_get("").origin(format!("{reply}{reply}"));
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").link_closed().goes_on();
    for bodiless in ["HTTP/1.1 204 N\r\n\r\n", "HTTP/1.1 304 N\r\n\r\n"] {
        talk.get("").forwarded_get("").origin(format!("{bodiless}hello"));
        talk.reply(bodiless).link_closed().goes_on();
    }
}
