//! HTTP/1.1 and HTTP/1.0 in both roles, one exchange at a time.
//!
//! One [`H1`] is one connection. `read.rs` turns bytes into events (over `scan`, `parse`,
//! `fields`, `target` and `body`), `encode.rs` writes heads; this file holds the state and the
//! verbs that write. Both directions of an exchange live side by side:
//!
//! ```text
//! read   server: Idle -> Head -> Body -> Complete -> Idle        (Hold while Complete)
//!                          \-> Upgrade -> Tunnel | Complete       (Hold while Upgrade)
//!                Body -> Swallow -> Idle                          (the reply ended first)
//!        client: Idle -> Head -> Body -> Complete -> Idle         (Head from head() on)
//!                          \-> Tunnel
//! write  Before -> Exact | Chunked | Close | Tunnel -> Ended
//! ```
//!
//! P1 A connection goes on to its next exchange only when both messages ended, nothing said
//!    `close`, and the stream was released; in every other case it closes.
//! P2 Bytes of a head are searched once (`scan`) and copied once, into the `Head`; a head that
//!    comes in pieces is also gathered in `scratch`, which is freed with the head's end.
//! P3 Payload is never copied: `Data` is a range of the caller's input.
//! P4 No fault is repaired. What a peer sent wrongly ends the connection, and a message that was
//!    broken off never looks whole: no last chunk is written, and `must_reset` is set where the
//!    connection's end is the message's end.
//! P5 Deadlines: server role idle, head and body rate; client role the idle time of an unused
//!    connection. All other times (connect, first byte, request) belong to the gateway.
//!
//! Cost: no allocation once heads are recycled, except for heads in pieces. An idle wire is at
//! most 128 bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{Error, Fault};
use crate::head::{Head, Length};
use crate::spec::WireSpec;
use crate::wire::{
    Cx, Decoded, Framing, Gone, Mux, ReadSide, Role, Sides, StreamId, Traits, Wire, WriteSide,
};

mod body;
mod encode;
mod fields;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod parse;
#[cfg(test)]
mod properties;
mod read;
#[cfg(test)]
mod refusals;
mod scan;
mod target;
#[cfg(test)]
mod transcripts;

#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::{fuzz_chunked, fuzz_pair, fuzz_reply, fuzz_request};

// What a message may hold does not depend on how it is framed: HTTP/2 asks the same.
pub(crate) use fields::{decimal, is_disguised};
pub(crate) use parse::forbidden_in_trailers;
pub(crate) use target::{Target, is_authority, parse as parse_target};

use encode::Outgoing;
use parse::Asked;
use read::{Left, Pending, Scratch};

/// A pump that receives ticks within this of a deadline: a timer wheel's step and a long turn.
const TICK_LATE_MAX: Duration = Duration::from_secs(1);

/// The one stream of a connection.
const STREAM: StreamId = StreamId(0);

/// Where the receiving side is. See the module doc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Read {
    /// No exchange, no byte of the next head.
    Idle,
    /// Server: a head has begun. Client: a reply is due.
    Head,
    /// A body is due.
    Body,
    /// Server: the reply ended, the rest of the request is dropped.
    Swallow,
    /// Server: an upgrade was asked for, the reply decides.
    Upgrade,
    /// Bytes of another protocol.
    Tunnel,
    /// The message is whole.
    Complete,
    /// Nothing will be read.
    Done,
}

/// What the transport said about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Eof {
    No,
    Clean,
    Cut,
}

/// How far the connection is asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// The next reply says `close`.
    Next,
    /// As soon as no exchange is under way.
    Now,
}

/// An HTTP/1 connection in one role.
#[derive(Debug)]
pub struct H1 {
    spec: Arc<WireSpec>,
    /// Bytes of a head or trailer section that came in pieces.
    scratch: Option<Box<Scratch>>,
    /// Acts while `read` is Idle, Head, Body or Swallow.
    deadline: Option<Instant>,
    /// What is due of the message being read.
    left: Left,
    outgoing: Outgoing,
    /// Requests served.
    served: u32,
    /// Bytes of a request that may still be dropped.
    swallow: u32,
    /// Keep-Alive's `timeout` in the upstream's last reply, in seconds.
    timeout_secs: Option<u16>,
    role: Role,
    read: Read,
    pending: Pending,
    eof: Eof,
    asked: Asked,
    /// 1xx replies before the final one.
    interim: u8,
    /// An exchange holds the stream.
    stream: bool,
    /// The connection may serve another exchange after this one.
    keep: bool,
    /// The request is HTTP/1.0.
    http10: bool,
    /// The message's Connection lists fields: its trailers may be of this hop, and are dropped.
    lists_fields: bool,
    /// The client waits for a 100 and has sent no body.
    expects: bool,
    draining: Drain,
    /// The sending side ends once flushed, and with it the connection.
    closing: bool,
    /// Tunnel: the sending side was ended.
    shut: bool,
    must_reset: bool,
}

impl H1 {
    /// A connection that has just been made.
    pub fn new(role: Role, spec: &Arc<WireSpec>) -> H1 {
        H1 {
            spec: Arc::clone(spec),
            scratch: None,
            deadline: None,
            left: Left::None,
            outgoing: Outgoing::Before,
            served: 0,
            swallow: 0,
            timeout_secs: None,
            role,
            read: Read::Idle,
            pending: Pending::None,
            eof: Eof::No,
            asked: Asked::default(),
            interim: 0,
            stream: false,
            keep: true,
            http10: false,
            lists_fields: false,
            expects: false,
            draining: Drain::No,
            closing: false,
            shut: false,
            must_reset: false,
        }
    }

    /// See [`crate::AnyWire::must_reset`].
    pub fn must_reset(&self) -> bool {
        self.must_reset
    }

    /// See [`crate::AnyWire::is_tunnel`].
    pub fn is_tunnel(&self) -> bool {
        let tunnel = self.outgoing == Outgoing::Tunnel && !self.closing;
        tunnel && matches!(self.read, Read::Tunnel | Read::Done)
    }

    /// See [`crate::AnyWire::has_shut`].
    pub fn has_shut(&self) -> bool {
        self.shut
    }

    /// See [`crate::AnyWire::restart_idle`].
    pub fn restart_idle(&mut self, now: Instant) {
        if self.read == Read::Idle && !self.stream && self.deadline.is_some() {
            self.deadline = Some(self.idle_deadline(now));
        }
    }

    /// Bytes of heap that the wire holds now: nothing but a head in pieces.
    pub fn held_bytes(&self) -> usize {
        self.scratch.as_ref().map_or(0, |scratch| scratch.held_bytes())
    }

    fn is_server(&self) -> bool {
        self.role == Role::Server
    }

    /// The stream may be written to.
    fn check(&self, stream: StreamId) -> Result<(), Gone> {
        if stream == STREAM && self.stream && !self.closing { Ok(()) } else { Err(Gone) }
    }

    /// Ends the connection once flushed. An unfinished message stays visibly unfinished.
    fn close(&mut self) {
        self.must_reset |= self.outgoing == Outgoing::Close;
        self.closing = true;
        self.read = Read::Done;
        self.scratch = None;
        self.deadline = None;
    }

    /// Breaks the message off that is being written.
    fn abort(&mut self) -> Gone {
        self.close();
        Gone
    }

    fn idle_deadline(&self, now: Instant) -> Instant {
        if self.is_server() {
            return now + self.spec.idle_timeout;
        }
        let mut timeout = self.spec.link_idle_timeout;
        if let Some(secs) = self.timeout_secs {
            // One second earlier than the upstream, so that it is we who close.
            timeout = timeout.min(Duration::from_secs(u64::from(secs.saturating_sub(1))));
        }
        now + timeout
    }

    /// The message being written ended.
    fn finish_write(&mut self, now: Instant) {
        self.outgoing = Outgoing::Ended;
        match (self.role, self.read) {
            _ if self.shut => {}
            (Role::Server, Read::Body) => self.begin_swallow(),
            (Role::Server, Read::Complete) if self.keep => {
                self.deadline = Some(self.idle_deadline(now));
            }
            // The request was cut off, or the reply said `close`.
            (Role::Server, Read::Complete | Read::Done) => self.close(),
            _ => {}
        }
    }

    /// The reply ended before its request: the rest is dropped if it is short.
    fn begin_swallow(&mut self) {
        let long =
            matches!(self.left, Left::Exact(n) if n > u64::from(self.spec.swallow_bytes_max));
        if long || !self.keep {
            return self.close();
        }
        self.swallow = self.spec.swallow_bytes_max;
        self.read = Read::Swallow;
    }

    /// Goes on to the next exchange once this one is over (P1).
    fn settle(&mut self) {
        let over = self.read == Read::Complete && self.outgoing == Outgoing::Ended;
        if self.stream || self.closing || !over || self.pending != Pending::None {
            return;
        }
        if !self.keep || self.draining == Drain::Now {
            return self.close();
        }
        self.read = Read::Idle;
        self.outgoing = Outgoing::Before;
        self.asked = Asked::default();
        self.interim = 0;
    }

    /// Server role: a reply's head.
    fn reply_head(&mut self, head: &Head, end: bool, cx: &mut Cx<'_>) -> Result<(), Gone> {
        let status = head.status();
        if self.outgoing != Outgoing::Before {
            return Err(self.abort());
        }
        if (100..200).contains(&status) && status != 101 {
            return self.interim_head(head, cx);
        }
        if status == 101 {
            return self.switch(head, cx);
        }
        if self.read == Read::Upgrade {
            // Refused: the request had no body after all, and its exchange is to be told.
            self.read = Read::Complete;
            self.pending = Pending::End;
        }
        self.keep &= self.draining == Drain::No && !self.closes_early(status, end);
        let with = encode::Reply { asked: self.asked, http10: self.http10, keep: self.keep, end };
        self.outgoing = encode::reply(head, with, cx.out);
        self.keep &= self.outgoing != Outgoing::Close;
        if self.outgoing == Outgoing::Ended {
            self.finish_write(cx.now);
        }
        Ok(())
    }

    /// Whether to say `close` because the request will not be read to its end. A client that
    /// still waits for its 100 may send the body or not: what follows could be either
    /// (RFC 9110 §10.1.1). A failure while much is on its way ends the upload.
    fn closes_early(&self, status: u16, end: bool) -> bool {
        if self.read == Read::Done {
            return true;
        }
        let swallow_bytes_max = u64::from(self.spec.swallow_bytes_max);
        let long = matches!(self.left, Left::Exact(n) if n > swallow_bytes_max);
        self.read == Read::Body && (self.expects || (long && (end || status >= 300)))
    }

    fn interim_head(&mut self, head: &Head, cx: &mut Cx<'_>) -> Result<(), Gone> {
        // RFC 9110 §15.2: an HTTP/1.0 client must not be sent one.
        if self.http10 {
            return Ok(());
        }
        encode::interim(head, cx.out);
        if head.status() == 100 && self.expects {
            self.expects = false;
            self.deadline = Some(cx.now + self.spec.body_grace);
        }
        Ok(())
    }

    fn switch(&mut self, head: &Head, cx: &mut Cx<'_>) -> Result<(), Gone> {
        if self.read != Read::Upgrade {
            return Err(self.abort());
        }
        let with = encode::Reply { asked: self.asked, http10: false, keep: true, end: false };
        self.outgoing = encode::reply(head, with, cx.out);
        self.read = Read::Tunnel;
        Ok(())
    }

    /// Client role: a request's head.
    fn request_head(&mut self, head: &Head, end: bool, cx: &mut Cx<'_>) -> Result<(), Gone> {
        if self.outgoing != Outgoing::Before {
            return Err(self.abort());
        }
        self.asked =
            Asked { head: head.method() == b"HEAD", tunnel: head.length() == Length::Tunnel };
        self.outgoing = encode::request(head, end, self.draining != Drain::No, cx.out);
        self.read = Read::Head;
        self.deadline = None;
        Ok(())
    }

    /// A tunnel's data before the 101 that makes it one would reach an HTTP parser.
    fn tunnel_is_open(&self) -> bool {
        self.is_server() || self.read == Read::Tunnel || self.read == Read::Done
    }
}

impl Wire for H1 {
    fn decode(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Decoded, Error> {
        self.read_input(input, cx)
    }

    fn eof(&mut self, clean: bool, _cx: &mut Cx<'_>) -> Result<(), Error> {
        self.eof = if clean { Eof::Clean } else { Eof::Cut };
        Ok(())
    }

    fn sides(&self) -> Sides {
        let read = match self.read {
            // What waits to be said needs a call of `decode`, and no input.
            _ if self.pending != Pending::None => ReadSide::Open,
            Read::Done => ReadSide::Done,
            Read::Upgrade => ReadSide::Hold,
            Read::Complete if self.is_server() => ReadSide::Hold,
            _ => ReadSide::Open,
        };
        let write = match (self.closing, self.shut) {
            (true, _) => WriteSide::CloseAfterFlush,
            (false, true) if self.read == Read::Done => WriteSide::CloseAfterFlush,
            (false, true) => WriteSide::ShutAfterFlush,
            (false, false) => WriteSide::Open,
        };
        Sides { read, write }
    }

    fn traits(&self) -> Traits {
        Traits { mux: Mux::One, stream_credit: false, needs_length: false }
    }

    fn open(&mut self) -> Option<StreamId> {
        let free = !self.is_server() && !self.stream && self.read == Read::Idle;
        if !free || self.closing || self.draining != Drain::No || self.eof != Eof::No {
            return None;
        }
        self.stream = true;
        self.keep = true;
        Some(STREAM)
    }

    fn ready(&self, stream: StreamId) -> bool {
        self.check(stream).is_ok()
    }

    fn release(&mut self, stream: StreamId) {
        if stream != STREAM || !self.stream {
            return;
        }
        self.stream = false;
        // Nobody is left to hear it.
        self.pending = Pending::None;
        let reply_ended = self.outgoing == Outgoing::Ended;
        let over = match self.read {
            Read::Complete => reply_ended,
            Read::Swallow => true,
            // Opened and given back without a word.
            Read::Idle => self.outgoing == Outgoing::Before,
            _ => false,
        };
        if over { self.settle() } else { self.close() }
    }

    fn head(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.check(stream)?;
        if self.is_server() {
            self.reply_head(head, end, cx)
        } else {
            self.request_head(head, end, cx)
        }
    }

    fn data(
        &mut self,
        stream: StreamId,
        len: usize,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Framing, Gone> {
        self.check(stream)?;
        let mut suffix: &'static [u8] = b"";
        match self.outgoing {
            Outgoing::Exact(left) => {
                let len = len as u64;
                if len > left || (end && len < left) {
                    return Err(self.abort());
                }
                self.outgoing = Outgoing::Exact(left - len);
                if left == len {
                    self.finish_write(cx.now);
                }
            }
            Outgoing::Chunked if len == 0 && end => return self.finish_empty(cx),
            Outgoing::Chunked if len == 0 => {}
            Outgoing::Chunked => {
                encode::chunk_size(len, cx.out);
                suffix = if end { b"\r\n0\r\n\r\n" } else { b"\r\n" };
                if end {
                    self.finish_write(cx.now);
                }
            }
            Outgoing::Close if end => self.finish_close(),
            Outgoing::Close => {}
            Outgoing::Tunnel if !self.tunnel_is_open() => return Err(self.abort()),
            Outgoing::Tunnel if self.shut && len > 0 => return Err(self.abort()),
            Outgoing::Tunnel => self.shut |= end,
            // An end after the end says nothing new.
            Outgoing::Ended if len == 0 => {}
            Outgoing::Before | Outgoing::Ended => return Err(self.abort()),
        }
        Ok(Framing { take: len, suffix })
    }

    fn end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.check(stream)?;
        match self.outgoing {
            Outgoing::Chunked => {
                encode::last_chunk(trailers, cx.out);
                self.finish_write(cx.now);
            }
            Outgoing::Close => self.finish_close(),
            Outgoing::Tunnel => self.shut = true,
            Outgoing::Ended => {}
            // Less payload than was announced.
            Outgoing::Before | Outgoing::Exact(_) => return Err(self.abort()),
        }
        Ok(())
    }

    fn reset(&mut self, stream: StreamId, _fault: Fault, _cx: &mut Cx<'_>) {
        if self.check(stream).is_ok() {
            // What was tunnelled has no end of its own that could be missing.
            self.must_reset |= self.is_tunnel();
            self.close();
        }
    }

    fn credit(&mut self, _stream: StreamId, _n: u32, _cx: &mut Cx<'_>) {}

    fn fail(&mut self, error: Error, date: Option<&[u8]>, cx: &mut Cx<'_>) {
        if self.closing {
            return;
        }
        let silent = self.outgoing != Outgoing::Before || error.fault.status() == 0;
        if self.is_server() && !silent {
            encode::last_words(error.fault, date, self.asked.head, cx.out);
            self.outgoing = Outgoing::Ended;
        }
        self.close();
    }

    fn drain(&mut self, last: bool, _cx: &mut Cx<'_>) {
        // An upstream connection is not needed again whenever it falls idle.
        let now = last || !self.is_server();
        self.draining = if now { Drain::Now } else { Drain::Next };
        if now && self.read == Read::Idle && !self.stream {
            self.close();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.read {
            Read::Idle if self.stream => None,
            Read::Idle => self.deadline,
            Read::Body if self.expects => None,
            Read::Head | Read::Body | Read::Swallow if self.is_server() => self.deadline,
            _ => None,
        }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        if self.deadline().is_none_or(|deadline| cx.now < deadline) {
            return Ok(());
        }
        match self.read {
            Read::Head => Err(Error::connection(Fault::HeadTimeout)),
            Read::Body => Err(Error::connection(Fault::BodyTooSlow)),
            _ => {
                self.close();
                Ok(())
            }
        }
    }
}

impl H1 {
    fn finish_empty(&mut self, cx: &mut Cx<'_>) -> Result<Framing, Gone> {
        encode::last_chunk(None, cx.out);
        self.finish_write(cx.now);
        Ok(Framing { take: 0, suffix: b"" })
    }

    /// The connection's end is the message's end.
    fn finish_close(&mut self) {
        self.outgoing = Outgoing::Ended;
        self.close();
    }

    /// `n` bytes of a body came: time is bought at the minimum rate, up to the allowed silence.
    fn earn(&mut self, n: usize, now: Instant) {
        let rate = u64::from(self.spec.body_rate_min);
        if self.expects {
            self.expects = false;
            self.deadline = Some(now + self.spec.body_grace);
        }
        let Some(mut deadline) = self.deadline else { return };
        if now > deadline + TICK_LATE_MAX {
            // Nobody ticked: the pump had stopped receiving, and the peer is not to blame (W6).
            deadline = now + self.spec.body_grace;
        }
        let latest = now + self.spec.body_idle_timeout.max(self.spec.body_grace);
        // 2^32 bytes buy more than any silence allowed; the product stays below 2^63.
        let bytes = (n as u64).min(u64::from(u32::MAX));
        let Some(nanos) = (bytes * 1_000_000_000).checked_div(rate) else {
            self.deadline = Some(latest);
            return;
        };
        self.deadline = Some((deadline + Duration::from_nanos(nanos)).min(latest));
    }
}
