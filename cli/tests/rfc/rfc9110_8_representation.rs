//! RFC 9110 section 8: Content-Length, where it says something other than a body's end.

use crate::support::Talk;

/// The length in a reply to HEAD is that of the content which GET would give: passed on, and
/// nothing made up where there is none (§8.6).
#[test]
fn the_length_of_a_reply_to_head_is_kept() {
    let mut talk = Talk::start();
    for (lines, sent) in [("Content-Length: 99\r\n", "content-length: 99\r\n"), ("", "")] {
        talk.client("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
        talk.forwarded("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n");
        talk.origin(format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
        talk.reply(format!("HTTP/1.1 200 OK\r\n{sent}\r\n")).goes_on();
    }
}

/// The same of a 304 (§8.6).
#[test]
fn the_length_of_a_304_is_kept() {
    let mut talk = Talk::start();
    for (lines, sent) in [("Content-Length: 99\r\n", "content-length: 99\r\n"), ("", "")] {
        talk.get("If-None-Match: \"a\"\r\n").forwarded_get("If-None-Match: \"a\"\r\n");
        talk.origin(format!("HTTP/1.1 304 Not Modified\r\n{lines}\r\n"));
        talk.reply(format!("HTTP/1.1 304 Not Modified\r\n{sent}\r\n")).goes_on();
    }
}

/// No Content-Length goes out in a 1xx or 204 (§8.6).
#[test]
fn a_1xx_or_204_has_no_content_length() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("").origin("HTTP/1.1 103 E\r\nContent-Length: 0\r\n\r\n");
    talk.reply("HTTP/1.1 103 E\r\n\r\n");
    talk.origin("HTTP/1.1 204 N\r\nContent-Length: 0\r\n\r\n");
    talk.reply("HTTP/1.1 204 N\r\n\r\n").goes_on();
}

/// A length that no number holds is refused and does not wrap (§8.6).
#[test]
fn a_content_length_does_not_overflow() {
    let mut talk = Talk::start();
    for length in ["9223372036854775808", "18446744073709551621", "99999999999999999999999999"] {
        talk.client(format!(
            "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: {length}\r\n\r\nhello"
        ));
        talk.refused(400, "bad_content_length");
        talk.get("").forwarded_get("");
        talk.origin(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello"));
        talk.reply_refused();
    }
}

/// A large length that a number holds is a length (§8.6).
#[test]
fn a_large_content_length_is_forwarded() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("");
    talk.origin("HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\nhello");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 9223372036854775807\r\n\r\nhello");
    talk.client_finishes().link_closed().closed();
}

/// A value that is no number in its plain form is not forwarded; one with leading zeros leaves as
/// the number that it is (§8.6).
#[test]
fn a_content_length_leaves_in_plain_form() {
    let mut talk = Talk::start();
    talk.client("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 005\r\n\r\nhello");
    talk.forwarded("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhello").answered();
    talk.goes_on();
}

/// Less content than was announced is not sent as if it were all: see also section 8 of RFC 9112
/// (§8.6).
#[test]
fn a_known_wrong_length_is_not_covered_up() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("").origin("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok").origin_finishes().closed();
}
