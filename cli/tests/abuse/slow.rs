//! Clients that are slow on purpose. Timeouts are set short; a test waits for what follows from
//! them and checks that, not how long it took.

use std::io::Write as _;
use std::thread;

use mock::http1::Options;

use crate::support::{Setup, Talk, until};

/// Sends `piece` again and again, some fifty times a second, until the gateway closes.
fn dribble(talk: &mut Talk, piece: &'static str) {
    let mut writer = talk.writer();
    thread::spawn(move || {
        until("the gateway closes", || writer.write_all(piece.as_bytes()).is_err());
    });
}

/// The whole head has to come in time: a byte now and then does not extend it.
#[test]
fn a_slow_head_is_408() {
    let mut talk = Talk::with(&[("--head-timeout", "300ms")]);
    talk.client("GET / HTTP/1.1\r\nHost: test\r\n").refused(408, "head_timeout");
    talk.client("GET / HTTP/1.1\r\nHost: test\r\nX: ");
    dribble(&mut talk, "a");
    talk.refused(408, "head_timeout");
    talk.client("GET / HTTP/1.1\r\n");
    dribble(&mut talk, "X: y\r\n");
    talk.refused(408, "head_timeout");
}

/// The same of the second head of a connection.
#[test]
fn a_slow_second_head_is_408() {
    let mut talk = Talk::with(&[("--head-timeout", "300ms")]);
    talk.goes_on().client("G").refused(408, "head_timeout");
}

/// A connection that says nothing at all is closed without words.
#[test]
fn silence_is_closed() {
    let mut talk = Talk::with(&[("--idle-timeout", "300ms")]);
    talk.closed();
    talk.client("\r\n").closed();
}

const HEAD: &str = "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 1000000\r\n\r\n";
const FORWARDED: &str = "POST / HTTP/1.1\r\nhost: test\r\ncontent-length: 1000000\r\n\r\n";

/// A body has to come at the minimum rate once its grace is over: silence and a byte now and then
/// are both too slow. The origin gets no whole request.
#[test]
fn a_slow_body_is_408() {
    let flags = [("--body-grace", "300ms"), ("--body-rate-min", "10KiB")];
    let mut talk = Talk::with(&flags);
    talk.client(HEAD).forwarded(FORWARDED).local_reply(408, "body_too_slow").link_closed();
    talk.closed().client(HEAD).forwarded(FORWARDED);
    dribble(&mut talk, "a");
    talk.local_reply(408, "body_too_slow");
    assert!(talk.origin.until_closed().len() < 1_000_000);
    talk.closed();
}

/// A body that was fast does not buy any length of silence.
#[test]
fn silence_inside_a_body_is_408() {
    let flags = [("--body-grace", "100ms"), ("--body-idle-timeout", "300ms")];
    let mut talk = Talk::with(&flags);
    let half = "a".repeat(500_000);
    talk.client(HEAD).forwarded(FORWARDED).client(&half).forwarded(&half);
    talk.local_reply(408, "body_too_slow").link_closed().closed();
}

/// A client that takes nothing of its reply is cut, and its upstream work with it.
#[test]
fn a_client_that_does_not_read_is_cut() {
    let mock = mock::http1::start(Options::default()).expect("a mock upstream");
    let setup = Setup::upstream(mock.address).flag("--write-stall-timeout", "300ms");
    let gateway = setup.start();
    let mut slow = gateway.client();
    slow.send("GET /?bytes=1000000000 HTTP/1.1\r\nHost: test\r\n\r\n");
    assert_eq!(slow.head().expect("the reply begins").status, 200);
    assert_eq!(gateway.log(1)[0]["reason"], "write_stalled");
    assert!(slow.exactly(1_000_000_000).is_err(), "a cut reply is no reply");
    assert_eq!(gateway.client().get("/").status, 200);
}
