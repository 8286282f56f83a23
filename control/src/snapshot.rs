//! What configuration comes to: an immutable whole that all shards share.
//!
//! Nothing here refers to how it was written; places in files were left behind in `compile`. The
//! parts are behind `Arc`s of their own, so that the next snapshot can keep what did not change
//! and an exchange can hold its plan and cluster without holding the table.
//!
//! Invariants: `table` was built from `routes` in this order, so `RouteId(i)` is `routes[i]`;
//! every `RoutePlan::cluster` is a position in `clusters`; generations only grow.

use std::sync::Arc;
use std::time::Duration;

use protocols::WireSpec;
use router::{Cluster, ClusterId, Match, Query, Table};

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
    /// Where to listen; at least one.
    pub listeners: Vec<ListenerPlan>,
    /// The routes' patterns.
    pub table: Arc<Table>,
    /// By `RouteId`.
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
    /// Protocols taken; `["http1"]` in this build.
    pub protocols: Vec<String>,
    /// Limits and times of its connections, shared by all of them.
    pub wire: Arc<WireSpec>,
    /// Connections at a time, over all shards.
    pub conns_max: Option<u32>,
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
    /// The listener's wire only enforces the largest of all routes.
    pub body_bytes_max: Option<u64>,
    /// Whether a safe request may be sent again on a stale connection.
    pub retry: bool,
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
