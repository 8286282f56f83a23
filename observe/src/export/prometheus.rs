//! The Prometheus text format (version 0.0.4), written from [`Registry`] when somebody scrapes.
//!
//! P1 One `HELP` and one `TYPE` line stand before a family's samples, and a family is written
//! once. P2 A counter's name ends in `_total`; times are seconds, sizes bytes. P3 A family with
//! labels that have not occurred yet has no samples. Ring numbers carry the shard, everything
//! else is summed. A scrape allocates and reads `/proc/self`; it runs on the admin thread.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::fs;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::counter::{Gauge, Histogram, Metric, Registry, Totals, WordFamily};

/// Bounds of the OpenTelemetry convention for HTTP durations, in microseconds.
const DURATION_BOUNDS_US: &[u64] = &[
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
    2_500_000, 5_000_000, 7_500_000, 10_000_000,
];
/// A gateway's own share lies far below 5 ms: 1 us to 1 s, three bounds a decade.
const OVERHEAD_BOUNDS_US: &[u64] = &[
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000,
    200_000, 500_000, 1_000_000,
];

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Appends every family.
pub(crate) fn render(registry: &Registry, out: &mut String) {
    let mut page = Page { out };
    requests(registry, &mut page);
    process_of_config(registry, &mut page);
    connections(registry, &mut page);
    words(registry, &mut page);
    rings(registry, &mut page);
    logs(registry, &mut page);
    memory(registry, &mut page);
    process(registry, &mut page);
}

struct Page<'a> {
    out: &'a mut String,
}

impl Page<'_> {
    fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        debug_assert!(kind != Kind::Counter || name.ends_with("_total"), "P2: {name}");
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        put(self.out, format_args!("# HELP {name} {help}\n# TYPE {name} {word}\n"));
        Family { out: self.out, name }
    }

    fn counter(&mut self, name: &'static str, help: &str, value: u64) {
        self.family(name, Kind::Counter, help).sample(&[], value);
    }

    fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }
}

struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.series("", labels, value);
    }

    fn series(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.out.push_str(self.name);
        self.out.push_str(suffix);
        for (index, (label, text)) in labels.iter().enumerate() {
            self.out.push_str(if index == 0 { "{" } else { "," });
            self.out.push_str(label);
            self.out.push_str("=\"");
            push_label_value(self.out, text);
            self.out.push('"');
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        put(self.out, format_args!(" {value}\n"));
    }

    fn histogram(&mut self, labels: &[(&str, &str)], totals: &Totals, bounds_us: &[u64]) {
        let bucket = |family: &mut Self, bound: &str, count: u64| {
            let with_bound = [labels, &[("le", bound)]].concat();
            family.series("_bucket", &with_bound, count);
        };
        for &bound_us in bounds_us {
            bucket(self, &seconds(bound_us).to_string(), totals.count_to(bound_us));
        }
        bucket(self, "+Inf", totals.count());
        self.series("_sum", labels, seconds(totals.sum_us));
        self.series("_count", labels, totals.count());
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    // INVARIANT: writing to a String cannot fail.
    out.write_fmt(text).expect("write to a string");
}

fn push_label_value(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
}

fn seconds(time_us: u64) -> f64 {
    time_us as f64 / 1e6
}

fn requests(registry: &Registry, page: &mut Page<'_>) {
    let name = "http_server_request_duration_seconds";
    let help = "Duration of requests, first byte in to last byte out, by status class.";
    let mut family = page.family(name, Kind::Histogram, help);
    for (class, label) in [(1, "1xx"), (2, "2xx"), (3, "3xx"), (4, "4xx"), (5, "5xx")] {
        let totals = sum(registry, |shard| shard.durations(class));
        if totals.count() > 0 {
            family.histogram(&[("status_class", label)], &totals, DURATION_BOUNDS_US);
        }
    }
    let overhead = sum(registry, |shard| Some(shard.overhead()));
    let help = "What ringway itself took of each request, waiting for peers excluded.";
    page.family("ringway_overhead_seconds", Kind::Histogram, help).histogram(
        &[],
        &overhead,
        OVERHEAD_BOUNDS_US,
    );
    let help = "Requests in progress.";
    page.gauge("http_server_active_requests", help, registry.level(Gauge::RequestsActive));
    statuses(registry, page);
    calls(registry, page);
    let started = registry.total(Metric::RequestsStarted);
    page.counter("ringway_requests_started_total", "Requests whose head was complete.", started);
    let help = "Requests whose client went away before the reply ended.";
    page.counter("ringway_client_gone_total", help, registry.total(Metric::ClientGone));
}

fn statuses(registry: &Registry, page: &mut Page<'_>) {
    let help = "Finished requests by the status sent; 0 when none was.";
    let mut family = page.family("ringway_requests_total", Kind::Counter, help);
    for status in 0..600 {
        let count: u64 = registry.shards().iter().map(|shard| shard.status_count(status)).sum();
        if count > 0 {
            family.sample(&[("status", &status.to_string())], count);
        }
    }
}

fn calls(registry: &Registry, page: &mut Page<'_>) {
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    for shard in registry.shards() {
        shard.calls(|cluster, status, count| {
            *counts.entry((cluster.to_owned(), status.to_owned())).or_default() += count;
        });
    }
    let help = "Finished gRPC calls by cluster and grpc-status; no cluster where none was asked.";
    let mut family = page.family("ringway_grpc_calls_total", Kind::Counter, help);
    for ((cluster, status), count) in counts {
        family.sample(&[("cluster", &cluster), ("grpc_status", &status)], count);
    }
}

fn sum<'a>(
    registry: &'a Registry,
    histogram: impl Fn(&'a crate::counter::ShardMetrics) -> Option<&'a Histogram>,
) -> Totals {
    let mut totals = Totals::default();
    let all = registry.shards().iter().filter_map(|shard| histogram(shard));
    all.for_each(|histogram| histogram.read_into(&mut totals));
    totals
}

fn process_of_config(registry: &Registry, page: &mut Page<'_>) {
    let config = registry.process();
    let help = "Always 1; the version is in the label.";
    let version = [("version", registry.version())];
    page.family("ringway_build_info", Kind::Gauge, help).sample(&version, 1);
    let generation = config.generation.load(Relaxed);
    page.gauge("ringway_config_generation", "Generation in force.", generation);
    let help = "Generation that each shard has adopted.";
    by_shard(registry, page, ("ringway_shard_generation", Kind::Gauge, help), Gauge::Generation);
    let ok = config.last_reload_successful.load(Relaxed);
    page.gauge("ringway_config_last_reload_successful", "1 unless the last was refused.", ok);
    let at = config.last_reload_success_seconds.load(Relaxed);
    let help = "When a configuration last took effect, in seconds since 1970.";
    page.gauge("ringway_config_last_reload_success_timestamp_seconds", help, at);
    let help = "Reloads by result.";
    let mut family = page.family("ringway_config_reloads_total", Kind::Counter, help);
    family.sample(&[("result", "success")], config.reloads_ok.load(Relaxed));
    family.sample(&[("result", "failure")], config.reloads_failed.load(Relaxed));
    let help = "Changed sets of certificate files, by result.";
    let mut family = page.family("ringway_certificate_reloads_total", Kind::Counter, help);
    family.sample(&[("result", "success")], config.certificates_renewed.load(Relaxed));
    family.sample(&[("result", "failure")], config.certificates_refused.load(Relaxed));
}

fn connections(registry: &Registry, page: &mut Page<'_>) {
    let help = "Downstream connections by what they are doing.";
    let mut family = page.family("ringway_connections", Kind::Gauge, help);
    family.sample(&[("state", "active")], registry.level(Gauge::ConnectionsActive));
    family.sample(&[("state", "idle")], registry.level(Gauge::ConnectionsIdle));
    for (name, help, metric) in [
        ("ringway_connections_accepted_total", "Accepted.", Metric::ConnectionsAccepted),
        ("ringway_connections_closed_total", "Closed by either side.", Metric::ConnectionsClosed),
        ("ringway_connections_refused_total", "Refused by a cap.", Metric::ConnectionsRefused),
        ("ringway_upstream_connects_total", "Upstream connects.", Metric::UpstreamConnects),
        (
            "ringway_upstream_connect_failures_total",
            "Upstream connects that failed.",
            Metric::UpstreamConnectFailures,
        ),
        ("ringway_upstream_reuses_total", "Idle connections reused.", Metric::UpstreamReuses),
        (
            "ringway_thrift_late_replies_total",
            "Replies to calls that had been given up.",
            Metric::ThriftLateReplies,
        ),
    ] {
        page.counter(name, help, registry.total(metric));
    }
    let help = "Bytes moved, by side and direction.";
    let mut family = page.family("ringway_network_bytes_total", Kind::Counter, help);
    for (side, direction, metric) in [
        ("downstream", "in", Metric::DownstreamBytesIn),
        ("downstream", "out", Metric::DownstreamBytesOut),
        ("upstream", "in", Metric::UpstreamBytesIn),
        ("upstream", "out", Metric::UpstreamBytesOut),
    ] {
        family.sample(&[("side", side), ("direction", direction)], registry.total(metric));
    }
    let idle = registry.level(Gauge::PoolIdle);
    page.gauge("ringway_upstream_pool_idle", "Idle upstream connections.", idle);
    let buffered = registry.level(Gauge::BufferedBytes);
    page.gauge("ringway_buffered_bytes", "Bodies that routes buffer, in bytes.", buffered);
    let active = registry.level(Gauge::PoolActive);
    page.gauge("ringway_upstream_pool_active", "Upstream connections in use.", active);
}

fn words(registry: &Registry, page: &mut Page<'_>) {
    for (name, help, label, family) in [
        (
            "ringway_local_replies_total",
            "Replies that ringway wrote itself, by reason.",
            "reason",
            WordFamily::LocalReplies,
        ),
        ("ringway_retries_total", "Second tries, by reason.", "reason", WordFamily::Retries),
        (
            "ringway_upstream_pool_evicted_total",
            "Upstream connections dropped from the pool, by reason.",
            "reason",
            WordFamily::PoolEvicted,
        ),
        (
            "ringway_connection_closes_total",
            "Downstream connections that ringway closed, by reason.",
            "reason",
            WordFamily::ConnectionCloses,
        ),
        (
            "ringway_connection_protocols_total",
            "Connections of listeners that take Thrift, by what their first bytes told.",
            "protocol",
            WordFamily::ConnectionProtocols,
        ),
        (
            "ringway_metadata_dropped_total",
            "Fields and pairs of requests' metadata that were not forwarded, by reason.",
            "reason",
            WordFamily::MetadataDropped,
        ),
        (
            "ringway_tls_handshakes_total",
            "TLS handshakes of clients, by how they ended.",
            "result",
            WordFamily::TlsHandshakes,
        ),
        (
            "ringway_upstream_tls_handshakes_total",
            "TLS handshakes with upstreams, by how they ended.",
            "result",
            WordFamily::UpstreamTlsHandshakes,
        ),
    ] {
        let mut counts: Vec<(&'static str, u64)> = Vec::new();
        for shard in registry.shards() {
            shard.words(family, |word, n| match counts.iter_mut().find(|(w, _)| *w == word) {
                Some((_, count)) => *count += n,
                None => counts.push((word, n)),
            });
        }
        let mut family = page.family(name, Kind::Counter, help);
        for (word, count) in counts {
            family.sample(&[(label, word)], count);
        }
    }
}

/// What the engine publishes, by shard.
const RING_FAMILIES: &[(&str, Kind, &str, Gauge)] = &[
    ("ringway_uring_enters_total", Kind::Counter, "io_uring_enter calls.", Gauge::RingEnters),
    ("ringway_uring_sqe_total", Kind::Counter, "Submissions.", Gauge::RingSqes),
    ("ringway_uring_cqe_total", Kind::Counter, "Completions.", Gauge::RingCqes),
    ("ringway_uring_stale_cqe_total", Kind::Counter, "Stale completions.", Gauge::RingStaleCqes),
    (
        "ringway_uring_cq_overflow_total",
        Kind::Counter,
        "Overflows of the completion queue.",
        Gauge::RingCqOverflows,
    ),
    (
        "ringway_uring_buffers_exhausted_total",
        Kind::Counter,
        "Receives that found no buffer.",
        Gauge::BuffersExhausted,
    ),
    ("ringway_uring_ops_in_flight", Kind::Gauge, "Operations in the kernel.", Gauge::OpsInFlight),
    ("ringway_head_buffers_free", Kind::Gauge, "Free 4 KiB buffers.", Gauge::HeadBufsFree),
    ("ringway_bulk_buffers_free", Kind::Gauge, "Free 64 KiB buffers.", Gauge::BulkBufsFree),
    ("ringway_tasks", Kind::Gauge, "Live tasks.", Gauge::Tasks),
    ("ringway_sockets", Kind::Gauge, "Open sockets, both sides.", Gauge::Sockets),
    (
        "ringway_stalled_bytes",
        Kind::Gauge,
        "Heap bytes holding what stalled sends could not deliver.",
        Gauge::StalledBytes,
    ),
    (
        "ringway_connection_held_bytes_max",
        Kind::Gauge,
        "Most bytes of buffers and heap that one socket has held.",
        Gauge::HeldBytesMax,
    ),
    ("ringway_accepts_total", Kind::Counter, "Sockets accepted.", Gauge::Accepts),
    ("ringway_accept_pauses_total", Kind::Counter, "Pauses of accept.", Gauge::AcceptPauses),
    (
        "ringway_buffer_pressure_closes_total",
        Kind::Counter,
        "Connections closed because buffers ran low.",
        Gauge::BufferPressureCloses,
    ),
    ("ringway_turns_total", Kind::Counter, "Turns of the shard's loop.", Gauge::Turns),
    ("ringway_panics_total", Kind::Counter, "Panics that cost one task.", Gauge::Panics),
];

fn rings(registry: &Registry, page: &mut Page<'_>) {
    for &(name, kind, help, gauge) in RING_FAMILIES {
        by_shard(registry, page, (name, kind, help), gauge);
    }
    let help = "Longest turn of the shard's loop since its start.";
    let mut family = page.family("ringway_core_loop_max_delay_seconds", Kind::Gauge, help);
    for (index, shard) in registry.shards().iter().enumerate() {
        let delay = seconds(shard.level(Gauge::LoopDelayMaxUs));
        family.sample(&[("shard", &index.to_string())], delay);
    }
    let process = registry.process();
    let help = "Times that a shard was seen unmoved for 100 ms outside enter.";
    page.counter("ringway_stalls_total", help, process.stalls.load(Relaxed));
    let longest = seconds(process.stall_max_us.load(Relaxed));
    page.gauge("ringway_stall_max_seconds", "Longest of these stalls.", longest);
}

fn by_shard(
    registry: &Registry,
    page: &mut Page<'_>,
    (name, kind, help): (&'static str, Kind, &str),
    gauge: Gauge,
) {
    let mut family = page.family(name, kind, help);
    for (index, shard) in registry.shards().iter().enumerate() {
        family.sample(&[("shard", &index.to_string())], shard.level(gauge));
    }
}

fn logs(registry: &Registry, page: &mut Page<'_>) {
    let help = "Log lines lost because the writer was behind.";
    let mut family = page.family("ringway_log_dropped_total", Kind::Counter, help);
    family.sample(&[("log", "access")], registry.total(Metric::LogDropped));
    let errors = registry.process().error_log_dropped.load(Relaxed);
    family.sample(&[("log", "error")], errors);
}

fn memory(registry: &Registry, page: &mut Page<'_>) {
    let process = registry.process();
    let limit = process.memory_limit_bytes.load(Relaxed);
    page.gauge("ringway_memory_limit_bytes", "The setting mem-limit; 0 without one.", limit);
    let help = "1 while idle connections are closed and new ones refused because memory is short.";
    page.gauge("ringway_memory_shedding", help, process.memory_shedding.load(Relaxed));
}

/// What every Prometheus client says of its process; a value that `/proc` withholds is left out.
fn process(registry: &Registry, page: &mut Page<'_>) {
    let since = registry.started().duration_since(UNIX_EPOCH).unwrap_or_default();
    let help = "Start time, in seconds since 1970.";
    page.gauge("process_start_time_seconds", help, since.as_secs_f64());
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(cpu) = cpu_seconds(&stat) {
        let help = "User and system CPU time.";
        page.family("process_cpu_seconds_total", Kind::Counter, help).sample(&[], cpu);
    }
    if let Some(kib) = status_field(&status, "VmRSS:") {
        page.gauge("process_resident_memory_bytes", "Resident memory.", kib * 1024);
    }
    if let Some(kib) = status_field(&status, "VmSize:") {
        page.gauge("process_virtual_memory_bytes", "Virtual memory.", kib * 1024);
    }
    if let Some(threads) = status_field(&status, "Threads:") {
        page.gauge("process_threads", "Threads.", threads);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The descriptor that reads the folder is not counted.
        page.gauge("process_open_fds", "Open descriptors.", open.count().saturating_sub(1));
    }
    if let Some(max) = limits.lines().find_map(|line| line.strip_prefix("Max open files"))
        && let Some(soft) = max.split_ascii_whitespace().next().and_then(|n| n.parse::<u64>().ok())
    {
        page.gauge("process_max_fds", "Limit of open descriptors.", soft);
    }
}

fn status_field(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// utime and stime, fields 14 and 15 of `/proc/self/stat`, in ticks of 1/100 s (USER_HZ is 100
/// on every Linux this program runs on). The name in field 2 may hold anything but its last `)`.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let after_name = &stat[stat.rfind(')')? + 1..];
    let mut ticks = after_name.split_ascii_whitespace().skip(11);
    let user: u64 = ticks.next()?.parse().ok()?;
    let system: u64 = ticks.next()?.parse().ok()?;
    Some((user + system) as f64 / 100.0)
}

/// When a configuration took effect, as [`crate::Process`] keeps it.
pub fn unix_seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::calls::CallSeat;

    fn busy_registry() -> Registry {
        let registry = Registry::new(2, "0.0.0", UNIX_EPOCH);
        registry.shard(0).request(200, 7_400_000, 15);
        registry.shard(1).request(200, 6_000, 2_000_000);
        registry.shard(1).request(503, 3, 1);
        registry.shard(1).word(WordFamily::LocalReplies, "no_route");
        registry.shard(0).word(WordFamily::LocalReplies, "no_route");
        for shard in registry.shards() {
            shard.call(shard.call_seat("a\"b"), 14);
            shard.call(CallSeat::NOWHERE, 17);
        }
        registry.shard(1).gauge(Gauge::RingEnters, 41);
        registry.shard(1).gauge(Gauge::LoopDelayMaxUs, 1_500);
        registry
    }

    fn rendered(registry: &Registry) -> String {
        let mut text = String::new();
        registry.render_prometheus(&mut text);
        text
    }

    #[test]
    fn the_page_obeys_the_text_format() {
        let samples = check(&rendered(&busy_registry()));
        let value = |series: &str| samples.get(series).copied();
        assert_eq!(value("ringway_requests_total{status=\"200\"}"), Some(2.0));
        assert_eq!(value("ringway_local_replies_total{reason=\"no_route\"}"), Some(2.0));
        assert_eq!(value("ringway_uring_enters_total{shard=\"1\"}"), Some(41.0));
        assert_eq!(value("ringway_core_loop_max_delay_seconds{shard=\"1\"}"), Some(0.0015));
        let calls = |labels: &str| value(&format!("ringway_grpc_calls_total{{{labels}}}"));
        assert_eq!(calls("cluster=\"a\\\"b\",grpc_status=\"14\""), Some(2.0));
        assert_eq!(calls("cluster=\"\",grpc_status=\"other\""), Some(2.0));
        let bucket = |le| {
            let name = "http_server_request_duration_seconds_bucket";
            value(&format!("{name}{{status_class=\"2xx\",le=\"{le}\"}}"))
        };
        assert_eq!((bucket("0.005"), bucket("0.01")), (Some(0.0), Some(1.0)));
        assert_eq!((bucket("7.5"), bucket("+Inf")), (Some(2.0), Some(2.0)));
        assert!(value("process_resident_memory_bytes").is_some_and(|bytes| bytes > 0.0));
        assert!(value("process_cpu_seconds_total").is_some());
        assert!(value("process_open_fds").is_some_and(|fds| fds >= 3.0));
    }

    #[test]
    fn an_idle_registry_is_a_valid_page_too() {
        let samples = check(&rendered(&Registry::new(1, "a\"b\\c\n", UNIX_EPOCH)));
        assert!(samples.contains_key("ringway_build_info{version=\"a\\\"b\\\\c\\n\"}"));
    }

    #[test]
    fn proc_stat_with_a_strange_name() {
        let stat = "7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 150 25 0 0";
        assert_eq!(cpu_seconds(stat), Some(1.75));
        assert_eq!(cpu_seconds("7 (x"), None);
    }

    /// A checker of the text format that shares nothing with the writer: line grammar, one HELP
    /// and TYPE before the samples of a family, families in one block, no series twice,
    /// histograms cumulative and complete. Returns every sample by its series.
    fn check(page: &str) -> BTreeMap<String, f64> {
        assert!(page.ends_with('\n'));
        let mut kinds: BTreeMap<String, String> = BTreeMap::new();
        let mut helped = BTreeSet::new();
        let mut current = String::new();
        let mut samples = BTreeMap::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').expect(line);
                assert!(!help.is_empty() && helped.insert(name.to_owned()), "{line}");
                current = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect(line);
                assert_eq!(name, current, "TYPE follows its HELP");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                let (series, value) = line.rsplit_once(' ').expect(line);
                let name = check_series(series);
                let family = family_of(name, &kinds[&current]);
                assert_eq!(family, current, "{line} outside its block");
                let value: f64 = value.parse().expect(line);
                assert!(samples.insert(series.to_owned(), value).is_none(), "twice: {line}");
            }
        }
        for (name, _) in kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            check_histogram(name, &samples);
        }
        samples
    }

    fn check_series(series: &str) -> &str {
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').expect(series)),
            None => (series, ""),
        };
        let word = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        assert!(word(name), "{series}");
        let mut rest = labels;
        while !rest.is_empty() {
            let (label, after) = rest.split_once("=\"").expect(series);
            assert!(word(label), "{series}");
            let mut escaped = false;
            let end = after
                .find(|c| {
                    let closes = c == '"' && !escaped;
                    escaped = c == '\\' && !escaped;
                    closes
                })
                .expect(series);
            rest = after[end + 1..].strip_prefix(',').unwrap_or(&after[end + 1..]);
        }
        name
    }

    fn family_of<'a>(name: &'a str, kind: &str) -> &'a str {
        let parts = ["_bucket", "_sum", "_count"];
        let part = parts.iter().find_map(|suffix| name.strip_suffix(suffix));
        if kind == "histogram" { part.expect(name) } else { name }
    }

    fn check_histogram(name: &str, samples: &BTreeMap<String, f64>) {
        let mut series: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (key, &count) in samples {
            let Some(labels) = key.strip_prefix(&format!("{name}_bucket{{")) else { continue };
            let (others, bound) = labels.split_once("le=\"").expect(key);
            let bound = bound.trim_end_matches("\"}").parse().expect(key);
            series.entry(others.to_owned()).or_default().push((bound, count));
        }
        for (others, mut buckets) in series {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name}{others}");
            let last = buckets.last().expect("a bucket");
            let labels = others.trim_end_matches(',');
            let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
            assert_eq!(last.0, f64::INFINITY);
            assert_eq!(samples[&format!("{name}_count{braces}")], last.1);
            assert!(samples.contains_key(&format!("{name}_sum{braces}")));
        }
    }
}
