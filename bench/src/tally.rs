//! What a load thread counted: latencies, replies, errors.
//!
//! Times are recorded in nanoseconds with three significant digits; nothing is averaged here.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::client::{Fault, Reply};

/// gRPC has 0 to 16.
const GRPC_STATUSES: usize = 17;
/// Types of TApplicationException that have a name of their own are 0 to 10.
pub(crate) const OTHER_EXCEPTION: usize = 11;
/// An hour: longer values are recorded as this.
const NANOS_MAX: u64 = 3_600_000_000_000;

/// Times, in nanoseconds, with quantiles.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    /// No values.
    pub(crate) fn new() -> Self {
        // INVARIANT: constants that hdrhistogram accepts: 1 <= low, 2 * low <= high.
        Self(Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("sound bounds"))
    }

    /// Counts one value.
    pub(crate) fn record(&mut self, time: Duration) {
        self.0.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(NANOS_MAX));
    }

    /// Values counted.
    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    /// The value that `percent` of all values do not exceed, in microseconds; 0 without values.
    pub(crate) fn percentile_us(&self, percent: f64) -> f64 {
        self.0.value_at_percentile(percent) as f64 / 1000.0
    }

    /// The largest value, in microseconds.
    pub(crate) fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1000.0
    }

    /// The mean, in microseconds.
    pub(crate) fn mean_us(&self) -> f64 {
        self.0.mean() / 1000.0
    }

    /// Adds what another thread recorded.
    pub(crate) fn add(&mut self, other: &Self) {
        // INVARIANT: both have the same bounds.
        self.0.add(&other.0).expect("equal bounds");
    }
}

/// The counts of a load thread, or of all of them.
pub(crate) struct Tally {
    /// From the intended start to the end of the reply; in a closed loop from the send.
    pub(crate) latency: Times,
    /// From the send to the end of the reply.
    pub(crate) service: Times,
    /// How late the generator sent although the connection was free: its own error.
    pub(crate) lag: Times,
    /// Replies read to their end in the counted window.
    pub(crate) completed: u64,
    /// Bytes of those replies.
    pub(crate) bytes_in: u64,
    /// Replies by the hundreds of their status.
    pub(crate) statuses: [u64; 10],
    /// Calls by the status of gRPC that they ended with; all 0 without gRPC.
    pub(crate) grpc_statuses: [u64; GRPC_STATUSES],
    /// Calls of Thrift by the type of the exception that answered them; the last one is of all
    /// other types, and of exceptions that a method declares.
    pub(crate) exceptions: [u64; OTHER_EXCEPTION + 1],
    /// Failed requests, in the order of [`Fault::ALL`].
    pub(crate) faults: [u64; Fault::ALL.len()],
    /// Requests whose intended start came and that were never sent.
    pub(crate) unsent: u64,
    /// Connections opened.
    pub(crate) connects: u64,
}

impl Tally {
    /// Nothing counted.
    pub(crate) fn new() -> Self {
        Self {
            latency: Times::new(),
            service: Times::new(),
            lag: Times::new(),
            completed: 0,
            bytes_in: 0,
            statuses: [0; 10],
            grpc_statuses: [0; GRPC_STATUSES],
            exceptions: [0; OTHER_EXCEPTION + 1],
            faults: [0; Fault::ALL.len()],
            unsent: 0,
            connects: 0,
        }
    }

    /// Counts a reply.
    pub(crate) fn reply(&mut self, reply: &Reply, latency: Duration, service: Duration) {
        self.latency.record(latency);
        self.service.record(service);
        self.completed += 1;
        self.bytes_in += reply.bytes;
        self.statuses[usize::from(reply.status / 100).min(9)] += 1;
        if let Some(status) = reply.grpc_status {
            // What is no status of gRPC counts as 2, unknown.
            let known = usize::from(status);
            self.grpc_statuses[if known < GRPC_STATUSES { known } else { 2 }] += 1;
        }
        if let Some(kind) = reply.exception {
            self.exceptions[kind.min(OTHER_EXCEPTION)] += 1;
        }
    }

    /// Counts `count` requests that failed with `fault`.
    pub(crate) fn fault(&mut self, fault: Fault, count: u64) {
        self.faults[fault as usize] += count;
    }

    /// Counts `count` requests that should have started `waited` ago. Their latency is at least
    /// that, so it is recorded: leaving them out would hide exactly the slowest.
    pub(crate) fn never_sent(&mut self, waited: Duration, count: u64) {
        self.unsent += count;
        for _ in 0..count {
            self.latency.record(waited);
        }
    }

    /// Failed requests of all kinds, replies with a status from 400 on, and calls that ended with
    /// a status of gRPC other than 0 or with an exception.
    pub(crate) fn errors(&self) -> u64 {
        let replies = self.statuses[4..].iter().sum::<u64>();
        let calls = self.grpc_statuses[1..].iter().sum::<u64>();
        let exceptions = self.exceptions.iter().sum::<u64>();
        self.faults.iter().sum::<u64>() + replies + calls + exceptions
    }

    /// Adds what another thread counted.
    pub(crate) fn add(&mut self, other: &Self) {
        self.latency.add(&other.latency);
        self.service.add(&other.service);
        self.lag.add(&other.lag);
        self.completed += other.completed;
        self.bytes_in += other.bytes_in;
        self.unsent += other.unsent;
        self.connects += other.connects;
        for (sum, value) in self.statuses.iter_mut().zip(other.statuses) {
            *sum += value;
        }
        for (sum, value) in self.grpc_statuses.iter_mut().zip(other.grpc_statuses) {
            *sum += value;
        }
        for (sum, value) in self.exceptions.iter_mut().zip(other.exceptions) {
            *sum += value;
        }
        for (sum, value) in self.faults.iter_mut().zip(other.faults) {
            *sum += value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, wanted: f64) -> bool {
        (value - wanted).abs() <= wanted * 0.001
    }

    #[test]
    fn percentiles_are_exact_to_three_digits() {
        let mut times = Times::new();
        (1..=10_000).for_each(|us| times.record(Duration::from_micros(us)));
        for (percent, wanted) in [(50.0, 5000.0), (90.0, 9000.0), (99.0, 9900.0), (99.9, 9990.0)] {
            assert!(near(times.percentile_us(percent), wanted), "p{percent}");
        }
        assert!(near(times.max_us(), 10_000.0) && near(times.mean_us(), 5000.5));
    }

    #[test]
    fn a_day_is_recorded_as_an_hour_and_nothing_as_nothing() {
        let mut times = Times::new();
        assert_eq!((times.count(), times.percentile_us(99.0)), (0, 0.0));
        times.record(Duration::from_secs(86_400));
        assert!(near(times.max_us(), 3.6e9));
    }

    #[test]
    fn threads_add_up() {
        let (mut sum, mut one) = (Tally::new(), Tally::new());
        let reply = Reply { status: 503, bytes: 10, ..Reply::of_call() };
        one.reply(&reply, Duration::from_micros(5), Duration::from_micros(4));
        one.fault(Fault::Malformed, 2);
        one.never_sent(Duration::from_secs(1), 3);
        sum.add(&one);
        sum.add(&one);
        assert_eq!((sum.completed, sum.bytes_in, sum.errors()), (2, 20, 6));
        assert_eq!((sum.unsent, sum.latency.count(), sum.service.count()), (6, 8, 2));
        assert_eq!(sum.faults[4], 4);
    }

    #[test]
    fn a_call_that_failed_is_an_error_under_a_status_of_200() {
        let mut tally = Tally::new();
        for status in [Some(0), Some(14), Some(99), None] {
            let reply = Reply { status: 200, grpc_status: status, ..Reply::of_call() };
            tally.reply(&reply, Duration::ZERO, Duration::ZERO);
        }
        assert_eq!((tally.errors(), tally.grpc_statuses[14], tally.grpc_statuses[2]), (2, 1, 1));
    }

    #[test]
    fn an_exception_is_an_error_of_its_type() {
        let (mut sum, mut tally) = (Tally::new(), Tally::new());
        for exception in [None, Some(6), Some(10), Some(11), Some(2000)] {
            let reply = Reply { exception, ..Reply::of_call() };
            tally.reply(&reply, Duration::ZERO, Duration::ZERO);
        }
        sum.add(&tally);
        assert_eq!((sum.completed, sum.errors()), (5, 4));
        assert_eq!((sum.exceptions[6], sum.exceptions[10], sum.exceptions[11]), (1, 1, 2));
    }

    #[test]
    fn every_fault_counts_in_its_own_place() {
        for (index, (fault, _)) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(fault as usize, index);
        }
    }
}
