//! What goes wrong on the simulated ring: the kinds of fault, how likely each is, and how often
//! each has fired.
//!
//! It is not a scenario language: a scripted peer that never answers, or leaves, is written by the
//! driver. Invariant: a fault is counted exactly when it changed something a shard can see, so a
//! counter of zero means that path was never exercised. Cost: one multiply and one compare a roll.

use std::fmt;

/// A pseudo-random stream (splitmix64); equal seeds give equal streams on every machine.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A stream for this seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5bf0_3635_dcd1_d867)
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "a stream of numbers without an end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A value below `limit`; zero when the limit is zero.
    pub fn below(&mut self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.next() % limit }
    }

    /// A size in `1..=limit`, small ones as likely as large ones by order of magnitude.
    pub fn size(&mut self, limit: usize) -> usize {
        let bits = u64::from(usize::BITS - limit.leading_zeros());
        let ceiling = (1usize << self.below(bits + 1)).min(limit).max(1);
        1 + self.below(ceiling as u64) as usize
    }

    /// True with this probability in parts per million.
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }
}

/// One kind of thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Fault {
    /// A receive takes fewer bytes than are queued.
    ShortRecv,
    /// A send completes with fewer bytes than its block and than there was room for.
    ShortSend,
    /// The path between two ends resets a connection in mid-stream.
    Reset,
    /// An established connection goes silent for ever, in both directions.
    Blackhole,
    /// A completion becomes visible later than it happened.
    DelayedCqe,
    /// A completion overtakes one of another op.
    ReorderedCqe,
    /// A receive ends with ENOBUFS although buffers will be visible soon.
    NoBuffers,
    /// A push finds the submission queue full.
    SqFull,
    /// Accept ends with EMFILE.
    AcceptNoFiles,
    /// Accept ends with ECONNABORTED.
    AcceptAborted,
    /// A connect is refused although somebody listens.
    ConnectRefused,
    /// A connect is never answered.
    ConnectSilent,
    /// Enter returns EINTR.
    EnterInterrupted,
    /// Enter returns EBUSY.
    EnterBusy,
    /// Enter returns early with ETIME.
    EnterTimeout,
    /// Enter submits only a part and returns EAGAIN.
    PartialSubmit,
    /// A cancel completes before its target does.
    CancelFirst,
    /// A cancel completes after its target did.
    CancelLast,
    /// A cancel finds its target running: EALREADY, and the target completes by itself.
    CancelAlready,
    /// A cancelled receive ends with data instead of ECANCELED.
    FinalData,
    /// A cancelled send reports the bytes that were taken already.
    CancelledSend,
    /// A multishot ends unasked.
    MultishotEnd,
    /// Reap hands out at most 20 completions although there are more.
    Cap,
}

impl Fault {
    /// Number of kinds.
    pub const COUNT: usize = Fault::Cap as usize + 1;

    /// Every kind, in order of declaration.
    pub const ALL: [Fault; Fault::COUNT] = [
        Fault::ShortRecv,
        Fault::ShortSend,
        Fault::Reset,
        Fault::Blackhole,
        Fault::DelayedCqe,
        Fault::ReorderedCqe,
        Fault::NoBuffers,
        Fault::SqFull,
        Fault::AcceptNoFiles,
        Fault::AcceptAborted,
        Fault::ConnectRefused,
        Fault::ConnectSilent,
        Fault::EnterInterrupted,
        Fault::EnterBusy,
        Fault::EnterTimeout,
        Fault::PartialSubmit,
        Fault::CancelFirst,
        Fault::CancelLast,
        Fault::CancelAlready,
        Fault::FinalData,
        Fault::CancelledSend,
        Fault::MultishotEnd,
        Fault::Cap,
    ];
}

/// How likely each fault is, in parts per million of the occasions for it.
#[derive(Clone, Debug)]
pub struct Faults {
    rates: [u32; Fault::COUNT],
    /// Longest delay of a completion and jitter of the network, nanoseconds.
    pub delay_max_ns: u64,
    /// Socket buffer of a sender, bytes: at most this much is taken beyond the reader's window.
    pub send_buffer_bytes: usize,
}

impl Faults {
    /// A network and a ring on which nothing goes wrong and everything takes a little time.
    pub fn none() -> Faults {
        Faults { rates: [0; Fault::COUNT], delay_max_ns: 200_000, send_buffer_bytes: 128 << 10 }
    }

    /// Everything goes wrong now and then; how often depends on the seed, so that some seeds are
    /// quiet in one respect and stormy in another.
    pub fn seeded(rng: &mut Rng) -> Faults {
        let mut faults = Faults::none();
        for (kind, typical) in TYPICAL {
            let scale = [0, 0, 1, 1, 2, 5][rng.below(6) as usize];
            faults.rates[kind as usize] = (typical * scale).min(500_000);
        }
        faults.delay_max_ns = 1_000 << rng.below(14);
        faults.send_buffer_bytes = 512 << rng.below(10);
        faults
    }

    /// Sets one rate, parts per million.
    pub fn with(mut self, kind: Fault, per_million: u32) -> Faults {
        self.rates[kind as usize] = per_million;
        self
    }

    /// The rate of one kind, parts per million.
    pub fn rate(&self, kind: Fault) -> u32 {
        self.rates[kind as usize]
    }
}

/// Rates at scale 1. The lethal ones (a connection or an accept is lost) are rare per occasion
/// because a seed has thousands of occasions; the harmless ones are frequent.
const TYPICAL: [(Fault, u32); Fault::COUNT] = [
    (Fault::ShortRecv, 100_000),
    (Fault::ShortSend, 100_000),
    (Fault::Reset, 1_500),
    (Fault::Blackhole, 300),
    (Fault::DelayedCqe, 100_000),
    (Fault::ReorderedCqe, 100_000),
    (Fault::NoBuffers, 10_000),
    (Fault::SqFull, 10_000),
    (Fault::AcceptNoFiles, 20_000),
    (Fault::AcceptAborted, 20_000),
    (Fault::ConnectRefused, 20_000),
    (Fault::ConnectSilent, 10_000),
    (Fault::EnterInterrupted, 10_000),
    (Fault::EnterBusy, 5_000),
    (Fault::EnterTimeout, 10_000),
    (Fault::PartialSubmit, 10_000),
    (Fault::CancelFirst, 200_000),
    (Fault::CancelLast, 200_000),
    (Fault::CancelAlready, 50_000),
    (Fault::FinalData, 100_000),
    (Fault::CancelledSend, 200_000),
    (Fault::MultishotEnd, 10_000),
    (Fault::Cap, 500_000),
];

/// How often each fault has fired.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fired([u64; Fault::COUNT]);

impl Fired {
    /// Counts one.
    pub(super) fn add(&mut self, kind: Fault) {
        self.0[kind as usize] += 1;
    }

    /// Times this kind fired.
    pub fn count(&self, kind: Fault) -> u64 {
        self.0[kind as usize]
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Fired) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The kinds that never fired.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|kind| self.count(*kind) == 0).collect()
    }
}

impl fmt::Display for Fired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kind in Fault::ALL {
            writeln!(f, "  {:<18} {:>10}", format!("{kind:?}"), self.count(kind))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_rate_and_its_own_index() {
        for (index, kind) in Fault::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index);
            assert_eq!(TYPICAL[index].0, kind);
        }
    }

    #[test]
    fn sizes_stay_in_range_and_reach_both_ends() {
        let mut rng = Rng::new(7);
        let sizes: Vec<usize> = (0..4000).map(|_| rng.size(100)).collect();
        assert!(sizes.iter().all(|size| (1..=100).contains(size)));
        assert!(sizes.contains(&1) && sizes.iter().any(|size| *size > 90));
    }

    #[test]
    fn equal_seeds_give_equal_streams() {
        let (mut a, mut b) = (Rng::new(3), Rng::new(3));
        assert!((0..100).all(|_| a.next() == b.next()));
    }
}
