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
    }
}
