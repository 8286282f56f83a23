//! Sets of rules, made anew from a number each time they are asked for, so that a million of them
//! take no memory beside the table's.

use anyhow::{Result, anyhow, bail};
use router::{Builder, MatchSpec, PlanId, RuleOrder, Table, ValueSpec};

/// How the rules are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Twenty rules a host: 40 % exact, 20 % prefix, 30 % with a name, 8 % with a header and a
    /// priority, 2 % regular expressions.
    Hosts,
    /// All under one host, in 67 shapes.
    OneHost,
    /// All on one path, told apart by the value of a header.
    Header,
}

/// A set of rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    pub(super) kind: Kind,
    len: usize,
}

/// Rules of one host.
pub(super) const PER_HOST: usize = 20;

/// Shapes of the one host: places of the names among up to six segments.
const SHAPES: usize = 67;

impl Set {
    pub(super) fn new(name: &str, len: usize) -> Result<Set> {
        let kind = match name {
            "hosts" => Kind::Hosts,
            "one-host" => Kind::OneHost,
            "header" => Kind::Header,
            other => bail!("no set `{other}`"),
        };
        Ok(Set { kind, len: len.max(1) })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The table of all rules; each thread reads a part of them.
    pub(super) fn build(&self, seed: u64, threads: usize) -> Result<Table> {
        let threads = threads.max(1);
        let part = |thread: usize| {
            let from = |thread: usize| self.len * thread / threads;
            let mut builder = Builder::new(seed, RuleOrder::Specific);
            for index in from(thread)..from(thread + 1) {
                let (spec, priority) = self.spec(index);
                let plan = PlanId((index % 100) as u32);
                builder.add(&spec, priority, plan).map_err(|faults| anyhow!("{faults:?}"))?;
            }
            Ok(builder)
        };
        let parts: Vec<Result<Builder>> = std::thread::scope(|scope| {
            let part = &part;
            let jobs: Vec<_> =
                (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
            let joined = jobs.into_iter().map(|job| job.join());
            joined.map(|job| job.unwrap_or_else(|_| Err(anyhow!("a thread panicked")))).collect()
        });
        let mut parts = parts.into_iter();
        let mut builder = parts.next().ok_or_else(|| anyhow!("no rules"))??;
        for part in parts {
            builder.append(part?, |plan| plan)?;
        }
        builder.finish(threads).map_err(|errors| anyhow!("{:?}", errors.first()))
    }

    /// A rule, and its priority.
    pub(super) fn spec(&self, index: usize) -> (MatchSpec, i32) {
        match self.kind {
            Kind::Hosts => host_rule(index),
            Kind::OneHost => (one_host_rule(index), 0),
            Kind::Header => (header_rule(index), 0),
        }
    }

    /// A request that the rule takes: host, path, and the value of `x-tenant`.
    pub(super) fn request(&self, index: usize) -> (String, String, String) {
        let (spec, _) = self.spec(index);
        let path = spec.path.unwrap_or_default();
        let path = match path.strip_prefix("~^") {
            Some(regex) => regex.replace("[0-9]+$", "123"),
            None => path.replace("/*", "/deep/er").replace("{id}", "id42").replace("{name}", "n7"),
        };
        let tenant = match spec.headers.get("x-tenant") {
            Some(ValueSpec::Exact(text)) => text.clone(),
            _ => String::new(),
        };
        (spec.host.unwrap_or_default(), names_filled(path), tenant)
    }
}

/// Names of the one host's rules are numbered.
fn names_filled(path: String) -> String {
    if !path.contains('{') {
        return path;
    }
    let fill =
        |segment: &str| if segment.starts_with('{') { "v9".to_owned() } else { segment.to_owned() };
    path.split('/').map(fill).collect::<Vec<_>>().join("/")
}

/// A word for a number, in the length that people use.
fn word(number: usize) -> String {
    const SYLLABLES: [&str; 16] = [
        "al", "be", "co", "da", "er", "fo", "gi", "ho", "in", "ju", "ka", "lo", "mi", "ne", "or",
        "pu",
    ];
    let mut text = String::new();
    let mut rest = number;
    for _ in 0..3 {
        text.push_str(SYLLABLES[rest % 16]);
        rest /= 16;
    }
    if rest > 0 {
        text.push_str(&rest.to_string());
    }
    text
}

pub(super) fn host_name(host: usize) -> String {
    format!("{}-{host}.example.com", word(host * 31))
}

fn host_rule(index: usize) -> (MatchSpec, i32) {
    let (host, rule) = (index / PER_HOST, index % PER_HOST);
    let (one, two) = (word(rule * 7 + host % 11), word(rule * 13 + host % 5 + 300));
    let mut spec = MatchSpec { host: Some(host_name(host)), ..MatchSpec::default() };
    let mut priority = 0;
    let is_regex = rule == 19 && host % 5 < 2;
    spec.path = Some(match rule {
        0..8 => format!("/v1/{one}/{two}"),
        8..12 => format!("/v1/{one}/{two}/*"),
        12..18 => format!("/v1/{one}/{{id}}/{two}"),
        _ if is_regex => format!("~^/v2/{}/[0-9]+$", word(host % 200)),
        _ => {
            spec.headers.insert("x-tenant".to_owned(), ValueSpec::Exact(word(host % 1000)));
            priority = 10;
            format!("/v3/{one}/{two}")
        }
    });
    if rule % 4 == 1 {
        spec.methods = vec!["GET".to_owned(), "POST".to_owned()];
    }
    (spec, priority)
}

/// The literal segments count up in a number of 64 digits, so that every shape has as many rules.
fn one_host_rule(index: usize) -> MatchSpec {
    let (shape, mut rest) = (index % SHAPES, index / SHAPES);
    // 63 masks of six segments less the empty one, and four of three segments with a tail.
    let (depth, literals, is_prefix) = match shape {
        0..63 => (6, shape + 1, false),
        _ => (3, shape - 59, true),
    };
    let mut path = String::new();
    let last_literal = (0..depth).rev().find(|at| literals >> at & 1 == 1).unwrap_or(0);
    for at in 0..depth {
        path.push('/');
        if literals >> at & 1 == 0 {
            path.push_str(&format!("{{p{at}}}"));
        } else {
            let digit = if at == last_literal { rest } else { rest % 64 };
            path.push_str(&word(digit));
            rest /= 64;
        }
    }
    if is_prefix {
        path.push_str("/*");
    }
    MatchSpec { host: Some("one.example.com".to_owned()), path: Some(path), ..MatchSpec::default() }
}

fn header_rule(index: usize) -> MatchSpec {
    let mut spec = MatchSpec {
        host: Some("one.example.com".to_owned()),
        path: Some("/v1/orders".to_owned()),
        ..MatchSpec::default()
    };
    spec.headers.insert("x-tenant".to_owned(), ValueSpec::Exact(word(index)));
    spec
}
