//! RFC 9113 §5: streams, their states and errors.

use super::super::testing::*;
use super::{client_fails, server_fails, server_resets};
use crate::head::Length;
use crate::pair::{request, status};
use crate::{Fault, Gone, StreamId, Wire, WireSpec};

/// POST on stream 1, whose content is still to come.
fn open() -> Vec<u8> {
    headers(1, POST, false)
}

#[test]
fn only_headers_open_an_idle_stream() {
    for id in [1, 3, 2] {
        for frame in [data(id, b"x", false), rst(id, 8), window(id, 1)] {
            server_fails(&frame, "bad_stream_id", 1);
        }
    }
    for id in [3, 5, 2] {
        for frame in [data(id, b"x", false), rst(id, 8), window(id, 1)] {
            client_fails(&frame, "bad_stream_id", 1);
        }
    }
    // PRIORITY may stand anywhere.
    let (said, wrote) = server_says(&frame(2, 0, 5, b"12345"));
    assert_eq!((said.as_str(), wrote.as_str()), ("", ""));
}

#[test]
fn a_server_opens_no_stream() {
    client_fails(&headers(2, &[(":status", "200")], true), "bad_stream_id", 1);
    client_fails(&headers(3, &[(":status", "200")], true), "bad_stream_id", 1);
}

#[test]
fn a_half_closed_stream_takes_no_message() {
    let ended = headers(1, GET, true);
    for frame in [data(1, b"x", false), data(1, b"", true), headers(1, &[("a", "b")], true)] {
        server_resets(&[ended.as_slice(), &frame].concat(), "stream_closed", 5);
    }
}

#[test]
fn a_half_closed_stream_takes_window_priority_and_reset() {
    let mut input = headers(1, GET, true);
    input.extend(window(1, 10));
    input.extend(frame(2, 0, 1, b"12345"));
    input.extend(rst(1, 8));
    let (said, wrote) = server_says(&input);
    assert_eq!(said, "0 GET / @h end\n0 reset peer_cancel");
    assert_eq!(wrote, "");
}

#[test]
fn nothing_is_sent_on_a_closed_stream() {
    for how in 0..4 {
        let mut peer = Peer::server(WireSpec::default());
        peer.feed(&open());
        match how {
            0 => peer.feed(&rst(1, 8)),
            1 => peer.with(|wire, cx| wire.reset(StreamId(0), Fault::Cancelled, cx)),
            2 => peer.feed(&window(1, 0)),
            _ => {
                peer.head(0, &status(204, Length::Empty), true).unwrap();
                assert_eq!(peer.wrote(), "HEADERS 1 end :status=204\nRST_STREAM 1 0");
            }
        }
        peer.wrote();
        assert_eq!(peer.head(0, &status(200, Length::Unknown), false), Err(Gone));
        assert_eq!(peer.push(0, b"x", false), Err(Gone));
        assert_eq!(peer.end(0, None), Err(Gone));
        peer.with(|wire, cx| wire.reset(StreamId(0), Fault::Cancelled, cx));
        peer.with(|wire, cx| wire.credit(StreamId(0), 65_535, cx));
        peer.release(0);
        assert_eq!(peer.wrote(), "", "way {how}");
    }
}

#[test]
fn a_message_on_a_closed_stream_ends_the_connection() {
    let mut reset = open();
    reset.extend(rst(1, 8));
    let said = "0 POST / @h Unknown\n0 reset peer_cancel\nfault stream_closed";
    for late in [data(1, b"x", false), headers(1, &[("a", "b")], true)] {
        let (got, wrote) = server_says(&[reset.as_slice(), &late].concat());
        assert_eq!((got.as_str(), wrote.as_str()), (said, "GOAWAY 1 5 stream_closed"));
        let mut peer = Peer::server(WireSpec::default());
        peer.feed(&headers(1, GET, true));
        peer.head(0, &status(204, Length::Empty), true).unwrap();
        peer.release(0);
        peer.feed(&late);
        assert_eq!(peer.failed.map(|error| error.fault), Some(Fault::StreamClosed), "released");
    }
}

#[test]
fn window_and_reset_on_a_closed_stream_are_ignored() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&headers(1, GET, true));
    peer.head(0, &status(204, Length::Empty), true).unwrap();
    peer.wrote();
    for _ in 0..2 {
        peer.feed(&[window(1, 5), window(1, 0), rst(1, 8), frame(2, 0, 1, b"12345")].concat());
        peer.release(0);
    }
    assert_eq!(
        (peer.failed, peer.said().as_str(), peer.wrote()),
        (None, "0 GET / @h end", String::new())
    );
}

#[test]
fn late_frames_after_a_reset_are_taken_note_of() {
    for released in [false, true] {
        let mut peer = Peer::server(WireSpec::default());
        peer.feed(&open());
        peer.with(|wire, cx| wire.reset(StreamId(0), Fault::Cancelled, cx));
        if released {
            peer.release(0);
        }
        assert_eq!(
            (peer.said().as_str(), peer.wrote().as_str()),
            ("0 POST / @h Unknown", "RST_STREAM 1 8")
        );
        // Half of the connection's window is given back although nobody reads it.
        for _ in 0..33 {
            peer.feed(&data(1, &[b'x'; 16_000], false));
        }
        peer.feed(&[headers(1, &[("a", "b")], true), window(1, 1), rst(1, 0)].concat());
        assert_eq!((peer.failed, peer.said().as_str()), (None, ""));
        assert_eq!(peer.wrote(), "WINDOW_UPDATE 0 528000");
    }
}

#[test]
fn identifiers_are_odd_and_grow() {
    for id in [0, 2, 4] {
        server_fails(&headers(id, GET, true), "bad_stream_id", 1);
    }
    let mut input = headers(5, GET, true);
    input.extend(headers(3, GET, true));
    let (said, wrote) = server_says(&input);
    assert_eq!(said, "0 GET / @h end\nfault stream_closed", "below the last: closed, not idle");
    assert_eq!(wrote, "GOAWAY 5 5 stream_closed");
    let mut client = Peer::client(WireSpec::default());
    for _ in 0..3 {
        client.ask(&request("GET", "/"), true);
    }
    let ids: Vec<_> = client.wrote().lines().map(|line| line[8..9].to_owned()).collect();
    assert_eq!(ids, ["1", "3", "5"]);
}

#[test]
fn the_peers_limit_of_streams_is_kept() {
    let mut client = Peer::client(WireSpec::default());
    client.feed(&settings(&[(3, 2)]));
    let first = client.ask(&request("GET", "/"), true);
    client.ask(&request("GET", "/"), true);
    assert_eq!(client.wire.open(), None);
    client.feed(&headers(1, &[(":status", "200")], true));
    assert_eq!(client.wire.open(), None, "not released");
    client.release(first.0);
    assert_eq!(client.wire.open(), Some(first));
    client.feed(&settings(&[(3, 0)]));
    client.release(first.0);
    assert_eq!(client.wire.open(), None);
    client.said();
    client.feed(&settings(&[(3, 3)]));
    assert_eq!(client.said(), "writable");
    assert_eq!(client.wire.open(), Some(first));
}

#[test]
fn streams_beyond_our_limit_are_refused() {
    let mut peer = Peer::server(WireSpec { h2_streams_max: 2, ..WireSpec::default() });
    (0..4).for_each(|n| peer.feed(&headers(2 * n + 1, POST, false)));
    let refused = "- refused stream_refused\n- refused stream_refused";
    assert_eq!(peer.said(), format!("0 POST / @h Unknown\n1 POST / @h Unknown\n{refused}"));
    assert_eq!(peer.wrote(), "RST_STREAM 5 7\nRST_STREAM 7 7");
    // What was on its way for them is innocent.
    peer.feed(&[data(5, b"x", true), data(7, b"x", false), rst(7, 8)].concat());
    assert_eq!((peer.failed, peer.said().as_str()), (None, ""));
}

#[test]
fn a_reset_stream_counts_until_it_is_released() {
    let mut peer = Peer::server(WireSpec { h2_streams_max: 1, ..WireSpec::default() });
    peer.feed(&[open(), rst(1, 8), headers(3, GET, true)].concat());
    let said = "0 POST / @h Unknown\n0 reset peer_cancel\n- refused stream_refused";
    assert_eq!(peer.said(), said);
    assert_eq!(peer.wrote(), "RST_STREAM 3 7");
    peer.release(0);
    peer.feed(&headers(5, GET, true));
    assert_eq!(peer.said(), "0 GET / @h end");
}

#[test]
fn a_connection_error_closes() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&open());
    assert!(!peer.is_closing());
    peer.feed(&data(0, b"x", false));
    assert!(peer.is_closing());
    assert_eq!(peer.wrote(), "GOAWAY 1 1 bad_stream_id");
    assert_eq!(peer.head(0, &status(200, Length::Empty), true), Err(Gone));
    let late = peer.with(|wire, cx| wire.decode(&ping(b"12345678", false), cx)).unwrap();
    assert_eq!((late.used, peer.wrote().as_str()), (17, ""), "nothing is answered any more");
}

#[test]
fn a_reset_is_not_answered() {
    let (said, wrote) = server_says(&[open(), rst(1, 5), rst(1, 5), rst(1, 5)].concat());
    assert_eq!(said, "0 POST / @h Unknown\n0 reset peer_stream_closed");
    assert_eq!(wrote, "");
}

#[test]
fn unknown_settings_are_ignored() {
    let (said, wrote) = server_says(&settings(&[(0, 1), (7, 1), (8, 1), (0xfe03, 1), (0xffff, 0)]));
    assert_eq!((said.as_str(), wrote.as_str()), ("", "SETTINGS ack"));
}

#[test]
fn no_extension_is_sent() {
    // Neither grpc's 0xfe03 nor extended CONNECT (8): what we sent is all of the RFC or RFC 9218.
    for role in [crate::Role::Server, crate::Role::Client] {
        let mut peer = Peer::new(role, WireSpec::default());
        let hello = peer.wrote();
        let ids = hello.lines().next().unwrap().split(' ').skip(1);
        let ids: Vec<_> = ids.map(|pair| pair.split('=').next().unwrap()).collect();
        assert!(ids.iter().all(|id| ["2", "3", "4", "6", "9"].contains(id)), "{hello}");
    }
}
