//! How many client connections the descriptors of the process allow.
//!
//! New clients must not take the descriptors that upstream connections need, so fewer are accepted
//! than there are descriptors. Arithmetic, with N = the limit of open files after it was raised:
//!
//! - own = 64 (standard streams, logs, signals, 16 admin connections with a file each, slack)
//!   \+ shards x (4 + listeners) (ring, eventfd, reserve, one more while it starts);
//! - links = shards x the sum of each cluster's endpoints x `links-max`: more can never be open;
//! - clients = the larger of (N - own) / 2, where each has its link, and N - own - links.
//!
//! The kernel's table of open files is grown to what that can need before the shards start. In a
//! process of several threads each doubling waits for an RCU grace period inside the accept or
//! socket call that met it: 20 to 270 ms were measured, in which a shard serves nobody.

use std::io;

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

    /// Grows the table of open files for that many client connections and their links: 8 bytes a
    /// descriptor. It never shrinks, so a table that is large enough costs two system calls.
    ///
    /// # Errors
    /// The kernel has no memory, or no descriptor is left; the table grows when it must, then.
    pub(crate) fn grow_table(&self, max_conns: u32) -> io::Result<()> {
        let Descriptors { nofile, own, links } = *self;
        let conns = u64::from(max_conns.min(self.conns_max()));
        let most = nofile.min(own.saturating_add(links).saturating_add(conns));
        // A duplicate with the highest number needs the whole table; it is closed at once.
        let highest = i32::try_from(most.saturating_sub(1)).unwrap_or(i32::MAX);
        rustix::io::fcntl_dupfd_cloexec(io::stderr(), highest)?;
        Ok(())
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
    fn the_table_of_open_files_holds_what_is_allowed() {
        let table = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").expect("a status");
            let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
            size.and_then(|size| size.trim().parse::<u64>().ok()).expect("a size")
        };
        let nofile = engine::probe::nofile_soft().expect("a limit");
        let conns = u32::try_from(nofile / 4).expect("a limit of open files");
        Descriptors::of(nofile, 1, 1, 10).grow_table(conns).expect("room");
        assert!(table() >= u64::from(conns) + 69 + 10);
        Descriptors::of(nofile, 1, 1, u64::MAX).grow_table(u32::MAX).expect("room");
        assert!(table() >= nofile);
    }

    #[test]
    fn the_operator_is_told_what_binds() {
        let small = Descriptors::of(1024, 1, 1, 1024);
        let text = "at most 477 client connections (nofile 1024 - own 69 - upstream 478)";
        assert_eq!(small.describe(100_000), text);
        assert_eq!(small.describe(100), "at most 100 client connections (max-conns)");
    }
}
