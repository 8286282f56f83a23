//! One request's life: route, edit, forward, answer, settle.
//!
//! `run` is an outer future that owns the [`Track`] and an inner one that does the work; the inner
//! is raced against the client's leaving and the deadlines, and may be dropped at any await: it
//! holds only [`End`]s and chunks. The outer answers what the inner could not, and settles exactly
//! once; should a panic drop it, `Track` settles itself.
//!
//! Cost beyond the wires: one box for the future, one timer, one id of 32 bytes.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use engine::Timer;
use protocols::{Fault, Head, Length, Name, PathRule, Wire as _};
use router::{Field, Query, RouteId};

use crate::attempt;
use crate::collect;
use crate::conn::{Conn, Running};
use crate::end::End;
use crate::failure::{self, Cause, Failure, Stage};
use crate::forwarded;
use crate::grpc;
use crate::health;
use crate::hops;
use crate::metadata;
use crate::relay::Body;
use crate::shard::{Plan, State};
use crate::thrift;
use crate::track::Track;
use crate::web;

/// The future of one exchange, for [`crate::conn::Pump`].
pub(crate) fn start(down: End, request: Box<Head>, end: bool) -> Running {
    Running(Box::pin(run(down, request, end)))
}

async fn run(down: End, mut request: Box<Head>, end: bool) {
    let state = down.conn().state.clone();
    state.live().prefetch_host(request.host());
    metadata::admit(&state, down.conn(), &mut request);
    let track = Track::begin(&state, down.conn(), &request);
    let timer = state.take_timer();
    let result = {
        let inner = pin!(serve(&track, &down, &mut request, end));
        race(&track, &down, &timer, inner).await
    };
    if let Err(mut failure) = result {
        if failure.cause == Cause::ClientGone && down.conn().stream.is_shed() {
            failure.cause = Cause::BufferPressure;
        }
        if down.conn().is_thrift() && !track.reply_has_started() {
            thrift::turn(&down).await;
        }
        conclude(&track, &down, &request, &failure);
    }
    track.settle();
    state.give_timer(timer);
    state.give_head(request);
    if !down.conn().stream_is_raw() {
        down.conn().stream.annotate(spoken(down.conn()), STATE_IDLE, track.route());
    }
    down.release();
}

async fn serve(track: &Track, down: &End, request: &mut Head, end: bool) -> Result<(), Failure> {
    if let Some((route, plan)) = pass_through(track, down.conn()) {
        down.conn().stream.annotate(PROTOCOL_TCP, STATE_BUSY, route.0);
        track.follow(route, &plan, request)?;
        return attempt::forward(track, down, &plan, request, &Body::Flows).await;
    }
    track.state.live().prefetch_rules(request.host());
    #[cfg(feature = "sim")]
    assert!(request.field(b"x-ringway-panic").is_none(), "a panic that a test asked for");
    if track.state.options().request_id {
        request_id(&track.state, request);
    }
    track.note_request_id(request);
    let rule = path_rule(track, down.conn());
    let bad = |fault| Failure::new(Stage::Route, Cause::BadPath(fault));
    request.normalise_path(rule).map_err(bad)?;
    if hops::count_down(request)? {
        return hops::answer(track, down, request);
    }
    if health::is_asked(track, down.conn(), request) {
        return health::answer(track, down, request, end).await;
    }
    if let Some((route, plan)) = web::preflight(track, down.conn(), request) {
        track.follow(route, &plan, request)?;
        return web::answer(track, down, &plan, request);
    }
    let (route, plan) = route(track, down.conn(), request, request.method())?;
    track.enter_web(&plan, request);
    down.conn().stream.annotate(spoken(down.conn()), STATE_BUSY, route.0);
    track.thrift.set(thrift::encoding_of(down, request));
    track.follow(route, &plan, request)?;
    plan.understands(track.thrift.get())?;
    edit(&track.state, down.conn(), &plan, request)?;
    if track.is_call() || track.thrift.get().is_some() {
        grpc::shrink(request, track.time_left());
    }
    let collected = plan.buffer_request_bytes_max().or(plan.measured_bytes_max(request, down));
    let body = match (request.length(), collected) {
        (Length::Empty, _) => Body::None,
        _ if end => Body::None,
        (Length::Exact(_) | Length::Unknown, Some(max)) => {
            collect::collect(track, down, request, max).await?
        }
        _ => Body::Flows,
    };
    if let Some(web) = track.web() {
        web.edit(request, matches!(body, Body::None));
        // Servers of gRPC send no 100: who waits for one is told here.
        collect::answer_expectation(&track.state, down, request);
    }
    attempt::forward(track, down, &plan, request, &body).await
}

/// Polls the inner future, unless the client left or a deadline passed.
async fn race(
    track: &Track,
    down: &End,
    timer: &Timer,
    mut inner: Pin<&mut impl Future<Output = Result<(), Failure>>>,
) -> Result<(), Failure> {
    poll_fn(|cx| {
        if let Poll::Ready(fault) = down.poll_gone(cx) {
            return Poll::Ready(Err(Failure::new(
                track.stage(),
                client_cause(&track.state, fault),
            )));
        }
        if let Poll::Ready(result) = inner.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        track.poll_deadline(timer, down.conn(), cx)
    })
    .await
}

/// The plan of a connection whose listener passes bytes through.
fn pass_through(track: &Track, conn: &Conn) -> Option<(RouteId, Rc<Plan>)> {
    let live = track.state.live();
    let (route, plan) = conn.chosen().or(live.listener(conn.listener())?.tcp_route)?;
    Some((route, live.plan(plan)?))
}

fn path_rule(track: &Track, conn: &Conn) -> PathRule {
    track.state.live().listener(conn.listener()).map_or_else(PathRule::default, |l| l.path_rule)
}

/// The route of a request, had it this method.
pub(crate) fn route(
    track: &Track,
    conn: &Conn,
    request: &Head,
    method: &[u8],
) -> Result<(RouteId, Rc<Plan>), Failure> {
    let live = track.state.live();
    let field = |name: &[u8]| Field::of(request.all(name));
    let query = Query {
        method: thrift::routed_method(conn, method),
        host: request.host(),
        path: request.path(),
        query: request.query().unwrap_or_default(),
        peer: forwarded::client(&track.state, conn, request),
        field: &field,
    };
    let found = live.find(&query);
    found.ok_or(Failure::new(Stage::Route, Cause::NoRoute))
}

/// Route-level edits of the request head: once, whatever the number of tries.
fn edit(state: &State, conn: &Conn, plan: &Plan, request: &mut Head) -> Result<(), Failure> {
    if request.length() == Length::Tunnel {
        upgrade(plan, request);
    }
    request.remove_hop_by_hop();
    tell_certificate(conn, request);
    if conn.is_thrift() {
        if plan.has_thrift_header() {
            metadata::tell(state, conn, request);
        }
    } else if state.options().forwarded {
        forwarded::write(state, conn, request);
    }
    hops::sign_request(state, request)
}

/// Tells the upstream whose certificate the client has shown; what others say of it was removed.
fn tell_certificate(conn: &Conn, request: &mut Head) {
    let Some(tls) = conn.stream.tls() else { return };
    request.set_https(true);
    tls.with_identity(|identity| {
        request.push(b"x-client-cert-subject", identity.subject.as_bytes());
        if !identity.alternative_names.is_empty() {
            request.push(b"x-client-cert-san", identity.alternative_names.as_bytes());
        }
    });
}

/// Asks the upstream for the first protocol of the client's list that the route lets through; a
/// request with no such protocol goes on as if it had not asked (RFC 9110 section 7.8).
fn upgrade(plan: &Plan, request: &mut Head) {
    let asked = request.field(b"upgrade").unwrap_or_default();
    match plan.upgrade(asked) {
        Some(protocol) => request.set(b"upgrade", protocol.as_bytes()),
        None => request.set_length(Length::Empty),
    }
}

/// Keeps a client's id, makes one otherwise.
fn request_id(state: &State, request: &mut Head) {
    if request.known(Name::XRequestId).is_some() {
        return;
    }
    let mut id = [0_u8; 32];
    hex(state.shard.random(), &mut id[..16]);
    hex(state.shard.random(), &mut id[16..]);
    request.push_known(Name::XRequestId, &id);
}

fn hex(number: u64, out: &mut [u8]) {
    for (index, digit) in out.iter_mut().enumerate() {
        let nibble = (number >> (60 - 4 * index)) & 0xF;
        *digit = b"0123456789abcdef"[nibble as usize];
    }
}

/// Answers a failed exchange: a local reply where none began, a visible cut where one did.
fn conclude(track: &Track, down: &End, request: &Head, failure: &Failure) {
    track.failed(failure);
    if matches!(failure.cause, Cause::ClientFault(_)) {
        // The wire has said its last words to this client.
    } else if failure.cause.leaves_nobody() {
        down.reset(Fault::Cancelled);
    } else if track.reply_has_started() && track.ends_in_trailers(down.conn()) {
        // Its caller waits for a status, and the framing of messages shows what is missing.
        let mut trailers = track.state.take_head();
        grpc::trailers(failure, &mut trailers);
        if down.send_end(Some(&trailers)).is_err() {
            down.reset(Fault::BodyTruncated);
        }
        track.state.give_head(trailers);
    } else if track.reply_has_started() {
        down.reset(Fault::BodyTruncated);
    } else if down.conn().is_thrift() {
        thrift::answer(track, down, failure);
    } else if track.is_call() {
        let mut head = track.state.take_head();
        grpc::reply(failure, request, &mut head);
        if let Some(web) = track.web() {
            web.local(&mut head);
        }
        // A client that left meanwhile needs no answer.
        let _ = down.send_head(&head, true);
        track.state.give_head(head);
    } else {
        answer(track, down, request, failure);
    }
}

/// What a fault of the downstream wire means: `Cancelled` stands for a client that left.
pub(crate) fn client_cause(state: &State, fault: Fault) -> Cause {
    match fault {
        Fault::Cancelled if state.cutting.get() => Cause::Stopping,
        Fault::Cancelled | Fault::BodyTruncated => Cause::ClientGone,
        fault => Cause::ClientFault(fault),
    }
}

fn answer(track: &Track, down: &End, request: &Head, failure: &Failure) {
    let state = &track.state;
    if failure.cause == Cause::BodyTooLarge && down.conn().one_stream() {
        // What is left of the body is not worth reading: the reply says `close`.
        down.conn().call(|wire, cx| wire.drain(false, cx));
    }
    let mut head = state.take_head();
    let id = request.known(Name::XRequestId).unwrap_or_default();
    let live = state.live();
    let page = track.route.get().and_then(|(_, plan)| plan.error_page(failure.status()));
    let listener = live.listener(down.conn().listener());
    let page = page.or_else(|| listener?.error_pages.page(failure.status()));
    let body = failure::reply(failure, page, id, &mut head);
    state.stamp(&mut head);
    if failure.cause == Cause::TraceRefused {
        let allowed = hops::allowed(state, down.conn(), request);
        head.push_known(Name::Allow, allowed.as_bytes());
    }
    let sent = if request.method() == b"HEAD" {
        down.send_head(&head, true)
    } else {
        down.send_small(&head, &body)
    };
    if sent.is_ok() {
        track.bytes_out.set(body.len() as u64);
    }
    state.give_head(head);
}

/// What the connection table says of a connection whose requests are routed.
fn spoken(conn: &Conn) -> u8 {
    if conn.is_thrift() { PROTOCOL_THRIFT } else { PROTOCOL_HTTP1 }
}

/// How the connection table names HTTP/1.
pub const PROTOCOL_HTTP1: u8 = 1;
/// How it names connections that are passed through.
pub const PROTOCOL_TCP: u8 = 2;
/// How it names those of Thrift.
pub const PROTOCOL_THRIFT: u8 = 3;
/// Between requests.
pub const STATE_IDLE: u8 = 0;
/// A request is in progress.
pub const STATE_BUSY: u8 = 1;
#[cfg(test)]
mod tests {
    use super::*;

    /// The future that `make` returns, by size alone.
    fn future_bytes<F: Future>(_make: impl FnOnce(End, Box<Head>, bool) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_exchange_in_progress_is_small() {
        let bytes = future_bytes(run);
        assert!(bytes <= 1024, "{bytes}");
    }
}
