//! A host with many rules: tuple space search (Srinivasan, Suri and Varghese, 1999).
//!
//! Patterns that differ in literals only have one shape. For a shape that fits a path, the hashes
//! of the path's literal segments are combined, and the patterns of that shape that can match are
//! those of that hash. Two filters leave most shapes out without leaving the cache: of words, by
//! their place, that no pattern has as a literal; and of combinations that no pattern has.
//!
//! Cost: a look at the first filter for each segment of the path; a compare for each shape; a
//! combination and a look at the second filter for each shape whose literals are all known words;
//! and a look into the index for what passes. A host has as many shapes as its rules make, not its
//! requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Make;
use super::block::{Ask, Base, Found};
use super::filter::Filter;
use super::index::{Index, scattered};
use super::patterns::{self, Patterns};
use super::place::Place;
use super::probe::{self, Sums};
use super::record::Record;
use crate::RouteId;
use crate::hash::{HashKey, combine};
use crate::pattern::host::HostPattern;
use crate::pattern::path::{PathPattern, Shape};

/// The rules of a large host.
#[derive(Clone, Debug)]
pub(crate) struct Large {
    host: HostPattern,
    /// By level and specificity, the best first.
    shapes: Vec<Tuple>,
    /// What each tuple asks of a path, by [`AT_ONCE`] tuples.
    asked: Vec<Asked>,
    /// Rules by the hash of their pattern.
    patterns: Patterns,
    /// Terms of the segments that are literals of some pattern.
    words: Arc<Filter>,
    /// Hashes of patterns.
    hashes: Arc<Filter>,
    /// The hash of each rule's pattern, by its id.
    homes: Index<u64>,
}

/// The patterns of one shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuple {
    shape: Shape,
    seed: u64,
    /// At least the level of its best rule.
    level_max: i64,
    /// How many rules there are.
    rules: u32,
    /// Number of leading literals.
    run: u8,
    /// Places of the literals behind them; what is left over points at a term of 0.
    places: [u8; PLACES],
}

/// Literals behind the leading ones that are summed up without a look at how many there are.
const PLACES: usize = 6;

/// Tuples that are held against a path before one is followed: as many as a word has bits.
const AT_ONCE: usize = 64;

/// What so many tuples ask of a path, side by side; what is left over fits none.
#[derive(Clone, Debug)]
struct Asked {
    /// As in a shape.
    literals: [u32; AT_ONCE],
    depth_min: [u8; AT_ONCE],
    depth_max: [u8; AT_ONCE],
}

/// Tuples whose patterns are asked for together.
const AHEAD: usize = 2;

/// One bit for each byte, seven apart.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// A large host whose blocks are still being written.
#[derive(Debug)]
pub(crate) struct Draft {
    host: HostPattern,
    shapes: Vec<Tuple>,
    patterns: patterns::Draft,
    words: Vec<u64>,
    homes: Vec<(u64, u64)>,
}

impl Draft {
    pub(crate) fn settle(self, base: &Base) -> Large {
        let hashes = Filter::of(|| self.homes.iter().map(|(_, hash)| *hash));
        let words = Filter::of(|| self.words.iter().copied());
        Large {
            host: self.host,
            asked: Asked::all(&self.shapes),
            shapes: self.shapes,
            patterns: self.patterns.settle(base),
            words: Arc::new(words),
            hashes: Arc::new(hashes),
            homes: Index::from_sorted(self.homes),
        }
    }
}

impl Asked {
    const NOTHING: Asked =
        Asked { literals: [0; AT_ONCE], depth_min: [u8::MAX; AT_ONCE], depth_max: [0; AT_ONCE] };

    fn all(shapes: &[Tuple]) -> Vec<Asked> {
        shapes.chunks(AT_ONCE).map(Asked::of).collect()
    }

    fn of(tuples: &[Tuple]) -> Asked {
        let mut asked = Asked::NOTHING;
        for (at, Tuple { shape, .. }) in tuples.iter().enumerate() {
            asked.literals[at] = shape.literals;
            (asked.depth_min[at], asked.depth_max[at]) = if shape.is_open() {
                (shape.depth + 1, u8::MAX)
            } else {
                (shape.depth, shape.depth)
            };
        }
        asked
    }

    /// Tuples that the path is deep enough for, and whose literals are all known: one bit each.
    #[inline]
    fn fitting(&self, known: u32, depth: usize) -> u64 {
        let depth = depth as u8;
        let mut fits = [0; AT_ONCE];
        // Plain loops over arrays become wide compares.
        for (at, fits) in fits.iter_mut().enumerate() {
            let is_known = self.literals[at] & !known == 0;
            let is_deep = (self.depth_min[at] <= depth) & (depth <= self.depth_max[at]);
            *fits = u8::from(is_known & is_deep);
        }
        // The product has the lowest bits of eight bytes in its top byte.
        let bits = |eight: &[u8; 8]| u64::from_le_bytes(*eight).wrapping_mul(GATHER) >> 56;
        let (eights, _) = fits.as_chunks();
        eights.iter().rev().fold(0, |all, eight| all << 8 | bits(eight))
    }
}

impl Tuple {
    pub(crate) fn new(shape: Shape, key: &HashKey) -> Tuple {
        let seed = key.start(shape.specificity().wrapping_add(1));
        let run = shape.run();
        let mut places = [probe::NO_TERM as u8; PLACES];
        let literals = (run..usize::from(shape.depth)).filter(|at| shape.is_literal(*at));
        for (place, literal) in places.iter_mut().zip(literals) {
            *place = literal as u8;
        }
        Tuple { shape, seed, level_max: i64::MIN, rules: 0, run: run as u8, places }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    fn standing(&self) -> (i64, u64) {
        (self.level_max, self.shape.specificity())
    }

    #[inline]
    fn fits(&self, depth: usize) -> bool {
        let own = usize::from(self.shape.depth);
        if self.shape.is_open() { depth > own } else { depth == own }
    }

    /// The hash of the patterns of this shape that can match. Literals behind the sixth after the
    /// leading ones are left to the check of the pattern.
    #[inline]
    pub(crate) fn hash(&self, sums: &Sums) -> u64 {
        combine(sums.at(self.run, &self.places), self.seed)
    }
}

/// The hash of a pattern: that of every path it can match, for its shape.
pub(crate) fn pattern_hash(path: PathPattern<'_>, key: &HashKey) -> u64 {
    Tuple::new(path.shape(), key).hash(&Sums::over(path.segments(), key))
}

/// The terms of a pattern's literals.
fn words(path: PathPattern<'_>, key: &HashKey) -> impl Iterator<Item = u64> {
    let (shape, sums) = (path.shape(), Sums::over(path.segments(), key));
    (0..probe::NO_TERM).filter(move |at| shape.is_literal(*at)).map(move |at| sums.terms[at])
}

impl Large {
    pub(crate) fn host(&self) -> &HostPattern {
        &self.host
    }

    pub(crate) fn level_max(&self) -> i64 {
        self.shapes.first().map_or(i64::MIN, |tuple| tuple.level_max)
    }

    pub(crate) fn find(&self, ask: &Ask<'_, '_>) -> Option<Found<'_>> {
        let sums = Sums::of(ask.query.path, &ask.parts, ask.key);
        let known = self.known(&sums, ask.parts.depth);
        let mut best: Option<(Found<'_>, (i64, u64))> = None;
        for (tuples, asked) in self.shapes.chunks(AT_ONCE).zip(&self.asked) {
            let mut left = asked.fitting(known, ask.parts.depth);
            while left != 0 {
                let next = self.look_ahead(tuples, &mut left, &sums);
                for (tuple, hash) in next.into_iter().flatten() {
                    if best.as_ref().is_some_and(|(_, best)| *best >= tuple.standing()) {
                        return best.map(|(found, _)| found);
                    }
                    if !self.hashes.may_hold(hash) {
                        continue;
                    }
                    let Some(place) = self.patterns.get(hash) else { continue };
                    let Some(found) = place.find(ask) else { continue };
                    let standing = (found.record.level(ask.order), tuple.shape.specificity());
                    if best.as_ref().is_none_or(|(_, best)| standing > *best) {
                        best = Some((found, standing));
                    }
                }
            }
        }
        best.map(|(found, _)| found)
    }

    /// Takes the next tuples of `left`, and asks for the memory that says whether there are
    /// patterns, and for that which says where: a look at the one would not begin before the look
    /// at the other has ended.
    #[inline]
    fn look_ahead<'a>(
        &'a self,
        tuples: &'a [Tuple],
        left: &mut u64,
        sums: &Sums,
    ) -> [Option<(&'a Tuple, u64)>; AHEAD] {
        std::array::from_fn(|_| {
            let tuple = tuples.get(left.trailing_zeros() as usize)?;
            *left &= *left - 1;
            let hash = tuple.hash(sums);
            self.hashes.prefetch(hash);
            self.patterns.prefetch(hash);
            Some((tuple, hash))
        })
    }

    /// The places of the patterns that fit the path's segments.
    pub(crate) fn look(&self, ask: &Ask<'_, '_>) -> impl Iterator<Item = Place<'_>> {
        let sums = Sums::of(ask.query.path, &ask.parts, ask.key);
        let depth = ask.parts.depth;
        let fitting = self.shapes.iter().filter(move |tuple| tuple.fits(depth));
        fitting.filter_map(move |tuple| self.patterns.get(tuple.hash(&sums)))
    }

    /// Places whose segment may be a literal of some pattern, as in a shape's `literals`.
    #[inline]
    fn known(&self, sums: &Sums, depth: usize) -> u32 {
        let last = 1 << 31 >> probe::NO_TERM;
        let is_known = |at: &usize| self.words.may_hold(sums.terms[*at]);
        let places = (0..depth.min(probe::NO_TERM)).filter(is_known);
        places.fold(last, |known, at| known | 1 << 31 >> at)
    }

    /// With one more rule, which takes the place of the one of its id.
    pub(crate) fn with(&self, record: &[u8], make: &Make) -> Large {
        let Some(rule) = Record::at(record) else {
            return self.clone();
        };
        let (route, hash) = (rule.route(), pattern_hash(rule.path(), &make.key));
        let (mut shapes, mut patterns) = (self.shapes.clone(), self.patterns.clone());
        let old = self.homes.get(scattered(route)).copied();
        if let Some(old) = self.place(route).and_then(|place| place.record(route)) {
            count_out(&mut shapes, old.path().shape());
        }
        if let Some(old) = old.filter(|old| *old != hash) {
            patterns = patterns.without(old, route, make);
        }
        count_in(&mut shapes, rule, make);
        Large {
            host: self.host.clone(),
            asked: Asked::all(&shapes),
            shapes,
            patterns: patterns.with(hash, record, make),
            words: self.words_with(rule.path(), &make.key),
            hashes: Filter::with(&self.hashes, [hash].into_iter(), || {
                self.patterns.iter().map(|(hash, _)| hash).chain([hash])
            }),
            homes: match old {
                Some(old) if old == hash => self.homes.clone(),
                _ => self.homes.with(scattered(route), hash),
            },
        }
    }

    pub(crate) fn without(&self, route: RouteId, make: &Make) -> Option<Large> {
        let Some(hash) = self.homes.get(scattered(route)).copied() else {
            return Some(self.clone());
        };
        let place = self.patterns.get(hash)?;
        let mut shapes = self.shapes.clone();
        count_out(&mut shapes, place.record(route)?.path().shape());
        let left = Large {
            host: self.host.clone(),
            asked: Asked::all(&shapes),
            shapes,
            patterns: self.patterns.without(hash, route, make),
            words: Arc::clone(&self.words),
            hashes: Arc::clone(&self.hashes),
            homes: self.homes.without(scattered(route)),
        };
        (left.patterns.len() > 0).then_some(left)
    }

    fn words_with(&self, path: PathPattern<'_>, key: &HashKey) -> Arc<Filter> {
        let all = || {
            let mut all: Vec<u64> = words(path, key).collect();
            let each = &mut |record: Record<'_>| all.extend(words(record.path(), key));
            self.places().for_each(|place| place.each(each));
            all.into_iter()
        };
        Filter::with(&self.words, words(path, key), all)
    }

    /// The rules that can be in a rule's way, itself included: those of its pattern, and those of
    /// the patterns that take all its paths.
    pub(crate) fn near(&self, route: RouteId, make: &Make) -> Vec<Record<'_>> {
        let Some(place) = self.place(route) else { return Vec::new() };
        let mut near = place.near(route, make);
        let Some(record) = near.iter().find(|record| record.route() == route) else { return near };
        let path = record.path();
        let sums = Sums::over(path.segments(), &make.key);
        for tuple in self.shapes.iter().filter(|tuple| tuple.shape != path.shape()) {
            let Some(place) = self.patterns.get(tuple.hash(&sums)) else { continue };
            // Of many rules only those that want no value: no other one takes all requests alone.
            near.extend(place.near(route, make).iter().filter(|other| other.path().covers(path)));
        }
        near
    }

    /// The place that has a rule.
    pub(crate) fn place(&self, route: RouteId) -> Option<Place<'_>> {
        self.patterns.get(*self.homes.get(scattered(route))?)
    }

    pub(crate) fn places(&self) -> impl Iterator<Item = Place<'_>> {
        self.patterns.iter().map(|(_, place)| place)
    }

    pub(crate) fn bytes(&self) -> usize {
        let rules: usize = self.places().map(|place| place.bytes()).sum();
        let shapes = size_of_val(&*self.shapes) + size_of_val(&*self.asked);
        let indices = self.patterns.bytes() + self.homes.bytes();
        size_of::<Large>() + shapes + indices + rules + self.words.bytes() + self.hashes.bytes()
    }
}

fn count_in(shapes: &mut Vec<Tuple>, rule: Record<'_>, make: &Make) {
    let shape = rule.path().shape();
    let at = shapes.iter().position(|tuple| tuple.shape == shape).unwrap_or_else(|| {
        shapes.push(Tuple::new(shape, &make.key));
        shapes.len() - 1
    });
    shapes[at].rules += 1;
    shapes[at].level_max = shapes[at].level_max.max(rule.level(make.order));
    sort(shapes);
}

/// The level of the best rule stays, as a bound: it costs a look now and then.
fn count_out(shapes: &mut Vec<Tuple>, shape: Shape) {
    if let Some(at) = shapes.iter().position(|tuple| tuple.shape == shape) {
        shapes[at].rules -= 1;
        if shapes[at].rules == 0 {
            shapes.remove(at);
        }
    }
}

fn sort(shapes: &mut [Tuple]) {
    shapes.sort_by_key(|tuple| std::cmp::Reverse(tuple.standing()));
}

/// Writes the blocks of a large host.
pub(crate) fn draft(
    host: &HostPattern,
    records: &[&[u8]],
    make: &Make,
    out: &mut Vec<u8>,
) -> Draft {
    let mut shapes: BTreeMap<Shape, Tuple> = BTreeMap::new();
    let mut hashed: Vec<(u64, &[u8])> = Vec::with_capacity(records.len());
    let mut homes = Vec::with_capacity(records.len());
    let mut all_words = Vec::new();
    for bytes in records {
        let Some(rule) = Record::at(bytes) else { continue };
        let (path, shape) = (rule.path(), rule.path().shape());
        let tuple = shapes.entry(shape).or_insert_with(|| Tuple::new(shape, &make.key));
        tuple.rules += 1;
        tuple.level_max = tuple.level_max.max(rule.level(make.order));
        let hash = pattern_hash(path, &make.key);
        hashed.push((hash, bytes));
        all_words.extend(words(path, &make.key));
        homes.push((scattered(rule.route()), hash));
    }
    hashed.sort_unstable_by_key(|(hash, _)| *hash);
    homes.sort_unstable();
    let mut shapes: Vec<Tuple> = shapes.into_values().collect();
    sort(&mut shapes);
    let patterns = patterns::Draft::of(&hashed, make, out);
    Draft { host: host.clone(), shapes, patterns, words: all_words, homes }
}
