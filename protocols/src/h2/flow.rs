//! Flow-control windows, both directions (RFC 9113 §5.2, §6.9).
//!
//! A [`SendWindow`] is what the peer lets us send; a change of its settings may make it negative.
//! A [`ReceiveWindow`] is what we let the peer send. Of it, `left` is what it may still send,
//! `owed` what was consumed and not yet given back, and the rest is held by whoever has not
//! consumed it:
//!
//! ```text
//! limit = left + owed + held          increments go out when owed reaches limit / 2
//! ```
//!
//! Half a window at a time costs one WINDOW_UPDATE for each 32 KiB at the default, and the sender
//! never stands still for want of one: while all was consumed it may send the other half.

/// The largest window (RFC 9113 §6.9.1).
const WINDOW_MAX: i64 = (1 << 31) - 1;

/// The window of a stream or connection before anybody changed it (RFC 9113 §6.9.2).
pub(super) const WINDOW_FIRST: u32 = 65_535;

/// A window grew beyond 2^31 - 1, or was overrun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overflow;

/// Bytes that we may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SendWindow(i32);

impl SendWindow {
    pub(super) fn new(bytes: u32) -> SendWindow {
        SendWindow(i32::try_from(bytes).unwrap_or(i32::MAX))
    }

    /// How much may be sent now; 0 also where the window is negative.
    pub(super) fn available(self) -> u32 {
        self.0.max(0) as u32
    }

    /// Sends `bytes`, which are available.
    pub(super) fn take(&mut self, bytes: u32) {
        debug_assert!(bytes <= self.available(), "more than the peer allows");
        self.0 -= bytes as i32;
    }

    /// The window changes by this much, either way. True when it was shut and is open now.
    pub(super) fn shift(&mut self, by: i64) -> Result<bool, Overflow> {
        let was_shut = self.0 <= 0;
        let window = i64::from(self.0) + by;
        if window > WINDOW_MAX {
            return Err(Overflow);
        }
        // Not below -2^31: the sum of what was sent and of one reduction is at most 2^31 - 1.
        self.0 = i32::try_from(window).unwrap_or(i32::MIN);
        Ok(was_shut && self.0 > 0)
    }
}

/// Bytes that the peer may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiveWindow {
    left: i64,
    owed: u32,
}

impl ReceiveWindow {
    pub(super) fn new(limit: u32) -> ReceiveWindow {
        ReceiveWindow { left: i64::from(limit), owed: 0 }
    }

    /// `bytes` arrived.
    pub(super) fn receive(&mut self, bytes: u32) -> Result<(), Overflow> {
        if i64::from(bytes) > self.left {
            return Err(Overflow);
        }
        self.left -= i64::from(bytes);
        Ok(())
    }

    /// `bytes` were consumed. What the peer is to be told now, if anything. Bytes that were never
    /// received are not given back.
    pub(super) fn give_back(&mut self, bytes: u32, limit: u32) -> Option<u32> {
        let held = (i64::from(limit) - self.left - i64::from(self.owed)).max(0);
        let bytes = i64::from(bytes).min(held);
        self.owed += bytes as u32;
        if self.owed == 0 || self.owed < limit / 2 {
            return None;
        }
        let owed = core::mem::take(&mut self.owed);
        self.left += i64::from(owed);
        Some(owed)
    }

    /// The limit shrank by this much; what is left may be negative (RFC 9113 §6.9.3).
    pub(super) fn shrink(&mut self, by: u32) {
        self.left -= i64::from(by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_send_window_opens_once() {
        let mut window = SendWindow::new(10);
        window.take(10);
        assert_eq!(window.available(), 0);
        assert_eq!(window.shift(-5), Ok(false));
        assert_eq!((window.available(), window.shift(5)), (0, Ok(false)));
        assert_eq!((window.shift(1), window.available()), (Ok(true), 1));
        assert_eq!(window.shift(1), Ok(false));
        assert_eq!(window.shift(WINDOW_MAX - 2), Ok(false));
        assert_eq!(window.shift(1), Err(Overflow));
        assert_eq!(i64::from(window.available()), WINDOW_MAX);
    }

    #[test]
    fn half_a_window_is_given_back() {
        let mut window = ReceiveWindow::new(100);
        assert_eq!(window.receive(101), Err(Overflow));
        assert_eq!(window.receive(100), Ok(()));
        assert_eq!(window.receive(1), Err(Overflow));
        assert_eq!(window.give_back(49, 100), None);
        assert_eq!(window.give_back(1, 100), Some(50));
        assert_eq!(window.give_back(1000, 100), Some(50));
        assert_eq!(window.give_back(1000, 100), None, "nothing was held");
    }

    #[test]
    fn a_window_of_nothing_gives_nothing() {
        let mut window = ReceiveWindow::new(0);
        assert_eq!(window.receive(1), Err(Overflow));
        assert_eq!(window.give_back(0, 0), None);
    }

    proptest! {
        /// A sender that does as it is told and a receiver that consumes all never get stuck, and
        /// what was sent is never more than what was consumed and one window.
        #[test]
        fn sender_and_receiver_agree(
            limit in 1u32..200,
            steps in proptest::collection::vec((any::<bool>(), 0u32..300), 0..200),
        ) {
            let mut sender = SendWindow::new(limit);
            let mut receiver = ReceiveWindow::new(limit);
            let (mut sent, mut consumed) = (0u64, 0u64);
            for (sends, amount) in steps {
                if sends {
                    let bytes = amount.min(sender.available());
                    sender.take(bytes);
                    prop_assert_eq!(receiver.receive(bytes), Ok(()));
                    sent += u64::from(bytes);
                } else {
                    let bytes = u64::from(amount).min(sent - consumed) as u32;
                    consumed += u64::from(bytes);
                    if let Some(increment) = receiver.give_back(bytes, limit) {
                        prop_assert!(sender.shift(i64::from(increment)).is_ok());
                    }
                }
                prop_assert!(sent <= consumed + u64::from(limit));
                prop_assert!(sent > consumed || sender.available() > 0, "stuck");
            }
        }
    }
}
