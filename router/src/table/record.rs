//! One rule as bytes: all that is needed to match it, to rank it and to write it out again.
//!
//! ```text
//! 0 route u32 | 4 plan u32 | 8 order u32 | 12 class and flags u8 | 13 predicates u8
//! 14 methods u16 | 16 headers u8 | 17 query parameters u8 | 18 text length u16 | 20 path text
//! priority i32, other methods (count u8, texts), regular expression u64: each only if flagged
//! predicates
//! ```
//!
//! Cost: 20 bytes and the text for a plain rule.

use std::cmp::Reverse;

use crate::bytes::Reader;
use crate::pattern::path::{CLASS_SHIFT, Class, PathPattern};
use crate::predicate::method::{Method, MethodSet};
use crate::predicate::{Predicate, ValuePlace};
use crate::query::{Captures, Query};
use crate::table::{Regexes, RuleOrder};
use crate::{PlanId, RouteId};

/// A rule to be written.
#[derive(Clone, Debug)]
pub(crate) struct Rule<'a> {
    pub(crate) path: PathPattern<'a>,
    /// Of a path that is a regular expression.
    pub(crate) regex: u64,
    pub(crate) methods: MethodSet<'a>,
    pub(crate) predicates: Vec<Predicate<'a>>,
    pub(crate) priority: i32,
}

/// A rule in a record. Bytes that no writer made give some rule, never a panic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    fixed: &'a [u8; FIXED],
    rest: &'a [u8],
}

/// Why a rule does not take a request, in the order in which it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Miss<'a> {
    Path,
    Method,
    Predicate(Predicate<'a>),
}

/// What decides between rules that take the same request: the greater wins. No two are equal,
/// since no two rules have the same place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) level: i64,
    specificity: u64,
    names_methods: bool,
    headers: u8,
    params: u8,
    names_source: bool,
    order: Reverse<u32>,
}

impl Rank {
    /// What puts it before another rule of the same level and host.
    pub(crate) fn reason_over(self, other: Rank) -> &'static str {
        let class = |rank: Rank| rank.specificity >> CLASS_SHIFT;
        let reasons = [
            (class(self) > class(other), "the winner's kind of path comes first"),
            (self.specificity != other.specificity, "the winner's path is more specific"),
            (self.names_methods != other.names_methods, "the winner names the method"),
            (self.headers != other.headers, "the winner asks for more header fields"),
            (self.params != other.params, "the winner asks for more query parameters"),
            (self.names_source != other.names_source, "the winner names the source"),
        ];
        let decisive = reasons.into_iter().find(|(is_so, _)| *is_so);
        decisive.map_or("the winner was declared first", |(_, reason)| reason)
    }
}

const FIXED: usize = 20;

const CLASS: u8 = 0b111;
const HAS_PRIORITY: u8 = 1 << 3;
const HAS_OTHER_METHODS: u8 = 1 << 4;
const HAS_SOURCE: u8 = 1 << 5;

impl Rule<'_> {
    /// Appends the record, without padding.
    pub(crate) fn write(&self, (route, plan): (RouteId, PlanId), order: u32, out: &mut Vec<u8>) {
        let count = |kind: fn(&Predicate<'_>) -> bool| {
            // INVARIANT: a rule has at most `PREDICATES_MAX` predicates.
            self.predicates.iter().filter(|predicate| kind(predicate)).count() as u8
        };
        let params = count(|p| matches!(p, Predicate::Value { place: ValuePlace::QueryParam, .. }));
        let sources = count(|p| matches!(p, Predicate::Source(_)));
        let headers = self.predicates.len() as u8 - params - sources;
        let mut flags = self.path.class as u8;
        for (flag, is_set) in [
            (HAS_PRIORITY, self.priority != 0),
            (HAS_OTHER_METHODS, !self.methods.other.is_empty()),
            (HAS_SOURCE, sources > 0),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        out.extend(route.0.to_le_bytes());
        out.extend(plan.0.to_le_bytes());
        out.extend(order.to_le_bytes());
        out.extend([flags, self.predicates.len() as u8]);
        out.extend(self.methods.known.to_le_bytes());
        out.extend([headers, params]);
        crate::bytes::write_text(out, self.path.text);
        self.write_optional(flags, out);
        for predicate in &self.predicates {
            predicate.write(out);
        }
    }

    fn write_optional(&self, flags: u8, out: &mut Vec<u8>) {
        if flags & HAS_PRIORITY != 0 {
            out.extend(self.priority.to_le_bytes());
        }
        if flags & HAS_OTHER_METHODS != 0 {
            out.push(self.methods.other.len() as u8);
            for name in &self.methods.other {
                crate::bytes::write_text(out, name);
            }
        }
        if self.path.class == Class::Regex {
            out.extend(self.regex.to_le_bytes());
        }
    }
}

impl<'a> Record<'a> {
    /// The record that begins there; what is behind it does no harm.
    #[inline]
    pub(crate) fn at(bytes: &'a [u8]) -> Option<Record<'a>> {
        let (fixed, rest) = bytes.split_first_chunk()?;
        Some(Record { fixed, rest })
    }

    /// Bytes of the record that begins there.
    pub(crate) fn len(bytes: &[u8]) -> usize {
        Record::at(bytes).map_or(bytes.len(), |record| record.bytes())
    }

    /// Bytes of the record.
    pub(crate) fn bytes(&self) -> usize {
        FIXED + self.rest.len() - self.left()
    }

    /// Bytes behind the record, in what it was read from.
    pub(crate) fn left(&self) -> usize {
        let mut tail = self.behind_methods();
        if self.path().class == Class::Regex {
            tail.u64();
        }
        for _ in 0..self.fixed[13] {
            Predicate::read(&mut tail);
        }
        tail.left()
    }

    /// Gives a record another id, which is its place among all rules as well.
    pub(crate) fn renumber(record: &mut [u8], route: RouteId, plan: PlanId) {
        record[4..8].copy_from_slice(&plan.0.to_le_bytes());
        record[0..4].copy_from_slice(&route.0.to_le_bytes());
        record[8..12].copy_from_slice(&route.0.to_le_bytes());
    }

    #[inline]
    fn u32(&self, at: usize) -> u32 {
        let bytes = self.fixed.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn route(&self) -> RouteId {
        RouteId(self.u32(0))
    }

    #[inline]
    pub(crate) fn plan(&self) -> PlanId {
        PlanId(self.u32(4))
    }

    /// Its place among all rules: the lesser was there first.
    pub(crate) fn order(&self) -> u32 {
        self.u32(8)
    }

    #[inline]
    fn has(&self, flag: u8) -> bool {
        self.fixed[12] & flag != 0
    }

    #[inline]
    pub(crate) fn path(&self) -> PathPattern<'a> {
        let class = Class::ALL[usize::from(self.fixed[12] & CLASS).min(4)];
        let len = usize::from(u16::from_le_bytes([self.fixed[18], self.fixed[19]]));
        PathPattern { class, text: self.rest.get(..len).unwrap_or_default() }
    }

    /// What is behind the path.
    #[inline]
    fn tail(&self) -> Reader<'a> {
        Reader::new(self.rest.get(self.path().text.len()..).unwrap_or_default())
    }

    pub(crate) fn priority(&self) -> i32 {
        let priority = self.has(HAS_PRIORITY).then(|| self.tail().u32()).flatten();
        priority.map_or(0, u32::cast_signed)
    }

    fn known_methods(&self) -> u16 {
        u16::from_le_bytes([self.fixed[14], self.fixed[15]])
    }

    fn other_methods(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut tail = self.tail();
        if self.has(HAS_PRIORITY) {
            tail.u32();
        }
        let count = if self.has(HAS_OTHER_METHODS) { tail.u8().unwrap_or(0) } else { 0 };
        (0..count).map_while(move |_| tail.text())
    }

    pub(crate) fn methods(&self) -> MethodSet<'a> {
        MethodSet { known: self.known_methods(), other: self.other_methods().collect() }
    }

    /// Behind priority and methods.
    fn behind_methods(&self) -> Reader<'a> {
        let mut tail = self.tail();
        if self.has(HAS_PRIORITY) {
            tail.u32();
        }
        if self.has(HAS_OTHER_METHODS) {
            let count = tail.u8().unwrap_or(0);
            for _ in 0..count {
                tail.text();
            }
        }
        tail
    }

    /// The hash of its regular expression.
    pub(crate) fn regex(&self) -> Option<u64> {
        if self.path().class == Class::Regex { self.behind_methods().u64() } else { None }
    }

    pub(crate) fn predicates(&self) -> impl Iterator<Item = Predicate<'a>> {
        let mut tail = self.behind_methods();
        if self.path().class == Class::Regex {
            tail.u64();
        }
        (0..self.fixed[13]).map_while(move |_| Predicate::read(&mut tail))
    }

    /// Hashes of all regular expressions it refers to.
    pub(crate) fn regexes(&self) -> impl Iterator<Item = u64> {
        let of_predicates = self.predicates().filter_map(|predicate| predicate.regex());
        self.regex().into_iter().chain(of_predicates)
    }

    /// The record's own bytes, written anew.
    pub(crate) fn written(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.rule().write((self.route(), self.plan()), self.order(), &mut out);
        out
    }

    pub(crate) fn rule(&self) -> Rule<'a> {
        Rule {
            path: self.path(),
            regex: self.regex().unwrap_or(0),
            methods: self.methods(),
            predicates: self.predicates().collect(),
            priority: self.priority(),
        }
    }

    pub(crate) fn rank(&self, order: RuleOrder) -> Rank {
        Rank {
            level: self.level(order),
            specificity: self.path().shape().specificity(),
            names_methods: self.known_methods() != 0 || self.has(HAS_OTHER_METHODS),
            headers: self.fixed[16],
            params: self.fixed[17],
            names_source: self.has(HAS_SOURCE),
            order: Reverse(self.order()),
        }
    }

    /// What decides before host and path do.
    #[inline]
    pub(crate) fn level(&self, order: RuleOrder) -> i64 {
        match order {
            RuleOrder::Specific => i64::from(self.priority()),
            RuleOrder::FirstMatch => -i64::from(self.order()),
        }
    }

    /// What the rule captures of a request that it takes, but for a regular expression's groups.
    #[inline]
    pub(crate) fn check(
        &self,
        query: &Query<'_>,
        method: Method<'_>,
        regexes: &Regexes,
    ) -> Result<Captures, Miss<'a>> {
        let captures = self.path().captures(query.path).ok_or(Miss::Path)?;
        if let Some(regex) = self.regex()
            && !regexes.is_match(regex, query.path)
        {
            return Err(Miss::Path);
        }
        if !self.takes(method) {
            return Err(Miss::Method);
        }
        if self.fixed[13] != 0
            && let Some(failed) = self.predicates().find(|one| !one.holds(query, regexes))
        {
            return Err(Miss::Predicate(failed));
        }
        Ok(captures)
    }

    #[inline]
    fn takes(&self, method: Method<'_>) -> bool {
        let known = self.known_methods();
        match method {
            Method::Known(bit) if known & bit != 0 => true,
            _ if known == 0 && !self.has(HAS_OTHER_METHODS) => true,
            Method::Known(_) => false,
            Method::Other(name) => self.other_methods().any(|other| other == name),
        }
    }
}
