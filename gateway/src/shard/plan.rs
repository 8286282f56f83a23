//! `Plan`: what a route does, and the cluster that it leads to with this shard's own state (S2).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use control::certs::ClientTls;
use control::{ErrorPage, GrpcWebPlan, RoutePlan};
use engine::Address;
use observe::CallSeat;
use protocols::thrift::Encoding;
use protocols::{AnyWire, Head, Length, Role, WireSpec};
use router::{Balancer, Cluster, ClusterProtocol, EndpointId, ProxyVersion, ThriftTransport};
use rustls::ClientConfig;
use rustls::client::Resumption;

use crate::end::End;
use crate::failure::{Cause, Failure, Stage};
use crate::thrift;
use crate::upstream::Endpoint;

/// What a route does, as an exchange follows it: S2.
pub(crate) struct Plan {
    pub(super) route: Arc<RoutePlan>,
    pub(super) cluster: Rc<ClusterSeat>,
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
pub(super) struct ClusterSeat {
    pub(super) cluster: Arc<Cluster>,
    /// Limits of the links to it.
    pub(super) wire: Arc<WireSpec>,
    pub(super) tls: Option<UpstreamTls>,
    /// Where gRPC calls to it are counted.
    pub(super) calls: CallSeat,
    pub(super) endpoints: Vec<Rc<Endpoint>>,
    pub(super) balancer: RefCell<Balancer>,
    pub(super) loads: RefCell<Vec<u32>>,
}

impl ClusterSeat {
    pub(super) fn new(
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
    pub(super) fn new(tls: &Arc<ClientTls>) -> UpstreamTls {
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
