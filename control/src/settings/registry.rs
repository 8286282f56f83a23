//! The registry: every tunable in one table.
//!
//! One line here gives the flag `--name`, the variable `RINGWAY_NAME`, the YAML key `name` with
//! underscores under `settings:`, its checks, its default, its help, its line in
//! `--print-effective`, its row in docs/config.md and a typed accessor of [`Settings`].

use std::path::Path;
use std::time::Duration;

use super::kind::{Kind, Unit};
use super::{Settings, narrow};

/// When a changed value takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applies {
    /// Only at start; a reload that changes it is refused.
    Restart,
    /// At a reload, for new requests and connections.
    Reload,
}

/// One tunable.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Name as a flag, without dashes in front.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// Default as text.
    pub default: &'static str,
    /// When a change takes effect.
    pub applies: Applies,
    /// One line.
    pub help: &'static str,
}

impl Setting {
    /// The key under `settings:`.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("RINGWAY_{}", self.key().to_uppercase())
    }
}

const fn number(unit: Unit, min: u64, max: u64, word: Option<&'static str>) -> Kind {
    Kind::Number { unit, min, max, word }
}

const fn count(min: u64, max: u64) -> Kind {
    number(Unit::Count, min, max, None)
}

const fn count_or(word: &'static str, min: u64, max: u64) -> Kind {
    number(Unit::Count, min, max, Some(word))
}

const fn bytes(min: u64, max: u64) -> Kind {
    number(Unit::Bytes, min, max, None)
}

/// From 1 ms to a day; where 0 or silence would mean "never", the word `none` says so.
const fn time() -> Kind {
    number(Unit::Time, 1, DAY_MS, None)
}

const fn time_or(word: &'static str) -> Kind {
    number(Unit::Time, 1, DAY_MS, Some(word))
}

const DAY_MS: u64 = 86_400_000;
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const LEVELS: &[&str] = &["error", "warn", "info", "debug"];
const PATH_RULES: &[&str] = &["off", "minimal", "safe", "strict"];
const ROUTE_ORDERS: &[&str] = &["specific", "first_match"];
const FORMATS: &[&str] = &["text", "json"];

macro_rules! accessor {
    ($slot:ident $help:literal opt_duration) => {
        #[doc = $help]
        pub fn $slot(&self) -> Option<Duration> {
            self.number(Slot::$slot as usize).map(Duration::from_millis)
        }
    };
    ($slot:ident $help:literal duration) => {
        #[doc = $help]
        pub fn $slot(&self) -> Duration {
            Duration::from_millis(self.number(Slot::$slot as usize).unwrap_or_default())
        }
    };
    ($slot:ident $help:literal bool) => {
        #[doc = $help]
        pub fn $slot(&self) -> bool {
            self.bool(Slot::$slot as usize)
        }
    };
    ($slot:ident $help:literal cpus) => {
        #[doc = $help]
        pub fn $slot(&self) -> Option<&[usize]> {
            self.cpu_list(Slot::$slot as usize)
        }
    };
    ($slot:ident $help:literal text) => {
        #[doc = $help]
        pub fn $slot(&self) -> &str {
            self.text(Slot::$slot as usize)
        }
    };
    ($slot:ident $help:literal folder) => {
        #[doc = $help]
        pub fn $slot(&self) -> Option<&Path> {
            let text = self.text(Slot::$slot as usize);
            (text != "off").then(|| Path::new(text))
        }
    };
    ($slot:ident $help:literal u64) => {
        #[doc = $help]
        pub fn $slot(&self) -> u64 {
            self.number(Slot::$slot as usize).unwrap_or_default()
        }
    };
    ($slot:ident $help:literal opt_u32) => {
        #[doc = $help]
        pub fn $slot(&self) -> Option<u32> {
            self.number(Slot::$slot as usize).map(narrow)
        }
    };
    ($slot:ident $help:literal opt_u64) => {
        #[doc = $help]
        pub fn $slot(&self) -> Option<u64> {
            self.number(Slot::$slot as usize)
        }
    };
    ($slot:ident $help:literal $number:ident) => {
        #[doc = $help]
        pub fn $slot(&self) -> $number {
            narrow(self.number(Slot::$slot as usize).unwrap_or_default())
        }
    };
}

macro_rules! registry {
    ($($name:literal $slot:ident: $type:ident = $default:literal, $kind:expr, $applies:ident,
        $help:literal;)*) => {
        /// Every tunable, in the order of the documents.
        pub const REGISTRY: &[Setting] = &[$(
            Setting {
                name: $name,
                kind: $kind,
                default: $default,
                applies: Applies::$applies,
                help: $help,
            },
        )*];

        #[allow(non_camel_case_types, reason = "named like the accessors")]
        #[derive(Clone, Copy)]
        enum Slot { $($slot,)* }

        impl Settings { $(accessor! { $slot $help $type })* }
    };
}

registry! {
    "shards" shards: opt_u32 = "auto", count_or("auto", 1, 1024), Restart,
        "Shards: one thread with one ring each; auto is one per usable core.";
    "cpus" cpus: cpus = "auto", Kind::Cpus, Restart,
        "Cores the shards are pinned to, in order; auto is all usable ones.";
    "ring-entries" ring_entries: u32 = "1024", count(8, 32_768), Restart,
        "Submission queue entries of a shard's ring.";
    "cq-entries" cq_entries: u32 = "8192", count(16, 65_536), Restart,
        "Completion queue entries of a shard's ring; at least ring-entries.";
    "buf-bytes" buf_bytes: u32 = "4KiB", bytes(512, MIB), Restart,
        "Bytes of one head buffer; a multiple of 512.";
    "bufs" bufs: u16 = "1024", count(1, 32_768), Restart,
        "Head buffers of a shard.";
    "bulk-buf-bytes" bulk_buf_bytes: u32 = "64KiB", bytes(512, MIB), Restart,
        "Bytes of one body buffer; a multiple of 512.";
    "bulk-bufs" bulk_bufs: u16 = "128", count(1, 32_768), Restart,
        "Body buffers of a shard.";
    "huge-pages" huge_pages: bool = "false", Kind::Bool, Restart,
        "Advise huge pages for the buffer region.";
    "fixed-buffers" fixed_buffers: bool = "false", Kind::Bool, Restart,
        "Also pin the buffer region as registered buffers, where memlock allows.";
    "send-queue-bytes" send_queue_bytes: usize = "96KiB", bytes(4 * KIB, 64 * MIB), Restart,
        "Bytes that may wait to be sent on one connection.";
    "inbox-bytes" inbox_bytes: usize = "64KiB", bytes(4 * KIB, 64 * MIB), Restart,
        "Received bytes that may wait unread on one connection.";
    // 1 900 readers that take nothing: 65 KiB each, the first 43 161 KiB (engine's config).
    "stalled-bytes" stalled_bytes: usize = "128MiB", bytes(64 * KIB, 4 * GIB), Restart,
        "Heap of a shard that sends without progress may be copied to.";
    // 64 bodies of 1 MiB, or 1 000 of 64 KiB.
    "buffered-bytes" buffered_bytes: u64 = "64MiB", bytes(4 * KIB, 64 * GIB), Reload,
        "Bytes of bodies that a shard may buffer where routes ask for it.";
    "poll-budget" poll_budget: u32 = "256", count(1, 65_536), Restart,
        "Tasks a shard polls before it looks at its ring again.";
    "seed" seed: opt_u64 = "random", count_or("random", 0, u64::MAX), Restart,
        "Seed of the shards' randomness; for reproducing a run.";
    "backlog" backlog: u32 = "4096", count(1, 65_535), Restart,
        "Connections the kernel queues per listener and shard before it refuses.";
    "max-conns" max_conns: u32 = "100000", count(1, 10_000_000), Reload,
        "Client connections of the whole process; one above it is reset as soon as it is accepted.";
    "admin" admin: text = "auto", Kind::Admin, Restart,
        "Where the admin server listens; auto is a unix socket in the runtime directory.";
    "route-journal" route_journal: folder = "off", Kind::Folder, Restart,
        "Folder of the journal that keeps what the admin socket changes of the routes.";
    "access-log" access_log: text = "off", Kind::Target, Restart,
        "Where the access log goes.";
    "log-level" log_level: text = "info", Kind::Word(LEVELS), Restart,
        "Least severity of the messages on stderr.";
    "log-format" log_format: text = "text", Kind::Word(FORMATS), Restart,
        "Form of the messages on stderr.";
    "drain-timeout" drain_timeout: duration = "30s", time(), Reload,
        "Time for requests in flight after SIGTERM; then they are cut.";
    "drain-grace" drain_grace: duration = "0s", number(Unit::Time, 0, DAY_MS, None), Reload,
        "Time between readyz turning 503 and the listeners closing.";
    "head-timeout" head_timeout: duration = "10s", time(), Reload,
        "From a request's first byte to the end of its head; 408 after it.";
    "idle-timeout" idle_timeout: duration = "75s", time(), Reload,
        "Silence allowed on a client connection between requests.";
    "body-idle-timeout" body_idle_timeout: duration = "30s", time(), Reload,
        "Silence allowed inside a body.";
    "body-rate-min" body_rate_min: u32 = "240B", number(Unit::Bytes, 0, GIB, None), Reload,
        "Least bytes a second of a request body; 0 turns it off. 408 below it.";
    "body-grace" body_grace: duration = "5s", number(Unit::Time, 0, DAY_MS, None), Reload,
        "Time before body-rate-min counts.";
    "write-stall-timeout" write_stall_timeout: duration = "30s", time(), Reload,
        "Time a send may make no progress before the connection is reset.";
    "request-timeout" request_timeout: opt_duration = "none", time_or("none"), Reload,
        "From a request's head to the reply's last byte; a route's timeout goes before it.";
    "connect-timeout" connect_timeout: duration = "3s", time(), Reload,
        "Time for a connection to an endpoint to be established.";
    "tunnel-idle-timeout" tunnel_idle_timeout: duration = "5m", time(), Reload,
        "Silence allowed in both directions of a tunnel: an upgraded connection.";
    "first-byte-timeout" first_byte_timeout: duration = "60s", time(), Reload,
        "From the request sent to the reply's first byte; 504 after it.";
    "upstream-idle-timeout" upstream_idle_timeout: duration = "4s", time(), Reload,
        "How long an unused upstream connection is kept; below the upstream's own limit.";
    "head-bytes-max" head_bytes_max: u32 = "64KiB", bytes(KIB, MIB), Reload,
        "Bytes of a head; 431 above it.";
    "line-bytes-max" line_bytes_max: u32 = "16KiB", bytes(256, MIB), Reload,
        "Bytes of one line of a head; 431 above it.";
    "fields-max" fields_max: u16 = "100", count(1, 256), Reload,
        "Fields of a head; 431 above it.";
    "target-bytes-max" target_bytes_max: u32 = "8KiB", bytes(64, MIB), Reload,
        "Bytes of a request target; 414 above it.";
    "body-bytes-max" body_bytes_max: opt_u64 = "none",
        number(Unit::Bytes, 0, 1 << 40, Some("none")), Reload,
        "Bytes of a request body; 413 above it. A route's body_bytes_max goes before it.";
    "trusted-proxies" trusted_proxies: text = "none", Kind::Cidrs, Reload,
        "Peers whose X-Forwarded-For, -Proto and -Host are believed and added to.";
    "trusted-hops" trusted_hops: u8 = "0", count(0, 255), Reload,
        "Elements of X-Forwarded-For that are skipped to find the client; 0 skips trusted-proxies.";
    "forwarded-standard" forwarded_standard: bool = "false", Kind::Bool, Reload,
        "Write Forwarded (RFC 7239) as well.";
    "path-rule" path_rule: text = "safe", Kind::Word(PATH_RULES), Reload,
        "How paths are brought into one form before routing, and what is refused. A listener's \
         path_rule goes before it.";
    "route-order" route_order: text = "specific", Kind::Word(ROUTE_ORDERS), Reload,
        "Which of several matching routes wins: the more specific one, or the first in the file.";
    "chunk-ext-bytes-max" chunk_ext_bytes_max: u16 = "256B", bytes(0, 65_535), Reload,
        "Bytes of extensions on one chunk.";
    "chunk-ext-body-bytes-max" chunk_ext_body_bytes_max: u16 = "16KiB", bytes(0, 65_535), Reload,
        "Bytes of chunk extensions in one body.";
    "trailer-bytes-max" trailer_bytes_max: u32 = "8KiB", bytes(0, MIB), Reload,
        "Bytes of a trailer section.";
    "trailer-fields-max" trailer_fields_max: u16 = "32", count(0, 256), Reload,
        "Fields of a trailer section.";
    "interim-max" interim_max: u8 = "16", count(0, 255), Reload,
        "1xx replies an upstream may send before the final one.";
    "swallow-bytes-max" swallow_bytes_max: u32 = "64KiB", bytes(0, GIB), Reload,
        "Bytes of an unwanted request body that are dropped to keep the connection.";
    "requests-per-connection" requests_per_connection: opt_u32 = "none",
        count_or("none", 1, 4_294_967_295), Reload,
        "Requests on one client connection before it is closed.";
    "links-max" links_max: u32 = "1024", count(1, 1_000_000), Reload,
        "Upstream connections per endpoint and shard.";
    "retries" retries: u32 = "1", count(0, 10), Reload,
        "Further tries of a safe request that met a stale upstream connection.";
    "request-id" request_id: bool = "true", Kind::Bool, Reload,
        "Make an X-Request-Id where the request has none.";
    "forwarded" forwarded: bool = "true", Kind::Bool, Reload,
        "Set X-Forwarded-For, -Proto and -Host.";
    "via" via: text = "ringway", Kind::Token, Reload,
        "Name under which Via is added to requests; one that comes back too often is 508.";
    "via-replies" via_replies: bool = "false", Kind::Bool, Reload,
        "Add Via to replies as well.";
    "date" date: bool = "true", Kind::Bool, Reload,
        "Give a reply that has no Date one.";
    // Probes a third of it apart, three of them: 15 + 3 x 5 s = 30 s.
    "tcp-keepalive" tcp_keepalive: opt_duration = "15s",
        number(Unit::Time, 1000, 32_000_000, Some("off")), Restart,
        "Silence on a TCP connection before the kernel probes the peer; three probes follow.";
    "tcp-user-timeout" tcp_user_timeout: opt_duration = "30s", time_or("off"), Restart,
        "Time a TCP peer may leave bytes, probes or a closed window unanswered; then it is gone.";
    "max-conns-per-source" max_conns_per_source: opt_u32 = "none",
        count_or("none", 1, 10_000_000), Reload,
        "Client connections of one source address: an IPv4 address, or an IPv6 /64.";
    "tls-handshake-timeout" tls_handshake_timeout: duration = "10s", time(), Reload,
        "From the accept, or the PROXY header, to the end of the TLS handshake.";
    // A step takes 0.05 ms (ECDSA P-256) to 1 ms (RSA 2048), a turn without work some 10 us: more
    // steps a turn make handshakes no faster, and everybody else wait longer.
    "tls-handshakes" tls_handshakes: u32 = "1", count(1, 1024), Reload,
        "Steps of TLS handshakes of a shard in one turn; others wait for the next.";
    "h2-streams-max" h2_streams_max: u32 = "128", count(1, 65_536), Reload,
        "HTTP/2: streams of a connection at a time, in both directions; more are refused.";
    "h2-stream-window-bytes" h2_stream_window_bytes: u32 = "64KiB", bytes(16 * KIB, GIB), Reload,
        "HTTP/2: bytes that a peer may send ahead on one stream.";
    "h2-connection-window-bytes" h2_connection_window_bytes: u32 = "1MiB", bytes(64 * KIB, GIB),
        Reload, "HTTP/2: bytes that a peer may send ahead on all streams of a connection.";
    "h2-header-table-bytes" h2_header_table_bytes: u32 = "4KiB", bytes(0, 64 * KIB), Reload,
        "HTTP/2: bytes of fields that a peer may have remembered for a connection.";
    "h2-resets-max" h2_resets_max: u16 = "200", count(1, 65_535), Reload,
        "HTTP/2: streams that a client may break off in 30 s.";
    "h2-own-resets-max" h2_own_resets_max: u16 = "100", count(1, 65_535), Reload,
        "HTTP/2: streams that a client may make us break off in 30 s.";
    "h2-glitches-max" h2_glitches_max: u16 = "200", count(1, 65_535), Reload,
        "HTTP/2: frames in 10 s that no message needs.";
    "h2-continuations-max" h2_continuations_max: u8 = "5", count(0, 255), Reload,
        "HTTP/2: CONTINUATION frames of one head, 16 KiB each at most.";
    "h2-ping-interval" h2_ping_interval: opt_duration = "none", time_or("none"), Reload,
        "HTTP/2: silence after which a peer with open streams is sent a PING.";
    "h2-ping-timeout" h2_ping_timeout: duration = "20s", time(), Reload,
        "HTTP/2: silence allowed after that PING.";
    "h2-settings-timeout" h2_settings_timeout: duration = "10s", time(), Reload,
        "HTTP/2: time for a client's preface and for the acknowledgement of our SETTINGS.";
    "thrift-frame-bytes-max" thrift_frame_bytes_max: u32 = "16MiB", bytes(KIB, 512 * MIB), Reload,
        "Thrift: bytes of a frame, of an unframed struct, or of what zlib makes of one.";
    "thrift-header-bytes-max" thrift_header_bytes_max: u32 = "64KiB", bytes(256, 256 * KIB), Reload,
        "Thrift: bytes of a THeader or TTHeader.";
    "thrift-keys-max" thrift_keys_max: u16 = "128", count(1, 1024), Reload,
        "Thrift: keys of such a header, and of what persists of THeaders on a connection.";
    "thrift-depth-max" thrift_depth_max: u16 = "64", count(1, 1024), Reload,
        "Thrift: structs and containers in each other.";
    "thrift-calls-max" thrift_calls_max: u16 = "128", count(1, 65_535), Reload,
        "Thrift: calls of a client connection at a time; it is not read from at this many.";
    "thrift-lax" thrift_lax: bool = "false", Kind::Bool, Reload,
        "Thrift: take messages of Binary without a version.";
    "mem-limit" mem_limit: opt_u64 = "none",
        number(Unit::Bytes, 16 * MIB, 1 << 44, Some("none")), Reload,
        "Resident bytes: above 90 % of it idle clients are closed and new ones refused.";
}
