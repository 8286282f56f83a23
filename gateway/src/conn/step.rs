//! One step of the pump: notes, then what arrived, then what time and the wire ask for.
//!
//! All of it runs in the connection's own task, which repeats it until there is nothing to do. The
//! rules C1 to C4 stand in `mod.rs`.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use observe::{Gauge, Metric, WordFamily};
use protocols::{Error, Fault, Head, Length, Mux, ReadSide, Role, StreamId, Wire, WriteSide};

use super::{Conn, Core};
use crate::slot::{Item, Received};
use crate::upstream;

/// What one step of the pump came to.
pub(super) enum Step {
    /// A head arrived on a server wire: start its exchange.
    Head(StreamId, Box<Head>, bool),
    /// Nothing more to do until a wake-up.
    Wait,
    /// The connection is over; the socket finishes on its own.
    Closed,
}

impl Conn {
    /// One step of the pump. The caller repeats it until it says `Wait` or `Closed`.
    pub(super) fn step(self: &Rc<Conn>, cx: &mut Context<'_>) -> Step {
        self.apply_notes();
        if self.closed.get() {
            return Step::Closed;
        }
        loop {
            match self.decode() {
                Ok(Some(event)) => {
                    if let Some(step) = self.dispatch(event) {
                        return step;
                    }
                }
                Ok(None) => {
                    if !self.receive(cx) {
                        break;
                    }
                }
                Err(error) => self.fail(error),
            }
            if self.closed.get() {
                return Step::Closed;
            }
        }
        self.wake_writers(cx);
        if self.expire(cx) { self.step(cx) } else { self.close_when_done() }
    }

    /// Decodes one event of what is there, if the wire and the slots will have it.
    fn decode(&self) -> Result<Option<Received>, Error> {
        let mut guard = self.core.borrow_mut();
        let core = &mut *guard;
        if core.wire.sides().read != ReadSide::Open {
            return Ok(None);
        }
        if (self.sniffs.get() && core.rest.is_some()) || (core.rest.is_none() && !core.poke) {
            return Ok(None);
        }
        let may_decode = core.may_decode();
        if !may_decode && (core.wire.traits().mux != Mux::Serial || !core.poke) {
            return Ok(None);
        }
        // A serial wire that is held up by one reader has still something to say to others.
        let rest = core.rest.as_deref().filter(|_| may_decode);
        let (wire, input) = (&mut core.wire, rest.unwrap_or_default());
        let decoded = self.ask(|cx| wire.decode(input, cx))?;
        core.poke = decoded.event.is_some();
        self.count_late(core.wire.late());
        let received = decoded.event.map(|event| Received::new(event, core.rest.as_ref()));
        core.used(decoded.used);
        Ok(received)
    }

    fn count_late(&self, replies: u32) {
        if replies > 0 {
            self.state.metrics.add(Metric::ThriftLateReplies, replies.into());
        }
    }

    /// Gives an event to its slot; a server's head goes to the caller.
    fn dispatch(&self, received: Received) -> Option<Step> {
        let mut guard = self.core.borrow_mut();
        let core = &mut *guard;
        let (id, item, end) = match received {
            Received::Head(id, head, end) if self.role() == Role::Server => {
                if core.slots.iter().next().is_none() {
                    self.state.metrics.enter(Gauge::ConnectionsActive);
                }
                core.slots.seat(id, self.state.take_slot());
                core.body_bytes = body_bytes(&head, end);
                if let Some(slot) = core.slots.get(id) {
                    slot.ended = end;
                }
                return Some(Step::Head(id, head, end));
            }
            Received::Head(id, head, end) => {
                core.body_bytes = body_bytes(&head, end);
                (id, Item::Head(head, end), end)
            }
            Received::Data(id, chunk, end, charge) => {
                let padding = charge.saturating_sub(chunk.len() as u32);
                if padding > 0 {
                    self.ask(|cx| core.wire.credit(id, padding, cx));
                }
                (id, Item::Data(core.kept(id, chunk), end), end)
            }
            Received::Trailers(id, head) => (id, Item::Trailers(head), true),
            Received::Refused(fault, is_call) => {
                drop(guard);
                self.state.refused(self, fault, is_call);
                return None;
            }
            Received::Reset(id, fault, unprocessed) => {
                if self.role() == Role::Server
                    && let Some(slot) = core.slots.get(id)
                {
                    slot.gone.get_or_insert(if fault.is_peers_word() {
                        Fault::Cancelled
                    } else {
                        fault
                    });
                }
                (id, Item::Reset { fault, unprocessed }, true)
            }
            Received::Writable(Some(id)) => {
                let writer = core.slots.get(id).and_then(|slot| slot.writer.take());
                drop(guard);
                writer.into_iter().for_each(Waker::wake);
                return None;
            }
            Received::Writable(None) if core.wire.traits().mux == Mux::Serial => {
                drop(guard);
                // It is about turns, not about room.
                self.for_each_slot(|slot| slot.writer.take());
                return None;
            }
            Received::Writable(None) => {
                core.writers_wait = true;
                return None;
            }
            Received::Closing => return None,
        };
        let waker = core.slots.get(id).and_then(|slot| slot.put(item, end));
        drop(guard);
        if let Some(waker) = waker {
            waker.wake();
        }
        None
    }

    /// Receives once, or arms the receive. False when there is nothing to decode now.
    fn receive(&self, cx: &mut Context<'_>) -> bool {
        if self.tell_end_of_input() {
            return true;
        }
        let mut guard = self.core.borrow_mut();
        let core = &mut *guard;
        let held = core.wire.sides().read == ReadSide::Hold;
        if core.eof.is_some() || core.wire.sides().read == ReadSide::Done {
            return false;
        }
        let wanted = self.role() == Role::Server || core.is_wanted();
        let is_full = core.rest.is_some() && !self.sniffs.get();
        if is_full || !(held || core.may_decode()) || !wanted {
            core.park();
            drop(guard);
            self.watch_hangup(cx);
            return false;
        }
        core.parked = false;
        self.choose_mode(core);
        drop(guard);
        match self.stream.poll_recv(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(Some(buf))) => {
                self.take_in(buf);
                true
            }
            Poll::Ready(Ok(None)) => self.end_of_input(true),
            Poll::Ready(Err(_)) => self.end_of_input(false),
        }
    }

    /// Bodies of more than a few pages come single-shot into the bulk group, heads and small bodies
    /// by a multishot into the small one, which stays armed from one exchange to the next. A link
    /// keeps the mode of its last reply: the next one is probably alike. A multiplexed connection
    /// keeps the mode it began with.
    fn choose_mode(&self, core: &mut Core) {
        let bulk = core.body_bytes > BULK_BODY_BYTES_MIN;
        if bulk != core.bulk && core.wire.traits().mux != Mux::Interleaved {
            core.bulk = bulk;
            if bulk { self.stream.bulk() } else { self.stream.heads() }
        }
    }

    /// The peer sends no more. Streams in progress learn that it left: a client that closes its
    /// side has given up its request, as nginx also reads it. In a tunnel it has ended one
    /// direction, which the wire says; and so it does of Thrift, whose callers leave behind oneways
    /// that they want done.
    fn end_of_input(&self, clean: bool) -> bool {
        self.core.borrow_mut().eof = Some(clean);
        self.sniffs.set(false);
        let leaves = (!clean || !self.is_tunnel()) && !self.is_thrift();
        if self.role() == Role::Server && leaves {
            self.mark_gone();
        }
        true
    }

    fn is_tunnel(&self) -> bool {
        self.core.borrow().wire.is_tunnel()
    }

    /// Tells the wire of the end of input once everything before it is decoded.
    fn tell_end_of_input(&self) -> bool {
        let (clean, ready) = {
            let core = self.core.borrow();
            (core.eof, core.eof.is_some() && !core.eof_told && core.rest.is_none())
        };
        if !ready {
            return false;
        }
        self.core.borrow_mut().eof_told = true;
        if let Err(error) = self.call(|wire, cx| wire.eof(clean == Some(true), cx)) {
            self.fail(error);
        }
        true
    }

    fn watch_hangup(&self, cx: &mut Context<'_>) {
        if self.role() == Role::Client || self.is_tunnel() || self.is_thrift() {
            return;
        }
        self.stream.pause();
        if self.stream.poll_hangup(cx).is_ready() {
            self.mark_gone();
        }
    }

    fn mark_gone(&self) {
        self.for_each_slot(|slot| {
            slot.gone.get_or_insert(Fault::Cancelled);
            slot.reader.take()
        });
    }

    fn wake_writers(&self, cx: &mut Context<'_>) {
        if !self.core.borrow().writers_wait {
            return;
        }
        match self.stream.poll_room(cx) {
            Poll::Pending => return,
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => self.mark_gone(),
        }
        self.core.borrow_mut().writers_wait = false;
        self.for_each_slot(|slot| slot.writer.take());
    }

    /// Acts on deadlines. True when the timer fired.
    fn expire(&self, cx: &mut Context<'_>) -> bool {
        self.arm(self.wire_deadline());
        if self.timer.poll_expired(cx).is_pending() {
            return false;
        }
        self.timer.set(None);
        if self.cut_if_stalled() {
            return true;
        }
        if self.stream.queued() > 0 {
            self.core.borrow_mut().wire.restart_idle(self.state.shard.now());
        }
        if self.wire_deadline().is_some()
            && let Err(error) = self.call(|wire, cx| wire.tick(cx))
        {
            self.fail(error);
        }
        true
    }

    /// Ends a connection whose peer takes nothing any more of what an exchange left behind: the
    /// last reply, or on a shared link that a stream was broken off. While an exchange runs, that
    /// is the exchange's to notice.
    fn cut_if_stalled(&self) -> bool {
        if !self.is_idle() || self.stream.queued() == 0 {
            return false;
        }
        let now = self.state.shard.now();
        let limit = self.state.options().write_stall_timeout;
        let until = self.stream.send_stalled_since().map_or(now + limit, |since| since + limit);
        if now < until {
            self.arm(Some(until));
            return false;
        }
        if self.role() == Role::Server {
            self.state.metrics.word(WordFamily::ConnectionCloses, "write_stalled");
        }
        self.closed.set(true);
        self.stream.reset();
        true
    }

    fn close_when_done(&self) -> Step {
        let (sides, idle, shut) = {
            let core = self.core.borrow();
            (core.wire.sides(), core.slots.iter().next().is_none(), core.shut)
        };
        if sides.write == WriteSide::ShutAfterFlush && !shut {
            self.core.borrow_mut().shut = true;
            self.stream.shut_write();
        }
        let over = match sides.write {
            WriteSide::CloseAfterFlush => true,
            WriteSide::ShutAfterFlush | WriteSide::Open => sides.read == ReadSide::Done && idle,
        };
        if !over || !idle {
            return Step::Wait;
        }
        self.close();
        Step::Closed
    }

    fn close(&self) {
        self.closed.set(true);
        let (must_reset, has_shut) = {
            let core = self.core.borrow();
            (core.wire.must_reset(), core.wire.has_shut())
        };
        match self.role() {
            _ if must_reset => self.stream.reset(),
            // Nobody waits for the rest of a request whose reply is complete; the last bytes of a
            // tunnel are owed.
            Role::Client if !has_shut => {
                self.stream.leave(self.state.shard.now() + LEAVE_TIMEOUT);
            }
            _ => self.stream.finish(self.state.shard.now() + FINISH_TIMEOUT),
        }
    }

    fn apply_notes(self: &Rc<Conn>) {
        let notes = self.notes.take().map_or_else(Vec::new, |notes| *notes);
        let is_link = self.role() == Role::Client && !notes.is_empty();
        for id in notes {
            self.call(|wire, cx| wire.reset(id, Fault::Cancelled, cx));
            self.free(id);
            if self.role() == Role::Client && self.one_stream() {
                if self.core.borrow().wire.must_reset() {
                    // A FIN would look like the end that was never sent.
                    self.stream.reset();
                }
                self.abort();
            }
        }
        if is_link && self.is_shared() {
            upstream::give_back(self);
        }
    }
}

fn body_bytes(head: &Head, end: bool) -> u64 {
    match head.length() {
        _ if end => 0,
        Length::Exact(bytes) => bytes,
        Length::Empty | Length::Unknown | Length::Tunnel => u64::MAX,
    }
}

/// What the client has to take the rest of its last reply; the engine then lingers for at most a
/// second more.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);
/// What an endpoint has to take the close_notify of a link.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// A body from this size on is received into the bulk group: below it the two extra submissions
/// cost more than the larger buffer saves.
const BULK_BODY_BYTES_MIN: u64 = 8 * 1024;
