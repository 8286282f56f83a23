//! End to end: reload and drain of the real binary while requests are under way.
#![forbid(unsafe_code)]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::{fs, thread};

use mock::http1::{Options, Running};
use support::{Exit, Folder, Gateway, Setup, until};

fn mock(body_bytes: u64) -> Running {
    let options = Options { body_bytes, ..Options::default() };
    mock::http1::start(options).expect("a mock upstream")
}

fn config(upstream: SocketAddr) -> String {
    format!(
        "version: 1\n\
         listeners:\n  - name: edge\n    address: 127.0.0.1:0\n    protocols: [http1]\n\
         clusters:\n  only:\n    endpoints: [\"{upstream}\"]\n    protocol: http1\n\
         routes:\n  - id: all\n    match: {{path: /*}}\n    cluster: only\n"
    )
}

fn generation(gateway: &Gateway) -> u64 {
    gateway.metric("ringway_config_generation") as u64
}

#[test]
fn reloading_under_load_loses_nothing() {
    let (small, large) = (mock(10), mock(1000));
    let folder = Folder::new();
    let file = folder.write("ringway.yaml", config(small.address));
    let gateway = Setup::config(&file).flag("--shards", "2").start();
    let (done, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = gateway.client();
                while !done.load(Ordering::Relaxed) {
                    let reply = client.get("/");
                    assert_eq!(reply.status, 200);
                    assert!([10, 1000].contains(&reply.body.len()));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 1..=10 {
            let before = answered.load(Ordering::Relaxed);
            let upstream = if round % 2 == 0 { small.address } else { large.address };
            fs::write(&file, config(upstream)).unwrap();
            let old = generation(&gateway);
            gateway.signal("HUP");
            until("the new generation is in force", || generation(&gateway) > old);
            until("requests go on", || answered.load(Ordering::Relaxed) > before + 8);
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(gateway.metric("ringway_local_replies_total"), 0.0);
    assert!(large.requests() > 0 && small.requests() > 0);
}

#[test]
fn a_broken_file_changes_nothing() {
    let mock = mock(10);
    let folder = Folder::new();
    let file = folder.write("ringway.yaml", config(mock.address));
    let gateway = Setup::config(&file).start();
    let old = generation(&gateway);
    fs::write(&file, "version: 1\nlistners: []\n").unwrap();
    gateway.signal("HUP");
    until("the refusal is said", || gateway.said().iter().any(|line| line.contains("listners")));
    assert_eq!(gateway.metric("ringway_config_last_reload_successful"), 0.0);
    assert_eq!(generation(&gateway), old);
    assert_eq!(gateway.client().get("/").body.len(), 10);
}

#[test]
fn draining_finishes_what_is_under_way_and_exits_with_0() {
    let mock = mock(10);
    let mut gateway = Setup::upstream(mock.address).start();
    let mut idle = gateway.client();
    assert_eq!(idle.get("/").status, 200);
    let mut busy = gateway.client();
    busy.send("GET /?delay_ms=1000 HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the request is at the upstream", || mock.requests() == 2);
    gateway.signal("TERM");
    assert!(idle.is_closed(), "an idle connection is closed");
    let reply = busy.reply().expect("the request under way is answered");
    assert_eq!(reply.status, 200);
    assert_eq!(reply.field("connection"), Some("close"));
    assert!(busy.is_closed());
    assert_eq!(gateway.wait(), Exit(Some(0)));
}

#[test]
fn a_drain_past_its_deadline_cuts_and_exits_with_6() {
    let mock = mock(10);
    let mut gateway = Setup::upstream(mock.address).flag("--drain-timeout", "300ms").start();
    let mut client = gateway.client();
    client.send("GET /?silent=1 HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the request is at the upstream", || mock.requests() == 1);
    gateway.signal("TERM");
    assert_eq!(gateway.wait(), Exit(Some(6)));
}

#[test]
fn a_second_signal_does_not_wait() {
    let mock = mock(10);
    let mut gateway = Setup::upstream(mock.address).start();
    let mut client = gateway.client();
    client.send("GET /?silent=1 HTTP/1.1\r\nHost: test\r\n\r\n");
    until("the request is at the upstream", || mock.requests() == 1);
    gateway.signal("TERM");
    until("it is draining", || gateway.admin("/readyz").0 == 503);
    gateway.signal("TERM");
    let Exit(code) = gateway.wait();
    assert!(code.is_some(), "it ends by itself, not by the signal");
}
