//! Abuse budgets: what a peer may do that costs it less than us, and how often (RFC 9113 §10.5).
//!
//! A budget is a count within a period. The period begins with the first event after the last one
//! ended, so that a peer gets at most twice the count within any one period. Over a budget the
//! connection ends with GOAWAY ENHANCE_YOUR_CALM; nobody else's does.
//!
//! | what counts | default | fault |
//! |---|---|---|
//! | server: RST_STREAM on a stream that was not over | 200 in 30 s | `rapid_reset` |
//! | server: a stream reset, or a head refused, by us | 100 in 30 s | `made_you_reset` |
//! | glitches, see below | 200 in 10 s | `glitch_flood` |
//! | CONTINUATION frames and bytes of one block | 5, 64 KiB | `continuation_flood` |
//!
//! A glitch is a frame that moves no message on: SETTINGS but the first, an acknowledgement nobody
//! waits for, PING, PRIORITY, WINDOW_UPDATE, a frame of unknown type, DATA without payload that
//! does not end its stream, DATA with more padding than payload, RST_STREAM or HEADERS on a stream
//! that is over, HEADERS beyond our limit of streams. Some of these are part of good manners:
//! clients give window back by frame, measure the round trip after data (grpc-core: one PING, and
//! one for its bandwidth estimate), name a priority for each request, or give a stream up just as
//! it ends. So every DATA frame that we send pays for 4 of PING, WINDOW_UPDATE, PRIORITY, unknown
//! frames and frames on a stream that is over (two windows, two PINGs); every stream that opens, or
//! that we reset, for 2 (a window and a priority; trailers and a reset that were on their way). At
//! most 400 are saved up, 100 DATA frames' worth or some 1.6 MB of download.
//!
//! What a flood costs at most, per connection: 200 glitches and 400 paid frames of answers of 17
//! bytes are 10 KiB of replies; the pump bounds what is unsent (see [`crate::AnyWire::answers`]).

use std::time::{Duration, Instant};

use crate::error::{Error, Fault};
use crate::spec::WireSpec;

/// Frames paid for by a DATA frame that we send.
const PAID_BY_DATA: u16 = 4;
/// Frames paid for by a stream that opens, or that we reset.
const PAID_BY_STREAM: u16 = 2;
/// The most that is saved up.
const PAID_MAX: u16 = 400;

/// Events within a period.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    since: Option<Instant>,
    count: u16,
}

impl Budget {
    /// One more event. Whether there may be as many.
    fn spend(&mut self, max: u16, period: Duration, now: Instant) -> bool {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= period) {
            *self = Budget { since: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count <= max
    }
}

/// The budgets of a connection.
#[derive(Debug, Default)]
pub(super) struct Floods {
    resets: Budget,
    own_resets: Budget,
    glitches: Budget,
    paid: u16,
}

impl Floods {
    /// The peer reset a stream in progress.
    pub(super) fn reset(&mut self, spec: &WireSpec, now: Instant) -> Result<(), Error> {
        let within = self.resets.spend(spec.h2_resets_max, spec.h2_resets_period, now);
        within.then_some(()).ok_or(Error::connection(Fault::RapidReset))
    }

    /// The peer made us reset a stream, or refuse a head.
    pub(super) fn own_reset(&mut self, spec: &WireSpec, now: Instant) -> Result<(), Error> {
        let within = self.own_resets.spend(spec.h2_own_resets_max, spec.h2_resets_period, now);
        within.then_some(()).ok_or(Error::connection(Fault::MadeYouReset))
    }

    /// A frame that moves nothing on.
    pub(super) fn glitch(&mut self, spec: &WireSpec, now: Instant) -> Result<(), Error> {
        let within = self.glitches.spend(spec.h2_glitches_max, spec.h2_glitches_period, now);
        within.then_some(()).ok_or(Error::connection(Fault::GlitchFlood))
    }

    /// A frame that may be good manners.
    pub(super) fn manners(&mut self, spec: &WireSpec, now: Instant) -> Result<(), Error> {
        match self.paid.checked_sub(1) {
            Some(paid) => {
                self.paid = paid;
                Ok(())
            }
            None => self.glitch(spec, now),
        }
    }

    /// We sent a DATA frame.
    pub(super) fn data_sent(&mut self) {
        self.paid = (self.paid + PAID_BY_DATA).min(PAID_MAX);
    }

    /// We reset a stream.
    pub(super) fn reset_sent(&mut self) {
        self.stream_opened();
    }

    /// A stream opened.
    pub(super) fn stream_opened(&mut self) {
        self.paid = (self.paid + PAID_BY_STREAM).min(PAID_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pair::epoch;

    fn spec() -> WireSpec {
        WireSpec { h2_glitches_max: 3, ..WireSpec::default() }
    }

    #[test]
    fn a_budget_begins_anew_after_its_period() {
        let (spec, now) = (spec(), epoch());
        let mut floods = Floods::default();
        for round in 0..3 {
            let now = now + round * spec.h2_glitches_period;
            for _ in 0..3 {
                assert_eq!(floods.glitch(&spec, now), Ok(()));
            }
            let late = now + spec.h2_glitches_period - Duration::from_nanos(1);
            let over = Err(Error::connection(Fault::GlitchFlood));
            assert_eq!((floods.glitch(&spec, now), floods.glitch(&spec, late)), (over, over));
        }
    }

    #[test]
    fn manners_are_paid_for() {
        let (spec, now) = (spec(), epoch());
        let mut floods = Floods::default();
        floods.data_sent();
        floods.stream_opened();
        for _ in 0..6 + 3 {
            assert_eq!(floods.manners(&spec, now), Ok(()));
        }
        assert_eq!(floods.manners(&spec, now), Err(Error::connection(Fault::GlitchFlood)));
        (0..1000).for_each(|_| floods.data_sent());
        for _ in 0..PAID_MAX {
            assert_eq!(floods.manners(&spec, now), Ok(()));
        }
        assert!(floods.manners(&spec, now).is_err(), "no more than PAID_MAX are saved");
    }

    #[test]
    fn each_budget_has_its_word() {
        let (spec, now) = (WireSpec::default(), epoch());
        let mut floods = Floods::default();
        let count = |spend: &mut dyn FnMut() -> Result<(), Error>| {
            (1..).find_map(|n| spend().err().map(|error| (n - 1, error.fault))).unwrap()
        };
        assert_eq!(count(&mut || floods.reset(&spec, now)), (200, Fault::RapidReset));
        assert_eq!(count(&mut || floods.own_reset(&spec, now)), (100, Fault::MadeYouReset));
        assert_eq!(count(&mut || floods.glitch(&spec, now)), (200, Fault::GlitchFlood));
    }
}
