//! End to end: upgraded connections. After a 101 both sides are a tunnel: bytes go both ways
//! unchanged, each side ends by itself, and only silence limits it.
#![forbid(unsafe_code)]

mod support;

use std::io::Write as _;
use std::net::SocketAddr;

use support::{Client, Folder, Gateway, Origin, Setup};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, X-Gone\r\nX-Gone: 1\r\n\
                   Upgrade: other/2, WebSocket\r\nSec-WebSocket-Key: abc\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                        Upgrade: websocket\r\nSec-WebSocket-Accept: xyz\r\n\r\n";

/// A gateway with one route; `more` is added to it.
fn gateway(folder: &Folder, upstream: SocketAddr, more: &str) -> Gateway {
    let config = format!(
        "version: 1\nlisteners: [{{address: '127.0.0.1:0'}}]\n\
         clusters: {{c: {{endpoints: ['{upstream}']}}}}\n\
         routes: [{{id: r, cluster: c, {more}}}]\n"
    );
    Setup::config(&folder.write("ringway.yaml", config))
        .flag("--tunnel-idle-timeout", "500ms")
        .start()
}

/// Switches, then returns what comes, until the gateway's FIN; then it says goodbye.
fn echoing() -> Origin {
    Origin::start(|mut accepted| {
        if accepted.read_head().is_none() {
            return;
        }
        accepted.write(SWITCH);
        while let Some(piece) = accepted.read(64 * 1024) {
            accepted.write(&piece);
        }
        accepted.write(b"goodbye");
    })
}

fn switched(gateway: &Gateway) -> Client {
    let mut client = gateway.client();
    client.send(ASK);
    let reply = client.next(false).unwrap();
    assert_eq!(reply.status, 101);
    assert_eq!(reply.field("upgrade"), Some("websocket"));
    assert_eq!(reply.field("connection"), Some("upgrade"));
    assert_eq!(reply.field("sec-websocket-accept"), Some("xyz"));
    client
}

#[test]
fn a_tunnel_carries_bytes_both_ways_and_ends_side_by_side() {
    let (folder, origin) = (Folder::new(), echoing());
    let gateway = gateway(&folder, origin.address, "upgrade: [websocket], timeout: 200ms");
    let mut client = switched(&gateway);
    let payload: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
    let mut writer = client.writer();
    let sent = payload.clone();
    let sending = std::thread::spawn(move || writer.write_all(&sent));
    assert!(client.exactly(payload.len()).unwrap() == payload, "the echo differs");
    sending.join().unwrap().unwrap();
    // Half-closed: the origin's last words still arrive.
    client.shut_write();
    assert_eq!(client.rest().unwrap(), b"goodbye");
    let head = origin.received();
    assert!(head.contains("\r\nupgrade: websocket\r\n"), "{}", &head[..300]);
    assert!(head.contains("\r\nconnection: upgrade\r\n") && !head.contains("x-gone"));
    let line = &gateway.log(1)[0];
    assert_eq!((&line["status"], &line["reason"]), (&101.into(), &serde_json::Value::Null));
    assert_eq!(line["bytes_in"], payload.len());
    assert_eq!(line["bytes_out"], payload.len() + 7);
}

#[test]
fn bytes_that_come_with_either_head_belong_to_the_tunnel() {
    let origin = Origin::start(|mut accepted| {
        accepted.read_head();
        accepted.write(&[SWITCH, b"first"].concat());
        let early = accepted.read(5);
        accepted.write(&early.unwrap_or_default());
    });
    let folder = Folder::new();
    let gateway = gateway(&folder, origin.address, "upgrade: [websocket]");
    let mut client = gateway.client();
    client.send(format!("{ASK}early"));
    assert_eq!(client.next(false).unwrap().status, 101);
    assert_eq!(client.rest().unwrap(), b"firstearly");
}

#[test]
fn an_upgrade_that_no_route_allows_is_an_ordinary_request() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let gateway = gateway(&folder, origin.address, "upgrade: [other/3]");
    let mut client = gateway.client();
    for _ in 0..2 {
        client.send(ASK);
        assert_eq!(client.reply().unwrap().status, 200);
    }
    let forwarded = origin.received();
    assert!(!forwarded.to_lowercase().contains("upgrade"), "{forwarded}");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_refused_upgrade_keeps_both_connections() {
    let (folder, origin) = (Folder::new(), Origin::recording());
    let gateway = gateway(&folder, origin.address, "upgrade: [websocket]");
    let mut client = gateway.client();
    for _ in 0..3 {
        client.send(ASK);
        assert_eq!(client.reply().unwrap().status, 200);
    }
    assert_eq!(client.get("/plain").status, 200);
    assert_eq!(origin.connections(), 1, "the link serves on after a refusal");
}

#[test]
fn silence_ends_a_tunnel() {
    let (folder, origin) = (Folder::new(), echoing());
    let gateway = gateway(&folder, origin.address, "upgrade: [websocket]");
    let mut client = switched(&gateway);
    client.send("x");
    assert_eq!(client.exactly(1).unwrap(), b"x");
    assert!(client.is_closed());
    let line = &gateway.log(1)[0];
    assert_eq!((&line["status"], &line["reason"]), (&101.into(), &"tunnel_idle".into()));
    gateway.until_idle();
}

#[test]
fn a_reset_on_one_side_is_a_cut_on_the_other() {
    // An origin that closes with unread bytes resets.
    let origin = Origin::start(|mut accepted| {
        accepted.read_head();
        accepted.write(SWITCH);
        accepted.read(1);
    });
    let folder = Folder::new();
    let gateway = gateway(&folder, origin.address, "upgrade: [websocket]");
    let mut client = switched(&gateway);
    client.send(vec![b'x'; 100_000]);
    assert!(client.is_closed());
    assert_eq!(gateway.log(1)[0]["status"], 101);
    gateway.until_idle();
}
