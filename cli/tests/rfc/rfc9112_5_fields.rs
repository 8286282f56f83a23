//! RFC 9112 section 5: field lines.

use crate::support::Talk;

/// White space between name and colon in a request is 400 (§5.1).
#[test]
fn a_space_before_the_colon_is_400() {
    let mut talk = Talk::start();
    talk.get("X : y\r\n").refused(400, "bad_field_name");
    talk.get("X\t: y\r\n").refused(400, "bad_field_name");
    talk.client("GET / HTTP/1.1\r\nHost : test\r\n\r\n").refused(400, "bad_field_name");
}

/// The same in a reply must not reach the client; the reply is refused as a whole (§5.1).
#[test]
fn a_space_before_the_colon_of_a_reply_is_not_passed_on() {
    let mut talk = Talk::start();
    for line in ["X : y", "Content-Length : 0"] {
        talk.get("").forwarded_get("").origin(format!("HTTP/1.1 200 OK\r\n{line}\r\n\r\n"));
        talk.reply_refused();
    }
}

/// A name that is empty or no token, or a line without a colon, is 400 (§5.1).
#[test]
fn what_is_no_field_name_is_400() {
    let mut talk = Talk::start();
    for line in [": y", "X", "X(: y", "X\0: y", "X\u{e4}: y", "\"X\": y"] {
        talk.get(&format!("{line}\r\n")).refused(400, "bad_field_name");
    }
}

/// A folded line in a request is 400; so none is ever sent to an origin (§5.2).
#[test]
fn a_folded_line_in_a_request_is_400() {
    let mut talk = Talk::start();
    for lines in ["X: a\r\n b\r\n", "X: a\r\n\tb\r\n", "X: a\r\n \r\n", "X:\r\n a\r\n"] {
        talk.get(lines).refused(400, "obs_fold");
    }
}

/// A folded line in a reply is 502; so none is ever sent to a client (§5.2).
#[test]
fn a_folded_line_in_a_reply_is_502() {
    let mut talk = Talk::start();
    for lines in ["X: a\r\n b", "X: a\r\n\tb", "Content-Length:\r\n 0"] {
        talk.get("").forwarded_get("").origin(format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"));
        talk.reply_refused();
    }
}
