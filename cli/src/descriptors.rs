//! How many client connections the descriptors of the process allow.
//!
//! New clients must not take the descriptors that upstream connections need, so fewer are accepted
//! than there are descriptors. Arithmetic, with N = the limit of open files after it was raised:
//!
//! - own = 64 (standard streams, logs, signals, 16 admin connections with a file each, slack)
//!   \+ shards x (4 + listeners) (ring, eventfd, reserve, one more while it starts);
//! - links = shards x the sum of each cluster's endpoints x `links-max`: more can never be open;
//! - clients = the larger of (N - own) / 2, where each has its link, and N - own - links.

use control::Snapshot;

/// Descriptors of a process, by what they are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptors {
    nofile: u64,
    own: u64,
    links: u64,
}

/// What the process needs beside its shards.
const PROCESS: u64 = 64;
/// What a shard needs beside its listeners.
const SHARD: u64 = 4;

impl Descriptors {
    pub(crate) fn new(nofile: u64, shards: usize, snapshot: &Snapshot) -> Descriptors {
        let clusters = snapshot.clusters.iter();
        let links = clusters.map(|cluster| {
            let places = cluster.endpoints.len() as u64;
            places.saturating_mul(u64::from(cluster.links_max))
        });
        Descriptors::of(nofile, shards as u64, snapshot.listeners.len() as u64, links.sum())
    }

    pub(crate) fn of(nofile: u64, shards: u64, listeners: u64, links: u64) -> Descriptors {
        let own = PROCESS + shards * (SHARD + listeners);
        Descriptors { nofile, own, links: links.saturating_mul(shards) }
    }

    /// Client connections at most; 1 where there is no room at all.
    pub(crate) fn conns_max(&self) -> u32 {
        let free = self.nofile.saturating_sub(self.own);
        let conns = (free / 2).max(free.saturating_sub(self.links));
        u32::try_from(conns).unwrap_or(u32::MAX).max(1)
    }

    /// What is in force beside the setting `max-conns`, for the operator.
    pub(crate) fn describe(&self, max_conns: u32) -> String {
        let Descriptors { nofile, own, .. } = *self;
        let conns = self.conns_max();
        if max_conns <= conns {
            return format!("at most {max_conns} client connections (max-conns)");
        }
        let links = nofile.saturating_sub(own).saturating_sub(u64::from(conns));
        format!(
            "at most {conns} client connections (nofile {nofile} - own {own} - upstream {links})"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_a_link_or_there_are_enough_for_all() {
        let conns = |nofile, shards, links| Descriptors::of(nofile, shards, 1, links).conns_max();
        assert_eq!(conns(1024, 1, 1024), (1024 - 69) / 2);
        assert_eq!(conns(1_048_576, 2, 1024), 1_048_576 - 74 - 2048);
        assert_eq!(conns(10_000, 1, 10), 10_000 - 69 - 10);
        assert_eq!((conns(60, 1, 10), conns(u64::MAX, 1, 1024)), (1, u32::MAX));
    }

    #[test]
    fn the_operator_is_told_what_binds() {
        let small = Descriptors::of(1024, 1, 1, 1024);
        let text = "at most 477 client connections (nofile 1024 - own 69 - upstream 478)";
        assert_eq!(small.describe(100_000), text);
        assert_eq!(small.describe(100), "at most 100 client connections (max-conns)");
    }
}
