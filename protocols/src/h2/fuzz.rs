//! Fuzz functions of the HTTP/2 wire: any bytes in, invariants asserted.
//!
//! Beyond "no panic" each asserts what the harness in `testing.rs` asserts at every call (bytes
//! used within the input, nothing left over, no payload behind an end), that cuts change neither
//! what is said nor what is written, that what is written can be read, and that memory is bounded.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fuzz function is meant to panic"
)]

use std::time::Duration;

use super::frame::PREFACE;
use super::testing::{Peer, carry, deliver, frame, settings};
use crate::head::Length;
use crate::pair::{request, status};
use crate::{Fault, Role, StreamId, Wire, WireSpec};

/// Limits low enough for a fuzzer to reach them.
fn spec() -> WireSpec {
    WireSpec {
        head_bytes_max: 2048,
        line_bytes_max: 512,
        target_bytes_max: 256,
        fields_max: 20,
        body_bytes_max: Some(1 << 20),
        trailer_bytes_max: 256,
        trailer_fields_max: 4,
        h2_stream_window_bytes: 1000,
        h2_connection_window_bytes: 70_000,
        h2_streams_max: 4,
        h2_resets_max: 5,
        h2_own_resets_max: 5,
        h2_glitches_max: 10,
        requests_per_connection_max: Some(30),
        ..WireSpec::default()
    }
}

/// What a wire may hold with these limits: its tables, one block, a few streams.
const HELD_BYTES_MAX: usize = 32 * 1024;

/// Runs `run` on the bytes whole and in several cuts that depend on them; all must agree.
fn cuts<R: PartialEq + core::fmt::Debug>(data: &[u8], run: impl Fn(&[&[u8]]) -> R) {
    let whole = run(&[data]);
    let sum = data.iter().fold(7usize, |sum, &b| sum.wrapping_mul(31).wrapping_add(usize::from(b)));
    let (left, right) = data.split_at(sum % (data.len() + 1));
    assert_eq!(run(&[left, right]), whole, "cut at {}", left.len());
    for step in [1, 2 + sum % 13] {
        let pieces: Vec<_> = data.chunks(step).collect();
        assert_eq!(run(&pieces), whole, "pieces of {step}");
    }
}

/// Bytes from a peer; the first one chooses the role, and how far the connection has come.
pub fn fuzz_frames(data: &[u8]) {
    let Some((&mode, data)) = data.split_first() else { return };
    cuts(data, |pieces| {
        let mut peer = begun(mode);
        for piece in pieces {
            peer.feed(piece);
            assert!(peer.wire.held_bytes() <= HELD_BYTES_MAX, "{}", peer.wire.held_bytes());
        }
        let end = (peer.said(), peer.wrote(), peer.sides());
        peer.eof();
        (end, peer.said(), peer.sides())
    });
}

fn begun(mode: u8) -> Peer {
    let role = if mode & 1 == 0 { Role::Server } else { Role::Client };
    let mut peer = Peer::new(role, spec());
    peer.answers = mode & 2 != 0;
    let hello = [settings(&[]), frame(4, 1, 0, b"")].concat();
    if mode & 4 == 0 {
        if role == Role::Server {
            peer.feed(PREFACE);
        }
        peer.feed(&hello);
    }
    for n in 0..mode >> 6 {
        if role == Role::Client {
            let mut head = request(if n == 2 { "HEAD" } else { "POST" }, "/");
            head.set_length(Length::Unknown);
            peer.ask(&head, n == 1);
        }
    }
    if mode & 8 != 0 {
        peer.with(|wire, cx| wire.drain(mode & 16 != 0, cx));
    }
    peer
}

/// What one side has sent on each key: bodies, and whether they ended.
#[derive(Debug, Default)]
struct Sent {
    bodies: Vec<(Vec<u8>, bool)>,
}

impl Sent {
    fn begin(&mut self, key: u32, ended: bool) {
        let index = key as usize;
        if self.bodies.len() <= index {
            self.bodies.resize_with(index + 1, Default::default);
        }
        self.bodies[index] = (Vec::new(), ended);
    }

    fn add(&mut self, key: u32, body: &[u8], end: bool) {
        if let Some((sent, ended)) = self.bodies.get_mut(key as usize) {
            sent.extend_from_slice(body);
            *ended |= end;
        }
    }
}

/// Two wires under a script of two bytes a step: an action and its argument. Keys are equal on both
/// sides while streams are released together, which the script sees to.
pub fn fuzz_pair(script: &[u8]) {
    let spec = WireSpec { h2_resets_max: 1000, h2_glitches_max: 1000, ..spec() };
    let spec = WireSpec { h2_own_resets_max: 1000, requests_per_connection_max: None, ..spec };
    let mut play = Play {
        client: Peer::new(Role::Client, spec.clone()),
        server: Peer::new(Role::Server, spec),
        requests: Sent::default(),
        replies: Sent::default(),
    };
    for step in script.chunks_exact(2) {
        play.step(step[0], step[1]);
        check(&play.requests, &play.server);
        check(&play.replies, &play.client);
    }
    carry(&mut play.client, &mut play.server, usize::MAX);
    assert_eq!((play.client.failed, play.server.failed), (None, None), "nobody did wrong");
    check(&play.requests, &play.server);
    check(&play.replies, &play.client);
}

/// What arrived is a prefix of what was sent, and whole only if that was.
fn check(sent: &Sent, peer: &Peer) {
    for (key, message) in peer.messages.iter().enumerate() {
        let Some((body, ended)) = sent.bodies.get(key) else { continue };
        assert!(body.starts_with(&message.body), "stream {key} is not what was sent");
        assert!(!message.whole || (*ended && *body == message.body), "stream {key} grew");
    }
    assert!(peer.wire.held_bytes() <= HELD_BYTES_MAX);
}

struct Play {
    client: Peer,
    server: Peer,
    requests: Sent,
    replies: Sent,
}

impl Play {
    fn step(&mut self, action: u8, arg: u8) {
        let key = u32::from(arg & 3);
        match action % 14 {
            0 | 1 => self.request(arg),
            2 => body(&mut self.client, &mut self.requests, arg),
            3 => end(&mut self.client, &mut self.requests, key),
            4 => self.reply(arg),
            5 => body(&mut self.server, &mut self.replies, arg),
            6 => end(&mut self.server, &mut self.replies, key),
            7 => deliver(&mut self.client, &mut self.server, usize::from(arg)),
            8 => deliver(&mut self.server, &mut self.client, usize::from(arg)),
            9 => self.release(key),
            10 => {
                let peer = if arg & 4 == 0 { &mut self.client } else { &mut self.server };
                peer.with(|wire, cx| wire.reset(StreamId(key), Fault::Cancelled, cx));
            }
            11 => {
                if (key as usize) < self.client.messages.len() {
                    self.client.credit(key);
                }
                if (key as usize) < self.server.messages.len() {
                    self.server.credit(key);
                }
            }
            12 => {
                // Time passes for what arrived: a network that holds everything up blames nobody.
                carry(&mut self.client, &mut self.server, usize::MAX);
                self.client.sleep(Duration::from_millis(u64::from(arg)));
                self.server.sleep(Duration::from_millis(u64::from(arg)));
            }
            _ if arg > 250 => self.server.with(|wire, cx| wire.drain(arg & 1 == 1, cx)),
            _ => carry(&mut self.client, &mut self.server, 1 + usize::from(arg)),
        }
    }

    fn length(arg: u8) -> Length {
        match arg >> 6 {
            0 => Length::Empty,
            1 => Length::Exact(u64::from(arg >> 2)),
            _ => Length::Unknown,
        }
    }

    fn request(&mut self, arg: u8) {
        let Some(key) = self.client.wire.open() else { return };
        let mut head = request("POST", "/");
        head.set_length(Play::length(arg));
        let end = matches!(head.length(), Length::Empty | Length::Exact(0));
        if self.client.head(key.0, &head, end).is_ok() {
            self.requests.begin(key.0, end);
            self.replies.begin(key.0, false);
        }
        // Delivered at once: a server gives keys in the order in which requests come.
        carry(&mut self.client, &mut self.server, usize::MAX);
    }

    /// A reply in the time between a request's head and the stream's end.
    fn reply(&mut self, arg: u8) {
        let key = u32::from(arg & 3);
        let head = status(200, Play::length(arg));
        let end = matches!(head.length(), Length::Empty | Length::Exact(0));
        if self.server.head(key, &head, end).is_ok() {
            self.replies.begin(key, end);
        }
    }

    /// Both sides let the stream go, so that keys stay equal.
    fn release(&mut self, key: u32) {
        carry(&mut self.client, &mut self.server, usize::MAX);
        for peer in [&mut self.client, &mut self.server] {
            peer.release(key);
            if let Some(message) = peer.messages.get_mut(key as usize) {
                *message = Default::default();
            }
        }
        carry(&mut self.client, &mut self.server, usize::MAX);
    }
}

fn body(peer: &mut Peer, sent: &mut Sent, arg: u8) {
    let key = u32::from(arg & 3);
    let bytes = vec![arg; usize::from(arg >> 2) * 8 + 1];
    let end = arg & 128 != 0;
    if let Ok(len) = peer.push(key, &bytes, end) {
        sent.add(key, &bytes[..len], end && len == bytes.len());
    }
}

fn end(peer: &mut Peer, sent: &mut Sent, key: u32) {
    if peer.end(key, None).is_ok() {
        sent.add(key, b"", true);
    }
}
