//! Wires under test: one wire with a log, two wires back to back, a virtual clock, any cuts.
//!
//! A [`Peer`] drives one wire as the gateway's pump does and checks the contract of `wire.rs` at
//! every call (W1, W2). What the wire said is kept as text lines in which adjacent payload is
//! joined, so logs of differently cut deliveries are equal exactly when the meaning is. For tests
//! and fuzzing only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::vec_box,
    dead_code,
    reason = "a test harness: it is meant to panic, and its clock needs a first instant"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{
    AnyWire, Cx, Error, Event, Head, Length, ReadSide, Role, Sides, StreamId, Version, Wire,
    WireSpec, WriteSide,
};

/// The one stream of an HTTP/1 wire.
pub(crate) const STREAM: StreamId = StreamId(0);

/// A message as received.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<Head>,
    pub(crate) whole: bool,
}

impl Message {
    /// What the message means to the next hop, as text: hop-by-hop fields, version and the way
    /// its length is told left out.
    pub(crate) fn meaning(&self) -> String {
        let mut head = Head::new();
        head.copy_from(&self.head);
        head.remove_hop_by_hop();
        if head.status() > 0 {
            head.set_status(head.status(), b"");
        }
        let no_length = matches!(head.length(), Length::Empty | Length::Exact(0))
            || (head.status() == 304 && head.length() == Length::Unknown);
        head.set_length(if no_length { Length::Empty } else { head.length() });
        head.set_version(Version::Http11);
        let trailers = self.trailers.as_ref().map(line);
        format!("{} [{}] {trailers:?} {}", line(&head), self.body.escape_ascii(), self.whole)
    }
}

/// One wire, its output and what it said.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) wire: AnyWire,
    pub(crate) out: Vec<u8>,
    pub(crate) heads: Vec<Box<Head>>,
    pub(crate) now: Instant,
    pub(crate) messages: Vec<Message>,
    pub(crate) failed: Option<Error>,
    log: Vec<String>,
    payload: Vec<u8>,
    /// Input that the wire Held back.
    held: Vec<u8>,
    /// What a server peer answers a complete request with.
    answer: Option<fn(&mut Peer)>,
}

/// The first instant of every virtual clock.
pub(crate) fn epoch() -> Instant {
    static EPOCH: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *EPOCH.get_or_init(Instant::now)
}

impl Peer {
    pub(crate) fn new(role: Role, spec: WireSpec) -> Peer {
        Peer::of(AnyWire::h1(role, &Arc::new(spec)))
    }

    /// A connection without framing.
    pub(crate) fn raw(role: Role) -> Peer {
        Peer::of(AnyWire::raw(role))
    }

    fn of(wire: AnyWire) -> Peer {
        let mut peer = Peer {
            wire,
            out: Vec::new(),
            heads: Vec::new(),
            now: epoch(),
            messages: Vec::new(),
            failed: None,
            log: Vec::new(),
            payload: Vec::new(),
            held: Vec::new(),
            answer: None,
        };
        peer.feed(b"");
        peer
    }

    /// A server that answers every complete request with `answer`.
    pub(crate) fn server(spec: WireSpec, answer: fn(&mut Peer)) -> Peer {
        Peer { answer: Some(answer), ..Peer::new(Role::Server, spec) }
    }

    /// A client that has sent `method /`, the request discarded.
    pub(crate) fn asked(method: &str, spec: WireSpec) -> Peer {
        let mut peer = Peer::new(Role::Client, spec);
        peer.ask(&request(method, "/"));
        peer.out.clear();
        peer
    }

    /// Calls the wire with a context.
    pub(crate) fn with<R>(&mut self, call: impl FnOnce(&mut AnyWire, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx { now: self.now, out: &mut self.out, heads: &mut self.heads };
        call(&mut self.wire, &mut cx)
    }

    /// Opens a stream and sends a request without body.
    pub(crate) fn ask(&mut self, head: &Head) {
        assert_eq!(self.wire.open(), Some(STREAM));
        self.with(|wire, cx| wire.head(STREAM, head, true, cx)).unwrap();
    }

    /// Sends a reply with this body and lets the exchange go.
    pub(crate) fn reply(&mut self, head: &Head, body: &[u8]) {
        if self.send(head, body).is_ok() {
            self.wire.release(STREAM);
        }
    }

    /// Sends a whole message.
    pub(crate) fn send(&mut self, head: &Head, body: &[u8]) -> Result<(), crate::Gone> {
        self.with(|wire, cx| wire.head(STREAM, head, body.is_empty(), cx))?;
        if !body.is_empty() {
            self.push(body, true)?;
        }
        Ok(())
    }

    /// Sends payload.
    pub(crate) fn push(&mut self, body: &[u8], end: bool) -> Result<(), crate::Gone> {
        let framing = self.with(|wire, cx| wire.data(STREAM, body.len(), end, cx))?;
        self.out.extend_from_slice(&body[..framing.take]);
        self.out.extend_from_slice(framing.suffix);
        Ok(())
    }

    /// Delivers bytes.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let mut input = std::mem::take(&mut self.held);
        input.extend_from_slice(bytes);
        let mut at = 0;
        while self.failed.is_none() {
            let rest = &input[at..];
            match self.with(|wire, cx| wire.decode(rest, cx)) {
                Ok(decoded) => {
                    assert!(decoded.used <= rest.len(), "W1: used beyond the input");
                    let event = decoded.event.is_some();
                    let hold = self.wire.sides().read == ReadSide::Hold;
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
        self.held = input.split_off(at);
    }

    /// Delivers bytes in pieces of at most `step`.
    pub(crate) fn feed_by(&mut self, bytes: &[u8], step: usize) {
        bytes.chunks(step.max(1)).for_each(|piece| self.feed(piece));
    }

    /// The transport ended.
    pub(crate) fn eof(&mut self, clean: bool) {
        if let Err(error) = self.with(|wire, cx| wire.eof(clean, cx)) {
            self.fail(error);
        }
        self.feed(b"");
    }

    /// Time passes.
    pub(crate) fn sleep(&mut self, time: Duration) {
        self.now += time;
        if let Err(error) = self.with(|wire, cx| wire.tick(cx)) {
            self.fail(error);
        }
    }

    pub(crate) fn sides(&self) -> Sides {
        self.wire.sides()
    }

    /// The connection ends once flushed.
    pub(crate) fn is_closing(&self) -> bool {
        self.sides().write == WriteSide::CloseAfterFlush
    }

    /// What was said, and what was written, since the last call.
    pub(crate) fn said(&mut self) -> String {
        self.flush();
        std::mem::take(&mut self.log).join("\n")
    }

    /// What was written since the last call.
    pub(crate) fn wrote(&mut self) -> String {
        std::mem::take(&mut self.out).escape_ascii().to_string().replace("\\r\\n", "\n")
    }

    fn fail(&mut self, error: Error) {
        self.failed = Some(error);
        self.with(|wire, cx| wire.fail(error, None, cx));
        self.flush();
        self.log.push(format!("fault {error}"));
    }

    fn flush(&mut self) {
        if !self.payload.is_empty() {
            let payload = std::mem::take(&mut self.payload);
            self.log.push(format!("data {}", payload.escape_ascii()));
        }
    }

    fn note(&mut self, event: Event, input: &[u8]) {
        let end = match event {
            Event::Head { stream, head, end } => {
                assert_eq!(stream, STREAM);
                self.flush();
                self.log.push(line(&head));
                let interim = !head.is_request() && head.status() < 200 && head.status() != 101;
                if !interim {
                    let mut copy = Head::new();
                    copy.copy_from(&head);
                    let message =
                        Message { head: copy, body: Vec::new(), trailers: None, whole: end };
                    self.messages.push(message);
                }
                self.heads.push(head);
                end
            }
            Event::Data { stream, at, charge, end } => {
                assert_eq!((stream, charge as usize), (STREAM, at.len()));
                self.payload.extend_from_slice(&input[at.clone()]);
                let message = self.messages.last_mut().unwrap();
                message.body.extend_from_slice(&input[at]);
                message.whole |= end;
                end
            }
            Event::Trailers { stream, head } => {
                assert_eq!(stream, STREAM);
                self.flush();
                self.log.push(line(&head));
                let message = self.messages.last_mut().unwrap();
                message.whole = true;
                message.trailers = Some(*head);
                true
            }
            Event::Reset { stream, fault, unprocessed } => {
                assert_eq!((stream, unprocessed), (STREAM, false));
                self.flush();
                self.log.push(format!("reset {}", fault.reason()));
                false
            }
            other => panic!("HTTP/1 has no {other:?}"),
        };
        if end {
            self.flush();
            self.log.push("end".into());
            if let Some(answer) = self.answer {
                answer(self);
            }
        }
    }
}

/// A client and a server back to back, over two byte pipes.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: Peer,
    pub(crate) server: Peer,
}

impl Pair {
    /// Carries bytes both ways, at most `step` at a time, until both pipes are empty; then the
    /// end of whichever side closed.
    pub(crate) fn carry(&mut self, step: usize) {
        while !(self.client.out.is_empty() && self.server.out.is_empty()) {
            Pair::deliver(&mut self.client, &mut self.server, step);
            Pair::deliver(&mut self.server, &mut self.client, step);
        }
        Pair::end(&self.client, &mut self.server);
        Pair::end(&self.server, &mut self.client);
    }

    fn end(from: &Peer, to: &mut Peer) {
        if from.sides().write != WriteSide::Open && to.sides().read == ReadSide::Open {
            to.eof(!from.wire.must_reset());
        }
    }

    /// Carries at most `len` bytes one way.
    pub(crate) fn deliver(from: &mut Peer, to: &mut Peer, len: usize) {
        let bytes: Vec<u8> = from.out.drain(..len.min(from.out.len())).collect();
        to.feed(&bytes);
    }
}

/// A head as one line of text.
pub(crate) fn line(head: &Head) -> String {
    let mut text = if head.is_request() {
        let (method, target) = (head.method().escape_ascii(), head.target().escape_ascii());
        format!("{method} {target} @{}", head.authority().escape_ascii())
    } else if head.status() > 0 {
        format!("{} {}", head.status(), head.reason().escape_ascii())
    } else {
        "trailers".into()
    };
    text += match head.version() {
        Version::Http10 => " 1.0",
        _ => "",
    };
    match head.length() {
        Length::Empty => {}
        length => text += &format!(" {length:?}"),
    }
    for (name, value) in head.fields() {
        text += &format!(" | {}: {}", name.escape_ascii(), value.escape_ascii());
    }
    text
}

/// A request's head to send to `h`.
pub(crate) fn request(method: &str, target: &str) -> Head {
    let mut head = Head::new();
    head.set_request(method.as_bytes(), target.as_bytes());
    head.set_authority(b"h");
    head
}

/// A reply's head.
pub(crate) fn status(status: u16, length: Length) -> Head {
    let mut head = Head::new();
    head.set_status(status, b"");
    head.set_length(length);
    head
}

/// Answers `200` with `ok`.
pub(crate) fn answer_ok(peer: &mut Peer) {
    peer.reply(&status(200, Length::Exact(2)), b"ok");
}

/// Runs `run` on deliveries of `input` whole, cut in two at every position, and in equal pieces;
/// all must give the same result, which is returned.
pub(crate) fn every_cut<R: PartialEq + core::fmt::Debug>(
    input: &[u8],
    run: impl Fn(&[&[u8]]) -> R,
) -> R {
    let whole = run(&[input]);
    for at in 0..=input.len() {
        let (left, right) = input.split_at(at);
        assert_eq!(run(&[left, right]), whole, "cut at {at} of {}", input.escape_ascii());
    }
    for step in [1, 2, 3, 7] {
        let pieces: Vec<_> = input.chunks(step).collect();
        assert_eq!(run(&pieces), whole, "pieces of {step} of {}", input.escape_ascii());
    }
    whole
}

/// What a server that answers `ok` says to this input, whatever the cuts.
pub(crate) fn server_says(input: &[u8], spec: &WireSpec) -> String {
    every_cut(input, |pieces| {
        let mut peer = Peer::server(spec.clone(), answer_ok);
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.said()
    })
}

/// What a client that asked `method /` says to this input and then the end, whatever the cuts.
pub(crate) fn client_says(method: &str, input: &[u8], spec: &WireSpec) -> String {
    every_cut(input, |pieces| {
        let mut peer = Peer::asked(method, spec.clone());
        pieces.iter().for_each(|piece| peer.feed(piece));
        peer.eof(true);
        peer.said()
    })
}
