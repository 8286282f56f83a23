//! Links: the shard's pooled connections to endpoints.
//!
//! A link is a client-role [`Conn`] with a pump of its own, which keeps a receive armed while the
//! link is idle: a FIN evicts it at once instead of failing the next request. Idle links are taken
//! last in, first out, so a pool shrinks to what the load needs and the rest ages out before
//! common servers close it (the wire's idle limit). Links belong to an endpoint's identity
//! (address and protocol), not to a snapshot: a reload keeps them.
//!
//! U1 `links` counts permits alive: connecting, idle and busy links. It never exceeds `links_max`.
//! U2 A link in `idle` can take another stream; one of one stream has none.
//! Cost of a checkout: one pop, one wire call.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use engine::{Address, Stream};
use observe::{Metric, WordFamily};
use protocols::proxy_header;
use protocols::thrift::Encoding;
use router::ProxyVersion;

use crate::conn::{Conn, Pump, Site};
use crate::end::End;
use crate::failure::{Cause, Failure, Stage};
use crate::shard::{State, UpstreamTls};
use crate::tls::{Tls, TlsFault};
use crate::track::Track;
use crate::transport::Transport;

/// One endpoint as this shard sees it. Survives reloads that keep the endpoint.
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    pub(crate) identity: u64,
    /// Links serve one exchange after the other, of whatever client.
    shared: bool,
    links_max: Cell<u32>,
    links: Cell<u32>,
    /// Requests in progress: what least-loaded balancing compares.
    pub(crate) in_flight: Cell<u32>,
    idle: RefCell<Vec<Rc<Conn>>>,
    waiting: RefCell<VecDeque<Waker>>,
    /// A multiplexed link is being made: others wait for it instead of making one each.
    dials: Cell<bool>,
    /// No longer configured: links close when their request ends.
    retired: Cell<bool>,
    /// It counts as down until then: no connection could be made.
    down_until: Cell<Option<Instant>>,
}

impl Endpoint {
    pub(crate) fn new(address: Address, identity: u64, shared: bool) -> Rc<Endpoint> {
        Rc::new(Endpoint {
            address,
            identity,
            shared,
            links_max: Cell::new(0),
            links: Cell::new(0),
            in_flight: Cell::new(0),
            idle: RefCell::new(Vec::new()),
            waiting: RefCell::new(VecDeque::new()),
            dials: Cell::new(false),
            retired: Cell::new(false),
            down_until: Cell::new(None),
        })
    }

    /// Until when it counts as down, where the last connection to it could not be made.
    pub(crate) fn down_until(&self, now: Instant) -> Option<Instant> {
        self.down_until.get().filter(|until| now < *until)
    }

    /// An attempt failed: where no connection could be made, it counts as down for a while.
    pub(crate) fn failed(&self, state: &State, failure: &Failure) {
        let unreached = matches!(
            failure.cause,
            Cause::ConnectRefused | Cause::ConnectTimeout | Cause::UpstreamTls(_)
        );
        if failure.stage == Stage::Connect && unreached {
            self.dialled(state, false);
        }
    }

    /// A connection was made, or could not be: who watches its health is told of a change.
    fn dialled(&self, state: &State, made: bool) {
        if self.note(state.shard.now(), made) {
            state.watchers.notify();
        }
    }

    /// The same, and whether that changes anything.
    fn note(&self, now: Instant, made: bool) -> bool {
        let was_down = self.down_until(now).is_some();
        self.down_until.set((!made).then(|| now + DOWN_TIME));
        was_down == made
    }

    pub(crate) fn set_links_max(&self, links_max: u32) {
        self.links_max.set(links_max);
    }

    /// Takes a link's stream, of the last link that has one and speaks the encoding of a Thrift
    /// call. A link that turns out to be closing or full is dropped on the way; a multiplexed one
    /// stays for others.
    fn take_idle(&self, call: Option<Encoding>) -> Option<End> {
        loop {
            let conn = self.pop_idle(|conn| call.is_none() || conn.encoding() == call)?;
            let Some(end) = conn.open() else { continue };
            if conn.is_shared() {
                self.idle.borrow_mut().push(conn);
            }
            return Some(end);
        }
    }

    fn pop_idle(&self, fits: impl Fn(&Conn) -> bool) -> Option<Rc<Conn>> {
        let mut idle = self.idle.borrow_mut();
        let at = idle.iter().rposition(|conn| fits(conn))?;
        Some(idle.remove(at))
    }

    /// Ends an idle link of another encoding, which would else hold its place for nothing.
    fn make_place(&self, call: Option<Encoding>) {
        if call.is_some()
            && let Some(conn) = self.pop_idle(|conn| conn.encoding() != call && conn.is_idle())
        {
            conn.abort();
        }
    }

    /// A link's request is over: it waits for the next one.
    pub(crate) fn give_back(&self, conn: &Rc<Conn>) {
        if self.retired.get() || !self.shared {
            end_link(conn);
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if !conn.is_shared() || !idle.iter().any(|other| Rc::ptr_eq(other, conn)) {
            idle.push(conn.clone());
        }
        drop(idle);
        self.wake_one();
    }

    /// Forgets a link that closed. True when it was idle.
    pub(crate) fn forget(&self, conn: &Rc<Conn>) -> bool {
        let mut idle = self.idle.borrow_mut();
        let found = idle.iter().position(|other| Rc::ptr_eq(other, conn));
        found.map(|index| idle.remove(index)).is_some()
    }

    /// The endpoint left the configuration: idle links close now, busy ones after their request.
    pub(crate) fn retire(&self) {
        self.retired.set(true);
        let idle = std::mem::take(&mut *self.idle.borrow_mut());
        idle.iter().for_each(end_link);
    }

    pub(crate) fn unretire(&self) {
        self.retired.set(false);
    }

    pub(crate) fn idle_count(&self) -> usize {
        self.idle.borrow().iter().filter(|conn| conn.is_idle()).count()
    }

    pub(crate) fn link_count(&self) -> u32 {
        self.links.get()
    }

    /// Whoever waits for the link that was being made looks again.
    fn end_dial(&self) {
        if self.dials.replace(false) {
            let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
            waiting.into_iter().for_each(Waker::wake);
        }
    }

    fn wake_one(&self) {
        let waker = self.waiting.borrow_mut().pop_front();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Gives a link back to its pool, if it may be used again: whether it may.
pub(crate) fn give_back(conn: &Rc<Conn>) -> bool {
    let Site::Endpoint(permit) = &conn.site else { return false };
    let is_reusable = conn.is_reusable();
    if is_reusable {
        permit.endpoint.give_back(conn);
    }
    is_reusable
}

/// Ends a link that nothing more is to be asked on, once it is idle.
fn end_link(conn: &Rc<Conn>) {
    if conn.is_idle() {
        conn.abort();
    } else {
        conn.drain(false);
    }
}

/// One link's share of its endpoint's `links_max`.
pub(crate) struct Permit {
    endpoint: Rc<Endpoint>,
}

impl Permit {
    fn take(endpoint: &Rc<Endpoint>) -> Option<Permit> {
        if endpoint.links.get() >= endpoint.links_max.get() {
            return None;
        }
        endpoint.links.set(endpoint.links.get() + 1);
        Some(Permit { endpoint: endpoint.clone() })
    }

    pub(crate) fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.endpoint.links.set(self.endpoint.links.get() - 1);
        // It may be a link that was still being made.
        self.endpoint.end_dial();
        self.endpoint.wake_one();
    }
}

/// A stream on a link, and whether the link had served before.
pub(crate) struct Link {
    pub(crate) end: End,
    pub(crate) reused: bool,
}

/// Finds or makes a link. `fresh` asks for a new connection: the retry after a stale one.
pub(crate) async fn checkout(
    track: &Track,
    client: &Conn,
    endpoint: &Rc<Endpoint>,
    fresh: bool,
) -> Result<Link, Failure> {
    let timeout = track.connect_timeout();
    let deadline = track.state.shard.now() + timeout;
    track.wake_at(Some(deadline));
    let link = find((track, client), endpoint, fresh, deadline).await;
    track.wake_at(None);
    link
}

async fn find(
    (track, client): (&Track, &Conn),
    endpoint: &Rc<Endpoint>,
    fresh: bool,
    deadline: Instant,
) -> Result<Link, Failure> {
    let state = &track.state;
    let mut fresh = fresh;
    loop {
        if !fresh && let Some(end) = endpoint.take_idle(track.thrift.get()) {
            state.metrics.add(Metric::UpstreamReuses, 1);
            return Ok(Link { end, reused: true });
        }
        if endpoint.dials.get() {
            wait(state, endpoint, deadline).await?;
            // What was made meanwhile is fresh: a burst that one link refused needs one more, not
            // one each.
            fresh = false;
            continue;
        }
        if let Some(permit) = Permit::take(endpoint) {
            endpoint.dials.set(track.is_multiplexed());
            let stream = connect(state, endpoint, deadline).await?;
            track.connected();
            introduce(track, client, &stream);
            let stream = match track.upstream_tls() {
                None => Transport::Plain(stream),
                // In a box: the future of an exchange that needs none stays small.
                Some(tls) => Box::pin(secure(track, tls, stream, deadline)).await?,
            };
            return attach(track, stream, permit).map(|end| Link { end, reused: false });
        }
        endpoint.make_place(track.thrift.get());
        wait(state, endpoint, deadline).await?;
    }
}

/// Waits in line for a link to come free.
async fn wait(state: &State, endpoint: &Endpoint, deadline: Instant) -> Result<(), Failure> {
    let mut asked = false;
    poll_fn(|cx| {
        if state.shard.now() >= deadline {
            return Poll::Ready(Err(Failure::new(Stage::Connect, Cause::LinksExhausted)));
        }
        if std::mem::replace(&mut asked, true) {
            return Poll::Ready(Ok(()));
        }
        endpoint.waiting.borrow_mut().push_back(cx.waker().clone());
        Poll::Pending
    })
    .await
}

async fn connect(state: &State, endpoint: &Endpoint, deadline: Instant) -> Result<Stream, Failure> {
    state.metrics.add(Metric::UpstreamConnects, 1);
    let mut connecting = pin!(state.shard.connect(&endpoint.address));
    let result = poll_fn(|cx| {
        if let Poll::Ready(result) = connecting.as_mut().poll(cx) {
            return Poll::Ready(result.map_err(|_| Cause::ConnectRefused));
        }
        let late = state.shard.now() >= deadline;
        if late { Poll::Ready(Err(Cause::ConnectTimeout)) } else { Poll::Pending }
    })
    .await;
    result.map_err(|cause| {
        state.metrics.add(Metric::UpstreamConnectFailures, 1);
        Failure::new(Stage::Connect, cause)
    })
}

/// Says on whose behalf the link is made, where its cluster wants to know.
fn introduce(track: &Track, client: &Conn, stream: &Stream) {
    let Some(version) = track.proxy_header() else { return };
    let inet = |address: Address| match address {
        Address::Inet(address) => Some(address),
        Address::Unix(_) => None,
    };
    let source = inet(client.stream.peer());
    let destination = client.stream.local().ok().and_then(inet);
    stream.scratch(|out| match version {
        ProxyVersion::V1 => proxy_header::write_v1(source, destination, out),
        ProxyVersion::V2 => proxy_header::write_v2(source, destination, out),
    });
}

/// Begins TLS on a connected socket.
async fn secure(
    track: &Track,
    upstream: &UpstreamTls,
    stream: Stream,
    deadline: Instant,
) -> Result<Transport, Failure> {
    let state = &track.state;
    let tls = Tls::client(stream, &state.tls, &upstream.config, &upstream.tls);
    let shaken = match &tls {
        Err(fault) => Err(*fault),
        Ok(tls) => shake(state, upstream, tls, deadline).await,
    };
    match (tls, shaken) {
        (Ok(tls), Ok(())) => {
            let word = if tls.is_resumed() == Some(true) { "resumed" } else { "full" };
            state.metrics.word(WordFamily::UpstreamTlsHandshakes, word);
            Ok(Transport::Tls(tls))
        }
        (tls, shaken) => {
            let fault = shaken.err().unwrap_or(TlsFault::Internal);
            state.metrics.word(WordFamily::UpstreamTlsHandshakes, fault.upstream_word());
            state.metrics.add(Metric::UpstreamConnectFailures, 1);
            if let Ok(tls) = tls {
                // The alert says why; where there is none, a close_notify that it was not cut.
                tls.socket().finish(state.shard.now() + ALERT_TIMEOUT);
            }
            Err(Failure::new(Stage::Connect, Cause::UpstreamTls(fault)))
        }
    }
}

/// The handshake of a link, and what both ends have agreed to speak after it.
async fn shake(
    state: &State,
    upstream: &UpstreamTls,
    tls: &Tls,
    deadline: Instant,
) -> Result<(), TlsFault> {
    poll_fn(|cx| match tls.poll_handshake(cx) {
        Poll::Pending if state.shard.now() >= deadline => Poll::Ready(Err(TlsFault::Timeout)),
        polled => polled,
    })
    .await?;
    // HTTP/1.1 needs no agreement; HTTP/2 in TLS is never assumed (RFC 9113 §3.3).
    let needs_h2 = upstream.config.alpn_protocols.iter().any(|offered| offered == b"h2");
    if needs_h2 && !tls.is_alpn(b"h2") {
        return Err(TlsFault::NoApplicationProtocol);
    }
    Ok(())
}

/// How long an endpoint counts as down after a connection to it could not be made: a checker that
/// keeps requests away meanwhile would else never see it come back, since nothing asks it.
const DOWN_TIME: Duration = Duration::from_secs(10);
/// What an endpoint has to take the alert that says why there is no TLS.
const ALERT_TIMEOUT: Duration = Duration::from_secs(1);

/// Makes a connected socket a link with a pump of its own.
fn attach(track: &Track, stream: Transport, permit: Permit) -> Result<End, Failure> {
    let state = &track.state;
    let unlinked = Failure::new(Stage::Connect, Cause::ConnectRefused);
    let wire = track.link_wire().ok_or(unlinked)?;
    let endpoint = Rc::clone(permit.endpoint());
    endpoint.dialled(state, true);
    let conn = Conn::new(state, stream, wire, Site::Endpoint(permit));
    state.shard.spawn(Pump::new(conn.clone(), None));
    let end = conn.open().ok_or(unlinked)?;
    // A link of one client alone is never offered to others.
    if conn.is_shared() && endpoint.shared {
        endpoint.give_back(&conn);
    }
    endpoint.end_dial();
    Ok(end)
}

/// A link closed: if it was idle, it leaves its pool.
pub(crate) fn closed(state: &State, conn: &Rc<Conn>, permit: &Permit) {
    if permit.endpoint.forget(conn) {
        let word = conn.fault().map_or("closed", |fault| fault.reason());
        state.metrics.word(WordFamily::PoolEvicted, word);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any moment will do")]
    fn an_endpoint_is_down_for_a_while() {
        let address = Address::Inet(([127, 0, 0, 1], 9).into());
        let endpoint = Endpoint::new(address, 1, true);
        let now = Instant::now();
        assert_eq!(endpoint.down_until(now), None, "nothing is known");
        assert!(!endpoint.note(now, true));
        assert!(endpoint.note(now, false));
        let later = now + DOWN_TIME / 2;
        assert!(!endpoint.note(later, false), "it still is");
        assert_eq!(endpoint.down_until(later), Some(later + DOWN_TIME));
        assert_eq!(endpoint.down_until(later + DOWN_TIME), None, "that was long ago");
        assert!(endpoint.note(later, true));
        assert_eq!(endpoint.down_until(later), None);
    }
}
