//! RFC 9112 section 2: lines, white space and versions of a message.

use crate::support::Talk;

/// Messages are octets, not characters: bytes that are no valid text in any encoding pass a field
/// value unharmed (§2.2).
#[test]
fn a_message_is_read_as_octets() {
    let mut talk = Talk::start();
    talk.client(b"GET / HTTP/1.1\r\nHost: test\r\nX-A: \xff\xc3(\x80\r\n\r\n");
    talk.forwarded(b"GET / HTTP/1.1\r\nhost: test\r\nX-A: \xff\xc3(\x80\r\n\r\n");
    talk.origin(b"HTTP/1.1 204 No Content\r\nX-B: \xe2\x82\r\n\r\n");
    talk.reply(b"HTTP/1.1 204 No Content\r\nX-B: \xe2\x82\r\n\r\n").goes_on();
}

/// A CR that no LF follows makes the element invalid; here it ends the request (§2.2).
#[test]
fn a_bare_cr_in_a_request_is_refused() {
    let mut talk = Talk::start();
    for head in [
        "GET /\r HTTP/1.1\r\nHost: test\r\n\r\n",
        "GET / HTTP/1.1\rX: y\r\nHost: test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nX: a\r\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nX\r: a\r\n\r\n",
    ] {
        talk.client(head).refused(400, "bare_cr").next_client();
    }
}

/// The same of a reply: it is discarded, the client gets a 502 (§2.2).
#[test]
fn a_bare_cr_in_a_reply_is_refused() {
    let mut talk = Talk::start();
    for head in [
        "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\rX: a\r\nContent-Length: 0\r\n\r\n",
    ] {
        talk.get("").forwarded_get("").origin(head).reply_refused();
    }
}

/// A line that ends in LF alone may be taken for a line or not; it is not let in, in either
/// direction (§2.2 allows both).
#[test]
fn a_bare_lf_is_refused() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.1\nHost: test\n\n").refused(400, "bare_lf");
    talk.get("X: a\nY: b\r\n").refused(400, "bare_lf");
    talk.get("").forwarded_get("").origin("HTTP/1.1 200 OK\nContent-Length: 0\n\n").reply_refused();
}

/// No CRLF is put before or after a forwarded request, whatever the client put there (§2.2).
#[test]
fn no_empty_line_is_sent_around_a_request() {
    let mut talk = Talk::start();
    talk.client("\r\nPOST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello\r\n");
    talk.forwarded("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhello").answered();
    talk.goes_on();
}

/// White space between the start line and the first field is no field: refused (§2.2).
#[test]
fn white_space_before_the_first_field_is_refused() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.1\r\n Host: test\r\n\r\n").refused(400, "obs_fold");
    talk.client("GET / HTTP/1.1\r\n\tX: y\r\nHost: test\r\n\r\n").refused(400, "obs_fold");
    talk.client("GET / HTTP/1.1\r\n \r\nHost: test\r\n\r\n").refused(400, "obs_fold");
    let reply = "HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 0\r\n\r\n";
    talk.get("").forwarded_get("").origin(reply).reply_refused();
}

/// Each message leaves with the gateway's own version, HTTP/1.1, whatever it came with (§2.3).
#[test]
fn the_gateway_sends_its_own_version() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.0\r\nHost: test\r\n\r\n").forwarded_get("");
    talk.origin("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok").closed();
}
