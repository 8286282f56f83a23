//! Rules that can never match, because others take all their requests before.
//!
//! Looked for among the rules of one host: a rule is out of reach when rules of higher rank whose
//! path takes at least its paths, and that ask for nothing that it does not ask for, together take
//! all its methods. In a host with many rules only those with the same pattern are compared, and of
//! these, where they are many, those that want the same value: so the time stays linear.

use std::cmp::Reverse;

use super::block;
use super::build::{BuildError, BuildFault};
use super::keyed;
use super::node;
use super::record::{Record, Rule};
use super::{Make, RuleOrder};
use crate::RouteId;
use crate::pattern::path::PathPattern;
use crate::predicate::Predicate;
use crate::predicate::method::MethodSet;

/// Faults of the records of one host.
pub(crate) fn unreachable(records: &[&[u8]], make: &Make) -> Vec<BuildError> {
    let ranked = node::ranked(records, make);
    if ranked.len() <= block::RULES_MAX {
        return among(&ranked);
    }
    let mut by_path: Vec<(PathPattern<'_>, usize)> =
        ranked.iter().enumerate().filter_map(path).collect();
    by_path.sort();
    let groups = by_path.chunk_by(|a, b| a.0 == b.0).filter(|group| group.len() > 1);
    groups
        .flat_map(|group| {
            let same: Vec<&[u8]> = group.iter().map(|(_, index)| ranked[*index]).collect();
            if same.len() <= block::RULES_MAX { among(&same) } else { by_value(&same, make) }
        })
        .collect()
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

fn path<'a>((index, record): (usize, &&'a [u8])) -> Option<(PathPattern<'a>, usize)> {
    Some((Record::at(record)?.path(), index))
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
