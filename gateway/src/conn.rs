//! `Conn`: the only pump between bytes and an [`AnyWire`], for both roles (A6).
//!
//! A connection is one task that does all of its I/O: it receives, decodes, hands events to the
//! stream's slot, and closes. Exchanges never touch the socket's receive side; they hold an
//! [`End`], which reads a slot and frames into the socket's send queue. It is *not* a place for
//! decisions about requests: those are `exchange.rs`.
//!
//! C1 No borrow of `Core` is held while a foreign waker, an exchange or an `await` runs.
//! C2 `End::drop` never borrows `Core`: it leaves its stream in `notes`, and the pump resets it.
//! C3 A page that must wait for a held wire is copied to the heap before the pump goes to sleep,
//!    so a parked connection holds no receive buffer.
//!
//! Cost of an event: one borrow, one wire call, no allocation (slots and heads are recycled).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use engine::{Buf, Full, Piece, Stream, Timer};
use protocols::{
    AnyWire, Cx, Error, Event, Fault, Gone, Head, Length, Mux, ReadSide, Role, StreamId, Wire,
    WriteSide,
};

use crate::shard::State;
use crate::upstream::Permit;

/// Payload of one data event: a view of a receive buffer, or heap bytes. Never empty unless it
/// carries the end of a message.
#[derive(Debug)]
pub(crate) enum Chunk {
    Page(Buf),
    Heap(Bytes),
}

impl Chunk {
    pub(crate) fn len(&self) -> usize {
        match self {
            Chunk::Page(buf) => buf.len(),
            Chunk::Heap(bytes) => bytes.len(),
        }
    }

    fn slice(&self, range: Range<usize>) -> Chunk {
        match self {
            Chunk::Page(buf) => Chunk::Page(buf.slice(range)),
            Chunk::Heap(bytes) => Chunk::Heap(bytes.slice(range)),
        }
    }

    fn into_piece(self) -> Piece {
        match self {
            Chunk::Page(buf) => Piece::Buf(buf),
            Chunk::Heap(bytes) => Piece::Bytes(bytes),
        }
    }
}

/// What a stream's slot hands to the exchange, in order.
#[derive(Debug)]
pub(crate) enum Item {
    Head(Box<Head>, bool),
    Data(Chunk, bool),
    Trailers(Box<Head>),
    /// The peer ended the stream early, or the connection broke. Nothing follows.
    Reset {
        fault: Fault,
        unprocessed: bool,
    },
}

/// One stream's meeting point between the pump and its exchange.
#[derive(Default)]
pub(crate) struct Slot {
    inbox: VecDeque<Item>,
    inbox_bytes: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Why the stream can take no more: `Cancelled` for a peer that left.
    gone: Option<Fault>,
    /// The last item of the peer's message is in the inbox or was taken.
    ended: bool,
}

impl Slot {
    /// Back to empty, keeping a small inbox for the next stream.
    fn recycle(&mut self) {
        *self = Slot { inbox: std::mem::take(&mut self.inbox), ..Slot::default() };
        self.inbox.clear();
        self.inbox.shrink_to(SLOT_ITEMS_KEPT);
    }
}

/// Bytes received and not yet decoded.
enum Rest {
    Empty,
    Page(Buf),
    Heap(Bytes),
}

impl Rest {
    fn bytes(&self) -> &[u8] {
        match self {
            Rest::Empty => &[],
            Rest::Page(buf) => buf,
            Rest::Heap(bytes) => bytes,
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Rest::Empty)
    }

    fn chunk(&self, at: Range<usize>) -> Chunk {
        match self {
            Rest::Empty => Chunk::Heap(Bytes::new()),
            Rest::Page(buf) => Chunk::Page(buf.slice(at)),
            Rest::Heap(bytes) => Chunk::Heap(bytes.slice(at)),
        }
    }

    fn advance(&mut self, used: usize) {
        let len = self.bytes().len();
        if used >= len {
            *self = Rest::Empty;
            return;
        }
        match self {
            Rest::Empty => {}
            Rest::Page(buf) => *buf = buf.slice(used..len),
            Rest::Heap(bytes) => *bytes = bytes.slice(used..),
        }
    }

    /// C3: gives the receive buffer back.
    fn park(&mut self) {
        if let Rest::Page(buf) = self {
            *self = Rest::Heap(Bytes::copy_from_slice(buf));
        }
    }
}

struct Core {
    wire: AnyWire,
    slots: Vec<Option<Box<Slot>>>,
    rest: Rest,
    /// Decode once more although nothing arrived: after creation, an end of input, a write.
    poke: bool,
    /// The peer sends no more: `Some(true)` after a FIN, `Some(false)` after an error.
    eof: Option<bool>,
    eof_told: bool,
    shut: bool,
    bulk: bool,
    /// Bytes of the request body as declared; `u64::MAX` where that is unknown.
    body_bytes: u64,
    writers_wait: bool,
    /// The fault that ended the connection, for the log line of a request without an exchange.
    fault: Option<Fault>,
}

/// A connection: its socket, its wire, and the slots of its open streams.
pub(crate) struct Conn {
    pub(crate) stream: Stream,
    pub(crate) state: Rc<State>,
    pub(crate) role: Role,
    pub(crate) site: Site,
    /// Place in the shard's table of downstream connections.
    pub(crate) place: Cell<usize>,
    core: RefCell<Core>,
    notes: RefCell<Vec<StreamId>>,
    pump: RefCell<Option<Waker>>,
    timer: Timer,
    /// Requests started on this connection; 0 marks an upstream link as fresh.
    pub(crate) exchanges: Cell<u32>,
    pub(crate) closed: Cell<bool>,
}

/// What a connection belongs to.
pub(crate) enum Site {
    /// Index of the listener that accepted it.
    Listener(u32),
    /// The endpoint it leads to, and its share of the endpoint's links.
    Endpoint(Permit),
}

impl Site {
    fn role(&self) -> Role {
        match self {
            Site::Listener(_) => Role::Server,
            Site::Endpoint(_) => Role::Client,
        }
    }
}

/// What one step of the pump came to.
pub(crate) enum Step {
    /// A head arrived on a server wire: start its exchange.
    Head(StreamId, Box<Head>, bool),
    /// Nothing more to do until a wake-up.
    Wait,
    /// The connection is over; the socket finishes on its own.
    Closed,
}

impl Conn {
    pub(crate) fn new(state: &Rc<State>, stream: Stream, wire: AnyWire, site: Site) -> Rc<Conn> {
        let role = site.role();
        let timer = state.shard.timer();
        let core = Core {
            wire,
            slots: Vec::new(),
            rest: Rest::Empty,
            poke: true,
            eof: None,
            eof_told: false,
            shut: false,
            bulk: role == Role::Client,
            body_bytes: 0,
            writers_wait: false,
            fault: None,
        };
        Rc::new(Conn {
            stream,
            state: state.clone(),
            role,
            site,
            place: Cell::new(usize::MAX),
            core: RefCell::new(core),
            notes: RefCell::new(Vec::new()),
            pump: RefCell::new(None),
            timer,
            exchanges: Cell::new(0),
            closed: Cell::new(false),
        })
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
        self.seat(&mut core, id);
        drop(core);
        self.exchanges.set(self.exchanges.get().saturating_add(1));
        Some(End { conn: self.clone(), id, released: false })
    }

    /// The handle of a stream that the peer opened.
    pub(crate) fn end(self: &Rc<Conn>, id: StreamId) -> End {
        self.exchanges.set(self.exchanges.get().saturating_add(1));
        End { conn: self.clone(), id, released: false }
    }

    /// Ends the connection in order: the wire says so to the peer and closes when it is idle.
    pub(crate) fn drain(&self, last: bool) {
        self.call(|wire, cx| wire.drain(last, cx));
        self.wake();
    }

    /// Whether nothing is in progress on this connection.
    pub(crate) fn is_idle(&self) -> bool {
        self.core.borrow().slots.iter().all(Option::is_none)
    }

    /// Ends the connection now. Open streams learn of it by their slots.
    pub(crate) fn abort(&self) {
        self.closed.set(true);
        self.stream.abort();
        self.tell_all(Fault::Cancelled);
        self.wake();
    }

    /// Whether a further request may go out on this link.
    fn is_reusable(&self) -> bool {
        let core = self.core.borrow();
        let sides = core.wire.sides();
        !self.closed.get()
            && core.eof.is_none()
            && sides.read == ReadSide::Open
            && sides.write == WriteSide::Open
    }

    /// The fault that ended this connection, if any.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.core.borrow().fault
    }

    pub(crate) fn one_stream(&self) -> bool {
        self.core.borrow().wire.traits().mux == Mux::One
    }

    /// Wakes the pump: something changed that it must act on.
    pub(crate) fn wake(&self) {
        let waker = self.pump.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Remembers the pump's waker: once, since a task keeps its waker for life.
    pub(crate) fn attach(&self, cx: &Context<'_>) {
        let mut pump = self.pump.borrow_mut();
        match &mut *pump {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *pump = Some(cx.waker().clone()),
        }
    }

    fn seat(&self, core: &mut Core, id: StreamId) {
        let index = id.0 as usize;
        if core.slots.len() <= index {
            core.slots.resize_with(index + 1, || None);
        }
        if let Some(place) = core.slots.get_mut(index) {
            *place = Some(self.state.take_slot());
        }
    }

    /// Calls the wire with its context: the send queue's scratch, the time, the free heads.
    fn call<R>(&self, act: impl FnOnce(&mut AnyWire, &mut Cx<'_>) -> R) -> R {
        let mut core = self.core.borrow_mut();
        let wire = &mut core.wire;
        let mut heads = self.state.heads.borrow_mut();
        let now = self.state.shard.now();
        let result = self.stream.scratch(|out| act(wire, &mut Cx { now, out, heads: &mut heads }));
        core.poke = true;
        result
    }

    /// One step of the pump. The caller repeats it until it says `Wait` or `Closed`.
    pub(crate) fn step(&self, cx: &mut Context<'_>) -> Step {
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
        if core.wire.sides().read != ReadSide::Open || !core.may_decode() {
            return Ok(None);
        }
        if core.rest.is_empty() && !core.poke {
            return Ok(None);
        }
        let (wire, input) = (&mut core.wire, core.rest.bytes());
        let mut heads = self.state.heads.borrow_mut();
        let now = self.state.shard.now();
        let decoded = self
            .stream
            .scratch(|out| wire.decode(input, &mut Cx { now, out, heads: &mut heads }))?;
        core.poke = decoded.event.is_some();
        let received = decoded.event.map(|event| Received::new(event, &core.rest));
        core.rest.advance(decoded.used);
        Ok(received)
    }

    /// Gives an event to its slot; a server's head goes to the caller.
    fn dispatch(&self, received: Received) -> Option<Step> {
        let mut guard = self.core.borrow_mut();
        let core = &mut *guard;
        let (id, item, end) = match received {
            Received::Head(id, head, end) if self.role == Role::Server => {
                self.seat(core, id);
                core.body_bytes = body_bytes(&head, end);
                if let Some(slot) = core.slot(id) {
                    slot.ended = end;
                }
                return Some(Step::Head(id, head, end));
            }
            Received::Head(id, head, end) => (id, Item::Head(head, end), end),
            Received::Data(id, chunk, end) => (id, Item::Data(chunk, end), end),
            Received::Trailers(id, head) => (id, Item::Trailers(head), true),
            Received::Reset(id, fault, unprocessed) => {
                (id, Item::Reset { fault, unprocessed }, true)
            }
            Received::Writable => {
                core.writers_wait = true;
                return None;
            }
            Received::Closing => return None,
        };
        let waker = core.slot(id).and_then(|slot| slot.put(item, end));
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
        if !core.rest.is_empty() || !(held || core.may_decode()) {
            core.rest.park();
            drop(guard);
            self.watch_hangup(cx);
            return false;
        }
        self.choose_mode(core);
        drop(guard);
        match self.stream.poll_recv(cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(Some(buf))) => {
                self.core.borrow_mut().rest = Rest::Page(buf);
                true
            }
            Poll::Ready(Ok(None)) => self.end_of_input(true),
            Poll::Ready(Err(_)) => self.end_of_input(false),
        }
    }

    /// Bodies of more than a few pages come single-shot into the bulk group, heads by multishot
    /// into the small one (engine.md, "Receive").
    fn choose_mode(&self, core: &mut Core) {
        if self.role == Role::Client {
            return;
        }
        let bulk = core.body_bytes > BULK_BODY_BYTES_MIN;
        if bulk != core.bulk {
            core.bulk = bulk;
            if bulk { self.stream.bulk() } else { self.stream.heads() }
        }
    }

    /// The peer sends no more. Streams in progress learn that it left: a client that closes its
    /// side has given up its request, as nginx also reads it.
    fn end_of_input(&self, clean: bool) -> bool {
        self.core.borrow_mut().eof = Some(clean);
        if self.role == Role::Server {
            self.mark_gone();
        }
        true
    }

    /// Tells the wire of the end of input once everything before it is decoded.
    fn tell_end_of_input(&self) -> bool {
        let (clean, ready) = {
            let core = self.core.borrow();
            (core.eof, core.eof.is_some() && !core.eof_told && core.rest.is_empty())
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
        if self.role == Role::Client {
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
                core.slots.get_mut(index).and_then(Option::as_mut).and_then(|slot| act(slot))
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// The peer broke the protocol: the wire's last words, and every stream ends.
    pub(crate) fn fail(&self, error: Error) {
        self.core.borrow_mut().fault.get_or_insert(error.fault);
        self.call(|wire, cx| wire.fail(error, cx));
        let mut core = self.core.borrow_mut();
        core.rest = Rest::Empty;
        drop(core);
        self.tell_all(error.fault);
        if self.role == Role::Server && self.is_idle() {
            self.state.refused(self, error.fault);
        }
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

    /// Acts on the wire's deadline. True when it fired.
    fn expire(&self, cx: &mut Context<'_>) -> bool {
        let deadline = {
            let core = self.core.borrow();
            // While the reader holds the pump up, the peer is not to blame for silence.
            if core.may_decode() { core.wire.deadline() } else { None }
        };
        if deadline != self.timer.deadline() {
            self.timer.set(deadline);
        }
        // Polled even without a deadline: `release` may set one, and the wake-up is ours.
        if self.timer.poll_expired(cx).is_pending() || deadline.is_none() {
            return false;
        }
        self.timer.set(None);
        if let Err(error) = self.call(|wire, cx| wire.tick(cx)) {
            self.fail(error);
        }
        true
    }

    fn close_when_done(&self) -> Step {
        let (sides, idle, shut) = {
            let core = self.core.borrow();
            (core.wire.sides(), core.slots.iter().all(Option::is_none), core.shut)
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
        let must_reset = self.core.borrow().wire.must_reset();
        match self.role {
            _ if must_reset => self.stream.reset(),
            Role::Client => self.stream.abort(),
            Role::Server => self.stream.finish(self.state.shard.now() + FINISH_TIMEOUT),
        }
    }

    fn apply_notes(&self) {
        loop {
            let Some(id) = self.notes.borrow_mut().pop() else { return };
            self.call(|wire, cx| wire.reset(id, Fault::Cancelled, cx));
            self.free(id);
            if self.role == Role::Client && self.one_stream() {
                self.abort();
            }
        }
    }

    /// The stream's work is gone: its slot is recycled, its key may be used again.
    fn free(&self, id: StreamId) {
        self.call(|wire, _| wire.release(id));
        let slot = {
            let mut core = self.core.borrow_mut();
            core.body_bytes = 0;
            core.slots.get_mut(id.0 as usize).and_then(Option::take)
        };
        if let Some(mut slot) = slot {
            slot.recycle();
            self.state.give_slot(slot);
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

impl Core {
    fn slot(&mut self, id: StreamId) -> Option<&mut Slot> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// A one-stream wire is stopped by its reader; a multiplexed one is always decoded.
    fn may_decode(&self) -> bool {
        if self.wire.traits().mux != Mux::One {
            return true;
        }
        self.slots.iter().flatten().all(|slot| slot.inbox_bytes == 0 || slot.has_space())
    }
}

impl Slot {
    /// Bytes wait until the exchange takes them; a few small ones may queue up.
    fn has_space(&self) -> bool {
        self.inbox_bytes < INBOX_BYTES_MAX && self.inbox.len() < INBOX_ITEMS_MAX
    }

    fn put(&mut self, item: Item, end: bool) -> Option<Waker> {
        if self.ended && !matches!(item, Item::Reset { .. }) {
            return None;
        }
        if let Item::Data(chunk, _) = &item {
            self.inbox_bytes += chunk.len();
        }
        self.ended |= end;
        self.inbox.push_back(item);
        self.reader.take()
    }
}

/// An event whose payload range was turned into a chunk of the input it refers to.
enum Received {
    Head(StreamId, Box<Head>, bool),
    Data(StreamId, Chunk, bool),
    Trailers(StreamId, Box<Head>),
    Reset(StreamId, Fault, bool),
    Writable,
    Closing,
}

impl Received {
    fn new(event: Event, rest: &Rest) -> Received {
        match event {
            Event::Head { stream, head, end } => Received::Head(stream, head, end),
            Event::Data { stream, at, end, .. } => Received::Data(stream, rest.chunk(at), end),
            Event::Copied { stream, bytes, end, .. } => {
                Received::Data(stream, Chunk::Heap(Bytes::from(bytes)), end)
            }
            Event::Trailers { stream, head } => Received::Trailers(stream, head),
            Event::Reset { stream, fault, unprocessed } => {
                Received::Reset(stream, fault, unprocessed)
            }
            Event::Writable { .. } => Received::Writable,
            Event::Closing => Received::Closing,
        }
    }
}

/// An exchange's hold on one stream of a connection. Dropping it unreleased resets the stream.
pub(crate) struct End {
    conn: Rc<Conn>,
    id: StreamId,
    released: bool,
}

impl End {
    pub(crate) fn conn(&self) -> &Rc<Conn> {
        &self.conn
    }

    /// The next item of the peer's message.
    pub(crate) fn poll_item(&self, cx: &mut Context<'_>) -> Poll<Item> {
        let mut core = self.conn.core.borrow_mut();
        let Some(slot) = core.slot(self.id) else {
            return Poll::Ready(Item::Reset { fault: Fault::Cancelled, unprocessed: false });
        };
        let Some(item) = slot.inbox.pop_front() else {
            slot.wait(cx);
            return Poll::Pending;
        };
        let mut resume = false;
        if let Item::Data(chunk, _) = &item {
            resume = slot.inbox_bytes > 0;
            slot.inbox_bytes -= chunk.len();
        }
        drop(core);
        if resume {
            self.conn.wake();
        }
        Poll::Ready(item)
    }

    /// Ready when a data call may be made: it is this stream's turn and the queue has room.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut core = self.conn.core.borrow_mut();
        if core.slot(self.id).is_none_or(|slot| slot.gone.is_some()) {
            return Poll::Ready(Err(Gone));
        }
        if self.conn.stream.room() > 0 && core.wire.ready(self.id) {
            return Poll::Ready(Ok(()));
        }
        let first = !core.writers_wait;
        core.writers_wait = true;
        if let Some(slot) = core.slot(self.id) {
            slot.writer = Some(cx.waker().clone());
        }
        drop(core);
        if first {
            self.conn.wake();
        }
        Poll::Pending
    }

    /// Ready when the peer left or broke the protocol while this stream was in progress.
    pub(crate) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<Fault> {
        let mut core = self.conn.core.borrow_mut();
        let Some(slot) = core.slot(self.id) else { return Poll::Ready(Fault::Cancelled) };
        match slot.gone {
            Some(fault) => Poll::Ready(fault),
            None => {
                slot.wait(cx);
                Poll::Pending
            }
        }
    }

    pub(crate) fn send_head(&self, head: &Head, end: bool) -> Result<(), Gone> {
        self.conn.call(|wire, cx| wire.head(self.id, head, end, cx))
    }

    /// Frames and queues a chunk. Returns what the wire did not take (a closed window).
    pub(crate) fn send_data(&self, chunk: Chunk, end: bool) -> Result<Option<Chunk>, Gone> {
        let len = chunk.len();
        let framing = self.conn.call(|wire, cx| wire.data(self.id, len, end, cx))?;
        let rest = (framing.take < len).then(|| chunk.slice(framing.take..len));
        if framing.take > 0 {
            let taken = if rest.is_some() { chunk.slice(0..framing.take) } else { chunk };
            self.queue(taken.into_piece());
        }
        if !framing.suffix.is_empty() {
            self.queue(Piece::Static(framing.suffix));
        }
        Ok(rest)
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
        self.conn.call(|wire, cx| wire.end(self.id, trailers, cx))
    }

    /// Ends this stream in error: the peer sees a cut, never a clean end.
    pub(crate) fn reset(&self, fault: Fault) {
        self.conn.call(|wire, cx| wire.reset(self.id, fault, cx));
        if self.conn.role == Role::Client && self.conn.one_stream() {
            self.conn.abort();
        }
    }

    /// Answers with a small complete message that needs no room: it goes into scratch.
    pub(crate) fn send_small(&self, head: &Head, body: &[u8]) -> Result<(), Gone> {
        self.conn.call(|wire, cx| {
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
            Site::Listener(_) if self.conn.one_stream() => {}
            Site::Endpoint(permit) if self.conn.is_reusable() => {
                self.conn.timer.set(self.conn.core.borrow().wire.deadline());
                permit.endpoint().give_back(&self.conn);
            }
            Site::Listener(_) | Site::Endpoint(_) => self.conn.wake(),
        }
    }
}

impl Slot {
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.reader = Some(cx.waker().clone()),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.released {
            self.conn.notes.borrow_mut().push(self.id);
            self.conn.wake();
        }
    }
}

/// The task of a connection. A one-stream wire runs its exchange inside; a multiplexed one gets a
/// task a stream.
pub(crate) struct Pump {
    conn: Rc<Conn>,
    exchange: Option<Pin<Box<dyn Future<Output = ()>>>>,
    start: fn(End, Box<Head>, bool) -> Pin<Box<dyn Future<Output = ()>>>,
}

impl Pump {
    pub(crate) fn new(
        conn: Rc<Conn>,
        start: fn(End, Box<Head>, bool) -> Pin<Box<dyn Future<Output = ()>>>,
    ) -> Pump {
        Pump { conn, exchange: None, start }
    }

    fn begin(&mut self, id: StreamId, head: Box<Head>, end: bool) {
        let exchange = (self.start)(self.conn.end(id), head, end);
        if self.conn.one_stream() {
            self.exchange = Some(exchange);
        } else {
            self.conn.state.shard.spawn(exchange);
        }
    }

    fn poll_exchange(&mut self, cx: &mut Context<'_>) {
        if let Some(exchange) = &mut self.exchange
            && exchange.as_mut().poll(cx).is_ready()
        {
            self.exchange = None;
        }
    }
}

impl Future for Pump {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pump = self.get_mut();
        pump.conn.attach(cx);
        loop {
            pump.poll_exchange(cx);
            match pump.conn.step(cx) {
                Step::Head(id, head, end) => pump.begin(id, head, end),
                Step::Wait => return Poll::Pending,
                Step::Closed if pump.exchange.is_none() => return Poll::Ready(()),
                Step::Closed => return Poll::Pending,
            }
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.exchange = None;
        if !self.conn.closed.replace(true) {
            self.conn.stream.abort();
            self.conn.tell_all(Fault::Cancelled);
        }
        self.conn.state.closed(&self.conn);
    }
}

/// What the client has to take the rest of its last reply; the engine then lingers for at most a
/// second more.
const FINISH_TIMEOUT: Duration = Duration::from_secs(60);
/// A body from this size on is received into the bulk group: below it the two extra submissions
/// cost more than the larger buffer saves.
const BULK_BODY_BYTES_MIN: u64 = 8 * 1024;
/// Payload of one stream that may wait for its exchange; the receive stops above it.
const INBOX_BYTES_MAX: usize = 64 * 1024;
/// Items of one stream that may wait: bounds a body of many one-byte chunks.
const INBOX_ITEMS_MAX: usize = 64;
/// Inbox capacity that a recycled slot keeps.
const SLOT_ITEMS_KEPT: usize = 8;
