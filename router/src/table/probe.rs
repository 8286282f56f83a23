//! A path taken apart once for a whole look-up, and the tags of patterns that it is held against.

use lanes::tags::{PARTS, Probe, Tag};

use crate::hash::{HashKey, combine};
use crate::pattern::path::{PathPattern, SEGMENTS_MAX, Segments};

/// What a large host's patterns are found by: one number for each segment of a path, which depends
/// on its text and its place. A pattern's number is the sum of those of its literal segments.
#[derive(Clone, Debug)]
pub(crate) struct Sums {
    /// Of segment `i`; 0 behind the last one. That of the last possible one is always 0: it stands
    /// for none, and only an exact pattern has as many.
    pub(crate) terms: [u64; SEGMENTS_MAX],
    /// Of the first `i` segments together.
    pub(crate) runs: [u64; SEGMENTS_MAX + 1],
}

impl Sums {
    /// Of a path that was taken apart: only the segments beyond the parts are hashed here.
    #[inline]
    pub(crate) fn of(path: &[u8], parts: &Parts, key: &HashKey) -> Sums {
        let hashes = parts.hashes.iter().take(parts.depth).copied();
        if parts.depth <= PARTS {
            return Sums::up(hashes);
        }
        let others = Segments::of(path).skip(PARTS).map(|segment| key.bytes(segment));
        Sums::up(hashes.chain(others))
    }

    pub(crate) fn over<'a>(segments: impl Iterator<Item = &'a [u8]>, key: &HashKey) -> Sums {
        Sums::up(segments.map(|segment| key.bytes(segment)))
    }

    /// Sums up the hashes of segments.
    #[inline]
    fn up(hashes: impl Iterator<Item = u64>) -> Sums {
        let mut sums = Sums { terms: [0; SEGMENTS_MAX], runs: [0; SEGMENTS_MAX + 1] };
        let mut run = 0_u64;
        for (hash, at) in hashes.zip(0..SEGMENTS_MAX) {
            let term = combine(hash, at as u64);
            run = run.wrapping_add(term);
            (sums.terms[at], sums.runs[at + 1]) = (term, run);
        }
        sums.terms[NO_TERM] = 0;
        sums
    }

    /// The sum of the leading segments and of those at some places.
    #[inline]
    pub(crate) fn at(&self, run: u8, places: &[u8]) -> u64 {
        let run = self.runs.get(usize::from(run)).copied().unwrap_or(0);
        let term = |place: &u8| self.terms[usize::from(*place) % SEGMENTS_MAX];
        places.iter().fold(run, |sum, place| sum.wrapping_add(term(place)))
    }
}

/// The place whose term is 0.
pub(crate) const NO_TERM: usize = SEGMENTS_MAX - 1;

/// What tags are compared with, the hashes of segments, and their number.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) depth: usize,
    pub(crate) tags: Probe,
    /// Of the first segments.
    pub(crate) hashes: [u64; PARTS],
}

impl Parts {
    #[inline]
    pub(crate) fn of(path: &[u8], key: &HashKey) -> Parts {
        let mut parts = Parts { depth: 0, tags: Probe::default(), hashes: [0; PARTS] };
        let mut prefix = key.start(0);
        parts.put_prefix(prefix);
        for segment in Segments::of(path) {
            if parts.depth < PARTS {
                let hash = key.bytes(segment);
                prefix = combine(prefix, hash);
                parts.tags.segment[parts.depth] = hash as u8;
                parts.hashes[parts.depth] = hash;
            }
            parts.depth += 1;
            parts.put_prefix(prefix);
        }
        parts.tags.depth = parts.depth as u8;
        parts
    }

    #[inline]
    fn put_prefix(&mut self, hash: u64) {
        let at = self.depth;
        if at < PARTS {
            [self.tags.prefix_low[at], self.tags.prefix_high[at]] = (hash as u16).to_le_bytes();
        }
    }
}

/// What a path must have for a pattern to be looked at.
pub(crate) fn tag_of(path: PathPattern<'_>, key: &HashKey) -> Tag {
    let shape = path.shape();
    let run = shape.run().min(PARTS - 1);
    let mut prefix = key.start(0);
    let mut segment = None;
    for (text, at) in path.segments().zip(0..PARTS) {
        let hash = key.bytes(text);
        if at < run {
            prefix = combine(prefix, hash);
        } else if segment.is_none() && shape.is_literal(at) {
            segment = Some((at as u8, hash as u8));
        }
    }
    Tag {
        run: run as u8,
        prefix: prefix as u16,
        segment,
        depth: shape.depth,
        is_open: shape.is_open(),
    }
}
