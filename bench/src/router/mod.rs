//! `ringway-bench router`: what the routing table costs: to build, to keep, to ask, to change.
//!
//! Everything is measured on one thread in CPU time of that thread, the best of several batches,
//! since a neighbour only makes a batch slower. Single calls are timed by the clock, whose own cost
//! is taken off. `sets` makes the rules, `ask` the requests.

mod ask;
mod gateways;
mod peers;
mod sets;
mod stall;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use clap::ArgMatches;
use router::{RouteId, RuleOrder, Table};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

use crate::args::{number_of, text_of, wants_json};
use ask::Asks;
use sets::Set;

/// Requests in a batch of the random ones.
const ASKS: usize = 200_000;
/// Rules that the hot requests are for.
const HOT_RULES: usize = 1_000;
const BATCHES: usize = 5;
/// Single calls that are timed.
const SINGLE_CALLS: usize = 200_000;
const UPDATES: usize = 2_000;
const SEED: u64 = 0x5eed;

/// What was measured: a name, a number, a unit.
type Figures = Vec<(&'static str, f64)>;

/// Prints the figures of each set.
pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode> {
    let rules = number_of(matches, "rules") as usize;
    let threads = number_of(matches, "threads") as usize;
    let set = Set::new(text_of(matches, "set"), rules)?;
    let (table, mut figures) = build(&set, threads)?;
    figures.extend(ask_table(&table, &set));
    figures.extend(change(&table, &set)?);
    figures.extend(stall::measure(&table, &set)?);
    if matches.get_flag("peers") {
        figures.extend(peers::matchit(&set));
        figures.extend(gateways::measure(&set)?);
    }
    print(&figures, wants_json(matches));
    Ok(ExitCode::SUCCESS)
}

fn print(figures: &Figures, as_json: bool) {
    if as_json {
        let object: Map<String, Value> =
            figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        println!("{}", Value::Object(object));
        return;
    }
    for (name, value) in figures {
        println!("{name:24} {value:12.3}");
    }
}

/// The table, from rules in memory.
fn build(set: &Set, threads: usize) -> Result<(Table, Figures)> {
    let mut best: Option<(Table, f64)> = None;
    for _ in 0..3 {
        drop(
            best.as_mut()
                .map(|(table, _)| std::mem::replace(table, Table::empty(0, RuleOrder::Specific))),
        );
        let start = Instant::now();
        let table = set.build(SEED, threads)?;
        let seconds = start.elapsed().as_secs_f64();
        let seconds = best.as_ref().map_or(seconds, |(_, best)| best.min(seconds));
        best = Some((table, seconds));
    }
    let (table, seconds) = best.context("a table")?;
    let bytes = table.bytes() as f64 / table.len().max(1) as f64;
    let rules = table.len() as f64;
    Ok((table, vec![("rules", rules), ("build_seconds", seconds), ("bytes_per_rule", bytes)]))
}

fn ask_table(table: &Table, set: &Set) -> Figures {
    let find = |asks: &Asks, index: usize| {
        asks.with(index, |query| table.find(query).map(|found| found.route))
    };
    let hot = Asks::hits(set, HOT_RULES, ASKS);
    let cold = Asks::hits(set, set.len(), ASKS);
    let miss = Asks::misses(set, ASKS);
    let unknown = Asks::unknown_hosts(ASKS);
    let mut figures = vec![
        ("hot_ns", best_ns(&hot, find)),
        ("cold_mean_ns", best_ns(&cold, find)),
        ("miss_ns", best_ns(&miss, find)),
        ("unknown_host_ns", best_ns(&unknown, find)),
    ];
    lanes::tags::set_portable_only(true);
    figures.push(("hot_portable_ns", best_ns(&hot, find)));
    figures.push(("cold_mean_portable_ns", best_ns(&cold, find)));
    lanes::tags::set_portable_only(false);
    let mut single = single_ns(&cold, find);
    single.sort_unstable();
    let at = |share: f64| single[((single.len() - 1) as f64 * share) as usize] as f64;
    figures.push(("cold_p50_ns", at(0.5)));
    figures.push(("cold_p99_ns", at(0.99)));
    figures.push(("cold_p999_ns", at(0.999)));
    let is_right = |index: usize| find(&cold, index) == Some(RouteId(cold.expected(index)));
    let wrong = (0..cold.len()).filter(|index| !is_right(*index)).count();
    figures.push(("wrong", wrong as f64));
    figures
}

/// CPU nanoseconds a call, the best of several batches.
fn best_ns<R>(asks: &Asks, find: impl Fn(&Asks, usize) -> R) -> f64 {
    let batch = |_| {
        let start = thread_ns();
        for index in 0..asks.len() {
            std::hint::black_box(find(asks, index));
        }
        (thread_ns() - start) as f64 / asks.len() as f64
    };
    (0..=BATCHES).map(batch).fold(f64::INFINITY, f64::min)
}

/// Nanoseconds of single calls, less what the clock takes.
fn single_ns<R>(asks: &Asks, find: impl Fn(&Asks, usize) -> R) -> Vec<u64> {
    let clock = (0..1_000).map(|_| {
        let start = Instant::now();
        start.elapsed().as_nanos() as u64
    });
    let clock = clock.min().unwrap_or(0);
    let call = |index: usize| {
        let start = Instant::now();
        std::hint::black_box(find(asks, index % asks.len()));
        (start.elapsed().as_nanos() as u64).saturating_sub(clock)
    };
    (0..SINGLE_CALLS).map(call).collect()
}

/// Single rules replaced, one after the other; each version replaces the one before.
fn change(table: &Table, set: &Set) -> Result<Figures> {
    let mut table = table.clone();
    let mut spent: Vec<u64> = Vec::new();
    for update in 0..UPDATES {
        let index = (update * 7_919) % set.len();
        let (spec, priority) = set.spec(index);
        let start = thread_ns();
        let next = table.with(RouteId(index as u32), &spec, priority, router::PlanId(9));
        let next = next.map_err(|errors| anyhow!("{errors:?}"))?;
        table = next;
        spent.push(thread_ns() - start);
    }
    spent.sort_unstable();
    let us = |share: f64| spent[((spent.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
    let mean = spent.iter().sum::<u64>() as f64 / spent.len() as f64 / 1_000.0;
    Ok(vec![("update_us", mean), ("update_p50_us", us(0.5)), ("update_p99_us", us(0.99))])
}

/// CPU time of this thread.
fn thread_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
