//! RFC 9110 section 15: statuses with rules of their own.

use crate::support::Talk;

/// No 1xx goes to an HTTP/1.0 client (§15.2).
#[test]
fn http_10_gets_no_1xx() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.0\r\nHost: test\r\n\r\n").forwarded_get("");
    talk.origin("HTTP/1.1 103 E\r\n\r\nHTTP/1.1 100 C\r\n\r\nHTTP/1.1 204 N\r\n\r\n");
    talk.reply("HTTP/1.1 204 N\r\nconnection: close\r\n\r\n").closed();
}

/// Any 1xx is forwarded, known or not, several in a row (§15.2).
#[test]
fn every_1xx_is_forwarded() {
    let mut talk = Talk::start();
    let many = "HTTP/1.1 102 A\r\nX: 1\r\n\r\nHTTP/1.1 199 B\r\n\r\nHTTP/1.1 100 C\r\n\r\n";
    talk.get("").forwarded_get("").origin(many).reply(many).answered().goes_on();
}

/// An unknown status is passed on, a final one with its content (§15).
#[test]
fn unknown_statuses_are_forwarded() {
    let mut talk = Talk::start();
    for status in ["299", "499", "599", "600", "999"] {
        talk.get("").forwarded_get("");
        talk.origin(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok"));
        talk.reply(format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok"));
    }
    talk.goes_on();
}
