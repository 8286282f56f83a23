//! What a rule asks of a request beyond host and path.
//!
//! Each kind has a file: what is typed, and where a request has what is asked for. All of a rule's
//! predicates must hold. A field, parameter or cookie that a request repeats is there, but equals
//! nothing: which of its values an upstream would take is anybody's guess (Envoy's CVE-2020-25017
//! was that).
//!
//! To add a place for named values: a file here, and its line in [`ValuePlace`]. To add another
//! kind: also its variant of [`Predicate`].

pub(crate) mod cookie;
pub(crate) mod header;
pub(crate) mod method;
pub(crate) mod query_param;
pub(crate) mod source;
pub(crate) mod value;

use std::fmt;

use crate::bytes::{self, Reader};
use crate::query::{Field, Query};
use crate::table::Regexes;
use value::Test;

/// One predicate, read out of a rule's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Predicate<'a> {
    /// What stands under a name.
    Value { place: ValuePlace, name: &'a [u8], test: Test<'a> },
    /// The client's address.
    Source(source::Networks<'a>),
}

/// Where named values stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ValuePlace {
    /// A header field.
    Header,
    /// A parameter of the query string.
    QueryParam,
    /// A pair of the Cookie field.
    Cookie,
}

/// How a predicate on the source is numbered in a record; places by their position.
const SOURCE: u8 = 3;

impl ValuePlace {
    pub(crate) const ALL: [ValuePlace; 3] =
        [ValuePlace::Header, ValuePlace::QueryParam, ValuePlace::Cookie];

    /// What a request has under a name.
    #[inline]
    pub(crate) fn value<'q>(self, name: &[u8], query: &Query<'q>) -> Field<'q> {
        match self {
            ValuePlace::Header => header::value(name, query),
            ValuePlace::QueryParam => query_param::value(name, query),
            ValuePlace::Cookie => cookie::value(name, query),
        }
    }

    /// The error follows the name in a message.
    pub(crate) fn check_name(self, name: &str) -> Result<(), &'static str> {
        match self {
            ValuePlace::Header => header::check_name(name),
            ValuePlace::QueryParam => query_param::check_name(name),
            ValuePlace::Cookie => cookie::check_name(name),
        }
    }
}

impl fmt::Display for ValuePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValuePlace::Header => "header",
            ValuePlace::QueryParam => "query parameter",
            ValuePlace::Cookie => "cookie",
        })
    }
}

impl<'a> Predicate<'a> {
    /// Reads the next predicate of a record; None at its end.
    #[inline]
    pub(crate) fn read(record: &mut Reader<'a>) -> Option<Predicate<'a>> {
        let kind = record.u8()?;
        Some(match ValuePlace::ALL.get(usize::from(kind)) {
            Some(place) => {
                let name = record.text()?;
                Predicate::Value { place: *place, name, test: Test::read(record)? }
            }
            None => Predicate::Source(source::Networks::of(record.text()?)),
        })
    }

    /// Appends it to a record.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Predicate::Value { place, name, test } => {
                out.push(*place as u8);
                bytes::write_text(out, name);
                test.write(out);
            }
            Predicate::Source(networks) => {
                out.push(SOURCE);
                bytes::write_text(out, networks.bytes());
            }
        }
    }

    /// The hash of its regular expression.
    pub(crate) fn regex(&self) -> Option<u64> {
        match self {
            Predicate::Value { test: Test::Regex(hash), .. } => Some(*hash),
            _ => None,
        }
    }

    /// The value it wants exactly, and where.
    pub(crate) fn exact(&self) -> Option<(ValuePlace, &'a [u8], &'a [u8])> {
        match self {
            Predicate::Value { place, name, test: Test::Exact(value) } => {
                Some((*place, name, value))
            }
            _ => None,
        }
    }

    #[inline]
    pub(crate) fn holds(&self, query: &Query<'_>, regexes: &Regexes) -> bool {
        match self {
            Predicate::Value { place, name, test } => test.holds(place.value(name, query), regexes),
            Predicate::Source(networks) => networks.hold(query.peer),
        }
    }
}
