//! RFC 9112 section 8, and what section 6.3 says of messages that end too early: an incomplete
//! message never looks complete to whoever gets it.

use crate::support::Talk;

/// A request cut short of its length is not completed for the origin: the link ends (§6.3).
#[test]
fn a_short_request_stays_short() {
    let mut talk = Talk::start();
    talk.client("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhel");
    talk.forwarded("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 5\r\n\r\nhel");
    talk.client_finishes().link_closed().closed();
}

/// Chunks cut short get no last chunk (§8).
#[test]
fn a_request_without_its_last_chunk_gets_none() {
    let mut talk = Talk::start();
    let chunks = "ransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n";
    talk.client(format!("POST / HTTP/1.1\r\nHost: test\r\nT{chunks}"));
    talk.forwarded(format!("POST / HTTP/1.1\r\nhost: test\r\nt{chunks}"));
    talk.client_finishes().link_closed().closed();
}

/// A head cut short is no request (§8).
#[test]
fn half_a_head_is_no_request() {
    let mut talk = Talk::start();
    talk.client("GET / HTTP/1.1\r\nHost: test\r\n").client_finishes().closed();
}

/// A reply cut short of its length ends the client's connection short of it (§6.3, §8).
#[test]
fn a_short_reply_stays_short() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("").origin("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    talk.origin_finishes().closed();
}

/// A chunked reply without its last chunk, or with half of one, gets no last chunk (§8).
#[test]
fn a_reply_without_its_last_chunk_gets_none() {
    let mut talk = Talk::start();
    for rest in ["", "2\r\nl", "0\r\n", "0\r\n\r"] {
        talk.get("").forwarded_get("");
        talk.origin(format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n{rest}"
        ));
        talk.reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n");
        if rest.ends_with('l') {
            talk.reply("1\r\nl\r\n");
        }
        talk.origin_finishes().closed();
    }
}

/// A reply that ends inside its head is no reply: 502 (§8).
#[test]
fn half_a_reply_head_is_502() {
    let mut talk = Talk::start();
    for part in ["", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"] {
        // Each on a fresh link: on one that had served before, the request would be repeated.
        talk.get("").forwarded_get("").origin(part).origin_finishes();
        talk.local_reply(502, "upstream_reset_before_head").link_closed();
    }
    talk.goes_on();
}
