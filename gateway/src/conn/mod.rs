//! `Conn`: the only pump between bytes and an [`AnyWire`], for both roles (A6).
//!
//! A connection is one task that does all of its I/O: it receives, decodes, hands events to the
//! stream's slot, and closes. Exchanges never touch the socket's receive side; they hold an
//! [`End`], which reads a slot and frames into the socket's send queue. It is *not* a place for
//! decisions about requests: those are `exchange.rs`. Here is what others may ask of a connection;
//! `pump.rs` is its task, `step.rs` what that does when it is woken.
//!
//! C1 No borrow of `Core` is held while a foreign waker, an exchange or an `await` runs.
//! C2 `End::drop` never borrows `Core`: it leaves its stream in `notes`, and the pump resets it.
//! C3 A page that must wait for a held wire is copied to the heap before the pump goes to sleep,
//!    so a parked connection holds no receive buffer.
//! C4 A link receives a reply's next page only when its exchange asks, which it does while the
//!    client's queue has room: pages wait in send queues alone, where the engine can free them.
//!    From a link that several exchanges share they take all that comes, at worst to the heap.
//!
//! Cost of an event: one borrow, one wire call, no allocation (slots and heads are recycled).

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use engine::{Buf, Timer};
use observe::{Gauge, WordFamily};
use protocols::thrift::{self, Dialect, Encoding};
use protocols::{AnyWire, Cx, Error, Fault, Mux, ReadSide, Role, StreamId, Wire, WriteSide};
use router::{PlanId, RouteId};

use crate::end::End;
use crate::shard::State;
use crate::slot::{Item, Slot, Slots};
use crate::transport::Transport;
use crate::upstream::Permit;

mod pump;
mod step;

pub(crate) use pump::{Pump, Running};

pub(crate) struct Core {
    pub(crate) wire: AnyWire,
    pub(crate) slots: Slots,
    /// Bytes received and not yet decoded.
    pub(crate) rest: Option<Buf>,
    /// Decode once more although nothing arrived: after creation, an end of input, or a write or
    /// release that left something due.
    pub(crate) poke: bool,
    /// The peer sends no more: `Some(true)` after a FIN, `Some(false)` after an error.
    eof: Option<bool>,
    eof_told: bool,
    shut: bool,
    bulk: bool,
    /// The pump receives nothing until a reader makes space.
    pub(crate) parked: bool,
    /// Bytes of the request body as declared; `u64::MAX` where that is unknown.
    body_bytes: u64,
    pub(crate) writers_wait: bool,
    /// The fault that ended the connection, for the log line of a request without an exchange.
    fault: Option<Fault>,
}

/// A connection: its socket, its wire, and the slots of its open streams.
pub(crate) struct Conn {
    pub(crate) stream: Transport,
    pub(crate) state: Rc<State>,
    pub(crate) site: Site,
    /// Place in the shard's table of downstream connections.
    pub(crate) place: Cell<u32>,
    pub(crate) core: RefCell<Core>,
    /// Streams whose ends were dropped.
    #[expect(clippy::box_collection, reason = "one word in an idle connection")]
    notes: Cell<Option<Box<Vec<StreamId>>>>,
    pump: Cell<Option<Waker>>,
    pub(crate) timer: Timer,
    pub(crate) closed: Cell<bool>,
    /// The first bytes say which version of HTTP the peer speaks; what does not tell yet is held.
    pub(crate) sniffs: Cell<bool>,
}

/// What a connection belongs to.
pub(crate) enum Site {
    /// The listener of this number accepted it; where it goes as a whole, if its greeting said so.
    Listener(u32, Cell<Option<(RouteId, PlanId)>>),
    /// The endpoint it leads to, and its share of the endpoint's links.
    Endpoint(Permit),
}

impl Site {
    fn role(&self) -> Role {
        match self {
            Site::Listener(..) => Role::Server,
            Site::Endpoint(_) => Role::Client,
        }
    }
}

impl Conn {
    pub(crate) fn new(state: &Rc<State>, stream: Transport, wire: AnyWire, site: Site) -> Rc<Conn> {
        let timer = state.shard.timer();
        // A connected stream starts in bulk mode: nothing is known of what it will bring.
        let bulk = site.role() == Role::Client;
        let core = Core {
            wire,
            slots: Slots::default(),
            rest: None,
            poke: true,
            eof: None,
            eof_told: false,
            shut: false,
            bulk,
            parked: false,
            body_bytes: if bulk { u64::MAX } else { 0 },
            writers_wait: false,
            fault: None,
        };
        Rc::new(Conn {
            stream,
            state: state.clone(),
            site,
            place: Cell::new(u32::MAX),
            core: RefCell::new(core),
            notes: Cell::new(None),
            pump: Cell::new(None),
            timer,
            closed: Cell::new(false),
            sniffs: Cell::new(false),
        })
    }

    pub(crate) fn role(&self) -> Role {
        self.site.role()
    }

    /// Which listener accepted it; `None` for a link.
    pub(crate) fn listener(&self) -> Option<u32> {
        match self.site {
            Site::Listener(index, _) => Some(index),
            Site::Endpoint(_) => None,
        }
    }

    /// Bytes of a request body that its listener takes where the route says nothing.
    pub(crate) fn body_bytes_max(&self) -> Option<u64> {
        self.state.live().listener(self.listener()).and_then(|plan| plan.body_bytes_max)
    }

    /// The route that all of the connection follows, if its greeting has chosen one.
    pub(crate) fn chosen(&self) -> Option<(RouteId, PlanId)> {
        match &self.site {
            Site::Listener(_, chosen) => chosen.get(),
            Site::Endpoint(_) => None,
        }
    }

    pub(crate) fn choose(&self, route: (RouteId, PlanId)) {
        if let Site::Listener(_, chosen) = &self.site {
            chosen.set(Some(route));
        }
    }

    /// Opens a stream on a client wire: `None` when it can take no more.
    pub(crate) fn open(self: &Rc<Conn>) -> Option<End> {
        if self.closed.get() {
            return None;
        }
        let mut core = self.core.borrow_mut();
        if core.eof.is_some() {
            return None;
        }
        let id = core.wire.open()?;
        core.slots.seat(id, self.state.take_slot());
        drop(core);
        Some(End::new(self.clone(), id))
    }

    /// The handle of a stream that the peer opened.
    pub(crate) fn end(self: &Rc<Conn>, id: StreamId) -> End {
        End::new(self.clone(), id)
    }

    /// Ends the connection in order: the wire says so to the peer and closes when it is idle.
    pub(crate) fn drain(&self, last: bool) {
        self.call(|wire, cx| wire.drain(last, cx));
        self.wake();
    }

    /// Whether nothing is in progress on this connection.
    pub(crate) fn is_idle(&self) -> bool {
        self.core.borrow().slots.iter().next().is_none()
    }

    /// Ends the connection now. Open streams learn of it by their slots.
    pub(crate) fn abort(&self) {
        self.closed.set(true);
        self.stream.abort();
        self.tell_all(Fault::Cancelled);
        self.wake();
    }

    /// Whether a further request may go out on this link.
    pub(crate) fn is_reusable(&self) -> bool {
        let core = self.core.borrow();
        let sides = core.wire.sides();
        !self.closed.get()
            && core.eof.is_none()
            && sides.read == ReadSide::Open
            && sides.write == WriteSide::Open
    }

    /// Whether the sending side is to be ended once it is flushed.
    pub(crate) fn shuts(&self) -> bool {
        self.core.borrow().wire.sides().write == WriteSide::ShutAfterFlush
    }

    /// The fault that ended this connection, if any.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.core.borrow().fault
    }

    /// Whether bytes are passed through as they are.
    pub(crate) fn stream_is_raw(&self) -> bool {
        matches!(self.core.borrow().wire, AnyWire::Raw(_))
    }

    pub(crate) fn is_thrift(&self) -> bool {
        matches!(self.core.borrow().wire, AnyWire::Thrift(_))
    }

    /// How a Thrift connection speaks, once that is known.
    fn dialect(&self) -> Option<Dialect> {
        match &self.core.borrow().wire {
            AnyWire::Thrift(wire) => wire.dialect(),
            _ => None,
        }
    }

    /// How payload is written on a Thrift connection, once that is known.
    pub(crate) fn encoding(&self) -> Option<Encoding> {
        self.dialect().map(|dialect| dialect.encoding)
    }

    /// What delimits messages on a Thrift connection, once that is known.
    pub(crate) fn thrift_transport(&self) -> Option<thrift::Transport> {
        self.dialect().map(|dialect| dialect.transport)
    }

    /// Whether a message's head has to say how long the message is.
    pub(crate) fn needs_length(&self) -> bool {
        self.core.borrow().wire.traits().needs_length
    }

    /// Whether a link takes several exchanges at a time.
    pub(crate) fn is_shared(&self) -> bool {
        self.core.borrow().wire.is_shared()
    }

    /// Whether a link takes several exchanges whose messages come one after the other: what one of
    /// them does not take, none of the others gets past.
    pub(crate) fn is_serial(&self) -> bool {
        let core = self.core.borrow();
        core.wire.is_shared() && core.wire.traits().mux == Mux::Serial
    }

    pub(crate) fn one_stream(&self) -> bool {
        self.core.borrow().wire.traits().mux == Mux::One
    }

    /// Whether the pump has something to do that nothing received will wake it for.
    fn is_due(&self) -> bool {
        let core = self.core.borrow();
        core.poke || core.parked
    }

    /// Wakes the pump if a call has left it something to do.
    pub(crate) fn wake_if_due(&self) {
        if self.is_due() {
            self.wake();
        }
    }

    /// Wakes the pump: something changed that it must act on.
    pub(crate) fn wake(&self) {
        let waker = self.pump.take();
        if let Some(waker) = &waker {
            waker.wake_by_ref();
        }
        self.pump.set(waker);
    }

    /// Remembers the pump's waker: once, since a task keeps its waker for life.
    fn attach(&self, cx: &Context<'_>) {
        let waker = self.pump.take().unwrap_or_else(|| cx.waker().clone());
        debug_assert!(waker.will_wake(cx.waker()), "a pump stays in its task");
        self.pump.set(Some(waker));
    }

    /// Remembers a stream whose end was dropped: the pump resets it (C2).
    pub(crate) fn note(&self, id: StreamId) {
        let mut notes = self.notes.take().unwrap_or_default();
        notes.push(id);
        self.notes.set(Some(notes));
        self.wake();
    }

    /// Calls the wire with its context: the send queue's scratch, the time, the free heads.
    pub(crate) fn call<R>(&self, act: impl FnOnce(&mut AnyWire, &mut Cx<'_>) -> R) -> R {
        let mut core = self.core.borrow_mut();
        let wire = &mut core.wire;
        let mut heads = self.state.heads.borrow_mut();
        let now = self.state.shard.now();
        let result = self.stream.scratch(|out| act(wire, &mut Cx { now, out, heads: &mut heads }));
        core.poke |= core.wire.is_due();
        result
    }

    /// Like `call` for what seldom writes: the send queue is touched only if something was written.
    fn ask<R>(&self, act: impl FnOnce(&mut Cx<'_>) -> R) -> R {
        let mut heads = self.state.heads.borrow_mut();
        let mut words = self.state.words.borrow_mut();
        let now = self.state.shard.now();
        let result = act(&mut Cx { now, out: &mut words, heads: &mut heads });
        if !words.is_empty() {
            self.stream.scratch(|out| out.append(&mut words));
        }
        result
    }

    /// Puts a reset into every open slot.
    fn tell_all(&self, fault: Fault) {
        self.for_each_slot(|slot| {
            slot.gone.get_or_insert(fault);
            slot.put(Item::Reset { fault, unprocessed: false }, true)
        });
    }

    fn for_each_slot(&self, mut act: impl FnMut(&mut Slot) -> Option<Waker>) {
        let count = self.core.borrow().slots.len();
        for index in 0..count {
            let waker = {
                let mut core = self.core.borrow_mut();
                core.slots.get(StreamId(index)).and_then(&mut act)
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The peer broke the protocol: the wire's last words, and every stream ends.
    pub(crate) fn fail(&self, error: Error) {
        self.core.borrow_mut().fault.get_or_insert(error.fault);
        let date = self.state.date();
        self.call(|wire, cx| wire.fail(error, date.as_ref().map(|date| &date[..]), cx));
        let mut core = self.core.borrow_mut();
        core.rest = None;
        drop(core);
        self.tell_all(error.fault);
        if self.role() == Role::Server && self.is_idle() {
            match error.fault {
                fault if self.is_thrift() && fault.status() == 0 => {
                    let word = fault.reason();
                    self.state.metrics.word(WordFamily::ConnectionCloses, word);
                    self.state.log_refusal(self, word);
                }
                fault => self.state.refused(self, fault, false),
            }
        }
    }

    /// Sees that the pump is woken by then. A timer that is set earlier is left alone: it costs
    /// one wake-up now and then, where moving it would cost a store a request.
    pub(crate) fn arm(&self, at: Option<Instant>) {
        let earlier = |at: &Instant| self.timer.deadline().is_none_or(|set| *at < set);
        if at.as_ref().is_some_and(earlier) {
            self.timer.set(at);
        }
    }

    pub(crate) fn wire_deadline(&self) -> Option<Instant> {
        let core = self.core.borrow();
        // While the reader holds the pump up, the peer is not to blame for silence.
        if core.may_decode() { core.wire.deadline() } else { None }
    }

    /// The stream's work is gone: its slot is recycled, its key may be used again.
    pub(crate) fn free(&self, id: StreamId) {
        let slot = {
            let mut core = self.core.borrow_mut();
            core.wire.release(id);
            core.wire.note_time(self.state.shard.now());
            core.poke |= core.wire.is_due();
            if self.role() == Role::Server {
                core.body_bytes = 0;
            }
            core.slots.take(id)
        };
        if let Some(mut slot) = slot {
            slot.recycle();
            self.state.give_slot(slot);
        }
        if self.role() == Role::Server {
            self.arm(Some(self.state.shard.now() + self.state.options().write_stall_timeout));
            if self.is_idle() {
                self.state.metrics.leave(Gauge::ConnectionsActive);
            }
        }
    }
}

impl Core {
    /// `used` bytes of the rest are decoded.
    fn used(&mut self, used: usize) {
        match &mut self.rest {
            Some(rest) if used < rest.len() => rest.advance(used),
            rest => *rest = None,
        }
    }

    /// Payload as it waits in a slot: of a multiplexed connection no stream holds more than one
    /// page, and none for a few bytes, since they may be many and slow.
    fn kept(&mut self, id: StreamId, payload: Buf) -> Buf {
        if self.wire.traits().mux != Mux::Interleaved {
            return payload;
        }
        let is_next = self.slots.get(id).is_some_and(|slot| slot.inbox.is_empty());
        let is_small = payload.len() < KEPT_BYTES_MIN;
        if is_next && !is_small { payload } else { Buf::copy_of(&payload) }
    }

    /// The pump goes to sleep with bytes undecoded: C3.
    fn park(&mut self) {
        self.parked = true;
        if let Some(rest) = &mut self.rest {
            *rest = Buf::copy_of(rest);
        }
    }

    /// C4, for a link of one exchange at a time: where several share it, none holds up the others.
    fn is_wanted(&self) -> bool {
        self.wire.is_shared() || self.slots.iter().all(|slot| slot.hungry || slot.ended)
    }

    /// A wire of whole messages is stopped by the reader of the one that is coming in; one that
    /// interleaves them is always decoded.
    fn may_decode(&self) -> bool {
        if self.wire.traits().mux == Mux::Interleaved {
            return true;
        }
        self.slots.iter().all(|slot| slot.inbox_bytes == 0 || slot.has_space())
    }
}

/// Payload of fewer bytes is copied rather than holding its page.
const KEPT_BYTES_MIN: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_connection_is_small() {
        // With the counts of its Rc it fills one size class of the allocator, 320 bytes.
        assert!(size_of::<Conn>() <= 304, "{}", size_of::<Conn>());
        assert!(size_of::<Pump>() <= 32, "{}", size_of::<Pump>());
    }
}
