//! The gRPC health service of the gateway itself: `grpc.health.v1.Health`, where a listener has it.
//!
//! The service without a name is the gateway: it takes calls until it is told to leave. A listener
//! may name others, which take calls while the gateway does, and clusters, which also have to have
//! an endpoint that is up. `Watch` says how a service is, and again whenever that changes, until
//! the gateway stops.
//!
//! Not here: looking at endpoints; nothing is asked of an upstream, and a cluster's health is what
//! this shard knows from its requests. A `Watch` costs its exchange and one place among the
//! [`Watchers`], which are looked at when a snapshot is adopted, when an endpoint goes down or
//! comes back, and when the gateway leaves.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use control::HealthOf;
use engine::Buf;
use protocols::grpc::health::{self, Serving};
use protocols::grpc::{self, Code};
use protocols::{Gone, Head, Length};
use slab::Slab;

use crate::collect;
use crate::conn::Conn;
use crate::end::End;
use crate::failure::{Cause, Failure, Stage};
use crate::shard::State;
use crate::track::Track;

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
    let method = match path {
        Some(b"Check") => Method::Check,
        Some(b"List") => Method::List,
        Some(b"Watch") => Method::Watch,
        _ => return failed(Cause::NoRoute),
    };
    track.limit_call(request)?;
    let mut body = Vec::new();
    if !end {
        let stored = collect::gather(track, down, request, health::BODY_BYTES_MAX).await?;
        body = stored.joined();
    }
    let bad = |bad| Failure::new(Stage::Route, Cause::BadHealthRequest(bad));
    let service = || health::service_asked(&body).map_err(bad);
    match method {
        Method::Check => check(track, down, request, service()?).await,
        Method::List => {
            health::list_asked(&body).map_err(bad)?;
            list(track, down, request).await
        }
        Method::Watch => watch(track, down, request, service()?).await,
    }
}

enum Method {
    Check,
    List,
    Watch,
}

async fn check(track: &Track, down: &End, request: &Head, service: &str) -> Result<(), Failure> {
    let Some(Health { serving, .. }) = health_of(&track.state, down.conn(), service) else {
        return unknown(track, down, request);
    };
    begin(track, down, request)?;
    tell(track, down, &serving.message()).await?;
    finish(track, down, Code::Ok, b"")
}

/// Tells of all services that the listener knows.
async fn list(track: &Track, down: &End, request: &Head) -> Result<(), Failure> {
    let live = track.state.live();
    let listener = live.listener(down.conn().listener());
    let known = listener.and_then(|plan| plan.grpc_health.clone()).unwrap_or_default();
    if known.iter().count() >= SERVICES_LISTED_MAX {
        return failed(Cause::HealthListTooLong);
    }
    let named = std::iter::once(("", HealthOf::Gateway)).chain(known.iter());
    let named = named.map(|(service, of)| (service, Health::of(&track.state, of).serving));
    let message = health::list(named);
    begin(track, down, request)?;
    tell(track, down, &message).await?;
    finish(track, down, Code::Ok, b"")
}

async fn watch(track: &Track, down: &End, request: &Head, service: &str) -> Result<(), Failure> {
    let mut seat = track.state.watchers.seat();
    begin(track, down, request)?;
    let mut told = None;
    loop {
        let now = health_of(&track.state, down.conn(), service);
        let Health { serving, until } = now.unwrap_or(Health::UNKNOWN);
        if told != Some(serving) {
            tell(track, down, &serving.message()).await?;
            told = Some(serving);
        }
        if track.state.stop.is_set() {
            return finish(track, down, Code::Unavailable, b"stopping");
        }
        track.wake_at(until);
        poll_fn(|cx| match until {
            Some(until) if track.state.shard.now() >= until => Poll::Ready(()),
            _ => seat.poll_change(cx),
        })
        .await;
        track.wake_at(None);
    }
}

/// How a service is now.
struct Health {
    serving: Serving,
    /// It may be another one then, without anything that is told.
    until: Option<Instant>,
}

impl Health {
    const UNKNOWN: Health = Health { serving: Serving::Unknown, until: None };

    fn of(state: &State, of: HealthOf) -> Health {
        let until = match of {
            _ if state.leaving.get() || state.stop.is_set() => {
                return Health { serving: Serving::No, until: None };
            }
            HealthOf::Gateway => None,
            HealthOf::Cluster(id) => state.live().down_until(id, state.shard.now()),
        };
        Health { serving: if until.is_some() { Serving::No } else { Serving::Yes }, until }
    }
}

/// How a service is; `None` for one that the listener does not name.
fn health_of(state: &State, conn: &Conn, service: &str) -> Option<Health> {
    let live = state.live();
    let known = live.listener(conn.listener())?.grpc_health.as_ref()?;
    let of = if service.is_empty() { HealthOf::Gateway } else { known.find(service)? };
    Some(Health::of(state, of))
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
async fn tell(track: &Track, down: &End, message: &[u8]) -> Result<(), Failure> {
    let mut rest = Some(Buf::copy_of(message));
    track.reply_waits(true);
    while let Some(next) = rest {
        let ready = poll_fn(|cx| down.poll_ready(cx)).await;
        ready.map_err(|Gone| left())?;
        rest = down.send_data(next, false).map_err(|Gone| left())?;
    }
    track.reply_progress();
    track.bytes_out.set(track.bytes_out.get() + message.len() as u64);
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

/// Services in one message of a list, as grpc-go has it: 100 KiB of names at most.
const SERVICES_LISTED_MAX: usize = 100;
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
