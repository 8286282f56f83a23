//! HTTP/2 wires under test: one wire with a log and its frames as text, two back to back.
//!
//! A [`Peer`] drives a wire as a pump does and checks the contract at every call. What the wire
//! said is kept as lines that begin with the stream's key; adjacent payload of one stream is
//! joined, so that logs of differently cut deliveries are equal exactly when the meaning is. What
//! it wrote is read back as lines by a decoder of the peer's own. Frames to feed are built by
//! [`frame()`] and [`block`], which share nothing with the wire's encoder.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::vec_box,
    dead_code,
    reason = "a test harness: it is meant to panic"
)]

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::H2;
use super::frame::{self, FrameHead, HEAD_LEN, Kind};
use crate::hpack::Decoder;
use crate::pair::{epoch, line};
use crate::{
    Cx, Error, Event, Gone, Head, ReadSide, Role, Sides, StreamId, Wire, WireSpec, WriteSide,
};

/// A request's fields.
pub(super) const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")];
pub(super) const POST: &[(&str, &str)] =
    &[(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "h")];

/// A message as received.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) heads: Vec<String>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Option<String>,
    pub(super) whole: bool,
    pub(super) reset: Option<&'static str>,
    /// Charges of payload that were not given back.
    pub(super) charge: u32,
}

/// One wire, its output and what it said.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) wire: H2,
    pub(super) out: Vec<u8>,
    pub(super) heads: Vec<Box<Head>>,
    pub(super) now: Instant,
    pub(super) failed: Option<Error>,
    /// Credit is given back as payload comes.
    pub(super) generous: bool,
    /// Whole requests are answered with `200` and `ok`, and streams that are over released.
    pub(super) answers: bool,
    /// By key: what came since its head.
    pub(super) messages: Vec<Message>,
    log: Vec<String>,
    payload: (u32, Vec<u8>),
    decoder: Decoder,
    partial: Vec<u8>,
}

impl Peer {
    pub(super) fn new(role: Role, spec: WireSpec) -> Peer {
        let mut peer = Peer {
            wire: H2::new(role, &Arc::new(spec)),
            out: Vec::new(),
            heads: Vec::new(),
            now: epoch(),
            failed: None,
            generous: false,
            answers: false,
            messages: Vec::new(),
            log: Vec::new(),
            payload: (0, Vec::new()),
            decoder: Decoder::new(4096),
            partial: Vec::new(),
        };
        peer.feed(b"");
        peer
    }

    /// A server whose client said hello, and whose own hello was acknowledged and discarded.
    pub(super) fn server(spec: WireSpec) -> Peer {
        let mut peer = Peer::new(Role::Server, spec);
        peer.feed(&[frame::PREFACE.as_slice(), &settings(&[]), &frame(4, 1, 0, b"")].concat());
        peer.wrote();
        peer
    }

    /// A client, likewise.
    pub(super) fn client(spec: WireSpec) -> Peer {
        let mut peer = Peer::new(Role::Client, spec);
        peer.feed(&[settings(&[]), frame(4, 1, 0, b"")].concat());
        peer.wrote();
        peer
    }

    /// A client that sent `method /` on stream 1, key 0, the request discarded.
    pub(super) fn asked(method: &str) -> Peer {
        let mut peer = Peer::client(WireSpec::default());
        peer.ask(&crate::pair::request(method, "/"), true);
        peer.wrote();
        peer
    }

    /// Calls the wire with a context.
    pub(super) fn with<R>(&mut self, call: impl FnOnce(&mut H2, &mut Cx<'_>) -> R) -> R {
        let mut cx = Cx { now: self.now, out: &mut self.out, heads: &mut self.heads };
        call(&mut self.wire, &mut cx)
    }

    /// Opens a stream and sends a request's head.
    pub(super) fn ask(&mut self, head: &Head, end: bool) -> StreamId {
        let key = self.wire.open().expect("a stream");
        self.with(|wire, cx| wire.head(key, head, end, cx)).unwrap();
        key
    }

    pub(super) fn head(&mut self, key: u32, head: &Head, end: bool) -> Result<(), Gone> {
        self.with(|wire, cx| wire.head(StreamId(key), head, end, cx))
    }

    /// Sends payload as far as the wire takes it; how much that was.
    pub(super) fn push(&mut self, key: u32, body: &[u8], end: bool) -> Result<usize, Gone> {
        let (mut sent, mut first) = (0, true);
        while first || sent < body.len() {
            let rest = &body[sent..];
            let framing = self.with(|wire, cx| wire.data(StreamId(key), rest.len(), end, cx))?;
            self.out.extend_from_slice(&rest[..framing.take]);
            self.out.extend_from_slice(framing.suffix);
            sent += framing.take;
            if framing.take == 0 {
                break;
            }
            first = false;
        }
        Ok(sent)
    }

    pub(super) fn end(&mut self, key: u32, trailers: Option<&Head>) -> Result<(), Gone> {
        self.with(|wire, cx| wire.end(StreamId(key), trailers, cx))
    }

    pub(super) fn release(&mut self, key: u32) {
        self.wire.release(StreamId(key));
        self.feed(b"");
    }

    /// Delivers bytes.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        let mut at = 0;
        while self.failed.is_none() {
            let rest = &bytes[at..];
            match self.with(|wire, cx| wire.decode(rest, cx)) {
                Ok(decoded) => {
                    assert!(decoded.used <= rest.len(), "W1: used beyond the input");
                    let event = decoded.event.is_some();
                    assert!(event || decoded.used == rest.len(), "W1: input left over");
                    assert_ne!(self.wire.sides().read, ReadSide::Hold, "a mux never holds");
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
    }

    /// Delivers bytes in pieces of at most `step`.
    pub(super) fn feed_by(&mut self, bytes: &[u8], step: usize) {
        bytes.chunks(step.max(1)).for_each(|piece| self.feed(piece));
    }

    /// The transport ended.
    pub(super) fn eof(&mut self) {
        if let Err(error) = self.with(|wire, cx| wire.eof(true, cx)) {
            self.fail(error);
        }
        self.feed(b"");
    }

    /// Time passes.
    pub(super) fn sleep(&mut self, time: Duration) {
        self.now += time;
        if let Err(error) = self.with(|wire, cx| wire.tick(cx)) {
            self.fail(error);
        }
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

    /// The frames that were written since the last call, a line each.
    pub(super) fn wrote(&mut self) -> String {
        let bytes = std::mem::take(&mut self.out);
        self.read_frames(&bytes)
    }

    /// Frames as lines; what is left of one is kept for the next call.
    pub(super) fn read_frames(&mut self, bytes: &[u8]) -> String {
        self.partial.extend_from_slice(bytes);
        let mut bytes = std::mem::take(&mut self.partial);
        if bytes.starts_with(frame::PREFACE) {
            bytes.drain(..frame::PREFACE.len());
        }
        let (mut at, mut lines) = (0, Vec::new());
        while let Some(head) = bytes[at..].get(..HEAD_LEN) {
            let head = FrameHead::read(head.try_into().unwrap());
            let start = at + HEAD_LEN;
            let Some(payload) = bytes.get(start..start + head.len as usize) else { break };
            lines.push(frame_line(head, payload, &mut self.decoder));
            at = start + head.len as usize;
        }
        self.partial = bytes.split_off(at);
        lines.join("\n")
    }

    fn fail(&mut self, error: Error) {
        self.failed = Some(error);
        self.with(|wire, cx| wire.fail(error, None, cx));
        self.flush();
        self.log.push(format!("fault {error}"));
    }

    fn flush(&mut self) {
        if !self.payload.1.is_empty() {
            let payload = std::mem::take(&mut self.payload.1);
            self.log.push(format!("{} data {}", self.payload.0, payload.escape_ascii()));
        }
    }

    fn say(&mut self, text: String) {
        self.flush();
        self.log.push(text);
    }

    fn message(&mut self, key: StreamId) -> &mut Message {
        let index = key.0 as usize;
        if self.messages.len() <= index {
            self.messages.resize_with(index + 1, Message::default);
        }
        &mut self.messages[index]
    }

    fn note(&mut self, event: Event, input: &[u8]) {
        let over = match &event {
            Event::Head { stream, end: true, .. }
            | Event::Data { stream, end: true, .. }
            | Event::Trailers { stream, .. } => Some((*stream, true)),
            Event::Reset { stream, .. } => Some((*stream, false)),
            _ => None,
        };
        self.note_event(event, input);
        if let (Some((stream, whole)), true) = (over, self.answers) {
            if whole && self.wire.is_server() {
                let head = crate::pair::status(200, crate::Length::Exact(2));
                let sent = self.head(stream.0, &head, false);
                let _gone = sent.and_then(|()| self.push(stream.0, b"ok", true).map(drop));
            }
            self.wire.release(stream);
        }
    }

    fn note_event(&mut self, event: Event, input: &[u8]) {
        match event {
            Event::Head { stream, head, end } => self.note_head(stream, head, end),
            Event::Data { stream, at, charge, end } => {
                if self.payload.0 != stream.0 {
                    self.flush();
                }
                self.payload.0 = stream.0;
                let message = self.message(stream);
                assert!(!message.whole && message.reset.is_none(), "payload after the end");
                message.body.extend_from_slice(&input[at.clone()]);
                message.whole |= end;
                message.charge += charge;
                assert!(charge as usize >= at.len() && (end || !at.is_empty()));
                self.payload.1.extend_from_slice(&input[at]);
                if end {
                    self.say(format!("{} end", stream.0));
                }
                if self.generous {
                    self.credit(stream.0);
                }
            }
            Event::Copied { .. } => panic!("HTTP/2 copies nothing"),
            Event::Trailers { stream, head } => {
                let text = line(&head);
                self.say(format!("{} {text}", stream.0));
                let message = self.message(stream);
                assert!(!message.whole && message.reset.is_none(), "trailers after the end");
                message.whole = true;
                message.trailers = Some(text);
                self.heads.push(head);
            }
            Event::Reset { stream, fault, unprocessed } => {
                let mark = if unprocessed { " unprocessed" } else { "" };
                self.say(format!("{} reset {}{mark}", stream.0, fault.reason()));
                self.message(stream).reset = Some(fault.reason());
            }
            Event::Refused { fault, is_call } => {
                let mark = if is_call { " call" } else { "" };
                self.say(format!("- refused {}{mark}", fault.reason()));
            }
            Event::Writable { stream: Some(stream) } => self.say(format!("{} writable", stream.0)),
            Event::Writable { stream: None } => self.say("writable".into()),
            Event::Closing => self.say("closing".into()),
        }
    }

    fn note_head(&mut self, stream: StreamId, head: Box<Head>, end: bool) {
        let text = line(&head);
        let mark = if end { " end" } else { "" };
        self.say(format!("{} {text}{mark}", stream.0));
        let server = head.is_request();
        let message = self.message(stream);
        if server {
            *message = Message::default();
        }
        message.heads.push(text);
        message.whole = end;
        self.heads.push(head);
    }

    /// Gives back all credit of a stream.
    pub(super) fn credit(&mut self, key: u32) {
        let charge = std::mem::take(&mut self.message(StreamId(key)).charge);
        self.with(|wire, cx| wire.credit(StreamId(key), charge, cx));
    }
}

fn frame_line(head: FrameHead, payload: &[u8], decoder: &mut Decoder) -> String {
    let end = if head.has(frame::END_STREAM) { " end" } else { "" };
    let number = |at: usize| {
        payload.get(at..at + 4).map_or(0, |four| u32::from_be_bytes(four.try_into().unwrap()))
    };
    let id = head.stream;
    match head.kind {
        Kind::Data => format!("DATA {id} {}{end}", payload.escape_ascii()),
        Kind::Headers => {
            assert!(head.has(frame::END_HEADERS), "short blocks only");
            let mut text = format!("HEADERS {id}{end}");
            let field = |field: crate::hpack::Field<'_>| {
                let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
                let secret = if field.sensitive { "!" } else { "" };
                write!(text, " {name}={value}{secret}").is_ok()
            };
            decoder.decode(payload, field).expect("what the wire wrote");
            text
        }
        Kind::RstStream => format!("RST_STREAM {id} {}", number(0)),
        Kind::Settings if head.has(frame::ACK) => "SETTINGS ack".into(),
        Kind::Settings => {
            let values = payload.chunks(6).map(|six| {
                let id = u16::from_be_bytes([six[0], six[1]]);
                format!(" {id}={}", u32::from_be_bytes([six[2], six[3], six[4], six[5]]))
            });
            format!("SETTINGS{}", values.collect::<String>())
        }
        Kind::Ping => {
            let ack = if head.has(frame::ACK) { " ack" } else { "" };
            format!("PING{ack} {}", payload.escape_ascii())
        }
        Kind::GoAway => {
            format!("GOAWAY {} {} {}", number(0), number(4), payload[8..].escape_ascii())
                .trim_end()
                .into()
        }
        Kind::WindowUpdate => format!("WINDOW_UPDATE {id} {}", number(0)),
        other => panic!("a {other:?} frame is never written"),
    }
}

/// A frame of any type.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = (payload.len() as u32).to_be_bytes();
    let [e, f, g, h] = stream.to_be_bytes();
    [&[a, b, c, kind, flags, e, f, g, h], payload].concat()
}

pub(super) fn data(stream: u32, payload: &[u8], end: bool) -> Vec<u8> {
    frame(0, u8::from(end), stream, payload)
}

/// DATA with padding.
pub(super) fn padded(stream: u32, payload: &[u8], pad: u8, end: bool) -> Vec<u8> {
    let payload = [&[pad], payload, &vec![0; usize::from(pad)]].concat();
    frame(0, 8 | u8::from(end), stream, &payload)
}

pub(super) fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    frame(1, 4 | u8::from(end), stream, &block(fields))
}

/// A field block of literals that are not indexed (RFC 7541 §6.2.2).
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        string(name.as_bytes(), &mut block);
        string(value.as_bytes(), &mut block);
    }
    block
}

/// A string that is not compressed (RFC 7541 §5.1, §5.2).
pub(super) fn string(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text.len();
    if rest < 127 {
        out.push(rest as u8);
    } else {
        out.push(127);
        rest -= 127;
        while rest >= 128 {
            out.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text);
}

pub(super) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(4, 0, 0, &payload)
}

pub(super) fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(3, 0, stream, &code.to_be_bytes())
}

pub(super) fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(8, 0, stream, &increment.to_be_bytes())
}

pub(super) fn ping(opaque: &[u8; 8], ack: bool) -> Vec<u8> {
    frame(6, u8::from(ack), 0, opaque)
}

pub(super) fn go_away(last: u32, code: u32) -> Vec<u8> {
    frame(7, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}

/// `fields` with one more.
pub(super) fn with<'a>(
    fields: &[(&'a str, &'a str)],
    more: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    [fields, more].concat()
}

/// What a server that has said hello says to this input and what it writes, whatever the cuts.
pub(super) fn server_says(input: &[u8]) -> (String, String) {
    crate::pair::every_cut(input, |pieces| {
        let mut peer = Peer::server(WireSpec::default());
        pieces.iter().for_each(|piece| peer.feed(piece));
        (peer.said(), peer.wrote())
    })
}

/// What a client that asked `method /` says to this input and writes, whatever the cuts.
pub(super) fn client_says(method: &str, input: &[u8]) -> (String, String) {
    crate::pair::every_cut(input, |pieces| {
        let mut peer = Peer::asked(method);
        pieces.iter().for_each(|piece| peer.feed(piece));
        (peer.said(), peer.wrote())
    })
}

/// Carries bytes both ways, at most `step` at a time, until nothing flows.
pub(super) fn carry(client: &mut Peer, server: &mut Peer, step: usize) {
    while !(client.out.is_empty() && server.out.is_empty()) {
        deliver(client, server, step);
        deliver(server, client, step);
    }
}

/// Carries at most `len` bytes one way.
pub(super) fn deliver(from: &mut Peer, to: &mut Peer, len: usize) {
    let bytes: Vec<u8> = from.out.drain(..len.min(from.out.len())).collect();
    to.feed(&bytes);
}
