//! The endpoint with the fewest requests in flight for its weight.
//!
//! Up to `SCAN_MAX` endpoints all are looked at (16 counts are one cache line) and ties are drawn
//! by weight. Above that two are drawn by weight and the less loaded wins, which keeps the cost
//! O(log endpoints) and avoids that all shards run to the same endpoint at once.

use super::{Random, is_uniform};
use crate::cluster::Cluster;

/// Most endpoints that are all looked at.
const SCAN_MAX: usize = 16;

/// Draws of a second endpoint before the first one is taken as it is.
const DRAWS_MAX: u32 = 8;

/// See the module.
#[derive(Debug)]
pub struct LeastLoaded {
    random: Random,
    /// Running sums of the weights; only for large clusters of unequal weights.
    sums: Vec<u64>,
}

impl LeastLoaded {
    pub(super) fn new(cluster: &Cluster, random: Random) -> LeastLoaded {
        if cluster.endpoints.len() <= SCAN_MAX || is_uniform(cluster) {
            return LeastLoaded { random, sums: Vec::new() };
        }
        let mut sum = 0;
        let weights = cluster.endpoints.iter().map(|endpoint| u64::from(endpoint.weight));
        let sums = weights.map(|weight| {
            sum += weight;
            sum
        });
        LeastLoaded { random, sums: sums.collect() }
    }

    pub(super) fn pick(
        &mut self,
        cluster: &Cluster,
        in_flight: &[u32],
        avoid: Option<usize>,
    ) -> Option<usize> {
        match cluster.endpoints.len() <= SCAN_MAX {
            true => self.scan(cluster, in_flight, avoid),
            false => self.draw_two(cluster, in_flight, avoid),
        }
    }

    /// Ties are settled by a draw in which each tied endpoint has its weight as its share.
    fn scan(&mut self, cluster: &Cluster, loads: &[u32], avoid: Option<usize>) -> Option<usize> {
        let mut best: Option<usize> = None;
        let mut tied = 0;
        for (index, endpoint) in cluster.endpoints.iter().enumerate() {
            if endpoint.weight == 0 || avoid == Some(index) {
                continue;
            }
            let weight = u64::from(endpoint.weight);
            match best.map(|best| compare(cluster, loads, index, best)) {
                Some(std::cmp::Ordering::Greater) => {}
                Some(std::cmp::Ordering::Equal) => {
                    tied += weight;
                    if self.random.below(tied) < weight {
                        best = Some(index);
                    }
                }
                None | Some(std::cmp::Ordering::Less) => (best, tied) = (Some(index), weight),
            }
        }
        best
    }

    fn draw_two(
        &mut self,
        cluster: &Cluster,
        loads: &[u32],
        avoid: Option<usize>,
    ) -> Option<usize> {
        let first = self.draw_other(cluster, avoid, None)?;
        let second = self.draw_other(cluster, avoid, Some(first)).unwrap_or(first);
        Some(if compare(cluster, loads, second, first).is_lt() { second } else { first })
    }

    /// A draw by weight that is neither of two; one that keeps hitting them gives up, and a heavy
    /// avoided endpoint is then stepped over in order.
    fn draw_other(
        &mut self,
        cluster: &Cluster,
        avoid: Option<usize>,
        not: Option<usize>,
    ) -> Option<usize> {
        for _ in 0..DRAWS_MAX {
            let index = self.draw(cluster)?;
            if avoid != Some(index) && not != Some(index) {
                return Some(index);
            }
        }
        let eligible = |index: &usize| {
            avoid != Some(*index) && not != Some(*index) && cluster.endpoints[*index].weight > 0
        };
        (0..cluster.endpoints.len()).find(eligible)
    }

    fn draw(&mut self, cluster: &Cluster) -> Option<usize> {
        match self.sums.last() {
            None => Some(self.random.below(cluster.endpoints.len() as u64) as usize),
            Some(0) => None,
            Some(total) => {
                let point = self.random.below(*total);
                Some(self.sums.partition_point(|sum| *sum <= point))
            }
        }
    }
}

/// Orders two endpoints by load divided by weight, without dividing.
fn compare(cluster: &Cluster, loads: &[u32], a: usize, b: usize) -> std::cmp::Ordering {
    let load = |index: usize| u64::from(loads.get(index).copied().unwrap_or(0));
    let weight = |index: usize| u64::from(cluster.endpoints[index].weight);
    (load(a) * weight(b)).cmp(&(load(b) * weight(a)))
}
