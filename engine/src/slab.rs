//! A slab that grows by pages of 256 and names its slots with generations.
//!
//! Growing never moves or doubles: a table of 9 000 sockets costs 9 000 slots, not 16 384. A key
//! is {index, generation}; a stale key finds nothing (I4). Cost: two indexed loads a look-up.

/// Name of a slot: valid until the slot is freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl Key {
    /// Packed for `user_data`.
    pub(crate) fn pack(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(crate) fn unpack(packed: u64) -> Key {
        Key { index: packed as u32, generation: (packed >> 32) as u32 }
    }
}

/// Slots of one page.
const PAGE: usize = 256;
const NONE: u32 = u32::MAX;

struct Slot<T> {
    generation: u32,
    entry: Entry<T>,
}

enum Entry<T> {
    Free { next: u32 },
    Used(T),
}

/// The table.
pub(crate) struct Slab<T> {
    pages: Vec<Vec<Slot<T>>>,
    free: u32,
    used: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new() -> Slab<T> {
        Slab { pages: Vec::new(), free: NONE, used: 0 }
    }

    /// Slots in use.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    pub(crate) fn insert(&mut self, value: T) -> Key {
        self.used += 1;
        if self.free == NONE {
            return self.append(value);
        }
        let index = self.free;
        let slot = &mut self.pages[index as usize / PAGE][index as usize % PAGE];
        if let Entry::Free { next } = slot.entry {
            self.free = next;
        }
        slot.entry = Entry::Used(value);
        Key { index, generation: slot.generation }
    }

    fn append(&mut self, value: T) -> Key {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let pages = self.pages.len();
        let page = &mut self.pages[pages - 1];
        page.push(Slot { generation: 1, entry: Entry::Used(value) });
        Key { index: ((pages - 1) * PAGE + page.len() - 1) as u32, generation: 1 }
    }

    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        self.pages.get(index as usize / PAGE)?.get(index as usize % PAGE)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        self.pages.get_mut(index as usize / PAGE)?.get_mut(index as usize % PAGE)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        match self.slot(key.index)? {
            Slot { generation, entry: Entry::Used(value) } if *generation == key.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.slot_mut(key.index)? {
            Slot { generation, entry: Entry::Used(value) } if *generation == key.generation => {
                Some(value)
            }
            _ => None,
        }
    }

    /// The key of the slot in use at an index.
    pub(crate) fn key_at(&self, index: u32) -> Option<Key> {
        match self.slot(index)? {
            Slot { generation, entry: Entry::Used(_) } => {
                Some(Key { index, generation: *generation })
            }
            _ => None,
        }
    }

    /// The value at an index, whichever generation it is.
    pub(crate) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        match &mut self.slot_mut(index)?.entry {
            Entry::Used(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        let free = self.free;
        let slot = self.slot_mut(key.index)?;
        if slot.generation != key.generation || matches!(slot.entry, Entry::Free { .. }) {
            return None;
        }
        // Generation 0 is never handed out, so a packed key is never 0.
        slot.generation = slot.generation.wrapping_add(1).max(1);
        let old = std::mem::replace(&mut slot.entry, Entry::Free { next: free });
        self.free = key.index;
        self.used -= 1;
        match old {
            Entry::Used(value) => Some(value),
            Entry::Free { .. } => None,
        }
    }

    /// All slots in use, by index.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.pages.iter().flatten().enumerate().filter_map(|(index, slot)| match &slot.entry {
            Entry::Used(value) => {
                Some((Key { index: index as u32, generation: slot.generation }, value))
            }
            Entry::Free { .. } => None,
        })
    }

    /// Keys of all slots in use.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut slab = Slab::new();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(first.index, second.index);
        assert_eq!((slab.get(first), slab.get(second)), (None, Some(&'b')));
        assert_eq!(slab.remove(first), None);
        assert_eq!(Key::unpack(second.pack()), second);
    }

    #[test]
    fn growth_is_by_pages() {
        let mut slab = Slab::new();
        let keys: Vec<_> = (0..600).map(|value| slab.insert(value)).collect();
        assert_eq!((slab.pages.len(), slab.len()), (3, 600));
        for (value, key) in keys.iter().enumerate() {
            assert_eq!(slab.get(*key), Some(&value));
        }
        assert_eq!(slab.iter().count(), 600);
    }
}
