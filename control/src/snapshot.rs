//! What configuration comes to: an immutable whole that all shards share.
//!
//! Nothing here refers to how it was written; places in files were left behind in `compile`. The
//! parts are behind `Arc`s of their own, so that the next snapshot can keep what did not change
//! and an exchange can hold its plan and cluster without holding the table.
//!
//! Invariants: `table` was built from `routes` in this order, so `RouteId(i)` is `routes[i]`;
//! every `RoutePlan::cluster` is a position in `clusters`, and so is every `tcp_route` in `routes`;
//! generations only grow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocols::{PathRule, WireSpec};
use router::{Cluster, ClusterId, Match, Query, Table};

use crate::cidrs::Cidrs;
use crate::settings::Settings;

/// One generation of the whole configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// 1 at start, one more with each reload.
    pub generation: u64,
    /// Of what the configuration means, not of how it is written: equal for equal meaning.
    pub hash: u64,
    /// Every tunable.
    pub settings: Settings,
    /// Peers that are believed when they name the client they ask for.
    pub trusted_proxies: Cidrs,
    /// Where to listen; at least one.
    pub listeners: Vec<ListenerPlan>,
    /// The routes' patterns.
    pub table: Arc<Table>,
    /// By `RouteId`; behind the table's, one for each `tcp` listener.
    pub routes: Vec<Arc<RoutePlan>>,
    /// By `ClusterId`.
    pub clusters: Vec<Arc<Cluster>>,
    /// What is worth saying but no fault, one line each.
    pub warnings: Vec<String>,
}

/// One listener.
#[derive(Clone, Debug)]
pub struct ListenerPlan {
    /// For logs and metrics.
    pub name: String,
    /// Canonical text: `ip:port`, `[ip]:port` or `unix:/path`.
    pub address: String,
    /// Protocols taken: `["http1"]` or `["tcp"]`.
    pub protocols: Vec<String>,
    /// Limits and times of its connections, shared by all of them.
    pub wire: Arc<WireSpec>,
    /// The plan of all its connections, where it takes `tcp`; a position in `routes`.
    pub tcp_route: Option<u32>,
    /// How paths are brought into one form before they are routed.
    pub path_rule: PathRule,
    /// Connections at a time, over all shards.
    pub conns_max: Option<u32>,
    /// Whether connections begin with a PROXY header.
    pub proxy_headers: Option<ProxyHeaders>,
    /// What to answer instead of plain words, where the route has no page for it.
    pub error_pages: Arc<ErrorPages>,
}

/// Who may say, by a PROXY header, on whose behalf it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyHeaders {
    /// Networks that may.
    pub from: Cidrs,
    /// Whether a connection without one is refused.
    pub required: bool,
}

/// What happens to a request that a route won.
#[derive(Clone, Debug, PartialEq)]
pub struct RoutePlan {
    /// Name as configured.
    pub id: String,
    /// Its `RouteId`.
    pub index: u32,
    /// Where it goes.
    pub cluster: ClusterId,
    /// Limit of the whole request; the setting `request-timeout` where the route has none.
    pub timeout: Option<Duration>,
    /// Limit of the request body in bytes; the setting `body-bytes-max` where the route has none.
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
}

/// One page.
#[derive(Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// For Content-Type.
    pub content_type: String,
    /// The page, as it is sent.
    pub body: Vec<u8>,
}

/// Pages by status.
#[derive(Debug, Default, PartialEq, Eq)]
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
    /// The winning route's plan and what its pattern captured.
    pub fn find(&self, query: &Query<'_>) -> Option<(&Arc<RoutePlan>, Match)> {
        let found = self.table.find(query)?;
        Some((self.routes.get(found.route.0 as usize)?, found))
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
