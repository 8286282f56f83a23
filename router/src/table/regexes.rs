//! The regular expressions of a table: each text compiled once, however many rules have it.
//!
//! Rules name one by the hash of its text.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::index::Index;
use crate::hash::HashKey;
use crate::pattern::regex::Regex;
use crate::query::Captures;

/// A version of the set; versions share what they have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regexes {
    by_hash: Index<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    regex: Arc<Regex>,
    /// References from rules.
    uses: u32,
}

impl Regexes {
    /// False for a hash that nobody has interned.
    #[inline]
    pub(crate) fn is_match(&self, hash: u64, bytes: &[u8]) -> bool {
        self.by_hash.get(hash).is_some_and(|entry| entry.regex.is_match(bytes))
    }

    /// What the named groups of an expression took of what it matches.
    #[inline]
    pub(crate) fn captures(&self, hash: u64, bytes: &[u8]) -> Captures {
        self.by_hash.get(hash).map_or(Captures::NONE, |entry| entry.regex.captures(bytes))
    }

    /// The text of a hash.
    pub(crate) fn text(&self, hash: u64) -> &str {
        self.by_hash.get(hash).map_or("", |entry| entry.regex.text())
    }

    /// With one more reference to each of these, which `fresh` has if they are new.
    pub(crate) fn with(&self, uses: impl Iterator<Item = u64>, fresh: &Interned) -> Regexes {
        let mut next = self.clone();
        for hash in uses {
            let entry = match next.by_hash.get(hash) {
                Some(entry) => Entry { uses: entry.uses + 1, ..entry.clone() },
                None => match fresh.by_hash.get(&hash) {
                    Some(regex) => Entry { regex: Arc::clone(regex), uses: 1 },
                    None => continue,
                },
            };
            next.by_hash = next.by_hash.with(hash, entry);
        }
        next
    }

    /// With one reference less to each of these; what nobody refers to is gone.
    pub(crate) fn without(&self, uses: impl Iterator<Item = u64>) -> Regexes {
        let mut next = self.clone();
        for hash in uses {
            next.by_hash = match next.by_hash.get(hash) {
                Some(Entry { uses: 1, .. }) => next.by_hash.without(hash),
                Some(entry) => {
                    let entry = Entry { uses: entry.uses - 1, ..entry.clone() };
                    next.by_hash.with(hash, entry)
                }
                None => continue,
            };
        }
        next
    }

    pub(crate) fn bytes(&self) -> usize {
        let automata: usize = self.by_hash.iter().map(|(_, entry)| entry.regex.bytes()).sum();
        self.by_hash.bytes() + automata
    }
}

/// Expressions in the order in which rules name them, while a table is made or changed.
#[derive(Debug, Default)]
pub(crate) struct Interned {
    by_hash: BTreeMap<u64, Arc<Regex>>,
    /// Those of the table that is changed.
    known: Regexes,
}

impl Interned {
    /// Beside those of a table, which need not be compiled again.
    pub(crate) fn beside(known: &Regexes) -> Interned {
        Interned { by_hash: BTreeMap::new(), known: known.clone() }
    }

    /// The hash of an expression, which is compiled unless it is known.
    pub(crate) fn hash(&mut self, text: &str, key: &HashKey) -> Result<u64, String> {
        let hash = key.bytes(text.as_bytes());
        let known = self.known.by_hash.get(hash).map(|entry| &entry.regex);
        let regex = match known.or(self.by_hash.get(&hash)) {
            Some(known) if known.text() == text => Arc::clone(known),
            Some(known) => {
                return Err(format!("meets `{}` in one hash: write it otherwise", known.text()));
            }
            None => Arc::new(Regex::new(text)?),
        };
        // A known one as well: its last use may go before this one comes.
        self.by_hash.insert(hash, regex);
        Ok(hash)
    }

    pub(crate) fn absorb(&mut self, other: Interned) {
        self.by_hash.extend(other.by_hash);
    }

    /// The set, with the number of references to each.
    pub(crate) fn settle(self, uses: &BTreeMap<u64, u32>) -> Regexes {
        let entries = self.by_hash.into_iter().map(|(hash, regex)| {
            (hash, Entry { regex, uses: uses.get(&hash).copied().unwrap_or(0) })
        });
        Regexes { by_hash: Index::from_sorted(entries.collect()) }
    }
}
