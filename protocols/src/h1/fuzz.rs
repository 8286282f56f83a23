//! Fuzz functions of the HTTP/1 wire: any bytes in, invariants asserted.
//!
//! Beyond "no panic" each asserts what the harness in `pair.rs` asserts at every call (bytes used
//! within the input, nothing left over), that cuts change nothing, and that what was accepted can
//! be written and is then accepted with the same meaning. Targets in `fuzz/` call these; property
//! tests call them with mutated messages.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a fuzz function is meant to panic"
)]

use std::time::Duration;

use crate::head::{Head, Length};
use crate::pair::{Message, Pair, Peer, STREAM, answer_ok, request, status};
use crate::spec::WireSpec;
use crate::wire::{Role, Wire};

/// Limits low enough for a fuzzer to reach them.
fn spec() -> WireSpec {
    WireSpec {
        head_bytes_max: 2048,
        line_bytes_max: 512,
        target_bytes_max: 256,
        fields_max: 20,
        body_bytes_max: Some(1 << 20),
        chunk_ext_bytes_max: 16,
        chunk_ext_body_bytes_max: 64,
        trailer_bytes_max: 256,
        trailer_fields_max: 4,
        ..WireSpec::default()
    }
}

/// Runs `run` on the bytes whole and in several cuts that depend on them; all must agree.
fn cuts<R: PartialEq + core::fmt::Debug>(data: &[u8], run: impl Fn(&[&[u8]]) -> R) -> R {
    let whole = run(&[data]);
    let sum = data.iter().fold(7usize, |sum, &b| sum.wrapping_mul(31).wrapping_add(usize::from(b)));
    for at in [sum % (data.len() + 1), (sum / 7) % (data.len() + 1)] {
        let (left, right) = data.split_at(at);
        assert_eq!(run(&[left, right]), whole, "cut at {at}");
    }
    for step in [1, 2 + sum % 13] {
        let pieces: Vec<_> = data.chunks(step).collect();
        assert_eq!(run(&pieces), whole, "pieces of {step}");
    }
    whole
}

/// Bytes from a client: requests, pipelined.
pub fn fuzz_request(data: &[u8]) {
    let (_, meanings) = cuts(data, |pieces| {
        let mut peer = Peer::server(spec(), answer_ok);
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.eof(true);
        let meanings: Vec<_> = peer.messages.iter().map(Message::meaning).collect();
        ((peer.said(), peer.wrote(), peer.sides()), meanings)
    });
    let mut peer = Peer::server(spec(), answer_ok);
    peer.feed(data);
    peer.eof(true);
    for (message, meaning) in peer.messages.iter().zip(&meanings).filter(|(m, _)| m.whole) {
        let mut head = Head::new();
        head.copy_from(&message.head);
        head.remove_hop_by_hop();
        if head.authority().is_empty() {
            continue;
        }
        let mut client = Peer::new(Role::Client, spec());
        client.wire.open().unwrap();
        send(&mut client, &head, message);
        // Host first and one more field: the limits are the sender's affair, not tested here.
        let mut server = Peer::server(WireSpec::default(), answer_ok);
        server.feed(&client.out);
        assert_eq!(server.failed, None, "refused what was accepted");
        assert_eq!(server.messages.len(), 1, "one request became several");
        assert_eq!(&server.messages[0].meaning(), meaning);
    }
}

/// Bytes from an upstream; the first one chooses what was asked.
pub fn fuzz_reply(data: &[u8]) {
    let Some((choice, data)) = data.split_first() else { return };
    let method = if choice % 4 == 0 { "HEAD" } else { "GET" };
    cuts(data, |pieces| {
        let mut peer = Peer::asked(method, spec());
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.eof(choice % 8 < 4);
        peer.wire.release(STREAM);
        (peer.said(), peer.sides())
    });
    let mut peer = Peer::asked(method, spec());
    peer.feed(data);
    peer.eof(true);
    let Some(message) = peer.messages.first().filter(|message| message.whole) else { return };
    let mut head = Head::new();
    head.copy_from(&message.head);
    head.remove_hop_by_hop();
    let mut server = Peer::new(Role::Server, spec());
    server.feed(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    send(&mut server, &head, message);
    let mut client = Peer::asked(method, WireSpec::default());
    client.feed(&server.out);
    assert_eq!(client.failed, None, "refused what was accepted");
    assert_eq!(client.messages.len(), 1, "one reply became several");
    assert_eq!(client.messages[0].meaning(), message.meaning());
}

fn send(peer: &mut Peer, head: &Head, message: &Message) {
    let empty = message.body.is_empty() && message.trailers.is_none();
    let end = empty && head.length() != Length::Unknown;
    peer.with(|wire, cx| wire.head(STREAM, head, end, cx)).unwrap();
    if !end {
        peer.push(&message.body, message.body.is_empty() && message.trailers.is_none()).unwrap();
        peer.with(|wire, cx| wire.end(STREAM, message.trailers.as_ref(), cx)).unwrap();
    }
}

/// A chunked body, compared with the plainest possible reading of RFC 9112 §7.1.
pub fn fuzz_chunked(data: &[u8]) {
    let mut input = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    let head_len = input.len();
    input.extend_from_slice(data);
    let (accepted, body) = cuts(&input, |pieces| {
        let mut peer = Peer::new(Role::Server, spec());
        pieces.iter().for_each(|piece| peer.feed(piece));
        let message = &peer.messages[0];
        assert!(peer.failed.is_none() || !message.whole, "a fault after the end");
        (message.whole, message.body.clone())
    });
    let plain = plain_chunks(&input[head_len..]);
    match plain {
        // The trailer section and the limits are the wire's own affair.
        Some((payload, whole)) => {
            assert!(payload.starts_with(&body) || body.starts_with(&payload));
            if accepted {
                assert!(whole && payload == body);
            }
        }
        None => assert!(!accepted, "accepted what the plain reader refuses"),
    }
}

/// Payload, and whether the last chunk's line was seen; `None` if a size line or a chunk's end is
/// malformed.
fn plain_chunks(mut data: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut payload = Vec::new();
    while let Some(at) = data.windows(2).position(|pair| pair == b"\r\n") {
        let (line, rest) = (&data[..at], &data[at + 2..]);
        let size = line.split(|&b| b == b';').next()?;
        let text = core::str::from_utf8(size).ok()?;
        if text.starts_with('+') || size.len() > 16 {
            return None;
        }
        let size = usize::try_from(u64::from_str_radix(text, 16).ok()?).ok()?;
        if size == 0 {
            return Some((payload, true));
        }
        if rest.len() < size {
            payload.extend_from_slice(rest);
            return Some((payload, false));
        }
        payload.extend_from_slice(&rest[..size]);
        data = &rest[size..];
        if data.len() < 2 {
            break;
        }
        data = data.strip_prefix(b"\r\n")?;
    }
    Some((payload, false))
}

/// What one side has sent: bodies by message with their declared lengths, and whether each ended.
#[derive(Debug, Default)]
struct Sent {
    bodies: Vec<(Vec<u8>, Length, bool)>,
}

impl Sent {
    fn begin(&mut self, length: Length, ended: bool) {
        self.bodies.push((Vec::new(), length, ended));
    }

    fn add(&mut self, body: &[u8], end: bool) {
        if let Some((sent, length, ended)) = self.bodies.last_mut() {
            sent.extend_from_slice(body);
            *ended |= end || *length == Length::Exact(sent.len() as u64);
        }
    }

    /// What arrived is a prefix of what was sent, and whole only if that was.
    fn check(&self, messages: &[Message]) {
        for (index, message) in messages.iter().enumerate() {
            let (sent, _, ended) = &self.bodies[index];
            assert!(sent.starts_with(&message.body), "message {index} is not what was sent");
            assert!(!message.whole || (*ended && *sent == message.body), "message {index} grew");
        }
    }
}

/// Two wires under a script of two bytes a step: an action and its argument.
pub fn fuzz_pair(script: &[u8]) {
    let mut play = Play {
        pair: Pair {
            client: Peer::new(Role::Client, spec()),
            server: Peer::new(Role::Server, spec()),
        },
        requests: Sent::default(),
        replies: Sent::default(),
        cut: [false; 2],
    };
    for step in script.chunks_exact(2) {
        play.step(step[0], step[1]);
        play.check();
    }
}

struct Play {
    pair: Pair,
    requests: Sent,
    replies: Sent,
    /// No byte flows any more: to the server, to the client.
    cut: [bool; 2],
}

impl Play {
    fn check(&self) {
        self.requests.check(&self.pair.server.messages);
        // A server that failed wrote last words that nobody sent.
        if self.pair.server.failed.is_none() {
            self.replies.check(&self.pair.client.messages);
        }
    }

    fn step(&mut self, action: u8, arg: u8) {
        match action % 16 {
            0 => self.request(arg),
            1 => body(&mut self.pair.client, &mut self.requests, arg),
            2 => end(&mut self.pair.client, &mut self.requests),
            3 => self.reply(arg),
            4 => body(&mut self.pair.server, &mut self.replies, arg),
            5 => end(&mut self.pair.server, &mut self.replies),
            6 | 7 => self.deliver(usize::from(action & 1), usize::from(arg)),
            8 => self.pair.server.wire.release(STREAM),
            9 => self.pair.client.wire.release(STREAM),
            10 => self.pair.client.with(|w, cx| w.reset(STREAM, crate::Fault::Cancelled, cx)),
            11 => self.pair.server.with(|w, cx| w.reset(STREAM, crate::Fault::Cancelled, cx)),
            12 => self.end_of_stream(usize::from(arg & 1)),
            13 => {
                self.pair.client.sleep(Duration::from_secs(u64::from(arg) / 4));
                self.pair.server.sleep(Duration::from_secs(u64::from(arg) / 4));
            }
            14 => self.pair.server.with(|wire, cx| wire.drain(arg & 1 == 1, cx)),
            _ => self.pair.server.feed(b""),
        }
    }

    fn length(arg: u8) -> Length {
        match arg % 4 {
            0 => Length::Empty,
            1 => Length::Unknown,
            _ => Length::Exact(u64::from(arg / 4)),
        }
    }

    fn request(&mut self, arg: u8) {
        if self.pair.client.wire.open().is_none() {
            return;
        }
        let mut head = request("POST", "/");
        head.set_length(Play::length(arg));
        let end = matches!(head.length(), Length::Empty | Length::Exact(0));
        if self.pair.client.with(|wire, cx| wire.head(STREAM, &head, end, cx)).is_ok() {
            self.requests.begin(head.length(), end);
        }
    }

    fn reply(&mut self, arg: u8) {
        // One reply a request: a second head would be refused, and end the connection.
        if self.replies.bodies.len() >= self.pair.server.messages.len() {
            return;
        }
        let head = status(if arg & 64 == 0 { 200 } else { 500 }, Play::length(arg));
        let end = matches!(head.length(), Length::Empty | Length::Exact(0));
        if self.pair.server.with(|wire, cx| wire.head(STREAM, &head, end, cx)).is_ok() {
            self.replies.begin(head.length(), end);
        }
    }

    fn deliver(&mut self, to_client: usize, len: usize) {
        if self.cut[to_client] {
            return;
        }
        let (from, to) = self.ends(to_client);
        Pair::deliver(from, to, len);
    }

    fn end_of_stream(&mut self, to_client: usize) {
        if std::mem::replace(&mut self.cut[to_client], true) {
            return;
        }
        let (from, to) = self.ends(to_client);
        let clean = from.out.is_empty() && from.is_closing() && !from.wire.must_reset();
        to.eof(clean);
    }

    fn ends(&mut self, to_client: usize) -> (&mut Peer, &mut Peer) {
        if to_client == 1 {
            (&mut self.pair.server, &mut self.pair.client)
        } else {
            (&mut self.pair.client, &mut self.pair.server)
        }
    }
}

fn body(peer: &mut Peer, sent: &mut Sent, arg: u8) {
    let bytes = vec![arg; usize::from(arg & 63)];
    let end = arg & 128 != 0;
    if peer.push(&bytes, end).is_ok() {
        sent.add(&bytes, end);
    }
}

fn end(peer: &mut Peer, sent: &mut Sent) {
    if peer.with(|wire, cx| wire.end(STREAM, None, cx)).is_ok() {
        sent.add(b"", true);
    }
}
