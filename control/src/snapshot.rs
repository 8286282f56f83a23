//! What configuration comes to: an immutable whole that all shards share.
//!
//! Nothing here refers to how it was written; places in files were left behind in `compile`. The
//! parts are behind `Arc`s of their own, so that the next snapshot can keep what did not change
//! and an exchange can hold its plan and cluster without holding the table.
//!
//! Invariants: every `RoutePlan::cluster` is a position in `clusters`; the plan and the name of
//! every rule of the table, and of every `tcp` listener, are in `routes`; generations only grow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocols::{PathRule, WireSpec};
use router::{Cluster, ClusterId, PlanId, RouteId, ThriftTransport};

use crate::certs::{ClientTls, ServerTls};
use crate::cidrs::Cidrs;
use crate::routes::Routes;
use crate::settings::Settings;

/// One generation of the whole configuration. Cheap to clone: its parts are shared.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// 1 at start, one more with each reload and each change of routes.
    pub generation: u64,
    /// The generation of the load that this one comes from: since then a route's id stands for the
    /// same route.
    pub loaded: u64,
    /// Of what files and flags mean, not of how it is written: equal for equal meaning.
    pub hash: u64,
    /// Every tunable.
    pub settings: Arc<Settings>,
    /// Peers that are believed when they name the client they ask for.
    pub trusted_proxies: Arc<Cidrs>,
    /// Where to listen; at least one.
    pub listeners: Arc<[ListenerPlan]>,
    /// Where requests go.
    pub routes: Arc<Routes>,
    /// By `ClusterId`.
    pub clusters: Arc<[Arc<Cluster>]>,
    /// By `ClusterId`: what links to it need, where they begin with TLS.
    pub upstream_tls: Arc<[Option<Arc<ClientTls>>]>,
    /// What is worth saying but no fault, one line each.
    pub warnings: Arc<[String]>,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// For logs and metrics.
    pub name: String,
    /// Canonical text: `ip:port`, `[ip]:port` or `unix:/path`.
    pub address: String,
    /// Protocols taken.
    pub speaks: Speaks,
    /// Limits and times of its connections, shared by all of them.
    pub wire: Arc<WireSpec>,
    /// What all its connections follow, where it takes `tcp`: an id that no rule has, and a plan.
    pub tcp_route: Option<(RouteId, PlanId)>,
    /// What its connections follow by the server that they ask for, where it looks at that; others
    /// follow `tcp_route`.
    pub sni_routes: Option<Arc<SniRoutes>>,
    /// How paths are brought into one form before they are routed.
    pub path_rule: PathRule,
    /// The only transport that callers of Thrift may have.
    pub thrift_transport: Option<ThriftTransport>,
    /// Limit of a request body in bytes, where its route has none.
    pub body_bytes_max: Option<u64>,
    /// Connections at a time, over all shards.
    pub conns_max: Option<u32>,
    /// Whether connections begin with a PROXY header.
    pub proxy_headers: Option<ProxyHeaders>,
    /// What to answer instead of plain words, where the route has no page for it.
    pub error_pages: Arc<ErrorPages>,
    /// The health service of gRPC that it has itself.
    pub grpc_health: Option<Arc<GrpcHealth>>,
    /// Whether callers are believed who they are, and what they pass on.
    pub trusts_metadata: bool,
    /// What its connections need, where they begin with TLS.
    pub tls: Option<Arc<ServerTls>>,
}

/// What the connections of a listener may speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/1.1, and HTTP/2 by ALPN or prior knowledge: the first bytes tell.
    Http,
    /// HTTP/1.1 alone.
    Http1,
    /// HTTP/2 alone.
    Http2,
    /// The Thrift family, and what is named of HTTP beside it: the first bytes tell.
    Thrift {
        /// HTTP/1.1 as well.
        http1: bool,
        /// HTTP/2 as well.
        http2: bool,
    },
    /// Whatever it is, it is passed through.
    Tcp,
}

impl Speaks {
    /// What is offered by ALPN, the preferred one first.
    pub(crate) fn alpn(self) -> &'static [&'static str] {
        match self {
            Speaks::Http | Speaks::Thrift { http1: true, http2: true } => &["h2", "http/1.1"],
            Speaks::Http1 | Speaks::Thrift { http1: true, http2: false } => &["http/1.1"],
            Speaks::Http2 | Speaks::Thrift { http1: false, http2: true } => &["h2"],
            // Callers of Thrift name no protocol.
            Speaks::Tcp | Speaks::Thrift { http1: false, http2: false } => &[],
        }
    }
}

/// Where TLS connections that are passed on go, by the name that they ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SniRoutes {
    pub(crate) exact: BTreeMap<String, (RouteId, PlanId)>,
    /// By what stands behind `*.`.
    pub(crate) suffix: BTreeMap<String, (RouteId, PlanId)>,
}

impl SniRoutes {
    /// The route of a name in lower case: the exact one, else that of its longest suffix.
    pub fn find(&self, name: &str) -> Option<(RouteId, PlanId)> {
        let suffixes = name.match_indices('.').filter_map(|(at, _)| name.get(at + 1..));
        let found = suffixes.filter_map(|suffix| self.suffix.get(suffix)).next();
        self.exact.get(name).or(found).copied()
    }
}

/// Services that a listener's health service knows beside the one without a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrpcHealth {
    pub(crate) services: BTreeMap<String, HealthOf>,
}

/// Whose health a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthOf {
    /// The gateway's own.
    Gateway,
    /// That of a cluster.
    Cluster(ClusterId),
}

impl GrpcHealth {
    /// Whose health a service is, if it is known.
    pub fn find(&self, service: &str) -> Option<HealthOf> {
        self.services.get(service).copied()
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, HealthOf)> {
        self.services.iter().map(|(service, of)| (service.as_str(), *of))
    }
}

/// Who may say, by a PROXY header, on whose behalf it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeaders {
    /// Networks that may.
    pub from: Cidrs,
    /// Whether a connection without one is refused.
    pub required: bool,
}

/// What happens to a request that a route won. Routes that do the same share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RoutePlan {
    /// Where it goes.
    pub cluster: ClusterId,
    /// Limit of the whole request; the setting `request-timeout` where the route has none.
    pub timeout: Option<Duration>,
    /// Limit of the request body in bytes; the listener's where the route has none.
    pub body_bytes_max: Option<u64>,
    /// Whether a safe request may be sent again on a stale connection.
    pub retry: bool,
    /// What to answer instead of plain words.
    pub error_pages: Arc<ErrorPages>,
    /// Collect request bodies up to so many bytes before an endpoint is picked.
    pub buffer_request_bytes_max: Option<u64>,
    /// Take so many bytes of a reply before the client has room for them.
    pub buffer_reply_bytes_max: Option<u64>,
    /// Protocols that a client may upgrade to, in lower case.
    pub upgrade: Vec<String>,
    /// Calls of gRPC-Web are turned into calls of gRPC.
    pub grpc_web: Option<Arc<GrpcWebPlan>>,
}

/// What pages may do that call by gRPC-Web.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GrpcWebPlan {
    pub(crate) any_origin: bool,
    pub(crate) allow_origins: Vec<String>,
    /// Their calls may carry cookies and certificates.
    pub allow_credentials: bool,
    /// Fields that they may send: a list, as a header field has it.
    pub allow_headers: String,
    /// Fields that they may read.
    pub expose_headers: String,
    /// Bytes of one message of a request.
    pub message_bytes_max: u32,
}

impl GrpcWebPlan {
    /// What Access-Control-Allow-Origin says to a page of an origin, if that may call.
    pub fn allowed(&self, origin: &[u8]) -> Option<&str> {
        if self.any_origin {
            return Some("*");
        }
        let known = self.allow_origins.iter().find(|known| known.as_bytes() == origin);
        known.map(String::as_str)
    }
}

/// One page.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ErrorPage {
    /// For Content-Type.
    pub content_type: String,
    /// The page, as it is sent.
    pub body: Vec<u8>,
}

/// Pages by status.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct ErrorPages {
    by_status: BTreeMap<u16, Arc<ErrorPage>>,
}

impl ErrorPages {
    /// False when the status had a page already.
    pub(crate) fn insert(&mut self, status: u16, page: &Arc<ErrorPage>) -> bool {
        self.by_status.insert(status, Arc::clone(page)).is_none()
    }

    /// The page of a status.
    pub fn page(&self, status: u16) -> Option<&ErrorPage> {
        self.by_status.get(&status).map(|page| &**page)
    }
}

impl Snapshot {
    /// Whether both come from one load: they differ in their routes and their listeners'
    /// certificates only.
    pub fn is_akin(&self, other: &Snapshot) -> bool {
        Arc::ptr_eq(&self.clusters, &other.clusters)
            && Arc::ptr_eq(&self.settings, &other.settings)
            && Arc::ptr_eq(&self.upstream_tls, &other.upstream_tls)
    }

    /// The cluster of an id taken from this snapshot.
    pub fn cluster(&self, id: ClusterId) -> Option<&Arc<Cluster>> {
        self.clusters.get(id.0 as usize)
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Snapshot>();
    shared::<RoutePlan>();
    shared::<ListenerPlan>();
};
