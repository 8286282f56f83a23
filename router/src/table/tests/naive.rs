//! The specification of the table as a linear search: every rule is held against the request, and
//! the winner is the least by the list in the crate's documentation. Shares no code with the table.

use std::cmp::Reverse;
use std::net::IpAddr;

use crate::{MatchSpec, RuleOrder, ValueSpec, ValueSpecs};

/// A request by its parts.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) fields: Vec<(String, String)>,
    pub(super) peer: Option<IpAddr>,
}

/// A rule as it was declared.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) id: u32,
    pub(super) order: u32,
    pub(super) priority: i32,
    pub(super) spec: MatchSpec,
}

/// The id of the winner.
pub(super) fn winner(rules: &[Declared], order: RuleOrder, request: &Request) -> Option<u32> {
    let taking = rules.iter().filter_map(|rule| Some((rank(rule, request)?, rule)));
    let best = match order {
        RuleOrder::Specific => taking.min_by(|a, b| a.0.cmp(&b.0)),
        RuleOrder::FirstMatch => taking.min_by_key(|(_, rule)| rule.order),
    };
    best.map(|(_, rule)| rule.id)
}

type Rank = (Reverse<i32>, (u8, Reverse<usize>), (u8, Reverse<usize>, Vec<bool>), Rest);
type Rest = (bool, Reverse<usize>, Reverse<usize>, bool, u32);

/// The less the better; None when the rule does not take the request.
fn rank(rule: &Declared, request: &Request) -> Option<Rank> {
    let spec = &rule.spec;
    let host = host_rank(spec.host.as_deref(), &request.host)?;
    let path = path_rank(spec.path.as_deref(), &request.path)?;
    let takes_method = spec.methods.is_empty() || spec.methods.contains(&request.method);
    let cookies = cookies(request);
    let params = params(request);
    let holds = takes_method
        && hold(&spec.headers, &request.fields)
        && hold(&spec.query, &params)
        && match &cookies {
            Some(cookies) => hold(&spec.cookies, cookies),
            // A repeated Cookie field says nothing for certain, but that something is there.
            None => spec.cookies.values().all(|test| matches!(test, ValueSpec::Present(true))),
        }
        && (spec.source.is_empty() || spec.source.iter().any(|net| is_in(request.peer, net)));
    let rest = (
        spec.methods.is_empty(),
        Reverse(spec.headers.len() + spec.cookies.len()),
        Reverse(spec.query.len()),
        spec.source.is_empty(),
        rule.order,
    );
    holds.then_some((Reverse(rule.priority), host, path, rest))
}

fn host_rank(want: Option<&str>, host: &str) -> Option<(u8, Reverse<usize>)> {
    let Some(want) = want.map(str::to_ascii_lowercase) else {
        return Some((2, Reverse(0)));
    };
    match want.strip_prefix('*') {
        None => (want == host).then_some((0, Reverse(0))),
        Some(end) => {
            let takes = host.ends_with(end) && host.len() > end.len();
            takes.then_some((1, Reverse(end.len())))
        }
    }
}

/// Class, segments of a prefix, and for each segment whether it is a name.
fn path_rank(want: Option<&str>, path: &str) -> Option<(u8, Reverse<usize>, Vec<bool>)> {
    let Some(want) = want else { return Some((4, Reverse(0), Vec::new())) };
    if let Some(regex) = want.strip_prefix('~') {
        return regex_takes(regex, path).then(|| (3, Reverse(literal_depth(regex)), Vec::new()));
    }
    if !path.starts_with('/') {
        return None;
    }
    let is_name = |segment: &str| segment.starts_with('{');
    let theirs: Vec<&str> = path[1..].split('/').collect();
    let (wants, is_prefix) = match want.strip_suffix("/*") {
        Some(prefix) => (prefix, true),
        None => (want, false),
    };
    let mine: Vec<&str> =
        if wants.is_empty() { Vec::new() } else { wants[1..].split('/').collect() };
    let count = if is_prefix { theirs.len() > mine.len() } else { theirs.len() == mine.len() };
    let fits = mine
        .iter()
        .zip(&theirs)
        .all(|(mine, theirs)| if is_name(mine) { !theirs.is_empty() } else { mine == theirs });
    if !count || !fits {
        return None;
    }
    let names: Vec<bool> = mine.iter().map(|segment| is_name(segment)).collect();
    Some(match (is_prefix, names.contains(&true)) {
        (false, false) => (0, Reverse(0), Vec::new()),
        (false, true) => (1, Reverse(0), names),
        (true, _) => (2, Reverse(mine.len()), names),
    })
}

/// The tests' expressions are `^literal[a-b]+$`: enough to tell a wrong one.
fn regex_takes(regex: &str, path: &str) -> bool {
    let Some((literal, class)) = regex.strip_prefix('^').and_then(|rest| rest.split_once('['))
    else {
        return path.contains(regex);
    };
    let last = if class.starts_with("x-y") { 'x'..='y' } else { 'a'..='z' };
    path.strip_prefix(literal)
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| last.contains(&c)))
}

/// Whole segments before the class.
fn literal_depth(regex: &str) -> usize {
    match regex.strip_prefix("^/").and_then(|rest| rest.split_once('[')) {
        Some((literal, _)) => literal.matches('/').count(),
        None => 0,
    }
}

fn params(request: &Request) -> Vec<(String, String)> {
    let pairs = request.query.split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (name.to_owned(), value.to_owned())
    };
    pairs.map(pair).collect()
}

/// None when there are several Cookie fields.
fn cookies(request: &Request) -> Option<Vec<(String, String)>> {
    let lines: Vec<&str> =
        request.fields.iter().filter(|field| field.0 == "cookie").map(|field| &*field.1).collect();
    match lines[..] {
        [] => Some(Vec::new()),
        [line] => {
            let pairs = line.split(';').filter_map(|pair| pair.trim().split_once('='));
            Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
        }
        _ => None,
    }
}

fn hold(tests: &ValueSpecs, there: &[(String, String)]) -> bool {
    tests.iter().all(|(name, test)| {
        let values: Vec<&str> =
            there.iter().filter(|pair| pair.0 == *name).map(|pair| &*pair.1).collect();
        match (test, &values[..]) {
            (ValueSpec::Present(wanted), values) => *wanted != values.is_empty(),
            (ValueSpec::Exact(text), [one]) => text == one,
            (ValueSpec::Prefix(text), [one]) => one.starts_with(text),
            (ValueSpec::Regex(text), [one]) => one.contains(text),
            _ => false,
        }
    })
}

fn is_in(peer: Option<IpAddr>, network: &str) -> bool {
    let Some(IpAddr::V4(peer)) = peer else { return false };
    let (address, len) = network.split_once('/').unwrap_or((network, "32"));
    let address: std::net::Ipv4Addr = address.parse().unwrap();
    let len: u32 = len.parse().unwrap();
    let bits = |address: std::net::Ipv4Addr| u64::from(address.to_bits()) >> (32 - len);
    bits(peer) == bits(address)
}
