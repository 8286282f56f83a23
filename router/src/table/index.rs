//! Values by 64-bit hash, in a tree whose versions share what they have in common.
//!
//! A branch looks at four bits of the hash, from the top; a page holds up to 32 values side by
//! side, in the order of their hashes. Hashes are spread evenly, so that a value's place in its
//! page can be told from its hash but for a step or two. Equal hashes are one place: who keeps
//! things that could meet there tells them apart by itself. A new version copies one page and the
//! branches above it: for a million values four branches of 16 and a page of 15 on average.
//!
//! Cost of `get`: a step for each branch, three for 50 000 values; and a cache line or two of a
//! page.

use std::sync::Arc;

use crate::RouteId;

/// A version of the tree.
#[derive(Clone, Debug)]
pub(crate) struct Index<V> {
    root: Node<V>,
    len: usize,
}

#[derive(Clone, Debug)]
enum Node<V> {
    Empty,
    /// In ascending order.
    Page(Arc<[(u64, V)]>),
    Branch(Arc<[Node<V>; FAN]>),
}

const FAN_BITS: u32 = 4;
const FAN: usize = 1 << FAN_BITS;
const PAGE_MAX: usize = 32;

impl<V> Default for Index<V> {
    fn default() -> Index<V> {
        Index { root: Node::Empty, len: 0 }
    }
}

impl<V: Clone> Index<V> {
    /// From entries in strictly ascending order of their hashes.
    pub(crate) fn from_sorted(entries: Vec<(u64, V)>) -> Index<V> {
        debug_assert!(entries.is_sorted_by(|a, b| a.0 < b.0));
        Index { len: entries.len(), root: Node::from_sorted(&entries, 0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, hash: u64) -> Option<&V> {
        let (mut node, mut rest) = (&self.root, hash);
        loop {
            match node {
                Node::Empty => return None,
                Node::Page(page) => return within(page, hash, rest),
                Node::Branch(children) => {
                    node = &children[top(rest)];
                    rest <<= FAN_BITS;
                }
            }
        }
    }

    /// The version in which `hash` has this value.
    pub(crate) fn with(&self, hash: u64, value: V) -> Index<V> {
        let is_new = self.get(hash).is_none();
        Index { root: self.root.with(hash, value, 0), len: self.len + usize::from(is_new) }
    }

    /// The version in which `hash` has none.
    pub(crate) fn without(&self, hash: u64) -> Index<V> {
        match self.get(hash) {
            Some(_) => Index { root: self.root.without(hash, 0), len: self.len - 1 },
            None => self.clone(),
        }
    }

    /// All entries, in ascending order of their hashes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &V)> {
        let mut open = vec![&self.root];
        let pages = std::iter::from_fn(move || {
            loop {
                match open.pop()? {
                    Node::Empty => {}
                    Node::Page(page) => return Some(page),
                    Node::Branch(children) => open.extend(children.iter().rev()),
                }
            }
        });
        pages.flat_map(|page| page.iter().map(|(hash, value)| (*hash, value)))
    }

    /// Bytes of memory, without what the values refer to.
    pub(crate) fn bytes(&self) -> usize {
        self.root.bytes()
    }
}

impl<V: Clone> Node<V> {
    fn from_sorted(entries: &[(u64, V)], depth: u32) -> Node<V> {
        if entries.is_empty() {
            return Node::Empty;
        }
        if entries.len() <= PAGE_MAX {
            return Node::Page(entries.into());
        }
        let mut rest = entries;
        Node::Branch(Arc::new(std::array::from_fn(|child| {
            let end = rest.partition_point(|(hash, _)| top(hash << (depth * FAN_BITS)) <= child);
            let (mine, others) = rest.split_at(end);
            rest = others;
            Node::from_sorted(mine, depth + 1)
        })))
    }

    fn with(&self, hash: u64, value: V, depth: u32) -> Node<V> {
        match self {
            Node::Empty => Node::from_sorted(&[(hash, value)], depth),
            Node::Page(page) => {
                let mut entries = page.to_vec();
                match entries.binary_search_by_key(&hash, |(hash, _)| *hash) {
                    Ok(at) => entries[at].1 = value,
                    Err(at) => entries.insert(at, (hash, value)),
                }
                Node::from_sorted(&entries, depth)
            }
            Node::Branch(children) => {
                let at = top(hash << (depth * FAN_BITS));
                replaced(children, at, children[at].with(hash, value, depth + 1))
            }
        }
    }

    fn without(&self, hash: u64, depth: u32) -> Node<V> {
        match self {
            Node::Empty => Node::Empty,
            Node::Page(page) => {
                let mut entries = page.to_vec();
                entries.retain(|(other, _)| *other != hash);
                Node::from_sorted(&entries, depth)
            }
            Node::Branch(children) => {
                let at = top(hash << (depth * FAN_BITS));
                replaced(children, at, children[at].without(hash, depth + 1))
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Node::Empty => 0,
            Node::Page(page) => COUNTS + size_of_val(&**page),
            Node::Branch(children) => {
                let below: usize = children.iter().map(Node::bytes).sum();
                COUNTS + size_of::<[Node<V>; FAN]>() + below
            }
        }
    }
}

/// What an `Arc` counts with.
const COUNTS: usize = 2 * size_of::<usize>();

/// Finds a hash in a page; `rest` is what is left of it below the branches.
#[inline]
fn within<V>(page: &[(u64, V)], hash: u64, rest: u64) -> Option<&V> {
    // Where it would stand if the hashes were spread evenly.
    let mut at = (((rest >> 32) * page.len() as u64) >> 32) as usize;
    while at > 0 && page.get(at)?.0 > hash {
        at -= 1;
    }
    while page.get(at)?.0 < hash {
        at += 1;
    }
    page.get(at).filter(|entry| entry.0 == hash).map(|entry| &entry.1)
}

/// Ids in a row lie far apart in an index; no two meet.
pub(crate) fn scattered(route: RouteId) -> u64 {
    // The golden ratio as a 64-bit fraction: odd, so that the product can be undone.
    u64::from(route.0).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[inline]
fn top(hash: u64) -> usize {
    (hash >> (u64::BITS - FAN_BITS)) as usize
}

fn replaced<V: Clone>(children: &Arc<[Node<V>; FAN]>, at: usize, child: Node<V>) -> Node<V> {
    let mut children = <[Node<V>; FAN]>::clone(children);
    children[at] = child;
    Node::Branch(Arc::new(children))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::config;
    use super::*;

    /// Hashes that share their first bits, so that pages split again and again.
    fn hashes() -> impl Strategy<Value = u64> {
        (0_u64..600, prop::sample::select(vec![0, 40, 52])).prop_map(|(n, shift)| n << shift)
    }

    proptest! {
        #![proptest_config(config(1))]
        #[test]
        fn agrees_with_a_map(
            steps in prop::collection::vec((hashes(), any::<bool>(), any::<u32>()), 0..300),
        ) {
            let (mut index, mut map) = (Index::default(), BTreeMap::new());
            for (hash, is_in, value) in steps {
                let before = index.clone();
                let old = map.get(&hash).copied();
                if is_in {
                    index = index.with(hash, value);
                    map.insert(hash, value);
                } else {
                    index = index.without(hash);
                    map.remove(&hash);
                }
                prop_assert_eq!(index.get(hash), map.get(&hash));
                prop_assert_eq!(before.get(hash), old.as_ref(), "the old version stays");
                prop_assert_eq!(index.len(), map.len());
            }
            let entries = index.iter().map(|(hash, value)| (hash, *value));
            let entries: Vec<(u64, u32)> = entries.collect();
            let expected: Vec<(u64, u32)> = map.into_iter().collect();
            prop_assert_eq!(&entries, &expected);
            let built = Index::from_sorted(expected);
            prop_assert!(built.iter().eq(index.iter()));
        }
    }

    #[test]
    fn hashes_that_differ_in_their_last_bits_only() {
        let entries: Vec<(u64, u64)> = (0..100).map(|n| (n, n)).collect();
        let index = Index::from_sorted(entries);
        assert!((0..100).all(|n| index.get(n) == Some(&n)));
        assert_eq!(index.get(100), None);
        assert!(index.bytes() > 100 * 16);
    }
}
