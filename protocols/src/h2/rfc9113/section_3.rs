//! RFC 9113 §3: how a connection begins.

use super::super::frame::PREFACE;
use super::super::sniff;
use super::super::testing::*;
use crate::pair::every_cut;
use crate::{Role, Sniff, WireSpec};

/// What a server of a new connection says to these bytes, whatever the cuts.
fn server_hears(input: &[u8]) -> (String, String) {
    every_cut(input, |pieces| {
        let mut peer = Peer::new(Role::Server, WireSpec::default());
        peer.wrote();
        pieces.iter().for_each(|piece| peer.feed(piece));
        (peer.said(), peer.wrote())
    })
}

#[test]
fn both_sides_send_a_preface() {
    let mut server = Peer::new(Role::Server, WireSpec::default());
    let hello = "SETTINGS 3=128 4=65536 6=65536 9=1\nWINDOW_UPDATE 0 983041";
    assert_eq!(server.wrote(), hello, "before a byte of the client's");
    let mut client = Peer::new(Role::Client, WireSpec::default());
    assert!(client.out.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"));
    assert_eq!(client.wrote(), "SETTINGS 2=0 4=65536 6=65536 9=1\nWINDOW_UPDATE 0 983041");
    client.feed(b"");
    assert_eq!(client.wrote(), "", "once");
}

#[test]
fn a_preface_is_followed_by_settings() {
    let empty = [PREFACE.as_slice(), &settings(&[])].concat();
    assert_eq!(server_hears(&empty), (String::new(), "SETTINGS ack".into()));
    for other in [ping(b"12345678", false), headers(1, GET, true), frame(4, 1, 0, b"")] {
        let (said, wrote) = server_hears(&[PREFACE.as_slice(), &other].concat());
        assert_eq!(said, "fault bad_preface");
        assert_eq!(wrote, "GOAWAY 0 1 bad_preface");
    }
}

#[test]
fn the_first_frame_of_a_server_is_settings() {
    for other in [ping(b"12345678", false), window(0, 1), frame(4, 1, 0, b"")] {
        let mut client = Peer::new(Role::Client, WireSpec::default());
        client.wrote();
        client.feed(&other);
        assert_eq!(
            (client.said(), client.wrote()),
            ("fault bad_preface".into(), "GOAWAY 0 1 bad_preface".into())
        );
    }
}

#[test]
fn settings_of_the_preface_are_acknowledged() {
    let mut client = Peer::new(Role::Client, WireSpec::default());
    client.wrote();
    client.feed(&settings(&[(3, 10)]));
    assert_eq!(client.wrote(), "SETTINGS ack");
    let mut server = Peer::new(Role::Server, WireSpec::default());
    server.wrote();
    server.feed(&[PREFACE.as_slice(), &settings(&[(3, 10)])].concat());
    assert_eq!(server.wrote(), "SETTINGS ack");
}

#[test]
fn an_invalid_preface_ends_the_connection() {
    for at in 0..PREFACE.len() {
        let mut input = PREFACE.to_vec();
        input[at] ^= 0x20;
        let (said, wrote) = server_hears(&input);
        assert_eq!(
            (said.as_str(), wrote.as_str()),
            ("fault bad_preface", "GOAWAY 0 1 bad_preface")
        );
    }
    assert_eq!(server_hears(b"GET / HTTP/1.1\r\n").0, "fault bad_preface");
}

#[test]
fn a_client_may_ask_before_it_heard_anything() {
    let mut client = Peer::new(Role::Client, WireSpec::default());
    client.ask(&crate::pair::request("GET", "/"), true);
    let mut server = Peer::new(Role::Server, WireSpec::default());
    carry(&mut client, &mut server, usize::MAX);
    assert_eq!(server.said(), "0 GET / @h end");
}

#[test]
fn prior_knowledge_is_seen_by_the_preface() {
    for len in 0..PREFACE.len() {
        assert_eq!(sniff(&PREFACE[..len]), Sniff::More);
        let wrong = [&PREFACE[..len], b"\0"].concat();
        assert_eq!(sniff(&wrong), Sniff::No);
    }
    assert_eq!(sniff(PREFACE), Sniff::Yes);
    assert_eq!(sniff(&[PREFACE.as_slice(), b"\0\0\0\x04"].concat()), Sniff::Yes);
}
