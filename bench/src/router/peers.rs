//! The same rules in matchit, one of its routers a host, as far as it knows such rules: no
//! predicates, no regular expressions.

use std::collections::HashMap;
use std::time::Instant;

use super::ask::Asks;
use super::sets::Set;
use super::{ASKS, Figures, HOT_RULES, best_ns};

/// Figures under the same names with `matchit_` before them.
pub(super) fn matchit(set: &Set) -> Figures {
    let start = Instant::now();
    let mut hosts: HashMap<String, matchit::Router<u32>> = HashMap::new();
    let mut left_out = 0_u32;
    for index in 0..set.len() {
        let (spec, _) = set.spec(index);
        let (host, path) = (spec.host.unwrap_or_default(), spec.path.unwrap_or_default());
        let path = path.replace("/*", "/{*rest}");
        let is_in = !path.starts_with('~')
            && hosts.entry(host).or_default().insert(path, index as u32).is_ok();
        left_out += u32::from(!is_in);
    }
    let build_seconds = start.elapsed().as_secs_f64();
    let find = |asks: &Asks, index: usize| {
        let (host, path) = asks.target(index);
        hosts.get(host).and_then(|router| router.at(path).ok().map(|found| *found.value))
    };
    vec![
        ("matchit_build_seconds", build_seconds),
        ("matchit_left_out", f64::from(left_out)),
        ("matchit_hot_ns", best_ns(&Asks::hits(set, HOT_RULES, ASKS), find)),
        ("matchit_cold_mean_ns", best_ns(&Asks::hits(set, set.len(), ASKS), find)),
        ("matchit_miss_ns", best_ns(&Asks::misses(set, ASKS), find)),
        ("matchit_unknown_host_ns", best_ns(&Asks::unknown_hosts(ASKS), find)),
    ]
}
