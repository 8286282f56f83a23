//! Any bytes as rules and a request: the table answers as a search of all rules does.

use super::block::Ask;
use super::record::{Rank, Record};
use super::{BuildFault, Builder, RuleOrder, Table};
use crate::pattern::host::HostPattern;
use crate::query::{Field, Query};
use crate::{MatchSpec, PlanId, RouteId, ValueSpec};

/// The first line is a request: method, host, target, and the value of a field `h`. Each other line
/// is a rule: host, path, method, priority, and a value for `h`; `-` stands for nothing. What makes
/// no table is left out, one rule after the other.
pub fn fuzz_table(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n');
    let mut words = lines.next().unwrap_or_default().split(' ');
    let mut next = || words.next().unwrap_or_default().as_bytes();
    let (method, host, target, value) = (next(), next(), next(), next());
    let end = target.iter().position(|byte| *byte == b'?').unwrap_or(target.len());
    let (path, query) = (&target[..end], target.get(end + 1..).unwrap_or_default());
    let field = |name: &[u8]| match name {
        b"h" if !value.is_empty() => Field::One(value),
        _ => Field::Absent,
    };
    let query = Query { method, host, path, query, peer: None, field: &field };
    let rules: Vec<(MatchSpec, i32)> = lines.take(200).map(rule).collect();
    for order in [RuleOrder::Specific, RuleOrder::FirstMatch] {
        let built = built(&rules, order);
        assert_eq!(built.find(&query).map(|found| found.route), searched(&built, &query));
        let changed = changed(&rules, order);
        assert_eq!(changed.find(&query).map(|found| found.route), searched(&changed, &query));
        let explained = changed.explain(&query);
        assert_eq!(explained.winner, changed.find(&query));
    }
}

fn rule(line: &str) -> (MatchSpec, i32) {
    let mut words = line.split(' ').map(|word| Some(word).filter(|word| !["", "-"].contains(word)));
    let mut next = || words.next().flatten().map(str::to_owned);
    let mut spec = MatchSpec { host: next(), path: next(), ..MatchSpec::default() };
    spec.methods = next().into_iter().collect();
    let priority = next().and_then(|word| word.parse().ok()).unwrap_or(0);
    if let Some(value) = next() {
        spec.headers.insert("h".to_owned(), ValueSpec::Exact(value));
    }
    (spec, priority)
}

fn built(rules: &[(MatchSpec, i32)], order: RuleOrder) -> Table {
    let mut left: Vec<&(MatchSpec, i32)> = rules.iter().collect();
    loop {
        let mut builder = Builder::new(1, order);
        left.retain(|(spec, priority)| {
            let mut alone = Builder::new(1, order);
            alone.add(spec, *priority, PlanId(0)).is_ok()
        });
        for (spec, priority) in &left {
            assert!(builder.add(spec, *priority, PlanId(0)).is_ok(), "as before");
        }
        let errors = match builder.finish(1) {
            Ok(table) => return table,
            Err(errors) => errors,
        };
        assert!(errors.iter().all(|error| error.fault == BuildFault::Unreachable));
        let faulty = |at: u32| errors.iter().any(|error| error.route == RouteId(at));
        let mut ids = 0..;
        left.retain(|_| !ids.next().is_some_and(faulty));
    }
}

/// Each rule comes by itself; every third one goes again.
fn changed(rules: &[(MatchSpec, i32)], order: RuleOrder) -> Table {
    let mut table = Table::empty(1, order);
    for ((spec, priority), id) in rules.iter().zip(0..) {
        if let Ok(next) = table.with(RouteId(id), spec, *priority, PlanId(0)) {
            table = next;
        }
        if id % 3 == 2 {
            table = table.without(RouteId(id / 3));
        }
    }
    table
}

/// The winner among all rules, looked at one by one.
fn searched(table: &Table, query: &Query<'_>) -> Option<RouteId> {
    let ask = table.ask(query);
    let mut best: Option<((i64, u8, usize), Rank, RouteId)> = None;
    for (_, place) in table.hosts.iter() {
        let Some((width, len)) = width(&place.host(), query.host) else { continue };
        place.each(&mut |record| {
            if takes(record, &ask) {
                let rank = record.rank(ask.order);
                let found = ((rank.level, width, len), rank, record.route());
                if best.is_none_or(|best| (found.0, found.1) > (best.0, best.1)) {
                    best = Some(found);
                }
            }
        });
    }
    best.map(|(_, _, route)| route)
}

fn takes(record: Record<'_>, ask: &Ask<'_, '_>) -> bool {
    record.check(ask.query, ask.method, ask.regexes).is_ok()
}

/// How specific a host pattern is that takes a host; the greater the more.
fn width(pattern: &HostPattern, host: &[u8]) -> Option<(u8, usize)> {
    match pattern {
        HostPattern::Exact(text) => (text == host).then_some((2, 0)),
        HostPattern::Suffix(text) => {
            let takes = host.ends_with(text) && host.len() > text.len();
            takes.then_some((1, text.len()))
        }
        HostPattern::Any => Some((0, 0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_rules_and_a_request() {
        fuzz_table(
            b"GET a.b /x/7?q 1\na.b /x/{id} GET\n*.b /x/* - 3 1\n- ~^/x/[0-9]$\n- -\na.b /x",
        );
        fuzz_table(b"");
    }
}
