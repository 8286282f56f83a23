//! Why a request goes where it goes: the winner, and the rules that came close.
//!
//! The winner is what `find` says. The others are read from the same nodes, and held against the
//! request by the same check, only without the tags and filters that leave most of them out.

use std::cmp::Reverse;

use super::block::Ask;
use super::place::Place;
use super::record::{Miss, Rank, Record};
use super::{RuleOrder, Table};
use crate::RouteId;
use crate::pattern::path::{Class, Segments};
use crate::predicate::Predicate;
use crate::predicate::value::Test;
use crate::query::{Field, Match, Query};

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The route that won.
    pub winner: Option<Match>,
    /// Routes that came close, the closest first.
    pub others: Vec<Other>,
}

/// A route that did not win.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Which route.
    pub route: RouteId,
    /// Why, in words: what it asked for, or what the winner has before it.
    pub why: String,
}

/// A rule in words, as it could have been typed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleText {
    /// Host, `*` for any.
    pub host: String,
    /// Path, `*` for any.
    pub path: String,
    /// Methods; empty for any.
    pub methods: Vec<String>,
    /// What else it asks for, one text each.
    pub predicates: Vec<String>,
    /// Its priority.
    pub priority: i32,
}

/// Routes in an explanation that did not win.
const OTHERS_MAX: usize = 8;

/// How close a rule came; the less the closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    Taking(Reverse<Rank>),
    Predicate,
    Method,
    /// Segments that path and pattern begin with.
    Path(Reverse<usize>),
}

impl Table {
    /// Why `query` goes where it goes. Allocates; for people, not for the data path.
    pub fn explain(&self, query: &Query<'_>) -> Explanation {
        let winner = self.find(query);
        let ask = self.ask(query);
        let near = self.near_hosts(&ask).enumerate();
        let near: Vec<(usize, Record<'_>)> = near
            .flat_map(|(width, host)| host.look(&ask).into_iter().map(move |r| (width, r)))
            .collect();
        let is_winner =
            |record: &Record<'_>| Some(record.route()) == winner.map(|found| found.route);
        let best = near.iter().find(|(_, record)| is_winner(record));
        let mut others = Vec::new();
        for (width, record) in near.iter().filter(|(_, record)| !is_winner(record)) {
            let (distance, why) = match record.check(query, ask.method, &self.regexes) {
                Ok(_) => {
                    let reason =
                        best.map_or("", |best| before(*best, (*width, *record), ask.order));
                    let rank = record.rank(ask.order);
                    (Distance::Taking(Reverse(rank)), format!("takes it as well, but {reason}"))
                }
                Err(miss) => self.missed(*record, miss, query),
            };
            others.push((distance, *width, record.order(), Other { route: record.route(), why }));
        }
        others.sort_by_key(|(distance, width, order, _)| (*distance, *width, *order));
        others.truncate(OTHERS_MAX);
        Explanation { winner, others: others.into_iter().map(|(.., other)| other).collect() }
    }

    fn missed(&self, record: Record<'_>, miss: Miss<'_>, query: &Query<'_>) -> (Distance, String) {
        let text = self.text(record);
        match miss {
            Miss::Path => {
                let pairs = Segments::of(query.path).zip(record.path().segments());
                let same = pairs.take_while(|(mine, its)| mine == its || its.starts_with(b"{"));
                (Distance::Path(Reverse(same.count())), format!("its path is {}", text.path))
            }
            Miss::Method => {
                (Distance::Method, format!("it takes only {}", text.methods.join(", ")))
            }
            Miss::Predicate(predicate) => {
                let wanted = self.words(predicate);
                let why = format!("it asks for {wanted}; {}", there(predicate, query));
                (Distance::Predicate, why)
            }
        }
    }

    /// A rule in words.
    pub fn describe(&self, route: RouteId) -> Option<RuleText> {
        self.record(route).map(|record| self.text(record))
    }

    /// The routes of the table, in no order.
    pub fn routes(&self) -> impl Iterator<Item = RouteId> {
        let mut routes = Vec::with_capacity(self.len());
        for (_, place) in self.hosts.iter() {
            place.each(&mut |record| routes.push(record.route()));
        }
        routes.into_iter()
    }

    fn text(&self, record: Record<'_>) -> RuleText {
        let path = record.path();
        let pattern = lossy(path.text);
        let methods = record.methods();
        RuleText {
            host: self.host_of(record.route()).unwrap_or_default(),
            path: match path.class {
                Class::Any => "*".to_owned(),
                Class::Prefix => format!("{pattern}*"),
                Class::Regex => format!("~{pattern}"),
                Class::Exact | Class::Segments => pattern,
            },
            methods: methods.names().map(lossy).collect(),
            predicates: record.predicates().map(|predicate| self.words(predicate)).collect(),
            priority: record.priority(),
        }
    }

    fn words(&self, predicate: Predicate<'_>) -> String {
        let (place, name, test) = match predicate {
            Predicate::Value { place, name, test } => (place, lossy(name), test),
            Predicate::Source(networks) => {
                let networks = networks.iter().map(|network| network.to_string());
                return format!("a source in {}", networks.collect::<Vec<_>>().join(", "));
            }
        };
        match test {
            Test::Exact(text) => format!("{place} `{name}` = `{}`", lossy(text)),
            Test::Prefix(text) => format!("{place} `{name}` beginning with `{}`", lossy(text)),
            Test::Regex(hash) => format!("{place} `{name}` matching `{}`", self.regexes.text(hash)),
            Test::Present => format!("{place} `{name}`"),
            Test::Absent => format!("no {place} `{name}`"),
        }
    }
}

/// What the request has where a predicate looks.
fn there(predicate: Predicate<'_>, query: &Query<'_>) -> String {
    match predicate {
        Predicate::Value { place, name, .. } => match place.value(name, query) {
            Field::Absent => "the request has none".to_owned(),
            Field::One(value) => format!("the request has `{}`", lossy(value)),
            Field::Several => "the request has several".to_owned(),
        },
        Predicate::Source(_) => match query.peer {
            Some(peer) => format!("the client is {peer}"),
            None => "the client has no address".to_owned(),
        },
    }
}

/// What the winner has before another rule that takes the request. The first number of each says
/// how specific its host is; the less the more.
fn before(
    winner: (usize, Record<'_>),
    other: (usize, Record<'_>),
    order: RuleOrder,
) -> &'static str {
    let (one, two) = (winner.1.rank(order), other.1.rank(order));
    match order {
        RuleOrder::FirstMatch => "the winner was declared first",
        RuleOrder::Specific if one.level != two.level => "the winner has a higher priority",
        RuleOrder::Specific if winner.0 != other.0 => "the winner's host is more specific",
        RuleOrder::Specific => one.reason_over(two),
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl<'a> Place<'a> {
    /// The rules that can be close to taking the request.
    fn look(&self, ask: &Ask<'_, '_>) -> Vec<Record<'a>> {
        match self {
            Place::Record(record) => vec![*record],
            Place::Block(view) => view.records().collect(),
            Place::Large(large) => large.look(ask).flat_map(|place| place.look(ask)).collect(),
            Place::Keyed(keyed) => keyed.look(ask),
        }
    }
}
