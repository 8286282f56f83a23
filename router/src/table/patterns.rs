//! The rules of a large host by the hash of their pattern, in a tree whose versions share what they
//! have in common.
//!
//! ```text
//! hash --top bits--> leaf --next bits--> slot --> a rule, several side by side, or a node
//! slot: top half of the hash u32 | kind 2 bits, where 30 bits
//! ```
//!
//! A leaf is an open-addressed table of up to 512 patterns, eight bytes a slot, so that a million
//! patterns take 12 MB and mostly stay in the cache. What stood in the table when it was built lies
//! in one region, and a slot says where; the other half of the hash is written in front of it. What
//! changed since is a node of the leaf's own. A new version copies one leaf and the branches above
//! it: for a million patterns three branches of 16 and a leaf of 244 on average. The region lives
//! as long as any version (B1 in `block`).
//!
//! Cost of `get`: a step for each branch, three for a million; a line of the leaf, sometimes two;
//! and the lines of the rule, which come at the same time.

use std::sync::Arc;

use lanes::Region;

use super::Make;
use super::block::{self, Ask, Found, View};
use super::node::{self, Node};
use super::record::Record;
use crate::RouteId;

/// A version of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    root: Tree,
    len: usize,
    home: Arc<Region>,
}

#[derive(Clone, Debug)]
enum Tree {
    Leaf(Leaf),
    Branch(Arc<[Tree; FAN]>),
}

#[derive(Clone, Debug)]
struct Leaf {
    /// 0 where nothing is. A pattern stands at the place that its hash says, or behind it.
    slots: Arc<[u64]>,
    own: Option<Arc<[(u64, Node)]>>,
}

/// A pattern as a leaf is made of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    top: u32,
    spot: Spot,
}

#[derive(Clone, Debug)]
enum Spot {
    /// Kind and place of what lies in the region.
    Home(u32),
    Own(u64, Node),
}

/// What a hash stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place<'a> {
    Record(Record<'a>),
    Block(View<'a>),
    Node(&'a Node),
}

const FAN_BITS: u32 = 4;
const FAN: usize = 1 << FAN_BITS;
const LEAF_MAX: usize = 512;
/// Branches above a leaf at most: as many as half a hash has bits for.
const DEPTH_MAX: u32 = 7;

/// A slot of no kind that was taken once: what is behind it can still be found.
const GONE: u64 = 1 << 32;
const KIND_SHIFT: u32 = 30;
const RECORD: u32 = 1;
const BLOCK: u32 = 2;
const OWN: u32 = 3;
/// The half of the hash in front of a rule or in the head of a block.
const HALF: usize = 4;
/// Places in the region are counted in steps of so many bytes.
const STEP: usize = 4;

/// A pattern whose rules are still being written.
#[derive(Debug)]
pub(crate) struct Draft {
    hash: u64,
    rules: Rules,
}

#[derive(Debug)]
enum Rules {
    /// Kind and offset.
    Home(u32, usize),
    Own(Box<node::Draft>),
}

impl Draft {
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// Appends the rules of one pattern.
    pub(crate) fn write(hash: u64, records: &[&[u8]], make: &Make, out: &mut Vec<u8>) -> Draft {
        if let [record] = records {
            out.resize(out.len().next_multiple_of(STEP), 0);
            let start = out.len();
            out.extend((hash as u32).to_le_bytes());
            out.extend_from_slice(record);
            return Draft { hash, rules: Rules::Home(RECORD, start) };
        }
        match node::path_draft(records, make, out) {
            node::Draft::Block(span) => {
                let start = span.start();
                out[start + block::SPARE..][..HALF].copy_from_slice(&(hash as u32).to_le_bytes());
                Draft { hash, rules: Rules::Home(BLOCK, start) }
            }
            draft => Draft { hash, rules: Rules::Own(Box::new(draft)) },
        }
    }

    fn settle(self, home: &Arc<Region>) -> Entry {
        let spot = match self.rules {
            Rules::Own(draft) => Spot::Own(self.hash, draft.settle(home)),
            Rules::Home(kind, start) => {
                // INVARIANT: a region is one of 16 parts of a table, and `control` bounds what it
                // reads.
                let at = u32::try_from(start).expect("a region below 4 GiB") / STEP as u32;
                Spot::Home(kind << KIND_SHIFT | at)
            }
        };
        Entry { top: top_half(self.hash), spot }
    }
}

impl Patterns {
    /// From patterns in ascending order of their hashes.
    pub(crate) fn settle(drafts: Vec<Draft>, home: &Arc<Region>) -> Patterns {
        debug_assert!(drafts.is_sorted_by(|a, b| a.hash < b.hash));
        let entries: Vec<Entry> = drafts.into_iter().map(|draft| draft.settle(home)).collect();
        let (len, home) = (entries.len(), Arc::clone(home));
        Patterns { root: Tree::of(entries, 0), len, home }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64) -> Option<Place<'_>> {
        let (mut tree, mut rest) = (&self.root, top_half(hash));
        loop {
            match tree {
                Tree::Leaf(leaf) => return Some(leaf.find(hash, rest, &self.home)?.1),
                Tree::Branch(children) => {
                    tree = &children[top(rest)];
                    rest <<= FAN_BITS;
                }
            }
        }
    }

    /// The version in which `hash` stands for this node; for nothing if there is none.
    fn changed(&self, hash: u64, node: Option<Node>) -> Patterns {
        let (was_in, is_in) = (self.get(hash).is_some(), node.is_some());
        let root = self.root.changed(hash, node, 0, &self.home);
        let len = self.len + usize::from(is_in) - usize::from(was_in);
        Patterns { root, len, home: Arc::clone(&self.home) }
    }

    /// With one more rule.
    pub(crate) fn with(&self, hash: u64, record: &[u8], make: &Make) -> Patterns {
        let node = match self.get(hash) {
            Some(place) => place.with(record, make),
            None => Node::of_path(&[record], make),
        };
        self.changed(hash, Some(node))
    }

    /// Without a rule of the pattern.
    pub(crate) fn without(&self, hash: u64, route: RouteId, make: &Make) -> Patterns {
        let node = self.get(hash).and_then(|place| place.without(route, make));
        self.changed(hash, node)
    }

    /// All patterns with their hashes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Place<'_>)> {
        let mut open = vec![&self.root];
        let leaves = std::iter::from_fn(move || {
            loop {
                match open.pop()? {
                    Tree::Leaf(leaf) => return Some(leaf),
                    Tree::Branch(children) => open.extend(children.iter().rev()),
                }
            }
        });
        leaves.flat_map(|leaf| leaf.slots.iter().filter_map(|slot| leaf.place(*slot, &self.home)))
    }

    /// Bytes of memory, without those of nodes of their own.
    pub(crate) fn bytes(&self) -> usize {
        self.root.bytes()
    }
}

impl Tree {
    /// Of entries in the order of the tops of their hashes.
    fn of(mut entries: Vec<Entry>, depth: u32) -> Tree {
        if entries.len() <= LEAF_MAX || depth == DEPTH_MAX {
            return Tree::Leaf(Leaf::of(entries, depth));
        }
        Tree::Branch(Arc::new(std::array::from_fn(|child| {
            let rest = |entry: &Entry| top(entry.top << (depth * FAN_BITS));
            let end = entries.partition_point(|entry| rest(entry) <= child);
            let others = entries.split_off(end);
            Tree::of(std::mem::replace(&mut entries, others), depth + 1)
        })))
    }

    fn changed(&self, hash: u64, node: Option<Node>, depth: u32, home: &Region) -> Tree {
        let rest = top_half(hash) << (depth * FAN_BITS);
        match self {
            Tree::Leaf(leaf) => {
                let leaf = leaf.changed(hash, node, rest, home);
                if leaf.is_full() { Tree::of(leaf.entries(), depth) } else { Tree::Leaf(leaf) }
            }
            Tree::Branch(children) => {
                let mut children = <[Tree; FAN]>::clone(children);
                let child = &mut children[top(rest)];
                *child = child.changed(hash, node, depth + 1, home);
                Tree::Branch(Arc::new(children))
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Tree::Leaf(leaf) => {
                let own = leaf.own.as_ref().map_or(0, |own| COUNTS + size_of_val(&**own));
                COUNTS + size_of_val(&*leaf.slots) + own
            }
            Tree::Branch(children) => {
                let below: usize = children.iter().map(Tree::bytes).sum();
                COUNTS + size_of::<[Tree; FAN]>() + below
            }
        }
    }
}

/// What an `Arc` counts with.
const COUNTS: usize = 2 * size_of::<usize>();

impl Leaf {
    fn of(entries: Vec<Entry>, depth: u32) -> Leaf {
        // Two thirds full: the right slot is seldom more than a step or two away.
        let mut slots = vec![0; (entries.len() * 3 / 2 + 1).next_multiple_of(8)];
        let mut own = Vec::new();
        for Entry { top, spot } in entries {
            let slot = match spot {
                Spot::Home(place) => u64::from(top) << 32 | u64::from(place),
                Spot::Own(hash, node) => {
                    own.push((hash, node));
                    slot_of(top, OWN, own.len() - 1)
                }
            };
            let from = first_slot(top << (depth * FAN_BITS), slots.len());
            // INVARIANT: there are more slots than entries.
            let free = around(from, slots.len()).find(|at| slots[*at] == 0).expect("a free slot");
            slots[free] = slot;
        }
        Leaf { slots: slots.into(), own: (!own.is_empty()).then(|| own.into()) }
    }

    /// The slot of a hash, and what it stands for.
    #[inline]
    fn find<'a>(&'a self, hash: u64, rest: u32, home: &'a Region) -> Option<(usize, Place<'a>)> {
        for at in around(first_slot(rest, self.slots.len()), self.slots.len()) {
            let slot = self.slots[at];
            if slot == 0 {
                return None;
            }
            if slot >> 32 == hash >> 32
                && let Some((its, place)) = self.place(slot, home)
                && its == hash
            {
                return Some((at, place));
            }
        }
        None
    }

    /// The hash of a slot that is taken, and what it stands for.
    #[inline]
    fn place<'a>(&'a self, slot: u64, home: &'a Region) -> Option<(u64, Place<'a>)> {
        let whole = |half: &[u8; HALF]| slot >> 32 << 32 | u64::from(u32::from_le_bytes(*half));
        match kind(slot) {
            RECORD => {
                let (half, record) = home_bytes(home, slot)?.split_first_chunk()?;
                Some((whole(half), Place::Record(Record::at(record)?)))
            }
            BLOCK => {
                let bytes = home_bytes(home, slot)?;
                let half = bytes.get(block::SPARE..)?.first_chunk()?;
                Some((whole(half), Place::Block(View::of(bytes))))
            }
            OWN => {
                let (hash, node) = self.own.as_ref()?.get(index(slot))?;
                Some((*hash, Place::Node(node)))
            }
            _ => None,
        }
    }

    /// A copy in which `hash` stands for this node; for nothing if there is none.
    fn changed(&self, hash: u64, node: Option<Node>, rest: u32, home: &Region) -> Leaf {
        let mut slots = self.slots.to_vec();
        let mut own = self.own.as_ref().map_or_else(Vec::new, |own| own.to_vec());
        let at = self.find(hash, rest, home).map(|(at, _)| at);
        if let Some(at) = at {
            disown(&mut slots, at, &mut own);
        }
        if let Some(node) = node {
            let is_free = |at: &usize| kind(slots[*at]) == 0;
            let mut slots_from_here = around(first_slot(rest, slots.len()), slots.len());
            // INVARIANT: a leaf that `is_full` is made anew before another pattern comes.
            let free = slots_from_here.find(is_free).expect("a free slot");
            slots[free] = slot_of(top_half(hash), OWN, own.len());
            own.push((hash, node));
        }
        Leaf { slots: slots.into(), own: (!own.is_empty()).then(|| own.into()) }
    }

    /// Whether most slots were taken once, so that a search would take long.
    fn is_full(&self) -> bool {
        let free = self.slots.iter().filter(|slot| **slot == 0).count();
        free < self.slots.len() / 5
    }

    /// Its entries in the order of the tops.
    fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            self.slots.iter().filter_map(|slot| self.entry(*slot)).collect();
        entries.sort_by_key(|entry| entry.top);
        entries
    }

    fn entry(&self, slot: u64) -> Option<Entry> {
        let spot = match kind(slot) {
            0 => return None,
            OWN => {
                let (hash, node) = self.own.as_ref()?.get(index(slot))?;
                Spot::Own(*hash, node.clone())
            }
            _ => Spot::Home(slot as u32),
        };
        Some(Entry { top: top_half(slot), spot })
    }
}

impl<'a> Place<'a> {
    /// The best rule that takes the request.
    #[inline]
    pub(crate) fn find(&self, ask: &Ask<'_, '_>) -> Option<Found<'a>> {
        match self {
            Place::Record(record) => {
                let captures = record.check(ask.query, ask.method, ask.regexes).ok()?;
                Some(Found { record: *record, captures })
            }
            Place::Block(view) => view.find(ask),
            Place::Node(node) => node.find(ask),
        }
    }

    /// Calls `take` with each record, in no order.
    pub(crate) fn each(&self, take: &mut dyn FnMut(Record<'a>)) {
        match self {
            Place::Record(record) => take(*record),
            Place::Block(view) => view.records().for_each(take),
            Place::Node(node) => node.each(take),
        }
    }

    /// The record of a rule.
    pub(crate) fn record(&self, route: RouteId) -> Option<Record<'a>> {
        match self {
            Place::Record(record) => Some(*record).filter(|record| record.route() == route),
            Place::Block(view) => view.records().find(|record| record.route() == route),
            Place::Node(node) => node.record(route),
        }
    }

    /// The rules that can be in a rule's way, itself included.
    pub(crate) fn near(&self, route: RouteId) -> Vec<Record<'a>> {
        match self {
            Place::Record(record) => vec![*record],
            Place::Block(view) => view.records().collect(),
            Place::Node(node) => node.near(route),
        }
    }

    fn with(&self, record: &[u8], make: &Make) -> Node {
        let Place::Node(node) = self else {
            let mut records = self.written();
            records.push(record.to_vec());
            return of_path(&records, make);
        };
        node.with(record, make)
    }

    fn without(&self, route: RouteId, make: &Make) -> Option<Node> {
        let Place::Node(node) = self else {
            let mut records = self.written();
            records.retain(|record| Record::at(record).is_some_and(|r| r.route() != route));
            return (!records.is_empty()).then(|| of_path(&records, make));
        };
        node.without(route, make)
    }

    fn written(&self) -> Vec<Vec<u8>> {
        let mut records = Vec::new();
        self.each(&mut |record| records.push(record.written()));
        records
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Place::Record(record) => (HALF + record.bytes()).next_multiple_of(STEP),
            Place::Block(view) => view.bytes(),
            Place::Node(node) => node.bytes(),
        }
    }
}

/// What lies where a slot says; two lines of it are on their way.
#[inline]
fn home_bytes(home: &Region, slot: u64) -> Option<&[u8]> {
    let bytes = home.get(index(slot) * STEP..)?;
    lanes::prefetch(bytes, 2);
    Some(bytes)
}

/// Takes what a slot stands for away; the last of the leaf's own nodes takes the place of one.
fn disown(slots: &mut [u64], at: usize, own: &mut Vec<(u64, Node)>) {
    let gone = std::mem::replace(&mut slots[at], GONE);
    if kind(gone) != OWN {
        return;
    }
    own.swap_remove(index(gone));
    let is_last = |slot: &&mut u64| kind(**slot) == OWN && index(**slot) == own.len();
    if let Some(last) = slots.iter_mut().find(is_last) {
        *last = slot_of(top_half(*last), OWN, index(gone));
    }
}

fn slot_of(top: u32, kind: u32, index: usize) -> u64 {
    u64::from(top) << 32 | u64::from(kind << KIND_SHIFT | index as u32)
}

#[inline]
fn kind(slot: u64) -> u32 {
    slot as u32 >> KIND_SHIFT
}

/// Where, in what its kind stands for.
#[inline]
fn index(slot: u64) -> usize {
    slot as usize & ((1 << KIND_SHIFT) - 1)
}

fn of_path(records: &[Vec<u8>], make: &Make) -> Node {
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    Node::of_path(&records, make)
}

#[inline]
fn top_half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[inline]
fn top(rest: u32) -> usize {
    (rest >> (u32::BITS - FAN_BITS)) as usize
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::PlanId;
    use crate::hash::HashKey;
    use crate::pattern::path::PathPattern;
    use crate::predicate::method::MethodSet;
    use crate::table::RuleOrder;
    use crate::table::record::Rule;

    type Map = BTreeMap<u64, BTreeSet<u32>>;

    fn make() -> Make {
        Make { key: HashKey::new(5), order: RuleOrder::Specific }
    }

    fn record(route: u32) -> Vec<u8> {
        let path = PathPattern::read(Some("/a")).unwrap();
        let methods = MethodSet { known: 0, other: Vec::new() };
        let rule = Rule { path, regex: 0, methods, predicates: Vec::new(), priority: 0 };
        let mut out = Vec::new();
        rule.write((RouteId(route), PlanId(0)), route, &mut out);
        out
    }

    fn settled(map: &Map) -> Patterns {
        let (mut out, make) = (Vec::new(), make());
        let drafts = map.iter().map(|(hash, routes)| {
            let records: Vec<Vec<u8>> = routes.iter().copied().map(record).collect();
            let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
            Draft::write(*hash, &records, &make, &mut out)
        });
        let drafts: Vec<Draft> = drafts.collect();
        Patterns::settle(drafts, &Arc::new(Region::from(out.into_boxed_slice())))
    }

    fn routes(place: Option<Place<'_>>) -> BTreeSet<u32> {
        let mut routes = BTreeSet::new();
        if let Some(place) = place {
            place.each(&mut |record| assert!(routes.insert(record.route().0)));
        }
        routes
    }

    /// Hashes that share their first bits, their first half, or nothing.
    fn hashes() -> impl Strategy<Value = u64> {
        (0_u64..600, prop::sample::select(vec![0, 22, 32, 45, 54])).prop_map(|(n, by)| n << by)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
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
            prop_assert!(patterns.bytes() >= map.len() * size_of::<u64>());
        }
    }
}
