//! RFC 9110 sections 10, 11, 13 and 14: expectations, and fields that are the origin's to judge.

use crate::support::Talk;

const HEAD: &str = "POST / HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
const FORWARDED: &str =
    "POST / HTTP/1.1\r\nhost: test\r\nExpect: 100-continue\r\ncontent-length: 5\r\n";

/// The expectation is forwarded without waiting for content, and the origin's 100 comes back; a
/// final status follows it (§10.1.1).
#[test]
fn an_expectation_is_forwarded() {
    let mut talk = Talk::start();
    talk.client(format!("{HEAD}\r\n")).forwarded(format!("{FORWARDED}\r\n"));
    talk.origin("HTTP/1.1 100 Continue\r\n\r\n").reply("HTTP/1.1 100 Continue\r\n\r\n");
    talk.client("hello").forwarded("hello").answered().goes_on();
}

/// A final status instead of a 100 is passed on; since the client may send its content or not,
/// nothing more is read from it (§10.1.1).
#[test]
fn a_final_status_instead_of_100_ends_the_connection() {
    let mut talk = Talk::start();
    talk.client(format!("{HEAD}\r\n")).forwarded(format!("{FORWARDED}\r\n"));
    talk.origin("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n");
    talk.reply("HTTP/1.1 417 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    talk.link_closed().closed();
}

/// An expectation in an HTTP/1.0 request is ignored, and so not forwarded (§10.1.1).
#[test]
fn an_expectation_in_http_10_is_ignored() {
    let mut talk = Talk::start();
    talk.client(
        "POST / HTTP/1.0\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    talk.forwarded("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\n");
    talk.client("hello").forwarded("hello").origin("HTTP/1.1 204 No Content\r\n\r\n");
    talk.reply("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").closed();
}

/// An expectation in a request without content is not sent on (§10.1.1).
#[test]
fn an_expectation_without_content_is_not_sent() {
    let mut talk = Talk::start();
    talk.get("Expect: 100-continue\r\n").forwarded_get("").answered();
    talk.get("Expect: 100-continue\r\nContent-Length: 0\r\n");
    talk.forwarded_get("content-length: 0\r\n").answered().goes_on();
}

/// An expectation that the gateway does not know is 417 (§10.1.1).
#[test]
fn an_unknown_expectation_is_417() {
    let mut talk = Talk::start();
    for value in ["200-ok", "100-continue, x", "100-continue;q=1", "y 100-continue", ""] {
        talk.get(&format!("Expect: {value}\r\n")).refused(417, "bad_expectation");
    }
}

/// Allow is passed on as it is (§10.2.1).
#[test]
fn allow_is_not_changed() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("");
    talk.origin("HTTP/1.1 405 No\r\nAllow: GET, , x\r\nContent-Length: 0\r\n\r\n");
    talk.reply("HTTP/1.1 405 No\r\nAllow: GET, , x\r\ncontent-length: 0\r\n\r\n").goes_on();
}

/// Credentials and challenges are passed on as they are (§11.6.1, §11.6.2).
#[test]
fn credentials_and_challenges_are_not_changed() {
    let mut talk = Talk::start();
    let credentials = "Authorization: Basic  dGVzdDo=\r\n";
    talk.get(credentials).forwarded_get(credentials);
    let challenges = "WWW-Authenticate: Basic realm=\"a, b\"\r\nwww-authenticate: Digest x\r\n";
    talk.origin(format!("HTTP/1.1 401 No\r\n{challenges}Content-Length: 0\r\n\r\n"));
    talk.reply(format!("HTTP/1.1 401 No\r\n{challenges}content-length: 0\r\n\r\n")).goes_on();
}

/// Conditions are the origin's to evaluate: forwarded, whatever they say (§13.2.1).
#[test]
fn conditions_are_forwarded() {
    let mut talk = Talk::start();
    let lines = "If-Match: \"a\"\r\nIf-None-Match: *\r\nIf-Modified-Since: nonsense\r\n\
                 If-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\nIf-Range: \"b\"\r\n\
                 Range: bytes=0-1\r\n";
    talk.get(lines).forwarded_get(lines).answered().goes_on();
}

/// A part, and what it is a part of, is passed on unseen (§14.4).
#[test]
fn a_partial_reply_is_forwarded() {
    let mut talk = Talk::start();
    talk.get("Range: bytes=0-1\r\n").forwarded_get("Range: bytes=0-1\r\n");
    let lines = "Content-Range: bytes 0-1/2\r\n";
    talk.origin(format!("HTTP/1.1 206 Partial\r\n{lines}Content-Length: 2\r\n\r\nok"));
    talk.reply(format!("HTTP/1.1 206 Partial\r\n{lines}content-length: 2\r\n\r\nok")).goes_on();
}
