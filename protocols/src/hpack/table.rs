//! The dynamic table (RFC 7541 §2.3.2, §4): entries in the order in which they came, oldest out
//! first.
//!
//! T1 The table's size, which counts 32 bytes for each entry, never exceeds its maximum. T2 Names
//! and values lie one behind the other in one arena of at most the maximum's bytes, so that an
//! entry is lent without a copy. T3 An empty table that was never used holds no memory, and the
//! arena grows with what it holds.
//!
//! Eviction moves nothing. Bytes of evicted entries are given up when the arena's end is reached:
//! the live ones then move to its front. Before the next such move all bytes that were gained must
//! be filled, which are at least 32 for each live entry. Cost of an insertion: one copy of its
//! bytes, plus its share of such a move, of at most 4 KiB in a table of the usual size.

use std::collections::VecDeque;

/// What an entry counts beside its bytes (§4.1).
pub(super) const ENTRY_OVERHEAD_BYTES: usize = 32;

/// The largest maximum: positions of names and values are 16 bits.
pub(super) const TABLE_BYTES_CAP: u32 = 64 * 1024;

/// Room that the first entries get.
const ARENA_BYTES_FIRST: usize = 256;

/// See the module doc.
#[derive(Debug)]
pub(super) struct Table {
    arena: Vec<u8>,
    /// Newest first.
    entries: VecDeque<Entry>,
    /// Bytes that were dropped from the arena's front so far, modulo 2^32.
    dropped: u32,
    size: u32,
    max: u32,
    /// Entries that were ever inserted, modulo 2^16.
    inserted: u16,
}

/// Where an entry lies.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Position in the arena, plus the table's `dropped` when it was inserted.
    at: u32,
    name_len: u16,
    value_len: u16,
}

const _: () = assert!(size_of::<Entry>() == 8);

impl Entry {
    fn bytes_len(self) -> usize {
        usize::from(self.name_len) + usize::from(self.value_len)
    }
}

/// What a field counts, in the table and in a list of fields (§4.1, RFC 9113 §6.5.2).
pub(super) fn size_of_field(name: &[u8], value: &[u8]) -> usize {
    name.len() + value.len() + ENTRY_OVERHEAD_BYTES
}

impl Table {
    /// An empty table; `max` over [`TABLE_BYTES_CAP`] acts like it.
    pub(super) fn new(max: u32) -> Table {
        Table {
            arena: Vec::new(),
            entries: VecDeque::new(),
            dropped: 0,
            size: 0,
            max: max.min(TABLE_BYTES_CAP),
            inserted: 0,
        }
    }

    /// Name and value of an entry; 0 is the newest.
    #[inline]
    pub(super) fn field(&self, index: usize) -> Option<(&[u8], &[u8])> {
        let entry = self.entries.get(index)?;
        let at = entry.at.wrapping_sub(self.dropped) as usize;
        let bytes = self.arena.get(at..at + entry.bytes_len())?;
        bytes.split_at_checked(usize::from(entry.name_len))
    }

    /// Adds an entry, evicting the oldest as needed; one larger than the table empties it (§4.4).
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8]) {
        let size = size_of_field(name, value);
        if size > self.max as usize {
            return self.evict_to(0);
        }
        self.evict_to(self.max - size as u32);
        self.make_room(size - ENTRY_OVERHEAD_BYTES);
        let at = self.dropped.wrapping_add(self.arena.len() as u32);
        // No cast loses bits: the sum is at most TABLE_BYTES_CAP - 32.
        let (name_len, value_len) = (name.len() as u16, value.len() as u16);
        self.arena.extend_from_slice(name);
        self.arena.extend_from_slice(value);
        self.entries.push_front(Entry { at, name_len, value_len });
        self.size += size as u32;
        self.inserted = self.inserted.wrapping_add(1);
    }

    /// Changes the maximum, evicting what exceeds it (§4.3). At 0 no memory is held.
    pub(super) fn set_max(&mut self, max: u32) {
        self.max = max.min(TABLE_BYTES_CAP);
        self.evict_to(self.max);
        if self.held_bytes() > self.max as usize {
            self.drop_dead();
            self.arena.shrink_to(self.max as usize);
            self.entries.shrink_to_fit();
        }
    }

    /// The size in bytes (§4.1).
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size as usize
    }

    /// The maximum size in bytes.
    pub(super) fn max(&self) -> u32 {
        self.max
    }

    /// How many entries there are.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.entries.len()
    }

    /// The number of the newest entry: each insertion gets the next one, modulo 2^16.
    pub(super) fn newest(&self) -> u16 {
        self.inserted
    }

    /// Bytes of heap this table holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.arena.capacity() + self.entries.capacity() * size_of::<Entry>()
    }

    fn evict_to(&mut self, size: u32) {
        while self.size > size {
            let Some(entry) = self.entries.pop_back() else { return };
            self.size -= (entry.bytes_len() + ENTRY_OVERHEAD_BYTES) as u32;
        }
    }

    /// Makes room for bytes of a new entry behind the others.
    fn make_room(&mut self, len: usize) {
        if self.arena.len() + len <= self.arena.capacity() {
            return;
        }
        self.drop_dead();
        let needed = self.arena.len() + len;
        if needed <= self.arena.capacity() / 2 || self.arena.capacity() >= self.max as usize {
            return;
        }
        // The live bytes and the new ones are at most `max`: the table's size counts them all.
        let room = (self.arena.capacity() * 2).max(needed).max(ARENA_BYTES_FIRST);
        self.arena.reserve_exact(room.min(self.max as usize) - self.arena.len());
    }

    /// Moves the live bytes to the arena's front.
    fn drop_dead(&mut self) {
        let live_at = self.entries.back().map(|oldest| oldest.at.wrapping_sub(self.dropped));
        let dead = live_at.map_or(self.arena.len(), |at| at as usize);
        self.arena.drain(..dead);
        self.dropped = self.dropped.wrapping_add(dead as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(table: &Table) -> Vec<(Vec<u8>, Vec<u8>)> {
        let field = |index| table.field(index).map(|(name, value)| (name.to_vec(), value.to_vec()));
        (0..table.count()).map(|index| field(index).unwrap()).collect()
    }

    /// The same table without an arena: what RFC 7541 §4 says, word by word.
    struct Plain {
        fields: Vec<(Vec<u8>, Vec<u8>)>,
        max: usize,
    }

    impl Plain {
        fn evict_to(&mut self, size: usize) {
            let total = |fields: &[(Vec<u8>, Vec<u8>)]| -> usize {
                fields.iter().map(|(name, value)| size_of_field(name, value)).sum()
            };
            while total(&self.fields) > size {
                self.fields.pop();
            }
        }

        fn insert(&mut self, name: &[u8], value: &[u8]) {
            let size = size_of_field(name, value);
            self.evict_to(self.max.saturating_sub(size));
            if size <= self.max {
                self.fields.insert(0, (name.to_vec(), value.to_vec()));
            }
        }
    }

    #[test]
    fn entries_are_those_of_the_plain_table() {
        let mut random = 0x7541_u32;
        let mut next = |below: u32| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) % below
        };
        for max in [0, 31, 32, 33, 100, 256, 4096, TABLE_BYTES_CAP] {
            let mut table = Table::new(max);
            let mut plain = Plain { fields: Vec::new(), max: max as usize };
            for round in 0..2_000 {
                let (name, value) = (vec![round as u8; next(40) as usize], next(max / 2 + 60));
                let value = vec![!round as u8; value as usize];
                table.insert(&name, &value);
                plain.insert(&name, &value);
                if next(100) == 0 {
                    plain.max = next(max + 1) as usize;
                    table.set_max(plain.max as u32);
                    plain.evict_to(plain.max);
                }
                assert_eq!(fields(&table), plain.fields);
                assert!(table.arena.capacity() <= max as usize);
            }
        }
    }

    #[test]
    fn memory_follows_what_is_held() {
        let mut table = Table::new(4096);
        assert_eq!(table.held_bytes(), 0);
        table.insert(b"name", b"value");
        assert!(table.held_bytes() <= ARENA_BYTES_FIRST + 64, "{}", table.held_bytes());
        (0..1_000).for_each(|_| table.insert(b"", b""));
        assert_eq!(table.count(), 128);
        (0..1_000).for_each(|_| table.insert(b"name", &[b'x'; 1_000]));
        assert_eq!(table.count(), 3);
        assert!(table.held_bytes() <= 4096 + 128 * size_of::<Entry>(), "{}", table.held_bytes());
        table.set_max(0);
        assert_eq!((table.held_bytes(), table.count()), (0, 0));
        table.set_max(u32::MAX);
        assert_eq!(table.max(), TABLE_BYTES_CAP);
    }

    #[test]
    fn a_byte_is_seldom_moved() {
        for value_len in [0, 9, 100, 1_000] {
            let (mut table, value, mut moved) = (Table::new(4096), vec![b'v'; value_len], 0);
            for _ in 0..10_000 {
                let dropped = table.dropped;
                table.insert(b"n", &value);
                if table.dropped != dropped {
                    moved += table.arena.len();
                }
            }
            let inserted = 10_000 * (value_len + 1);
            assert!(moved <= 5 * inserted, "{moved} bytes for {inserted}");
        }
    }

    #[test]
    fn positions_may_wrap() {
        let mut table = Table::new(256);
        (table.dropped, table.inserted) = (u32::MAX - 100, u16::MAX);
        for round in 0..100_u8 {
            table.insert(&[round; 5], &[round; 50]);
            assert_eq!(table.field(0), Some((&[round; 5][..], &[round; 50][..])));
        }
        assert_eq!((table.count(), table.newest()), (2, 99));
    }
}
