//! RFC 9112 section 4: the status line.

use crate::support::Talk;

/// The space behind the status code is sent even when no reason phrase follows, and a reply that
/// lacks it is understood (§4).
#[test]
fn a_missing_reason_keeps_its_space() {
    let mut talk = Talk::start();
    for line in ["HTTP/1.1 299 ", "HTTP/1.1 299"] {
        talk.get("").forwarded_get("").origin(format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        talk.reply("HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n");
    }
    talk.goes_on();
}

/// What is no version, space, three digits and an optional phrase is no reply: 502 (§4).
#[test]
fn a_malformed_status_line_is_502() {
    let mut talk = Talk::start();
    for line in [
        "HTTP/1.1  200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 099 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1",
        "HTTP/2.0 200 OK",
        "ICY 200 OK",
        "\r\nHTTP/1.1 200 OK",
        "HTTP/1.1 200 O\0K",
    ] {
        talk.get("").forwarded_get("").origin(format!("{line}\r\nContent-Length: 0\r\n\r\n"));
        talk.reply_refused();
    }
}
