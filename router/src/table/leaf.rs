//! A leaf of a [`Tree`](super::tree::Tree): an open-addressed table of up to 512 hashes.
//!
//! ```text
//! slot: top half of the hash u32 | kind 2 bits, where in the region 30 bits
//! ```
//!
//! What stood in the table when it was built lies in its region: a slot says where, and the other
//! half of the hash is written in the head of the block. What changed since is a node of the leaf's
//! own, by its whole hash.

use std::sync::Arc;

use lanes::Region;

use super::block::{self, Base, View};
use super::index::Index;
use super::node::Node;
use super::place::Place;

/// A version of a leaf.
#[derive(Clone, Debug)]
pub(crate) struct Leaf {
    /// 0 where nothing is. A hash stands at the place that it says, or behind it.
    slots: Arc<[u64]>,
    own: Option<Arc<Index<Node>>>,
}

/// What a leaf is made of.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) top: u32,
    spot: Spot,
}

#[derive(Clone, Debug)]
enum Spot {
    /// Kind and place of what lies in the region.
    Home(u32),
    Own(u64, Node),
}

/// Hashes of a leaf at most; but for those that begin with the same half.
pub(crate) const LEAF_MAX: usize = 512;

/// A slot of no kind that was taken once: what is behind it can still be found.
const GONE: u64 = 1 << 32;
const KIND_SHIFT: u32 = 30;
const BLOCK: u32 = 1;
const OWN: u32 = 2;
/// The half of the hash in the head of a block.
pub(crate) const HALF: usize = 4;
/// Places in the region are counted in steps of so many bytes.
pub(crate) const STEP: usize = 4;
/// Bytes of a region that its slots can tell apart.
pub(crate) const REGION_BYTES_MAX: usize = STEP << KIND_SHIFT;

/// Lines of a block that nearly every look needs.
const LINES: usize = 2;

impl Entry {
    /// Of a block in the region, with half of its hash in its head.
    pub(crate) fn block(hash: u64, start: usize, base: &Base) -> Entry {
        let at = base.offset(start) / STEP as u32;
        Entry { top: top_half(hash), spot: Spot::Home(BLOCK << KIND_SHIFT | at) }
    }

    /// Of a node of its own.
    pub(crate) fn own(hash: u64, node: Node) -> Entry {
        Entry { top: top_half(hash), spot: Spot::Own(hash, node) }
    }
}

impl Leaf {
    /// Hashes begin to differ behind so many bits.
    pub(crate) fn of(entries: Vec<Entry>, bits: u32) -> Leaf {
        // Two thirds full: the right slot is seldom more than a step or two away.
        let mut slots = vec![0; (entries.len() * 3 / 2 + 1).next_multiple_of(8)];
        let mut own = Vec::new();
        for Entry { top, spot } in entries {
            let low = match spot {
                Spot::Home(place) => place,
                Spot::Own(hash, node) => {
                    own.push((own_key(hash), node));
                    OWN << KIND_SHIFT
                }
            };
            let from = first_slot(top << bits, slots.len());
            // INVARIANT: there are more slots than entries.
            let free = around(from, slots.len()).find(|at| slots[*at] == 0).expect("a free slot");
            slots[free] = slot_of(top, low);
        }
        own.sort_unstable_by_key(|(key, _)| *key);
        Leaf { slots: slots.into(), own: kept(Index::from_sorted(own)) }
    }

    /// What a hash stands for; `rest` is what is left of its top half below the branches.
    #[inline]
    pub(crate) fn get<'a>(&'a self, hash: u64, rest: u32, home: &'a Region) -> Option<Place<'a>> {
        self.find(hash, rest, home).map(|(_, place)| place)
    }

    /// The slot of a hash, and what it stands for.
    #[inline]
    fn find<'a>(&'a self, hash: u64, rest: u32, home: &'a Region) -> Option<(usize, Place<'a>)> {
        for (at, slot) in self.alike(hash, rest) {
            if kind(slot) == OWN {
                if let Some(node) = self.own(hash) {
                    return Some((at, node.place()));
                }
            } else if let Some((its, place)) = at_home(slot, home)
                && its == hash
            {
                return Some((at, place));
            }
        }
        None
    }

    /// The slots that begin with the same half as a hash.
    #[inline]
    fn alike(&self, hash: u64, rest: u32) -> impl Iterator<Item = (usize, u64)> {
        let mut next = first_slot(rest, self.slots.len());
        std::iter::from_fn(move || {
            loop {
                let at = next;
                // There is always a slot with nothing in it.
                let slot = *self.slots.get(at)?;
                if slot == 0 {
                    return None;
                }
                next = if at + 1 < self.slots.len() { at + 1 } else { 0 };
                if slot >> 32 == hash >> 32 {
                    return Some((at, slot));
                }
            }
        })
    }

    fn own(&self, hash: u64) -> Option<&Node> {
        self.own.as_ref()?.get(own_key(hash))
    }

    /// Asks for the line that says where the rules of a hash are.
    #[inline]
    pub(crate) fn prefetch_slot(&self, rest: u32) {
        if let Some(slot) = self.slots.get(first_slot(rest, self.slots.len())) {
            lanes::prefetch_line(slot);
        }
    }

    /// Asks for the first `lines` lines of the rules of a hash; whether there probably are any.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64, rest: u32, home: &Region, lines: usize) -> bool {
        let Some((_, slot)) = self.alike(hash, rest).next() else { return false };
        if kind(slot) == OWN {
            self.own(hash).into_iter().for_each(Node::prefetch);
        } else {
            lanes::prefetch(home.get(index(slot)..).unwrap_or_default(), lines);
        }
        true
    }

    /// The version in which `hash` stands for this node; for nothing if there is none.
    pub(crate) fn changed(&self, hash: u64, node: Option<Node>, rest: u32, home: &Region) -> Leaf {
        let at = self.find(hash, rest, home).map(|(at, _)| at);
        let slots = match (at, &node) {
            (Some(at), Some(_)) if kind(self.slots[at]) == OWN => Arc::clone(&self.slots),
            (Some(at), Some(_)) => self.slots_with(at, own_slot(hash)),
            (Some(at), None) => self.slots_with(at, GONE),
            (None, Some(_)) => self.slots_with(self.free_slot(rest), own_slot(hash)),
            (None, None) => return self.clone(),
        };
        let own = self.own.as_deref().cloned().unwrap_or_default();
        let own = match node {
            Some(node) => own.with(own_key(hash), node),
            None => own.without(own_key(hash)),
        };
        Leaf { slots, own: kept(own) }
    }

    fn slots_with(&self, at: usize, slot: u64) -> Arc<[u64]> {
        let mut slots = Arc::<[u64]>::from(&*self.slots);
        Arc::make_mut(&mut slots)[at] = slot;
        slots
    }

    fn free_slot(&self, rest: u32) -> usize {
        let mut from_here = around(first_slot(rest, self.slots.len()), self.slots.len());
        // INVARIANT: a leaf that `is_full` is made anew before another hash comes.
        from_here.find(|at| kind(self.slots[*at]) == 0).expect("a free slot")
    }

    /// Whether most slots were taken once, so that a search would take long.
    pub(crate) fn is_full(&self) -> bool {
        let free = self.slots.iter().filter(|slot| **slot == 0).count();
        free < self.slots.len() / 5
    }

    /// Its entries in the order of the tops.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let at_home = self.slots.iter().filter(|slot| is_home(**slot));
        let at_home =
            at_home.map(|slot| Entry { top: top_half(*slot), spot: Spot::Home(*slot as u32) });
        let own = self.own_nodes().map(|(hash, node)| Entry::own(hash, node.clone()));
        let mut entries: Vec<Entry> = at_home.chain(own).collect();
        entries.sort_by_key(|entry| entry.top);
        entries
    }

    fn own_nodes(&self) -> impl Iterator<Item = (u64, &Node)> {
        let own = self.own.iter().flat_map(|own| own.iter());
        own.map(|(key, node)| (own_key(key), node))
    }

    /// All hashes with what they stand for.
    pub(crate) fn iter<'a>(&'a self, home: &'a Region) -> impl Iterator<Item = (u64, Place<'a>)> {
        let at_home = self.slots.iter().filter_map(|slot| at_home(*slot, home));
        at_home.chain(self.own_nodes().map(|(hash, node)| (hash, node.place())))
    }

    /// Bytes of memory, without what its own nodes refer to.
    pub(crate) fn bytes(&self) -> usize {
        let own = self.own.as_ref().map_or(0, |own| size_of::<Index<Node>>() + own.bytes());
        size_of_val(&*self.slots) + own
    }
}

fn kept(own: Index<Node>) -> Option<Arc<Index<Node>>> {
    (own.len() > 0).then(|| Arc::new(own))
}

/// The hashes of a leaf begin alike: what they differ in comes first. Undoes itself.
fn own_key(hash: u64) -> u64 {
    hash.rotate_left(32)
}

/// The hash of a slot, and what it stands for in the region.
#[inline]
fn at_home(slot: u64, home: &Region) -> Option<(u64, Place<'_>)> {
    let whole = |half: &[u8; HALF]| slot >> 32 << 32 | u64::from(u32::from_le_bytes(*half));
    if !is_home(slot) {
        return None;
    }
    let bytes = home.get(index(slot)..)?;
    lanes::prefetch(bytes, LINES);
    let half = bytes.get(block::SPARE..)?.first_chunk()?;
    Some((whole(half), Place::Block(View::of(bytes))))
}

#[inline]
fn is_home(slot: u64) -> bool {
    kind(slot) == BLOCK
}

fn own_slot(hash: u64) -> u64 {
    slot_of(top_half(hash), OWN << KIND_SHIFT)
}

fn slot_of(top: u32, low: u32) -> u64 {
    u64::from(top) << 32 | u64::from(low)
}

#[inline]
fn kind(slot: u64) -> u32 {
    slot as u32 >> KIND_SHIFT
}

/// Byte of the region where its rules begin.
#[inline]
fn index(slot: u64) -> usize {
    (slot as usize & ((1 << KIND_SHIFT) - 1)) * STEP
}

#[inline]
pub(crate) fn top_half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Where a hash whose next bits these are would stand among so many slots.
#[inline]
fn first_slot(rest: u32, slots: usize) -> usize {
    ((u64::from(rest) * slots as u64) >> 32) as usize
}

/// All slots, from one on.
#[inline]
fn around(from: usize, slots: usize) -> impl Iterator<Item = usize> {
    (from..slots).chain(0..from)
}
