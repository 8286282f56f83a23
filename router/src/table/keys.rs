//! Sorted byte strings in one arena, with the prefix relation among them.
//!
//! Keys are numbered in sorted order. `parent[i]` is the longest other key that is a prefix of key
//! `i`. From this follows the one trick of the table: let `p` be the longest key that is a prefix
//! of some text. Every key between `p` and the text in sorted order begins with `p`. So the
//! greatest key not above the text is `p` or leads to `p` by parent links; one binary search and a
//! walk over *declared* nesting finds all prefixes, whatever the text looks like.

use std::cmp::Ordering;

/// Sorted, distinct keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    text: Box<[u8]>,
    /// End of each key in `text`; it starts where its predecessor ends.
    ends: Box<[u32]>,
    /// Longest proper prefix among the keys, or `NO_PARENT`.
    parents: Box<[u32]>,
}

const NO_PARENT: u32 = u32::MAX;

impl Keys {
    /// Keys from an iterator in strictly ascending order.
    ///
    /// # Panics
    /// When the keys' total exceeds 4 GiB; `control` bounds the configuration far below.
    pub(super) fn from_sorted<'a>(keys: impl Iterator<Item = &'a [u8]>) -> Keys {
        let mut text = Vec::new();
        let mut ends = Vec::new();
        for key in keys {
            text.extend_from_slice(key);
            assert!(text.len() < NO_PARENT as usize, "keys exceed 4 GiB");
            ends.push(text.len() as u32);
        }
        let mut built = Keys {
            text: text.into(),
            parents: vec![NO_PARENT; ends.len()].into(),
            ends: ends.into(),
        };
        built.link_parents();
        built
    }

    /// In sorted order a key's prefixes are exactly the open entries of this stack.
    fn link_parents(&mut self) {
        let mut open: Vec<usize> = Vec::new();
        for index in 0..self.ends.len() {
            while open.last().is_some_and(|last| !self.key(index).starts_with(self.key(*last))) {
                open.pop();
            }
            debug_assert!(index == 0 || self.key(index - 1) < self.key(index));
            self.parents[index] = open.last().map_or(NO_PARENT, |last| *last as u32);
            open.push(index);
        }
    }

    pub(super) fn key(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        &self.text[start..self.ends[index] as usize]
    }

    /// The index of `text` itself.
    pub(super) fn exact(&self, text: &[u8]) -> Option<usize> {
        self.below(|key| key.cmp(text)).filter(|index| self.key(*index) == text)
    }

    /// Indices of all keys that are prefixes of `text`, longest first.
    pub(super) fn prefixes(&self, text: &[u8]) -> impl Iterator<Item = usize> {
        self.chain(self.below(|key| key.cmp(text)), |key| text.starts_with(key))
    }

    /// Like `prefixes`, of the bytes of `text` read backwards. Nothing is copied.
    pub(super) fn prefixes_of_reversed(&self, text: &[u8]) -> impl Iterator<Item = usize> {
        let from = self.below(|key| key.iter().cmp(text.iter().rev()));
        self.chain(from, |key| {
            key.len() <= text.len() && key.iter().eq(text.iter().rev().take(key.len()))
        })
    }

    /// The greatest key for which `order` is not `Greater`.
    fn below(&self, order: impl Fn(&[u8]) -> Ordering) -> Option<usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if order(self.key(middle)) == Ordering::Greater {
                high = middle
            } else {
                low = middle + 1
            }
        }
        low.checked_sub(1)
    }

    /// `from` and its parents, without the leading ones that are no prefix.
    fn chain(
        &self,
        from: Option<usize>,
        is_prefix: impl Fn(&[u8]) -> bool,
    ) -> impl Iterator<Item = usize> {
        let parent = |index: &usize| match self.parents[*index] {
            NO_PARENT => None,
            parent => Some(parent as usize),
        };
        std::iter::successors(from, parent).skip_while(move |index| !is_prefix(self.key(*index)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn keys(set: &BTreeSet<Vec<u8>>) -> Keys {
        Keys::from_sorted(set.iter().map(Vec::as_slice))
    }

    proptest! {
        #[test]
        fn agrees_with_a_linear_search(
            set in prop::collection::btree_set(prop::collection::vec(b'a'..=b'c', 1..5), 0..24),
            text in prop::collection::vec(b'a'..=b'c', 0..7),
        ) {
            let keys = keys(&set);
            let all: Vec<&Vec<u8>> = set.iter().collect();
            let naive = |text: &[u8]| {
                let mut found: Vec<usize> =
                    (0..all.len()).filter(|i| text.starts_with(all[*i])).collect();
                found.sort_by_key(|i| std::cmp::Reverse(all[*i].len()));
                found
            };
            let reversed: Vec<u8> = text.iter().rev().copied().collect();
            prop_assert_eq!(keys.prefixes(&text).collect::<Vec<_>>(), naive(&text));
            prop_assert_eq!(keys.prefixes_of_reversed(&reversed).collect::<Vec<_>>(), naive(&text));
            prop_assert_eq!(keys.exact(&text), all.iter().position(|key| **key == text));
        }
    }
}
