//! Properties of the HTTP/2 wire, beside the fuzz functions that they also call.
//!
//! Flow control is compared with the plainest possible bookkeeping: windows as 64-bit numbers, one
//! for each stream and one for all.

use proptest::collection::vec;
use proptest::prelude::*;

use super::fuzz::{fuzz_frames, fuzz_pair};
use super::testing::*;
use crate::head::Length;
use crate::pair::{request, status};
use crate::{Role, StreamId, Wire, WireSpec};

/// What may happen to a sender.
#[derive(Clone, Copy, Debug)]
enum Act {
    Push { stream: usize, len: usize },
    Stream { stream: usize, by: u32 },
    Connection { by: u32 },
    Initial { to: u32 },
}

fn act() -> impl Strategy<Value = Act> {
    let size = prop_oneof![0u32..100, 0u32..100_000];
    prop_oneof![
        3 => (0..3usize, 1..50_000usize).prop_map(|(stream, len)| Act::Push { stream, len }),
        2 => (0..3usize, size.clone()).prop_map(|(stream, by)| Act::Stream { stream, by: by + 1 }),
        2 => size.clone().prop_map(|by| Act::Connection { by: by + 1 }),
        1 => size.prop_map(|to| Act::Initial { to }),
    ]
}

fn messages() -> impl Strategy<Value = Vec<(Vec<Vec<u8>>, bool, bool)>> {
    let chunk = prop_oneof![vec(any::<u8>(), 1..20), (1..30_000usize).prop_map(|len| vec![7; len])];
    vec((vec(chunk, 0..5), any::<bool>(), any::<bool>()), 1..8)
}

/// Frames in any order that are well formed, most of them.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let id = prop_oneof![4 => Just(1u32), 3 => Just(3u32), 1 => 0u32..8];
    let one = (0u8..11, any::<u8>(), id, vec(any::<u8>(), 0..12), any::<bool>());
    let one = one.prop_map(|(kind, flags, id, payload, good)| match (kind, good) {
        (0, true) => data(id, &payload, flags & 1 == 1),
        (1, true) => headers(id, if flags & 2 == 0 { GET } else { POST }, flags & 1 == 1),
        (2, true) => frame(2, 0, id, b"12345"),
        (3, true) => rst(id, u32::from(flags % 15)),
        (4, true) => settings(&[(u16::from(flags % 10), u32::from(flags) * 300)]),
        (6, true) => ping(b"12345678", flags & 1 == 1),
        (7, true) => go_away(id, u32::from(flags % 15)),
        (8, true) => window(id, u32::from(flags)),
        _ => frame(kind, flags, id, &payload),
    });
    vec(one, 0..20).prop_map(|frames| frames.concat())
}

proptest! {
    #[test]
    fn a_sender_keeps_to_its_windows(acts in vec(act(), 0..60)) {
        let spec = WireSpec { h2_glitches_max: 1000, ..WireSpec::default() };
        let mut peer = Peer::server(spec);
        for n in 0..3 {
            peer.feed(&headers(2 * n + 1, GET, true));
            peer.head(n, &status(200, Length::Unknown), false).unwrap();
        }
        let (mut streams, mut connection, mut initial) = ([65_535i64; 3], 65_535i64, 65_535i64);
        peer.said();
        for act in acts {
            let ready = |streams: &[i64; 3], all: i64| streams.map(|window| window.min(all) > 0);
            let before = ready(&streams, connection);
            match act {
                Act::Push { stream, len } => {
                    let want = streams[stream].min(connection).clamp(0, len as i64);
                    let sent = peer.push(stream as u32, &vec![b'x'; len], false).unwrap();
                    prop_assert_eq!(sent as i64, want);
                    streams[stream] -= want;
                    connection -= want;
                }
                Act::Stream { stream, by } => {
                    peer.feed(&window(2 * stream as u32 + 1, by));
                    streams[stream] += i64::from(by);
                }
                Act::Connection { by } => {
                    peer.feed(&window(0, by));
                    connection += i64::from(by);
                }
                Act::Initial { to } => {
                    peer.feed(&settings(&[(4, to)]));
                    streams = streams.map(|window| window + i64::from(to) - initial);
                    initial = i64::from(to);
                }
            }
            let after = ready(&streams, connection);
            let said = peer.said();
            for stream in 0..3 {
                prop_assert_eq!(peer.wire.ready(StreamId(stream as u32)), after[stream]);
                let told = said.lines().any(|line| {
                    line == "writable" || line == format!("{stream} writable")
                });
                // Who waits is told when it may go on.
                prop_assert!(told || before[stream] || !after[stream], "{act:?} {said}");
            }
        }
        prop_assert_eq!(peer.failed, None);
    }

    #[test]
    fn a_receiver_keeps_its_word(
        frames in vec((0..3u32, 0..20_000usize, any::<u8>(), any::<bool>()), 0..40),
        window_bytes in 1000u32..100_000,
    ) {
        let spec = WireSpec {
            h2_stream_window_bytes: window_bytes,
            h2_connection_window_bytes: 100_000,
            h2_glitches_max: 1000,
            ..WireSpec::default()
        };
        let mut peer = Peer::server(spec);
        let mut allowed = [i64::from(window_bytes); 3];
        for n in 0..3 {
            peer.feed(&headers(2 * n + 1, POST, false));
        }
        for (stream, len, pad, credit) in frames {
            let id = 2 * stream + 1;
            let len = len.min(16_383 - usize::from(pad));
            let cost = (len + 1 + usize::from(pad)) as i64;
            let fits = cost <= allowed[stream as usize];
            let open = peer.messages[stream as usize].reset.is_none();
            peer.feed(&padded(id, &vec![b'x'; len], pad, false));
            let reset = peer.messages[stream as usize].reset;
            prop_assert_eq!(reset.is_none(), open && fits, "{:?}", reset);
            allowed[stream as usize] -= cost;
            if credit {
                peer.credit(stream);
            }
            for line in peer.wrote().lines() {
                if let Some(update) = line.strip_prefix("WINDOW_UPDATE ") {
                    let (id, by) = update.split_once(' ').unwrap();
                    let (id, by): (usize, i64) = (id.parse().unwrap(), by.parse().unwrap());
                    if id > 0 {
                        allowed[id / 2] += by;
                        prop_assert!(allowed[id / 2] <= i64::from(window_bytes));
                    }
                }
            }
        }
        prop_assert_eq!(peer.failed, None);
    }

    #[test]
    fn messages_arrive(messages in messages(), step in 1..5000usize) {
        let mut client = Peer::new(Role::Client, WireSpec::default());
        let mut server = Peer::new(Role::Server, WireSpec::default());
        (client.generous, server.generous) = (true, true);
        let mut trailers = crate::Head::new();
        trailers.push(b"x-end", b"1");
        for (chunks, exact, with_trailers) in &messages {
            let body = chunks.concat();
            let length = if *exact { Length::Exact(body.len() as u64) } else { Length::Unknown };
            let mut post = request("POST", "/");
            post.set_length(length);
            let key = client.ask(&post, false).0;
            let trailers = with_trailers.then_some(&trailers);
            send(&mut client, &mut server, key, chunks, trailers, step);
            server.head(key, &status(200, length), false).unwrap();
            send(&mut server, &mut client, key, chunks, trailers, step);
            let meant = (&body, true, with_trailers.then(|| "trailers | x-end: 1".to_owned()));
            for peer in [&client, &server] {
                let got = &peer.messages[key as usize];
                prop_assert_eq!((&got.body, got.whole, got.trailers.clone()), meant.clone());
            }
            // Every third exchange lasts.
            if body.len() % 3 != 0 {
                client.release(key);
                server.release(key);
                client.messages[key as usize] = Message::default();
            }
        }
        prop_assert_eq!((client.failed, server.failed), (None, None));
    }

    #[test]
    fn any_bytes_hold_the_invariants(bytes in vec(any::<u8>(), 0..200)) {
        fuzz_frames(&bytes);
        fuzz_pair(&bytes);
    }

    #[test]
    fn any_frames_hold_the_invariants(mode in any::<u8>(), bytes in frames()) {
        fuzz_frames(&[&[mode], bytes.as_slice()].concat());
    }

    #[test]
    fn scripts_hold_the_invariants(script in vec(any::<u8>(), 0..300)) {
        fuzz_pair(&script);
    }
}

/// Sends a message, carrying bytes both ways whenever a window is shut.
fn send(
    from: &mut Peer,
    to: &mut Peer,
    key: u32,
    chunks: &[Vec<u8>],
    trailers: Option<&crate::Head>,
    step: usize,
) {
    for chunk in chunks {
        let mut sent = 0;
        while sent < chunk.len() {
            sent += from.push(key, &chunk[sent..], false).unwrap();
            carry(from, to, step);
        }
    }
    from.end(key, trailers).unwrap();
    carry(from, to, step);
}
