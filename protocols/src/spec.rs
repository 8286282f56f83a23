//! `WireSpec`: every limit and time of a wire, each with the rule or the arithmetic behind it.
//!
//! One spec is shared (`Arc`) by all connections of a listener or a cluster; a wire reads it and
//! never changes it. Reaching a limit costs the connection that reached it, with the fault named
//! in each line. Times are durations only: the wire is told what time it is.

use core::time::Duration;

/// Limits and times of a wire. `Default` holds the documented values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireSpec {
    /// Bytes of a head, from the first byte of the start line to the end of the empty line.
    /// 64 KiB = what Envoy and HAProxy (4 x 16 KiB) take. Over it: `head_too_large`, 431.
    pub head_bytes_max: u32,
    /// Bytes of one line of a head, without its CRLF. 16 KiB = a 12 KiB cookie jar and its name.
    /// Over it: `field_too_long`, 431, or for the request line `target_too_long`, 414.
    pub line_bytes_max: u32,
    /// Fields of a head; 100 as nginx and HAProxy. Over it: `too_many_fields`, 431.
    /// Values over [`WireSpec::FIELDS_CAP`] act like it.
    pub fields_max: u16,
    /// Bytes of a request target: RFC 9112 §3 asks for at least 8000. Over it: 414.
    pub target_bytes_max: u32,
    /// Bytes of a body, chunk framing not counted; `None` is no limit.
    /// Over it: `body_too_large`, 413, at the head if declared there, else in mid-body.
    pub body_bytes_max: Option<u64>,
    /// Bytes of extensions on one chunk. Nobody uses them (RFC 9112 §7.1.1); 256 are a kindness.
    pub chunk_ext_bytes_max: u16,
    /// Bytes of extensions in one body: 64 full chunks' worth of 256 B.
    pub chunk_ext_body_bytes_max: u16,
    /// Bytes of a trailer section; a gRPC status with details fits in 8 KiB.
    pub trailer_bytes_max: u32,
    /// Fields of a trailer section. Values over [`WireSpec::TRAILER_FIELDS_CAP`] act like it.
    pub trailer_fields_max: u16,
    /// 1xx replies before the final one. Over it: `too_many_interim`.
    pub interim_max: u8,
    /// Bytes of a request body that are read and dropped after an early reply so that the
    /// connection can be kept: 64 KiB, what one receive inbox holds. More, and it closes.
    pub swallow_bytes_max: u32,
    /// From a head's first byte to its last (security.md: slow heads). Over it: 408.
    pub head_timeout: Duration,
    /// Server role: silence allowed between requests, and before the first. 75 s as nginx.
    pub idle_timeout: Duration,
    /// Client role: how long an unused connection is kept. 4 s: below the 5 s at which Node,
    /// Hypercorn and uvicorn close, so that it is we who close (protocols.md 5.5).
    pub link_idle_timeout: Duration,
    /// Minimum rate of a request body in bytes a second, after `body_grace`; 0 turns it off.
    /// 240 B/s is a 2400 baud line. Over it: `body_too_slow`, 408.
    pub body_rate_min: u32,
    /// Time before the rate counts, at the start of a body.
    pub body_grace: Duration,
    /// Silence allowed in mid-body however fast the body came before.
    pub body_idle_timeout: Duration,
    /// Requests served on one connection before it is closed; `None` is no limit.
    pub requests_per_connection_max: Option<u32>,
    /// HTTP/2: bytes of one stream's payload that its sender may send ahead, as advertised.
    /// 64 KiB = what one inbox holds; with 100 ms of round trip some 5 Mbit/s a stream.
    pub h2_stream_window_bytes: u32,
    /// HTTP/2: the same for all streams of a connection together. 1 MiB = 16 full streams; what
    /// has arrived is given back at once, so it bounds bytes on their way and not bytes kept.
    pub h2_connection_window_bytes: u32,
    /// HTTP/2: streams at a time, in both roles; 128 as nginx. A stream counts until it is
    /// released, which is when its upstream work is gone. A server refuses more (`stream_refused`).
    pub h2_streams_max: u32,
    /// HTTP/2: bytes of the dynamic table that the peer may fill; 4096 is the protocol's default.
    pub h2_header_table_bytes: u32,
    /// HTTP/2, server role: streams that a client may reset in `h2_resets_period` before their end.
    /// 200 in 30 s: a browser that gives up a page of 200 parts; an attack makes thousands a
    /// second. Over it: `rapid_reset`.
    pub h2_resets_max: u16,
    /// HTTP/2, server role: streams that this side had to reset in `h2_resets_period` because of
    /// what the client did. 100: nobody's client does it at all. Over it: `made_you_reset`.
    pub h2_own_resets_max: u16,
    /// The time for both.
    pub h2_resets_period: Duration,
    /// HTTP/2: frames in `h2_glitches_period` that no message needs: see `h2/flood.rs` for what
    /// counts. 200 in 10 s is 20 a second. Over it: `glitch_flood`.
    pub h2_glitches_max: u16,
    /// The time for them.
    pub h2_glitches_period: Duration,
    /// HTTP/2: CONTINUATION frames of a field block; empty ones count. The largest head allowed,
    /// 64 KiB, takes HEADERS and 3 of them at 16 KiB each. Over it: `continuation_flood`.
    pub h2_continuations_max: u8,
    /// HTTP/2: silence after which a peer with streams is asked for a sign of life. `None` never
    /// asks: gRPC servers take PINGs more often than every 5 minutes for an attack.
    pub h2_ping_interval: Option<Duration>,
    /// HTTP/2: silence allowed after that PING; 20 s as gRPC. Over it: `ping_timeout`.
    pub h2_ping_timeout: Duration,
    /// HTTP/2: time for the preface and the acknowledgement of our SETTINGS. Over it:
    /// `settings_timeout`.
    pub h2_settings_timeout: Duration,
    /// Thrift: bytes of a frame, without its length, or of an unframed struct. 16 MiB holds both
    /// common defaults, Apache's 16 384 000 and volo's 16 777 216. Nothing is set aside for it: but
    /// for a compressed payload, twice this at most, a frame passes through as it comes. Over it:
    /// `thrift_frame_too_large`. Values over 0x3fffffff act like it.
    pub thrift_frame_bytes_max: u32,
    /// Thrift: bytes of a THeader or TTHeader behind their 14 fixed ones. 64 KiB = 128 keys with
    /// values of 500 B; the largest that can be said is 4 x 65535 B. Over it: `head_too_large`.
    pub thrift_header_bytes_max: u32,
    /// Thrift: keys of a header; 128 of TTHeader's smallest take 512 B. Each is set among those
    /// before it: 128 x 127 / 2 = 8128 compares of a name. Over it: `too_many_fields`.
    pub thrift_keys_max: u16,
    /// Thrift: structs and containers in each other; 64 as Apache's readers. 8 B of memory a level.
    /// Over it: `thrift_too_deep`.
    pub thrift_depth_max: u16,
    /// Thrift, server role: calls at a time; 128 as streams of HTTP/2. A call counts until it is
    /// released. At this many the connection is not read from.
    pub thrift_calls_max: u16,
    /// Thrift, client role: calls at a time on one connection. 1 suits every server; one that
    /// answers out of order (TTHeader, THeader) gains from more.
    pub thrift_link_calls_max: u16,
    /// Thrift: messages without a version are taken, where a connection begins with one.
    pub thrift_lax: bool,
    /// Thrift, client role: whether a method's name has its service before it
    /// (TMultiplexedProtocol); `None` is as the caller had it.
    pub thrift_multiplexed: Option<bool>,
}

impl WireSpec {
    /// The most fields that a head may have whatever `fields_max` says: the parser's table of
    /// them lies on the stack, 256 x 32 B = 8 KiB.
    pub const FIELDS_CAP: usize = 256;

    /// The most fields of a trailer section: 64 x 32 B on the stack.
    pub const TRAILER_FIELDS_CAP: usize = 64;

    /// `fields_max` as it acts.
    pub(crate) fn fields_limit(&self) -> usize {
        usize::from(self.fields_max).min(WireSpec::FIELDS_CAP)
    }

    /// `trailer_fields_max` as it acts.
    pub(crate) fn trailer_fields_limit(&self) -> usize {
        usize::from(self.trailer_fields_max).min(WireSpec::TRAILER_FIELDS_CAP)
    }
}

impl Default for WireSpec {
    fn default() -> Self {
        WireSpec {
            head_bytes_max: 64 * 1024,
            line_bytes_max: 16 * 1024,
            fields_max: 100,
            target_bytes_max: 8 * 1024,
            body_bytes_max: None,
            chunk_ext_bytes_max: 256,
            chunk_ext_body_bytes_max: 16 * 1024,
            trailer_bytes_max: 8 * 1024,
            trailer_fields_max: 32,
            interim_max: 16,
            swallow_bytes_max: 64 * 1024,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            link_idle_timeout: Duration::from_secs(4),
            body_rate_min: 240,
            body_grace: Duration::from_secs(5),
            body_idle_timeout: Duration::from_secs(30),
            requests_per_connection_max: None,
            h2_stream_window_bytes: 64 * 1024,
            h2_connection_window_bytes: 1024 * 1024,
            h2_streams_max: 128,
            h2_header_table_bytes: 4096,
            h2_resets_max: 200,
            h2_own_resets_max: 100,
            h2_resets_period: Duration::from_secs(30),
            h2_glitches_max: 200,
            h2_glitches_period: Duration::from_secs(10),
            h2_continuations_max: 5,
            h2_ping_interval: None,
            h2_ping_timeout: Duration::from_secs(20),
            h2_settings_timeout: Duration::from_secs(10),
            thrift_frame_bytes_max: 16 * 1024 * 1024,
            thrift_header_bytes_max: 64 * 1024,
            thrift_keys_max: 128,
            thrift_depth_max: 64,
            thrift_calls_max: 128,
            thrift_link_calls_max: 1,
            thrift_lax: false,
            thrift_multiplexed: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_hold_together() {
        let spec = WireSpec::default();
        assert!(spec.target_bytes_max < spec.line_bytes_max, "414 must be reachable by target");
        assert!(spec.line_bytes_max < spec.head_bytes_max);
        assert!(spec.trailer_bytes_max <= spec.head_bytes_max);
        assert!(usize::from(spec.fields_max) <= WireSpec::FIELDS_CAP);
        assert!(spec.link_idle_timeout < Duration::from_secs(5), "the common server limit");
        let block = u32::from(spec.h2_continuations_max + 1) * 16 * 1024;
        assert!(spec.head_bytes_max <= block, "the largest head must fit into its frames");
        assert!(spec.h2_stream_window_bytes <= spec.h2_connection_window_bytes);
        assert!(spec.thrift_header_bytes_max < spec.thrift_frame_bytes_max);
    }
}
