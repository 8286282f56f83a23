//! The patterns of a large host, each by its 64-bit hash. Versions share what they have in common.
//!
//! ```text
//! hash --top bits--> bucket: where it begins u32 --> its items, side by side
//! item: hash u64 | kind 1 bit, length in steps of 4 bytes 31 bits | a record, or a block
//! ```
//!
//! What the table was built with lies in its region in the order of the hashes, so that a bucket
//! needs no list of its items. The places of the buckets take little more than a byte a pattern,
//! and mostly stay in the cache: a look waits for memory once, for the lines of the bucket, which
//! come together. What changed since, and patterns with too many rules for a block, are nodes of
//! their own, in an index that is asked first.
//!
//! Cost of `get`: a line of the places, and some four of the bucket; and before them, unless
//! nothing is its own, up to five steps of the index.

use std::sync::Arc;

use lanes::Region;

use super::Make;
use super::block::{self, Base, RULES_MAX, View};
use super::index::Index;
use super::node::{self, Node};
use super::place::Place;
use super::record::Record;
use crate::RouteId;

/// A version of the patterns.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    shelf: Arc<Shelf>,
    /// In front of the shelf: `None` is a pattern that is gone.
    own: Index<Option<Node>>,
    len: usize,
}

/// What the table was built with.
#[derive(Debug)]
struct Shelf {
    home: Arc<Region>,
    /// Where the first bucket begins.
    start: usize,
    /// Steps from there to each bucket, and to the end.
    places: Region,
    items: usize,
}

/// Patterns that are still being written.
#[derive(Debug)]
pub(crate) struct Draft {
    start: usize,
    places: Region,
    items: usize,
    own: Vec<(u64, node::Draft)>,
}

/// Items of a bucket on average.
const PER_BUCKET: usize = 3;
/// Where items begin, in bytes.
const STEP: usize = 4;
/// Bytes of a bucket's place.
const PLACE: usize = 4;
/// Bytes before what an item holds.
const HEAD: usize = 12;
const IS_BLOCK: u32 = 1 << 31;
/// Lines of a bucket that are asked for at once: nearly all of most.
const LINES: usize = 4;

impl Draft {
    /// Appends rules, which are in the order of the hashes of their patterns.
    pub(crate) fn of(rules: &[(u64, &[u8])], make: &Make, out: &mut Vec<u8>) -> Draft {
        let (few, many): (Vec<_>, Vec<_>) =
            rules.chunk_by(|a, b| a.0 == b.0).partition(|group| group.len() <= RULES_MAX);
        out.resize(out.len().next_multiple_of(STEP), 0);
        let (start, items) = (out.len(), few.len());
        let mut places = Vec::with_capacity(items / PER_BUCKET + 2);
        let buckets = items / PER_BUCKET + 1;
        for group in few {
            let here = steps(out.len() - start);
            places.resize(bucket(group[0].0, buckets) + 1, here);
            put(group, make, out);
        }
        places.resize(buckets + 1, steps(out.len() - start));
        let own =
            |group: &[(u64, &[u8])]| (group[0].0, node::path_draft(&records(group), make, out));
        let own = many.into_iter().map(own).collect();
        Draft { start, places: written(&places), items, own }
    }

    pub(crate) fn settle(self, base: &Base) -> Patterns {
        let own = self.own.into_iter().map(|(hash, draft)| (hash, Some(draft.settle(base))));
        let own = Index::from_sorted(own.collect());
        let (home, start) = (Arc::clone(&base.home), base.start + self.start);
        let len = self.items + own.len();
        let shelf = Shelf { home, start, places: self.places, items: self.items };
        Patterns { shelf: Arc::new(shelf), own, len }
    }
}

fn steps(bytes: usize) -> u32 {
    // INVARIANT: a table's region is below `leaf::REGION_BYTES_MAX`.
    (bytes / STEP) as u32
}

fn records<'a>(group: &[(u64, &'a [u8])]) -> Vec<&'a [u8]> {
    group.iter().map(|(_, record)| *record).collect()
}

fn written(places: &[u32]) -> Region {
    let mut region = Region::zeroed(places.len() * PLACE);
    for (place, at) in places.iter().zip(region.chunks_exact_mut(PLACE)) {
        at.copy_from_slice(&place.to_le_bytes());
    }
    region
}

/// Appends the item of a pattern.
fn put(group: &[(u64, &[u8])], make: &Make, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend(group[0].0.to_le_bytes());
    out.extend([0; HEAD - size_of::<u64>()]);
    let kind = match group {
        [(_, record)] => {
            out.extend_from_slice(record);
            0
        }
        _ => {
            // INVARIANT: who calls this has no more rules than a block takes.
            let _ = block::write_path(&node::ranked(&records(group), make), make, out);
            IS_BLOCK
        }
    };
    out.resize(out.len().next_multiple_of(STEP), 0);
    let kind_and_len = kind | steps(out.len() - start);
    out[start + size_of::<u64>()..][..4].copy_from_slice(&kind_and_len.to_le_bytes());
}

/// Ascends with the hashes.
#[inline]
fn bucket(hash: u64, buckets: usize) -> usize {
    (((hash >> 32) * buckets as u64) >> 32) as usize
}

impl Shelf {
    #[inline]
    fn place_of(&self, hash: u64) -> Option<&[u8; 2 * PLACE]> {
        let buckets = self.places.len() / PLACE - 1;
        self.places.get(bucket(hash, buckets) * PLACE..)?.first_chunk()
    }

    /// The items of the bucket of a hash.
    #[inline]
    fn items_of(&self, hash: u64) -> Items<'_> {
        let Some(place) = self.place_of(hash) else { return Items { left: &[] } };
        let place = u64::from_le_bytes(*place);
        self.items_in(place as u32, (place >> u32::BITS) as u32)
    }

    #[inline]
    fn items_in(&self, from: u32, to: u32) -> Items<'_> {
        let at = |steps: u32| self.start + steps as usize * STEP;
        Items { left: self.home.get(at(from)..at(to)).unwrap_or_default() }
    }

    fn all(&self) -> Items<'_> {
        let end = self.places.last_chunk().copied().map_or(0, u32::from_le_bytes);
        self.items_in(0, end)
    }

    #[inline]
    fn get(&self, hash: u64) -> Option<Place<'_>> {
        let mut items = self.items_of(hash);
        lanes::prefetch(items.left, LINES);
        items.find(|(its, _)| *its == hash).map(|(_, place)| place)
    }
}

/// Items side by side: the hash of each, and what it stands for.
struct Items<'a> {
    left: &'a [u8],
}

impl<'a> Iterator for Items<'a> {
    type Item = (u64, Place<'a>);

    #[inline]
    fn next(&mut self) -> Option<(u64, Place<'a>)> {
        let (hash, behind) = self.left.split_first_chunk()?;
        let (kind_and_len, _) = behind.split_first_chunk()?;
        let kind_and_len = u32::from_le_bytes(*kind_and_len);
        let len = (kind_and_len & !IS_BLOCK) as usize * STEP;
        let (item, left) = self.left.split_at_checked(len)?;
        self.left = left;
        let bytes = item.get(HEAD..)?;
        let place = match kind_and_len & IS_BLOCK {
            0 => Place::Record(Record::at(bytes)?),
            _ => Place::Block(View::of(bytes)),
        };
        Some((u64::from_le_bytes(*hash), place))
    }
}

impl Patterns {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What a hash stands for.
    #[inline]
    pub(crate) fn get(&self, hash: u64) -> Option<Place<'_>> {
        if self.own.len() > 0
            && let Some(own) = self.own.get(hash)
        {
            return own.as_ref().map(Node::place);
        }
        self.shelf.get(hash)
    }

    /// Asks for the line of memory that says where the bucket of a hash is; waits for nothing.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        if let Some(place) = self.shelf.place_of(hash) {
            lanes::prefetch_line(place);
        }
    }

    /// With one more rule of a pattern, which takes the place of the one of its id.
    pub(crate) fn with(&self, hash: u64, record: &[u8], make: &Make) -> Patterns {
        let node = match self.get(hash) {
            Some(place) => place.with(record, make),
            None => Node::of_path(&[record], make),
        };
        self.changed(hash, Some(node))
    }

    /// Without a rule.
    pub(crate) fn without(&self, hash: u64, route: RouteId, make: &Make) -> Patterns {
        let node = self.get(hash).and_then(|place| place.without(route, make));
        self.changed(hash, node)
    }

    fn changed(&self, hash: u64, node: Option<Node>) -> Patterns {
        let (was_in, is_in) = (self.get(hash).is_some(), node.is_some());
        let own = match node {
            None if self.shelf.get(hash).is_none() => self.own.without(hash),
            node => self.own.with(hash, node),
        };
        let len = self.len + usize::from(is_in) - usize::from(was_in);
        Patterns { shelf: Arc::clone(&self.shelf), own, len }
    }

    /// All hashes with what they stand for, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Place<'_>)> {
        let shelved = self.shelf.all().filter(|(hash, _)| self.own.get(*hash).is_none());
        let own = self.own.iter().filter_map(|(hash, node)| Some((hash, node.as_ref()?.place())));
        shelved.chain(own)
    }

    /// Bytes of memory, without those of the rules.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Shelf>() + self.shelf.places.len() + HEAD * self.shelf.items + self.own.bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::testing::{config, hashes, make, record, routes};
    use super::*;

    type Map = BTreeMap<u64, BTreeSet<u32>>;

    fn settled(map: &Map) -> Patterns {
        let written = |(hash, routes): (&u64, &BTreeSet<u32>)| {
            routes.iter().map(|route| (*hash, record(*route))).collect::<Vec<_>>()
        };
        let rules: Vec<(u64, Vec<u8>)> = map.iter().flat_map(written).collect();
        let rules: Vec<(u64, &[u8])> =
            rules.iter().map(|(hash, record)| (*hash, record.as_slice())).collect();
        // What other hosts have written before.
        let mut out = vec![7; 13];
        let draft = Draft::of(&rules, &make(), &mut out);
        draft.settle(&Base::own(out))
    }

    proptest! {
        #![proptest_config(config(16))]
        #[test]
        fn agrees_with_a_map(
            first in prop::collection::btree_map(
                hashes(), prop::collection::btree_set(0_u32..90, 1..70), 0..700,
            ),
            steps in prop::collection::vec((hashes(), any::<bool>(), 0_u32..90), 0..700),
        ) {
            let mut map = first;
            let mut patterns = settled(&map);
            for (hash, is_in, route) in steps {
                let (before, old) = (patterns.clone(), map.get(&hash).cloned().unwrap_or_default());
                if is_in && !old.contains(&route) {
                    patterns = patterns.with(hash, &record(route), &make());
                    map.entry(hash).or_default().insert(route);
                } else if old.contains(&route) {
                    patterns = patterns.without(hash, RouteId(route), &make());
                    map.entry(hash).or_default().remove(&route);
                    map.retain(|_, routes| !routes.is_empty());
                }
                let expected = map.get(&hash).cloned().unwrap_or_default();
                prop_assert_eq!(routes(patterns.get(hash)), expected);
                prop_assert_eq!(routes(before.get(hash)), old, "the old version stays");
                prop_assert_eq!(patterns.len(), map.len());
            }
            let all: Map = patterns.iter().map(|(hash, at)| (hash, routes(Some(at)))).collect();
            prop_assert_eq!(&all, &map);
            prop_assert!(map.iter().all(|(hash, own)| routes(patterns.get(*hash)) == *own));
            prop_assert!(patterns.bytes() >= map.len());
        }
    }
}
