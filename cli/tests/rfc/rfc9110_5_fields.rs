//! RFC 9110 section 5: fields.

use crate::support::Talk;

/// Fields that the gateway does not know pass in both directions (§5.1).
#[test]
fn unknown_fields_are_forwarded() {
    let mut talk = Talk::start();
    let lines = "X-Unknown: 1\r\n!#$%&'*+-.^_`|~9: odd but legal\r\nEmpty: \r\n";
    talk.get(lines).forwarded_get(lines);
    talk.origin(format!("HTTP/1.1 204 No Content\r\n{lines}\r\n"));
    talk.reply(format!("HTTP/1.1 204 No Content\r\n{lines}\r\n")).goes_on();
}

/// Lines of one name keep their order, in both directions (§5.3).
#[test]
fn lines_of_one_name_keep_their_order() {
    let mut talk = Talk::start();
    let lines = "Via: 1.1 a\r\nX: 1\r\nvia: 1.0 b\r\nX: 2\r\nSet-Cookie: c\r\nx: 3\r\n\
                 Set-Cookie: d\r\n";
    talk.get(lines).forwarded_get(lines);
    talk.origin(format!("HTTP/1.1 204 No Content\r\n{lines}\r\n"));
    talk.reply(format!("HTTP/1.1 204 No Content\r\n{lines}\r\n")).goes_on();
}

/// Nothing of a request is acted on before its head is complete (§5.3).
#[test]
fn half_a_head_is_not_forwarded() {
    let mut talk = Talk::start();
    talk.client("GET /half HTTP/1.1\r\nHost: test\r\nX: y\r\n");
    let mut other = talk.gateway.client();
    other.send("GET /whole HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("GET /whole HTTP/1.1\r\nhost: test\r\n\r\n");
    talk.origin("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(other.reply().expect("a reply").status, 204);
    talk.client("\r\n").forwarded("GET /half HTTP/1.1\r\nhost: test\r\nX: y\r\n\r\n").answered();
    talk.goes_on();
}

/// Fields larger or more than the gateway reads are answered with a 4xx, not ignored (§5.4).
#[test]
fn oversized_fields_are_431() {
    let mut talk = Talk::start();
    let line = format!("X: {}\r\n", "a".repeat(16 * 1024));
    talk.get(&line).refused(431, "field_too_long");
    talk.get(&"X: y\r\n".repeat(100)).refused(431, "too_many_fields");
    let quarter = format!("X: {}\r\n", "a".repeat(15 * 1024));
    talk.get(&quarter.repeat(5)).refused(431, "head_too_large");
    let most = "X: y\r\n".repeat(99);
    talk.get(&most).forwarded_get(&most).answered().goes_on();
}

/// White space around a value is no part of it: a length is read without it, and none of it is
/// passed on (§5.5).
#[test]
fn white_space_around_a_value_is_removed() {
    let mut talk = Talk::start();
    talk.get("X: \t a b \t\r\nY:c\r\nContent-Length:\t2  \r\n").client("ok");
    talk.forwarded_get("X: a b\r\nY: c\r\ncontent-length: 2\r\n").forwarded("ok").answered();
    talk.goes_on();
}

/// CR, LF or NUL in a value: the request is refused (§5.5).
#[test]
fn control_bytes_in_a_value_are_refused() {
    let mut talk = Talk::start();
    talk.get("X: a\0b\r\n").refused(400, "bad_field_value");
    talk.get("X: a\rb\r\n").refused(400, "bare_cr");
    talk.get("X: a\nb\r\n").refused(400, "bare_lf");
    talk.get("X: a\u{b}b\r\n").refused(400, "bad_field_value");
    talk.get("X: a\u{7f}b\r\n").refused(400, "bad_field_value");
}

/// The same in a reply: 502 (§5.5).
#[test]
fn control_bytes_in_a_value_of_a_reply_are_refused() {
    let mut talk = Talk::start();
    for value in ["a\0b", "a\rb", "a\nb", "a\u{b}b"] {
        talk.get("").forwarded_get("");
        talk.origin(format!("HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 0\r\n\r\n"));
        talk.reply_refused();
    }
}

/// Empty elements of a list are skipped (§5.6.1.2).
#[test]
fn empty_list_elements_are_skipped() {
    let mut talk = Talk::start();
    talk.get("Connection: , x ,, \t,y,\r\nX: 1\r\nY: 2\r\nZ: 3\r\n").forwarded_get("Z: 3\r\n");
    talk.answered();
    talk.get("TE: ,, trailers ,\r\n").forwarded_get("te: trailers\r\nconnection: te\r\n");
    talk.answered().goes_on();
}
