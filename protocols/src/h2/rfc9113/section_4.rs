//! RFC 9113 §4: frames, and field blocks over frames.

use super::super::testing::*;
use super::{client_fails, server_fails};
use crate::head::Length;
use crate::pair::{every_cut, request, status};
use crate::{Wire, WireSpec};

#[test]
fn no_frame_is_longer_than_16384() {
    let mut peer = Peer::server(WireSpec::default());
    // The client allows larger ones; nothing is gained by them.
    peer.feed(&settings(&[(4, 1 << 20), (5, 1 << 20)]));
    peer.feed(&window(0, 1 << 20));
    peer.feed(&headers(1, GET, true));
    peer.wrote();
    peer.head(0, &status(200, Length::Unknown), false).unwrap();
    assert_eq!(peer.push(0, &vec![b'x'; 40_000], true), Ok(40_000));
    let lens: Vec<_> = peer.wrote().lines().map(|line| line.len()).collect();
    assert_eq!(lens[1..], ["DATA 1 ".len() + 16_384, "DATA 1 ".len() + 16_384, 7 + 7_232 + 4]);
}

#[test]
fn unknown_frames_are_ignored() {
    let mut input = frame(0x0a, 0xff, 0, b"ALTSVC");
    input.extend(frame(0x10, 0, 1, b""));
    input.extend(frame(0xff, 0xff, 7, &[0; 300]));
    input.extend(headers(1, GET, true));
    assert_eq!(server_says(&input), ("0 GET / @h end".into(), String::new()));
}

#[test]
fn unused_flags_are_ignored() {
    let mut input = frame(1, 0x4 | 0x1 | 0xd2, 1, &block(GET));
    input.extend(frame(6, 0xfe, 0, b"12345678"));
    input.extend(frame(8, 0xff, 0, &1u32.to_be_bytes()));
    input.extend(frame(4, 0xfe, 0, b""));
    let (said, wrote) = server_says(&input);
    assert_eq!(said, "0 GET / @h end");
    assert_eq!(wrote, "PING ack 12345678\nSETTINGS ack");
}

#[test]
fn flags_without_a_meaning_are_not_sent() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[headers(1, GET, true), ping(b"12345678", false), settings(&[])].concat());
    peer.head(0, &status(200, Length::Unknown), false).unwrap();
    peer.push(0, b"x", true).unwrap();
    let mut out = peer.out.as_slice();
    let mut seen = Vec::new();
    while let [_, _, len, kind, flags, r, _, _, _, rest @ ..] = out {
        assert_eq!(r & 0x80, 0, "the reserved bit");
        seen.push((*kind, *flags));
        out = &rest[usize::from(*len)..];
    }
    assert_eq!(seen, [(6, 1), (4, 1), (1, 4), (0, 1)]);
}

#[test]
fn the_reserved_bit_is_ignored() {
    let mut input = headers(1 | 1 << 31, GET, true);
    input.extend(frame(6, 0, 1 << 31, b"12345678"));
    input.extend(window(1 << 31, 1 | 1 << 31));
    let (said, wrote) = server_says(&input);
    assert_eq!((said.as_str(), wrote.as_str()), ("0 GET / @h end", "PING ack 12345678"));
}

#[test]
fn frames_of_16384_are_taken() {
    let mut input = headers(1, POST, false);
    input.extend(data(1, &[b'x'; 16_384], true));
    let mut peer = Peer::server(WireSpec::default());
    peer.feed_by(&input, 1000);
    peer.feed(&frame(0x20, 0, 0, &[0; 16_384]));
    assert_eq!((peer.failed, peer.messages[0].body.len()), (None, 16_384));
    let long = "x".repeat(16_000);
    let fields = with(GET, &[("a", &long[..])]);
    let block = block(&fields);
    assert!(block.len() <= 16_384);
    peer.feed_by(&frame(1, 5, 3, &block), 999);
    assert_eq!((peer.failed, peer.messages[1].whole), (None, true));
}

#[test]
fn a_frame_too_long_is_frame_size_error() {
    for kind in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10] {
        let mut input = headers(1, POST, false);
        input.extend(&frame(kind, 0, 1, &[0; 16_385])[..20]);
        server_fails(&input, "bad_frame_size", 6);
    }
}

#[test]
fn a_frame_too_short_is_frame_size_error() {
    let open = headers(1, POST, false);
    for short in [
        frame(0, 8, 1, b""),
        frame(1, 0x4 | 0x8, 3, b""),
        frame(1, 0x4 | 0x20, 3, b"1234"),
        frame(1, 0x4 | 0x28, 3, b"12345"),
        frame(3, 0, 1, b"123"),
        frame(4, 0, 0, b"12345"),
        frame(6, 0, 0, b"1234567"),
        frame(7, 0, 0, b"1234567"),
        frame(8, 0, 1, b"123"),
    ] {
        server_fails(&[open.as_slice(), &short].concat(), "bad_frame_size", 6);
    }
}

#[test]
fn nothing_stands_within_a_field_block() {
    let (left, right) = (&block(GET)[..10], &block(GET)[10..]);
    for between in [
        ping(b"12345678", false),
        settings(&[]),
        data(1, b"x", false),
        headers(1, GET, true),
        headers(3, GET, true),
        frame(9, 4, 3, right),
        frame(0x77, 0, 0, b""),
        frame(0x77, 0, 1, b""),
        frame(2, 0, 1, b"12345"),
    ] {
        let input = [frame(1, 1, 1, left), between].concat();
        server_fails(&input, "unexpected_frame", 1);
        client_fails(&input, "unexpected_frame", 1);
    }
    let input = [frame(1, 1, 1, left), frame(9, 4, 1, right)].concat();
    assert_eq!(server_says(&input).0, "0 GET / @h end");
}

#[test]
fn a_long_block_leaves_in_one_piece() {
    let mut client = Peer::client(WireSpec::default());
    let mut head = request("GET", "/");
    let value = "\u{7f}".repeat(15_000).replace('\u{7f}', "~");
    (0..3).for_each(|n| head.push(format!("a{n}").as_bytes(), value.as_bytes()));
    client.ask(&head, true);
    let kinds: Vec<_> = kinds(&client.out);
    assert_eq!(kinds, [(1, 1), (9, 0), (9, 4)], "HEADERS, CONTINUATION, and nothing else");
    let mut server = Peer::server(WireSpec::default());
    server.feed_by(&client.out, 1234);
    assert_eq!((server.failed, server.messages[0].whole), (None, true));
    assert_eq!(server.messages[0].heads[0].matches(&value).count(), 3);
}

/// Types and flags of these frames.
fn kinds(mut bytes: &[u8]) -> Vec<(u8, u8)> {
    let mut kinds = Vec::new();
    while let [a, b, c, kind, flags, _, _, _, _, rest @ ..] = bytes {
        kinds.push((*kind, *flags));
        bytes = &rest[u32::from_be_bytes([0, *a, *b, *c]) as usize..];
    }
    kinds
}

/// A block that puts `x: y` into the dynamic table, and one that takes it from there.
fn put_and_take() -> (Vec<u8>, Vec<u8>) {
    let mut put = block(GET);
    put.extend(b"\x40\x01x\x01y");
    let mut take = block(GET);
    take.push(0x80 | 62);
    (put, take)
}

#[test]
fn a_discarded_block_still_feeds_the_table() {
    let (put, take) = put_and_take();
    let want = "2 GET / @h | x: y end";
    let last = |said: String| said.lines().last().unwrap().to_owned();
    // Refused: more streams than allowed; and malformed.
    let spec = WireSpec { h2_streams_max: 2, ..WireSpec::default() };
    let mut peer = Peer::server(spec);
    peer.feed(&[headers(1, GET, true), headers(3, GET, true)].concat());
    peer.feed(&frame(1, 5, 5, &put));
    assert_eq!(peer.wrote(), "RST_STREAM 5 7");
    peer.head(0, &status(204, Length::Empty), true).unwrap();
    peer.release(0);
    peer.feed(&frame(1, 5, 7, &take));
    assert_eq!(last(peer.said()), want.replace('2', "0"));
    // Late: behind our reset.
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&headers(1, POST, false));
    peer.with(|wire, cx| wire.reset(crate::StreamId(0), crate::Fault::Cancelled, cx));
    peer.feed(&frame(1, 5, 1, b"\x40\x01x\x01y"));
    peer.feed(&frame(1, 5, 3, &take));
    assert_eq!(last(peer.said()), want.replace('2', "1"));
    // After the last stream was named.
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&headers(1, GET, true));
    peer.with(|wire, cx| wire.drain(true, cx));
    peer.feed(&[frame(1, 5, 3, &put), frame(1, 5, 5, &take)].concat());
    assert_eq!((peer.said().as_str(), peer.failed), ("0 GET / @h end", None));
    // Too large, and malformed.
    let many: Vec<_> = (0..101).map(|_| ("a", "b")).collect();
    for bad in [block(&many), block(&[("A", "b")])] {
        let mut bad = [block(GET), bad].concat();
        bad.extend(b"\x40\x01x\x01y");
        let input = [frame(1, 5, 1, &bad), frame(1, 5, 3, &take)].concat();
        assert_eq!(last(server_says(&input).0), want.replace('2', "0"));
    }
}

#[test]
fn a_block_that_does_not_decode_ends_the_connection() {
    for (block, fault) in [
        (&b"\xff"[..], "hpack_truncated"),
        (b"\x80", "bad_hpack_index"),
        (b"\xbf", "bad_hpack_index"),
        (b"\x00\x81\x00\x00", "bad_huffman"),
        (b"\xff\xff\xff\xff\xff\x0f", "bad_hpack_integer"),
        (b"\x3f\xe2\x1f", "bad_table_size"),
    ] {
        server_fails(&frame(1, 5, 1, block), fault, 9);
        client_fails(&frame(1, 5, 1, block), fault, 9);
        // Also where the frame is to be discarded.
        let mut input = headers(1, GET, true);
        input.extend(frame(1, 5, 1, block));
        server_fails(&input, fault, 9);
    }
}

#[test]
fn a_smaller_table_is_announced() {
    let mut peer = Peer::asked("GET");
    peer.feed(&settings(&[(1, 100), (1, 50), (1, 80)]));
    peer.out.clear();
    peer.ask(&request("GET", "/"), true);
    // Down to 50, up to 80 (RFC 7541 §4.2).
    assert_eq!(peer.out[9..13], [0x3f, 50 - 31, 0x3f, 80 - 31]);
}

#[test]
fn a_missing_size_update_is_refused() {
    let spec = WireSpec { h2_header_table_bytes: 0, ..WireSpec::default() };
    let run = |block: &[u8]| {
        let input = frame(1, 5, 1, block);
        every_cut(&input, |pieces| {
            let mut peer = Peer::server(spec.clone());
            pieces.iter().for_each(|piece| peer.feed(piece));
            (peer.said(), peer.wrote())
        })
    };
    let (said, wrote) = run(&block(GET));
    assert_eq!(
        (said.as_str(), wrote.as_str()),
        ("fault bad_table_size", "GOAWAY 1 9 bad_table_size")
    );
    assert_eq!(run(&[b"\x20".as_slice(), &block(GET)].concat()).0, "0 GET / @h end");
}
