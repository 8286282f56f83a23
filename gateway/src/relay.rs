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
//! L3 A tunnel is over when both of its directions are; the end of one is passed on as an end.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};

use engine::Buf;
use protocols::grpc::web::BadBody;
use protocols::{Changed, Fault, Head, Length, Transform};

use crate::end::End;
use crate::exchange::client_cause;
use crate::failure::{Cause, Failure, Stage};
use crate::hops;
use crate::metadata;
use crate::slot::Item;
use crate::stash::{Filled, Stash, Stored};
use crate::track::Track;

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
    /// The message ended with trailers, which are to be passed on.
    Trailers(Box<Head>),
    /// The target takes no more.
    Gone,
    /// The message is longer than it may be; what is too much was not passed on.
    TooLarge,
    /// What came cannot be turned into what is to go on.
    Bad(BadBody),
    Finished,
}

/// What happens to a direction's payload on its way.
struct Lane<'a> {
    /// Where it is counted.
    bytes: &'a Cell<u64>,
    /// How much may come.
    max: Option<u64>,
    /// What is sent is counted, not what comes.
    counts_sent: bool,
    /// What it is turned into.
    change: Option<&'a RefCell<Option<Transform>>>,
}

impl Lane<'_> {
    /// Counts `len` more. False when that is too much.
    fn add(&self, len: usize) -> bool {
        let bytes = self.bytes.get() + len as u64;
        self.bytes.set(bytes);
        self.max.is_none_or(|max| bytes <= max)
    }

    /// What goes on of a piece; it may be nothing.
    fn put_through(&self, payload: Buf, end: bool) -> Result<Buf, BadBody> {
        let Some(change) = self.change else { return Ok(payload) };
        let mut out = Vec::new();
        let Some(transform) = &mut *change.borrow_mut() else { return Ok(payload) };
        let changed = transform.data(&payload, &mut out)?;
        if end {
            transform.end(None, &mut out)?;
        }
        Ok(match changed {
            Changed::Nothing => payload,
            Changed::Written => Buf::copy_of(&out),
        })
    }

    /// The message ends, with trailers if it has any. Gives its last piece where something is made
    /// of them; they do not go on then.
    fn end(&self, trailers: Option<&Head>) -> Result<Option<Buf>, BadBody> {
        let Some(change) = self.change else { return Ok(None) };
        let Some(transform) = &mut *change.borrow_mut() else { return Ok(None) };
        let mut out = Vec::new();
        transform.end(trailers, &mut out)?;
        Ok(Some(Buf::copy_of(&out)))
    }
}

/// What follows a request's head.
pub(crate) enum Body {
    /// Nothing.
    None,
    /// It comes as the client sends it.
    Flows,
    /// It was collected before.
    Stored(Box<Stored>),
}

impl Body {
    /// Whether it can be sent once more after a part of it was sent.
    pub(crate) fn is_repeatable(&self) -> bool {
        !matches!(self, Body::Flows)
    }
}

/// One exchange's two directions, after the request's head went to the upstream.
pub(crate) struct Relay<'a> {
    track: &'a Track,
    down: &'a End,
    /// `None` once the upstream's part is over, while the client still takes what is stashed.
    up: Option<End>,
    stored: Option<&'a Stored>,
    /// Pieces of `stored` that were sent.
    stored_sent: usize,
    /// Where the reply waits for the client, if its route wants that.
    stash: Option<Box<Stash>>,
    request: Flow,
    reply: Flow,
    /// The head of a reply of Thrift that cannot go out yet: older replies go first, or how long
    /// the reply is has still to be seen.
    held: Option<(Box<Head>, bool)>,
    /// The reply made both connections a tunnel.
    tunnel: bool,
}

impl<'a> Relay<'a> {
    pub(crate) fn new(track: &'a Track, down: &'a End, up: End, body: &'a Body) -> Relay<'a> {
        let (request, stored) = match body {
            Body::None => (Flow::Done, None),
            Body::Flows => (Flow::Open, None),
            Body::Stored(stored) => (Flow::Open, Some(&**stored)),
        };
        if let Some(web) = track.web() {
            web.begin_try();
        }
        let stash = if up.conn().is_serial() { None } else { track.reply_stash() };
        Relay {
            track,
            down,
            up: Some(up),
            stored,
            stored_sent: 0,
            stash,
            request,
            reply: Flow::Open,
            held: None,
            tunnel: false,
        }
    }

    /// Moves what can be moved. Ready once the reply is complete, its link given back, or the
    /// exchange failed.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.poll_request(cx)?;
        let replied = self.poll_reply(cx)?;
        if replied.is_pending() {
            self.release_early();
            return Poll::Pending;
        }
        if self.tunnel && self.request_is_open() {
            return Poll::Pending;
        }
        self.reply = Flow::Done;
        if self.is_serial() && self.request_is_open() {
            // Half a message would end the calls of others: the server has to take the rest, and
            // has as much time for it as for a reply.
            self.track.reply_waits(false);
            return Poll::Pending;
        }
        self.release();
        Poll::Ready(Ok(()))
    }

    fn release(&mut self) {
        if let Some(up) = self.up.take() {
            up.release();
        }
    }

    /// The upstream has said all and heard all: its link is free, whatever the client still takes.
    fn release_early(&mut self) {
        let heard = matches!(self.request, Flow::Done);
        if heard && self.stash.as_deref().is_some_and(Stash::is_whole) {
            self.release();
        }
    }

    fn request_is_open(&self) -> bool {
        matches!(self.request, Flow::Open | Flow::Blocked(..))
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while !matches!(self.request, Flow::Done) {
            let Some(up) = &self.up else { break };
            let lane = Lane {
                bytes: &self.track.bytes_in,
                max: self.track.body_bytes_max.get(),
                counts_sent: false,
                change: self.track.web().map(|web| &web.request),
            };
            let mut moved = match self.stored {
                Some(stored) if !matches!(self.request, Flow::Broken) => {
                    let next = Next { stored, sent: &mut self.stored_sent };
                    send_stored(&mut self.request, next, up, &lane, cx)
                }
                _ => step(&mut self.request, Source::End(self.down), up, &lane, cx),
            };
            if let Moved::Trailers(mut trailers) = moved {
                metadata::admit_trailers(&self.track.state, &mut trailers);
                moved = end_request(&mut self.request, up, &lane, Some(&trailers));
                self.track.state.give_head(trailers);
            }
            match moved {
                Moved::Some => self.track.request_progress(),
                Moved::TooLarge => return Err(self.failure(Cause::BodyTooLarge)),
                Moved::Bad(bad) => return Err(self.failure(Cause::BadGrpcWeb(bad))),
                Moved::Finished => self.track.request_sent(),
                Moved::Gone => self.request = Flow::Broken,
                Moved::Cut { fault, .. } => {
                    return Err(self.failure(client_cause(&self.track.state, fault)));
                }
                Moved::Head(..) | Moved::Trailers(_) | Moved::Waiting { .. } => break,
            }
        }
        Ok(())
    }

    fn poll_reply(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, Failure> {
        loop {
            self.fill_stash(cx)?;
            match self.poll_held(cx)? {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(true) => return Ok(Poll::Ready(())),
                Poll::Ready(false) => {}
            }
            if self.must_wait(cx) {
                self.track.reply_waits(true);
                return Ok(Poll::Pending);
            }
            let lane = self.reply_lane();
            let source = match (&mut self.stash, &self.up) {
                (Some(stash), _) => Source::Stash(stash),
                (None, Some(up)) => Source::End(up),
                (None, None) => return Ok(Poll::Pending),
            };
            match step(&mut self.reply, source, self.down, &lane, cx) {
                Moved::Trailers(trailers) => {
                    let is_over = self.reply_trailers(&trailers)?;
                    self.track.state.give_head(trailers);
                    if is_over {
                        return Ok(Poll::Ready(()));
                    }
                }
                Moved::Bad(_) => return Err(self.bad_reply()),
                Moved::Some | Moved::TooLarge => self.track.reply_progress(),
                Moved::Head(head, end) => {
                    if self.take_head(head, end, cx)? {
                        return Ok(Poll::Ready(()));
                    }
                }
                Moved::Finished => return Ok(Poll::Ready(())),
                Moved::Gone => return Err(self.failure(Cause::ClientGone)),
                Moved::Cut { fault, unprocessed } => {
                    let failure = self.failure(Cause::UpstreamFault(fault));
                    return Err(Failure { unprocessed, ..failure });
                }
                Moved::Waiting { on_target } => {
                    self.track.reply_waits(on_target);
                    return Ok(Poll::Pending);
                }
            }
        }
    }

    /// Nothing more of a reply is asked for while the client's queue has no room for it.
    fn must_wait(&self, cx: &mut Context<'_>) -> bool {
        let begun = self.track.reply_has_started() && matches!(self.reply, Flow::Open);
        let waits = begun && self.down.poll_ready(cx).is_pending();
        if let (true, Some(up)) = (waits, &self.up) {
            up.unpin();
        }
        waits
    }

    /// Takes what the upstream sent, as far as the stash goes, and passes its heads on.
    fn fill_stash(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        while let (Some(stash), Some(up)) = (&mut self.stash, &self.up) {
            match stash.poll_fill(up, cx) {
                Poll::Ready(Filled::Head(head, end)) => {
                    self.take_head(head, end, cx)?;
                    if end || self.tunnel {
                        self.stash = None;
                    }
                    if end {
                        self.reply = Flow::Done;
                    }
                }
                Poll::Ready(Filled::Cut { fault, unprocessed }) => {
                    let failure = self.failure(Cause::UpstreamFault(fault));
                    return Err(Failure { unprocessed, ..failure });
                }
                Poll::Ready(Filled::Full | Filled::OverBudget)
                    if up.conn().is_serial() || self.is_measuring() =>
                {
                    return Err(self.failure(Cause::BufferBudget));
                }
                Poll::Ready(Filled::Whole | Filled::Full | Filled::OverBudget) => break,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn reply_lane(&self) -> Lane<'a> {
        Lane {
            bytes: &self.track.bytes_out,
            max: None,
            counts_sent: true,
            change: self.track.web().map(|web| &web.reply),
        }
    }

    /// Passes a reply's trailers on, which end it. False when they became a last piece of the body,
    /// which is to be sent.
    fn reply_trailers(&mut self, trailers: &Head) -> Result<bool, Failure> {
        self.track.note_grpc_status(trailers);
        let lane = self.reply_lane();
        let last = lane.end(Some(trailers)).map_err(|_| self.bad_reply())?;
        if let Some(last) = last {
            lane.add(last.len());
            self.reply = Flow::Blocked(last, true);
            return Ok(false);
        }
        match finish(&mut self.reply, self.down, Some(trailers)) {
            Moved::Gone => Err(self.failure(Cause::ClientGone)),
            _ => Ok(true),
        }
    }

    /// The upstream sent something else than messages.
    fn bad_reply(&self) -> Failure {
        self.failure(Cause::UpstreamFault(Fault::BadGrpcMessage))
    }

    /// Passes a reply head on, or keeps it until it can be. True when the reply ends with it.
    fn take_head(
        &mut self,
        head: Box<Head>,
        end: bool,
        cx: &mut Context<'_>,
    ) -> Result<bool, Failure> {
        if !self.down.conn().is_thrift() {
            return self.reply_head(head, end);
        }
        self.held = Some((head, end));
        if self.is_measuring() || (self.is_serial() && !end && !self.flows(cx)) {
            self.stash = Some(self.track.measuring_stash());
        }
        Ok(false)
    }

    /// Whether other calls are under way on the same link: the reply is taken off it whatever the
    /// client has room for.
    fn is_serial(&self) -> bool {
        self.up.as_ref().is_some_and(|up| up.conn().is_serial())
    }

    /// Whether a reply is here to its end and the client takes it now.
    fn flows(&self, cx: &mut Context<'_>) -> bool {
        let is_whole = self.up.as_ref().is_some_and(End::is_whole);
        let has_turn = self.down.poll_turn(cx).is_ready();
        is_whole && has_turn && self.down.poll_ready(cx).is_ready()
    }

    /// Whether the whole reply is collected, to see how long it is.
    fn is_measuring(&self) -> bool {
        let unknown = |(head, end): &(Box<Head>, bool)| !end && head.length() == Length::Unknown;
        self.held.as_ref().is_some_and(unknown) && self.down.conn().needs_length()
    }

    /// Sends a head that was kept, once it can be. True when the reply ends with it.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Result<Poll<bool>, Failure> {
        if self.held.is_none() {
            return Ok(Poll::Ready(false));
        }
        let whole = self.stash.as_deref().filter(|stash| stash.is_whole()).map(Stash::held);
        let is_measuring = self.is_measuring();
        if is_measuring && whole.is_none() {
            return Ok(Poll::Pending);
        }
        if self.down.poll_turn(cx).is_pending() {
            if let Some(up) = &self.up {
                up.unpin();
            }
            self.track.waits_for_turn();
            return Ok(Poll::Pending);
        }
        let Some((mut head, end)) = self.held.take() else { return Ok(Poll::Ready(false)) };
        if is_measuring && let Some(bytes) = whole {
            head.set_length(Length::Exact(bytes));
        }
        self.reply_head(head, end).map(Poll::Ready)
    }

    /// Passes a reply head on. True when the reply ends with it.
    fn reply_head(&mut self, mut head: Box<Head>, end: bool) -> Result<bool, Failure> {
        let status = head.status();
        head.remove_hop_by_hop();
        if end {
            self.track.note_grpc_status(&head);
        }
        if status >= 200 && !self.down.conn().is_thrift() {
            self.track.state.stamp(&mut head);
            hops::sign_reply(&self.track.state, &mut head);
            if let Some(web) = self.track.web() {
                web.reply(&mut head, end);
            }
        }
        if self.down.send_head(&head, end).is_err() {
            return Err(self.failure(Cause::ClientGone));
        }
        self.tunnel = head.length() == Length::Tunnel;
        let interim = (100..200).contains(&status) && !self.tunnel;
        if !interim {
            self.track.reply_started(status, self.tunnel);
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

/// Where a direction's items come from.
enum Source<'a> {
    End(&'a End),
    Stash(&'a mut Stash),
}

impl Source<'_> {
    fn poll_item(self, cx: &mut Context<'_>) -> Poll<Item> {
        match self {
            Source::End(end) => end.poll_item(cx),
            Source::Stash(stash) => stash.poll_item(),
        }
    }
}

/// What is to be sent next of a stored body.
struct Next<'a> {
    stored: &'a Stored,
    sent: &'a mut usize,
}

/// Sends one piece of a body that was collected before; it was counted then.
fn send_stored(
    flow: &mut Flow,
    next: Next<'_>,
    to: &End,
    lane: &Lane<'_>,
    cx: &mut Context<'_>,
) -> Moved {
    if let Flow::Blocked(payload, end) = std::mem::replace(flow, Flow::Open) {
        return deliver(flow, to, (payload, end), cx);
    }
    let Some(piece) = next.stored.piece(*next.sent) else {
        return end_request(flow, to, lane, next.stored.trailers());
    };
    *next.sent += 1;
    let last = next.stored.piece(*next.sent).is_none() && next.stored.trailers().is_none();
    match lane.put_through(piece.clone(), last) {
        Ok(payload) => send(flow, to, (payload, last), cx),
        Err(bad) => Moved::Bad(bad),
    }
}

/// Ends a request. What is left of its trailers goes on unless its body is turned into something
/// else.
fn end_request(flow: &mut Flow, to: &End, lane: &Lane<'_>, trailers: Option<&Head>) -> Moved {
    match lane.end(None) {
        Ok(changed) => {
            finish(flow, to, trailers.filter(|head| changed.is_none() && head.count() > 0))
        }
        Err(bad) => Moved::Bad(bad),
    }
}

/// Moves one item from `from` to `to`, as `lane` says.
fn step(
    flow: &mut Flow,
    from: Source<'_>,
    to: &End,
    lane: &Lane<'_>,
    cx: &mut Context<'_>,
) -> Moved {
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
        Poll::Ready(Item::Trailers(head)) => Moved::Trailers(head),
        Poll::Ready(Item::Data(payload, end)) => {
            if !lane.counts_sent && !lane.add(payload.len()) {
                return Moved::TooLarge;
            }
            let payload = match lane.put_through(payload, end) {
                Ok(payload) => payload,
                Err(bad) => return Moved::Bad(bad),
            };
            if lane.counts_sent {
                lane.add(payload.len());
            }
            send(flow, to, (payload, end), cx)
        }
    }
}

fn send(flow: &mut Flow, to: &End, (payload, end): (Buf, bool), cx: &mut Context<'_>) -> Moved {
    if !payload.is_empty() {
        deliver(flow, to, (payload, end), cx)
    } else if end {
        finish(flow, to, None)
    } else {
        Moved::Some
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
fn discard(from: Source<'_>, cx: &mut Context<'_>) -> Moved {
    match from.poll_item(cx) {
        Poll::Pending => Moved::Waiting { on_target: false },
        Poll::Ready(Item::Reset { fault, unprocessed }) => Moved::Cut { fault, unprocessed },
        Poll::Ready(_) => Moved::Some,
    }
}
