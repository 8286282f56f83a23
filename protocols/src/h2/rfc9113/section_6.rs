//! RFC 9113 §6: what each frame may be, and does.

use super::super::frame::PREFACE;
use super::super::testing::*;
use super::{client_fails, server_fails, server_resets};
use crate::head::Length;
use crate::pair::{every_cut, request, status};
use crate::{Fault, Gone, Role, StreamId, Wire, WireSpec};

const OK: &[(&str, &str)] = &[(":status", "200")];

fn open() -> Vec<u8> {
    headers(1, POST, false)
}

/// A server whose client has opened stream 1 and reads without limit but for its windows.
fn replying(values: &[(u16, u32)]) -> Peer {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[settings(values), headers(1, GET, true)].concat());
    peer.head(0, &status(200, Length::Unknown), false).unwrap();
    peer.said();
    peer.wrote();
    peer
}

#[test]
fn data_belongs_to_a_stream() {
    server_fails(&data(0, b"x", false), "bad_stream_id", 1);
    client_fails(&data(0, b"x", false), "bad_stream_id", 1);
}

#[test]
fn payload_is_passed_on_without_its_padding() {
    let mut input = open();
    input.extend(padded(1, b"abc", 2, false));
    input.extend(padded(1, b"", 0, false));
    input.extend(data(1, b"def", false));
    input.extend(padded(1, b"g", 255, true));
    assert_eq!(server_says(&input).0, "0 POST / @h Unknown\n0 data abcdefg\n0 end");
}

#[test]
fn padding_is_charged() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&open());
    for (frame, charge) in [
        (padded(1, b"abc", 2, false), 6),
        (data(1, b"def", false), 9),
        (padded(1, b"g", 255, true), 9 + 257),
    ] {
        peer.feed_by(&frame, 2);
        assert_eq!(peer.messages[0].charge, charge);
    }
}

#[test]
fn padding_without_payload_is_given_back() {
    let mut peer = Peer::server(WireSpec { h2_stream_window_bytes: 65_535, ..Default::default() });
    peer.feed(&open());
    for _ in 0..128 {
        peer.feed(&padded(1, b"", 255, false));
    }
    // 128 frames of 256 bytes are half a window.
    assert_eq!((peer.failed, peer.wrote().as_str()), (None, "WINDOW_UPDATE 1 32768"));
}

#[test]
fn an_empty_padded_frame_may_end_a_stream() {
    let mut input = open();
    input.extend(padded(1, b"", 3, true));
    assert_eq!(server_says(&input).0, "0 POST / @h Unknown\n0 end");
}

#[test]
fn padding_as_long_as_its_frame_is_protocol_error() {
    for (len, pad) in [(1, 1), (2, 2), (5, 5), (5, 255)] {
        let mut payload = vec![0; len];
        payload[0] = pad;
        server_fails(&[open(), frame(0, 8, 1, &payload)].concat(), "bad_padding", 1);
        server_fails(&frame(1, 8 | 4, 1, &payload), "bad_padding", 1);
    }
    let priority = [&[1][..], b"12345"].concat();
    server_fails(&frame(1, 8 | 4 | 0x20, 1, &priority), "bad_padding", 1);
}

#[test]
fn data_on_a_stream_that_takes_none_is_stream_closed() {
    server_resets(&[headers(1, GET, true), data(1, b"x", true)].concat(), "stream_closed", 5);
}

#[test]
fn headers_may_be_padded_and_have_a_priority() {
    let block = block(GET);
    let padded = [&[3][..], &block, &[0; 3]].concat();
    let priority = [b"12345", &block[..]].concat();
    let both = [&[3][..], b"12345", &block, &[0; 3]].concat();
    for (flags, payload) in [(8, padded), (0x20, priority), (0x28, both)] {
        let input = [frame(1, 5 | flags, 1, &payload), ping(b"12345678", false)].concat();
        let (said, wrote) = server_says(&input);
        assert_eq!((said.as_str(), wrote.as_str()), ("0 GET / @h end", "PING ack 12345678"));
    }
}

#[test]
fn headers_are_followed_by_continuation() {
    server_fails(&[frame(1, 1, 1, b""), data(1, b"", true)].concat(), "unexpected_frame", 1);
    server_fails(&[frame(1, 1, 1, b""), frame(9, 4, 3, b"")].concat(), "unexpected_frame", 1);
}

#[test]
fn headers_belong_to_a_stream() {
    server_fails(&headers(0, GET, true), "bad_stream_id", 1);
    client_fails(&headers(0, OK, true), "bad_stream_id", 1);
}

#[test]
fn priority_belongs_to_a_stream() {
    server_fails(&frame(2, 0, 0, b"12345"), "bad_stream_id", 1);
}

#[test]
fn priority_of_another_length_is_frame_size_error() {
    for payload in [&b"1234"[..], b"123456", b""] {
        server_resets(&[open(), frame(2, 0, 1, payload)].concat(), "bad_frame_size", 6);
        // A stream that is not open cannot be reset: the connection ends.
        server_fails(&frame(2, 0, 1, payload), "bad_frame_size", 6);
    }
}

#[test]
fn priority_has_no_effect() {
    // Not even one that depends on itself, which RFC 7540 made an error.
    let itself = frame(2, 0, 1, b"\0\0\0\x01\xff");
    let input = [itself.clone(), open(), itself, data(1, b"x", true)].concat();
    assert_eq!(server_says(&input), ("0 POST / @h Unknown\n0 data x\n0 end".into(), String::new()));
}

#[test]
fn a_reset_ends_a_stream() {
    let (said, wrote) = server_says(&[open(), rst(1, 8)].concat());
    assert_eq!(said, "0 POST / @h Unknown\n0 reset peer_cancel");
    assert_eq!(wrote, "");
    let (said, _) = client_says("GET", &[headers(1, OK, false), rst(1, 2)].concat());
    assert_eq!(said, "0 200  Unknown\n0 reset peer_internal_error");
}

#[test]
fn a_reset_belongs_to_a_stream() {
    server_fails(&rst(0, 8), "bad_stream_id", 1);
    client_fails(&rst(0, 8), "bad_stream_id", 1);
}

#[test]
fn a_reset_of_an_idle_stream_is_protocol_error() {
    server_fails(&rst(1, 8), "bad_stream_id", 1);
    client_fails(&rst(3, 8), "bad_stream_id", 1);
}

#[test]
fn an_idle_stream_is_not_reset() {
    let mut client = Peer::client(WireSpec::default());
    let key = client.wire.open().unwrap();
    client.with(|wire, cx| wire.reset(key, Fault::Cancelled, cx));
    client.release(key.0);
    let key = client.wire.open().unwrap();
    client.release(key.0);
    assert_eq!(client.wrote(), "");
}

#[test]
fn a_reset_of_another_length_is_frame_size_error() {
    for payload in [&b"123"[..], b"12345", b""] {
        server_fails(&[open(), frame(3, 0, 1, payload)].concat(), "bad_frame_size", 6);
    }
}

#[test]
fn settings_belong_to_the_connection() {
    server_fails(&frame(4, 0, 1, b""), "bad_stream_id", 1);
    server_fails(&[open(), frame(4, 1, 1, b"")].concat(), "bad_stream_id", 1);
}

#[test]
fn settings_of_another_length_are_frame_size_error() {
    for payload in [&b"12345"[..], b"1234567", b"1"] {
        server_fails(&frame(4, 0, 0, payload), "bad_frame_size", 6);
    }
    server_fails(&frame(4, 1, 0, b"123456"), "bad_frame_size", 6);
}

#[test]
fn push_is_refused() {
    // What a server could say of it is 0; a client may say 0 or 1.
    assert_eq!(server_says(&settings(&[(2, 0), (2, 1)])).1, "SETTINGS ack");
    assert_eq!(client_says("GET", &settings(&[(2, 0)])).1, "SETTINGS ack");
    client_fails(&settings(&[(2, 1)]), "bad_setting", 1);
    for value in [2, u32::MAX] {
        server_fails(&settings(&[(2, value)]), "bad_setting", 1);
        client_fails(&settings(&[(2, value)]), "bad_setting", 1);
    }
    let promise = [&2u32.to_be_bytes()[..], &block(GET)].concat();
    client_fails(&frame(5, 4, 1, &promise), "unexpected_frame", 1);
    server_fails(&[open(), frame(5, 4, 1, &promise)].concat(), "unexpected_frame", 1);
    server_fails(&frame(5, 4, 0, &promise), "unexpected_frame", 1);
}

#[test]
fn a_window_beyond_the_largest_is_flow_control_error() {
    for value in [1 << 31, u32::MAX] {
        server_fails(&settings(&[(4, value)]), "flow_control", 3);
    }
    assert_eq!(server_says(&settings(&[(4, (1 << 31) - 1)])).1, "SETTINGS ack");
}

#[test]
fn a_frame_size_out_of_range_is_protocol_error() {
    for value in [0, 16_383, 1 << 24, u32::MAX] {
        server_fails(&settings(&[(5, value)]), "bad_setting", 1);
    }
    assert_eq!(server_says(&settings(&[(5, 16_384), (5, (1 << 24) - 1)])).1, "SETTINGS ack");
}

#[test]
fn settings_take_effect_in_order_and_are_acknowledged() {
    let mut peer = replying(&[]);
    peer.feed(&settings(&[(4, 1), (4, 100), (4, 3)]));
    assert_eq!(peer.wrote(), "SETTINGS ack");
    assert_eq!(peer.push(0, b"abcdef", true), Ok(3));
    assert_eq!(peer.wrote(), "DATA 1 abc");
    peer.feed(&[settings(&[(4, 4)]), settings(&[(4, 5)])].concat());
    assert_eq!(peer.wrote(), "SETTINGS ack\nSETTINGS ack");
    assert_eq!(peer.push(0, b"def", true), Ok(2));
}

#[test]
fn our_settings_count_once_they_are_acknowledged() {
    // RFC 9113 §6.9.3: until then a client may go by the default of 65 535.
    let spec = WireSpec { h2_stream_window_bytes: 10, ..WireSpec::default() };
    let hello = [PREFACE.as_slice(), &settings(&[])].concat();
    let run = |frames: &[u8]| {
        let mut peer = Peer::new(Role::Server, spec.clone());
        peer.feed(&hello);
        peer.feed(frames);
        peer.wrote();
        peer.said().lines().last().unwrap().to_owned()
    };
    let early = [open(), data(1, &[b'x'; 16_000], true)].concat();
    assert_eq!(run(&early), "0 end");
    let ack = frame(4, 1, 0, b"");
    let late = [ack.as_slice(), &open(), &data(1, &[b'x'; 11], true)].concat();
    assert_eq!(run(&late), "0 reset flow_control");
    // Sent before the acknowledgement, received before it: counted against what is left after it.
    let across = [open(), data(1, b"12345", false), ack, data(1, b"678901", true)].concat();
    assert_eq!(run(&across), "0 reset flow_control");
}

#[test]
fn a_ping_is_answered_with_what_it_said() {
    let (said, wrote) = server_says(&ping(b"\0\x01opaque", false));
    assert_eq!((said.as_str(), wrote.as_str()), ("", "PING ack \\x00\\x01opaque"));
    assert_eq!(server_says(&ping(b"12345678", true)).1, "", "an answer is not answered");
}

#[test]
fn a_ping_belongs_to_the_connection() {
    server_fails(&frame(6, 0, 1, b"12345678"), "bad_stream_id", 1);
    server_fails(&frame(6, 1, 1, b"12345678"), "bad_stream_id", 1);
}

#[test]
fn a_ping_of_another_length_is_frame_size_error() {
    for payload in [&b"1234567"[..], b"123456789", b""] {
        server_fails(&frame(6, 0, 0, payload), "bad_frame_size", 6);
    }
}

#[test]
fn after_goaway_no_stream_is_opened() {
    let mut client = Peer::asked("GET");
    client.feed(&go_away(1, 0));
    assert_eq!((client.said().as_str(), client.wire.open()), ("closing", None));
    client.feed(&headers(1, OK, true));
    assert_eq!(client.said(), "0 200  end");
    assert!(!client.is_closing());
    client.release(0);
    assert!(client.is_closing(), "nothing is left to do");
}

#[test]
fn streams_beyond_the_last_are_unprocessed() {
    let mut client = Peer::client(WireSpec::default());
    let mut post = request("POST", "/");
    post.set_length(Length::Unknown);
    for _ in 0..4 {
        client.ask(&post, false);
    }
    let opened = client.wire.open().unwrap();
    client.wrote();
    client.feed(&go_away((1 << 31) - 1, 0));
    assert_eq!(client.said(), "closing\n4 reset gone_away unprocessed");
    assert_eq!(client.head(opened.0, &request("GET", "/"), true), Err(Gone));
    client.feed(&[go_away(3, 0), go_away(5, 0)].concat());
    assert_eq!(client.said(), "2 reset gone_away unprocessed\n3 reset gone_away unprocessed");
    client.feed(&go_away(1, 0));
    assert_eq!(client.said(), "1 reset gone_away unprocessed");
    assert_eq!(client.push(1, b"x", true), Err(Gone));
    assert_eq!(client.push(0, b"x", true), Ok(1));
    assert_eq!(client.wrote(), "DATA 1 x end");
}

#[test]
fn goaway_belongs_to_the_connection() {
    server_fails(&frame(7, 0, 1, &[0; 8]), "bad_stream_id", 1);
    client_fails(&frame(7, 0, 1, &[0; 8]), "bad_stream_id", 1);
}

#[test]
fn debug_data_of_goaway_is_skipped() {
    let debug = [&[0; 8][..], &[b'x'; 3000]].concat();
    let input = [frame(7, 0, 0, &debug), ping(b"12345678", false)].concat();
    assert_eq!(server_says(&input), ("closing".into(), "PING ack 12345678".into()));
}

#[test]
fn the_last_stream_never_grows() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&[headers(1, GET, true), headers(3, GET, true)].concat());
    peer.with(|wire, cx| wire.drain(false, cx));
    peer.feed(&headers(5, GET, true));
    peer.with(|wire, cx| wire.drain(true, cx));
    peer.feed(&headers(7, GET, true));
    peer.feed(&data(0, b"x", false));
    let wrote = peer.wrote();
    let last: Vec<_> = wrote.lines().filter(|line| line.starts_with("GOAWAY")).collect();
    assert_eq!(last, ["GOAWAY 2147483647 0", "GOAWAY 5 0", "GOAWAY 5 1 bad_stream_id"]);
}

#[test]
fn frames_beyond_the_named_last_stream_are_discarded() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&open());
    peer.with(|wire, cx| wire.drain(true, cx));
    peer.wrote();
    peer.feed(&headers(3, POST, false));
    for _ in 0..33 {
        peer.feed(&data(3, &[b'x'; 16_000], false));
    }
    peer.feed(&[window(3, 1), rst(3, 8)].concat());
    assert_eq!((peer.failed, peer.said().as_str()), (None, "0 POST / @h Unknown"));
    assert_eq!(peer.wrote(), "WINDOW_UPDATE 0 528000", "the window is kept in step");
}

#[test]
fn frames_without_flow_control_pass_a_shut_window() {
    let mut peer = replying(&[(4, 0)]);
    assert_eq!(peer.push(0, b"x", false), Ok(0));
    let mut trailers = crate::Head::new();
    trailers.push(b"a", b"b");
    peer.end(0, Some(&trailers)).unwrap();
    assert_eq!(peer.wrote(), "HEADERS 1 end a=b");
}

#[test]
fn an_increment_of_nothing_is_protocol_error() {
    server_resets(&[open(), window(1, 0)].concat(), "zero_increment", 1);
    server_fails(&window(0, 0), "zero_increment", 1);
    client_fails(&window(0, 0), "zero_increment", 1);
}

#[test]
fn a_window_update_after_the_end_is_no_error() {
    let mut peer = replying(&[]);
    peer.push(0, b"x", true).unwrap();
    peer.feed(&window(1, 1));
    peer.release(0);
    peer.feed(&[window(1, 1), window(1, 0)].concat());
    assert_eq!((peer.failed, peer.said().as_str()), (None, ""));
}

#[test]
fn frames_in_error_count_against_the_connection() {
    // Of 1 MiB, 70 frames use up more than all but what was given back.
    let spec = WireSpec { h2_own_resets_max: 1000, ..WireSpec::default() };
    let mut peer = Peer::server(spec);
    for n in 0..70 {
        let id = 2 * n + 1;
        peer.feed(&[headers(id, GET, true), data(id, &[b'x'; 16_000], true)].concat());
        peer.release(0);
    }
    let wrote = peer.wrote();
    let updates: Vec<_> = wrote.lines().filter(|line| line.starts_with("WINDOW")).collect();
    assert_eq!((peer.failed, updates), (None, vec!["WINDOW_UPDATE 0 528000"; 2]));
}

#[test]
fn a_window_update_of_another_length_is_frame_size_error() {
    for payload in [&b"123"[..], b"12345", b""] {
        server_fails(&frame(8, 0, 0, payload), "bad_frame_size", 6);
        server_fails(&[open(), frame(8, 0, 1, payload)].concat(), "bad_frame_size", 6);
    }
}

#[test]
fn no_more_is_sent_than_both_windows_allow() {
    let mut peer = replying(&[(4, 100_000)]);
    let body = vec![b'x'; 120_000];
    assert_eq!(peer.push(0, &body, false), Ok(65_535), "the connection's");
    assert!(!peer.wire.ready(StreamId(0)));
    peer.feed(&window(0, 100_000));
    assert_eq!(peer.said(), "writable");
    assert!(peer.wire.ready(StreamId(0)));
    assert_eq!(peer.push(0, &body, false), Ok(100_000 - 65_535), "the stream's");
    assert!(!peer.wire.ready(StreamId(0)));
    peer.feed(&window(0, 1));
    assert_eq!(peer.said(), "", "it was open");
    peer.feed(&window(1, 7));
    assert_eq!(peer.said(), "0 writable");
    assert_eq!(peer.push(0, &body, false), Ok(7));
}

#[test]
fn an_empty_end_needs_no_window() {
    let mut peer = replying(&[(4, 0)]);
    assert_eq!(peer.push(0, b"x", true), Ok(0));
    assert_eq!(peer.wrote(), "");
    assert_eq!(peer.push(0, b"", true), Ok(0));
    assert_eq!(peer.wrote(), "DATA 1  end");
}

#[test]
fn a_window_that_grows_too_large_is_flow_control_error() {
    let most = (1u32 << 31) - 1;
    let stream = [open(), window(1, most - 65_535)].concat();
    assert_eq!(server_says(&stream).1, "");
    server_resets(&[stream.as_slice(), &window(1, 1)].concat(), "flow_control", 3);
    server_fails(&[window(0, most - 65_535), window(0, 1)].concat(), "flow_control", 3);
    let settings = [stream.as_slice(), &settings(&[(4, 65_536)])].concat();
    server_fails(&settings, "flow_control", 3);
}

#[test]
fn a_window_may_become_negative() {
    let mut peer = replying(&[(4, 10)]);
    assert_eq!(peer.push(0, b"0123456789", false), Ok(10));
    peer.feed(&settings(&[(4, 3)]));
    peer.feed(&window(1, 7));
    assert_eq!((peer.push(0, b"x", false), peer.said().as_str()), (Ok(0), ""), "0 after -7");
    peer.feed(&window(1, 1));
    assert_eq!((peer.said().as_str(), peer.push(0, b"xy", false)), ("0 writable", Ok(1)));
    peer.feed(&settings(&[(4, 4)]));
    assert_eq!((peer.said().as_str(), peer.push(0, b"xy", false)), ("writable", Ok(1)));
}

#[test]
fn our_windows_are_enforced() {
    let full: Vec<u8> = (0..4).flat_map(|_| data(1, &[b'x'; 16_384], false)).collect();
    let stream = [open(), full.clone()].concat();
    assert!(!server_says_in_short(&stream).contains("reset"));
    let over = server_says_in_short(&[stream.as_slice(), &data(1, b"x", false)].concat());
    assert!(over.ends_with("0 reset flow_control"), "{over}");
    // Frames of a connection are given back at once: only one with a tiny window can be overrun.
    let spec = WireSpec { h2_connection_window_bytes: 0, ..WireSpec::default() };
    let mut peer = Peer::server(spec);
    assert_eq!(peer.wire.receive, super::super::ReceiveWindow::new(65_535));
    peer.feed(&stream);
    assert_eq!(peer.failed, None);
}

/// In three cuts: the input is long.
fn server_says_in_short(input: &[u8]) -> String {
    let run = |step| {
        let mut peer = Peer::server(WireSpec::default());
        peer.feed_by(input, step);
        peer.said()
    };
    let said = run(usize::MAX);
    assert_eq!((run(1000), run(16_393)), (said.clone(), said.clone()));
    said
}

#[test]
fn credit_is_given_back_by_halves() {
    let mut peer = Peer::server(WireSpec::default());
    peer.feed(&open());
    peer.feed(&data(1, &[b'x'; 16_384], false));
    peer.credit(0);
    assert_eq!(peer.wrote(), "");
    peer.feed(&data(1, &[b'x'; 16_384], false));
    peer.credit(0);
    assert_eq!(peer.wrote(), "WINDOW_UPDATE 1 32768");
    peer.with(|wire, cx| wire.credit(StreamId(0), u32::MAX, cx));
    assert_eq!(peer.wrote(), "", "more than was received is not given back");
    (0..2).for_each(|_| peer.feed(&data(1, &[b'x'; 16_384], false)));
    peer.feed(&data(1, b"", true));
    peer.credit(0);
    assert_eq!(peer.wrote(), "", "nothing more is asked of a sender that has ended");
}

#[test]
fn a_block_goes_on_until_its_end() {
    let block = block(GET);
    let pieces: Vec<_> = block.chunks(block.len().div_ceil(5)).collect();
    let mut input = frame(1, 1, 1, pieces[0]);
    for (index, piece) in pieces[1..].iter().enumerate() {
        input.extend(frame(9, if index == 3 { 4 } else { 0 }, 1, piece));
    }
    assert_eq!(server_says(&input).0, "0 GET / @h end");
    input.extend(frame(9, 4, 1, b""));
    server_fails(&input, "unexpected_frame", 1);
}

#[test]
fn continuation_belongs_to_a_stream() {
    server_fails(&frame(9, 4, 0, b""), "unexpected_frame", 1);
    server_fails(&[frame(1, 1, 1, b""), frame(9, 4, 0, b"")].concat(), "unexpected_frame", 1);
}

#[test]
fn continuation_follows_headers() {
    server_fails(&frame(9, 4, 1, b""), "unexpected_frame", 1);
    server_fails(&[headers(1, GET, true), frame(9, 4, 1, b"")].concat(), "unexpected_frame", 1);
    server_fails(
        &[open(), data(1, b"x", false), frame(9, 4, 1, b"")].concat(),
        "unexpected_frame",
        1,
    );
}

#[test]
fn padding_of_a_block_does_not_reach_into_continuation() {
    let (left, right) = (&block(GET)[..10], &block(GET)[10..]);
    let first = [&[4][..], left, &[0; 4]].concat();
    // PADDED has no meaning on CONTINUATION.
    let input = [frame(1, 8 | 1, 1, &first), frame(9, 8 | 4, 1, right)].concat();
    let said = every_cut(&input, |pieces| {
        let mut peer = Peer::server(WireSpec::default());
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.said()
    });
    assert_eq!(said, "0 GET / @h end");
}
