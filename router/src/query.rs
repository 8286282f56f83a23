//! What the table is asked, and what it answers.
//!
//! Not a head: the exchange lends the few slices a rule may look at, so the router never learns
//! how any protocol stores them. Building a `Query` costs nothing but pointers; a [`Match`] is
//! plain data without a reference to either the query or the table.

use std::net::IpAddr;
use std::ops::Range;

use crate::{PlanId, RouteId};

/// One request as the table sees it.
pub struct Query<'a> {
    /// The method as received; methods are case-sensitive (RFC 9110 §9.1). `CALL` and `ONEWAY` are
    /// calls of Thrift; of a request of HTTP they are no method, which is empty.
    pub method: &'a [u8],
    /// Lower case, without port and without the trailing dot; empty when the request has none.
    pub host: &'a [u8],
    /// The path as it will be forwarded, without the query.
    pub path: &'a [u8],
    /// What stands behind the `?`, as received.
    pub query: &'a [u8],
    /// The peer, when it is an IP address.
    pub peer: Option<IpAddr>,
    /// Looks a header field up by its lower-case name.
    pub field: &'a dyn Fn(&[u8]) -> Field<'a>,
}

/// What stands under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// Nothing.
    Absent,
    /// A value.
    One(&'a [u8]),
    /// More than one value, so that nobody knows which one counts.
    Several,
}

impl<'a> Field<'a> {
    /// From all values under one name.
    pub fn of(mut values: impl Iterator<Item = &'a [u8]>) -> Field<'a> {
        match (values.next(), values.next()) {
            (None, _) => Field::Absent,
            (Some(value), None) => Field::One(value),
            (Some(_), Some(_)) => Field::Several,
        }
    }
}

/// The route that won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Which route.
    pub route: RouteId,
    /// What it does: the number that its rule was given.
    pub plan: PlanId,
    /// What its pattern captured.
    pub captures: Captures,
}

/// The most ranges one pattern can capture.
pub const CAPTURES_MAX: usize = 8;

/// Byte ranges of the path that the pattern captured, left to right; the rest matched by a
/// trailing `*` is the last one. Of a regular expression those of its named groups, in the order
/// in which they are written. Empty for exact paths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Captures {
    ranges: [(u32, u32); CAPTURES_MAX],
    count: u8,
}

impl Captures {
    /// Captures of a pattern that has none.
    pub const NONE: Captures = Captures { ranges: [(0, 0); CAPTURES_MAX], count: 0 };

    /// Adds a range; one more than there is room for is left out, and no pattern has as many.
    #[inline]
    pub(crate) fn push(&mut self, start: usize, end: usize) {
        debug_assert!(start <= end);
        if let Some(range) = self.ranges.get_mut(usize::from(self.count)) {
            *range = (clamp(start), clamp(end));
            self.count += 1;
        }
    }

    /// Adds a group that took no part in the match.
    pub(crate) fn push_nothing(&mut self) {
        if let Some(range) = self.ranges.get_mut(usize::from(self.count)) {
            *range = NOTHING;
            self.count += 1;
        }
    }

    /// Number of captured ranges, those without a part in the match included.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether nothing was captured.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The `index`-th captured range of `Query::path`; none also for a named group that took no
    /// part in the match.
    pub fn range(&self, index: usize) -> Option<Range<usize>> {
        let (start, end) = *self.ranges.get(..self.len())?.get(index)?;
        ((start, end) != NOTHING).then_some(start as usize..end as usize)
    }
}

/// No range: its end would lie before its start.
const NOTHING: (u32, u32) = (u32::MAX, 0);

/// Paths are bounded far below 4 GiB by every wire's limits; a longer one would only be cut.
fn clamp(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_one_range() {
        let mut captures = Captures::NONE;
        captures.push(7, 9);
        assert_eq!(captures.len(), 1);
        assert_eq!(captures.range(0), Some(7..9));
        assert_eq!(captures.range(1), None);
        assert!(Captures::NONE.is_empty());
        assert_eq!(Captures::NONE.range(0), None);
        captures.push_nothing();
        captures.push(0, 0);
        assert_eq!((captures.len(), captures.range(1), captures.range(2)), (3, None, Some(0..0)));
    }
}
