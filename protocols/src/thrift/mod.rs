//! The Thrift family in both roles: framed and unframed messages, THeader and TTHeader.
//!
//! A message is its beginning (type, method, sequence id) and a struct. `message.rs` reads and
//! writes beginnings, over `binary.rs` and `compact.rs`; `walk.rs` finds where a struct ends and
//! looks at nothing else of it; `exception.rs` is the one struct that is written here. Around a
//! message stand a length (`framed.rs`), or a header with keys (`theader.rs`, `ttheader.rs`), whose
//! pairs are the fields of a head (`fields.rs`). A [`Thrift`] is one connection: `envelope.rs`
//! parses all that stands before a struct, `read.rs` says what it means, `write.rs` holds the
//! verbs, `calls.rs` the calls, `lost.rs` how calls end early, `time.rs` the deadlines.
//!
//! How a call looks to an exchange:
//!
//! | part | value |
//! |---|---|
//! | method | `CALL`, `ONEWAY` |
//! | path | `/Service/Method`; the service is `-` if nothing names it |
//! | authority | the service as discovery calls it, else as the path does, else none |
//! | `content-type` | the encoding of the payload, see [`Encoding::content_type`] |
//! | length | of the struct, `Unknown` where only its end says it |
//! | status | 200 for REPLY, 500 for EXCEPTION |
//!
//! The service of the path is the prefix of a multiplexed name, else TTHeader's `isn`, else its
//! ToService or THeader's `service_name`; discovery's name is one of the last two.
//!
//! A1 Payload is the struct's bytes, untouched: `Data` is a range of the input, but for a
//!    compressed one, which is `Copied`. No message is said to be whole whose struct does not end
//!    with its frame, so nothing can hide behind it.
//! A2 The first message settles a server's dialect, if nobody told it; each later one is in it.
//! A3 Sequence ids are this connection's: a client numbers its calls anew, 1 and up, in the header
//!    and in the message; a server gives each reply those of its request.
//! A4 Messages are written whole, one after the other (`Mux::Serial`). A message that was begun and
//!    is given up ends the connection, and each other call is told so. `ready` is false while
//!    another one is being written, and for a reply that has to wait for older ones.
//! A5 A server answers each CALL once, in order, or out of order where the client can match them.
//!    A head with `end`, a `reset`, and a `release` without a reply are a TApplicationException,
//!    which may have to wait for its turn. Nothing is written for a ONEWAY, which has no turn.
//! A6 A client says the reply of a ONEWAY itself, status 200 without payload, once the request is
//!    written: at the next `decode`, which a caller makes after `data`.
//! A7 A client's call that is given up stays as a tombstone until its reply was swallowed; with one
//!    call at a time it ends the connection. Any reply that is not one call's alone ends it. A
//!    client that opens no more calls waits for no tombstone.
//! A8 A reply that begins before its request is wholly written is its call's reply; what the server
//!    makes of the rest nobody knows, so that no call follows. The rest may still be written: who
//!    releases the call before that ends the connection (A4).
//!
//! Cost: no allocation for a call once heads are recycled and the slab has grown, but for escaped
//! pairs and envelopes in pieces. Each byte of a struct is looked at once, text not at all.

use std::sync::Arc;
use std::time::Instant;

use crate::error::{Error, Fault};
use crate::head::{Head, Length, Version};
use crate::spec::WireSpec;
use crate::wire::{
    Cx, Decoded, Event, Framing, Gone, Mux, ReadSide, Role, Sides, StreamId, Traits, Wire,
    WriteSide,
};

mod binary;
mod calls;
mod compact;
mod dialect;
mod envelope;
pub mod exception;
mod fields;
pub mod framed;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
pub mod header;
#[cfg(test)]
mod headers;
mod lost;
pub mod message;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod model;
#[cfg(test)]
mod pairs;
mod read;
#[cfg(any(test, feature = "fuzz"))]
mod testing;
pub mod theader;
mod time;
#[cfg(test)]
mod transcripts;
pub mod ttheader;
#[cfg(test)]
mod vectors;
mod walk;
mod write;

#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::{fuzz_headers, fuzz_messages, fuzz_pair};

pub(crate) use compact::write_varint;
pub use dialect::{Dialect, Encoding, Transport};
pub(crate) use fields::{escaped_key, number_of};
pub use walk::{Walk, Walked};

use calls::{Calls, Half};
use exception::Code;
use read::Read;
use time::Clock;

/// How far the connection is asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// Replies say that no more calls are wanted, where they can; the next one is the last.
    Asked,
    /// As soon as no call is open.
    Final,
}

/// Calls that were given up before a connection takes no more: each holds 100 bytes and a number.
const TOMBSTONES_MAX: usize = 256;

/// A pair that holds for all messages of a connection.
#[derive(Debug)]
struct Persistent {
    key: Box<[u8]>,
    value: Box<[u8]>,
}

impl Persistent {
    fn len(&self) -> usize {
        self.key.len() + self.value.len()
    }
}

/// A Thrift connection in one role.
#[derive(Debug)]
pub struct Thrift {
    spec: Arc<WireSpec>,
    role: Role,
    /// `None` until a server's first message.
    dialect: Option<Dialect>,
    read: Read,
    walk: Walk,
    /// An envelope in pieces, and the bytes it has at least.
    scratch: Vec<u8>,
    need: usize,
    calls: Calls,
    /// Server: pairs of a THeader that hold for all its messages.
    persistent: Vec<Persistent>,
    /// Scratch for names and paths.
    text: Vec<u8>,
    /// The call whose message is being written.
    writing: Option<StreamId>,
    /// Client: the given-up call whose reply is being read.
    swallowed: Option<StreamId>,
    next_seqid: i32,
    last_oneway: i32,
    /// Requests served.
    served: u32,
    /// Pairs that could not be written since the last [`Thrift::dropped`].
    dropped: u32,
    /// Client: replies that nobody waited for since the last [`Thrift::late`].
    late: u32,
    clock: Clock,
    drain: Drain,
    /// No more calls begin here.
    is_going: bool,
    eof: bool,
    /// The sending side ends once flushed, and with it the connection.
    is_closing: bool,
    is_closing_due: bool,
    is_writable_due: bool,
    /// Something of a call may be due to be said: else nobody looks.
    has_news: bool,
}

impl Thrift {
    /// A connection that has just been made. A server may be told its dialect, or finds it in the
    /// first message; a client has to be told.
    pub fn new(role: Role, dialect: Option<Dialect>, spec: &Arc<WireSpec>) -> Thrift {
        Thrift {
            spec: Arc::clone(spec),
            role,
            dialect,
            read: Read::Envelope,
            walk: Walk::new(spec.thrift_depth_max),
            scratch: Vec::new(),
            need: 1,
            calls: Calls::default(),
            persistent: Vec::new(),
            text: Vec::new(),
            writing: None,
            swallowed: None,
            next_seqid: 0,
            last_oneway: 0,
            served: 0,
            dropped: 0,
            late: 0,
            clock: Clock::default(),
            drain: Drain::No,
            is_going: false,
            eof: false,
            is_closing: false,
            is_closing_due: false,
            is_writable_due: false,
            has_news: true,
        }
    }

    /// The dialect, once it is known.
    pub fn dialect(&self) -> Option<Dialect> {
        self.dialect
    }

    /// Pairs of metadata that a peer could not have read and that were left out, since the last
    /// call.
    pub fn dropped(&mut self) -> u32 {
        core::mem::take(&mut self.dropped)
    }

    /// Client: replies that came after their calls had been given up, since the last call.
    pub fn late(&mut self) -> u32 {
        core::mem::take(&mut self.late)
    }

    /// Client: whether it has several calls at a time.
    pub fn is_shared(&self) -> bool {
        !self.is_server() && self.calls_max() > 1
    }

    /// See [`crate::AnyWire::held_bytes`].
    pub fn held_bytes(&self) -> usize {
        let unpacked = match &self.read {
            Read::Unpacked(_, bytes) => bytes.capacity(),
            _ => 0,
        };
        let pairs = self.persistent.iter().map(|pair| pair.len() + size_of::<Persistent>());
        let scratch = self.scratch.capacity() + self.text.capacity() + self.walk.held_bytes();
        size_of::<Thrift>() + unpacked + pairs.sum::<usize>() + scratch + self.calls.held_bytes()
    }

    /// See [`crate::AnyWire::restart_idle`].
    pub fn restart_idle(&mut self, now: Instant) {
        self.clock.restart_idle(now);
    }

    fn is_server(&self) -> bool {
        self.role == Role::Server
    }

    /// How many calls may be open at a time.
    fn calls_max(&self) -> u32 {
        let max = match self.role {
            Role::Server => self.spec.thrift_calls_max,
            Role::Client => self.spec.thrift_link_calls_max,
        };
        u32::from(max.max(1))
    }

    /// A server takes no more calls for now, or at all.
    fn is_full(&self) -> bool {
        let is_over = self.is_going && self.scratch.is_empty();
        self.is_server() && (is_over || self.calls.held() >= self.calls_max())
    }

    /// See [`crate::AnyWire::is_due`].
    pub fn is_due(&self) -> bool {
        let is_ending = self.is_closing || self.is_going || self.eof || self.drain != Drain::No;
        self.has_news || self.is_writable_due || self.is_closing_due || is_ending
    }

    /// What every call that can write does first.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.is_server() {
            self.pay(cx);
        }
        self.note_time(cx.now);
    }

    /// See [`crate::AnyWire::note_time`].
    pub fn note_time(&mut self, now: Instant) {
        if !self.is_server() && self.calls.held() > self.calls.asked() {
            let lost = |call: &calls::Call| call.is_released && call.given_up.is_none();
            for (_, call) in self.calls.iter_mut().filter(|(_, call)| lost(call)) {
                call.given_up = Some(now);
            }
            if self.calls.tombstones().count() > TOMBSTONES_MAX {
                self.close_to_new();
            }
        }
        self.clock.note_calls(self.is_busy(), now);
    }

    /// A call is open, or one that nobody wants any more is still being read.
    fn is_busy(&self) -> bool {
        self.calls.held() > 0 || matches!(self.read, Read::Struct(_) | Read::Unpacked(..))
    }

    /// The next thing that needs no input to be told.
    fn untold(&mut self, cx: &mut Cx<'_>) -> Option<Event> {
        if core::mem::take(&mut self.is_closing_due) {
            return Some(Event::Closing);
        }
        let untold = if self.has_news { usize::MAX } else { 0 };
        for (stream, call) in self.calls.iter_mut().take(untold) {
            if let Some(fault) = call.tale.take() {
                let unprocessed = self.role == Role::Client && call.write == Half::Head;
                return Some(Event::Reset { stream, fault, unprocessed });
            }
            if core::mem::take(&mut call.is_answered) {
                let mut head = cx.take_head();
                head.set_version(Version::Thrift);
                head.set_status(200, b"");
                head.set_length(Length::Empty);
                return Some(Event::Head { stream, head, end: true });
            }
        }
        self.has_news = false;
        let due = core::mem::take(&mut self.is_writable_due);
        due.then_some(Event::Writable { stream: None })
    }

    /// A client opens no more calls; those that are open go on.
    fn close_to_new(&mut self) {
        if !self.is_server() && !core::mem::replace(&mut self.is_going, true) {
            self.is_closing_due = true;
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let idle = match self.role {
            Role::Server => self.spec.idle_timeout,
            Role::Client => self.spec.link_idle_timeout,
        };
        let busy = [self.clock.head_by, self.clock.struct_by].into_iter().flatten();
        let busy = busy.filter(|_| self.is_server());
        let is_idle = self.scratch.is_empty() && !self.is_busy();
        let idle = self.clock.idle_since.filter(|_| is_idle).map(|since| since + idle);
        let wait = |since| since + time::TOMBSTONE_WAIT;
        let lost = self.calls.tombstones().map(wait).filter(|_| !self.is_going);
        busy.chain(idle).chain(lost).min()
    }

    fn act_on_time(&mut self, now: Instant) -> Result<(), Fault> {
        if self.deadline().is_none_or(|by| by > now) {
            return Ok(());
        }
        let passed = |by: Option<Instant>| by.is_some_and(|by| by <= now);
        match () {
            () if self.is_server() && passed(self.clock.head_by) => Err(Fault::HeadTimeout),
            () if self.is_server() && passed(self.clock.struct_by) => Err(Fault::BodyTooSlow),
            () if self.calls.held() == 0 => {
                self.close();
                Ok(())
            }
            () => {
                self.close_to_new();
                Ok(())
            }
        }
    }
}

impl Wire for Thrift {
    fn decode(&mut self, input: &[u8], cx: &mut Cx<'_>) -> Result<Decoded, Error> {
        self.read_input(input, cx)
    }

    fn eof(&mut self, _clean: bool, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.settle(cx);
        self.eof = true;
        if self.is_closing {
            return Ok(());
        }
        let is_cut = self.is_server() && !self.scratch.is_empty();
        self.read = Read::Done;
        self.end_calls();
        if is_cut { Err(Error::connection(Fault::HeadTruncated)) } else { Ok(()) }
    }

    fn sides(&self) -> Sides {
        let has_tales = self.has_tales();
        let is_done = self.is_done();
        let read = match &self.read {
            _ if has_tales => ReadSide::Open,
            _ if is_done => ReadSide::Done,
            Read::Done => ReadSide::Done,
            Read::Envelope if self.is_full() => ReadSide::Hold,
            _ => ReadSide::Open,
        };
        let is_over = self.is_closing || (is_done && !has_tales);
        let write = if is_over { WriteSide::CloseAfterFlush } else { WriteSide::Open };
        Sides { read, write }
    }

    fn traits(&self) -> Traits {
        let needs_length = self.dialect.is_none_or(Dialect::has_length);
        Traits { mux: Mux::Serial, stream_credit: false, needs_length }
    }

    fn open(&mut self) -> Option<StreamId> {
        let may = !self.is_server() && self.calls.asked() < self.calls_max();
        let going = self.is_going || self.is_closing || self.eof || self.drain != Drain::No;
        (may && !going).then(|| self.calls.insert())
    }

    /// Also true where the stream is gone: a call then says so. The reply of a ONEWAY, which is not
    /// written, has no turn: nobody would tell of it once the connection is closing.
    fn ready(&self, stream: StreamId) -> bool {
        let Some(call) = self.calls.peek(stream) else { return false };
        let is_unwritten = self.is_server() && call.is_oneway;
        let is_over = self.is_closing || call.is_gone || call.owes.is_some();
        is_over || is_unwritten || self.may_write(stream)
    }

    fn release(&mut self, stream: StreamId) {
        self.give_up(stream, Fault::Cancelled);
        self.calls.release(stream);
        self.let_go(stream);
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
        _cx: &mut Cx<'_>,
    ) -> Result<Framing, Gone> {
        let take = self.write_data(stream, len, end)?;
        Ok(Framing { take, suffix: b"" })
    }

    fn end(
        &mut self,
        stream: StreamId,
        _trailers: Option<&Head>,
        _cx: &mut Cx<'_>,
    ) -> Result<(), Gone> {
        self.write_data(stream, 0, true).map(drop)
    }

    fn reset(&mut self, stream: StreamId, fault: Fault, cx: &mut Cx<'_>) {
        self.give_up(stream, fault);
        self.settle(cx);
    }

    fn credit(&mut self, _stream: StreamId, _n: u32, _cx: &mut Cx<'_>) {}

    fn fail(&mut self, error: Error, _date: Option<&[u8]>, cx: &mut Cx<'_>) {
        if self.is_closing {
            return;
        }
        if let (true, &Read::Struct(Some(key))) = (self.is_server(), &self.read) {
            let waits = |call: &calls::Call| call.write == Half::Head && !call.is_oneway;
            if self.calls.peek(key).is_some_and(waits) && self.may_write(key) {
                let text = error.fault.reason().as_bytes();
                self.write_exception(key, Code::PROTOCOL_ERROR, text, cx);
            }
        }
        // Who reports the error tells every call of it.
        self.calls.iter_mut().for_each(|(_, call)| call.tale = None);
        self.is_closing_due = false;
        self.close();
    }

    fn drain(&mut self, last: bool, _cx: &mut Cx<'_>) {
        match (last, self.is_server()) {
            (true, _) => self.drain = Drain::Final,
            (false, _) if self.drain == Drain::No => self.drain = Drain::Asked,
            _ => {}
        }
        if last || !self.is_server() {
            self.is_going = true;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        if self.is_done() { None } else { self.next_deadline() }
    }

    fn tick(&mut self, cx: &mut Cx<'_>) -> Result<(), Error> {
        self.settle(cx);
        self.act_on_time(cx.now).map_err(Error::connection)
    }
}
