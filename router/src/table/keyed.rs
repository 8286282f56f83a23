//! A path with many rules, which differ in what they ask beyond it: an index on the value that most
//! of them ask for.
//!
//! Rules that want an exact value of one header field, query parameter or cookie are found by that
//! value; the others are looked at one after the other, in the order of their ranks.
//!
//! Cost: one look at the request's value and one into the index, whatever the number of rules that
//! name a value; one check for each of the others that comes before the winner.

use std::collections::BTreeMap;

use super::Make;
use super::block::{self, Ask, Base, Block, Found, Span};
use super::index::{Index, scattered};
use super::node::{self, Node};
use super::record::Record;
use crate::RouteId;
use crate::hash::HashKey;
use crate::predicate::ValuePlace;
use crate::query::Field;

/// The rules of a path, by a value.
#[derive(Clone, Debug)]
pub(crate) struct Keyed {
    by: Name,
    values: Index<Node>,
    /// In the order of their ranks, over all blocks.
    others: Vec<Block>,
    /// The hash of the value that a rule is found by, by the rule's id.
    homes: Index<u64>,
    level_max: i64,
}

/// What is looked up in a request.
pub(crate) type Name = (ValuePlace, Box<[u8]>);

/// A path whose blocks are still being written.
#[derive(Debug)]
pub(crate) struct Draft {
    by: Name,
    values: Vec<(u64, node::Draft)>,
    others: Vec<Span>,
    homes: Vec<(u64, u64)>,
    level_max: i64,
}

impl Draft {
    pub(crate) fn settle(self, base: &Base) -> Keyed {
        let values = self.values.into_iter();
        Keyed {
            by: self.by,
            values: Index::from_sorted(values.map(|(hash, at)| (hash, at.settle(base))).collect()),
            others: self.others.into_iter().map(|span| span.settle(base)).collect(),
            homes: Index::from_sorted(self.homes),
            level_max: self.level_max,
        }
    }
}

impl Keyed {
    pub(crate) fn level_max(&self) -> i64 {
        self.level_max
    }

    pub(crate) fn find(&self, ask: &Ask<'_, '_>) -> Option<Found<'_>> {
        let by_value = self.by_value(ask).and_then(|node| node.place().find(ask));
        let other = self.others.iter().find_map(|block| block.view().find(ask));
        match (by_value, other) {
            (Some(a), Some(b)) => Some(if a.rank(ask.order) > b.rank(ask.order) { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    /// The rules that want the request's value.
    fn by_value(&self, ask: &Ask<'_, '_>) -> Option<&Node> {
        match self.by.0.value(&self.by.1, ask.query) {
            Field::One(value) => self.values.get(ask.key.bytes(value)),
            Field::Absent | Field::Several => None,
        }
    }

    /// The rules that want the request's value, and those that want none.
    pub(crate) fn look(&self, ask: &Ask<'_, '_>) -> Vec<Record<'_>> {
        let mut records = Vec::new();
        if let Some(node) = self.by_value(ask) {
            node.place().each(&mut |record| records.push(record));
        }
        records.extend(self.others.iter().flat_map(|block| block.view().records()));
        records
    }

    /// With one more rule, which takes the place of the one of its id.
    pub(crate) fn with(&self, record: &[u8], make: &Make) -> Keyed {
        let Some(rule) = Record::at(record) else {
            return self.clone();
        };
        let mut next = self.cut(rule.route(), make);
        next.level_max = next.level_max.max(rule.level(make.order));
        match value_hash(rule, &self.by, &make.key) {
            Some(hash) => {
                let node = match next.values.get(hash) {
                    Some(node) => node.place().with(record, make),
                    None => Node::of_path(&[record], make),
                };
                next.values = next.values.with(hash, node);
                next.homes = next.homes.with(scattered(rule.route()), hash);
            }
            None => next.others = next.other_blocks(|all| all.push(record.to_vec()), make),
        }
        next
    }

    pub(crate) fn without(&self, route: RouteId, make: &Make) -> Option<Keyed> {
        let next = self.cut(route, make);
        (next.values.len() + next.others.len() > 0).then_some(next)
    }

    /// Without a rule, even if none is left.
    fn cut(&self, route: RouteId, make: &Make) -> Keyed {
        let mut next = self.clone();
        match self.homes.get(scattered(route)).copied() {
            Some(hash) => {
                next.homes = self.homes.without(scattered(route));
                next.values =
                    match self.values.get(hash).and_then(|n| n.place().without(route, make)) {
                        Some(node) => self.values.with(hash, node),
                        None => self.values.without(hash),
                    };
            }
            None => {
                let is_kept = |record: &Vec<u8>| {
                    Record::at(record).is_some_and(|record| record.route() != route)
                };
                next.others = self.other_blocks(|all| all.retain(is_kept), make);
            }
        }
        next
    }

    /// The blocks of the others, after a change.
    fn other_blocks(&self, change: impl FnOnce(&mut Vec<Vec<u8>>), make: &Make) -> Vec<Block> {
        let records = self.others.iter().flat_map(|block| block.view().records());
        let mut all: Vec<Vec<u8>> = records.map(|record| record.written()).collect();
        change(&mut all);
        let all: Vec<&[u8]> = all.iter().map(Vec::as_slice).collect();
        let mut bytes = Vec::new();
        let spans = write_others(&all, make, &mut bytes);
        let base = Base::own(bytes);
        spans.into_iter().map(|span| span.settle(&base)).collect()
    }

    /// The record of a rule.
    pub(crate) fn record(&self, route: RouteId) -> Option<Record<'_>> {
        match self.homes.get(scattered(route)) {
            Some(hash) => self.values.get(*hash)?.place().record(route),
            None => {
                let mut records = self.others.iter().flat_map(|block| block.view().records());
                records.find(|record| record.route() == route)
            }
        }
    }

    /// The rules that are found by the same value, and those that are found by none.
    pub(crate) fn near(&self, route: RouteId, make: &Make) -> Vec<Record<'_>> {
        let node = self.homes.get(scattered(route)).and_then(|hash| self.values.get(*hash));
        let mut near = node.map_or_else(Vec::new, |node| node.place().near(route, make));
        near.extend(self.others.iter().flat_map(|block| block.view().records()));
        near
    }

    /// Calls `take` with each record, in no order.
    pub(crate) fn each<'a>(&'a self, take: &mut dyn FnMut(Record<'a>)) {
        self.others.iter().for_each(|block| block.view().records().for_each(&mut *take));
        self.values.iter().for_each(|(_, node)| node.place().each(take));
    }

    pub(crate) fn bytes(&self) -> usize {
        let others: usize = self.others.iter().map(|block| block.bytes().len()).sum();
        let values: usize = self.values.iter().map(|(_, node)| node.place().bytes()).sum();
        size_of::<Keyed>() + others + values + self.values.bytes() + self.homes.bytes()
    }
}

/// The hash of the value that a rule is found by.
pub(crate) fn value_hash(rule: Record<'_>, by: &Name, key: &HashKey) -> Option<u64> {
    let exact = rule.predicates().filter_map(|predicate| predicate.exact());
    let mut values = exact.filter(|(place, name, _)| *place == by.0 && **name == *by.1);
    values.next().map(|(_, _, value)| key.bytes(value))
}

/// Writes the blocks of a path with more rules than one block holds.
pub(crate) fn draft(records: &[&[u8]], make: &Make, out: &mut Vec<u8>) -> Draft {
    let by = most_asked(records);
    let level = |record: &&[u8]| Record::at(record).map(|record| record.level(make.order));
    let level_max = records.iter().filter_map(level).max().unwrap_or(i64::MIN);
    let (mut hashed, mut others, mut homes) = (Vec::new(), Vec::new(), Vec::new());
    for bytes in records {
        let Some(rule) = Record::at(bytes) else { continue };
        match value_hash(rule, &by, &make.key) {
            Some(hash) => hashed.push((hash, rule.route(), *bytes)),
            None => others.push(*bytes),
        }
    }
    hashed.sort_by_key(|(hash, ..)| *hash);
    let mut values = Vec::new();
    for group in hashed.chunk_by(|a, b| a.0 == b.0) {
        // What one value's block cannot hold is looked at one after the other.
        let (mine, rest) = group.split_at(group.len().min(block::RULES_MAX));
        others.extend(rest.iter().map(|(_, _, record)| *record));
        homes.extend(mine.iter().map(|(hash, route, _)| (scattered(*route), *hash)));
        let records: Vec<&[u8]> = mine.iter().map(|(_, _, record)| *record).collect();
        values.push((group[0].0, node::path_draft(&records, make, out)));
    }
    homes.sort_unstable();
    let others = write_others(&others, make, out);
    Draft { by, values, others, homes, level_max }
}

/// The name whose exact value the most rules ask for; any name when none does.
pub(crate) fn most_asked(records: &[&[u8]]) -> Name {
    let mut counts: BTreeMap<(ValuePlace, &[u8]), usize> = BTreeMap::new();
    for record in records.iter().filter_map(|record| Record::at(record)) {
        for (place, name, _) in record.predicates().filter_map(|predicate| predicate.exact()) {
            *counts.entry((place, name)).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or((ValuePlace::Header, Box::default()), |((place, name), _)| (place, name.into()))
}

/// Blocks in the order of their records' ranks.
fn write_others(records: &[&[u8]], make: &Make, out: &mut Vec<u8>) -> Vec<Span> {
    let ranked = node::ranked(records, make);
    let blocks = ranked.chunks(block::RULES_MAX);
    blocks.filter_map(|records| block::write_path(records, make, out)).collect()
}
