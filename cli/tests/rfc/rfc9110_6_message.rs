//! RFC 9110 sections 2 and 6: versions and trailers.

use crate::support::Talk;

/// The gateway speaks no version that it does not conform to: others are refused, with 505 from a
/// client and 502 from an origin (§6.2).
#[test]
fn other_versions_are_refused() {
    let mut talk = Talk::start();
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0"] {
        let head = format!("GET / {version}\r\nHost: test\r\n\r\n");
        talk.client(head).refused(505, "bad_version");
        let reply = format!("{version} 200 OK\r\nContent-Length: 0\r\n\r\n");
        talk.get("").forwarded_get("").origin(reply).reply_refused();
    }
    for version in ["http/1.1", "HTTP/1.1x", "HTTP/11", "HTTP/1", "HTTPS/1.1", "HTTP/+1.1"] {
        let head = format!("GET / {version}\r\nHost: test\r\n\r\n");
        talk.client(head).refused(400, "bad_request_line");
    }
}

/// A trailer is not merged into a head, even where the head is still unsent (§6.5.1).
#[test]
fn a_trailer_is_not_merged() {
    let mut talk = Talk::start();
    let chunks = "ransfer-encoding: chunked\r\n\r\n0\r\nX-End: 1\r\n\r\n";
    talk.client(format!("POST / HTTP/1.1\r\nHost: test\r\nX-End: 0\r\nT{chunks}"));
    talk.forwarded(format!("POST / HTTP/1.1\r\nhost: test\r\nX-End: 0\r\nt{chunks}")).answered();
    talk.get("").forwarded_get("").origin(format!("HTTP/1.1 200 OK\r\nT{chunks}"));
    talk.reply(format!("HTTP/1.1 200 OK\r\nt{chunks}")).goes_on();
}

/// A reply is read by what was asked: the same bytes are whole after HEAD and not after GET (§6).
#[test]
fn a_reply_is_read_by_its_request() {
    let mut talk = Talk::start();
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n";
    talk.client("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n").origin(head).reply(head).goes_on();
    talk.get("").forwarded_get("").origin(head).reply(head).origin("ok").reply("ok").goes_on();
}
