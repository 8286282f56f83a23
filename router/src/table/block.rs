//! Up to 64 rules side by side in memory: those of a host, or those of one path of a large host.
//!
//! ```text
//! 0 rules u8 | 1 kind of host u8 | 2 host length u16 | 4 tree's u32 | 8 level of the best rule i64
//! 16 host | tags, if there are more than 4 rules | where each rule's record is, u32 | records
//! ```
//!
//! Rules stand in the order of their ranks, so that the first one that takes a request wins. Tags
//! (`lanes::tags`) leave out nearly all that do not, before a record is read.
//!
//! B1 A block is never changed. The blocks of a table that was built lie together in one region,
//! which is alive as long as a table that grew from it is: after many changes at most as much is
//! held in vain as the table had when it was built. What changed since has regions of its own.

use std::sync::Arc;

use lanes::Region;
use lanes::tags::{self, Tag};

use super::probe::{Parts, tag_of};
use super::record::{Rank, Record};
use super::{Make, Regexes, RuleOrder};
use crate::hash::HashKey;
use crate::pattern::host::HostPattern;
use crate::predicate::method::Method;
use crate::query::{Captures, Match, Query};

/// Rules of a block: as many as the tags have bits.
pub(crate) const RULES_MAX: usize = tags::PATTERNS_MAX;
/// So few rules are looked at without tags.
const UNTAGGED_MAX: usize = 4;

const FIXED: usize = 16;
/// Where four bytes of the head are for the tree that keeps the block; 0 at first.
pub(crate) const SPARE: usize = 4;
const ANY: u8 = 0;
const EXACT: u8 = 1;
const SUFFIX: u8 = 2;
const PATH: u8 = 3;

/// A block somewhere in a region.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    home: Arc<Region>,
    start: u32,
    len: u32,
}

/// What a request asks, with what was found out about it once.
pub(crate) struct Ask<'a, 'q> {
    pub(crate) query: &'a Query<'q>,
    pub(crate) method: Method<'a>,
    pub(crate) key: &'a HashKey,
    pub(crate) parts: Parts,
    pub(crate) regexes: &'a Regexes,
    pub(crate) order: RuleOrder,
}

/// The rule that takes a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) captures: Captures,
}

impl Found<'_> {
    /// A regular expression's captures are looked for here, where it is known to have won.
    #[inline]
    pub(crate) fn answer(&self, ask: &Ask<'_, '_>) -> Match {
        let (route, plan) = (self.record.route(), self.record.plan());
        let captures = match self.record.regex() {
            Some(regex) => ask.regexes.captures(regex, ask.query.path),
            None => self.captures,
        };
        Match { route, plan, captures }
    }

    pub(crate) fn rank(&self, order: RuleOrder) -> Rank {
        self.record.rank(order)
    }
}

impl Block {
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        let (start, len) = (self.start as usize, self.len as usize);
        self.home.get(start..start + len).unwrap_or_default()
    }

    /// Asks for the lines that every look needs.
    #[inline]
    pub(crate) fn prefetch(&self) {
        lanes::prefetch(self.bytes(), 8);
    }

    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        View::of(self.bytes())
    }
}

/// A block as it is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    bytes: &'a [u8],
    count: usize,
    tags: usize,
    offsets: usize,
}

impl<'a> View<'a> {
    /// The block that begins there; what is behind it does no harm.
    #[inline]
    pub(crate) fn of(bytes: &'a [u8]) -> View<'a> {
        let fixed: [u8; 4] = bytes.first_chunk().copied().unwrap_or_default();
        let count = usize::from(fixed[0]);
        let host_len = usize::from(u16::from_le_bytes([fixed[2], fixed[3]]));
        let tags = (FIXED + host_len).next_multiple_of(4);
        View { bytes, count, tags, offsets: tags + tags_len(count) }
    }

    /// Level of its first rule.
    #[inline]
    pub(crate) fn level_max(&self) -> i64 {
        let level = self.bytes.get(8..16).and_then(|level| level.first_chunk());
        level.map_or(i64::MIN, |level| i64::from_le_bytes(*level))
    }

    #[inline]
    fn host_text(&self) -> &'a [u8] {
        let len = usize::from(u16::from_le_bytes([self.bytes[2], self.bytes[3]]));
        self.bytes.get(FIXED..FIXED + len).unwrap_or_default()
    }

    pub(crate) fn host(&self) -> HostPattern {
        match self.bytes.get(1) {
            Some(&EXACT) => HostPattern::Exact(self.host_text().to_vec()),
            Some(&SUFFIX) => HostPattern::Suffix(self.host_text().to_vec()),
            _ => HostPattern::Any,
        }
    }

    /// Whether it belongs to a path of a large host.
    pub(crate) fn is_of_path(&self) -> bool {
        self.bytes.get(1) == Some(&PATH)
    }

    /// Whether its rules are for this very name, which was hashed: two names may share a hash.
    #[inline]
    pub(crate) fn is_of(&self, name: &[u8]) -> bool {
        self.host_text() == name
    }

    #[inline]
    pub(crate) fn record(&self, index: usize) -> Option<Record<'a>> {
        let at = self.offsets + 4 * index;
        let offset = self.bytes.get(at..at + 4)?.first_chunk()?;
        Record::at(self.bytes.get(u32::from_le_bytes(*offset) as usize..)?)
    }

    /// Bytes from the block's first to the last of its last record.
    pub(crate) fn bytes(&self) -> usize {
        let end = |record: Record<'_>| self.bytes.len() - record.left();
        let last = self.count.checked_sub(1).and_then(|last| self.record(last));
        last.map_or(self.offsets, end)
    }

    /// In the order of their ranks.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let view = *self;
        (0..self.count).filter_map(move |index| view.record(index))
    }

    /// The first rule that takes the request.
    #[inline]
    pub(crate) fn find(&self, ask: &Ask<'_, '_>) -> Option<Found<'a>> {
        let mut left = self.candidates(&ask.parts);
        while left != 0 {
            let record = self.record(left.trailing_zeros() as usize)?;
            if let Ok(captures) = record.check(ask.query, ask.method, ask.regexes) {
                return Some(Found { record, captures });
            }
            left &= left - 1;
        }
        None
    }

    #[inline]
    fn candidates(&self, parts: &Parts) -> u64 {
        if self.count <= UNTAGGED_MAX {
            return (1 << self.count) - 1;
        }
        let planes = self.bytes.get(self.tags..self.offsets).unwrap_or_default();
        tags::candidates(planes, &parts.tags)
    }
}

fn tags_len(count: usize) -> usize {
    if count <= UNTAGGED_MAX { 0 } else { count.div_ceil(tags::LANES) * tags::GROUP_BYTES }
}

/// Where a block lies in bytes that are still being written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: usize,
    len: usize,
}

impl Span {
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The block, once the bytes are in a region.
    pub(crate) fn settle(self, base: &Base) -> Block {
        let start = base.offset(self.start);
        debug_assert!(start as usize + self.len <= base.home.len());
        Block { home: Arc::clone(&base.home), start, len: self.len as u32 }
    }
}

/// Where bytes that were written came to lie.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    pub(crate) home: Arc<Region>,
    /// Of the first of them.
    pub(crate) start: usize,
}

impl Base {
    /// In a region of their own.
    pub(crate) fn own(bytes: Vec<u8>) -> Base {
        Base { home: Arc::new(Region::from(bytes.into_boxed_slice())), start: 0 }
    }

    /// Where in the region one of them is.
    pub(crate) fn offset(&self, at: usize) -> u32 {
        // INVARIANT: a table's region is below `leaf::REGION_BYTES_MAX`, a host's own far below.
        u32::try_from(self.start + at).expect("a region below 4 GiB")
    }
}

/// Appends the block of a host's records, which are in the order of their ranks. None when there
/// are too many for one block; nothing is appended then.
pub(crate) fn write(
    host: &HostPattern,
    records: &[&[u8]],
    make: &Make,
    out: &mut Vec<u8>,
) -> Option<Span> {
    let kind = match host {
        HostPattern::Any => ANY,
        HostPattern::Exact(_) => EXACT,
        HostPattern::Suffix(_) => SUFFIX,
    };
    write_kind(kind, host.text(), records, make, out)
}

/// As [`fn@write`], of the records of one path of a large host.
pub(crate) fn write_path(records: &[&[u8]], make: &Make, out: &mut Vec<u8>) -> Option<Span> {
    write_kind(PATH, b"", records, make, out)
}

fn write_kind(
    kind: u8,
    host: &[u8],
    records: &[&[u8]],
    make: &Make,
    out: &mut Vec<u8>,
) -> Option<Span> {
    if records.len() > RULES_MAX {
        return None;
    }
    // The lines that every look at a host needs begin with a line; a path's are asked for with
    // their neighbours'.
    let align = if kind == PATH { 4 } else { 64 };
    out.resize(out.len().next_multiple_of(align), 0);
    let start = out.len();
    out.extend([records.len() as u8, kind]);
    out.extend((host.len() as u16).to_le_bytes());
    out.extend([0; 4]);
    let read = || records.iter().filter_map(|record| Record::at(record));
    let level = read().map(|record| record.level(make.order)).max().unwrap_or(i64::MIN);
    out.extend(level.to_le_bytes());
    out.extend(host);
    pad(out);
    if records.len() > UNTAGGED_MAX {
        let tags: Vec<Tag> = read().map(|record| tag_of(record.path(), &make.key)).collect();
        tags::encode(&tags, out);
    }
    let mut at = out.len() - start + 4 * records.len();
    for record in records {
        out.extend((at as u32).to_le_bytes());
        at = (at + record.len()).next_multiple_of(4);
    }
    for record in records {
        out.extend_from_slice(record);
        pad(out);
    }
    Some(Span { start, len: out.len() - start })
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}
