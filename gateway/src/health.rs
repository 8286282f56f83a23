//! The gRPC health service of the gateway itself: `grpc.health.v1.Health`, where a listener has it.
//!
//! The service without a name is the gateway: it takes calls until it is told to leave. A listener
//! may name others, which take calls while the gateway does. `Watch` says how a service is, and
//! again whenever that changes, until the gateway stops.
//!
//! Not here: looking at endpoints; nothing is asked of an upstream. A `Watch` costs its exchange
//! and one place among the [`Watchers`], which are looked at when a snapshot is adopted and when
//! the gateway leaves.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use engine::Buf;
use protocols::grpc::health::{self, Serving};
use protocols::grpc::{self, Code};
use protocols::{Gone, Head, Length};
use slab::Slab;

use crate::collect;
use crate::conn::Conn;
use crate::end::End;
use crate::exchange::Track;
use crate::failure::{Cause, Failure, Stage};
use crate::shard::State;

/// Whether a request calls the health service and its listener has that.
pub(crate) fn is_asked(track: &Track, conn: &Conn, request: &Head) -> bool {
    let live = track.state.live();
    let has_it = || live.listener(conn.listener()).is_some_and(|plan| plan.grpc_health.is_some());
    track.is_call()
        && request.method() == b"POST"
        && request.path().starts_with(health::PATH)
        && has_it()
}

/// Answers a call of the health service.
///
/// # Errors
/// It is no such call, or the client is gone.
pub(crate) async fn answer(
    track: &Track,
    down: &End,
    request: &mut Head,
    end: bool,
) -> Result<(), Failure> {
    let path = request.path().strip_prefix(health::PATH);
    let watches = match path {
        Some(b"Check") => false,
        Some(b"Watch") => true,
        _ => return failed(Cause::NoRoute),
    };
    track.limit_call(request)?;
    let mut body = Vec::new();
    if !end {
        let stored = collect::gather(track, down, request, health::BODY_BYTES_MAX).await?;
        body = stored.joined();
    }
    let bad = |bad| Failure::new(Stage::Route, Cause::BadHealthRequest(bad));
    let service = health::service_asked(&body).map_err(bad)?;
    match watches {
        true => watch(track, down, request, service).await,
        false => check(track, down, request, service).await,
    }
}

async fn check(track: &Track, down: &End, request: &Head, service: &str) -> Result<(), Failure> {
    let Some(serving) = serving(&track.state, down.conn(), service) else {
        return unknown(track, down, request);
    };
    begin(track, down, request)?;
    tell(track, down, serving).await?;
    finish(track, down, Code::Ok, b"")
}

async fn watch(track: &Track, down: &End, request: &Head, service: &str) -> Result<(), Failure> {
    let mut seat = track.state.watchers.seat();
    begin(track, down, request)?;
    let mut told = None;
    loop {
        let now = serving(&track.state, down.conn(), service).unwrap_or(Serving::Unknown);
        if told != Some(now) {
            tell(track, down, now).await?;
            told = Some(now);
        }
        if track.state.stop.is_set() {
            return finish(track, down, Code::Unavailable, b"stopping");
        }
        poll_fn(|cx| seat.poll_change(cx)).await;
    }
}

/// How a service is now; `None` for one that the listener does not name.
fn serving(state: &State, conn: &Conn, service: &str) -> Option<Serving> {
    let live = state.live();
    let known = live.listener(conn.listener())?.grpc_health.as_ref()?;
    if !service.is_empty() && !known.has(service) {
        return None;
    }
    let leaves = state.leaving.get() || state.stop.is_set();
    Some(if leaves { Serving::No } else { Serving::Yes })
}

/// Sends the head of a reply with messages.
fn begin(track: &Track, down: &End, request: &Head) -> Result<(), Failure> {
    let mut head = track.state.take_head();
    head.set_status(200, b"OK");
    head.push(b"content-type", request.field(b"content-type").unwrap_or_default());
    head.set_length(Length::Unknown);
    track.state.stamp(&mut head);
    let sent = down.send_head(&head, false);
    track.state.give_head(head);
    sent.map_err(|Gone| left())?;
    track.answered(200, REASON);
    Ok(())
}

/// Sends a message as soon as the client has room for it, which it must have in time.
async fn tell(track: &Track, down: &End, serving: Serving) -> Result<(), Failure> {
    let mut rest = Some(Buf::copy_of(&serving.message()));
    track.reply_waits(true);
    while let Some(next) = rest {
        let ready = poll_fn(|cx| down.poll_ready(cx)).await;
        ready.map_err(|Gone| left())?;
        rest = down.send_data(next, false).map_err(|Gone| left())?;
    }
    track.reply_progress();
    track.bytes_out.set(track.bytes_out.get() + serving.message().len() as u64);
    Ok(())
}

fn finish(track: &Track, down: &End, code: Code, message: &[u8]) -> Result<(), Failure> {
    let mut trailers = track.state.take_head();
    grpc::push_status(&mut trailers, code, message);
    track.note_grpc_status(&trailers);
    let sent = down.send_end(Some(&trailers));
    track.state.give_head(trailers);
    sent.map_err(|Gone| left())
}

/// Answers a `Check` of a service that nobody knows.
fn unknown(track: &Track, down: &End, request: &Head) -> Result<(), Failure> {
    let mut head = track.state.take_head();
    let content_type = request.field(b"content-type").unwrap_or_default();
    grpc::trailers_only(&mut head, content_type, Code::NotFound, b"unknown service");
    track.note_grpc_status(&head);
    let sent = down.send_head(&head, true);
    track.state.give_head(head);
    sent.map_err(|Gone| left())?;
    track.answered(200, REASON);
    Ok(())
}

fn left() -> Failure {
    Failure::new(Stage::ReplyBody, Cause::ClientGone)
}

fn failed<T>(cause: Cause) -> Result<T, Failure> {
    Err(Failure::new(Stage::Route, cause))
}

/// The reason word of an answered call.
const REASON: &str = "grpc_health";

/// Who waits for a service's state to change.
#[derive(Default)]
pub(crate) struct Watchers {
    changes: Cell<u64>,
    waiting: RefCell<Slab<Option<Waker>>>,
}

impl Watchers {
    /// A place among them until it is dropped.
    pub(crate) fn seat(&self) -> Seat<'_> {
        let place = self.waiting.borrow_mut().insert(None);
        Seat { watchers: self, place, seen: self.changes.get() }
    }

    /// Something may have changed: they look again.
    pub(crate) fn notify(&self) {
        self.changes.set(self.changes.get() + 1);
        let waiting: Vec<Waker> =
            self.waiting.borrow_mut().iter_mut().filter_map(|(_, waker)| waker.take()).collect();
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// One watcher's place.
pub(crate) struct Seat<'a> {
    watchers: &'a Watchers,
    place: usize,
    seen: u64,
}

impl Seat<'_> {
    /// Ready when something may have changed since it last was.
    fn poll_change(&mut self, cx: &Context<'_>) -> Poll<()> {
        let changes = self.watchers.changes.get();
        if self.seen != changes {
            self.seen = changes;
            return Poll::Ready(());
        }
        if let Some(place) = self.watchers.waiting.borrow_mut().get_mut(self.place) {
            *place = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.watchers.waiting.borrow_mut().try_remove(self.place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_that_leaves_leaves_nothing() {
        let watchers = Watchers::default();
        let cx = Context::from_waker(Waker::noop());
        let (mut first, mut second) = (watchers.seat(), watchers.seat());
        assert!(first.poll_change(&cx).is_pending() && second.poll_change(&cx).is_pending());
        watchers.notify();
        assert!(first.poll_change(&cx).is_ready() && first.poll_change(&cx).is_pending());
        drop(first);
        assert!(second.poll_change(&cx).is_ready());
        drop(second);
        assert!(watchers.waiting.borrow().is_empty());
    }
}
