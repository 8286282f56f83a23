//! Which endpoint of a cluster gets the next request.
//!
//! A [`Balancer`] is one shard's state for one cluster; shards do not coordinate, so shares hold
//! per shard and thereby in sum. A new algorithm is one file here and one arm in each `match`.
//!
//! Common rules: an endpoint of weight 0 is never chosen; `avoid` (the endpoint a failed attempt
//! went to) is chosen only when there is no other; `None` only when every weight is 0.

mod least_loaded;
mod round_robin;

use crate::EndpointId;
use crate::cluster::Cluster;

/// The algorithms, by configured name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BalanceKind {
    /// In turn, by weight.
    #[default]
    RoundRobin,
    /// The endpoint with the fewest requests in flight for its weight.
    LeastLoaded,
}

impl BalanceKind {
    /// The name in configuration.
    pub fn name(self) -> &'static str {
        match self {
            BalanceKind::RoundRobin => "round_robin",
            BalanceKind::LeastLoaded => "least_loaded",
        }
    }
}

/// One shard's choice among the endpoints of one cluster.
#[derive(Debug)]
pub enum Balancer {
    /// See [`BalanceKind::RoundRobin`].
    RoundRobin(round_robin::RoundRobin),
    /// See [`BalanceKind::LeastLoaded`].
    LeastLoaded(least_loaded::LeastLoaded),
}

impl Balancer {
    /// A balancer of the cluster's kind. Shards pass different seeds, so that they do not all
    /// begin with the same endpoint.
    pub fn new(cluster: &Cluster, seed: u64) -> Balancer {
        let random = Random::new(seed);
        match cluster.balance {
            BalanceKind::RoundRobin => {
                Balancer::RoundRobin(round_robin::RoundRobin::new(cluster, random))
            }
            BalanceKind::LeastLoaded => {
                Balancer::LeastLoaded(least_loaded::LeastLoaded::new(cluster, random))
            }
        }
    }

    /// Chooses an endpoint of the cluster this balancer was made for. `in_flight` holds this
    /// shard's unfinished requests by endpoint; missing entries count as 0. Never allocates.
    pub fn pick(
        &mut self,
        cluster: &Cluster,
        in_flight: &[u32],
        avoid: Option<EndpointId>,
    ) -> Option<EndpointId> {
        let index = self.pick_index(cluster, in_flight, avoid.map(|id| id.0 as usize));
        // Only the avoided endpoint has a weight: better the same one again than none.
        let index = index.or_else(|| avoid.and(self.pick_index(cluster, in_flight, None)));
        index.and_then(|index| u32::try_from(index).ok()).map(EndpointId)
    }

    fn pick_index(
        &mut self,
        cluster: &Cluster,
        in_flight: &[u32],
        avoid: Option<usize>,
    ) -> Option<usize> {
        match self {
            Balancer::RoundRobin(state) => state.pick(cluster, avoid),
            Balancer::LeastLoaded(state) => state.pick(cluster, in_flight, avoid),
        }
    }
}

/// SplitMix64: enough for spreading load, reproducible from the seed, no system call.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound` by multiplication; the bias is below 2^-32 for bounds below 2^32.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// Weights are equal and none is 0: the algorithms then need no per-endpoint arithmetic.
fn is_uniform(cluster: &Cluster) -> bool {
    let first = cluster.endpoints.first().map_or(0, |endpoint| endpoint.weight);
    first > 0 && cluster.endpoints.iter().all(|endpoint| endpoint.weight == first)
}

#[cfg(test)]
mod tests;
