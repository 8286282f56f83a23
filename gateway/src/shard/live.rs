//! `Live`: one snapshot as a shard runs it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use control::certs::ClientTls;
use control::{ListenerPlan, Snapshot};
use engine::Shard;
use observe::ShardMetrics;
use router::{Cluster, ClusterId, PlanId, Query, RouteId};

use super::plan::{ClusterSeat, Plan, UpstreamTls};
use crate::hops::Via;
use crate::upstream::Endpoint;

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
    pub(super) snapshot: Arc<Snapshot>,
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
    pub(super) fn new(
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
    pub(super) fn with_routes_of(&self, snapshot: &Arc<Snapshot>) -> Live {
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

    pub(super) fn uses(&self, identity: u64) -> bool {
        let clusters = self.frame.clusters.iter();
        clusters
            .flat_map(|cluster| &cluster.endpoints)
            .any(|endpoint| endpoint.identity == identity)
    }
}
