//! `Stash`: the body of a message on the heap, where its route asks for buffering.
//!
//! A request is collected whole before an endpoint is picked, so that a slow client holds no link
//! and a try can be repeated; a reply is taken from its upstream faster than the client reads it,
//! so that the link comes free early. What a stash holds counts against one budget of the shard
//! (`buffered-bytes`) and is given back when it is dropped.
//!
//! Not here: limits of a body as such; the exchange counts those. Invariant: `held` is what this
//! stash has in the shard's count. Cost: one copy of each byte, two of small pieces.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use engine::Buf;
use protocols::{Fault, Head};

use crate::end::End;
use crate::shard::State;
use crate::slot::Item;

/// A body, or the part of it that is here.
pub(crate) struct Stash {
    state: Rc<State>,
    pieces: VecDeque<Buf>,
    /// Small pieces, joined until they are worth one of their own.
    tail: Vec<u8>,
    trailers: Option<Box<Head>>,
    bytes_max: u64,
    held: u64,
    /// The last byte of the message is here.
    whole: bool,
}

/// Why a stash takes no more now.
pub(crate) enum Filled {
    /// The message is here to its end.
    Whole,
    /// It holds more than it may.
    Full,
    /// The shard holds more than it may.
    OverBudget,
    /// A head came, which is not for the stash.
    Head(Box<Head>, bool),
    /// The peer broke off.
    Cut { fault: Fault, unprocessed: bool },
}

impl Stash {
    /// For at most `bytes_max` and what came with the last of them.
    pub(crate) fn new(state: &Rc<State>, bytes_max: u64) -> Stash {
        Stash {
            state: state.clone(),
            pieces: VecDeque::new(),
            tail: Vec::new(),
            trailers: None,
            bytes_max,
            held: 0,
            whole: false,
        }
    }

    /// Takes what the peer of `from` has sent. An empty stash takes one item whatever the budget
    /// says, so that a message never stops for want of it.
    pub(crate) fn poll_fill(&mut self, from: &End, cx: &mut Context<'_>) -> Poll<Filled> {
        loop {
            if self.whole {
                return Poll::Ready(Filled::Whole);
            }
            if self.held > self.bytes_max {
                return Poll::Ready(Filled::Full);
            }
            if self.held > 0 && self.state.is_over_buffered() {
                return Poll::Ready(Filled::OverBudget);
            }
            match ready!(from.poll_item(cx)) {
                Item::Data(payload, end) => {
                    self.take(&payload);
                    self.whole = end;
                }
                Item::Trailers(head) => {
                    self.trailers = Some(head);
                    self.whole = true;
                }
                Item::Head(head, end) => return Poll::Ready(Filled::Head(head, end)),
                Item::Reset { fault, unprocessed } => {
                    return Poll::Ready(Filled::Cut { fault, unprocessed });
                }
            }
        }
    }

    fn take(&mut self, payload: &[u8]) {
        self.hold(payload.len() as u64);
        if payload.len() >= PIECE_BYTES {
            self.seal();
            self.pieces.push_back(Buf::copy_of(payload));
            return;
        }
        self.tail.extend_from_slice(payload);
        if self.tail.len() >= PIECE_BYTES {
            self.seal();
        }
    }

    fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push_back(Buf::copy_of(&self.tail));
            self.tail.clear();
        }
    }

    fn hold(&mut self, bytes: u64) {
        self.held += bytes;
        self.state.buffered.set(self.state.buffered.get() + bytes);
    }

    fn let_go(&mut self, bytes: u64) {
        self.held -= bytes;
        self.state.buffered.set(self.state.buffered.get() - bytes);
    }

    /// Bytes here now.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// Whether nothing more will come in.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// The next piece, to be passed on and forgotten. Pending while nothing is here: who filled
    /// the stash last is woken by the next item.
    pub(crate) fn poll_item(&mut self) -> Poll<Item> {
        if self.pieces.is_empty() {
            self.seal();
        }
        if let Some(piece) = self.pieces.pop_front() {
            self.let_go(piece.len() as u64);
            let last = self.pieces.is_empty() && self.tail.is_empty();
            return Poll::Ready(Item::Data(piece, self.whole && last && self.trailers.is_none()));
        }
        if !self.whole {
            return Poll::Pending;
        }
        let end = || Item::Data(Buf::copy_of(&[]), true);
        Poll::Ready(self.trailers.take().map_or_else(end, Item::Trailers))
    }

    /// Makes a whole message fit to be sent more than once.
    pub(crate) fn into_stored(mut self) -> Stored {
        debug_assert!(self.whole, "a part of a message is never stored");
        self.seal();
        Stored { stash: self }
    }
}

impl Drop for Stash {
    fn drop(&mut self) {
        self.let_go(self.held);
        if let Some(trailers) = self.trailers.take() {
            self.state.give_head(trailers);
        }
    }
}

/// A whole body that stays until its exchange ends.
pub(crate) struct Stored {
    stash: Stash,
}

impl Stored {
    /// The `index`-th piece.
    pub(crate) fn piece(&self, index: usize) -> Option<&Buf> {
        self.stash.pieces.get(index)
    }

    /// What follows the last piece.
    pub(crate) fn trailers(&self) -> Option<&Head> {
        self.stash.trailers.as_deref()
    }

    /// The same, to be changed.
    pub(crate) fn trailers_mut(&mut self) -> Option<&mut Head> {
        self.stash.trailers.as_deref_mut()
    }

    /// All of it in one piece: a copy.
    pub(crate) fn joined(&self) -> Vec<u8> {
        self.stash.pieces.iter().flat_map(|piece| piece.iter().copied()).collect()
    }

    /// Bytes of the body.
    pub(crate) fn bytes(&self) -> u64 {
        self.stash.held
    }
}

/// Pieces below this are joined: one allocation and one piece to send for many small ones.
const PIECE_BYTES: usize = 16 * 1024;
