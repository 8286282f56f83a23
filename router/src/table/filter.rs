//! Which hashes there may be: a Bloom filter (Bloom, 1970) of one word a hash.
//!
//! Versions of a table share it. Bits are only ever set, and before the version that needs them is
//! published, so a reader of an older version sees at worst a hash that it does not find. When
//! more have come than it was made for, the next version gets a larger one: O(1) a change on
//! average.
//!
//! Cost: one load. Three bits of ten a hash: 3 in 100 looks pass in vain.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

#[derive(Debug)]
pub(crate) struct Filter {
    words: Box<[AtomicU64]>,
    /// Hashes put in; one that seemed to be there is not counted.
    count: AtomicU64,
}

const BITS_PER_HASH: usize = 10;
const WORDS_MIN: usize = 16;

impl Filter {
    /// Of as many hashes as there are different ones.
    pub(crate) fn of<I: Iterator<Item = u64>>(hashes: impl Fn() -> I) -> Filter {
        let mut room = 1024;
        loop {
            let filter = Filter::sized(room);
            hashes().for_each(|hash| filter.put(hash));
            let count = filter.count.load(Relaxed) as usize;
            // A larger one than needed would leave the cache.
            if count <= room && (room <= 2 * count || room == 1024) {
                return filter;
            }
            // The count is too low where the filter is too full.
            room = if count <= room { count + count / 4 } else { 4 * count };
        }
    }

    fn sized(room: usize) -> Filter {
        let words = (room * BITS_PER_HASH).div_ceil(64).max(WORDS_MIN);
        let words = (0..words).map(|_| AtomicU64::new(0)).collect();
        Filter { words, count: AtomicU64::new(0) }
    }

    /// The filter for a version that also has these: the same one, or a larger one of `all`.
    pub(crate) fn with<I: Iterator<Item = u64>>(
        this: &Arc<Filter>,
        more: impl Iterator<Item = u64>,
        all: impl Fn() -> I,
    ) -> Arc<Filter> {
        more.for_each(|hash| this.put(hash));
        let room = 2 * this.words.len() * 64 / BITS_PER_HASH;
        match this.count.load(Relaxed) as usize {
            count if count <= room => Arc::clone(this),
            _ => Arc::new(Filter::of(all)),
        }
    }

    fn put(&self, hash: u64) {
        if !self.may_hold(hash) {
            self.words[self.place(hash)].fetch_or(bits(hash), Relaxed);
            self.count.fetch_add(1, Relaxed);
        }
    }

    #[inline]
    pub(crate) fn may_hold(&self, hash: u64) -> bool {
        let bits = bits(hash);
        self.words[self.place(hash)].load(Relaxed) & bits == bits
    }

    /// Asks for the word of a hash, and does not wait for it.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(word) = self.words.get(self.place(hash)) {
            lanes::prefetch_line(word);
        }
    }

    /// A word by the top half of the hash.
    #[inline]
    fn place(&self, hash: u64) -> usize {
        (((hash >> 32) * self.words.len() as u64) >> 32) as usize
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of::<Filter>() + size_of_val(&*self.words)
    }
}

/// Three bits by the bottom 18 of the hash.
#[inline]
fn bits(hash: u64) -> u64 {
    1 << (hash & 63) | 1 << (hash >> 6 & 63) | 1 << (hash >> 12 & 63)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::HashKey;

    #[test]
    fn holds_what_was_put_and_little_else() {
        let key = HashKey::new(3);
        let hash = |n: u32| key.bytes(&n.to_le_bytes());
        let filter = Filter::of(|| (0..10_000).chain(0..10_000).map(hash));
        assert!((0..10_000).all(|n| filter.may_hold(hash(n))));
        let false_ones = (10_000..20_000).filter(|n| filter.may_hold(hash(*n))).count();
        assert!(false_ones < 600, "{false_ones} of 10000");
        assert!(filter.bytes() < 10_000 * 4 * BITS_PER_HASH / 8);
    }

    #[test]
    fn grows_with_what_comes() {
        let key = HashKey::new(3);
        let hash = |n: usize| key.bytes(&n.to_le_bytes());
        let mut filter = Arc::new(Filter::of(std::iter::empty));
        for n in 0..5_000 {
            filter = Filter::with(&filter, std::iter::once(hash(n)), || (0..=n).map(hash));
            assert!(filter.may_hold(hash(0)) && filter.may_hold(hash(n)));
        }
        assert!((0..5_000).all(|n| filter.may_hold(hash(n))));
        let false_ones = (5_000..15_000).filter(|n| filter.may_hold(hash(*n))).count();
        assert!(false_ones < 2_000, "{false_ones} of 10000");
    }
}
