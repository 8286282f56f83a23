//! The hosts of a table, each by its 64-bit hash, in a tree whose versions share what they have in
//! common.
//!
//! ```text
//! hash --top bits--> leaf --next bits--> slot --> a block of rules, or a node
//! ```
//!
//! A slot takes eight bytes, so that 50 000 hosts take less than 1 MB, which mostly stays in the
//! cache. A new version copies one leaf and the branches above it: for 50 000 hosts two branches of
//! 16 and a leaf of 195 on average. The region of what was there when the table was built lives as
//! long as any version (B1 in `block`).
//!
//! Cost of `get`: a step for each branch, two or three; a line of the leaf, sometimes two; and the
//! lines of the rules, which come at the same time.

use std::sync::Arc;

use lanes::Region;

use super::Make;
use super::block::{self, Base};
use super::leaf::{Entry, HALF, LEAF_MAX, Leaf, top_half};
use super::node::{self, Node};
use super::place::Place;
use crate::pattern::host::HostPattern;

/// A version of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: Branch,
    home: Arc<Region>,
}

#[derive(Clone, Debug)]
enum Branch {
    Leaf(Leaf),
    Fan(Arc<[Branch; FAN]>),
}

const FAN_BITS: u32 = 4;
const FAN: usize = 1 << FAN_BITS;
/// Branches above a leaf at most: as many as half a hash has bits for.
const DEPTH_MAX: u32 = 7;

/// The rules of a host that are still being written.
#[derive(Debug)]
pub(crate) struct Draft {
    hash: u64,
    rules: Rules,
}

#[derive(Debug)]
enum Rules {
    /// Where its block is.
    Block(usize),
    Own(Box<node::Draft>),
}

impl Draft {
    /// Appends the rules of a host.
    pub(crate) fn new(
        hash: u64,
        host: &HostPattern,
        records: &[&[u8]],
        make: &Make,
        out: &mut Vec<u8>,
    ) -> Draft {
        Draft::of(hash, node::host_draft(host, records, make, out), out)
    }

    fn of(hash: u64, draft: node::Draft, out: &mut [u8]) -> Draft {
        let node::Draft::Block(span) = draft else {
            return Draft { hash, rules: Rules::Own(Box::new(draft)) };
        };
        let start = span.start();
        out[start + block::SPARE..][..HALF].copy_from_slice(&(hash as u32).to_le_bytes());
        Draft { hash, rules: Rules::Block(start) }
    }

    /// The entry of a leaf, once the rules are in a region.
    pub(crate) fn settle(self, base: &Base) -> Entry {
        match self.rules {
            Rules::Own(draft) => Entry::own(self.hash, draft.settle(base)),
            Rules::Block(start) => Entry::block(self.hash, start, base),
        }
    }
}

impl Tree {
    /// Without anything.
    pub(crate) fn empty() -> Tree {
        Tree::of(Vec::new(), &Arc::new(Region::from(Box::default())))
    }

    /// From entries in ascending order of their hashes.
    pub(crate) fn of(entries: Vec<Entry>, home: &Arc<Region>) -> Tree {
        debug_assert!(entries.is_sorted_by_key(|entry| entry.top));
        Tree { root: Branch::of(entries, 0), home: Arc::clone(home) }
    }

    /// What a hash stands for.
    #[inline]
    pub(crate) fn get(&self, hash: u64) -> Option<Place<'_>> {
        self.look(hash).get()
    }

    /// Goes to the leaf of a hash.
    #[inline]
    pub(crate) fn look(&self, hash: u64) -> Look<'_> {
        let (mut branch, mut rest) = (&self.root, top_half(hash));
        loop {
            match branch {
                Branch::Leaf(leaf) => return Look { leaf, hash, rest, home: &self.home },
                Branch::Fan(children) => {
                    branch = &children[top(rest)];
                    rest <<= FAN_BITS;
                }
            }
        }
    }

    /// The version in which `hash` stands for this node; for nothing if there is none.
    pub(crate) fn changed(&self, hash: u64, node: Option<Node>) -> Tree {
        let root = self.root.changed(hash, node, 0, &self.home);
        Tree { root, home: Arc::clone(&self.home) }
    }

    /// All hashes with what they stand for, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Place<'_>)> {
        let mut open = vec![&self.root];
        let leaves = std::iter::from_fn(move || {
            loop {
                match open.pop()? {
                    Branch::Leaf(leaf) => return Some(leaf),
                    Branch::Fan(children) => open.extend(children.iter().rev()),
                }
            }
        });
        leaves.flat_map(|leaf| leaf.iter(&self.home))
    }

    /// Bytes of memory, without those of the rules.
    pub(crate) fn bytes(&self) -> usize {
        self.root.bytes()
    }
}

/// A look at one hash: the leaf, and what is left of its top half below the branches.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    leaf: &'a Leaf,
    hash: u64,
    rest: u32,
    home: &'a Region,
}

impl<'a> Look<'a> {
    /// What the hash stands for.
    #[inline]
    pub(crate) fn get(self) -> Option<Place<'a>> {
        self.leaf.get(self.hash, self.rest, self.home)
    }

    /// Asks for the line of memory that says where the rules are; waits for nothing.
    #[inline]
    pub(crate) fn prefetch_slot(self) {
        self.leaf.prefetch_slot(self.rest);
    }

    /// Asks for the first `lines` lines of the rules, and waits for the slot that says where; false
    /// when there surely are none.
    #[inline]
    pub(crate) fn prefetch(self, lines: usize) -> bool {
        self.leaf.prefetch(self.hash, self.rest, self.home, lines)
    }
}

impl Branch {
    /// Of entries in the order of the tops of their hashes.
    fn of(mut entries: Vec<Entry>, depth: u32) -> Branch {
        if entries.len() <= LEAF_MAX || depth == DEPTH_MAX {
            return Branch::Leaf(Leaf::of(entries, depth * FAN_BITS));
        }
        Branch::Fan(Arc::new(std::array::from_fn(|child| {
            let rest = |entry: &Entry| top(entry.top << (depth * FAN_BITS));
            let end = entries.partition_point(|entry| rest(entry) <= child);
            let others = entries.split_off(end);
            Branch::of(std::mem::replace(&mut entries, others), depth + 1)
        })))
    }

    fn changed(&self, hash: u64, node: Option<Node>, depth: u32, home: &Region) -> Branch {
        let rest = top_half(hash) << (depth * FAN_BITS);
        match self {
            Branch::Leaf(leaf) => {
                let leaf = leaf.changed(hash, node, rest, home);
                if leaf.is_full() { Branch::of(leaf.entries(), depth) } else { Branch::Leaf(leaf) }
            }
            Branch::Fan(children) => {
                let mut children = <[Branch; FAN]>::clone(children);
                let child = &mut children[top(rest)];
                *child = child.changed(hash, node, depth + 1, home);
                Branch::Fan(Arc::new(children))
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Branch::Leaf(leaf) => COUNTS + leaf.bytes(),
            Branch::Fan(children) => {
                let below: usize = children.iter().map(Branch::bytes).sum();
                COUNTS + size_of::<[Branch; FAN]>() + below
            }
        }
    }
}

/// What an `Arc` counts with.
const COUNTS: usize = 2 * size_of::<usize>();

#[inline]
fn top(rest: u32) -> usize {
    (rest >> (u32::BITS - FAN_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::testing::{config, hashes, make, record, routes};
    use super::*;
    use crate::RouteId;

    type Map = BTreeMap<u64, BTreeSet<u32>>;

    fn settled(map: &Map) -> Tree {
        let (mut out, make) = (Vec::new(), make());
        let drafts = map.iter().map(|(hash, routes)| {
            let records: Vec<Vec<u8>> = routes.iter().copied().map(record).collect();
            let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            Draft::new(*hash, &HostPattern::Any, &records, &make, &mut out)
        });
        let drafts: Vec<Draft> = drafts.collect();
        let base = Base::own(out);
        Tree::of(drafts.into_iter().map(|draft| draft.settle(&base)).collect(), &base.home)
    }

    fn with(tree: &Tree, hash: u64, route: u32) -> Tree {
        let record = record(route);
        let node = match tree.get(hash) {
            Some(place) => place.with(&record, &make()),
            None => Node::of_host(&HostPattern::Any, &[&record], &make()),
        };
        tree.changed(hash, Some(node))
    }

    fn without(tree: &Tree, hash: u64, route: u32) -> Tree {
        let node = tree.get(hash).and_then(|place| place.without(RouteId(route), &make()));
        tree.changed(hash, node)
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
            let mut tree = settled(&map);
            for (hash, is_in, route) in steps {
                let (before, old) = (tree.clone(), map.get(&hash).cloned().unwrap_or_default());
                if is_in && !old.contains(&route) {
                    tree = with(&tree, hash, route);
                    map.entry(hash).or_default().insert(route);
                } else if old.contains(&route) {
                    tree = without(&tree, hash, route);
                    map.entry(hash).or_default().remove(&route);
                    map.retain(|_, routes| !routes.is_empty());
                }
                let expected = map.get(&hash).cloned().unwrap_or_default();
                prop_assert_eq!(routes(tree.get(hash)), expected);
                prop_assert_eq!(routes(before.get(hash)), old, "the old version stays");
            }
            let all: Map = tree.iter().map(|(hash, at)| (hash, routes(Some(at)))).collect();
            prop_assert_eq!(&all, &map);
            prop_assert!(map.iter().all(|(hash, own)| routes(tree.get(*hash)) == *own));
            prop_assert!(tree.bytes() >= map.len() * size_of::<u64>());
        }
    }
}
