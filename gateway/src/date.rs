//! The Date of replies (RFC 9110 section 6.6.1), as text that is made once a second.
//!
//! One [`Date`] a shard. The wall clock is read when the second that it was last read in is over by
//! the shard's own clock; a clock that is set meanwhile is followed within that second.
//!
//! Cost: a comparison of two instants and a copy of 29 bytes; once a second the text is made.

use std::cell::Cell;
use std::time::{Duration, Instant, SystemTime};

use engine::Shard;

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(crate) type DateText = [u8; 29];

/// The text of the present second.
#[derive(Default)]
pub(crate) struct Date {
    text: Cell<DateText>,
    /// It holds until then.
    until: Cell<Option<Instant>>,
}

impl Date {
    /// The present time.
    pub(crate) fn text(&self, shard: &Shard) -> DateText {
        let now = shard.now();
        if self.until.get().is_none_or(|until| now >= until) {
            let wall = since_epoch(shard.wall());
            self.text.set(format(wall));
            let rest = Duration::from_secs(1) - Duration::from_nanos(wall.subsec_nanos().into());
            self.until.set(Some(now + rest));
        }
        self.text.get()
    }
}

/// A clock that is set before 1970, or beyond what the form can say, is shown at that end.
fn since_epoch(wall: SystemTime) -> Duration {
    let since = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.min(Duration::from_secs(LAST_SECS))
}

fn format(since_epoch: Duration) -> DateText {
    let text = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_epoch);
    text.as_bytes().try_into().unwrap_or_default()
}

/// The end of the year 9999: years have four digits.
const LAST_SECS: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(secs: u64) -> String {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        String::from_utf8(format(since_epoch(wall)).to_vec()).unwrap()
    }

    #[test]
    fn the_form_is_imf_fixdate() {
        assert_eq!(shown(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(shown(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(shown(1_709_164_800), "Thu, 29 Feb 2024 00:00:00 GMT");
    }

    #[test]
    fn no_clock_is_out_of_range() {
        assert_eq!(shown(LAST_SECS + 1), "Fri, 31 Dec 9999 23:59:59 GMT");
        let early = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(since_epoch(early), Duration::ZERO);
    }
}
