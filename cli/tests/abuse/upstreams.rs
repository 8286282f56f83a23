//! Upstreams that are slow, broken or hostile: the client gets a clear answer or a visible cut, and
//! the link is not used again.

use std::sync::mpsc::sync_channel;

use crate::support::{Origin, Setup, Talk, until};

/// A reply that comes byte by byte is a reply.
#[test]
fn a_dribbled_reply_arrives_whole() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("");
    for byte in b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 2\r\n\r\nok" {
        talk.origin([*byte]);
    }
    talk.reply("HTTP/1.1 200 OK\r\nX: y\r\ncontent-length: 2\r\n\r\nok").goes_on();
}

/// Silence is 504, before the first byte and in the middle of a head.
#[test]
fn a_silent_upstream_is_504() {
    let mut talk = Talk::with(&[("--first-byte-timeout", "300ms")]);
    talk.get("").forwarded_get("").local_reply(504, "upstream_first_byte_timeout");
    talk.link_closed().goes_on();
    talk.get("").forwarded_get("").origin("HTTP/1.1 200 OK\r\nX: ");
    talk.local_reply(504, "upstream_first_byte_timeout").link_closed().goes_on();
}

/// A head that never ends is not waited for, however often a byte comes.
#[test]
fn a_head_that_is_dribbled_for_ever_is_504() {
    let mut talk = Talk::with(&[("--first-byte-timeout", "300ms")]);
    talk.get("").forwarded_get("").origin("HTTP/1.1 200 OK\r\nX: ");
    let mut link = talk.origin.writer();
    std::thread::spawn(move || {
        until("the gateway closes", || std::io::Write::write_all(&mut link, b"a").is_err());
    });
    talk.local_reply(504, "upstream_first_byte_timeout").link_closed().goes_on();
}

/// Silence in the middle of a body is a cut.
#[test]
fn silence_inside_a_reply_is_a_cut() {
    let mut talk = Talk::with(&[("--first-byte-timeout", "300ms")]);
    talk.get("").forwarded_get("").origin("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").link_closed().closed();
    let line = &talk.gateway.log(1)[0];
    assert_eq!(line["reason"], "upstream_idle_timeout");
}

/// A reset before the reply is 502.
#[test]
fn a_reset_before_the_reply_is_502() {
    // Unread bytes make the kernel send a reset at the close.
    let origin = Origin::start(|mut accepted| _ = accepted.read(1));
    let gateway = Setup::upstream(origin.address).start();
    let mut client = gateway.client();
    client.send("POST / HTTP/1.1\r\nHost: test\r\n\r\n");
    let reply = client.reply().expect("a reply");
    assert_eq!((reply.status, reply.text().as_str()), (502, "502 upstream_reset_before_head\n"));
    assert_eq!(client.get("/").status, 502, "the client's connection is kept");
}

/// A reset inside the reply is a cut, in every framing.
#[test]
fn a_reset_inside_the_reply_is_a_cut() {
    for framing in ["Content-Length: 5\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n3\r\n", "\r\n"]
    {
        let (sender, seen) = sync_channel::<()>(1);
        let seen = std::sync::Mutex::new(seen);
        let origin = Origin::start(move |mut accepted| {
            _ = accepted.read(1);
            accepted.write(format!("HTTP/1.1 200 OK\r\n{framing}hel").as_bytes());
            // Until the client has what came: a reset may overtake it.
            _ = seen.lock().expect("no origin thread panicked").recv();
        });
        let gateway = Setup::upstream(origin.address).start();
        let mut client = gateway.client();
        client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
        let head = client.head().expect("the reply begins");
        let chunked = head.field("transfer-encoding").is_some();
        let begun = if chunked { &b"3\r\nhel\r\n"[..] } else { b"hel" };
        assert_eq!(client.exactly(begun.len()).expect("the part that came"), begun);
        sender.send(()).expect("the origin waits");
        assert!(client.is_closed(), "more came after {framing:?}");
        assert_eq!(gateway.log(1)[0]["reason"], "upstream_reset_in_reply");
    }
}

/// Informational replies without an end are not passed on without an end.
#[test]
fn a_flood_of_1xx_is_502() {
    let mut talk = Talk::start();
    talk.get("").forwarded_get("").origin("HTTP/1.1 103 E\r\n\r\n".repeat(1000));
    talk.reply("HTTP/1.1 103 E\r\n\r\n".repeat(16)).local_reply(502, "upstream_protocol_error");
    talk.link_closed().goes_on();
}

/// A reply's head has the limits of a request's.
#[test]
fn reply_heads_have_limits() {
    let mut talk = Talk::start();
    let line = format!("X: {}\r\n", "y".repeat(17 * 1024));
    let cookies = format!("Set-Cookie: {}\r\n", "y".repeat(4096)).repeat(17);
    for lines in [line, "X: y\r\n".repeat(101), cookies, "X: y\r\n".repeat(100_000)] {
        talk.get("").forwarded_get("").origin(format!("HTTP/1.1 200 OK\r\n{lines}\r\n"));
        talk.reply_refused();
    }
}

/// Chunk extensions and trailers of a reply have theirs: the reply is cut.
#[test]
fn reply_chunks_have_limits() {
    let mut talk = Talk::start();
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = format!("1;{}", "e".repeat(1000));
    let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(33));
    for body in [extension, trailers, "0\r\n X: y\r\n\r\n".to_owned()] {
        talk.get("").forwarded_get("").origin(head);
        talk.reply("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        talk.origin(body).link_closed().closed();
    }
}

/// A second reply behind the first, or a reply to a request that nobody has sent, reaches nobody:
/// response splitting and queue poisoning.
#[test]
fn a_reply_too_many_reaches_nobody() {
    let mut talk = Talk::start();
    let one = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none";
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo";
    talk.get("").forwarded_get("").origin(format!("{one}{two}"));
    talk.reply("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\none").link_closed().goes_on();
    talk.origin(two).link_closed().goes_on();
}

/// An answer before the end of the request, and its end: the client has the answer.
#[test]
fn an_early_answer_is_passed_on() {
    let mut talk = Talk::start();
    talk.client("POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhel");
    talk.forwarded("POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 9\r\n\r\nhel");
    talk.origin("HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\nno").origin_finishes();
    talk.reply("HTTP/1.1 401 No\r\ncontent-length: 2\r\n\r\nno").link_closed();
    talk.client("lo you").goes_on();
}
