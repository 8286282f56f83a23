//! Counting what passed and failed, across cargo's test summaries and steps that simply succeed or
//! not.
//!
//! It reads the lines that the standard test harness prints; it does not run anything. A run that
//! executed nothing is not green.

use std::fmt;

/// Passed and failed, of tests or of steps.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    pub(crate) fn one_passed() -> Self {
        Self { passed: 1, failed: 0 }
    }

    pub(crate) fn one_failed() -> Self {
        Self { passed: 0, failed: 1 }
    }

    pub(crate) fn step(succeeded: bool) -> Self {
        if succeeded { Self::one_passed() } else { Self::one_failed() }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    pub(crate) fn is_green(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// Adds what a harness summary line says, `test result: ok. 3 passed; 0 failed; ...`; ignores
    /// other lines.
    pub(crate) fn read_line(&mut self, line: &str) {
        let Some(summary) = line.trim().strip_prefix("test result: ") else { return };
        self.passed += number_before(summary, " passed");
        self.failed += number_before(summary, " failed");
    }

    /// What a whole test run comes to: a failing exit without a failed test (a build error, an
    /// abort) counts as one failure, and so does a run in which no test was executed.
    pub(crate) fn settled(mut self, exit_ok: bool) -> Self {
        let silent_failure = !exit_ok && self.failed == 0;
        let nothing_ran = self.passed + self.failed == 0;
        if silent_failure || nothing_ran {
            self.failed += 1;
        }
        self
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

fn number_before(text: &str, word: &str) -> u64 {
    let Some(end) = text.find(word) else { return 0 };
    let digits = text[..end].rsplit(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
    digits.parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn sums_the_harness_summaries() {
        let mut tally = Tally::default();
        tally.read_line("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured");
        tally.read_line("running 3 tests");
        tally.read_line("test result: FAILED. 2 passed; 1 failed; 0 ignored");
        assert_eq!(tally.to_string(), "14 passed, 1 failed");
        assert!(!tally.is_green());
    }

    #[test]
    fn a_build_error_is_a_failure() {
        assert_eq!(Tally::default().settled(false), Tally::one_failed());
    }

    #[test]
    fn running_nothing_is_a_failure() {
        assert_eq!(Tally::default().settled(true), Tally::one_failed());
        assert!(!Tally::default().is_green());
    }

    #[test]
    fn an_abort_after_passing_tests_is_a_failure() {
        assert_eq!(of(5, 0).settled(false), of(5, 1));
        assert_eq!(of(5, 2).settled(false), of(5, 2));
    }
}
