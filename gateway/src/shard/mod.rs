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
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use control::certs::ServerTls;
use control::{Snapshot, Speaks};
use engine::{Address, Shard, Timer};
use observe::{CallSeat, Gauge, Metric, Recorder, ShardMetrics, WordFamily};
use protocols::grpc::Code;
use protocols::{AnyWire, Fault, Head, Name, Role};
use slab::Slab;

use crate::caps::{Caps, Limits, Ticket};
use crate::conn::{Conn, Site};
use crate::date::{Date, DateText};
use crate::greet::{Greeting, Refused};
use crate::health::Watchers;
use crate::slot::Slot;
use crate::sniff::Sniffer;
use crate::tls;
use crate::track;
use crate::upstream::{self, Endpoint};

mod live;
mod plan;
mod signal;

pub(crate) use live::{Live, Options};
pub(crate) use plan::{Plan, UpstreamTls};
pub(crate) use signal::Signal;

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
