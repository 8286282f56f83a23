//! `State`: everything one shard owns above its ring, and the messages that reach it.
//!
//! One `Rc<State>` a shard; it is made on the shard's thread and dies there. A snapshot is adopted
//! between turns: a new [`Live`] is built and swapped in, endpoints are kept by identity, and
//! exchanges in progress keep the [`Plan`] they were routed to. No `RefCell` borrow crosses an
//! await: state is reached by short methods, never by guards.
//!
//! S1 `conns` holds every downstream connection from accept to the end of its pump.
//! S2 A plan holds no reference to the table, so a long exchange pins one route, not a million.

use std::cell::{Cell, Ref, RefCell};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::str::FromStr as _;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use control::certs::{ClientTls, ServerTls};
use control::{ErrorPage, GrpcWebPlan, ListenerPlan, RoutePlan, Snapshot, Speaks};
use engine::{Address, Shard, Timer};
use observe::{CallSeat, Gauge, Metric, Recorder, ShardMetrics, WordFamily};
use protocols::grpc::Code;
use protocols::thrift::Encoding;
use protocols::{AnyWire, Fault, Head, Length, Name, Role, WireSpec};
use router::{
    Balancer, Cluster, ClusterId, ClusterProtocol, EndpointId, PlanId, ProxyVersion, Query,
    RouteId, ThriftTransport,
};
use rustls::ClientConfig;
use rustls::client::Resumption;
use slab::Slab;

use crate::caps::{Caps, Limits, Ticket};
use crate::conn::{Conn, Site};
use crate::date::{Date, DateText};
use crate::end::End;
use crate::failure::{Cause, Failure, Stage};
use crate::greet::{Greeting, Refused};
use crate::health::Watchers;
use crate::hops::Via;
use crate::slot::Slot;
use crate::sniff::Sniffer;
use crate::thrift;
use crate::tls;
use crate::track;
use crate::upstream::{self, Endpoint};

/// Everything that one shard owns.
pub(crate) struct State {
    pub(crate) shard: Shard,
    #[expect(clippy::vec_box, reason = "heads are handed over, not moved")]
    pub(crate) heads: RefCell<Vec<Box<Head>>>,
    pub(crate) metrics: Arc<ShardMetrics>,
    pub(crate) recorder: Recorder,
    pub(crate) caps: Arc<Caps>,
    /// Scratch for short texts; borrowed for one statement at a time.
    pub(crate) text: RefCell<String>,
    /// Bytes of bodies that routes asked to buffer.
    pub(crate) buffered: Cell<u64>,
    /// What a wire writes where it seldom writes; empty between calls.
    pub(crate) words: RefCell<Vec<u8>>,
    /// What TLS connections share.
    pub(crate) tls: Rc<tls::Shared>,
    pub(crate) stop: Signal,
    /// The process is about to end; it has not stopped accepting yet.
    pub(crate) leaving: Cell<bool>,
    pub(crate) watchers: Watchers,
    pub(crate) empty: Signal,
    /// Connections are being cut: the drain's patience ended, or a stop was asked for.
    pub(crate) cutting: Cell<bool>,
    live: RefCell<Rc<Live>>,
    date: Date,
    #[expect(clippy::vec_box, reason = "slots are handed over, not moved")]
    slots: RefCell<Vec<Box<Slot>>>,
    timers: RefCell<Vec<Timer>>,
    endpoints: RefCell<BTreeMap<u64, Rc<Endpoint>>>,
    conns: RefCell<Slab<Seated>>,
}

impl State {
    pub(crate) fn new(
        shard: Shard,
        snapshot: &Arc<Snapshot>,
        metrics: Arc<ShardMetrics>,
        recorder: Recorder,
        caps: Arc<Caps>,
    ) -> Rc<State> {
        let mut endpoints = BTreeMap::new();
        let live = Live::new(snapshot, &mut endpoints, &shard, &metrics);
        metrics.gauge(Gauge::Generation, snapshot.generation);
        let tls = tls::Shared::of(&shard, snapshot.settings.tls_handshakes());
        Rc::new(State {
            shard,
            heads: RefCell::new(Vec::new()),
            metrics,
            recorder,
            caps,
            text: RefCell::new(String::new()),
            buffered: Cell::new(0),
            words: RefCell::new(Vec::new()),
            timers: RefCell::new(Vec::new()),
            tls,
            stop: Signal::default(),
            leaving: Cell::new(false),
            watchers: Watchers::default(),
            empty: Signal::default(),
            cutting: Cell::new(false),
            live: RefCell::new(Rc::new(live)),
            date: Date::default(),
            slots: RefCell::new(Vec::new()),
            endpoints: RefCell::new(endpoints),
            conns: RefCell::new(Slab::new()),
        })
    }

    /// Switches to a snapshot: new requests follow it, requests in progress keep theirs.
    pub(crate) fn adopt(&self, snapshot: &Arc<Snapshot>) {
        let live = self.live();
        if live.snapshot.is_akin(snapshot) {
            *self.live.borrow_mut() = Rc::new(live.with_routes_of(snapshot));
        } else {
            self.adopt_all(snapshot);
        }
        self.metrics.gauge(Gauge::Generation, snapshot.generation);
        self.watchers.notify();
    }

    /// The process is about to end: who watches is told.
    pub(crate) fn leave(&self) {
        self.leaving.set(true);
        self.watchers.notify();
    }

    fn adopt_all(&self, snapshot: &Arc<Snapshot>) {
        let mut endpoints = std::mem::take(&mut *self.endpoints.borrow_mut());
        let live = Live::new(snapshot, &mut endpoints, &self.shard, &self.metrics);
        let gone: Vec<u64> =
            endpoints.keys().filter(|identity| !live.uses(**identity)).copied().collect();
        for identity in gone {
            if let Some(endpoint) = endpoints.remove(&identity) {
                endpoint.retire();
            }
        }
        *self.endpoints.borrow_mut() = endpoints;
        self.tls.set_steps(snapshot.settings.tls_handshakes());
        *self.live.borrow_mut() = Rc::new(live);
    }

    pub(crate) fn live(&self) -> Rc<Live> {
        self.live.borrow().clone()
    }

    pub(crate) fn options(&self) -> Ref<'_, Options> {
        Ref::map(self.live.borrow(), |live| live.options())
    }

    /// The present time, where replies are to say it.
    pub(crate) fn date(&self) -> Option<DateText> {
        self.options().date.then(|| self.date.text(&self.shard))
    }

    /// Gives a reply that does not say when it was made the present time.
    pub(crate) fn stamp(&self, reply: &mut Head) {
        if reply.known(Name::Date).is_none()
            && let Some(date) = self.date()
        {
            reply.push_known(Name::Date, &date);
        }
    }

    /// Whether no more bodies may be buffered now.
    pub(crate) fn is_over_buffered(&self) -> bool {
        self.buffered.get() >= self.options().buffered_bytes_max
    }

    /// What a connection that a listener accepts now begins with.
    pub(crate) fn welcome(&self, listener: u32, peer: &Address) -> Option<Welcome> {
        let live = self.live.borrow();
        let plan = live.listener(Some(listener))?;
        let wire = match plan.speaks {
            Speaks::Tcp => AnyWire::raw(Role::Server),
            // Where Thrift is taken, until the first bytes tell.
            Speaks::Http | Speaks::Http1 | Speaks::Thrift { .. } => {
                AnyWire::h1(Role::Server, &plan.wire)
            }
            Speaks::Http2 => AnyWire::h2(Role::Server, &plan.wire),
        };
        let headers = plan.proxy_headers.as_ref();
        let now = self.shard.now();
        let greeting = Greeting::new(headers, peer, now).map(|greeting| {
            match (&plan.sni_routes, Sniffer::new(plan)) {
                (Some(_), _) => greeting.with_hello(),
                (None, Some(sniffer)) => greeting.with_sniffer(sniffer),
                (None, None) => greeting,
            }
        });
        let sniffs = plan.speaks == Speaks::Http;
        Some(Welcome { wire, sniffs, tls: plan.tls.clone(), greeting })
    }

    /// The wire of a connection that turned out to speak HTTP/2.
    pub(crate) fn h2_wire(&self, listener: u32) -> Option<AnyWire> {
        let live = self.live.borrow();
        live.listener(Some(listener)).map(|plan| AnyWire::h2(Role::Server, &plan.wire))
    }

    /// The caps that a new connection of a listener meets; None where there is no such listener.
    pub(crate) fn limits(&self, listener: u32) -> Option<Limits> {
        let live = self.live.borrow();
        live.listener(Some(listener)).map(|plan| Limits {
            conns_max: live.options().conns_max,
            listener_max: plan.conns_max,
            source_max: live.options().conns_max_per_source,
        })
    }

    /// Counts a connection for its source, which its PROXY header has now said.
    ///
    /// # Errors
    /// The reason word of the cap that is reached.
    pub(crate) fn admit_source(&self, conn: &Conn) -> Result<(), &'static str> {
        let limits = conn.listener().and_then(|listener| self.limits(listener));
        let (Some(limits), Some(source)) = (limits, conn.stream.peer().ip()) else {
            return Ok(());
        };
        let mut conns = self.conns.borrow_mut();
        let Some(seated) = conns.get_mut(conn.place.get() as usize) else { return Ok(()) };
        self.caps.admit(&mut seated.ticket, source, limits.source_max)
    }

    /// Enters a downstream connection in the table.
    pub(crate) fn register(&self, conn: &Rc<Conn>, ticket: Ticket) {
        let seated = Seated { conn: conn.clone(), ticket };
        let place = self.conns.borrow_mut().insert(seated);
        conn.place.set(place as u32);
        self.metrics.add(Metric::ConnectionsAccepted, 1);
    }

    pub(crate) fn conn_count(&self) -> usize {
        self.conns.borrow().len()
    }

    /// A connection's pump ended.
    pub(crate) fn closed(&self, conn: &Rc<Conn>) {
        match &conn.site {
            Site::Endpoint(permit) => upstream::closed(self, conn, permit),
            Site::Listener(..) => {
                let known = self.conns.borrow_mut().try_remove(conn.place.get() as usize);
                debug_assert!(known.is_some(), "a connection leaves the table once");
                if let Some(seated) = known {
                    self.caps.leave(seated.ticket);
                }
                self.metrics.add(Metric::ConnectionsClosed, 1);
                if self.conns.borrow().is_empty() {
                    self.empty.notify();
                }
            }
        }
    }

    /// A request was refused by the wire before it became an exchange. A call comes to what its
    /// caller makes of the status: a stream that was reset for a fault of the head is INTERNAL as
    /// 400 is, one that was refused is UNAVAILABLE as 503 is.
    pub(crate) fn refused(&self, conn: &Conn, fault: Fault, is_call: bool) {
        if fault.status() == 0 {
            return;
        }
        let grpc_status = is_call.then(|| Code::from_http(fault.status()) as u32);
        if let Some(status) = grpc_status {
            self.metrics.call(CallSeat::NOWHERE, status);
        }
        self.metrics.add(Metric::RequestsStarted, 1);
        self.metrics.request(fault.status(), 0, 0);
        self.metrics.word(WordFamily::LocalReplies, fault.reason());
        self.log(conn, (fault.status(), grpc_status), fault.reason());
    }

    /// A connection was refused before its wire began.
    pub(crate) fn log_refusal(&self, conn: &Conn, reason: &'static str) {
        self.log(conn, (0, None), reason);
    }

    /// Writes a line of the log for what never became an exchange.
    fn log(&self, conn: &Conn, (status, grpc_status): (u16, Option<u32>), reason: &'static str) {
        let Some(mut record) = self.recorder.begin() else { return };
        record.at = Some(self.shard.wall());
        record.status = status;
        record.grpc_status = grpc_status;
        record.reason = reason;
        record.peer = track::place(&conn.stream.peer());
        record.generation = self.live().generation();
        self.recorder.finish(record);
    }

    /// Every downstream connection, for drain and stop. A copy: closing changes the table.
    pub(crate) fn all_conns(&self) -> Vec<Rc<Conn>> {
        self.conns.borrow().iter().map(|(_, seated)| seated.conn.clone()).collect()
    }

    /// Closes every pooled link: the shard is leaving.
    pub(crate) fn retire_links(&self) {
        let endpoints: Vec<Rc<Endpoint>> = self.endpoints.borrow().values().cloned().collect();
        for endpoint in endpoints {
            endpoint.retire();
        }
    }

    /// Publishes what the engine and the pools count.
    pub(crate) fn publish(&self) {
        let stats = self.shard.stats();
        let metrics = &self.metrics;
        for (gauge, value) in crate::gauges::of(&stats) {
            metrics.gauge(gauge, value);
        }
        let endpoints = self.endpoints.borrow();
        let idle: usize = endpoints.values().map(|endpoint| endpoint.idle_count()).sum();
        let links: u64 = endpoints.values().map(|endpoint| u64::from(endpoint.link_count())).sum();
        metrics.gauge(Gauge::PoolIdle, idle as u64);
        metrics.gauge(Gauge::BufferedBytes, self.buffered.get());
        metrics.gauge(Gauge::PoolActive, links.saturating_sub(idle as u64));
        let active = metrics.level(Gauge::ConnectionsActive);
        metrics.gauge(Gauge::ConnectionsIdle, (self.conn_count() as u64).saturating_sub(active));
    }

    pub(crate) fn take_head(&self) -> Box<Head> {
        let head = self.heads.borrow_mut().pop();
        head.map_or_else(Box::default, |mut head| {
            head.clear();
            head
        })
    }

    pub(crate) fn give_head(&self, head: Box<Head>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < FREE_MAX && head.held_bytes() <= HEAD_BYTES_KEPT {
            heads.push(head);
        }
    }

    /// A timer for one exchange. A used one is already filed in the wheel, where its next deadline
    /// is one store.
    pub(crate) fn take_timer(&self) -> Timer {
        let timer = self.timers.borrow_mut().pop();
        timer.unwrap_or_else(|| self.shard.timer())
    }

    pub(crate) fn give_timer(&self, timer: Timer) {
        timer.set(None);
        let mut timers = self.timers.borrow_mut();
        if timers.len() < FREE_MAX {
            timers.push(timer);
        }
    }

    pub(crate) fn take_slot(&self) -> Box<Slot> {
        self.slots.borrow_mut().pop().unwrap_or_default()
    }

    pub(crate) fn give_slot(&self, slot: Box<Slot>) {
        let mut slots = self.slots.borrow_mut();
        if slots.len() < FREE_MAX {
            slots.push(slot);
        }
    }
}

/// What a connection begins with.
pub(crate) struct Welcome {
    pub(crate) wire: AnyWire,
    /// Whether the first bytes may say that it is another one.
    pub(crate) sniffs: bool,
    /// What stands between the wire and the socket.
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// What must come before the wire.
    pub(crate) greeting: Result<Greeting, Refused>,
}

/// A downstream connection in the table, and what it is counted in.
struct Seated {
    conn: Rc<Conn>,
    ticket: Ticket,
}

/// What the data path reads of the settings.
pub(crate) struct Options {
    pub(crate) buffered_bytes_max: u64,
    pub(crate) conns_max: u32,
    pub(crate) conns_max_per_source: Option<u32>,
    pub(crate) forwarded: bool,
    pub(crate) forwarded_standard: bool,
    pub(crate) via: Option<Via>,
    pub(crate) via_replies: bool,
    pub(crate) date: bool,
    pub(crate) trusted_hops: u8,
    pub(crate) request_id: bool,
    pub(crate) tls_handshake_timeout: Duration,
    pub(crate) tunnel_idle_timeout: Duration,
    pub(crate) write_stall_timeout: Duration,
}

/// One snapshot as this shard runs it.
pub(crate) struct Live {
    snapshot: Arc<Snapshot>,
    frame: Rc<Frame>,
}

/// What snapshots of one load share.
struct Frame {
    clusters: Vec<Rc<ClusterSeat>>,
    /// By plan id, made when one is first used. A change of routes may give an id to another plan.
    plans: RefCell<BTreeMap<PlanId, Rc<Plan>>>,
    options: Options,
}

impl Live {
    fn new(
        snapshot: &Arc<Snapshot>,
        endpoints: &mut BTreeMap<u64, Rc<Endpoint>>,
        shard: &Shard,
        metrics: &ShardMetrics,
    ) -> Live {
        let wire = snapshot.settings.wire();
        let seat = |(cluster, tls): (&Arc<Cluster>, &Option<Arc<ClientTls>>)| {
            let tls = tls.as_ref().map(UpstreamTls::new);
            Rc::new(ClusterSeat {
                tls,
                calls: metrics.call_seat(&cluster.name),
                ..ClusterSeat::new(cluster, &wire, endpoints, shard.random())
            })
        };
        let clusters = snapshot.clusters.iter().zip(snapshot.upstream_tls.iter());
        let clusters = clusters.map(seat).collect();
        let options = crate::options(snapshot);
        let frame = Rc::new(Frame { clusters, plans: RefCell::default(), options });
        Live { snapshot: snapshot.clone(), frame }
    }

    /// The same with other routes.
    fn with_routes_of(&self, snapshot: &Arc<Snapshot>) -> Live {
        Live { snapshot: snapshot.clone(), frame: self.frame.clone() }
    }

    pub(crate) fn options(&self) -> &Options {
        &self.frame.options
    }

    pub(crate) fn generation(&self) -> u64 {
        self.snapshot.generation
    }

    /// Whether a peer is believed when it names its client.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.snapshot.trusted_proxies.contains(peer)
    }

    /// The listener that accepted a connection.
    pub(crate) fn listener(&self, index: Option<u32>) -> Option<&ListenerPlan> {
        self.snapshot.listeners.get(index? as usize)
    }

    /// The rules of a host will soon be asked for: asks for their memory in two steps, since the
    /// second needs what the first one asks for.
    pub(crate) fn prefetch_host(&self, host: &[u8]) {
        self.snapshot.routes.prefetch_host(host);
    }

    /// The second step.
    pub(crate) fn prefetch_rules(&self, host: &[u8]) {
        self.snapshot.routes.prefetch_rules(host);
    }

    /// The route that a request matches, and its plan.
    pub(crate) fn find(&self, query: &Query<'_>) -> Option<(RouteId, Rc<Plan>)> {
        let found = self.snapshot.routes.find(query)?;
        Some((found.route, self.plan(found.plan)?))
    }

    /// The plan of an id.
    pub(crate) fn plan(&self, id: PlanId) -> Option<Rc<Plan>> {
        let route = self.snapshot.routes.plan(id)?;
        let known = |plan: &&Rc<Plan>| Arc::ptr_eq(&plan.route, route);
        if let Some(plan) = self.frame.plans.borrow().get(&id).filter(known) {
            return Some(plan.clone());
        }
        let cluster = self.frame.clusters.get(route.cluster.0 as usize)?;
        let plan = Rc::new(Plan { route: route.clone(), cluster: cluster.clone() });
        self.frame.plans.borrow_mut().insert(id, plan.clone());
        Some(plan)
    }

    /// Until when no endpoint of a cluster is up, by what this shard knows; `None` if one is.
    pub(crate) fn down_until(&self, cluster: ClusterId, now: Instant) -> Option<Instant> {
        let seat = self.frame.clusters.get(cluster.0 as usize)?;
        let endpoints = seat.cluster.endpoints.iter().zip(&seat.endpoints);
        let used = endpoints.filter(|(endpoint, _)| endpoint.weight > 0);
        let until: Option<Vec<_>> = used.map(|(_, seat)| seat.down_until(now)).collect();
        until?.into_iter().min()
    }

    fn uses(&self, identity: u64) -> bool {
        let clusters = self.frame.clusters.iter();
        clusters
            .flat_map(|cluster| &cluster.endpoints)
            .any(|endpoint| endpoint.identity == identity)
    }
}

/// What a route does, as an exchange follows it: S2.
pub(crate) struct Plan {
    route: Arc<RoutePlan>,
    cluster: Rc<ClusterSeat>,
}

impl Plan {
    pub(crate) fn cluster_index(&self) -> u32 {
        self.route.cluster.0
    }

    pub(crate) fn call_seat(&self) -> CallSeat {
        self.cluster.calls
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.route.timeout
    }

    pub(crate) fn body_bytes_max(&self) -> Option<u64> {
        self.route.body_bytes_max
    }

    /// What it does with calls of gRPC-Web.
    pub(crate) fn grpc_web(&self) -> Option<&GrpcWebPlan> {
        self.route.grpc_web.as_deref()
    }

    /// What to answer with this status instead of plain words.
    pub(crate) fn error_page(&self, status: u16) -> Option<&ErrorPage> {
        self.route.error_pages.page(status)
    }

    /// Bytes of a request body that are collected before it is forwarded; `None`: it flows.
    pub(crate) fn buffer_request_bytes_max(&self) -> Option<u64> {
        self.route.buffer_request_bytes_max
    }

    /// Bytes of a reply that are taken before the client has room for them.
    pub(crate) fn buffer_reply_bytes_max(&self) -> Option<u64> {
        self.route.buffer_reply_bytes_max
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        self.cluster.cluster.connect_timeout
    }

    pub(crate) fn first_byte_timeout(&self) -> Duration {
        self.cluster.cluster.first_byte_timeout
    }

    /// The first protocol of an Upgrade field's value that clients of this route may speak.
    pub(crate) fn upgrade(&self, asked: &[u8]) -> Option<&str> {
        let allows = |token: &[u8]| {
            self.route.upgrade.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(token))
        };
        let mut tokens = asked.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        tokens.find_map(allows).map(String::as_str)
    }

    /// Whether a link to this route's cluster is for many exchanges at a time.
    pub(crate) fn is_multiplexed(&self) -> bool {
        let cluster = &self.cluster.cluster;
        let is_shared = cluster.protocol == ClusterProtocol::Http2 || self.has_calls_at_once();
        // A link that was begun in one client's name serves no other.
        is_shared && cluster.proxy_header.is_none()
    }

    /// Whether calls of Thrift share a link.
    fn has_calls_at_once(&self) -> bool {
        let cluster = &self.cluster.cluster;
        cluster.protocol == ClusterProtocol::Thrift && cluster.thrift.calls_max > 1
    }

    /// Whether the cluster understands a request; `call` is how its payload is written, where it
    /// is a Thrift call.
    pub(crate) fn understands(&self, call: Option<Encoding>) -> Result<(), Failure> {
        let cluster = &self.cluster.cluster;
        let is_thrift = cluster.protocol == ClusterProtocol::Thrift;
        let fixed = cluster.thrift.protocol.map(thrift::encoding);
        let cause = match call {
            _ if call.is_some() != is_thrift => Cause::ProtocolMismatch,
            Some(_) if fixed.is_some() && fixed != call => Cause::EncodingMismatch,
            _ => return Ok(()),
        };
        Err(Failure::new(Stage::Route, cause))
    }

    /// Bytes up to which a call is collected that does not say how long it is, where the cluster
    /// has to be told; and one that is not here to its end, where others wait for the same link.
    pub(crate) fn measured_bytes_max(&self, call: &Head, down: &End) -> Option<u64> {
        let cluster = &self.cluster.cluster;
        let is_told = cluster.protocol == ClusterProtocol::Thrift
            && cluster.thrift.transport != ThriftTransport::Buffered;
        let is_unknown = call.length() == Length::Unknown;
        let is_slow = self.has_calls_at_once() && !down.is_whole();
        let is_collected = is_slow || (is_told && is_unknown);
        is_collected.then_some(self.thrift_frame_bytes_max())
    }

    /// Whether the cluster's servers of Thrift can be told more than a call itself.
    pub(crate) fn has_thrift_header(&self) -> bool {
        use ThriftTransport::{THeader, TtHeader};
        matches!(self.cluster.cluster.thrift.transport, THeader | TtHeader)
    }

    /// Bytes of the longest message of Thrift.
    pub(crate) fn thrift_frame_bytes_max(&self) -> u64 {
        u64::from(self.cluster.wire.thrift_frame_bytes_max)
    }

    /// A wire for a new link to this route's cluster, for a call in that encoding.
    pub(crate) fn link_wire(&self, call: Option<Encoding>) -> AnyWire {
        let ClusterSeat { cluster, wire, .. } = &*self.cluster;
        match cluster.protocol {
            ClusterProtocol::Http1 => AnyWire::h1(Role::Client, wire),
            ClusterProtocol::Http2 => AnyWire::h2(Role::Client, wire),
            ClusterProtocol::Thrift => {
                let dialect = call.map(|encoding| thrift::dialect(cluster.thrift, encoding));
                AnyWire::thrift(Role::Client, dialect, wire)
            }
            ClusterProtocol::Tcp => AnyWire::raw(Role::Client),
        }
    }

    /// What links to this route's cluster begin TLS with, where they do.
    pub(crate) fn upstream_tls(&self) -> Option<&UpstreamTls> {
        self.cluster.tls.as_ref()
    }

    /// The PROXY header that each link to this route's cluster begins with.
    pub(crate) fn proxy_header(&self) -> Option<ProxyVersion> {
        self.cluster.cluster.proxy_header
    }

    /// Tries after the first one.
    pub(crate) fn retries(&self) -> u32 {
        if self.route.retry { self.cluster.cluster.retries } else { 0 }
    }

    /// The endpoint for the next try.
    pub(crate) fn pick(&self, avoid: Option<EndpointId>) -> Option<(EndpointId, Rc<Endpoint>)> {
        let seat = &*self.cluster;
        let mut loads = seat.loads.borrow_mut();
        loads.clear();
        loads.extend(seat.endpoints.iter().map(|endpoint| endpoint.in_flight.get()));
        let id = seat.balancer.borrow_mut().pick(&seat.cluster, &loads, avoid)?;
        Some((id, seat.endpoints.get(id.0 as usize)?.clone()))
    }
}

/// One cluster with this shard's own state.
struct ClusterSeat {
    cluster: Arc<Cluster>,
    /// Limits of the links to it.
    wire: Arc<WireSpec>,
    tls: Option<UpstreamTls>,
    /// Where gRPC calls to it are counted.
    calls: CallSeat,
    endpoints: Vec<Rc<Endpoint>>,
    balancer: RefCell<Balancer>,
    loads: RefCell<Vec<u32>>,
}

impl ClusterSeat {
    fn new(
        cluster: &Arc<Cluster>,
        wire: &WireSpec,
        known: &mut BTreeMap<u64, Rc<Endpoint>>,
        seed: u64,
    ) -> ClusterSeat {
        let endpoints =
            cluster.endpoints.iter().map(|endpoint| seat(endpoint, cluster, known)).collect();
        ClusterSeat {
            cluster: cluster.clone(),
            wire: Arc::new(WireSpec {
                link_idle_timeout: cluster.idle_timeout,
                // The limit is for requests; a reply may be of any length.
                body_bytes_max: None,
                thrift_link_calls_max: cluster.thrift.calls_max,
                ..wire.clone()
            }),
            tls: None,
            calls: CallSeat::NOWHERE,
            endpoints,
            balancer: RefCell::new(Balancer::new(cluster, seed)),
            loads: RefCell::new(Vec::with_capacity(cluster.endpoints.len())),
        }
    }
}

/// A cluster's TLS as this shard runs it.
pub(crate) struct UpstreamTls {
    pub(crate) tls: Arc<ClientTls>,
    /// With sessions of this shard's own: a store that all share would be behind a lock.
    pub(crate) config: Arc<ClientConfig>,
}

impl UpstreamTls {
    fn new(tls: &Arc<ClientTls>) -> UpstreamTls {
        let mut config = ClientConfig::clone(&tls.config);
        config.resumption = Resumption::in_memory_sessions(SESSIONS_KEPT);
        UpstreamTls { tls: tls.clone(), config: Arc::new(config) }
    }
}

/// Names of servers whose sessions a cluster remembers on a shard; it has one.
const SESSIONS_KEPT: usize = 8;

fn seat(
    endpoint: &router::Endpoint,
    cluster: &Cluster,
    known: &mut BTreeMap<u64, Rc<Endpoint>>,
) -> Rc<Endpoint> {
    let seat = known.entry(endpoint.identity).or_insert_with(|| {
        // INVARIANT: control compiles only addresses in canonical form.
        let address = Address::from_str(&endpoint.address).expect("a canonical address");
        // A link that was begun in one client's name serves no other.
        Endpoint::new(address, endpoint.identity, cluster.proxy_header.is_none())
    });
    seat.set_links_max(cluster.links_max);
    seat.unretire();
    seat.clone()
}

/// A condition that tasks of this shard wait for; once set it stays set.
#[derive(Default)]
pub(crate) struct Signal {
    set: Cell<bool>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    pub(crate) fn set(&self) {
        self.set.set(true);
        self.notify();
    }

    /// Wakes who waits without setting: they look again.
    pub(crate) fn notify(&self) {
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for waker in waiting {
            waker.wake();
        }
    }

    pub(crate) fn is_set(&self) -> bool {
        self.set.get()
    }

    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.set.get() {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Heads and slots that a shard keeps for the next requests.
const FREE_MAX: usize = 64;
/// A head that grew beyond this is freed instead of kept: 64 of them stay under half a MiB.
const HEAD_BYTES_KEPT: usize = 8 * 1024;

/// How a drain ends: when the last connection is gone, or at the deadline.
pub(crate) fn poll_drained(
    state: &State,
    deadline: Option<Instant>,
    cx: &Context<'_>,
) -> Poll<bool> {
    if state.conn_count() == 0 {
        return Poll::Ready(true);
    }
    if deadline.is_some_and(|at| state.shard.now() >= at) {
        return Poll::Ready(false);
    }
    state.empty.poll(cx).map(|()| true)
}
