//! RFC 9110 section 9: methods.

use crate::support::Talk;

/// Methods are case-sensitive names that the gateway need not know: they pass as they are (§9.1).
#[test]
fn any_method_is_forwarded_as_it_is() {
    let mut talk = Talk::start();
    for method in ["get", "PROPFIND", "M-SEARCH", "X!#$%&'*+.^_`|~"] {
        talk.client(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n"));
        talk.forwarded(format!("{method} / HTTP/1.1\r\nhost: test\r\n\r\n")).answered();
    }
    talk.goes_on();
}

/// A request that is not idempotent is never sent a second time by itself, however its link ended
/// (§9.2.2).
#[test]
fn a_post_is_not_repeated() {
    let mut talk = Talk::start();
    talk.goes_on().client("POST / HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
    talk.origin_finishes().local_reply(502, "upstream_reset_before_head").goes_on();
}

/// An idempotent one is repeated, once, and only on a link that may have been stale (§9.2.2).
#[test]
fn a_get_is_repeated_once() {
    let mut talk = Talk::start();
    talk.goes_on().get("").forwarded_get("").origin_finishes();
    talk.forwarded_get("").origin_finishes();
    talk.local_reply(502, "upstream_reset_before_head").goes_on();
    assert_eq!(talk.origin.links(), 3);
}

/// A request is not repeated once a part of its reply was seen (§9.2.2).
#[test]
fn nothing_is_repeated_after_a_1xx() {
    let mut talk = Talk::start();
    talk.goes_on().get("").forwarded_get("").origin("HTTP/1.1 103 E\r\n\r\n");
    talk.reply("HTTP/1.1 103 E\r\n\r\n").origin_finishes();
    talk.local_reply(502, "upstream_reset_before_head").link_closed().goes_on();
    talk.get("").forwarded_get("").origin("HTTP/1.1 200 OK\r\nX: ").origin_finishes();
    talk.local_reply(502, "upstream_reset_before_head").link_closed().goes_on();
    assert_eq!(talk.origin.links(), 3);
}

/// No content follows a reply to HEAD, even if the origin sends some: its link ends (§9.3.2).
#[test]
fn a_reply_to_head_has_no_content() {
    let mut talk = Talk::start();
    talk.client("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n");
    talk.origin("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").link_closed().goes_on();
}

/// A reply to HEAD that the gateway makes has no content either (§9.3.2).
#[test]
fn a_local_reply_to_head_has_no_content() {
    let mut talk = Talk::start();
    talk.client("HEAD / HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("HEAD / HTTP/1.1\r\nhost: test\r\n\r\n").origin("nonsense");
    talk.reply(
        "HTTP/1.1 502 Bad Gateway\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: 28\r\n\r\n",
    );
    talk.link_closed().goes_on();
}

/// CONNECT is refused, to a valid port or not (§9.3.6).
#[test]
fn connect_is_refused() {
    let mut talk = Talk::start();
    for target in ["test:443", "test:", "test:0", "test", "test:99999", "/"] {
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: test\r\n\r\n");
        talk.client(head).refused(501, "connect_refused");
    }
}

/// OPTIONS and TRACE leave without a Max-Forwards that they did not come with (§9.3.7).
#[test]
fn max_forwards_is_not_made_up() {
    let mut talk = Talk::start();
    for method in ["OPTIONS", "TRACE"] {
        talk.client(format!("{method} / HTTP/1.1\r\nHost: test\r\n\r\n"));
        talk.forwarded(format!("{method} / HTTP/1.1\r\nhost: test\r\n\r\n")).answered();
    }
    talk.goes_on();
}
