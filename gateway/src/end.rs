//! `End`: an exchange's hold on one stream of a connection.
//!
//! It reads the stream's slot and frames into the socket's send queue; it never receives. Dropping
//! it unreleased resets the stream, through a note that the pump acts on (C2 of `conn/mod.rs`).

use std::rc::Rc;
use std::task::{Context, Poll};

use engine::{Buf, Full, Piece};
use protocols::{AnyWire, Cx, Fault, Gone, Head, Mux, Role, StreamId, Wire};

use crate::conn::{Conn, Site};
use crate::metadata;
use crate::slot::Item;
use crate::upstream;

/// An exchange's hold on one stream of a connection. Dropping it unreleased resets the stream.
pub(crate) struct End {
    conn: Rc<Conn>,
    id: StreamId,
    released: bool,
}

impl End {
    pub(crate) fn new(conn: Rc<Conn>, id: StreamId) -> End {
        End { conn, id, released: false }
    }

    pub(crate) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// The next item of the peer's message.
    pub(crate) fn poll_item(&self, cx: &mut Context<'_>) -> Poll<Item> {
        let mut core = self.conn.core.borrow_mut();
        let Some(slot) = core.slots.get(self.id) else {
            return Poll::Ready(Item::Reset { fault: Fault::Cancelled, unprocessed: false });
        };
        let Some(item) = slot.inbox.pop_front() else {
            slot.wait(cx);
            slot.hungry = true;
            let parked = core.parked;
            drop(core);
            if parked {
                self.conn.wake();
            }
            return Poll::Pending;
        };
        let mut taken = 0;
        if let Item::Data(payload, _) = &item {
            taken = payload.len();
            slot.inbox_bytes -= taken;
        }
        let (parked, mux) = (core.parked, core.wire.traits().mux);
        drop(core);
        if taken > 0 && mux == Mux::Interleaved {
            // Whoever takes an item has room for it: the peer may send as much again.
            self.call(|wire, cx| wire.credit(self.id, taken as u32, cx));
        } else if parked {
            self.conn.wake();
        }
        Poll::Ready(item)
    }

    /// Whether all that the peer will send is here, and no more than may wait here.
    pub(crate) fn is_whole(&self) -> bool {
        let mut core = self.conn.core.borrow_mut();
        core.slots.get(self.id).is_some_and(|slot| slot.ended && slot.has_space())
    }

    /// The exchange cannot take what waits for it: it goes to the heap, its pages go back.
    pub(crate) fn unpin(&self) {
        let mut core = self.conn.core.borrow_mut();
        let Some(slot) = core.slots.get(self.id) else { return };
        for item in &mut slot.inbox {
            if let Item::Data(payload, _) = item
                && payload.is_pooled()
            {
                *payload = Buf::copy_of(payload);
            }
        }
    }

    /// Ready when a data call may be made: it is this stream's turn and the queue has room.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut core = self.conn.core.borrow_mut();
        if core.slots.get(self.id).is_none_or(|slot| slot.gone.is_some()) {
            return Poll::Ready(Err(Gone));
        }
        let has_room = self.conn.stream.room() > 0;
        if has_room && core.wire.ready(self.id) {
            return Poll::Ready(Ok(()));
        }
        // What the wire waits for, it tells of by itself.
        let first = !has_room && !core.writers_wait;
        core.writers_wait |= !has_room;
        if let Some(slot) = core.slots.get(self.id) {
            slot.writer = Some(cx.waker().clone());
        }
        drop(core);
        if first {
            self.conn.wake();
        }
        Poll::Pending
    }

    /// Ready when a head may be written: it is this stream's turn, whether there is room or not.
    pub(crate) fn poll_turn(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut core = self.conn.core.borrow_mut();
        if core.wire.ready(self.id) {
            return Poll::Ready(());
        }
        match core.slots.get(self.id) {
            Some(slot) => slot.writer = Some(cx.waker().clone()),
            None => return Poll::Ready(()),
        }
        Poll::Pending
    }

    /// Ready when the peer left or broke the protocol while this stream was in progress.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<Fault> {
        let mut core = self.conn.core.borrow_mut();
        let Some(slot) = core.slots.get(self.id) else { return Poll::Ready(Fault::Cancelled) };
        match slot.gone {
            Some(fault) => Poll::Ready(fault),
            None => {
                slot.wait(cx);
                Poll::Pending
            }
        }
    }

    /// Calls the wire. A pump that runs its exchange goes on by itself; another one has to.
    fn call<R>(&self, act: impl FnOnce(&mut AnyWire, &mut Cx<'_>) -> R) -> R {
        let result = self.conn.call(act);
        if !self.conn.one_stream() {
            self.conn.wake_if_due();
        }
        result
    }

    pub(crate) fn send_head(&self, head: &Head, end: bool) -> Result<(), Gone> {
        let (sent, dropped) =
            self.call(|wire, cx| (wire.head(self.id, head, end, cx), wire.dropped_pairs()));
        metadata::count_dropped(&self.conn.state, dropped);
        sent
    }

    /// Frames and queues payload. Returns what the wire did not take (a closed window).
    pub(crate) fn send_data(&self, payload: Buf, end: bool) -> Result<Option<Buf>, Gone> {
        let len = payload.len();
        if len <= COPY_BYTES_MAX {
            return self.copy_data(payload, end);
        }
        let framing = self.call(|wire, cx| wire.data(self.id, len, end, cx))?;
        let rest = (framing.take < len).then(|| payload.slice(framing.take..len));
        if framing.take > 0 {
            let taken = if rest.is_some() { payload.slice(0..framing.take) } else { payload };
            self.queue(Piece::Buf(taken));
        }
        if !framing.suffix.is_empty() {
            self.queue(Piece::Static(framing.suffix));
        }
        Ok(rest)
    }

    /// Frames a small payload together with its bytes: one segment to send, no page pinned.
    fn copy_data(&self, payload: Buf, end: bool) -> Result<Option<Buf>, Gone> {
        let len = payload.len();
        let taken = self.call(|wire, cx| {
            let framing = wire.data(self.id, len, end, cx)?;
            let (taken, _) = payload.split_at(framing.take.min(len));
            cx.out.extend_from_slice(taken);
            cx.out.extend_from_slice(framing.suffix);
            Ok(taken.len())
        })?;
        Ok((taken < len).then(|| payload.slice(taken..len)))
    }

    /// Room was checked by `poll_ready`, but the framing before the payload may have used it up:
    /// what is refused then goes into scratch, which never refuses.
    fn queue(&self, piece: Piece) {
        let Err(Full(refused)) = self.conn.stream.push(piece) else { return };
        let bytes: &[u8] = match &refused {
            Piece::Buf(buf) => buf,
            Piece::Bytes(bytes) => bytes,
            Piece::Static(bytes) => bytes,
        };
        self.conn.stream.scratch(|out| out.extend_from_slice(bytes));
    }

    pub(crate) fn send_end(&self, trailers: Option<&Head>) -> Result<(), Gone> {
        self.call(|wire, cx| wire.end(self.id, trailers, cx))?;
        if self.conn.role() == Role::Client && self.conn.shuts() {
            // Half-closing is the pump's: nothing else may wake a link's pump now.
            self.conn.wake();
        }
        Ok(())
    }

    /// Ends this stream in error: the peer sees a cut, never a clean end.
    pub(crate) fn reset(&self, fault: Fault) {
        self.call(|wire, cx| wire.reset(self.id, fault, cx));
        if self.conn.role() == Role::Client && self.conn.one_stream() {
            self.conn.abort();
        }
    }

    /// Answers with a small complete message that needs no room: it goes into scratch.
    pub(crate) fn send_small(&self, head: &Head, body: &[u8]) -> Result<(), Gone> {
        self.call(|wire, cx| {
            wire.head(self.id, head, body.is_empty(), cx)?;
            if !body.is_empty() {
                let framing = wire.data(self.id, body.len(), true, cx)?;
                cx.out.extend_from_slice(body);
                cx.out.extend_from_slice(framing.suffix);
            }
            Ok(())
        })
    }

    /// Gives the stream back to its wire. Call when all of its work is done.
    pub(crate) fn release(mut self) {
        self.released = true;
        self.conn.free(self.id);
        match &self.conn.site {
            // The pump of a one-stream server wire runs its exchange: it goes on by itself.
            Site::Listener(..) if self.conn.one_stream() => {}
            Site::Endpoint(_) if upstream::give_back(&self.conn) => {
                self.conn.arm(self.conn.wire_deadline());
                if !self.conn.one_stream() {
                    self.conn.wake_if_due();
                }
            }
            Site::Listener(..) => {
                self.conn.arm(self.conn.wire_deadline());
                self.conn.wake_if_due();
            }
            Site::Endpoint(_) => self.conn.wake(),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.released {
            self.conn.note(self.id);
        }
    }
}

/// Payload up to this is copied behind its framing: a copy of 2 KiB costs some 40 ns, a second
/// segment makes the kernel import an iovec and keeps a page from the pool until the send is done.
const COPY_BYTES_MAX: usize = 2048;
