//! Single-writer counters: one padded block a shard, summed when somebody scrapes.
//!
//! C1 Only the owning shard writes a [`ShardMetrics`]; a relaxed load and a relaxed store are
//! therefore enough, and no write is an atomic read-modify-write. C2 Readers may see counters of
//! slightly different moments; each one alone never goes back. C3 What labels a counter is listed
//! in this file (enums, status codes) or is a `&'static str` of the program ([`WordFamily`]).
//! Cost of a counter: one load, one store. Of a histogram: a search over eight bounds, one
//! division, two counters. About 16 KiB a shard, and what `calls.rs` says of clusters.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::calls::{CallSeat, Calls};

macro_rules! slots {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum $name { $($(#[$inner])* $variant,)* }

        impl $name {
            /// Every value, in the order of the slots.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];
            const COUNT: usize = Self::ALL.len();
        }
    };
}

slots! {
    /// What a shard counts; only ever grows.
    Metric {
        /// Downstream connections accepted.
        ConnectionsAccepted,
        /// Downstream connections closed, by whichever side.
        ConnectionsClosed,
        /// Downstream connections refused by a cap or for want of descriptors.
        ConnectionsRefused,
        /// Requests whose head was complete.
        RequestsStarted,
        /// Bytes received from downstream.
        DownstreamBytesIn,
        /// Bytes sent to downstream.
        DownstreamBytesOut,
        /// Bytes received from upstreams.
        UpstreamBytesIn,
        /// Bytes sent to upstreams.
        UpstreamBytesOut,
        /// Upstream connections asked for.
        UpstreamConnects,
        /// Upstream connections that could not be made.
        UpstreamConnectFailures,
        /// Requests that found an idle upstream connection.
        UpstreamReuses,
        /// Requests whose client went away before the reply ended.
        ClientGone,
        /// Replies to calls of Thrift that had been given up.
        ThriftLateReplies,
        /// Access log records lost because the exporter was behind.
        LogDropped,
    }
}

slots! {
    /// What a shard publishes as a number of now, or as a running total kept elsewhere (engine).
    Gauge {
        /// Requests in progress.
        RequestsActive,
        /// Downstream connections with a request in progress.
        ConnectionsActive,
        /// Downstream connections between requests.
        ConnectionsIdle,
        /// Upstream connections idle in the pool.
        PoolIdle,
        /// Bytes of bodies that routes buffer.
        BufferedBytes,
        /// Upstream connections carrying a request.
        PoolActive,
        /// Configuration generation this shard has adopted.
        Generation,
        /// `io_uring_enter` calls so far.
        RingEnters,
        /// Submissions so far.
        RingSqes,
        /// Completions so far.
        RingCqes,
        /// Completions of operations that no longer exist, so far.
        RingStaleCqes,
        /// Completion queue overflows so far.
        RingCqOverflows,
        /// Receives that found no buffer, so far.
        BuffersExhausted,
        /// Task panics caught so far.
        Panics,
        /// Free buffers of the head group.
        HeadBufsFree,
        /// Free buffers of the bulk group.
        BulkBufsFree,
        /// Operations in the kernel.
        OpsInFlight,
        /// Live tasks.
        Tasks,
        /// Open sockets.
        Sockets,
        /// Heap bytes holding what stalled sends could not deliver.
        StalledBytes,
        /// Most bytes one socket has held.
        HeldBytesMax,
        /// Accepted sockets so far.
        Accepts,
        /// Pauses of accept for want of descriptors, so far.
        AcceptPauses,
        /// Connections closed because buffers ran low, so far.
        BufferPressureCloses,
        /// Turns so far.
        Turns,
        /// Longest turn, in microseconds.
        LoopDelayMaxUs,
    }
}

slots! {
    /// Counters labelled by one word of the program's own.
    WordFamily {
        /// Replies that ringway wrote itself, by reason.
        LocalReplies,
        /// Second tries, by what made them necessary.
        Retries,
        /// Upstream connections dropped from the pool, by reason.
        PoolEvicted,
        /// Downstream connections closed by ringway, by reason.
        ConnectionCloses,
        /// Downstream connections whose first bytes told what they speak, by protocol.
        ConnectionProtocols,
        /// Metadata of Thrift calls that went no further, by reason.
        MetadataDropped,
        /// TLS handshakes of clients, by how they ended.
        TlsHandshakes,
        /// TLS handshakes with upstreams, by how they ended.
        UpstreamTlsHandshakes,
    }
}

/// Replies are counted by exact status below this number; anything else lands in slot 0.
const STATUS_SLOTS: usize = 600;
/// Distinct reason words kept per family; the ones after that are counted as `other`.
const WORDS_MAX: usize = 48;
/// Request durations are kept apart by status class, 1xx to 5xx.
const CLASSES: usize = 5;

/// One shard's counters. Written by that shard only (C1), read by anyone.
#[repr(align(128))]
pub struct ShardMetrics {
    metrics: [AtomicU64; Metric::COUNT],
    gauges: [AtomicU64; Gauge::COUNT],
    statuses: [AtomicU64; STATUS_SLOTS],
    words: [Words; WordFamily::COUNT],
    durations: [Histogram; CLASSES],
    overhead: Histogram,
    calls: Calls,
}

impl ShardMetrics {
    fn new() -> ShardMetrics {
        ShardMetrics {
            metrics: array::from_fn(|_| AtomicU64::new(0)),
            gauges: array::from_fn(|_| AtomicU64::new(0)),
            statuses: array::from_fn(|_| AtomicU64::new(0)),
            words: array::from_fn(|_| Words::new()),
            durations: array::from_fn(|_| Histogram::new()),
            overhead: Histogram::new(),
            calls: Calls::new(),
        }
    }

    /// Adds `n` to a counter.
    #[inline]
    pub fn add(&self, metric: Metric, n: u64) {
        bump(&self.metrics[metric as usize], n);
    }

    /// A counter's value.
    pub fn count(&self, metric: Metric) -> u64 {
        self.metrics[metric as usize].load(Relaxed)
    }

    /// Publishes a gauge.
    #[inline]
    pub fn gauge(&self, gauge: Gauge, value: u64) {
        self.gauges[gauge as usize].store(value, Relaxed);
    }

    /// Raises a gauge by one.
    #[inline]
    pub fn enter(&self, gauge: Gauge) {
        bump(&self.gauges[gauge as usize], 1);
    }

    /// Lowers a gauge by one; a gauge at zero stays there.
    #[inline]
    pub fn leave(&self, gauge: Gauge) {
        let slot = &self.gauges[gauge as usize];
        slot.store(slot.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// A gauge's value.
    pub fn level(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge as usize].load(Relaxed)
    }

    /// Counts one finished request: its exact status, its duration by status class, and the part
    /// of it that ringway itself took. Both times in microseconds.
    #[inline]
    pub fn request(&self, status: u16, duration_us: u64, overhead_us: u64) {
        let slot = if usize::from(status) < STATUS_SLOTS { usize::from(status) } else { 0 };
        bump(&self.statuses[slot], 1);
        let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
        self.durations[class].record(duration_us);
        self.overhead.record(overhead_us);
    }

    /// Requests that ended with `status` (0: those with no valid status).
    pub fn status_count(&self, status: u16) -> u64 {
        self.statuses.get(usize::from(status)).map_or(0, |slot| slot.load(Relaxed))
    }

    /// Counts one event under a reason word.
    #[inline]
    pub fn word(&self, family: WordFamily, word: &'static str) {
        self.words[family as usize].add(word);
    }

    /// Calls `each` with every word seen in a family and its count.
    pub fn words(&self, family: WordFamily, mut each: impl FnMut(&'static str, u64)) {
        self.words[family as usize].each(&mut each);
    }

    /// Where calls to a cluster of this name are counted, now and after any reload. A search over
    /// all names, and an allocation for a new one: not for requests.
    pub fn call_seat(&self, cluster: &str) -> CallSeat {
        self.calls.seat(cluster)
    }

    /// Counts one finished call under its `grpc-status`.
    #[inline]
    pub fn call(&self, seat: CallSeat, status: u32) {
        self.calls.add(seat, status);
    }

    /// Calls `each` with every cluster and status that was counted, and the count; the cluster is
    /// empty for calls that went to none.
    pub fn calls(&self, mut each: impl FnMut(&str, &str, u64)) {
        self.calls.each(&mut each);
    }

    /// Durations of requests of one status class, `class` 1 to 5.
    pub fn durations(&self, class: usize) -> Option<&Histogram> {
        self.durations.get(class.checked_sub(1)?)
    }

    /// What ringway itself took of each request.
    pub fn overhead(&self) -> &Histogram {
        &self.overhead
    }
}

#[inline]
fn bump(slot: &AtomicU64, n: u64) {
    slot.store(slot.load(Relaxed).wrapping_add(n), Relaxed);
}

/// A log-linear histogram of microseconds: 18 equal steps in each power of ten from 1 us to 100 s.
///
/// Base ten, because then every bound that is exported (5 ms, 25 ms, 7.5 s, 20 us) *is* a bucket
/// bound, and a scrape is exact instead of near.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

const STEPS: usize = 18;
const DECADES: usize = 8;
/// The first bucket holds 0 and 1 us; the last everything above 100 s.
const BUCKETS: usize = 1 + STEPS * DECADES + 1;
const POWERS: [u64; DECADES + 1] =
    [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

impl Histogram {
    fn new() -> Histogram {
        Histogram { buckets: array::from_fn(|_| AtomicU64::new(0)), sum_us: AtomicU64::new(0) }
    }

    /// Counts one value, in microseconds.
    #[inline]
    pub fn record(&self, value_us: u64) {
        bump(&self.buckets[bucket_index(value_us)], 1);
        bump(&self.sum_us, value_us);
    }

    /// Adds this histogram's buckets and sum to a reader's copy.
    pub fn read_into(&self, totals: &mut Totals) {
        for (total, bucket) in totals.buckets.iter_mut().zip(&self.buckets) {
            *total += bucket.load(Relaxed);
        }
        totals.sum_us += self.sum_us.load(Relaxed);
    }
}

/// Several shards' histograms, summed by a reader.
#[derive(Clone)]
pub struct Totals {
    buckets: [u64; BUCKETS],
    /// Sum of all values, in microseconds.
    pub sum_us: u64,
}

impl Default for Totals {
    fn default() -> Totals {
        Totals { buckets: [0; BUCKETS], sum_us: 0 }
    }
}

impl Totals {
    /// Number of values.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Number of values of at most `bound_us`; exact when the bound is one of the buckets'.
    pub fn count_to(&self, bound_us: u64) -> u64 {
        self.buckets[..=bucket_index(bound_us)].iter().sum()
    }

    /// Upper bound of the bucket that holds quantile `q` (0 to 1), in microseconds; `None`
    /// without values. At most one step (5 to 50 %) above the truth.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank {
                return Some(bucket_bound_us(index));
            }
        }
        None
    }
}

/// The bucket with the smallest bound that is not below `value_us`.
fn bucket_index(value_us: u64) -> usize {
    if value_us <= 1 {
        return 0;
    }
    if value_us > POWERS[DECADES] {
        return BUCKETS - 1;
    }
    // The decade is the largest power of ten strictly below the value.
    let decade = POWERS.partition_point(|&power| power < value_us) - 1;
    // In (10^d, 10^(d+1)] the doubled quotient, rounded up, runs from 3 to 20.
    let step = (2 * value_us).div_ceil(POWERS[decade]) as usize;
    1 + decade * STEPS + step - 3
}

fn bucket_bound_us(index: usize) -> u64 {
    if index == 0 {
        return 1;
    }
    let (decade, step) = ((index - 1) / STEPS, (index - 1) % STEPS);
    if decade == DECADES { u64::MAX } else { POWERS[decade] * (step as u64 + 3) / 2 }
}

/// Counters by reason word: a slot is named once, by the only writer, and found by comparison.
struct Words {
    names: [OnceLock<&'static str>; WORDS_MAX],
    counts: [AtomicU64; WORDS_MAX],
    other: AtomicU64,
}

impl Words {
    fn new() -> Words {
        Words {
            names: array::from_fn(|_| OnceLock::new()),
            counts: array::from_fn(|_| AtomicU64::new(0)),
            other: AtomicU64::new(0),
        }
    }

    fn add(&self, word: &'static str) {
        for (name, count) in self.names.iter().zip(&self.counts) {
            if *name.get_or_init(|| word) == word {
                return bump(count, 1);
            }
        }
        bump(&self.other, 1);
    }

    fn each(&self, each: &mut dyn FnMut(&'static str, u64)) {
        for (name, count) in self.names.iter().zip(&self.counts) {
            let Some(name) = name.get() else { break };
            each(name, count.load(Relaxed));
        }
        let other = self.other.load(Relaxed);
        if other > 0 {
            each("other", other);
        }
    }
}

/// What is counted once for the process, by threads that are not shards.
pub struct Process {
    /// Generation of the configuration in force.
    pub generation: AtomicU64,
    /// 1 after a reload that succeeded (or none yet), 0 after one that was refused.
    pub last_reload_successful: AtomicU64,
    /// Wall clock of the last accepted configuration, seconds since 1970.
    pub last_reload_success_seconds: AtomicU64,
    /// Reloads that took effect.
    pub reloads_ok: AtomicU64,
    /// Reloads that were refused.
    pub reloads_failed: AtomicU64,
    /// Sets of certificates that took effect because their files changed.
    pub certificates_renewed: AtomicU64,
    /// Changed sets of certificates that could not be used.
    pub certificates_refused: AtomicU64,
    /// Stalls reported by the stall detector.
    pub stalls: AtomicU64,
    /// Longest time a shard was seen unmoved outside enter, in microseconds.
    pub stall_max_us: AtomicU64,
    /// Error log lines lost because the writer was behind.
    pub error_log_dropped: AtomicU64,
    /// `mem-limit` in force, in bytes; 0 without one.
    pub memory_limit_bytes: AtomicU64,
    /// 1 while connections are shed because memory is short.
    pub memory_shedding: AtomicU64,
}

/// Every counter of the process: one block a shard, and the process' own.
pub struct Registry {
    shards: Vec<Arc<ShardMetrics>>,
    process: Process,
    version: &'static str,
    started: SystemTime,
}

impl Registry {
    /// Counters for `shards` shards, all zero. `version` and `started` are what the metrics
    /// `ringway_build_info` and `process_start_time_seconds` say.
    pub fn new(shards: usize, version: &'static str, started: SystemTime) -> Registry {
        let process = Process {
            generation: AtomicU64::new(0),
            last_reload_successful: AtomicU64::new(1),
            last_reload_success_seconds: AtomicU64::new(0),
            reloads_ok: AtomicU64::new(0),
            reloads_failed: AtomicU64::new(0),
            certificates_renewed: AtomicU64::new(0),
            certificates_refused: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
            stall_max_us: AtomicU64::new(0),
            error_log_dropped: AtomicU64::new(0),
            memory_limit_bytes: AtomicU64::new(0),
            memory_shedding: AtomicU64::new(0),
        };
        let shards = (0..shards).map(|_| Arc::new(ShardMetrics::new())).collect();
        Registry { shards, process, version, started }
    }

    /// Shard `index`'s block; taken once, when the shard starts.
    ///
    /// # Panics
    /// When there is no such shard.
    pub fn shard(&self, index: usize) -> Arc<ShardMetrics> {
        Arc::clone(&self.shards[index])
    }

    /// All blocks, by shard.
    pub fn shards(&self) -> &[Arc<ShardMetrics>] {
        &self.shards
    }

    /// What is counted once for the process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The version given to [`Registry::new`].
    pub fn version(&self) -> &'static str {
        self.version
    }

    /// When the process started.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// A counter, summed over shards.
    pub fn total(&self, metric: Metric) -> u64 {
        self.shards.iter().map(|shard| shard.count(metric)).sum()
    }

    /// A gauge, summed over shards.
    pub fn level(&self, gauge: Gauge) -> u64 {
        self.shards.iter().map(|shard| shard.level(gauge)).sum()
    }

    /// Appends everything in the Prometheus text format. Allocates and reads `/proc`: not for
    /// shards.
    pub fn render_prometheus(&self, out: &mut String) {
        crate::export::prometheus::render(self, out);
    }
}

const _: () = assert!(bucket_count_fits(), "bounds of the first and last bucket");

const fn bucket_count_fits() -> bool {
    BUCKETS == 2 + STEPS * DECADES && POWERS.len() == DECADES + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_at_or_below_its_bucket_bound_and_above_the_one_before() {
        let mut value = 0u64;
        while value < 200_000_000 {
            let index = bucket_index(value);
            assert!(value <= bucket_bound_us(index), "{value} in {index}");
            if index > 0 {
                assert!(value > bucket_bound_us(index - 1), "{value} in {index}");
            }
            value += 1 + value / 37;
        }
    }

    #[test]
    fn exported_bounds_are_exact() {
        for bound in [5_000, 25_000, 75_000, 750_000, 2_500_000, 7_500_000, 2, 5, 20, 1_000_000] {
            assert_eq!(bucket_bound_us(bucket_index(bound)), bound);
            assert_ne!(bucket_index(bound), bucket_index(bound + 1));
        }
    }

    #[test]
    fn a_request_counts_status_class_and_overhead() {
        let registry = Registry::new(2, "0", SystemTime::UNIX_EPOCH);
        registry.shard(0).request(204, 5_000, 12);
        registry.shard(1).request(503, 5_001, 3);
        registry.shard(1).request(999, 1, 1);
        assert_eq!(registry.shard(0).status_count(204), 1);
        assert_eq!(registry.shard(1).status_count(503), 1);
        assert_eq!(registry.shard(1).status_count(0), 1);
        let mut totals = Totals::default();
        for shard in registry.shards() {
            for class in 1..=5 {
                shard.durations(class).unwrap().read_into(&mut totals);
            }
        }
        assert_eq!((totals.count(), totals.count_to(5_000), totals.sum_us), (3, 2, 10_002));
        assert_eq!(totals.quantile_us(0.5), Some(5_000));
    }

    #[test]
    fn gauges_never_wrap_below_zero() {
        let registry = Registry::new(1, "0", SystemTime::UNIX_EPOCH);
        let shard = registry.shard(0);
        shard.enter(Gauge::RequestsActive);
        shard.leave(Gauge::RequestsActive);
        shard.leave(Gauge::RequestsActive);
        assert_eq!(registry.level(Gauge::RequestsActive), 0);
    }

    #[test]
    fn words_beyond_the_table_are_counted_as_other() {
        let registry = Registry::new(1, "0", SystemTime::UNIX_EPOCH);
        let shard = registry.shard(0);
        for n in 0..WORDS_MAX + 3 {
            let word: &'static str = Box::leak(format!("w{n}").into_boxed_str());
            shard.word(WordFamily::LocalReplies, word);
        }
        shard.word(WordFamily::LocalReplies, "w0");
        let mut seen = Vec::new();
        shard.words(WordFamily::LocalReplies, |word, n| seen.push((word, n)));
        assert_eq!(seen.len(), WORDS_MAX + 1);
        assert_eq!((seen[0], seen[WORDS_MAX]), (("w0", 2), ("other", 3)));
    }
}
