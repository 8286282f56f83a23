//! Attacks: each ends the connection within its budget, with its word, and holds no memory; what
//! honest peers do often is none.

use std::time::Duration;

use super::testing::*;
use crate::head::Length;
use crate::pair::{request, status};
use crate::{StreamId, Wire, WireSpec};

/// What no attack may make a connection hold.
const HELD_BYTES_MAX: usize = 100 * 1024;

/// Repeats an attack until the connection ends: its fault, how often it took, and the last words.
fn flood(peer: &mut Peer, mut step: impl FnMut(&mut Peer, u32)) -> (&'static str, u32) {
    for n in 0..100_000 {
        step(peer, n);
        assert!(peer.wire.held_bytes() <= HELD_BYTES_MAX, "{} held", peer.wire.held_bytes());
        if let Some(error) = peer.failed {
            let wrote = peer.wrote();
            let words = wrote.lines().last().unwrap().to_owned();
            assert!(words.starts_with("GOAWAY ") && words.ends_with(&format!(" 11 {error}")));
            assert!(peer.is_closing());
            return (error.fault.reason(), n + 1);
        }
    }
    panic!("the connection lives on");
}

fn on_server(step: impl FnMut(&mut Peer, u32)) -> (&'static str, u32) {
    flood(&mut Peer::server(WireSpec::default()), step)
}

#[test]
fn rapid_reset() {
    let pair = |n: u32| [headers(2 * n + 1, GET, true), rst(2 * n + 1, 8)].concat();
    let end = on_server(|peer, n| {
        peer.feed(&pair(n));
        peer.release(0);
    });
    assert_eq!(end, ("rapid_reset", 201));
    // Upstream work that takes longer than the attack: never more of it than streams allowed.
    let mut peer = Peer::server(WireSpec { h2_streams_max: 10, ..WireSpec::default() });
    let (word, count) = flood(&mut peer, |peer, n| peer.feed(&pair(n)));
    assert_eq!(word, "glitch_flood");
    assert!(count <= 211, "{count}");
    assert_eq!(peer.said().matches(" GET / ").count(), 10);
}

#[test]
fn resets_of_an_impatient_client_are_served() {
    let mut peer = Peer::server(WireSpec::default());
    for n in 0..2000 {
        peer.feed(&[headers(2 * n + 1, GET, true), rst(2 * n + 1, 8)].concat());
        peer.release(0);
        peer.now += Duration::from_millis(200);
    }
    assert_eq!(peer.failed, None, "150 in 30 s");
}

#[test]
fn made_you_reset() {
    let open = |n: u32, end| headers(2 * n + 1, POST, end);
    let bad_length = with(POST, &[("content-length", "3")]);
    let attacks: &[&dyn Fn(u32, u32) -> Vec<u8>] = &[
        &|n, id| [open(n, false), window(id, 0)].concat(),
        &|n, id| [open(n, false), window(id, (1 << 31) - 1)].concat(),
        &|n, id| [open(n, true), headers(id, &[("a", "b")], true)].concat(),
        &|n, id| [open(n, true), data(id, b"x", true)].concat(),
        &|n, id| [open(n, false), frame(2, 0, id, b"1234")].concat(),
        &|_, id| [headers(id, &bad_length, false), data(id, b"x", true)].concat(),
        &|n, id| [open(n, false), headers(id, &[("a", "b")], false)].concat(),
    ];
    for attack in attacks {
        let (word, count) = on_server(|peer, n| {
            peer.feed(&attack(n, 2 * n + 1));
            peer.release(0);
        });
        assert_eq!((word, count), ("made_you_reset", 101));
    }
}

#[test]
fn heads_that_are_refused() {
    let long = "x".repeat(8193);
    let path = format!("/{long}");
    for fields in [
        with(GET, &[("A", "b")]),
        with(GET, &[("connection", "b")]),
        vec![GET[0], GET[1], GET[3], (":path", &path[..])],
        vec![],
    ] {
        let end = on_server(|peer, n| peer.feed(&headers(2 * n + 1, &fields, true)));
        assert_eq!(end, ("made_you_reset", 101));
    }
}

#[test]
fn continuation_flood() {
    let start = frame(1, 1, 1, b"");
    let end =
        on_server(|peer, n| peer.feed(&if n == 0 { start.clone() } else { frame(9, 0, 1, b"") }));
    assert_eq!(end, ("continuation_flood", 7), "HEADERS and 5, not 6");
    let full = [0; 16_384];
    let end = on_server(|peer, n| {
        peer.feed(&if n == 0 { frame(1, 1, 1, &full) } else { frame(9, 0, 1, &full) });
    });
    assert_eq!(end, ("continuation_flood", 5), "64 KiB, not a byte more");
}

#[test]
fn glitches() {
    type Attack = fn(u32) -> Vec<u8>;
    let attacks: &[(&str, Attack)] = &[
        ("SETTINGS", |_| settings(&[])),
        ("a window that comes and goes", |n| settings(&[(4, n % 2 * 65_535)])),
        ("SETTINGS ack", |_| frame(4, 1, 0, b"")),
        ("PING", |_| ping(b"12345678", false)),
        ("PING ack", |_| ping(b"12345678", true)),
        ("PRIORITY", |_| frame(2, 0, 1, b"12345")),
        ("PRIORITY on itself", |_| frame(2, 0, 1, b"\0\0\0\x01\0")),
        ("WINDOW_UPDATE of the connection", |_| window(0, 1)),
        ("WINDOW_UPDATE of a stream", |_| window(1, 1)),
        ("empty DATA", |_| data(1, b"", false)),
        ("padded DATA", |_| padded(1, b"x", 255, false)),
        ("only padding", |_| padded(1, b"", 255, false)),
        ("an unknown type", |_| frame(0x55, 0, 0, b"x")),
        ("RST_STREAM twice", |_| rst(3, 8)),
        ("trailers behind our reset", |_| headers(5, &[("a", "b")], true)),
        ("GOAWAY", |_| go_away(0, 0)),
    ];
    for (name, attack) in attacks {
        let mut peer = Peer::server(WireSpec::default());
        for (id, fields) in [(1, POST), (3, POST), (5, POST)] {
            peer.feed(&headers(id, fields, false));
        }
        peer.feed(&rst(3, 8));
        peer.with(|wire, cx| wire.reset(StreamId(2), crate::Fault::Cancelled, cx));
        peer.wrote();
        let (word, count) = flood(&mut peer, |peer, n| peer.feed(&attack(n)));
        assert_eq!(word, "glitch_flood", "{name}");
        // Three streams opened and one was reset by us: 8 frames are paid for at most.
        assert!((200..=209).contains(&count), "{name}: {count}");
    }
}

#[test]
fn frames_in_halves_count_once() {
    let whole = frame(10, 0, 0, b"12345678");
    let end = on_server(|peer, n| {
        peer.feed(if n % 2 == 0 { &whole[..7] } else { &whole[7..] });
    });
    assert_eq!(end, ("glitch_flood", 402));
}

#[test]
fn a_slow_trickle_of_glitches_is_borne() {
    let mut peer = Peer::server(WireSpec::default());
    for _ in 0..10_000 {
        peer.feed(&ping(b"12345678", false));
        peer.now += Duration::from_millis(51);
    }
    assert_eq!(peer.failed, None);
}

#[test]
fn pings_after_data_are_manners() {
    // grpc-core: a PING for the bandwidth estimate and one more, for each batch of data; windows
    // given back frame by frame. Both roles alike.
    let mut server = Peer::server(WireSpec::default());
    for n in 0..10_000 {
        let id = 2 * n + 1;
        server.feed(&headers(id, GET, true));
        server.head(0, &status(200, Length::Unknown), false).unwrap();
        server.push(0, b"message", true).unwrap();
        let manners =
            [ping(b"bdp-ping", false), ping(b"keepaliv", false), window(0, 7), window(id, 7)];
        server.feed(&manners.concat());
        server.release(0);
        server.out.clear();
    }
    assert_eq!(server.failed, None);
    let mut client = Peer::client(WireSpec::default());
    let mut post = request("POST", "/");
    post.set_length(Length::Unknown);
    client.ask(&post, false);
    for _ in 0..10_000 {
        client.push(0, b"message", false).unwrap();
        let manners =
            [ping(b"bdp-ping", false), ping(b"keepaliv", false), window(0, 7), window(1, 7)];
        client.feed(&manners.concat());
        client.out.clear();
    }
    assert_eq!(client.failed, None);
}

#[test]
fn an_upstream_may_refuse_what_it_likes() {
    // Every stream is one that we opened: no budget of resets for servers.
    let mut client = Peer::client(WireSpec::default());
    for n in 0..2000 {
        client.ask(&request("GET", "/"), true);
        client.feed(&rst(2 * n + 1, if n % 2 == 0 { 7 } else { 2 }));
        client.release(0);
        client.out.clear();
    }
    assert_eq!(client.failed, None);
}

#[test]
fn an_hpack_bomb_costs_no_memory() {
    let value = "x".repeat(3900);
    let mut put = block(GET);
    put.push(0x40);
    string(b"a", &mut put);
    string(value.as_bytes(), &mut put);
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&frame(1, 5, 1, &put));
    assert_eq!(peer.messages[0].reset, None);
    // 12 000 references: the list is over 64 KiB after 16 of them.
    let mut bomb = block(GET);
    bomb.extend(vec![0x80 | 62; 12_000]);
    peer.feed(&frame(1, 5, 3, &bomb));
    assert_eq!(peer.failed.map(|error| error.fault.reason()), Some("hpack_bomb"));
    assert!(peer.wrote().ends_with(" 11 hpack_bomb"));
    let heads: usize = peer.heads.iter().map(|head| head.held_bytes()).sum();
    assert!(peer.wire.held_bytes() + heads <= 200 * 1024);
    // 20 of them: too large a head, and the connection lives on.
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&frame(1, 5, 1, &put));
    let mut large = block(GET);
    large.extend([0x80 | 62; 20]);
    peer.feed(&[frame(1, 5, 3, &large), headers(5, GET, true)].concat());
    assert!(peer.said().ends_with("- refused head_too_large\n1 GET / @h end"));
}

#[test]
fn a_cookie_bomb_costs_no_memory() {
    let mut put = block(GET);
    put.push(0x40);
    string(b"cookie", &mut put);
    string("x".repeat(3000).as_bytes(), &mut put);
    let mut bomb = block(GET);
    bomb.extend([0x80 | 62; 30]);
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[frame(1, 5, 1, &put), frame(1, 5, 3, &bomb)].concat());
    assert!(peer.said().ends_with("- refused field_too_long"), "16 KiB of one cookie");
    let heads: usize = peer.heads.iter().map(|head| head.held_bytes()).sum();
    assert!(peer.wire.held_bytes() + heads <= 64 * 1024, "{heads}");
}

#[test]
fn many_settings_in_one_frame_walk_the_streams_once() {
    let mut peer = Peer::server(WireSpec::default());
    for n in 0..128 {
        peer.feed(&headers(2 * n + 1, POST, false));
    }
    let values: Vec<_> = (0..2730).map(|n| (4, n % 2 * 1000)).collect();
    peer.feed(&settings(&values));
    assert_eq!((peer.failed, peer.wrote().as_str()), (None, "SETTINGS ack"));
}
