//! More of something than anybody needs: the limit ends it, and reaching it costs only the
//! connection that did.

use std::io::Write as _;
use std::process::Command;
use std::{fs, thread};

use crate::support::{Talk, until};

/// What one connection may hold at most while its head is gathered: a head, and what one receive
/// brings beyond it.
const HELD_BYTES_MAX: f64 = 256.0 * 1024.0;

/// Sends 4 MiB of `piece` behind `start`, of which the gateway reads only what its limit lets it.
fn flood(talk: &mut Talk, start: &str, piece: &str) {
    let mut writer = talk.writer();
    let (start, piece) = (start.to_owned(), piece.to_owned());
    thread::spawn(move || {
        let _ = writer.write_all(start.as_bytes());
        for _ in 0..4 * 1024 * 1024 / piece.len() {
            if writer.write_all(piece.as_bytes()).is_err() {
                return;
            }
        }
    });
}

#[test]
fn endless_heads_end_at_their_limits() {
    let mut talk = Talk::start();
    let start = "GET / HTTP/1.1\r\nHost: test\r\n";
    let long = "a".repeat(1024);
    for (start, piece, status, reason) in [
        ("GET /", long.as_str(), 414, "target_too_long"),
        ("GET / HTTP/1.1\r\nHost: ", &long, 431, "field_too_long"),
        (&format!("{start}X: "), &long, 431, "field_too_long"),
        (start, &long, 431, "field_too_long"),
        (start, "X: y\r\n", 431, "head_too_large"),
        (start, &format!("Cookie: {long}\r\n"), 431, "head_too_large"),
        ("", &long, 414, "target_too_long"),
        ("", "\r\n", 400, "bad_request_line"),
    ] {
        flood(&mut talk, start, piece);
        talk.refused(status, reason);
    }
    assert!(talk.gateway.metric("ringway_connection_held_bytes_max") <= HELD_BYTES_MAX);
}

/// Every limit of a head is a setting.
#[test]
fn limits_of_heads_are_settings() {
    let flags = [
        ("--head-bytes-max", "1KiB"),
        ("--line-bytes-max", "256B"),
        ("--target-bytes-max", "64B"),
        ("--fields-max", "3"),
    ];
    let mut talk = Talk::with(&flags);
    let line = |name: &str, bytes: usize| format!("{name}: {}\r\n", "a".repeat(bytes - 4));
    let target = "a".repeat(64);
    talk.client(format!("GET /{target} HTTP/1.1\r\nHost: test\r\n\r\n"));
    talk.refused(414, "target_too_long");
    talk.get(&line("X", 260)).refused(431, "field_too_long");
    talk.get(&line("X", 200).repeat(6)).refused(431, "head_too_large");
    talk.get("A: 1\r\nB: 2\r\nC: 3\r\n").refused(431, "too_many_fields");
    talk.get("A: 1\r\nB: 2\r\n").forwarded_get("A: 1\r\nB: 2\r\n").answered().goes_on();
}

/// A Connection field with a list too long to go through for every field.
#[test]
fn connection_options_are_limited() {
    let mut talk = Talk::start();
    let options = "x,".repeat(33);
    talk.get(&format!("Connection: {options}\r\n")).refused(400, "bad_connection");
    talk.get(&"Connection: x\r\n".repeat(33)).refused(400, "bad_connection");
    talk.get(&format!("Connection: {}\r\n", "x,".repeat(32))).forwarded_get("").answered();
    talk.goes_on();
}

/// A connection above the limit is closed at once; those below it are served, and a new one takes
/// the place of one that left.
#[test]
fn connections_above_the_limit_are_closed() {
    let mut talk = Talk::with(&[("--max-conns", "2")]);
    talk.goes_on();
    let second = talk.gateway.client();
    let mut third = talk.gateway.client();
    assert!(third.is_closed());
    talk.goes_on();
    drop((second, third));
    until("the second one is closed", || {
        talk.gateway.metric("ringway_connections_closed_total") >= 1.0
    });
    let mut fourth = talk.gateway.client();
    fourth.send("GET /fourth HTTP/1.1\r\nHost: test\r\n\r\n");
    talk.forwarded("GET /fourth HTTP/1.1\r\nhost: test\r\n\r\n");
    talk.origin("HTTP/1.1 204 No Content\r\n\r\n");
    assert_eq!(fourth.reply().expect("a reply").status, 204);
}

/// A thousand connections that say nothing, or half a word, hold nothing up.
#[test]
fn idle_connections_hold_nothing_up() {
    let mut talk = Talk::start();
    let mut idle: Vec<_> = (0..1000).map(|_| talk.gateway.client()).collect();
    for client in idle.iter_mut().step_by(2) {
        client.send("GET / HT");
    }
    talk.goes_on();
    drop(idle);
    until("every other connection is closed", || {
        let closed = talk.gateway.metric("ringway_connections_closed_total");
        closed + 1.0 == talk.gateway.metric("ringway_connections_accepted_total")
    });
    talk.goes_on();
}

/// Connections that use up all descriptors wait; who is connected is served, and new ones are once
/// descriptors are free again.
#[test]
fn descriptors_that_run_out_come_back() {
    let mut talk = Talk::start();
    talk.goes_on();
    let pid = talk.gateway.pid();
    let open = || fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").count();
    let before = open();
    let limit = format!("--nofile={}", before + 20);
    let prlimit = Command::new("prlimit").args(["--pid", &pid.to_string(), &limit]).status();
    assert!(prlimit.expect("prlimit runs").success());
    let crowd: Vec<_> = (0..100).map(|_| talk.gateway.client()).collect();
    until("all descriptors are in use", || open() >= before + 15);
    talk.goes_on();
    drop(crowd);
    talk.next_client().goes_on();
}
