//! Rules that can never match, because others take all their requests before.
//!
//! Looked for among the rules of one host: a rule is out of reach when rules of higher rank whose
//! path takes at least its paths, and that ask for nothing that it does not ask for, together take
//! all its methods. In a host with many rules a rule is compared with those of the same pattern, of
//! these, where they are many, with those that want the same value; and with those of the patterns
//! that take all its paths, which are looked up as a request for it would be. So the time stays
//! linear in the rules, times the shapes of patterns where priorities differ.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::block;
use super::build::{BuildError, BuildFault};
use super::keyed;
use super::large::{self, Tuple};
use super::node;
use super::probe::Sums;
use super::record::{Record, Rule};
use super::{Make, RuleOrder};
use crate::RouteId;
use crate::pattern::path::Class;
use crate::predicate::Predicate;
use crate::predicate::method::MethodSet;

/// Faults of the records of one host.
pub(crate) fn unreachable(records: &[&[u8]], make: &Make) -> Vec<BuildError> {
    let ranked = node::ranked(records, make);
    if ranked.len() <= block::RULES_MAX {
        return among(&ranked);
    }
    let hash = |(index, record): (usize, &&[u8])| {
        Some((large::pattern_hash(Record::at(record)?.path(), &make.key), index))
    };
    let mut hashed: Vec<(u64, usize)> = ranked.iter().enumerate().filter_map(hash).collect();
    hashed.sort_unstable();
    let groups = hashed.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
    let mut errors: Vec<BuildError> = groups
        .flat_map(|group| {
            let same: Vec<&[u8]> = group.iter().map(|(_, index)| ranked[*index]).collect();
            if same.len() <= block::RULES_MAX { among(&same) } else { by_value(&same, make) }
        })
        .collect();
    let known: BTreeSet<RouteId> = errors.iter().map(|error| error.route).collect();
    let across = Across::default().run(&ranked, make);
    errors.extend(across.into_iter().filter(|error| !known.contains(&error.route)));
    errors
}

/// Rules of a large host that take all paths of others, as they come by rank.
#[derive(Default)]
struct Across<'a> {
    /// By the hash of their pattern.
    wide: BTreeMap<u64, Vec<Record<'a>>>,
    /// Their shapes, and the level of the first rule of each.
    shapes: Vec<(Tuple, i64)>,
}

impl<'a> Across<'a> {
    /// Within a level a pattern that takes all paths of another one ranks behind it, unless that is
    /// a regular expression: so only those of a higher level can be in the way of others.
    fn run(mut self, ranked: &[&'a [u8]], make: &Make) -> Vec<BuildError> {
        let read = || ranked.iter().filter_map(|record| Record::at(record));
        let lowest = read().map(|record| record.level(make.order)).min();
        let has_regexes = read().any(|record| record.path().class == Class::Regex);
        let mut errors = Vec::new();
        for record in read() {
            errors.extend(self.fault_of(record, make));
            let is_above = Some(record.level(make.order)) > lowest;
            let is_wide = match record.path().class {
                Class::Prefix => is_above || has_regexes,
                Class::Segments => is_above,
                Class::Exact | Class::Regex | Class::Any => false,
            };
            if is_wide {
                self.put(record, make);
            }
        }
        errors
    }

    fn put(&mut self, record: Record<'a>, make: &Make) {
        let (path, level) = (record.path(), record.level(make.order));
        if !self.shapes.iter().any(|(tuple, _)| tuple.shape() == path.shape()) {
            self.shapes.push((Tuple::new(path.shape(), &make.key), level));
        }
        let same = self.wide.entry(large::pattern_hash(path, &make.key)).or_default();
        if same.len() < block::RULES_MAX {
            same.push(record);
        }
    }

    fn fault_of(&self, record: Record<'a>, make: &Make) -> Option<BuildError> {
        let (path, level) = (record.path(), record.level(make.order));
        let is_before = |first: i64| first > level || path.class == Class::Regex;
        let tuples = self.shapes.iter().filter(|(_, first)| is_before(*first));
        let mut sums = None;
        let mut earlier: Vec<Record<'a>> = Vec::new();
        for (tuple, _) in tuples {
            let sums = sums.get_or_insert_with(|| Sums::over(path.segments(), &make.key));
            let same = self.wide.get(&tuple.hash(sums));
            earlier.extend(same.into_iter().flatten());
        }
        let other = taker(&earlier, record)?;
        Some(BuildError {
            route: record.route(),
            other: Some(other),
            fault: BuildFault::Unreachable,
        })
    }
}

/// Faults of many records with the same path, in the order of their ranks: only those that want the
/// same value, or none, are compared, and of these no more than a block holds.
fn by_value(ranked: &[&[u8]], make: &Make) -> Vec<BuildError> {
    let by = keyed::most_asked(ranked);
    let value = |record: &&[u8]| keyed::value_hash(Record::at(record)?, &by, &make.key);
    let mut hashed: Vec<(Option<u64>, usize)> =
        ranked.iter().enumerate().map(|(index, record)| (value(record), index)).collect();
    hashed.sort_unstable();
    let groups = hashed.chunk_by(|a, b| a.0 == b.0);
    groups
        .flat_map(|group| {
            let same = group.iter().take(block::RULES_MAX);
            among(&same.map(|(_, index)| ranked[*index]).collect::<Vec<_>>())
        })
        .collect()
}

/// Faults that a changed rule has or makes among those around it. Of very many only its own.
pub(crate) fn around(route: RouteId, near: &[Record<'_>], order: RuleOrder) -> Vec<BuildError> {
    let mut ranked = near.to_vec();
    ranked.sort_by_cached_key(|record| Reverse(record.rank(order)));
    let Some(at) = ranked.iter().position(|record| record.route() == route) else {
        return Vec::new();
    };
    let last = if ranked.len() <= block::RULES_MAX { ranked.len() } else { at + 1 };
    let others = (at..last).filter_map(|index| fault_of(&ranked, index));
    others.filter(|error| error.route == route || error.other == Some(route)).collect()
}

/// Faults of records in the order of their ranks.
fn among(ranked: &[&[u8]]) -> Vec<BuildError> {
    let records: Vec<Record<'_>> = ranked.iter().filter_map(|record| Record::at(record)).collect();
    (0..records.len()).filter_map(|index| fault_of(&records, index)).collect()
}

/// The fault of one among records in the order of their ranks.
fn fault_of(ranked: &[Record<'_>], index: usize) -> Option<BuildError> {
    let route = ranked[index].route();
    let other = taker(&ranked[..index], ranked[index])?;
    Some(BuildError { route, other: Some(other), fault: BuildFault::Unreachable })
}

/// The first rule that takes a part of the record's requests, when the earlier ones take them all.
fn taker(earlier: &[Record<'_>], record: Record<'_>) -> Option<RouteId> {
    let mut rule: Option<Rule<'_>> = None;
    let mut taken = MethodSet::default();
    let mut first = None;
    for rival in earlier {
        if !rival.path().covers(record.path()) {
            continue;
        }
        let rule = rule.get_or_insert_with(|| record.rule());
        let asks_more = |predicate: &Predicate<'_>| !rule.predicates.contains(predicate);
        let methods = rival.methods();
        if rival.predicates().any(|predicate| asks_more(&predicate))
            || !methods.overlaps(&rule.methods)
        {
            continue;
        }
        first = first.or(Some(rival.route()));
        if methods.is_any() {
            return first;
        }
        taken.add(&methods);
        if taken.covers(&rule.methods) {
            return first;
        }
    }
    None
}
