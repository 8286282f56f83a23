//! A stream's slot: where the pump leaves what the peer sent and the exchange picks it up.
//!
//! Both are tasks of one shard, so a slot is plain data under the connection's borrow: a bounded
//! inbox, who waits for it, and why the stream may be over. Slots are recycled per shard.

use std::collections::VecDeque;
use std::task::{Context, Waker};

use engine::Buf;
use protocols::{Event, Fault, Head, StreamId};

/// What a stream's slot hands to the exchange, in order.
#[derive(Debug)]
pub(crate) enum Item {
    Head(Box<Head>, bool),
    /// Payload; never empty unless it ends the message.
    Data(Buf, bool),
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
    pub(crate) inbox: VecDeque<Item>,
    pub(crate) inbox_bytes: usize,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// Why the stream can take no more: `Cancelled` for a peer that left.
    pub(crate) gone: Option<Fault>,
    /// The last item of the peer's message is in the inbox or was taken.
    pub(crate) ended: bool,
    /// The exchange asked for an item and found none.
    pub(crate) hungry: bool,
}

impl Slot {
    /// Back to empty, keeping a small inbox for the next stream.
    pub(crate) fn recycle(&mut self) {
        *self = Slot { inbox: std::mem::take(&mut self.inbox), ..Slot::default() };
        self.inbox.clear();
        self.inbox.shrink_to(SLOT_ITEMS_KEPT);
    }
}

impl Slot {
    /// Bytes wait until the exchange takes them; a few small ones may queue up.
    pub(crate) fn has_space(&self) -> bool {
        self.inbox_bytes < INBOX_BYTES_MAX && self.inbox.len() < INBOX_ITEMS_MAX
    }

    pub(crate) fn put(&mut self, item: Item, end: bool) -> Option<Waker> {
        if self.ended && !matches!(item, Item::Reset { .. }) {
            return None;
        }
        if let Item::Data(payload, _) = &item {
            self.inbox_bytes += payload.len();
        }
        self.ended |= end;
        self.hungry = false;
        self.inbox.push_back(item);
        self.reader.take()
    }

    /// Remembers whom to wake for the next item.
    pub(crate) fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.reader = Some(cx.waker().clone()),
        }
    }
}

/// A connection's open streams by key. The first one, all that HTTP/1 has, needs no heap.
#[derive(Default)]
pub(crate) struct Slots {
    first: Option<Box<Slot>>,
    #[expect(clippy::box_collection, reason = "one word in an idle connection")]
    more: Option<Box<Vec<Option<Box<Slot>>>>>,
}

impl Slots {
    fn place(&mut self, index: usize) -> Option<&mut Option<Box<Slot>>> {
        match index.checked_sub(1) {
            None => Some(&mut self.first),
            Some(index) => self.more.as_mut()?.get_mut(index),
        }
    }

    pub(crate) fn seat(&mut self, id: StreamId, slot: Box<Slot>) {
        let index = id.0 as usize;
        if self.len() as usize <= index {
            self.more.get_or_insert_default().resize_with(index, || None);
        }
        if let Some(place) = self.place(index) {
            *place = Some(slot);
        }
    }

    pub(crate) fn get(&mut self, id: StreamId) -> Option<&mut Slot> {
        self.place(id.0 as usize)?.as_deref_mut()
    }

    pub(crate) fn take(&mut self, id: StreamId) -> Option<Box<Slot>> {
        self.place(id.0 as usize)?.take()
    }

    /// One more than the largest key in use.
    pub(crate) fn len(&self) -> u32 {
        1 + self.more.as_ref().map_or(0, |more| more.len() as u32)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        let more = self.more.iter().flat_map(|more| more.iter().flatten());
        self.first.iter().chain(more).map(|slot| &**slot)
    }
}

/// An event whose payload range was turned into a chunk of the input it refers to.
pub(crate) enum Received {
    Head(StreamId, Box<Head>, bool),
    /// With its bytes of flow control.
    Data(StreamId, Buf, bool, u32),
    Trailers(StreamId, Box<Head>),
    Reset(StreamId, Fault, bool),
    Refused(Fault, bool),
    Writable(Option<StreamId>),
    Closing,
}

impl Received {
    /// `input` is what the wire decoded, if it decoded anything.
    pub(crate) fn new(event: Event, input: Option<&Buf>) -> Received {
        match event {
            Event::Head { stream, head, end } => Received::Head(stream, head, end),
            Event::Data { stream, at, end, charge } => {
                let payload = input.map_or_else(|| Buf::copy_of(&[]), |input| input.slice(at));
                Received::Data(stream, payload, end, charge)
            }
            Event::Copied { stream, bytes, end, charge } => {
                Received::Data(stream, Buf::copy_of(&bytes), end, charge)
            }
            Event::Trailers { stream, head } => Received::Trailers(stream, head),
            Event::Reset { stream, fault, unprocessed } => {
                Received::Reset(stream, fault, unprocessed)
            }
            Event::Refused { fault, is_call } => Received::Refused(fault, is_call),
            Event::Writable { stream } => Received::Writable(stream),
            Event::Closing => Received::Closing,
        }
    }
}

/// Payload of one stream that may wait for its exchange; the receive stops above it.
const INBOX_BYTES_MAX: usize = 64 * 1024;
/// Items of one stream that may wait: bounds a body of many one-byte chunks.
const INBOX_ITEMS_MAX: usize = 64;
/// Inbox capacity that a recycled slot keeps.
const SLOT_ITEMS_KEPT: usize = 8;
