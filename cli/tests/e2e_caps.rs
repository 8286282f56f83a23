//! End to end: caps on connections, of the process, of a listener and of a source address.
//!
//! A connection over a cap is reset before a byte of it is read, counted under the cap's word, and
//! the place of one that closes can be taken at once.
#![forbid(unsafe_code)]

mod support;

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::{fs, io};

use mock::http1::{Options, Running};
use support::{Client, Folder, Gateway, Setup, until};

fn mock() -> Running {
    mock::http1::start(Options::default()).expect("a mock upstream")
}

/// Connections that each have had a reply: the gateway has certainly accepted them.
fn held(address: SocketAddr, count: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..count).map(|_| Client::connect(address)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    clients
}

/// Whether a new connection is answered, or reset.
fn is_served(mut client: Client) -> bool {
    client.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n");
    match client.reply() {
        Ok(reply) => reply.status == 200,
        Err(error) => {
            let cut = [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof];
            assert!(cut.contains(&error.kind()), "{error}");
            false
        }
    }
}

fn closes(gateway: &Gateway, word: &str) -> f64 {
    gateway.metric_of("ringway_connection_closes_total", &format!("reason=\"{word}\""))
}

/// Fills `count` places with `shards` shards, is refused under `word`, and gets in again.
fn meets_the_cap(setup: Setup, count: usize, word: &str) {
    let gateway = setup.flag("--shards", "2").start();
    let mut clients = held(gateway.address, count);
    assert!(!is_served(gateway.client()), "{word}: one too many");
    assert_eq!(
        (closes(&gateway, word), gateway.metric("ringway_connections_refused_total")),
        (1.0, 1.0)
    );
    assert_eq!(clients[0].get("/").status, 200, "who is in stays in");
    clients.pop();
    until("the place is free", || is_served(gateway.client()));
}

#[test]
fn max_conns_is_exact_over_two_shards() {
    let mock = mock();
    meets_the_cap(Setup::upstream(mock.address).flag("--max-conns", "5"), 5, "conns_max");
}

#[test]
fn a_source_has_its_own_cap_over_two_shards() {
    let mock = mock();
    let setup = Setup::upstream(mock.address).flag("--max-conns-per-source", "3");
    meets_the_cap(setup, 3, "conns_max_per_source");
}

fn two_listeners(upstream: SocketAddr, edge: &str) -> String {
    format!(
        "version: 1\n\
         listeners:\n  - {{name: edge, address: '127.0.0.1:0'{edge}}}\n  \
         - {{name: other, address: '127.0.0.2:0'}}\n\
         clusters:\n  only: {{endpoints: ['{upstream}']}}\n\
         routes:\n  - {{id: all, cluster: only}}\n"
    )
}

#[test]
fn a_listener_has_its_own_cap_and_a_reload_changes_it() {
    let (mock, folder) = (mock(), Folder::new());
    let file = folder.write("r.yaml", two_listeners(mock.address, ", max_conns: 2"));
    let gateway = Setup::config(&file).flag("--shards", "2").start();
    let _held = held(gateway.address, 2);
    assert!(!is_served(gateway.client()));
    assert_eq!(closes(&gateway, "conns_max_listener"), 1.0);
    let other = gateway.addresses()[1];
    assert_eq!(held(other, 3).len(), 3, "the other listener has none");
    fs::write(&file, two_listeners(mock.address, "")).unwrap();
    gateway.signal("HUP");
    until("the cap is gone", || is_served(gateway.client()));
}

#[test]
fn sources_are_counted_from_the_reload_that_sets_their_cap() {
    let (mock, folder) = (mock(), Folder::new());
    let config = two_listeners(mock.address, "");
    let file = folder.write("r.yaml", &config);
    let gateway = Setup::config(&file).start();
    let _before = held(gateway.address, 4);
    fs::write(&file, format!("{config}settings: {{max_conns_per_source: 2}}\n")).unwrap();
    gateway.signal("HUP");
    until("it is in force", || gateway.metric("ringway_shard_generation") == 2.0);
    let _after = held(gateway.address, 2);
    assert!(!is_served(gateway.client()));
    assert_eq!(closes(&gateway, "conns_max_per_source"), 1.0);
}

/// 127.0.0.0/8 is this machine, so that a client may choose its source.
fn from(source: Ipv4Addr, to: SocketAddr) -> Client {
    Client::connect_from(IpAddr::V4(source), to)
}

#[test]
fn one_source_at_its_cap_hurts_no_other_and_unix_peers_have_none() {
    let (mock, folder) = (mock(), Folder::new());
    let socket = folder.file("edge.sock");
    let config = two_listeners(mock.address, "")
        .replace("127.0.0.2:0", &format!("unix:{}", socket.display()));
    let file = folder.write("r.yaml", config);
    let gateway = Setup::config(&file).flag("--max-conns-per-source", "1").start();
    let _first = held(gateway.address, 1);
    assert!(!is_served(gateway.client()));
    assert!(is_served(from(Ipv4Addr::new(127, 0, 0, 9), gateway.address)));
    let unix: Vec<_> = (0..3).map(|_| UnixStream::connect(&socket).expect("it accepts")).collect();
    for mut stream in &unix {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n").expect("it reads");
    }
    until("three unix peers are served", || mock.requests() == 5);
    assert_eq!(closes(&gateway, "conns_max_per_source"), 1.0);
}
