//! RFC 9112 section 3: methods, targets and Host.

use crate::support::Talk;

/// A target longer than the gateway reads is answered with 414 (§3).
#[test]
fn a_target_too_long_is_414() {
    let mut talk = Talk::start();
    let long = "a".repeat(8 * 1024);
    let line = format!("GET /{long} HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.client(line).refused(414, "target_too_long");
    let fits = "a".repeat(8 * 1024 - 1);
    talk.client(format!("GET /{fits} HTTP/1.1\r\nHost: test\r\n\r\n"));
    talk.forwarded(format!("GET /{fits} HTTP/1.1\r\nhost: test\r\n\r\n")).answered().goes_on();
}

/// What is no method, one space, target, one space and version is refused, not repaired (§3).
#[test]
fn a_malformed_request_line_is_refused() {
    let mut talk = Talk::start();
    for (line, reason) in [
        ("GET  / HTTP/1.1", "bad_request_line"),
        ("GET / HTTP/1.1 ", "bad_request_line"),
        ("GET /a b HTTP/1.1", "bad_request_line"),
        ("GET /", "bad_request_line"),
        ("GET / HTTP/1", "bad_request_line"),
        ("GET\t/ HTTP/1.1", "bad_method"),
        ("G@T / HTTP/1.1", "bad_method"),
    ] {
        talk.client(format!("{line}\r\nHost: test\r\n\r\n")).refused(400, reason);
    }
}

/// HTTP/1.1 without Host is 400; HTTP/1.0 may lack it (§3.2).
#[test]
fn a_missing_host_is_400() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.1\r\n\r\n").refused(400, "missing_host");
    talk.client("GET / HTTP/1.0\r\n\r\n").forwarded("GET / HTTP/1.1\r\nhost: \r\n\r\n");
    talk.origin("HTTP/1.1 204 No Content\r\n\r\n");
    talk.reply("HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").closed();
}

/// More than one Host is 400, equal or not, in every version and form (§3.2).
#[test]
fn a_second_host_is_400() {
    let mut talk = Talk::start();
    for head in [
        "GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: test\r\nX: y\r\nhost: other\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: test\r\nHost: test\r\n\r\n",
        "GET http://test/ HTTP/1.1\r\nHost: test\r\nHost: other\r\n\r\n",
    ] {
        talk.client(head).refused(400, "duplicate_host");
    }
}

/// A Host that is no host with an optional port is 400 (§3.2).
#[test]
fn an_invalid_host_is_400() {
    let mut talk = Talk::start();
    for host in ["", "a b", "a,b", "u@a", "a/b", "a:b", "a:70000", "[::1", "a\u{e4}", "http://a"] {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        talk.client(head).refused(400, "bad_host");
    }
}

/// The origin gets path and query in origin form, and `/` for an empty path (§3.2.1).
#[test]
fn the_origin_gets_origin_form() {
    let mut talk = Talk::start();
    for (target, forwarded) in [
        ("/a?b", "/a?b"),
        ("http://test/a?b", "/a?b"),
        ("http://test", "/"),
        ("http://test?b", "/?b"),
    ] {
        talk.client(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        talk.forwarded(format!("GET {forwarded} HTTP/1.1\r\nhost: test\r\n\r\n")).answered();
    }
    talk.goes_on();
}

/// The absolute form is accepted, and its authority takes the place of Host, which is ignored
/// (§3.2.2).
#[test]
fn absolute_form_replaces_host() {
    let mut talk = Talk::start();
    talk.client("GET http://a.test:81/x HTTP/1.1\r\nHost: b.test\r\n\r\n");
    talk.forwarded("GET /x HTTP/1.1\r\nhost: a.test:81\r\n\r\n").answered();
    talk.client("GET HTTP://a.test/x HTTP/1.1\r\nHost:\r\n\r\n");
    talk.forwarded("GET /x HTTP/1.1\r\nhost: a.test\r\n\r\n").answered().goes_on();
}

/// The absolute form does not excuse a missing Host (§3.2, §3.2.2).
#[test]
fn absolute_form_still_needs_host() {
    let mut talk = Talk::start();
    talk.client("GET http://test/ HTTP/1.1\r\n\r\n").refused(400, "missing_host");
}

/// User information in a target's authority is refused, so that it cannot be forwarded (§3.2).
#[test]
fn user_information_is_refused() {
    let mut talk = Talk::start();
    talk.client("GET http://u:p@test/ HTTP/1.1\r\nHost: test\r\n\r\n").refused(400, "bad_host");
}

/// CONNECT, the one user of the authority form, is not served (§3.2.3).
#[test]
fn authority_form_is_refused() {
    let mut talk = Talk::start();
    let connect = "CONNECT test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n";
    talk.client(connect).refused(501, "connect_refused");
    talk.client("GET test:443 HTTP/1.1\r\nHost: test:443\r\n\r\n").refused(400, "bad_target");
}

/// `*` is for OPTIONS only, and is forwarded as it is (§3.2.4).
#[test]
fn asterisk_form_is_for_options() {
    let mut talk = Talk::start();
    talk.client("OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("OPTIONS * HTTP/1.1\r\nhost: test\r\n\r\n").answered().goes_on();
    talk.client("GET * HTTP/1.1\r\nHost: test\r\n\r\n").refused(400, "bad_target");
}

/// OPTIONS with an absolute target of empty path and no query means the whole server: the origin
/// gets `*` (§3.2.4).
#[test]
fn options_of_a_whole_server_becomes_asterisk_form() {
    let mut talk = Talk::start();
    talk.client("OPTIONS http://test:81 HTTP/1.1\r\nHost: test:81\r\n\r\n");
    talk.forwarded("OPTIONS * HTTP/1.1\r\nhost: test:81\r\n\r\n").answered();
    talk.client("OPTIONS http://test/ HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("OPTIONS / HTTP/1.1\r\nhost: test\r\n\r\n").answered().goes_on();
}
