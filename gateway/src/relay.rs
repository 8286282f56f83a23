//! The only duplex loop: items of the request one way, items of the reply the other (A6).
//!
//! Payload is moved, not copied: a chunk that came in is the chunk that goes out. Each direction
//! holds at most one item that the other side has no room for; nothing more is taken from the slot
//! until it is gone, the slot then fills up, and the pump stops receiving: that is the whole
//! backpressure of a one-stream wire.
//!
//! L1 Once the reply's head went out, a failure is a cut, never a clean end.
//! L2 A request direction that breaks does not end the exchange: the reply may already be there
//!    (an early answer followed by a reset). Only the reply's end or its failure does.

use std::cell::Cell;
use std::task::{Context, Poll};

use engine::Buf;
use protocols::{Fault, Head, Length};

use crate::end::End;
use crate::exchange::{Track, client_cause};
use crate::failure::{Cause, Failure, Stage};
use crate::slot::Item;

/// What one direction still has to do.
enum Flow {
    /// The next item is to be taken.
    Open,
    /// A chunk (and whether it ends the message) waits for room.
    Blocked(Buf, bool),
    /// The message is complete.
    Done,
    /// The other side takes no more; what still comes is dropped.
    Broken,
}

/// What a direction's step came to.
enum Moved {
    /// Something was moved.
    Some,
    /// The source has nothing, or the target no room.
    Waiting {
        on_target: bool,
    },
    /// A head came (replies only).
    Head(Box<Head>, bool),
    /// The source ended in error.
    Cut {
        fault: Fault,
        unprocessed: bool,
    },
    /// The target takes no more.
    Gone,
    /// The message is longer than it may be; what is too much was not passed on.
    TooLarge,
    Finished,
}

/// Where a direction's payload is counted, and how much there may be.
struct Count<'a> {
    bytes: &'a Cell<u64>,
    max: Option<u64>,
}

impl Count<'_> {
    /// Counts `len` more. False when that is too much.
    fn add(&self, len: usize) -> bool {
        let bytes = self.bytes.get() + len as u64;
        self.bytes.set(bytes);
        self.max.is_none_or(|max| bytes <= max)
    }
}

/// One exchange's two directions, after the request's head went to the upstream.
pub(crate) struct Relay<'a> {
    track: &'a Track,
    down: &'a End,
    up: &'a End,
    request: Flow,
    reply: Flow,
}

impl<'a> Relay<'a> {
    /// `end`: the request had no body.
    pub(crate) fn new(track: &'a Track, down: &'a End, up: &'a End, end: bool) -> Relay<'a> {
        let request = if end { Flow::Done } else { Flow::Open };
        Relay { track, down, up, request, reply: Flow::Open }
    }

    /// Moves what can be moved. Ready once the reply is complete or the exchange failed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.poll_request(cx)?;
        self.poll_reply(cx)
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while !matches!(self.request, Flow::Done) {
            let count = Count { bytes: &self.track.bytes_in, max: self.track.body_bytes_max.get() };
            match step(&mut self.request, self.down, self.up, count, cx) {
                Moved::Some => self.track.request_progress(),
                Moved::TooLarge => return Err(self.failure(Cause::BodyTooLarge)),
                Moved::Finished => self.track.request_sent(),
                Moved::Gone => self.request = Flow::Broken,
                Moved::Cut { fault, .. } => {
                    return Err(self.failure(client_cause(&self.track.state, fault)));
                }
                Moved::Head(..) | Moved::Waiting { .. } => break,
            }
        }
        Ok(())
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        loop {
            if self.must_wait(cx) {
                self.track.reply_waits(true);
                return Poll::Pending;
            }
            let count = Count { bytes: &self.track.bytes_out, max: None };
            match step(&mut self.reply, self.up, self.down, count, cx) {
                Moved::Some | Moved::TooLarge => self.track.reply_progress(),
                Moved::Head(head, end) => {
                    if self.reply_head(head, end)? {
                        return Poll::Ready(Ok(()));
                    }
                }
                Moved::Finished => return Poll::Ready(Ok(())),
                Moved::Gone => return Poll::Ready(Err(self.failure(Cause::ClientGone))),
                Moved::Cut { fault, unprocessed } => {
                    let failure = self.failure(Cause::UpstreamFault(fault));
                    return Poll::Ready(Err(Failure { unprocessed, ..failure }));
                }
                Moved::Waiting { on_target } => {
                    self.track.reply_waits(on_target);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Nothing more of a reply is asked for while the client's queue has no room for it.
    fn must_wait(&self, cx: &mut Context<'_>) -> bool {
        let begun = self.track.reply_has_started() && matches!(self.reply, Flow::Open);
        let waits = begun && self.down.poll_ready(cx).is_pending();
        if waits {
            self.up.unpin();
        }
        waits
    }

    /// Passes a reply head on. True when the reply ends with it.
    fn reply_head(&mut self, mut head: Box<Head>, end: bool) -> Result<bool, Failure> {
        let status = head.status();
        head.remove_hop_by_hop();
        if self.down.send_head(&head, end).is_err() {
            return Err(self.failure(Cause::ClientGone));
        }
        let interim = (100..200).contains(&status) && head.length() != Length::Tunnel;
        if !interim {
            self.track.reply_started(status);
        }
        self.track.state.give_head(head);
        Ok(end && !interim)
    }

    fn failure(&self, cause: Cause) -> Failure {
        let stage =
            if self.track.reply_has_started() { Stage::ReplyBody } else { Stage::ReplyHead };
        Failure::new(stage, cause)
    }
}

/// Moves one item from `from` to `to`, counting its payload.
fn step(flow: &mut Flow, from: &End, to: &End, count: Count<'_>, cx: &mut Context<'_>) -> Moved {
    match std::mem::replace(flow, Flow::Open) {
        Flow::Blocked(payload, end) => return deliver(flow, to, (payload, end), cx),
        Flow::Broken => {
            *flow = Flow::Broken;
            return discard(from, cx);
        }
        Flow::Done => {
            *flow = Flow::Done;
            return Moved::Finished;
        }
        Flow::Open => {}
    }
    match from.poll_item(cx) {
        Poll::Pending => Moved::Waiting { on_target: false },
        Poll::Ready(Item::Head(head, end)) => Moved::Head(head, end),
        Poll::Ready(Item::Reset { fault, unprocessed }) => Moved::Cut { fault, unprocessed },
        Poll::Ready(Item::Trailers(head)) => finish(flow, to, Some(&head)),
        Poll::Ready(Item::Data(payload, end)) => {
            if !count.add(payload.len()) {
                Moved::TooLarge
            } else if !payload.is_empty() {
                deliver(flow, to, (payload, end), cx)
            } else if end {
                finish(flow, to, None)
            } else {
                Moved::Some
            }
        }
    }
}

fn deliver(flow: &mut Flow, to: &End, item: (Buf, bool), cx: &mut Context<'_>) -> Moved {
    let (payload, end) = item;
    match to.poll_ready(cx) {
        Poll::Pending => {
            *flow = Flow::Blocked(payload, end);
            return Moved::Waiting { on_target: true };
        }
        Poll::Ready(Err(_)) => return Moved::Gone,
        Poll::Ready(Ok(())) => {}
    }
    match to.send_data(payload, end) {
        Err(_) => Moved::Gone,
        Ok(Some(rest)) => {
            *flow = Flow::Blocked(rest, end);
            Moved::Some
        }
        Ok(None) if end => {
            *flow = Flow::Done;
            Moved::Finished
        }
        Ok(None) => Moved::Some,
    }
}

fn finish(flow: &mut Flow, to: &End, trailers: Option<&Head>) -> Moved {
    *flow = Flow::Done;
    if to.send_end(trailers).is_ok() { Moved::Finished } else { Moved::Gone }
}

/// Drops what a broken direction still brings, so that its source is not held up.
fn discard(from: &End, cx: &mut Context<'_>) -> Moved {
    match from.poll_item(cx) {
        Poll::Pending => Moved::Waiting { on_target: false },
        Poll::Ready(Item::Reset { fault, unprocessed }) => Moved::Cut { fault, unprocessed },
        Poll::Ready(_) => Moved::Some,
    }
}
