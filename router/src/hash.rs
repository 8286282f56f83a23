//! Keyed hashes of hosts, segments and patterns.
//!
//! The key is random for each process, so that nobody outside can choose names that meet in one
//! place; what collides all the same is told apart by its bytes. Hashing is `foldhash`'s; combining
//! is one widening multiplication, two or three nanoseconds with the hash of a short segment.

use std::hash::{BuildHasher, Hasher};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

/// The key of a table and of all tables that grow from it.
#[derive(Clone, Debug)]
pub(crate) struct HashKey {
    state: SeedableRandomState,
    seed: u64,
}

impl HashKey {
    pub(crate) fn new(seed: u64) -> HashKey {
        // The shared part is public; the secret is the seed of each hasher.
        let state = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        HashKey { state, seed }
    }

    /// The seed it was made from.
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    #[inline]
    pub(crate) fn bytes(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.state.build_hasher();
        hasher.write(bytes);
        hasher.finish()
    }

    /// A start value for a number.
    #[inline]
    pub(crate) fn start(&self, number: u64) -> u64 {
        combine(self.seed, number)
    }
}

/// The hash of what `hash` stands for, followed by what `next` stands for.
#[inline]
pub(crate) fn combine(hash: u64, next: u64) -> u64 {
    // The constants are the golden ratio and the square root of three, as 64-bit fractions.
    let (a, b) = (hash ^ 0x9e37_79b9_7f4a_7c15, next ^ 0xbb67_ae85_84ca_a73b);
    let product = u128::from(a.rotate_left(32)) * u128::from(b);
    (product as u64) ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_order_counts() {
        let (one, other) = (HashKey::new(1), HashKey::new(2));
        assert_eq!(one.bytes(b"users"), HashKey::new(1).bytes(b"users"));
        assert_ne!(one.bytes(b"users"), other.bytes(b"users"));
        assert_ne!(one.start(1), one.start(2));
        let (a, b) = (one.bytes(b"a"), one.bytes(b"b"));
        assert_ne!(combine(a, b), combine(b, a));
    }

    /// Both ends of a combined hash are used: the top for the index, the bottom for tags.
    #[test]
    fn combined_hashes_spread_at_both_ends() {
        let key = HashKey::new(7);
        let hashes: Vec<u64> =
            (0..65_536_u32).map(|n| combine(key.start(1), key.bytes(&n.to_le_bytes()))).collect();
        for shift in [0, 48] {
            let mut counts = [0_u32; 256];
            hashes.iter().for_each(|hash| counts[(hash >> shift & 0xff) as usize] += 1);
            assert!(counts.iter().all(|count| (150..=370).contains(count)), "{counts:?}");
        }
    }
}
