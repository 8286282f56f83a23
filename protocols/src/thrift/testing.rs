//! Thrift wires under test: one wire with a log, two wires back to back, a hop between two.
//!
//! A [`Peer`] drives a wire as a pump does and checks the contract at every call. What the wire
//! said is kept as lines that begin with the call's key; adjacent payload of one call is joined, so
//! that logs of differently cut deliveries are equal exactly when the meaning is.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::vec_box,
    dead_code,
    reason = "a test harness: it is meant to panic"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Dialect, Encoding, Thrift};
use crate::head::Length;
use crate::pair::{epoch, line};
use crate::{
    Cx, Error, Event, Gone, Head, ReadSide, Role, Sides, StreamId, Wire, WireSpec, WriteSide,
};

/// A struct with one field, `1: "hi"`.
pub(super) const HI: &[u8] = b"\x0b\0\x01\0\0\0\x02hi\0";
/// The same in Compact.
pub(super) const HI_COMPACT: &[u8] = b"\x18\x02hi\0";

/// A message as received.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
    pub(super) is_whole: bool,
    pub(super) reset: Option<&'static str>,
}

/// One wire, its output and what it said.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) wire: Thrift,
    pub(super) out: Vec<u8>,
    pub(super) heads: Vec<Box<Head>>,
    pub(super) now: Instant,
    pub(super) failed: Option<Error>,
    /// Whole requests are answered with their own payload.
    pub(super) echoes: bool,
    /// By key: what came since its head.
    pub(super) messages: Vec<Option<Message>>,
    log: Vec<String>,
    payload: (u32, Vec<u8>),
    /// Input that the wire Held back.
    held: Vec<u8>,
}

impl Peer {
    pub(super) fn new(role: Role, dialect: Option<Dialect>, spec: WireSpec) -> Peer {
        let mut peer = Peer {
            wire: Thrift::new(role, dialect, &Arc::new(spec)),
            out: Vec::new(),
            heads: Vec::new(),
            now: epoch(),
            failed: None,
            echoes: false,
            messages: Vec::new(),
            log: Vec::new(),
            payload: (0, Vec::new()),
            held: Vec::new(),
        };
        peer.feed(b"");
        peer
    }

    pub(super) fn server(spec: WireSpec) -> Peer {
        Peer::new(Role::Server, None, spec)
    }

    /// A client with several calls at a time.
    pub(super) fn client(dialect: Dialect) -> Peer {
        let spec = WireSpec { thrift_link_calls_max: 4, ..WireSpec::default() };
        Peer::new(Role::Client, Some(dialect), spec)
    }

    /// Calls the wire with a context.
    pub(super) fn with<R>(&mut self, call: impl FnOnce(&mut Thrift, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx { now: self.now, out: &mut self.out, heads: &mut self.heads };
        call(&mut self.wire, &mut cx)
    }

    pub(super) fn head(&mut self, key: u32, head: &Head, end: bool) -> Result<(), Gone> {
        self.with(|wire, cx| wire.head(StreamId(key), head, end, cx))
    }

    /// Sends payload as far as the wire takes it; how much that was.
    pub(super) fn push(&mut self, key: u32, body: &[u8], end: bool) -> Result<usize, Gone> {
        let framing = self.with(|wire, cx| wire.data(StreamId(key), body.len(), end, cx))?;
        self.out.extend_from_slice(&body[..framing.take]);
        self.feed(b"");
        Ok(framing.take)
    }

    /// Sends a whole message.
    pub(super) fn send(&mut self, key: u32, head: &Head, body: &[u8]) -> Result<(), Gone> {
        self.head(key, head, false)?;
        assert_eq!(self.push(key, body, true)?, body.len());
        Ok(())
    }

    /// Opens a call and sends its request.
    pub(super) fn ask(&mut self, method: &str, path: &str) -> u32 {
        let encoding = self.wire.dialect().unwrap().encoding;
        let key = self.wire.open().expect("a call").0;
        self.send(key, &request(method, path, encoding), hi(encoding)).unwrap();
        key
    }

    /// Replies with `HI` and lets the call go.
    pub(super) fn reply(&mut self, key: u32) {
        let encoding = self.wire.dialect().unwrap().encoding;
        self.send(key, &status(200, encoding, hi(encoding).len()), hi(encoding)).unwrap();
        self.release(key);
    }

    pub(super) fn release(&mut self, key: u32) {
        self.wire.release(StreamId(key));
        self.feed(b"");
    }

    /// Delivers bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.wire.note_time(self.now);
        let has_input = !bytes.is_empty() || !self.held.is_empty();
        if !has_input && !self.wire.is_due() {
            let before = self.state();
            self.decode_all(bytes);
            return assert_eq!(self.state(), before, "nothing was due");
        }
        self.decode_all(bytes);
    }

    /// All that a decode can change.
    fn state(&self) -> (usize, usize, Sides, Option<Instant>) {
        (self.out.len(), self.log.len(), self.wire.sides(), self.wire.deadline())
    }

    fn decode_all(&mut self, bytes: &[u8]) {
        let mut input = std::mem::take(&mut self.held);
        input.extend_from_slice(bytes);
        let mut at = 0;
        while self.failed.is_none() {
            let rest = &input[at..];
            match self.with(|wire, cx| wire.decode(rest, cx)) {
                Ok(decoded) => {
                    assert!(decoded.used <= rest.len(), "W1: used beyond the input");
                    let hold = self.wire.sides().read == ReadSide::Hold;
                    let event = decoded.event.is_some();
                    assert!(event || hold || decoded.used == rest.len(), "W1: input left over");
                    if let Some(event) = decoded.event {
                        self.note(event, rest);
                    }
                    at += decoded.used;
                    if !event {
                        break;
                    }
                }
                Err(error) => self.fail(error),
            }
        }
        self.held = input.split_off(at.min(input.len()));
    }

    pub(super) fn eof(&mut self) {
        if let Err(error) = self.with(|wire, cx| wire.eof(true, cx)) {
            self.fail(error);
        }
        self.feed(b"");
    }

    pub(super) fn sleep(&mut self, time: Duration) {
        self.now += time;
        if let Err(error) = self.with(|wire, cx| wire.tick(cx)) {
            self.fail(error);
        }
        self.feed(b"");
    }

    pub(super) fn sides(&self) -> Sides {
        self.wire.sides()
    }

    pub(super) fn is_closing(&self) -> bool {
        self.sides().write == WriteSide::CloseAfterFlush
    }

    /// What was said since the last call.
    pub(super) fn said(&mut self) -> String {
        self.flush();
        std::mem::take(&mut self.log).join("\n")
    }

    /// What was written since the last call.
    pub(super) fn wrote(&mut self) -> String {
        std::mem::take(&mut self.out).escape_ascii().to_string()
    }

    fn fail(&mut self, error: Error) {
        self.failed = Some(error);
        self.with(|wire, cx| wire.fail(error, None, cx));
        // How much of a message was said before it turned out broken depends on the cuts.
        self.payload.1.clear();
        self.log.push(format!("fault {error}"));
        assert!(self.is_closing());
    }

    fn flush(&mut self) {
        if !self.payload.1.is_empty() {
            let (key, payload) = std::mem::take(&mut self.payload);
            self.log.push(format!("{key} data {}", payload.escape_ascii()));
        }
    }

    fn message(&mut self, stream: StreamId) -> &mut Message {
        let message = self.messages[stream.0 as usize].as_mut().expect("a head came before");
        assert!(!message.is_whole && message.reset.is_none(), "something behind an end");
        message
    }

    fn note(&mut self, event: Event, input: &[u8]) {
        match event {
            Event::Head { stream, head, end } => {
                self.flush();
                self.log.push(format!("{} {}", stream.0, line(&head)));
                let index = stream.0 as usize;
                self.messages.resize_with(self.messages.len().max(index + 1), || None);
                let mut copy = Head::new();
                copy.copy_from(&head);
                let message = Message { head: copy, ..Message::default() };
                self.messages[index] = Some(message);
                self.heads.push(head);
                self.end(stream, end);
            }
            Event::Data { stream, at, charge, end } => {
                assert_eq!(charge as usize, at.len());
                self.body(stream, &input[at], end);
            }
            Event::Copied { stream, bytes, charge, end } => {
                assert_eq!(charge as usize, bytes.len());
                self.body(stream, &bytes, end);
            }
            Event::Reset { stream, fault, unprocessed } => {
                self.flush();
                let word = if unprocessed { " unprocessed" } else { "" };
                self.log.push(format!("{} reset {}{word}", stream.0, fault.reason()));
                if let Some(Some(message)) = self.messages.get_mut(stream.0 as usize) {
                    message.reset = Some(fault.reason());
                }
            }
            Event::Writable { stream: None } => {}
            Event::Closing => self.log.push("closing".into()),
            other => panic!("Thrift has no {other:?}"),
        }
    }

    fn body(&mut self, stream: StreamId, bytes: &[u8], end: bool) {
        self.message(stream).body.extend_from_slice(bytes);
        if self.payload.0 != stream.0 {
            self.flush();
            self.payload.0 = stream.0;
        }
        self.payload.1.extend_from_slice(bytes);
        self.end(stream, end);
    }

    fn end(&mut self, stream: StreamId, end: bool) {
        if !end {
            return;
        }
        self.message(stream).is_whole = true;
        self.flush();
        self.log.push(format!("{} end", stream.0));
        if self.echoes {
            self.echo(stream.0);
        }
    }

    fn echo(&mut self, key: u32) {
        let message = self.messages[key as usize].take().unwrap();
        let encoding = self.wire.dialect().unwrap().encoding;
        let head = status(200, encoding, message.body.len());
        let sent = if message.head.method() == b"ONEWAY" {
            self.head(key, &head, true)
        } else if self.head(key, &head, false).is_err() {
            Err(Gone)
        } else {
            let framing =
                self.with(|wire, cx| wire.data(StreamId(key), message.body.len(), true, cx));
            self.out.extend_from_slice(&message.body[..framing.unwrap().take]);
            Ok(())
        };
        assert_eq!(sent, Ok(()));
        self.wire.release(StreamId(key));
    }
}

/// A framed message.
pub(super) fn framed(kind: u8, name: &str, seqid: i32, payload: &[u8]) -> Vec<u8> {
    let message = message(kind, name, seqid, payload);
    [&(message.len() as u32).to_be_bytes()[..], &message].concat()
}

/// An unframed one.
pub(super) fn message(kind: u8, name: &str, seqid: i32, payload: &[u8]) -> Vec<u8> {
    let len = (name.len() as u32).to_be_bytes();
    [&[0x80, 1, 0, kind], &len[..], name.as_bytes(), &seqid.to_be_bytes(), payload].concat()
}

/// A message behind a TTHeader without keys.
pub(super) fn ttheader(kind: u8, name: &str, seqid: i32, payload: &[u8]) -> Vec<u8> {
    let inner = framed(kind, name, seqid, payload);
    let length = (14 + inner.len() as u32).to_be_bytes();
    let fixed = [&[0x10, 0, 0, 0], &seqid.to_be_bytes()[..], &[0, 1, 0, 0, 0, 0]].concat();
    [&length[..], &fixed, &inner].concat()
}

/// A struct with one field, a text, in Binary.
pub(super) fn text(text: &str) -> Vec<u8> {
    [&[11, 0, 1], &(text.len() as u32).to_be_bytes()[..], text.as_bytes(), &[0]].concat()
}

pub(super) fn hi(encoding: Encoding) -> &'static [u8] {
    if encoding == Encoding::Compact { HI_COMPACT } else { HI }
}

/// A request's head for `HI`.
pub(super) fn request(method: &str, path: &str, encoding: Encoding) -> Head {
    let mut head = Head::new();
    head.set_request(method.as_bytes(), path.as_bytes());
    head.push(b"content-type", encoding.content_type());
    head.set_length(Length::Exact(hi(encoding).len() as u64));
    head
}

/// A reply's head.
pub(super) fn status(status: u16, encoding: Encoding, len: usize) -> Head {
    let mut head = Head::new();
    head.set_status(status, b"");
    head.push(b"content-type", encoding.content_type());
    head.set_length(Length::Exact(len as u64));
    head
}

/// A local reply's head.
pub(super) fn local(status: u16, reason: &str) -> Head {
    let mut head = Head::new();
    head.set_status(status, reason.as_bytes());
    head
}

/// Carries at most `len` bytes one way.
pub(super) fn deliver(from: &mut Peer, to: &mut Peer, len: usize) {
    let bytes: Vec<u8> = from.out.drain(..len.min(from.out.len())).collect();
    to.feed(&bytes);
}

/// Carries bytes both ways, at most `step` at a time, until nothing flows.
pub(super) fn carry(client: &mut Peer, server: &mut Peer, step: usize) {
    while !(client.out.is_empty() && server.out.is_empty()) {
        deliver(client, server, step);
        deliver(server, client, step);
    }
}

/// A gateway: what its server hears its client asks, and back.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) down: Peer,
    pub(super) up: Peer,
    /// The downstream's call of each upstream call.
    calls: Vec<u32>,
    /// Replies whose turn has not come.
    waiting: Vec<(u32, Message)>,
}

impl Hop {
    pub(super) fn new(upstream: Dialect, spec: &WireSpec) -> Hop {
        let down = Peer::server(spec.clone());
        let up = Peer::new(Role::Client, Some(upstream), spec.clone());
        Hop { down, up, calls: vec![0; 8], waiting: Vec::new() }
    }

    /// Passes on what is whole, as an exchange does that collects messages.
    pub(super) fn relay(&mut self) {
        for (key, message) in whole(&mut self.down) {
            let upstream = self.up.wire.open().expect("a call").0;
            self.calls[upstream as usize] = key;
            let mut head = message.head;
            head.set_length(Length::Exact(message.body.len() as u64));
            self.up.send(upstream, &head, &message.body).unwrap();
        }
        for (upstream, message) in whole(&mut self.up) {
            self.waiting.push((self.calls[upstream as usize], message));
            self.up.release(upstream);
        }
        while let Some(index) = self.next_waiting() {
            let (key, Message { mut head, body, .. }) = self.waiting.remove(index);
            if body.is_empty() {
                self.down.head(key, &head, true).unwrap();
            } else {
                head.set_length(Length::Exact(body.len() as u64));
                self.down.send(key, &head, &body).unwrap();
            }
            self.down.release(key);
        }
    }

    fn next_waiting(&self) -> Option<usize> {
        let has_turn = |(key, _): &(u32, Message)| self.down.wire.ready(StreamId(*key));
        self.waiting.iter().position(has_turn)
    }
}

pub(super) fn whole(peer: &mut Peer) -> Vec<(u32, Message)> {
    let mut found = Vec::new();
    for (key, place) in peer.messages.iter_mut().enumerate() {
        if let Some(message) = place.take_if(|message| message.is_whole) {
            found.push((key as u32, message));
        }
    }
    found
}
