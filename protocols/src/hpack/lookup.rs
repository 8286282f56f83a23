//! Where a field, or a name, stands in the encoder's dynamic table.
//!
//! A small table of hashes in groups of four, beside the entries: it names candidates, and the
//! caller compares their bytes. An entry that was evicted stays until its slot is taken, and a full
//! group loses its oldest; both cost compression only. So a look-up compares four tags, whatever
//! fields a peer made up to meet in one group, and the hash needs no secret.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;

/// Entries that a table of 4 KiB can have, each by its field and by its name.
const SLOTS_COUNT: usize = 2 * 4096 / 32;
const GROUP_SLOTS: usize = 4;
const GROUPS_COUNT: usize = SLOTS_COUNT / GROUP_SLOTS;

const _: () = assert!(GROUPS_COUNT.is_power_of_two());

/// A candidate: some bits of its hash, 0 in an empty slot only, and the number of its insertion
/// modulo 2^16.
#[derive(Clone, Copy, Debug)]
struct Slot {
    tag: u16,
    number: u16,
}

impl Slot {
    /// Entries that were inserted behind this one, if the newest has that number.
    fn age(self, newest: u16) -> u16 {
        newest.wrapping_sub(self.number)
    }
}

/// The hashes of a name alone and of the name with its value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashes {
    pub(super) name: u64,
    pub(super) field: u64,
}

impl Hashes {
    #[inline]
    pub(super) fn of(name: &[u8], value: &[u8]) -> Hashes {
        let mut hasher = FixedState::with_seed(0).build_hasher();
        hasher.write(name);
        let name = hasher.finish();
        hasher.write(value);
        Hashes { name, field: hasher.finish() }
    }
}

/// See the module doc. Holds nothing until the first [`Lookup::put`].
#[derive(Debug, Default)]
pub(super) struct Lookup {
    groups: Option<Box<[[Slot; GROUP_SLOTS]; GROUPS_COUNT]>>,
}

impl Lookup {
    /// The age of the entry with this hash that `is` recognises; `newest` is the number of the
    /// newest entry, whose age is 0.
    #[inline]
    pub(super) fn find(&self, hash: u64, newest: u16, is: impl Fn(usize) -> bool) -> Option<usize> {
        let group = self.groups.as_ref()?.get(group_of(hash))?;
        let candidates = group.iter().filter(|slot| slot.tag == tag_of(hash));
        candidates.map(|slot| usize::from(slot.age(newest))).find(|&age| is(age))
    }

    /// Notes the newest entry under a hash, in the place of the same hash or of the oldest.
    pub(super) fn put(&mut self, hash: u64, newest: u16) {
        let groups = || Box::new([[Slot { tag: 0, number: 0 }; GROUP_SLOTS]; GROUPS_COUNT]);
        let Some(group) = self.groups.get_or_insert_with(groups).get_mut(group_of(hash)) else {
            return;
        };
        let rank = |slot: &&mut Slot| (slot.tag == tag_of(hash), slot.tag == 0, slot.age(newest));
        if let Some(slot) = group.iter_mut().max_by_key(rank) {
            *slot = Slot { tag: tag_of(hash), number: newest };
        }
    }

    /// Bytes of heap this holds.
    pub(super) fn held_bytes(&self) -> usize {
        self.groups.as_ref().map_or(0, |groups| size_of_val(&**groups))
    }
}

fn group_of(hash: u64) -> usize {
    hash as usize % GROUPS_COUNT
}

fn tag_of(hash: u64) -> u16 {
    (hash >> 48) as u16 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_found_by_its_age() {
        let mut lookup = Lookup::default();
        assert_eq!((lookup.find(1, 0, |_| true), lookup.held_bytes()), (None, 0));
        let hash = |number: u16| Hashes::of(b"name", &number.to_be_bytes()).field;
        for newest in 1..=60 {
            lookup.put(hash(newest), newest);
            let found = (1..=newest).filter(|&number| {
                let age = usize::from(newest - number);
                lookup.find(hash(number), newest, |candidate| candidate == age) == Some(age)
            });
            let lost = usize::from(newest) - found.count();
            assert!(lost <= usize::from(newest) / 20, "{lost} of {newest}: groups are seldom full");
        }
        assert_eq!(lookup.held_bytes(), 1024);
    }

    #[test]
    fn fields_that_meet_cost_four_comparisons() {
        let mut lookup = Lookup::default();
        (1..=1_000).for_each(|number| lookup.put(number << 48, number as u16));
        let compared = core::cell::Cell::new(0);
        let is = |_| {
            compared.set(compared.get() + 1);
            false
        };
        assert_eq!(lookup.find(1_000 << 48, 1_000, is), None);
        assert!((1..=4).contains(&compared.get()));
        (1..=1_000).for_each(|number| lookup.put(7 << 48, number));
        assert_eq!(lookup.find(7 << 48, 1_000, |age| age == 0), Some(0));
        assert_eq!(lookup.find(7 << 48, 1_000, |age| age == 1), None, "the same hash replaces");
    }

    #[test]
    fn numbers_may_wrap() {
        let mut lookup = Lookup::default();
        lookup.put(5, u16::MAX);
        assert_eq!(lookup.find(5, 1, |age| age == 2), Some(2));
        let mut lookup = Lookup::default();
        let hashes = [2 << 48, 4 << 48, 6 << 48, 8 << 48];
        for (hash, number) in hashes.into_iter().zip([u16::MAX - 1, u16::MAX, 0, 1]) {
            lookup.put(hash, number);
        }
        let ages = hashes.map(|hash| lookup.find(hash, 1, |_| true));
        assert_eq!(ages, [Some(3), Some(2), Some(1), Some(0)], "a group has room for four");
    }

    #[test]
    fn name_and_field_have_hashes_of_their_own() {
        let one = Hashes::of(b"name", b"value");
        let other = Hashes::of(b"name", b"other");
        assert_eq!(one.name, other.name);
        assert!(one.field != other.field && one.field != one.name);
        assert_ne!(Hashes::of(b"ab", b"c").field, Hashes::of(b"a", b"bc").field);
        assert_ne!(Hashes::of(b"name", b"").field, one.name, "also without a value");
    }
}
