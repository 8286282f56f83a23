//! HTTP/2 in both roles, many exchanges at a time (RFC 9113).
//!
//! One [`H2`] is one connection. `read.rs` cuts bytes into frames, `control.rs` and `payload.rs`
//! act on them, `message.rs` turns field blocks into heads (over `fields.rs` and HPACK), `write.rs`
//! holds the verbs that an exchange calls (over `encode.rs`), `time.rs` the deadlines; `stream`,
//! `flow`, `settings` and `flood` keep the state that the RFC describes. This file joins them.
//!
//! M1 Decoding never waits for an exchange: payload is bounded by the windows we advertised, and
//!    what has arrived is given back to the connection's window at once, to the stream's by
//!    `credit`.
//! M2 What one call causes to many streams is found by a cursor over the slab; nothing is queued.
//! M3 Payload is never copied: `Data` is a range of the caller's input, its charge the payload and
//!    the padding that came with it.
//! M4 No fault is repaired. A malformed message is reset and counted; a broken frame ends the
//!    connection. A message that was broken off never looks whole: its stream has no END_STREAM.
//! M5 A reply that ends before its request is followed by RST_STREAM NO_ERROR. Behind payload that
//!    the caller pushes itself this waits for the next call that can write: so a caller calls
//!    `decode`, with no input if there is none, after `data` and after `release`.
//! M6 A head that is refused becomes no stream. Where its fault has a status other than 400 (431,
//!    414, 413, 417, 501) the wire answers with that status alone; else with RST_STREAM
//!    PROTOCOL_ERROR, or REFUSED_STREAM of one stream too many. Either way `Refused` says so.
//! M7 A tunnel cannot be carried. A head with `Length::Tunnel`, or a 101, is not sent: `head` says
//!    `Gone` and `Reset` follows with `tunnel_impossible`, unprocessed; a server resets the stream.
//!
//! Cost: no allocation for a request of one frame once heads are recycled and the slab has grown.
//! What an idle connection holds beside this struct: its two HPACK tables, as far as they were
//! filled, and eight entries of the slab.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Fault};
use crate::head::Head;
use crate::hpack::{Decoder, Encoder};
use crate::spec::WireSpec;
use crate::wire::{
    Cx, Decoded, Event, Framing, Gone, Mux, ReadSide, Role, Sides, Sniff, StreamId, Traits, Wire,
    WriteSide,
};

mod control;
mod encode;
mod fields;
mod flood;
#[cfg(test)]
mod floods;
mod flow;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod message;
mod payload;
#[cfg(test)]
mod properties;
mod read;
#[cfg(test)]
mod rfc9113;
mod settings;
mod stream;
#[cfg(any(test, feature = "fuzz"))]
mod testing;
mod time;
#[cfg(test)]
mod transcripts;
#[cfg(test)]
mod vectors;
mod write;

#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::{fuzz_frames, fuzz_pair};

use flood::Floods;
use flow::{ReceiveWindow, SendWindow, WINDOW_FIRST};
use frame::Code;
use read::Input;
use settings::PeerSettings;
use stream::{Stream, Streams, Tale};
use time::Clock;

/// How far the connection is asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// The peer was told that no more streams are wanted; those on their way are still served.
    Asked,
    /// The last stream was named.
    Final,
}

/// Whose an identifier is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Nobody's yet.
    Idle,
    /// A stream that was released, or never accepted.
    Over,
    Held(StreamId),
}

/// An HTTP/2 connection in one role.
#[derive(Debug)]
pub struct H2 {
    spec: Arc<WireSpec>,
    input: Input,
    streams: Streams,
    decoder: Decoder,
    encoder: Encoder,
    /// Scratch for a cookie that comes in pieces.
    crumbs: Vec<u8>,
    peer: PeerSettings,
    /// What the peer lets us send, over all streams.
    send: SendWindow,
    /// What we let the peer send, over all streams.
    receive: ReceiveWindow,
    floods: Floods,
    clock: Clock,
    role: Role,
    /// Client: the identifier of the next request.
    next_id: u32,
    /// Server: the last identifier that the client used.
    last_id: u32,
    /// The last stream that this side reset: up to it, late frames may be innocent.
    spared: u32,
    /// The last stream that we said we would serve.
    announced: Option<u32>,
    /// The last stream that the peer said it would serve.
    peer_last: Option<u32>,
    drain: Drain,
    /// Requests served.
    served: u32,
    /// Answers written since the last [`H2::answers`].
    answers: u32,
    /// The peer's first SETTINGS came.
    introduced: bool,
    /// The peer acknowledged ours.
    acknowledged: bool,
    /// The preface was written.
    begun: bool,
    eof: bool,
    /// The sending side ends once flushed, and with it the connection.
    closing: bool,
    /// `Closing` is to be told.
    closing_due: bool,
}

impl H2 {
    /// A connection that has just been made.
    pub fn new(role: Role, spec: &Arc<WireSpec>) -> H2 {
        H2 {
            spec: Arc::clone(spec),
            input: Input::new(role),
            streams: Streams::new(),
            decoder: Decoder::new(settings::HEADER_TABLE_FIRST),
            encoder: Encoder::new(),
            crumbs: Vec::new(),
            peer: PeerSettings::new(),
            send: SendWindow::new(WINDOW_FIRST),
            receive: ReceiveWindow::new(settings::connection_window(spec)),
            floods: Floods::default(),
            clock: Clock::default(),
            role,
            next_id: 1,
            last_id: 0,
            spared: 0,
            announced: None,
            peer_last: None,
            drain: Drain::No,
            served: 0,
            answers: 0,
            introduced: false,
            acknowledged: false,
            begun: false,
            eof: false,
            closing: false,
            closing_due: false,
        }
    }

    /// See [`crate::AnyWire::held_bytes`].
    pub fn held_bytes(&self) -> usize {
        let tables = self.decoder.held_bytes() + self.encoder.held_bytes();
        let streams = self.streams.held_bytes() + self.crumbs.capacity();
        size_of::<H2>() + tables + streams + self.input.held_bytes()
    }

    /// See [`crate::AnyWire::restart_idle`].
    pub fn restart_idle(&mut self, now: Instant) {
        self.clock.restart_idle(now);
    }

    /// See [`crate::AnyWire::answers`].
    pub fn answers(&mut self) -> u32 {
        core::mem::take(&mut self.answers)
    }

    fn is_server(&self) -> bool {
        self.role == Role::Server
    }

    /// The receive window of a new stream. Until the peer has acknowledged our SETTINGS it may go
    /// by the protocol's default (RFC 9113 §6.9.3).
    fn stream_limit(&self) -> u32 {
        let ours = settings::stream_window(&self.spec);
        if self.acknowledged { ours } else { ours.max(WINDOW_FIRST) }
    }

    fn new_stream(&self, id: u32) -> Stream {
        let send = SendWindow::new(self.peer.stream_window_bytes);
        let mut stream = Stream::new(id, send, ReceiveWindow::new(self.stream_limit()));
        stream.read_max = self.spec.body_bytes_max.unwrap_or(u64::MAX);
        stream
    }

    /// What every call does first: our preface, the resets that are due, the idle time.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        if !self.begun {
            self.begin(cx);
        }
        while let Some((id, code)) = self.streams.pay() {
            self.write_reset(id, code, cx);
        }
        self.clock.note_streams(self.streams.held(), cx.now);
    }

    /// RFC 9113 §3.4. The connection's window can be raised by WINDOW_UPDATE only (§6.9.2).
    fn begin(&mut self, cx: &mut Cx<'_>) {
        self.begun = true;
        if !self.is_server() {
            cx.out.extend_from_slice(frame::PREFACE);
            self.clock.expect_settings(cx.now, &self.spec);
        }
        frame::settings(settings::ours(self.role, &self.spec), cx.out);
        let raise = settings::connection_window(&self.spec) - WINDOW_FIRST;
        if raise > 0 {
            frame::window_update(0, raise, cx.out);
        }
    }

    fn write_reset(&mut self, id: u32, code: Code, cx: &mut Cx<'_>) {
        if self.closing {
            return;
        }
        frame::rst_stream(id, code, cx.out);
        self.answers += 1;
        self.floods.reset_sent();
        self.spared = self.spared.max(id);
    }

    /// Resets a stream; nothing more is said on it.
    fn cut(&mut self, key: StreamId, code: Code, cx: &mut Cx<'_>) {
        let Some(stream) = self.streams.get(key) else { return };
        let (id, open) = (stream.id, !stream.is_closed());
        stream.gone = true;
        if open && id != 0 {
            self.write_reset(id, code, cx);
        }
    }

    /// The peer did something to a stream that ends it.
    fn stream_error(
        &mut self,
        key: StreamId,
        fault: Fault,
        cx: &mut Cx<'_>,
    ) -> Result<Option<Event>, Error> {
        self.cut(key, Code::for_fault(fault), cx);
        if self.is_server() {
            self.floods.own_reset(&self.spec, cx.now)?;
        }
        Ok(Some(Event::Reset { stream: key, fault, unprocessed: false }))
    }

    fn whose(&mut self, id: u32) -> Whose {
        if let Some(key) = self.streams.find(id) {
            return Whose::Held(key);
        }
        let last = if self.is_server() { self.last_id } else { self.next_id.saturating_sub(1) };
        if id % 2 == 1 && id <= last { Whose::Over } else { Whose::Idle }
    }

    /// Whether frames on a stream that is over may have been sent before the peer could know:
    /// we reset it, or one after it, or never promised to look at it (RFC 9113 §5.1, §6.8).
    fn is_spared(&self, id: u32) -> bool {
        id <= self.spared || self.announced.is_some_and(|last| id > last)
    }

    /// The next thing that needs no input to be told.
    fn untold(&mut self) -> Option<Event> {
        if core::mem::take(&mut self.closing_due) {
            return Some(Event::Closing);
        }
        let (stream, Tale { fault, unprocessed }) = self.streams.next_tale()?;
        Some(Event::Reset { stream, fault, unprocessed })
    }

    /// Names the last stream that is served.
    fn drain_now(&mut self, cx: &mut Cx<'_>) {
        if self.drain == Drain::Final || self.closing {
            return;
        }
        self.drain = Drain::Final;
        self.clock.drain_by = None;
        self.go_away(Code::NoError, b"", cx);
    }

    fn go_away(&mut self, code: Code, words: &[u8], cx: &mut Cx<'_>) {
        let last = self.announced.unwrap_or(u32::MAX).min(self.last_id);
        self.announced = Some(last);
        frame::go_away(last, code, words, cx.out);
    }

    /// RFC 9113 §6.8: the first GOAWAY names no stream, so that none that is on its way is lost.
    fn ask_to_drain(&mut self, cx: &mut Cx<'_>) {
        self.drain = Drain::Asked;
        self.announced = Some(frame::STREAM_MAX);
        frame::go_away(frame::STREAM_MAX, Code::NoError, b"", cx.out);
        frame::ping(time::PING_DRAIN, false, cx.out);
        self.clock.drain_by = Some(cx.now + time::DRAIN_WAIT);
    }

    /// Everything was said and heard, or nobody is there any more.
    fn is_done(&self) -> bool {
        let served = self.drain == Drain::Final || (self.peer_last.is_some() && !self.is_server());
        self.closing || self.eof || (served && self.streams.held() == 0)
    }
}

impl Wire for H2 {
    fn decode(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Decoded, Error> {
        self.read_input(input, cx)
    }

    fn eof(&mut self, _clean: bool, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.settle(cx);
        self.eof = true;
        let server = self.is_server();
        self.streams.tell_all(|stream| {
            let fault = match (server, stream.read) {
                _ if stream.is_closed() => return None,
                (true, stream::Half::Ended) => Fault::Cancelled,
                (false, stream::Half::Head) => Fault::ClosedBeforeReply,
                _ => Fault::BodyTruncated,
            };
            Some(Tale { fault, unprocessed: stream.id == 0 })
        });
        Ok(())
    }

    fn sides(&self) -> Sides {
        if !self.is_done() || self.streams.has_tales() || self.closing_due {
            return Sides { read: ReadSide::Open, write: WriteSide::Open };
        }
        Sides { read: ReadSide::Done, write: WriteSide::CloseAfterFlush }
    }

    fn traits(&self) -> Traits {
        Traits { mux: Mux::Interleaved, stream_credit: true, needs_length: false }
    }

    fn open(&mut self) -> Option<StreamId> {
        let streams_max = self.peer.streams_max.min(self.spec.h2_streams_max);
        let may = !self.is_server() && self.streams.held() < streams_max;
        let going = self.closing || self.eof || self.drain != Drain::No || self.peer_last.is_some();
        if !may || going || self.next_id > frame::STREAM_MAX {
            return None;
        }
        let stream = self.new_stream(0);
        Some(self.streams.insert(stream))
    }

    /// Also true where the stream is gone: a call then says so.
    fn ready(&self, stream: StreamId) -> bool {
        self.streams.peek(stream).is_some_and(|stream| {
            let open = stream.send.available() > 0 && self.send.available() > 0;
            stream.gone || open
        })
    }

    fn release(&mut self, stream: StreamId) {
        self.streams.release(stream);
    }

    fn head(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.write_head(stream, head, end, cx)
    }

    fn data(
        &mut self,
        stream: StreamId,
        len: usize,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Framing, Gone> {
        let take = self.write_data(stream, len, end, cx)?;
        Ok(Framing { take, suffix: b"" })
    }

    fn end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.write_end(stream, trailers, cx)
    }

    fn reset(&mut self, stream: StreamId, fault: Fault, cx: &mut Cx<'_>) {
        self.settle(cx);
        self.cut(stream, Code::for_reset(fault), cx);
    }

    fn credit(&mut self, stream: StreamId, n: u32, cx: &mut Cx<'_>) {
        self.settle(cx);
        self.give_credit(stream, n, cx);
    }

    fn fail(&mut self, error: Error, _date: Option<&[u8]>, cx: &mut Cx<'_>) {
        self.settle(cx);
        if self.closing {
            return;
        }
        self.go_away(Code::for_fault(error.fault), error.fault.reason().as_bytes(), cx);
        self.close();
    }

    fn drain(&mut self, last: bool, cx: &mut Cx<'_>) {
        self.settle(cx);
        if last || !self.is_server() {
            self.drain_now(cx);
        } else if self.drain == Drain::No && !self.closing {
            self.ask_to_drain(cx);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.is_done() { None } else { self.clock.next(self.streams.held(), &self.spec) }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.settle(cx);
        self.act_on_time(cx)
    }
}

impl H2 {
    fn close(&mut self) {
        self.closing = true;
        self.input = Input::over();
    }
}

/// Whether a connection without TLS or with an undecided ALPN begins in HTTP/2: by its preface,
/// whole (RFC 9113 §3.3).
pub fn sniff(prefix: &[u8]) -> Sniff {
    let len = prefix.len().min(frame::PREFACE.len());
    match (prefix.get(..len) == frame::PREFACE.get(..len), len == frame::PREFACE.len()) {
        (false, _) => Sniff::No,
        (true, false) => Sniff::More,
        (true, true) => Sniff::Yes,
    }
}
