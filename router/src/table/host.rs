//! From a host to the blocks that may hold its route, most specific first.
//!
//! Suffix patterns are stored reversed (`*.example.com` as `moc.elpmaxe.`), so that "longer
//! suffix first" is the same walk as "longer prefix first" for paths. The dot stays part of the
//! key: `*.example.com` takes `a.example.com` and `a.b.example.com`, not `example.com`.

use std::collections::BTreeMap;

use super::keys::Keys;

/// Hosts of a table; values are block numbers.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: Keys,
    exact_blocks: Box<[u32]>,
    suffix: Keys,
    suffix_blocks: Box<[u32]>,
    any: Option<u32>,
}

/// A host pattern, lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum HostPattern {
    Exact(Vec<u8>),
    /// The bytes from the dot on, reversed.
    Suffix(Vec<u8>),
    Any,
}

impl Hosts {
    pub(super) fn new(blocks: &BTreeMap<HostPattern, u32>) -> Hosts {
        let exact = || {
            blocks.iter().filter_map(|(host, block)| match host {
                HostPattern::Exact(key) => Some((key.as_slice(), *block)),
                _ => None,
            })
        };
        let suffix = || {
            blocks.iter().filter_map(|(host, block)| match host {
                HostPattern::Suffix(key) => Some((key.as_slice(), *block)),
                _ => None,
            })
        };
        Hosts {
            exact: Keys::from_sorted(exact().map(|(key, _)| key)),
            exact_blocks: exact().map(|(_, block)| block).collect(),
            suffix: Keys::from_sorted(suffix().map(|(key, _)| key)),
            suffix_blocks: suffix().map(|(_, block)| block).collect(),
            any: blocks.get(&HostPattern::Any).copied(),
        }
    }

    /// Block numbers for `host`, most specific pattern first. A `*` stands for at least one byte.
    pub(super) fn blocks(&self, host: &[u8]) -> impl Iterator<Item = usize> {
        let exact = self.exact.exact(host).map(|index| self.exact_blocks[index]);
        let suffix = self.suffix.prefixes_of_reversed(host);
        let suffix = suffix.filter(|index| self.suffix.key(*index).len() < host.len());
        let suffix = suffix.map(|index| self.suffix_blocks[index]);
        exact.into_iter().chain(suffix).chain(self.any).map(|block| block as usize)
    }
}
