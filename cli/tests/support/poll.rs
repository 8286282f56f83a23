//! Waiting for a condition. The only file of the tests that may sleep, between two looks.

use std::time::Duration;

const LOOKS_MAX: u32 = 3_000;
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Looks until `condition` holds; panics with `what` after a minute of looking.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if condition() {
            return;
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
    panic!("never happened: {what}");
}
