//! Deadlines of a Thrift connection.
//!
//! | what | time | at its end |
//! |---|---|---|
//! | server: from an envelope's first byte to its last | `head_timeout` | `head_timeout` |
//! | server: a struct | `body_grace`, then `body_rate_min`, `body_idle_timeout` | `body_too_slow` |
//! | no call is open or being read | `idle_timeout`, `link_idle_timeout` | close |
//! | client: a call that was given up has no reply | 30 s | no more calls |
//!
//! How long a call may take is the gateway's to say.

use std::time::{Duration, Instant};

use crate::spec::WireSpec;

/// How long the reply of a call that was given up is waited for.
pub(super) const TOMBSTONE_WAIT: Duration = Duration::from_secs(30);

/// A pump that receives ticks within this of a deadline: a timer wheel's step and a long turn.
const TICK_LATE_MAX: Duration = Duration::from_secs(1);

/// What the deadlines depend on.
#[derive(Debug, Default)]
pub(super) struct Clock {
    pub(super) head_by: Option<Instant>,
    pub(super) struct_by: Option<Instant>,
    /// No call is open or being read since.
    pub(super) idle_since: Option<Instant>,
}

impl Clock {
    pub(super) fn note_calls(&mut self, is_busy: bool, now: Instant) {
        if is_busy {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
    }

    pub(super) fn restart_idle(&mut self, now: Instant) {
        self.idle_since = self.idle_since.map(|_| now);
    }

    pub(super) fn begin_head(&mut self, now: Instant, spec: &WireSpec) {
        self.head_by.get_or_insert(now + spec.head_timeout);
    }

    pub(super) fn begin_struct(&mut self, now: Instant, spec: &WireSpec) {
        self.struct_by = Some(now + spec.body_grace);
    }

    pub(super) fn end_struct(&mut self) {
        self.struct_by = None;
    }

    /// Bytes of a struct buy time at the least rate.
    pub(super) fn note_struct(&mut self, len: usize, now: Instant, spec: &WireSpec) {
        let Some(mut by) = self.struct_by.filter(|_| len > 0) else { return };
        if now > by + TICK_LATE_MAX {
            // Nobody ticked: the pump had stopped receiving, and the peer is not to blame (W6).
            by = now + spec.body_grace;
        }
        let latest = now + spec.body_idle_timeout.max(spec.body_grace);
        let nanos = (len as u64).saturating_mul(1_000_000_000);
        let bought = nanos.checked_div(spec.body_rate_min.into());
        let bought = bought.map(|nanos| by + Duration::from_nanos(nanos));
        self.struct_by = Some(bought.map_or(latest, |by| by.min(latest)));
    }
}
