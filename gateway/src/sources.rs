//! How many connections each source address has, over all shards, without a lock.
//!
//! A fixed table of words, each a tag of the source's keyed hash and a count. A source may stand in
//! any slot of one window; a slot whose count is 0 belongs to nobody and may be taken. A connection
//! remembers its slot ([`Place`]), so that leaving is one atomic subtraction. It is *not* a limiter
//! of rates, and it knows no connection: `caps.rs` asks.
//!
//! N1 A word's tag changes only while its count is 0: whoever holds a place keeps its slot.
//! N2 A source's count is the sum of the slots with its tag; a new place goes to the first of them.
//!
//! Error bounds. A source with one slot, the usual case, is counted exactly: a place is taken by
//! compare-and-swap against the count that was looked at. Two shards that admit the first
//! connections of a source at the same moment, while a slot before theirs comes free, may take two
//! slots; then the sum is looked at without holding it still, and at most `shards - 1` connections
//! above the limit are admitted. A source whose window is full of others is admitted uncounted:
//! with as many sources as the table is sized for each slot is in use with probability 1/4, and 32
//! of 32 are with less than 1 in 10^10. Two sources share a count when 54 bits of their hashes
//! agree; the key is drawn at start, so that nobody can choose such addresses.
//!
//! Cost: 32 loads and one compare-and-swap at accept, one subtraction at close. The table has 8
//! bytes for each of 4 slots a connection: 4 MiB at 100 000, allocated when a cap is first set.

use std::hash::{DefaultHasher, Hasher as _};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Slots that a source may stand in; 256 bytes.
const WINDOW: usize = 32;
/// Slots for each connection that the process may have.
const SLOTS_PER_CONN: usize = 4;
/// Windows at least and at most: 8 KiB to 256 MiB.
const WINDOWS: (usize, usize) = (32, 1 << 20);
/// Low bits of a word: the count. Above `max-conns` at its greatest, 10 million.
const COUNT_BITS: u32 = 24;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// A slot that one connection of a source is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Counted(Place),
    /// The window is full of other sources: admitted, not counted.
    Uncounted,
    /// The source has as many connections as it may have.
    Full,
}

/// The table. Shared by all shards.
pub(crate) struct Sources {
    slots: Box<[AtomicU64]>,
    key: [u64; 2],
}

impl Sources {
    /// Sized for `conns_max` connections at a time. `key` must be unknown to clients.
    pub(crate) fn new(conns_max: usize, key: [u64; 2]) -> Sources {
        let windows = conns_max.saturating_mul(SLOTS_PER_CONN).div_ceil(WINDOW);
        let windows = windows.clamp(WINDOWS.0, WINDOWS.1).next_power_of_two();
        Sources { slots: (0..windows * WINDOW).map(|_| AtomicU64::new(0)).collect(), key }
    }

    /// Counts one more connection of `source`, unless it has `limit` already.
    pub(crate) fn admit(&self, source: IpAddr, limit: u32) -> Admission {
        let hash = self.hash(source);
        let first = (hash as usize & (self.slots.len() / WINDOW - 1)) * WINDOW;
        let tag = hash & !COUNT_MASK;
        loop {
            let seen = Seen::look(&self.slots[first..first + WINDOW], tag);
            if seen.total >= u64::from(limit).min(COUNT_MASK) {
                return Admission::Full;
            }
            let Some((index, word)) = seen.own.or(seen.free) else { return Admission::Uncounted };
            let next = tag | ((word & COUNT_MASK) + 1);
            let slot = &self.slots[first + index];
            // The count orders nothing but itself.
            if slot.compare_exchange(word, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return Admission::Counted(Place((first + index) as u32));
            }
        }
    }

    /// A counted connection is gone.
    pub(crate) fn leave(&self, place: Place) {
        let before = self.slots[place.0 as usize].fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before & COUNT_MASK > 0, "N1: a place is left once");
    }

    /// 64 bits of SipHash with the key in front. A /64 is what one IPv6 user has at least.
    fn hash(&self, source: IpAddr) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.key[0]);
        hasher.write_u64(self.key[1]);
        match source.to_canonical() {
            IpAddr::V4(v4) => hasher.write(&v4.octets()),
            IpAddr::V6(v6) => hasher.write(&v6.octets()[..8]),
        }
        hasher.finish()
    }
}

/// A window as one look found it.
struct Seen {
    /// Connections of the source.
    total: u64,
    /// Its first slot, or the first that is nobody's, as index and word.
    own: Option<(usize, u64)>,
    free: Option<(usize, u64)>,
}

impl Seen {
    fn look(window: &[AtomicU64], tag: u64) -> Seen {
        let mut seen = Seen { total: 0, own: None, free: None };
        for (index, slot) in window.iter().enumerate() {
            let word = slot.load(Ordering::Relaxed);
            if word & COUNT_MASK == 0 {
                seen.free = seen.free.or(Some((index, word)));
            } else if word & !COUNT_MASK == tag {
                seen.total += word & COUNT_MASK;
                seen.own = seen.own.or(Some((index, word)));
            }
        }
        seen
    }
}

/// A table that is made when a cap is first set.
pub(crate) struct LazySources {
    key: [u64; 2],
    table: OnceLock<Sources>,
}

impl LazySources {
    pub(crate) fn new(key: [u64; 2]) -> LazySources {
        LazySources { key, table: OnceLock::new() }
    }

    /// Makes the table, on a control thread; counting begins with the next connection.
    pub(crate) fn enable(&self, conns_max: usize) {
        self.table.get_or_init(|| Sources::new(conns_max, self.key));
    }

    /// None while no cap was ever set.
    pub(crate) fn table(&self) -> Option<&Sources> {
        self.table.get()
    }
}

#[cfg(test)]
mod tests;
