//! What is known of an exchange while it runs: its route, tries, moments and deadlines; what it is
//! counted by and what the log says of it.
//!
//! A [`Track`] is settled exactly once: by its exchange, or by itself should a panic drop it.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use engine::{Address, Timer};
use observe::{CallSeat, Gauge, Metric, Phase, Place, Protocol, Record, WordFamily};
use protocols::grpc::Code;
use protocols::thrift::Encoding;
use protocols::{AnyWire, Head, Length, Name, Version};
use router::{ProxyVersion, RouteId};

use crate::conn::Conn;
use crate::failure::{Cause, Failure, Side, Stage};
use crate::forwarded;
use crate::grpc;
use crate::shard::{Plan, State, UpstreamTls};
use crate::stash::Stash;
use crate::thrift;
use crate::upstream::Endpoint;
use crate::web::Web;

/// What is known of an exchange while it runs; settled exactly once.
pub(crate) struct Track {
    pub(crate) state: Rc<State>,
    pub(crate) bytes_in: Cell<u64>,
    pub(crate) bytes_out: Cell<u64>,
    pub(crate) body_bytes_max: Cell<Option<u64>>,
    pub(crate) tries: Cell<u8>,
    /// How the payload is written, where this is a call of Thrift.
    pub(crate) thrift: Cell<Option<Encoding>>,
    /// `None` once it was handed over, and while nobody reads records.
    record: Cell<Option<Box<Record>>>,
    /// Of the present try.
    endpoint: Cell<Option<Rc<Endpoint>>>,
    /// Empty before the route is known.
    pub(crate) route: OnceCell<(RouteId, Rc<Plan>)>,
    status: Cell<u16>,
    /// Whether it is a gRPC call, and the `grpc-status` that it ended with as far as that is known.
    call: Cell<bool>,
    grpc_status: Cell<Option<u32>>,
    /// It is one of gRPC-Web.
    web: OnceCell<Box<Web>>,
    reason: Cell<&'static str>,
    times: Times,
    /// The whole exchange ends by then.
    deadline: Cell<Option<Instant>>,
    /// The present phase ends by then, with that cause.
    phase: Cell<Option<(Instant, Cause)>>,
    /// Both connections are a tunnel now.
    tunnel: Cell<bool>,
    /// The inner future wants to be polled by then.
    wake: Cell<Option<Instant>>,
    settled: Cell<bool>,
}

/// Moments of an exchange; the ones not reached are `None`.
struct Times {
    started: Instant,
    routed: Cell<Option<Instant>>,
    tried: Cell<Option<Instant>>,
    connected: Cell<Option<Instant>>,
    sent: Cell<Option<Instant>>,
    replied: Cell<Option<Instant>>,
}

impl Track {
    pub(crate) fn begin(state: &Rc<State>, conn: &Conn, request: &Head) -> Track {
        state.metrics.add(Metric::RequestsStarted, 1);
        state.metrics.enter(Gauge::RequestsActive);
        let record = state.recorder.begin().map(|mut record| {
            describe(&mut record, state, conn, request);
            record
        });
        Track {
            state: state.clone(),
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            body_bytes_max: Cell::new(conn.body_bytes_max()),
            tries: Cell::new(0),
            thrift: Cell::new(None),
            record: Cell::new(record),
            endpoint: Cell::new(None),
            route: OnceCell::new(),
            status: Cell::new(0),
            call: Cell::new(protocols::grpc::is_call(request)),
            web: OnceCell::new(),
            grpc_status: Cell::new(None),
            reason: Cell::new(""),
            times: Times {
                started: state.shard.now(),
                routed: Cell::new(None),
                tried: Cell::new(None),
                connected: Cell::new(None),
                sent: Cell::new(None),
                replied: Cell::new(None),
            },
            deadline: Cell::new(None),
            phase: Cell::new(None),
            tunnel: Cell::new(false),
            wake: Cell::new(None),
            settled: Cell::new(false),
        }
    }

    /// The route is known: its limits hold from here on.
    pub(crate) fn follow(
        &self,
        route: RouteId,
        plan: &Rc<Plan>,
        request: &Head,
    ) -> Result<(), Failure> {
        let now = self.state.shard.now();
        self.times.routed.set(Some(now));
        // An exchange follows one route: what was set before stays.
        let _ = self.route.set((route, plan.clone()));
        self.deadline.set(plan.timeout().map(|timeout| now + timeout));
        // Headers of Thrift carry the same.
        if self.is_call() || self.thrift.get().is_some() {
            self.limit_call(request)?;
        }
        // Until here it is the listener's.
        let max = plan.body_bytes_max().or(self.body_bytes_max.get());
        self.body_bytes_max.set(max);
        match (request.length(), max) {
            (Length::Exact(bytes), Some(max)) if bytes > max => {
                Err(Failure::new(Stage::Route, Cause::BodyTooLarge))
            }
            _ => Ok(()),
        }
    }

    /// A call ends when its caller says, if not before.
    pub(crate) fn limit_call(&self, request: &Head) -> Result<(), Failure> {
        let called = grpc::deadline(request, self.times.started)?;
        self.deadline.set(self.deadline.get().into_iter().chain(called).min());
        Ok(())
    }

    /// Whether the request is a gRPC call.
    pub(crate) fn is_call(&self) -> bool {
        self.call.get()
    }

    /// A call of gRPC-Web is one from here on, where its route takes those.
    pub(crate) fn enter_web(&self, plan: &Plan, request: &Head) {
        if let Some(web) = Web::of(plan, request) {
            self.call.set(true);
            // An exchange follows one route: what was set before stays.
            let _ = self.web.set(Box::new(web));
        }
    }

    pub(crate) fn web(&self) -> Option<&Web> {
        self.web.get().map(|web| &**web)
    }

    /// Whether a reply that has begun can end with a status: its caller waits for trailers.
    pub(crate) fn ends_in_trailers(&self, client: &Conn) -> bool {
        self.is_call() && self.web().is_none() && !client.one_stream()
    }

    /// Takes note of how a call ended, where a head or trailers of its reply say so.
    pub(crate) fn note_grpc_status(&self, head: &Head) {
        if self.is_call() {
            self.grpc_status.set(protocols::grpc::status_number(head));
        }
    }

    /// How a call ended: as its caller is told, or makes of the HTTP status if it is not.
    fn call_status(&self) -> u32 {
        let by_http = || Code::from_http(self.status.get()) as u32;
        self.grpc_status.get().unwrap_or_else(by_http)
    }

    /// Until the exchange has to be over.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        self.deadline.get().map(|at| at.saturating_duration_since(self.state.shard.now()))
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.with_plan(Plan::connect_timeout).unwrap_or(FALLBACK_TIMEOUT)
    }

    /// Where the reply waits for its client, if the route wants that.
    pub(crate) fn reply_stash(&self) -> Option<Box<Stash>> {
        let bytes_max = self.with_plan(Plan::buffer_reply_bytes_max).flatten()?;
        Some(Box::new(Stash::new(&self.state, bytes_max)))
    }

    /// Where a whole reply of Thrift waits to be measured: a link brings no longer ones.
    pub(crate) fn measuring_stash(&self) -> Box<Stash> {
        let bytes_max = self.with_plan(Plan::thrift_frame_bytes_max).unwrap_or_default();
        Box::new(Stash::new(&self.state, bytes_max))
    }

    /// A wire for a new link of this exchange; `None` before its route is known.
    pub(crate) fn link_wire(&self) -> Option<AnyWire> {
        self.with_plan(|plan| plan.link_wire(self.thrift.get()))
    }

    /// Whether links of this exchange carry many streams.
    pub(crate) fn is_multiplexed(&self) -> bool {
        self.with_plan(Plan::is_multiplexed).unwrap_or(false)
    }

    /// Whether a new link of this exchange begins with TLS.
    pub(crate) fn upstream_tls(&self) -> Option<&UpstreamTls> {
        self.route.get().and_then(|(_, plan)| plan.upstream_tls())
    }

    /// The PROXY header that a new link of this exchange begins with.
    pub(crate) fn proxy_header(&self) -> Option<ProxyVersion> {
        self.with_plan(Plan::proxy_header).flatten()
    }

    pub(crate) fn route(&self) -> u32 {
        self.route.get().map_or(u32::MAX, |(route, _)| route.0)
    }

    fn first_byte_timeout(&self) -> Duration {
        self.with_plan(Plan::first_byte_timeout).unwrap_or(FALLBACK_TIMEOUT)
    }

    fn with_plan<R>(&self, read: impl FnOnce(&Plan) -> R) -> Option<R> {
        self.route.get().map(|(_, plan)| read(plan))
    }

    pub(crate) fn wake_at(&self, at: Option<Instant>) {
        self.wake.set(at);
    }

    pub(crate) fn begin_try(&self, endpoint: &Rc<Endpoint>) {
        self.end_try();
        endpoint.in_flight.set(endpoint.in_flight.get() + 1);
        self.endpoint.set(Some(endpoint.clone()));
        self.tries.set(self.tries.get().saturating_add(1));
        self.times.tried.set(Some(self.state.shard.now()));
        self.times.connected.set(None);
        self.times.sent.set(None);
        self.phase.set(None);
    }

    fn end_try(&self) {
        let endpoint = self.endpoint.take();
        if let Some(endpoint) = &endpoint {
            endpoint.in_flight.set(endpoint.in_flight.get().saturating_sub(1));
        }
        self.endpoint.set(endpoint);
    }

    pub(crate) fn connected(&self) {
        self.times.connected.set(Some(self.state.shard.now()));
    }

    pub(crate) fn head_sent(&self, end: bool) {
        if end { self.request_sent() } else { self.request_progress() }
    }

    pub(crate) fn request_sent(&self) {
        self.times.sent.set(Some(self.state.shard.now()));
        self.request_progress();
    }

    /// The upstream has until then to say something; each piece of the request restarts it.
    pub(crate) fn request_progress(&self) {
        if self.tunnel.get() {
            self.tunnel_moves();
        } else if self.times.replied.get().is_none() {
            let until = self.state.shard.now() + self.first_byte_timeout();
            self.phase.set(Some((until, Cause::FirstByteTimeout)));
        }
    }

    pub(crate) fn reply_started(&self, status: u16, tunnel: bool) {
        self.status.set(status);
        self.times.replied.set(Some(self.state.shard.now()));
        self.phase.set(None);
        if tunnel {
            // How long a tunnel lives is up to its ends: only silence limits it.
            self.tunnel.set(true);
            self.deadline.set(None);
            self.tunnel_moves();
        }
    }

    /// Ringway itself has answered the request, and nothing was wrong with it.
    pub(crate) fn answered(&self, status: u16, word: &'static str) {
        self.reason.set(word);
        self.state.metrics.word(WordFamily::LocalReplies, word);
        self.reply_started(status, false);
    }

    fn tunnel_moves(&self) {
        let until = self.state.shard.now() + self.state.options().tunnel_idle_timeout;
        self.phase.set(Some((until, Cause::TunnelIdle)));
    }

    pub(crate) fn reply_has_started(&self) -> bool {
        self.times.replied.get().is_some()
    }

    /// A piece of the reply was moved: who is waited for next has the whole time again.
    pub(crate) fn reply_progress(&self) {
        if self.tunnel.get() {
            self.tunnel_moves();
        } else if self.reply_has_started() {
            self.phase.set(None);
        }
    }

    /// The reply makes no progress now: `on_client` says who is waited for. A wait that has begun
    /// goes on, however often its task is polled.
    pub(crate) fn reply_waits(&self, on_client: bool) {
        if !self.reply_has_started() || self.tunnel.get() {
            return;
        }
        let (time, cause) = if on_client {
            (self.state.options().write_stall_timeout, Cause::WriteStalled)
        } else {
            (self.first_byte_timeout(), Cause::UpstreamIdle)
        };
        if self.phase.get().is_none_or(|(_, waits)| waits != cause) {
            self.phase.set(Some((self.state.shard.now() + time, cause)));
        }
    }

    /// The reply is there and waits for older ones, whose exchanges see to it that they end.
    pub(crate) fn waits_for_turn(&self) {
        self.phase.set(None);
    }

    pub(crate) fn stage(&self) -> Stage {
        match (self.reply_has_started(), self.tries.get()) {
            (true, _) => Stage::ReplyBody,
            (false, 0) => Stage::Route,
            (false, _) => Stage::ReplyHead,
        }
    }

    /// Fails once a deadline has passed; otherwise sees that the task is woken by the next one.
    pub(crate) fn poll_deadline(
        &self,
        timer: &Timer,
        client: &Conn,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        let now = self.state.shard.now();
        self.extend_while_sending(client);
        let phase = self.phase.get();
        if self.deadline.get().is_some_and(|at| now >= at) {
            return Poll::Ready(Err(Failure::new(self.stage(), Cause::RequestTimeout)));
        }
        if let Some((at, cause)) = phase
            && now >= at
        {
            return Poll::Ready(Err(Failure::new(self.stage(), cause)));
        }
        let times = [self.deadline.get(), phase.map(|(at, _)| at), self.wake.get()];
        timer.set(times.into_iter().flatten().min());
        if timer.poll_expired(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// A client that takes its reply slowly is not stalled: what counts is when the last byte left,
    /// not when the queue last had room.
    fn extend_while_sending(&self, client: &Conn) {
        let now = self.state.shard.now();
        if let Some((at, Cause::WriteStalled)) = self.phase.get()
            && now >= at
            && let Some(since) = client.stream.send_stalled_since()
        {
            let until = since + self.state.options().write_stall_timeout;
            self.phase.set(Some((until, Cause::WriteStalled)));
        }
    }

    pub(crate) fn note_request_id(&self, request: &Head) {
        let mut record = self.record.take();
        if let (Some(record), Some(id)) = (&mut record, request.known(Name::XRequestId)) {
            record.request_id.set(id);
        }
        self.record.set(record);
    }

    pub(crate) fn failed(&self, failure: &Failure) {
        self.reason.set(failure.reason());
        if self.is_call() {
            self.grpc_status.set(Some(grpc::code(failure) as u32));
        }
        if !self.reply_has_started() {
            self.status.set(failure.status());
        }
        match failure.side() {
            Side::Downstream if failure.cause == Cause::ClientGone => {
                self.state.metrics.add(Metric::ClientGone, 1);
            }
            _ => self.state.metrics.word(WordFamily::LocalReplies, failure.reason()),
        }
    }

    /// Counts and logs the exchange: exactly once.
    pub(crate) fn settle(&self) {
        if self.settled.replace(true) {
            return;
        }
        self.end_try();
        let metrics = &self.state.metrics;
        metrics.leave(Gauge::RequestsActive);
        let now = self.state.shard.now();
        let total_us = micros(now - self.times.started);
        let overhead_us = total_us.saturating_sub(self.times.elsewhere_us(now));
        metrics.request(self.status.get(), total_us, overhead_us);
        if self.is_call() {
            metrics.call(self.call_seat(), self.call_status());
        }
        metrics.add(Metric::DownstreamBytesIn, self.bytes_in.get());
        metrics.add(Metric::DownstreamBytesOut, self.bytes_out.get());
        if let Some(mut record) = self.record.take() {
            self.write(&mut record, now, (total_us, overhead_us));
            self.state.recorder.finish(record);
        }
    }

    fn call_seat(&self) -> CallSeat {
        self.with_plan(Plan::call_seat).unwrap_or(CallSeat::NOWHERE)
    }

    fn write(&self, record: &mut Record, now: Instant, (total_us, overhead_us): (u64, u64)) {
        record.status = self.status.get();
        record.grpc_status = self.is_call().then(|| self.call_status());
        record.reason = self.reason.get();
        record.bytes_in = self.bytes_in.get();
        record.bytes_out = self.bytes_out.get();
        record.tries = self.tries.get();
        record.duration_us = total_us;
        record.overhead_us = overhead_us;
        record.generation = self.state.live().generation();
        if let Some((route, plan)) = self.route.get() {
            record.route = Some(route.0);
            record.cluster = Some(plan.cluster_index());
        }
        if let Some(endpoint) = self.endpoint.take() {
            record.upstream = place(&endpoint.address);
        }
        self.times.write(record, now);
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        if !self.settled.get() {
            self.failed(&Failure::new(self.stage(), Cause::Panic));
            self.settle();
        }
    }
}

impl Times {
    /// The time that went to connecting, to the upstream's work and to moving the reply.
    fn elsewhere_us(&self, now: Instant) -> u64 {
        let (connected, sent) = (self.connected.get(), self.sent.get());
        // A phase that did not end lasted until now: the upstream never answered.
        let connect = span(self.tried.get(), connected.or(sent).or(Some(now)));
        let wait = span(sent, self.replied.get().or(Some(now)));
        let body = span(self.replied.get(), Some(now));
        connect.unwrap_or(0) + wait.unwrap_or(0) + body.unwrap_or(0)
    }

    fn write(&self, record: &mut Record, now: Instant) {
        let link_at = self.connected.get().or(self.tried.get());
        let phases = [
            (Phase::Route, span(Some(self.started), self.routed.get())),
            (Phase::Connect, span(self.tried.get(), self.connected.get())),
            (Phase::Send, span(link_at, self.sent.get())),
            (Phase::FirstByte, span(self.sent.get(), self.replied.get())),
            (Phase::Body, span(self.replied.get(), Some(now))),
        ];
        for (phase, time_us) in phases {
            if let Some(time_us) = time_us {
                record.set_phase(phase, time_us);
            }
        }
    }
}

fn span(from: Option<Instant>, to: Option<Instant>) -> Option<u64> {
    Some(micros(to?.saturating_duration_since(from?)))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn describe(record: &mut Record, state: &State, conn: &Conn, request: &Head) {
    record.at = Some(state.shard.wall());
    record.method.set(request.method());
    record.host.set(request.host());
    record.target.set(request.target());
    record.protocol = match request.version() {
        _ if request.length() == Length::Tunnel && request.method().is_empty() => Protocol::Tcp,
        Version::Http10 => Protocol::Http10,
        Version::Http11 => Protocol::Http11,
        Version::Http2 => Protocol::Http2,
        Version::Thrift => conn.thrift_transport().map(thrift::protocol).unwrap_or_default(),
    };
    record.peer = match (conn.stream.peer(), forwarded::client(state, conn, request)) {
        // The port of a client behind a proxy is not known.
        (Address::Inet(peer), Some(client)) if peer.ip().to_canonical() != client => {
            Place::Inet((client, 0).into())
        }
        (peer, _) => place(&peer),
    };
}

/// An address as the record keeps it.
pub(crate) fn place(address: &Address) -> Place {
    match address {
        Address::Inet(address) => Place::Inet(*address),
        Address::Unix(path) => {
            let mut text = observe::Text::default();
            let bytes = path.as_os_str().as_encoded_bytes();
            text.set(&bytes[bytes.len().saturating_sub(UNIX_BYTES_KEPT)..]);
            Place::Unix(text)
        }
    }
}

/// A path's tail that fits into [`Place::Unix`].
const UNIX_BYTES_KEPT: usize = 64;
/// Used only before a route is known, when nothing is connected to yet.
const FALLBACK_TIMEOUT: Duration = Duration::from_secs(5);
