//! The routing table: `find` a route for a request.
//!
//! ```text
//! host --hash--> its node --tags--> the few rules that can match --> the first that does
//!          (of more than 64 rules: by the hash of the path, shape by shape)
//! ```
//!
//! A table is immutable, and shared by all shards. A change makes another one that shares all but
//! one block, its page of the index and the branches above it.
//!
//! Not here: what a route does. Callers see only [`Table`], ids and captures.

use std::sync::Arc;

use crate::RouteId;
use crate::hash::{HashKey, combine};
use crate::pattern::host::HostPattern;
use crate::predicate::method::Method;
use crate::query::{Match, Query};

pub(crate) mod block;
mod build;
mod explain;
mod filter;
#[cfg(any(test, feature = "fuzz"))]
mod fuzz;
mod index;
mod keyed;
mod large;
mod leaf;
mod node;
mod patterns;
mod place;
mod probe;
pub(crate) mod record;
mod regexes;
mod shadow;
#[cfg(test)]
mod testing;
mod tree;
mod update;

use block::{Ask, Found};
pub use build::{BuildError, BuildFault, Builder};
pub use explain::{Explanation, Other, RuleText};
#[cfg(any(test, feature = "fuzz"))]
pub use fuzz::fuzz_table;
use index::Index;
use place::Place;
use probe::Parts;
pub(crate) use regexes::{Interned, Regexes};
use tree::Tree;

/// What decides between rules that take the same request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RuleOrder {
    /// Priority, and then the more specific one; see the crate's documentation.
    #[default]
    Specific,
    /// The one that was declared first, whatever it asks for.
    FirstMatch,
}

/// What every version of a table has in common.
#[derive(Clone, Debug)]
pub(crate) struct Make {
    pub(crate) key: HashKey,
    pub(crate) order: RuleOrder,
}

/// An immutable set of routes. Cheap to share by `Arc`, and to clone; `Send + Sync`.
#[derive(Clone, Debug)]
pub struct Table {
    make: Make,
    hosts: Tree,
    regexes: Regexes,
    suffixes: Suffixes,
    /// At least the level of every rule that is not for one host alone.
    wide_level: i64,
    /// The hash of each rule's host, by 32 ids in a row.
    homes: Index<Arc<[u64; HOMES]>>,
    len: usize,
    /// Place in the order of declaration of the next new rule.
    next_order: u32,
}

const HOMES: usize = 32;
/// Lines of memory of a host's rules that are asked for at once.
const LINES: usize = 8;

/// How many `*.suffix` hosts there are of each length.
#[derive(Clone, Debug)]
struct Suffixes {
    counts: Arc<[u32; 256]>,
    /// Lengths with any.
    lengths: [u64; 4],
}

impl Default for Suffixes {
    fn default() -> Suffixes {
        Suffixes { counts: Arc::new([0; 256]), lengths: [0; 4] }
    }
}

impl Suffixes {
    fn count(&mut self, host: &HostPattern, by: i32) {
        let HostPattern::Suffix(text) = host else { return };
        let len = text.len().min(255);
        let count = &mut Arc::make_mut(&mut self.counts)[len];
        *count = count.saturating_add_signed(by);
        let bit = 1 << (len % 64);
        match count {
            0 => self.lengths[len / 64] &= !bit,
            _ => self.lengths[len / 64] |= bit,
        }
    }

    fn is_empty(&self) -> bool {
        self.lengths == [0; 4]
    }

    fn has(&self, len: usize) -> bool {
        len < 256 && self.lengths[len / 64] >> (len % 64) & 1 == 1
    }

    /// Ends of `host` that begin with a dot and are as long as some suffix, the longest first.
    fn ends<'h>(&self, host: &'h [u8]) -> impl Iterator<Item = &'h [u8]> {
        let from = if self.is_empty() { host.len() } else { 1 };
        let dots = (from..host.len()).filter(|at| host[*at] == b'.');
        dots.map(|at| &host[at..]).filter(|end| self.has(end.len()))
    }
}

/// What a host's node is found by.
fn host_hash(host: &HostPattern, key: &HashKey) -> u64 {
    match host {
        HostPattern::Exact(text) => key.bytes(text),
        HostPattern::Suffix(text) => suffix_hash(text, key),
        HostPattern::Any => key.start(u64::MAX),
    }
}

fn suffix_hash(text: &[u8], key: &HashKey) -> u64 {
    combine(key.bytes(text), 1)
}

impl Table {
    /// A table without rules.
    pub fn empty(seed: u64, order: RuleOrder) -> Table {
        Table {
            make: Make { key: HashKey::new(seed), order },
            hosts: Tree::empty(),
            regexes: Regexes::default(),
            suffixes: Suffixes::default(),
            wide_level: i64::MIN,
            homes: Index::default(),
            len: 0,
            next_order: 0,
        }
    }

    /// The route that wins for `query` by the order stated in the crate's documentation.
    /// Allocates nothing, but for 256 bytes at a thread's first captures of a regular expression;
    /// see there for the cost.
    pub fn find(&self, query: &Query<'_>) -> Option<Match> {
        let look = self.hosts.look(self.make.key.bytes(query.host));
        // The lines come while the path is taken apart.
        if !look.prefetch(LINES) && self.wide_level == i64::MIN {
            return None;
        }
        let ask = self.ask(query);
        let own = look.get().filter(|host| host.is_of(query.host));
        let own = own.and_then(|host| host.find(&ask));
        match own {
            Some(found) if found.record.level(ask.order) >= self.wide_level => {
                Some(found.answer(&ask))
            }
            found => self.find_wide(&ask, found).map(|found| found.answer(&ask)),
        }
    }

    #[inline]
    fn ask<'a, 'q>(&'a self, query: &'a Query<'q>) -> Ask<'a, 'q> {
        let key = &self.make.key;
        Ask {
            query,
            method: Method::of(query.method),
            key,
            parts: Parts::of(query.path, key),
            regexes: &self.regexes,
            order: self.make.order,
        }
    }

    /// Asks for the line of memory that says where a host's rules are, and waits for nothing: so
    /// that it has come when [`Table::prefetch_rules`] is called, some 100 ns later. Both only make
    /// a later [`Table::find`] faster.
    #[inline]
    pub fn prefetch_host(&self, host: &[u8]) {
        self.hosts.look(self.make.key.bytes(host)).prefetch_slot();
    }

    /// Asks for the first lines of a host's rules, while the caller does something else.
    #[inline]
    pub fn prefetch_rules(&self, host: &[u8]) {
        self.hosts.look(self.make.key.bytes(host)).prefetch(LINES);
    }

    /// Goes on with the rules for many hosts: only a higher level wins over what was found.
    fn find_wide<'a>(&'a self, ask: &Ask<'_, '_>, own: Option<Found<'a>>) -> Option<Found<'a>> {
        let mut best = own;
        for host in self.wide_hosts(ask.query.host) {
            let level = best.as_ref().map(|found| found.record.level(ask.order));
            if level.is_some_and(|level| level >= host.level_max()) {
                continue;
            }
            let found = host.find(ask);
            let wins =
                |found: &Found<'_>| level.is_none_or(|level| found.record.level(ask.order) > level);
            best = found.filter(wins).or(best);
        }
        best
    }

    /// The rules of suffixes of a host, the longest first, and of any host.
    fn wide_hosts(&self, host: &[u8]) -> impl Iterator<Item = Place<'_>> {
        let key = &self.make.key;
        let suffixes = self
            .suffixes
            .ends(host)
            .filter_map(|end| self.hosts.get(suffix_hash(end, key)).filter(|its| its.is_of(end)));
        suffixes.chain(self.hosts.get(key.start(u64::MAX)))
    }

    /// The rules of all hosts that can take a request, the most specific host first.
    fn near_hosts(&self, ask: &Ask<'_, '_>) -> impl Iterator<Item = Place<'_>> {
        let own = self.hosts.get(self.make.key.bytes(ask.query.host));
        let own = own.filter(|host| host.is_of(ask.query.host));
        own.into_iter().chain(self.wide_hosts(ask.query.host))
    }

    /// The host of a rule, as it could have been typed.
    fn host_of(&self, route: RouteId) -> Option<String> {
        let host = self.hosts.get(self.home(route)?)?.host();
        let text = String::from_utf8_lossy(host.text()).into_owned();
        Some(match host {
            HostPattern::Any => "*".to_owned(),
            HostPattern::Exact(_) => text,
            HostPattern::Suffix(_) => format!("*{text}"),
        })
    }

    /// Number of routes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no route at all.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that the table keeps alive. O(hosts).
    pub fn bytes(&self) -> usize {
        let rules: usize = self.hosts.iter().map(|(_, host)| host.bytes()).sum();
        let homes = self.homes.len() * (size_of::<[u64; HOMES]>() + 16);
        size_of::<Table>()
            + rules
            + self.hosts.bytes()
            + self.regexes.bytes()
            + self.homes.bytes()
            + homes
    }
}

const _: () = {
    const fn shared<T: Send + Sync>() {}
    shared::<Table>();
};

#[cfg(test)]
mod tests;
