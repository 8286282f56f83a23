//! The seam between bytes and meaning: `trait Wire`, `enum AnyWire` and the plain values between.
//!
//! A wire is one protocol on one connection in one role. It owns no socket, buffer, clock or
//! chance: bytes and the time come in by argument, bytes go out by `Cx::out`, meaning comes out
//! as [`Event`]s. It is called through [`AnyWire`], never as `dyn`.
//!
//! W1 `decode` consumes: `used < input.len()` only together with an event or while
//!    `sides().read == Hold`. What it cannot finish it keeps itself, within the spec's limits.
//! W2 Callers call `decode` until it returns no event, also with empty input: after creation,
//!    after `eof`, and after each write while the wire Holds; on a multiplexed wire also after
//!    each `data` and `release` that leaves something due ([`AnyWire::is_due`]).
//! W3 An `Err` of `decode`, `eof` or `tick` is fatal: `fail(error)` writes the last words.
//! W4 A [`StreamId`] is a small slab key. It names the same exchange until `release`.
//! W5 After `Gone` the stream can take no more; `sides()` says what becomes of the connection.
//! W6 Deadlines blame the *peer*: a pump that has stopped receiving on purpose does not `tick`.

use core::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Fault};
use crate::h1;
use crate::h2::H2;
use crate::head::Head;
use crate::raw::Raw;
use crate::spec::WireSpec;
use crate::thrift::{Dialect, Thrift};

/// Which end of the connection a wire plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Requests come in, replies go out: towards the downstream.
    Server,
    /// Requests go out, replies come in: towards the upstream.
    Client,
}

/// A local slab key of an exchange on a wire. HTTP/1 has one stream at a time: key 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// Whether bytes begin a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sniff {
    /// They do.
    Yes,
    /// They do not.
    No,
    /// They may: more of them will tell.
    More,
}

/// What every call that may write is given.
#[derive(Debug)]
pub struct Cx<'a> {
    /// The time, cached once a turn by the caller.
    pub now: Instant,
    /// Framing bytes are appended here, in order.
    pub out: &'a mut Vec<u8>,
    /// Free list of heads: a wire pops one or makes one; who is done with a head pushes it back.
    pub heads: &'a mut Vec<Box<Head>>,
}

impl Cx<'_> {
    /// An empty head, recycled if there is one.
    pub fn take_head(&mut self) -> Box<Head> {
        match self.heads.pop() {
            Some(mut head) => {
                head.clear();
                head
            }
            None => Box::new(Head::new()),
        }
    }
}

/// What one `decode` did.
#[derive(Debug)]
pub struct Decoded {
    /// Bytes of the input that are done with.
    pub used: usize,
    /// What they meant, if anything yet.
    pub event: Option<Event>,
}

/// What a peer said. Every event but the last two kinds names its stream.
#[derive(Debug)]
pub enum Event {
    /// A request or reply began. A reply below 200 (but 101) is followed by another head.
    Head {
        /// The stream.
        stream: StreamId,
        /// The head, from the free list.
        head: Box<Head>,
        /// Nothing follows: no body, no trailers.
        end: bool,
    },
    /// Payload that lies in the caller's input.
    Data {
        /// The stream.
        stream: StreamId,
        /// Where in the input of this call.
        at: Range<usize>,
        /// Flow-control bytes to give back with `credit`.
        charge: u32,
        /// This was the last of the message.
        end: bool,
    },
    /// Payload that no range of the input holds.
    Copied {
        /// The stream.
        stream: StreamId,
        /// The payload.
        bytes: Vec<u8>,
        /// Flow-control bytes to give back with `credit`.
        charge: u32,
        /// This was the last of the message.
        end: bool,
    },
    /// The message ended with these fields.
    Trailers {
        /// The stream.
        stream: StreamId,
        /// Fields only.
        head: Box<Head>,
    },
    /// The peer broke off this stream.
    Reset {
        /// The stream.
        stream: StreamId,
        /// What happened.
        fault: Fault,
        /// The peer says that it did nothing with the request.
        unprocessed: bool,
    },
    /// A request was refused before it became a stream; its sender has been told.
    Refused {
        /// What was wrong with it.
        fault: Fault,
        /// Its content type was gRPC's.
        is_call: bool,
    },
    /// `ready` may have become true, for one stream or (None) for all who wait.
    Writable {
        /// Which stream.
        stream: Option<StreamId>,
    },
    /// The peer takes no new streams.
    Closing,
}

/// What the connection's two directions may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sides {
    /// Receiving.
    pub read: ReadSide,
    /// Sending.
    pub write: WriteSide,
}

/// The receiving side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadSide {
    /// Bytes are wanted.
    Open,
    /// Keep what has come and call again after a write; do not receive more.
    Hold,
    /// No byte will be looked at again.
    Done,
}

/// The sending side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteSide {
    /// More may be written.
    Open,
    /// Half-close once everything is flushed; receiving goes on.
    ShutAfterFlush,
    /// Flush, half-close, drain a little, close.
    CloseAfterFlush,
}

/// How many exchanges a wire carries at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mux {
    /// One after the other (HTTP/1, raw).
    One,
    /// Many, each message whole before the next (Thrift).
    Serial,
    /// Many, in pieces (HTTP/2).
    Interleaved,
}

/// What a wire is like, constant for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Exchanges at a time.
    pub mux: Mux,
    /// `credit` has a meaning for each stream.
    pub stream_credit: bool,
    /// A message can be framed only when its length is known.
    pub needs_length: bool,
}

/// How to send the payload of a `data` call: what `data` wrote to `out`, then `take` bytes of
/// payload, then `suffix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Payload bytes to push now.
    pub take: usize,
    /// Bytes to push after them.
    pub suffix: &'static [u8],
}

/// The stream takes nothing more; `sides()` says whether the connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl core::fmt::Display for Gone {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the stream is gone")
    }
}

impl core::error::Error for Gone {}

/// The contract of a protocol (W1 to W6 in the module doc).
pub trait Wire {
    /// Understands the next bytes.
    fn decode(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Decoded, Error>;
    /// No byte will follow. `clean` is false when the transport was cut (a reset, or a TLS
    /// connection without close_notify); a plain FIN is clean.
    fn eof(&mut self, clean: bool, cx: &mut Cx<'_>) -> Result<(), Error>;
    /// What the two directions may do.
    fn sides(&self) -> Sides;
    /// What this protocol is like.
    fn traits(&self) -> Traits;
    /// Client role: a free stream, if one may be opened now.
    fn open(&mut self) -> Option<StreamId>;
    /// Whether this stream may write now; `Writable` follows a false.
    fn ready(&self, stream: StreamId) -> bool;
    /// The exchange is over on both sides; its key may be used again.
    fn release(&mut self, stream: StreamId);
    /// Writes a head; `end` if nothing follows.
    fn head(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone>;
    /// Frames `len` payload bytes; `end` counts only if all of them are taken.
    fn data(
        &mut self,
        stream: StreamId,
        len: usize,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Framing, Gone>;
    /// Ends the message, with trailers where the protocol has them.
    fn end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone>;
    /// Breaks the stream off.
    fn reset(&mut self, stream: StreamId, fault: Fault, cx: &mut Cx<'_>);
    /// Gives back flow-control bytes of consumed `Data`.
    fn credit(&mut self, stream: StreamId, n: u32, cx: &mut Cx<'_>);
    /// Writes the protocol's last words for `error` and ends the connection. They carry `date`, the
    /// present time in the protocol's own form, where they have a place for it.
    fn fail(&mut self, error: Error, date: Option<&[u8]>, cx: &mut Cx<'_>);
    /// Asks the peer to go; `last` means now, whatever is not in an exchange.
    fn drain(&mut self, last: bool, cx: &mut Cx<'_>);
    /// When `tick` wants to be called.
    fn deadline(&self) -> Option<Instant>;
    /// Time has passed. `Err` blames the peer; a mere idle timeout ends the sides without words.
    fn tick(&mut self, cx: &mut Cx<'_>) -> Result<(), Error>;
}

/// Every protocol that a connection can speak.
#[derive(Debug)]
pub enum AnyWire {
    /// HTTP/1.0 and HTTP/1.1.
    H1(h1::H1),
    /// HTTP/2. Boxed: an idle HTTP/1 connection must not pay for its size.
    H2(Box<H2>),
    /// The Thrift family. Boxed for the same reason.
    Thrift(Box<Thrift>),
    /// Bytes without framing: pass-through.
    Raw(Raw),
}

impl AnyWire {
    /// An HTTP/1 wire.
    pub fn h1(role: Role, spec: &Arc<WireSpec>) -> AnyWire {
        AnyWire::H1(h1::H1::new(role, spec))
    }

    /// An HTTP/2 wire, by prior knowledge or after ALPN.
    pub fn h2(role: Role, spec: &Arc<WireSpec>) -> AnyWire {
        AnyWire::H2(Box::new(H2::new(role, spec)))
    }

    /// A wire of the Thrift family. A server that is not told its dialect finds it in the first
    /// message; a client that is not told any can send nothing.
    pub fn thrift(role: Role, dialect: Option<Dialect>, spec: &Arc<WireSpec>) -> AnyWire {
        AnyWire::Thrift(Box::new(Thrift::new(role, dialect, spec)))
    }

    /// A wire without framing.
    pub fn raw(role: Role) -> AnyWire {
        AnyWire::Raw(Raw::new(role))
    }

    /// Whether a client's connection takes several exchanges at a time.
    pub fn is_shared(&self) -> bool {
        match self {
            AnyWire::H1(_) | AnyWire::Raw(_) => false,
            AnyWire::H2(_) => true,
            AnyWire::Thrift(wire) => wire.is_shared(),
        }
    }

    /// Whether `decode` may have something to say or to write although nothing came: only then need
    /// it be called after a write or a `release` (W2). Where finding out costs as much, always.
    pub fn is_due(&self) -> bool {
        match self {
            AnyWire::Thrift(wire) => wire.is_due(),
            AnyWire::H1(_) | AnyWire::H2(_) | AnyWire::Raw(_) => true,
        }
    }

    /// The time of a `release` after which nothing is due: idle time counts from then on.
    pub fn note_time(&mut self, now: Instant) {
        match self {
            AnyWire::Thrift(wire) => wire.note_time(now),
            AnyWire::H1(_) | AnyWire::H2(_) | AnyWire::Raw(_) => {}
        }
    }

    /// Replies that came after their exchanges had been given up and were dropped, since the last
    /// call.
    pub fn late(&mut self) -> u32 {
        match self {
            AnyWire::Thrift(wire) => wire.late(),
            AnyWire::H1(_) | AnyWire::H2(_) | AnyWire::Raw(_) => 0,
        }
    }

    /// Pairs of metadata that were left out since the last call, because the peer could not have
    /// read them.
    pub fn dropped_pairs(&mut self) -> u32 {
        match self {
            AnyWire::Thrift(wire) => wire.dropped(),
            AnyWire::H1(_) | AnyWire::H2(_) | AnyWire::Raw(_) => 0,
        }
    }

    /// Bytes of heap that the wire holds now beside itself.
    pub fn held_bytes(&self) -> usize {
        match self {
            AnyWire::H1(wire) => wire.held_bytes(),
            AnyWire::H2(wire) => wire.held_bytes(),
            AnyWire::Thrift(wire) => wire.held_bytes(),
            AnyWire::Raw(_) => 0,
        }
    }

    /// The last message has only now left, or is still leaving: the peer's idle time begins anew.
    /// Without it a slow reader would be called idle while it still reads.
    pub fn restart_idle(&mut self, now: Instant) {
        match self {
            AnyWire::H1(wire) => wire.restart_idle(now),
            AnyWire::H2(wire) => wire.restart_idle(now),
            AnyWire::Thrift(wire) => wire.restart_idle(now),
            AnyWire::Raw(_) => {}
        }
    }

    /// Frames written since the last call that the peer can ask for without limit: acknowledgements
    /// and resets, at most 17 bytes each. The pump adds them up while nothing is flushed and ends a
    /// connection that leaves too many unread.
    pub fn answers(&mut self) -> u32 {
        match self {
            AnyWire::H2(wire) => wire.answers(),
            AnyWire::H1(_) | AnyWire::Thrift(_) | AnyWire::Raw(_) => 0,
        }
    }

    /// Whether the socket must be reset rather than closed: a message whose end is the
    /// connection's end was broken off, and a FIN would make it look whole.
    pub fn must_reset(&self) -> bool {
        match self {
            AnyWire::H1(wire) => wire.must_reset(),
            AnyWire::H2(_) | AnyWire::Thrift(_) => false,
            AnyWire::Raw(wire) => wire.must_reset(),
        }
    }

    /// Whether a tunnel's sending side was ended: what is queued then still has to arrive before
    /// the connection closes, whatever else it came to.
    pub fn has_shut(&self) -> bool {
        match self {
            AnyWire::H1(wire) => wire.has_shut(),
            AnyWire::H2(_) | AnyWire::Thrift(_) => false,
            AnyWire::Raw(wire) => wire.has_shut(),
        }
    }

    /// Whether bytes of another protocol flow both ways. A FIN then ends one direction; in every
    /// other state it means that the peer has given the connection up.
    pub fn is_tunnel(&self) -> bool {
        match self {
            AnyWire::H1(wire) => wire.is_tunnel(),
            AnyWire::H2(_) | AnyWire::Thrift(_) => false,
            AnyWire::Raw(wire) => wire.is_tunnel(),
        }
    }
}

/// One `match` for all verbs.
macro_rules! each {
    ($self:ident, $wire:ident => $call:expr) => {
        match $self {
            AnyWire::H1($wire) => $call,
            AnyWire::H2($wire) => $call,
            AnyWire::Thrift($wire) => $call,
            AnyWire::Raw($wire) => $call,
        }
    };
}

impl Wire for AnyWire {
    fn decode(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Decoded, Error> {
        each!(self, wire => wire.decode(input, cx))
    }

    fn eof(&mut self, clean: bool, cx: &mut Cx<'_>) -> Result<(), Error> {
        each!(self, wire => wire.eof(clean, cx))
    }

    fn sides(&self) -> Sides {
        each!(self, wire => wire.sides())
    }

    fn traits(&self) -> Traits {
        each!(self, wire => wire.traits())
    }

    fn open(&mut self) -> Option<StreamId> {
        each!(self, wire => wire.open())
    }

    fn ready(&self, stream: StreamId) -> bool {
        each!(self, wire => wire.ready(stream))
    }

    fn release(&mut self, stream: StreamId) {
        each!(self, wire => wire.release(stream))
    }

    fn head(
        &mut self,
        stream: StreamId,
        head: &Head,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        each!(self, wire => wire.head(stream, head, end, cx))
    }

    fn data(
        &mut self,
        stream: StreamId,
        len: usize,
        end: bool,
        cx: &mut Cx<'_>,
    ) -> Result<Framing, Gone> {
        each!(self, wire => wire.data(stream, len, end, cx))
    }

    fn end(
        &mut self,
        stream: StreamId,
        trailers: Option<&Head>,
        cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        each!(self, wire => wire.end(stream, trailers, cx))
    }

    fn reset(&mut self, stream: StreamId, fault: Fault, cx: &mut Cx<'_>) {
        each!(self, wire => wire.reset(stream, fault, cx))
    }

    fn credit(&mut self, stream: StreamId, n: u32, cx: &mut Cx<'_>) {
        each!(self, wire => wire.credit(stream, n, cx))
    }

    fn fail(&mut self, error: Error, date: Option<&[u8]>, cx: &mut Cx<'_>) {
        each!(self, wire => wire.fail(error, date, cx))
    }

    fn drain(&mut self, last: bool, cx: &mut Cx<'_>) {
        each!(self, wire => wire.drain(last, cx))
    }

    fn deadline(&self) -> Option<Instant> {
        each!(self, wire => wire.deadline())
    }

    fn tick(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        each!(self, wire => wire.tick(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Length;
    use crate::pair::{Peer, STREAM, request, status};

    const UPGRADE: &[u8] =
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

    fn switching() -> Head {
        let mut head = status(101, Length::Tunnel);
        head.push(b"upgrade", b"x");
        head
    }

    #[test]
    fn an_upgraded_server_is_a_tunnel_until_both_ends() {
        let mut peer = Peer::new(Role::Server, WireSpec::default());
        assert!(!peer.wire.is_tunnel());
        peer.feed(UPGRADE);
        assert!(!peer.wire.is_tunnel(), "the reply decides");
        peer.with(|wire, cx| wire.head(STREAM, &switching(), false, cx)).unwrap();
        assert!(peer.wire.is_tunnel());
        peer.eof(true);
        assert_eq!(peer.sides(), Sides { read: ReadSide::Done, write: WriteSide::Open });
        assert!(peer.wire.is_tunnel(), "half-closed");
        peer.with(|wire, cx| wire.reset(STREAM, Fault::Cancelled, cx));
        assert!(!peer.wire.is_tunnel());
    }

    #[test]
    fn a_client_is_a_tunnel_once_the_server_switched() {
        let mut peer = Peer::new(Role::Client, WireSpec::default());
        let mut head = request("GET", "/");
        head.push(b"upgrade", b"x");
        head.set_length(Length::Tunnel);
        peer.wire.open().unwrap();
        peer.with(|wire, cx| wire.head(STREAM, &head, false, cx)).unwrap();
        assert!(!peer.wire.is_tunnel());
        peer.feed(b"HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        assert!(peer.wire.is_tunnel());
        peer.with(|wire, cx| wire.end(STREAM, None, cx)).unwrap();
        assert!(peer.wire.is_tunnel() && peer.wire.has_shut(), "half-closed");
    }

    #[test]
    fn a_plain_exchange_is_no_tunnel() {
        let mut peer = Peer::asked("GET", WireSpec::default());
        peer.feed(b"HTTP/1.1 200 OK\r\n\r\nbody");
        peer.eof(true);
        assert!(!peer.wire.is_tunnel() && !peer.wire.has_shut());
        let mut peer = Peer::new(Role::Server, WireSpec::default());
        peer.feed(UPGRADE);
        peer.send(&status(200, Length::Exact(2)), b"no").unwrap();
        peer.eof(true);
        assert!(!peer.wire.is_tunnel(), "refused");
    }
}
