//! Locked memory: what the rings of an unprivileged process cost, and what to do about a limit.
//!
//! RLIMIT_MEMLOCK counts rings per user, not per process, so an upgrade (old and new process side
//! by side) needs twice the sum. Order of remedies: raise the soft limit to the hard one, halve
//! the completion queue then the submission queue down to 256/1024 and say so, else fail with the
//! number for `LimitMEMLOCK=`. Processes with CAP_IPC_LOCK are not counted.

use std::fmt;

use crate::config::{SetupError, ShardConfig};
use crate::sys::{self, PAGE_BYTES};

/// What fits, and what was changed to make it fit.
#[derive(Clone, Debug)]
pub struct MemoryPlan {
    config: ShardConfig,
    need_bytes: u64,
    limit_bytes: Option<u64>,
    notes: Vec<String>,
}

impl MemoryPlan {
    /// The configuration to start every shard with; id, core and seed are the caller's.
    pub fn config(&self) -> &ShardConfig {
        &self.config
    }

    /// Locked memory of all shards, in bytes.
    pub fn need_bytes(&self) -> u64 {
        self.need_bytes
    }

    /// The limit that counts; None = this process is not counted.
    pub fn limit_bytes(&self) -> Option<u64> {
        self.limit_bytes
    }

    /// What was reduced, one sentence each, for the start log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "locked memory {} KiB", self.need_bytes / 1024)?;
        match self.limit_bytes {
            Some(limit) => write!(f, " of {} KiB", limit / 1024),
            None => f.write_str(", not limited"),
        }
    }
}

/// Smallest queues worth running: submissions, completions.
const SQ_MIN: u32 = 256;
const CQ_MIN: u32 = 1024;

/// Plans the rings of `shards` shards, without room for an upgrade. Raises the soft limit.
pub fn plan_memory(shards: usize, config: &ShardConfig) -> Result<MemoryPlan, SetupError> {
    plan_memory_for(shards, config, false)
}

/// As [`plan_memory`]; with `upgrade` there must be room for a second process beside this one.
pub fn plan_memory_for(
    shards: usize,
    config: &ShardConfig,
    upgrade: bool,
) -> Result<MemoryPlan, SetupError> {
    config.check()?;
    let limit = if sys::may_lock_all() { None } else { Some(raised_limit()?) };
    fit(shards as u64 * if upgrade { 2 } else { 1 }, config, limit)
}

fn raised_limit() -> Result<u64, SetupError> {
    // A refusal leaves the soft limit, which is then what counts.
    let _ = sys::raise_limit(libc::RLIMIT_MEMLOCK);
    let (soft, _) = sys::limit(libc::RLIMIT_MEMLOCK).map_err(SetupError::io("getrlimit"))?;
    Ok(soft)
}

/// The arithmetic alone: `rings` rings under `limit` bytes.
fn fit(rings: u64, config: &ShardConfig, limit: Option<u64>) -> Result<MemoryPlan, SetupError> {
    let mut config = config.clone();
    let mut notes = Vec::new();
    let fits = |config: &ShardConfig| limit.is_none_or(|limit| rings * ring_bytes(config) <= limit);
    if config.fixed_buffers && !fits(&config) {
        config.fixed_buffers = false;
        notes.push("buffers are not pinned as fixed buffers: locked memory is short".to_owned());
    }
    let (sq, cq) = (config.ring_entries, config.cq_entries);
    while !fits(&config) && config.cq_entries > CQ_MIN {
        config.cq_entries = (config.cq_entries / 2).max(CQ_MIN).max(config.ring_entries);
        if config.cq_entries == config.ring_entries {
            break;
        }
    }
    while !fits(&config) && config.ring_entries > SQ_MIN {
        config.ring_entries = (config.ring_entries / 2).max(SQ_MIN);
        config.cq_entries = config.cq_entries.min((config.ring_entries * 4).max(CQ_MIN));
    }
    if !fits(&config) {
        return Err(SetupError::Memlock {
            need_bytes: rings * ring_bytes(&config),
            limit_bytes: limit.unwrap_or(0),
        });
    }
    if (sq, cq) != (config.ring_entries, config.cq_entries) {
        notes.push(format!(
            "ring entries reduced from {sq}/{cq} to {}/{}: locked memory is short",
            config.ring_entries, config.cq_entries
        ));
    }
    let need_bytes = rings * ring_bytes(&config);
    Ok(MemoryPlan { config, need_bytes, limit_bytes: limit, notes })
}

/// What the kernel charges for one shard's ring, in bytes: 64 a submission, 16 a completion and
/// one page of heads (measured in engine.md: 8 MiB hold 40 rings of 1024/8192, which this puts at
/// 200 KiB each), and the buffer rings of 16 a buffer; the region when it is pinned.
fn ring_bytes(config: &ShardConfig) -> u64 {
    let pages = |bytes: u64| bytes.next_multiple_of(PAGE_BYTES as u64);
    let sq = u64::from(config.ring_entries.next_power_of_two());
    let cq = u64::from(config.cq_entries.next_power_of_two());
    // The index array of kernels without NO_SQARRAY is counted always: 4 bytes a submission.
    let rings = pages(64 * sq) + pages(HEADS_BYTES + 4 * sq + 16 * cq);
    let entries = |count: u16| pages(16 * u64::from(count).next_power_of_two());
    let buffers = entries(config.head_bufs) + entries(config.bulk_bufs);
    let region = if config.fixed_buffers { config.region_bytes() as u64 } else { 0 };
    rings + buffers + region
}

/// Heads, tails and flags before the arrays.
const HEADS_BYTES: u64 = 320;

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn entries(plan: &MemoryPlan) -> (u32, u32) {
        (plan.config.ring_entries, plan.config.cq_entries)
    }

    #[test]
    fn eight_mebibytes_hold_as_many_default_rings_as_were_measured() {
        let config = ShardConfig::default();
        let plan = fit(36, &config, Some(8 * MIB)).unwrap();
        assert_eq!(entries(&plan), (1024, 8192));
        assert!(plan.notes().is_empty());
        let large = ShardConfig { ring_entries: 4096, cq_entries: 32768, ..config };
        assert_eq!(entries(&fit(9, &large, Some(8 * MIB)).unwrap()), (4096, 32768));
    }

    #[test]
    fn completions_are_halved_first_then_submissions_and_it_is_said() {
        let config = ShardConfig::default();
        let plan = fit(60, &config, Some(8 * MIB)).unwrap();
        assert_eq!(entries(&plan), (1024, 2048));
        assert_eq!(plan.notes().len(), 1);
        let plan = fit(120, &config, Some(8 * MIB)).unwrap();
        assert_eq!(entries(&plan), (256, 1024));
        assert!(plan.need_bytes() <= 8 * MIB);
    }

    #[test]
    fn too_little_names_the_number_to_set() {
        let error = fit(1, &ShardConfig::default(), Some(16 * 1024)).unwrap_err();
        let SetupError::Memlock { need_bytes, limit_bytes } = error else { panic!("{error}") };
        assert_eq!(limit_bytes, 16 * 1024);
        assert!(fit(1, &ShardConfig::default(), Some(need_bytes)).is_ok());
        assert!(error.to_string().contains(&format!("LimitMEMLOCK={need_bytes}")));
    }

    #[test]
    fn fixed_buffers_are_given_up_before_the_rings_shrink() {
        let config = ShardConfig { fixed_buffers: true, ..ShardConfig::default() };
        let plan = fit(1, &config, Some(8 * MIB)).unwrap();
        assert!(!plan.config.fixed_buffers);
        assert_eq!(entries(&plan), (1024, 8192));
        assert!(fit(1, &config, Some(64 * MIB)).unwrap().config.fixed_buffers);
    }

    #[test]
    fn nobody_counts_for_root() {
        let plan = fit(1000, &ShardConfig::default(), None).unwrap();
        assert_eq!(plan.limit_bytes(), None);
        assert_eq!(
            plan.to_string(),
            format!("locked memory {} KiB, not limited", plan.need_bytes / 1024)
        );
    }
}
