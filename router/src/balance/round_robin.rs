//! Weighted round robin.
//!
//! Equal weights: a cursor, O(1). Otherwise the smooth algorithm known from nginx: every endpoint
//! gains its weight, the richest is chosen and pays the total. Choices of one endpoint are spread
//! over the cycle instead of bunched (5:1:1 gives a a b a c a a), for O(endpoints) a choice.

use super::{Random, is_uniform};
use crate::cluster::Cluster;

/// See the module.
#[derive(Debug)]
pub struct RoundRobin {
    /// Next endpoint, for equal weights.
    cursor: usize,
    /// Credit of each endpoint; empty for equal weights. Sums to 0 between choices.
    credit: Vec<i64>,
}

impl RoundRobin {
    pub(super) fn new(cluster: &Cluster, mut random: Random) -> RoundRobin {
        let count = cluster.endpoints.len();
        let cursor = if count == 0 { 0 } else { random.below(count as u64) as usize };
        if is_uniform(cluster) {
            return RoundRobin { cursor, credit: Vec::new() };
        }
        let mut state = RoundRobin { cursor, credit: vec![0; count] };
        // Shards enter the cycle at different places.
        for _ in 0..cursor {
            state.pick(cluster, None);
        }
        state
    }

    pub(super) fn pick(&mut self, cluster: &Cluster, avoid: Option<usize>) -> Option<usize> {
        match self.credit.is_empty() {
            true => self.pick_next(cluster.endpoints.len(), avoid),
            false => self.pick_richest(cluster, avoid),
        }
    }

    fn pick_next(&mut self, count: usize, avoid: Option<usize>) -> Option<usize> {
        let next = |cursor: usize| if cursor + 1 >= count { 0 } else { cursor + 1 };
        let mut chosen = (self.cursor < count).then_some(self.cursor)?;
        if avoid == Some(chosen) {
            chosen = next(chosen);
        }
        self.cursor = next(chosen);
        (avoid != Some(chosen)).then_some(chosen)
    }

    fn pick_richest(&mut self, cluster: &Cluster, avoid: Option<usize>) -> Option<usize> {
        let mut total = 0;
        let mut best: Option<usize> = None;
        for (index, endpoint) in cluster.endpoints.iter().enumerate() {
            if endpoint.weight == 0 || avoid == Some(index) || index >= self.credit.len() {
                continue;
            }
            self.credit[index] += i64::from(endpoint.weight);
            total += i64::from(endpoint.weight);
            if best.is_none_or(|best| self.credit[index] > self.credit[best]) {
                best = Some(index);
            }
        }
        self.credit[best?] -= total;
        best
    }
}
