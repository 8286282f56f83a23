//! What tests of the table and of its two trees of rules share.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::place::Place;
use super::record::Rule;
use super::{Make, RuleOrder};
use crate::hash::HashKey;
use crate::pattern::path::PathPattern;
use crate::predicate::method::MethodSet;
use crate::{PlanId, RouteId};

/// A share of the cases: sampled by default, as many as `RINGWAY_CASES` says otherwise, and never
/// less than shows that a property is there. (`PROPTEST_CASES` is for each property alike, whatever
/// its configuration says.)
pub(super) fn config(share: u32) -> ProptestConfig {
    let asked = std::env::var("RINGWAY_CASES").ok().and_then(|text| text.parse().ok());
    let cases = asked.unwrap_or(ProptestConfig::default().cases) / share;
    ProptestConfig { max_shrink_iters: 4_000, ..ProptestConfig::with_cases(cases.max(CASES_MIN)) }
}

const CASES_MIN: u32 = 32;

pub(super) fn make() -> Make {
    Make { key: HashKey::new(5), order: RuleOrder::Specific }
}

/// A rule that takes `/a`.
pub(super) fn record(route: u32) -> Vec<u8> {
    let path = PathPattern::read(Some("/a")).unwrap();
    let methods = MethodSet { known: 0, other: Vec::new() };
    let rule = Rule { path, regex: 0, methods, predicates: Vec::new(), priority: 0 };
    let mut out = Vec::new();
    rule.write((RouteId(route), PlanId(0)), route, &mut out);
    out
}

pub(super) fn routes(place: Option<Place<'_>>) -> BTreeSet<u32> {
    let mut routes = BTreeSet::new();
    if let Some(place) = place {
        place.each(&mut |record| assert!(routes.insert(record.route().0)));
    }
    routes
}

/// Hashes that share their first bits, their first half, or nothing.
pub(super) fn hashes() -> impl Strategy<Value = u64> {
    (0_u64..600, prop::sample::select(vec![0, 22, 32, 45, 54])).prop_map(|(n, by)| n << by)
}
