//! From rules as they were typed to a table, off the data path.
//!
//! A rule becomes its record at once, so that a million of them take the memory of the table twice
//! and no more. Rules can be read by several builders side by side, and the table is made by
//! several threads: each takes hosts whose hashes begin alike. All faults are found.

use std::collections::BTreeMap;
use std::sync::Arc;

use lanes::Region;
use thiserror::Error;

use super::block::Base;
use super::index::{Index, scattered};
use super::leaf;
use super::record::Record;
use super::regexes::Interned;
use super::tree::{self, Tree};
use super::{HOMES, Make, RuleOrder, Table, host_hash, shadow};
use crate::hash::HashKey;
use crate::pattern::host::HostPattern;
use crate::predicate::ValuePlace;
use crate::rule::{self, Read, Scratch};
use crate::spec::MatchSpec;
use crate::{PlanId, RouteId};

/// A route that cannot be part of a table.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{fault}")]
pub struct BuildError {
    /// The faulty route.
    pub route: RouteId,
    /// The other route of faults that are about two.
    pub other: Option<RouteId>,
    /// What is wrong.
    pub fault: BuildFault,
}

/// What is wrong with a route: which part as it was typed, and why, to follow it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildFault {
    /// The host is neither a name nor `*.name`.
    #[error("host `{0}` {1}")]
    Host(String, String),
    /// Not a path pattern.
    #[error("path `{0}` {1}")]
    Path(String, String),
    /// Not a method.
    #[error("method `{0}` {1}")]
    Method(String, String),
    /// Not a test of a header field, query parameter or cookie.
    #[error("{0} `{1}` {2}")]
    Value(ValuePlace, String, String),
    /// Not a network.
    #[error("source `{0}` {1}")]
    Source(String, String),
    /// The rule as a whole.
    #[error("{0}")]
    Rule(String),
    /// Other rules take every request that this one could.
    #[error("can never match: what it takes is taken before")]
    Unreachable,
    /// More routes than ids.
    #[error("too many routes: at most {} are possible", u32::MAX)]
    TooMany,
    /// More bytes of rules than places of a table.
    #[error(
        "all rules together are too large: at most {} bytes are possible",
        leaf::REGION_BYTES_MAX
    )]
    TooLarge,
    /// Two hosts, or two patterns, have the same 64-bit hash; another seed tells them apart.
    #[error("meets another host in one hash: try again")]
    Collision,
}

/// Collects rules.
#[derive(Debug)]
pub struct Builder {
    make: Make,
    /// For each rule its host, and then its record.
    arena: Vec<u8>,
    rules: Vec<Entry>,
    regexes: Interned,
    uses: BTreeMap<u64, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    host: u64,
    at: usize,
    route: RouteId,
}

/// Hosts whose hashes begin with the same four bits are made together.
const PARTS: usize = 16;
/// Bytes of a cache line, at which a part's blocks begin.
const LINE: usize = 64;

impl Builder {
    /// Without rules. The seed is what outsiders must not know.
    pub fn new(seed: u64, order: RuleOrder) -> Builder {
        Builder {
            make: Make { key: HashKey::new(seed), order },
            arena: Vec::new(),
            rules: Vec::new(),
            regexes: Interned::default(),
            uses: BTreeMap::new(),
        }
    }

    /// Number of rules.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Adds a rule behind all others; ids are counted from 0.
    ///
    /// # Errors
    /// All that is wrong with the rule. It takes up its id all the same.
    pub fn add(
        &mut self,
        spec: &MatchSpec,
        priority: i32,
        plan: PlanId,
    ) -> Result<RouteId, Vec<BuildFault>> {
        let Ok(id) = u32::try_from(self.rules.len()) else {
            return Err(vec![BuildFault::TooMany]);
        };
        let route = RouteId(id);
        let mut scratch = Scratch::default();
        let known = (&mut self.regexes, &self.make.key);
        let read = rule::read(spec, priority, &mut scratch, known);
        let nowhere = Entry { host: 0, at: usize::MAX, route };
        self.rules.push(nowhere);
        let Read { host, rule } = read?;
        let at = self.arena.len();
        write_host(&host, &mut self.arena);
        let record = self.arena.len();
        rule.write((route, plan), id, &mut self.arena);
        for hash in Record::at(&self.arena[record..]).iter().flat_map(Record::regexes) {
            *self.uses.entry(hash).or_default() += 1;
        }
        let host = host_hash(&host, &self.make.key);
        if let Some(entry) = self.rules.last_mut() {
            *entry = Entry { host, at, route };
        }
        Ok(route)
    }

    /// Takes up an id without a rule.
    pub fn skip(&mut self) {
        // One more than all ids is refused where the next rule is added.
        self.rules.push(Entry { host: 0, at: usize::MAX, route: RouteId(self.rules.len() as u32) });
    }

    /// Adds the rules of another builder of the same seed and order behind its own; `plan` gives
    /// the plan for what was one there.
    ///
    /// # Errors
    /// More rules than ids.
    pub fn append(
        &mut self,
        other: Builder,
        plan: impl Fn(PlanId) -> PlanId,
    ) -> Result<(), BuildFault> {
        let first = self.rules.len();
        u32::try_from(first + other.rules.len()).map_err(|_| BuildFault::TooMany)?;
        let shift = self.arena.len();
        self.arena.extend(&other.arena);
        for entry in other.rules {
            let route = RouteId(first as u32 + entry.route.0);
            let mut moved = Entry { route, ..entry };
            if entry.at != usize::MAX {
                moved.at += shift;
                let (_, record) = split_host(&mut self.arena[moved.at..]);
                let own = Record::at(record).map(|record| record.plan());
                Record::renumber(record, route, plan(own.unwrap_or(PlanId(0))));
            }
            self.rules.push(moved);
        }
        for (hash, uses) in other.uses {
            *self.uses.entry(hash).or_default() += uses;
        }
        self.regexes.absorb(other.regexes);
        Ok(())
    }

    /// Makes the table, on so many threads at most.
    ///
    /// # Errors
    /// Rules that can never match, in the order of their ids.
    pub fn finish(mut self, threads: usize) -> Result<Table, Vec<BuildError>> {
        let next_order = self.rules.len() as u32;
        self.rules.retain(|entry| entry.at != usize::MAX);
        let homes = homes(&self.rules);
        self.rules.sort_unstable_by_key(|entry| (entry.host, entry.route));
        let mut drafts = self.draft_parts(threads);
        let mut errors: Vec<BuildError> =
            drafts.iter_mut().flat_map(|part| std::mem::take(&mut part.errors)).collect();
        if !errors.is_empty() {
            errors.sort_by_key(|error| error.route);
            return Err(errors);
        }
        let mut table = Table::empty(self.make.key.seed(), self.make.order);
        for part in &drafts {
            part.suffixes.iter().for_each(|host| table.suffixes.count(host, 1));
            table.wide_level = table.wide_level.max(part.wide_level);
        }
        table.hosts = settle(drafts, threads)?;
        table.regexes = self.regexes.settle(&self.uses);
        table.homes = homes;
        table.len = self.rules.len();
        table.next_order = next_order;
        Ok(table)
    }

    fn draft_parts(&self, threads: usize) -> Vec<Part> {
        let from = |part: usize| {
            let is_before = |entry: &Entry| (entry.host >> 60) < part as u64;
            self.rules.partition_point(is_before)
        };
        let parts = (0..PARTS).map(|part| &self.rules[from(part)..from(part + 1)]);
        each_of(parts.collect(), threads, |entries| self.draft_part(entries))
    }

    /// Writes the rules of hosts, whose entries are in the order of their hashes.
    fn draft_part(&self, entries: &[Entry]) -> Part {
        let mut part = Part { wide_level: i64::MIN, ..Part::default() };
        for group in entries.chunk_by(|a, b| a.host == b.host) {
            let (first, _) = split_host_ref(&self.arena[group[0].at..]);
            let mut records = Vec::with_capacity(group.len());
            for entry in group {
                let (host, record) = split_host_ref(&self.arena[entry.at..]);
                if host != first {
                    let fault = BuildFault::Collision;
                    part.errors.push(BuildError { route: entry.route, other: None, fault });
                }
                records.push(&record[..Record::len(record)]);
            }
            let host = read_host(first);
            part.errors.extend(shadow::unreachable(&records, &self.make));
            let (hash, out) = (group[0].host, &mut part.bytes);
            part.hosts.push(tree::Draft::new(hash, &host, &records, &self.make, out));
            if !matches!(host, HostPattern::Exact(_)) {
                let levels = records.iter().filter_map(|record| Record::at(record));
                let levels = levels.map(|record| record.level(self.make.order));
                part.wide_level = part.wide_level.max(levels.max().unwrap_or(i64::MIN));
                part.suffixes.push(host);
            }
        }
        part
    }
}

/// What one job made.
#[derive(Default)]
struct Part {
    bytes: Vec<u8>,
    hosts: Vec<tree::Draft>,
    /// Hosts that are not exact.
    suffixes: Vec<HostPattern>,
    wide_level: i64,
    errors: Vec<BuildError>,
}

/// All parts side by side in one region, and the tree of them.
fn settle(parts: Vec<Part>, threads: usize) -> Result<Tree, Vec<BuildError>> {
    let mut starts = Vec::with_capacity(parts.len());
    let mut len = 0_usize;
    for part in &parts {
        starts.push(len);
        len = (len + part.bytes.len()).next_multiple_of(LINE);
    }
    if len > leaf::REGION_BYTES_MAX {
        let route = RouteId(0);
        return Err(vec![BuildError { route, other: None, fault: BuildFault::TooLarge }]);
    }
    let mut home = Region::zeroed(len);
    for (part, start) in parts.iter().zip(&starts) {
        home[*start..][..part.bytes.len()].copy_from_slice(&part.bytes);
    }
    let home = Arc::new(home);
    let drafts = parts.into_iter().zip(starts).map(|(part, start)| (part.hosts, start));
    let entries = each_of(drafts.collect(), threads, |(hosts, start)| {
        let base = Base { home: Arc::clone(&home), start };
        hosts.into_iter().map(|draft| draft.settle(&base)).collect::<Vec<_>>()
    });
    Ok(Tree::of(entries.into_iter().flatten().collect(), &home))
}

/// Does a job for each item, on so many threads at most; the results in the order of the items.
fn each_of<I: Send, R: Send>(items: Vec<I>, threads: usize, job: impl Fn(I) -> R + Sync) -> Vec<R> {
    let threads = threads.clamp(1, items.len().max(1));
    let mut piles: Vec<Vec<(usize, I)>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, item) in items.into_iter().enumerate() {
        piles[index % threads].push((index, item));
    }
    let run = |pile: Vec<(usize, I)>| -> Vec<(usize, R)> {
        pile.into_iter().map(|(index, item)| (index, job(item))).collect()
    };
    let mut done = std::thread::scope(|scope| {
        let mine = piles.pop().unwrap_or_default();
        let jobs: Vec<_> = piles.into_iter().map(|pile| scope.spawn(|| run(pile))).collect();
        let mut done = run(mine);
        for job in jobs {
            // INVARIANT: a panic of a builder's thread is a panic of the builder.
            done.extend(job.join().expect("a builder's thread"));
        }
        done
    });
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The hash of each rule's host, by 32 ids in a row.
fn homes(rules: &[Entry]) -> Index<Arc<[u64; HOMES]>> {
    let mut pages: Vec<(u64, Arc<[u64; HOMES]>)> = Vec::new();
    let page = |entry: &Entry| entry.route.0 / HOMES as u32;
    for group in rules.chunk_by(|a, b| page(a) == page(b)) {
        let mut hashes = [0; HOMES];
        for entry in group {
            hashes[entry.route.0 as usize % HOMES] = entry.host;
        }
        pages.push((scattered(RouteId(page(&group[0]))), Arc::new(hashes)));
    }
    pages.sort_unstable_by_key(|(hash, _)| *hash);
    Index::from_sorted(pages)
}

fn write_host(host: &HostPattern, out: &mut Vec<u8>) {
    let text = host.text();
    let kind = match host {
        HostPattern::Any => 0,
        HostPattern::Exact(_) => 1,
        HostPattern::Suffix(_) => 2,
    };
    out.extend([kind, text.len() as u8]);
    out.extend(text);
}

/// Host and record of an entry.
fn split_host(bytes: &mut [u8]) -> (&mut [u8], &mut [u8]) {
    let len = 2 + usize::from(bytes[1]);
    bytes.split_at_mut(len)
}

fn split_host_ref(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(2 + usize::from(bytes[1]))
}

fn read_host(bytes: &[u8]) -> HostPattern {
    let text = bytes[2..].to_vec();
    match bytes[0] {
        0 => HostPattern::Any,
        1 => HostPattern::Exact(text),
        _ => HostPattern::Suffix(text),
    }
}
