//! What a shard is told at start, what it found, and why it could not start.

use std::fmt;
use std::time::Duration;

/// Sizes and switches of one shard. Every number has its reason beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Number of the shard, for names and logs.
    pub id: u16,
    /// Core to pin the thread to; None = the scheduler decides.
    pub cpu: Option<usize>,
    /// Submission queue entries; the kernel rounds up to a power of two.
    pub ring_entries: u32,
    /// Completion queue entries: 8 x the submission queue, because multishot ops post many.
    pub cq_entries: u32,
    /// Buffers of the head group, at most 32768.
    pub head_bufs: u16,
    /// Bytes of one head buffer: a usual request head fits in one page.
    pub head_buf_bytes: u32,
    /// Buffers of the bulk group, at most 32768.
    pub bulk_bufs: u16,
    /// Bytes of one bulk buffer.
    pub bulk_buf_bytes: u32,
    /// Cap of one socket's send queue, building and in flight together, in bytes. A slow reader
    /// costs this + one bulk page of overshoot + `inbox_bytes_max` = 96 + 64 + 64 <= 256 KiB.
    pub out_bytes_max: usize,
    /// Received bytes that may wait unread on one socket, in bytes.
    pub inbox_bytes_max: usize,
    /// Heap that stalled sends of one shard may be copied to, in bytes (B4). A reader that got
    /// stuck before buffers ran short leaves out_bytes_max + one bulk page + a head = 161 KiB, but
    /// only bulk_bufs / 3 = 43 of them fit into the pages; each later one one page and a head =
    /// 65 KiB. 1 000 of them take 43 x 161 + 957 x 65 KiB = 68 MiB; the rest of 128 MiB, untouched
    /// until needed, is for queues of many small pieces and for another 900 readers.
    pub stalled_bytes_max: usize,
    /// Task polls in one turn.
    pub poll_budget: u32,
    /// Seed of the shard's randomness; mixed with the id.
    pub seed: u64,
    /// MADV_HUGEPAGE on the buffer region.
    pub huge_pages: bool,
    /// Also pin the buffer region as registered buffers, where memlock allows.
    pub fixed_buffers: bool,
    /// How connected TCP sockets notice a dead peer; accepted ones inherit it from their listener.
    pub liveness: Liveness,
    /// A test's switch: every task is polled in every turn, as stale wakes may do.
    pub poll_everything: bool,
}

impl Default for ShardConfig {
    fn default() -> ShardConfig {
        ShardConfig {
            id: 0,
            cpu: None,
            ring_entries: 1024,
            cq_entries: 8192,
            head_bufs: 1024,
            head_buf_bytes: 4096,
            bulk_bufs: 128,
            bulk_buf_bytes: 65536,
            out_bytes_max: 96 * 1024,
            inbox_bytes_max: 64 * 1024,
            stalled_bytes_max: 128 * 1024 * 1024,
            poll_budget: 256,
            seed: 0,
            huge_pages: false,
            fixed_buffers: false,
            liveness: Liveness::default(),
            poll_everything: false,
        }
    }
}

impl ShardConfig {
    /// Bytes of the buffer region.
    pub fn region_bytes(&self) -> usize {
        usize::from(self.head_bufs) * self.head_buf_bytes as usize
            + usize::from(self.bulk_bufs) * self.bulk_buf_bytes as usize
    }

    pub(crate) fn check(&self) -> Result<(), SetupError> {
        let bufs = |count: u16, bytes: u32| {
            (1..=32768).contains(&count)
                && (512..=1 << 20).contains(&bytes)
                && bytes.is_multiple_of(512)
        };
        if !bufs(self.head_bufs, self.head_buf_bytes) || !bufs(self.bulk_bufs, self.bulk_buf_bytes)
        {
            return Err(SetupError::Config(
                "buffers: 1 to 32768, of 512 B to 1 MiB in steps of 512",
            ));
        }
        if self.ring_entries == 0 || self.cq_entries < self.ring_entries {
            return Err(SetupError::Config(
                "ring entries: at least 1, completions at least as many",
            ));
        }
        if self.out_bytes_max == 0 || self.inbox_bytes_max == 0 || self.poll_budget == 0 {
            return Err(SetupError::Config("queue caps and the poll budget must not be 0"));
        }
        Ok(())
    }
}

/// How the kernel notices that a TCP peer no longer answers; by default it does not. A socket
/// given up fails with ETIMEDOUT, or with what the network said last (EHOSTUNREACH).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Liveness {
    /// Silence before the first probe (TCP_KEEPIDLE), rounded up to whole seconds; three probes
    /// follow, a third of it apart, and the peer is dead after twice this time.
    pub keepalive_idle: Option<Duration>,
    /// How long sent bytes, a probe or a closed window may stay as they are (TCP_USER_TIMEOUT).
    /// Where it is set the kernel goes by it instead of the number of probes.
    pub user_timeout: Option<Duration>,
}

impl Liveness {
    /// Probes without an answer after which the peer is dead (TCP_KEEPCNT).
    pub(crate) const PROBES: i32 = 3;

    /// TCP_KEEPIDLE and TCP_KEEPINTVL in seconds, each at least the kernel's least, 1.
    pub(crate) fn keepalive_s(&self) -> Option<(i32, i32)> {
        let idle_ms = self.keepalive_idle?.as_millis();
        let seconds = |ms: u128| {
            i32::try_from(ms.div_ceil(1000)).unwrap_or(i32::MAX).clamp(1, KEEPALIVE_MAX_S)
        };
        Some((seconds(idle_ms), seconds(idle_ms.div_ceil(Liveness::PROBES as u128))))
    }

    /// TCP_USER_TIMEOUT in milliseconds; the kernel's 0 means its own default.
    pub(crate) fn user_timeout_ms(&self) -> Option<i32> {
        let ms = self.user_timeout?.as_millis();
        Some(i32::try_from(ms).unwrap_or(i32::MAX).max(1))
    }
}

/// MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL of Linux.
const KEEPALIVE_MAX_S: i32 = 32_767;

/// What the kernel granted: printed in the start line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Names of the active set-up flags, in the order they were asked for.
    pub flags: Vec<&'static str>,
    /// Names of the flags this kernel refused.
    pub refused: Vec<&'static str>,
    /// Submission queue entries granted.
    pub sq_entries: u32,
    /// Completion queue entries granted.
    pub cq_entries: u32,
    /// The ring's own descriptor is registered.
    pub ring_fd: bool,
    /// The buffer region is pinned as registered buffers as well.
    pub fixed_buffers: bool,
    /// The region was advised to use huge pages.
    pub huge_pages: bool,
    /// The kernel delivers at most 20 completions an enter (6.13 and later).
    pub batched: bool,
    /// Incremental buffer consumption exists (6.12); known, not used.
    pub incremental: bool,
    /// Minimum wait exists (6.12); known, not used.
    pub min_wait: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sq={} cq={} flags={}", self.sq_entries, self.cq_entries, self.flags.join(","))?;
        if !self.refused.is_empty() {
            write!(f, " refused={}", self.refused.join(","))?;
        }
        write!(f, " ring_fd={} buffers=ring", if self.ring_fd { "registered" } else { "plain" })?;
        if self.fixed_buffers {
            f.write_str("+fixed")?;
        }
        if self.huge_pages {
            f.write_str(" huge_pages=advised")?;
        }
        if self.incremental || self.min_wait {
            f.write_str(" kernel>=6.12")?;
        }
        Ok(())
    }
}

/// Why a shard or listener set could not be set up. `Display` names cause and remedy.
#[derive(Debug)]
pub enum SetupError {
    /// A number in the configuration is impossible.
    Config(&'static str),
    /// io_uring is missing or refused.
    Refused {
        /// What the kernel said.
        errno: i32,
        /// The likely cause, and what to do about it.
        cause: &'static str,
    },
    /// RLIMIT_MEMLOCK is too small even for the smallest rings.
    Memlock {
        /// Bytes needed by the smallest set-up.
        need_bytes: u64,
        /// The hard limit, in bytes.
        limit_bytes: u64,
    },
    /// Some other call failed.
    Io {
        /// What was being done.
        doing: &'static str,
        /// How it failed.
        source: std::io::Error,
    },
    /// All 1024 wake-up slots of this process are taken.
    Shards,
}

impl SetupError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> SetupError {
        move |source| SetupError::Io { doing, source }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SetupError::Config(what) => f.write_str(what),
            SetupError::Refused { errno, cause } => {
                let error = std::io::Error::from_raw_os_error(*errno);
                write!(f, "io_uring refused: {error}; {cause}")
            }
            SetupError::Memlock { need_bytes, limit_bytes } => write!(
                f,
                "locked memory: {need_bytes} bytes needed, limit {limit_bytes}; set \
                 LimitMEMLOCK={need_bytes} (systemd) or ulimit -l {} (KiB)",
                need_bytes.div_ceil(1024)
            ),
            SetupError::Io { doing, source } => write!(f, "{doing}: {source}"),
            SetupError::Shards => f.write_str("more than 1024 shards in one process"),
        }
    }
}

impl std::error::Error for SetupError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_possible() {
        let config = ShardConfig::default();
        assert!(config.check().is_ok());
        assert_eq!(config.region_bytes(), 12 << 20);
    }

    #[test]
    fn keepalive_counts_in_whole_seconds() {
        let of = |ms| {
            let keepalive_idle = Some(Duration::from_millis(ms));
            Liveness { keepalive_idle, ..Liveness::default() }.keepalive_s()
        };
        assert_eq!((of(15_000), of(1_000)), (Some((15, 5)), Some((1, 1))));
        assert_eq!((of(1), of(16_001)), (Some((1, 1)), Some((17, 6))));
        assert_eq!(of(u64::MAX), Some((32_767, 32_767)));
        assert_eq!(Liveness::default().keepalive_s(), None);
    }

    #[test]
    fn impossible_numbers_are_refused() {
        for config in [
            ShardConfig { head_bufs: 0, ..ShardConfig::default() },
            ShardConfig { bulk_buf_bytes: 1000, ..ShardConfig::default() },
            ShardConfig { cq_entries: 1, ..ShardConfig::default() },
            ShardConfig { poll_budget: 0, ..ShardConfig::default() },
        ] {
            assert!(config.check().is_err());
        }
    }
}
