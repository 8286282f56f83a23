//! Calls of gRPC by cluster and status: counters whose labels no peer can choose.
//!
//! A cluster is seated when a shard adopts the configuration that names it, and keeps its place for
//! the life of the process, so that a counter never goes back. There are [`CLUSTERS_MAX`] places;
//! clusters after that share one, called `other`, and so do statuses that have no name.
//! Written by one shard, read by anyone, as the counters of [`crate::ShardMetrics`].
//! Cost of a call: one load, one store. About 200 bytes a cluster and shard.

use std::array;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Clusters that are told apart.
const CLUSTERS_MAX: usize = 256;
/// The statuses 0 to 16, and one for all others.
const STATUSES: usize = 18;
/// What the shared places are called.
const OTHER: &str = "other";

/// Where the calls of a cluster are counted: of one shard, and only there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallSeat(u16);

impl CallSeat {
    /// Of calls that went to no cluster.
    pub const NOWHERE: CallSeat = CallSeat(CLUSTERS_MAX as u16);
    const SHARED: CallSeat = CallSeat(CLUSTERS_MAX as u16 + 1);
}

/// One shard's counts.
pub(crate) struct Calls {
    seated: [OnceLock<Box<Seated>>; CLUSTERS_MAX],
    nowhere: Counts,
    shared: Counts,
}

struct Seated {
    cluster: String,
    counts: Counts,
}

/// By status.
struct Counts([AtomicU64; STATUSES]);

impl Counts {
    fn new() -> Counts {
        Counts(array::from_fn(|_| AtomicU64::new(0)))
    }

    fn each(&self, cluster: &str, each: &mut dyn FnMut(&str, &str, u64)) {
        for (status, count) in self.0.iter().enumerate() {
            let count = count.load(Relaxed);
            if count > 0 && status == STATUSES - 1 {
                each(cluster, OTHER, count);
            } else if count > 0 {
                each(cluster, &status.to_string(), count);
            }
        }
    }
}

impl Calls {
    pub(crate) fn new() -> Calls {
        let seated = array::from_fn(|_| OnceLock::new());
        Calls { seated, nowhere: Counts::new(), shared: Counts::new() }
    }

    /// The place of a cluster. A search over all names: not for requests.
    pub(crate) fn seat(&self, cluster: &str) -> CallSeat {
        let make = || Box::new(Seated { cluster: cluster.to_owned(), counts: Counts::new() });
        let own = |slot: &OnceLock<Box<Seated>>| slot.get_or_init(make).cluster == cluster;
        let found = self.seated.iter().position(own);
        found.map_or(CallSeat::SHARED, |at| CallSeat(at as u16))
    }

    #[inline]
    pub(crate) fn add(&self, seat: CallSeat, status: u32) {
        let counts = match self.seated.get(usize::from(seat.0)).and_then(OnceLock::get) {
            Some(seated) => &seated.counts,
            None if seat == CallSeat::NOWHERE => &self.nowhere,
            None => &self.shared,
        };
        let slot = &counts.0[(status as usize).min(STATUSES - 1)];
        slot.store(slot.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// Every count above zero: cluster, status, count.
    pub(crate) fn each(&self, each: &mut dyn FnMut(&str, &str, u64)) {
        for seated in self.seated.iter().map_while(OnceLock::get) {
            seated.counts.each(&seated.cluster, each);
        }
        self.nowhere.each("", each);
        self.shared.each(OTHER, each);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(calls: &Calls) -> Vec<(String, String, u64)> {
        let mut found = Vec::new();
        calls.each(&mut |cluster, status, count| {
            found.push((cluster.to_owned(), status.to_owned(), count));
        });
        found
    }

    fn row(cluster: &str, status: &str, count: u64) -> (String, String, u64) {
        (cluster.to_owned(), status.to_owned(), count)
    }

    #[test]
    fn a_cluster_keeps_its_seat_and_unknown_statuses_are_one() {
        let calls = Calls::new();
        let (a, b) = (calls.seat("a"), calls.seat("b"));
        assert_eq!((calls.seat("a"), calls.seat("b")), (a, b));
        for status in [0, 16, 17, 4_000_000_000, 0] {
            calls.add(a, status);
        }
        calls.add(CallSeat::NOWHERE, 12);
        calls.add(b, 5);
        let want = [
            row("a", "0", 2),
            row("a", "16", 1),
            row("a", "other", 2),
            row("b", "5", 1),
            row("", "12", 1),
        ];
        assert_eq!(all(&calls), want);
    }

    #[test]
    fn clusters_beyond_the_table_share_a_seat() {
        let calls = Calls::new();
        for number in 0..CLUSTERS_MAX + 2 {
            calls.add(calls.seat(&number.to_string()), 0);
        }
        let found = all(&calls);
        assert_eq!(found.len(), CLUSTERS_MAX + 1);
        assert_eq!(found.last(), Some(&row("other", "0", 2)));
    }
}
