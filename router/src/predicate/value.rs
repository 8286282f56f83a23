//! What the value of a header field, query parameter or cookie must be.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use crate::bytes::{self, Reader};
use crate::query::Field;
use crate::table::Regexes;

/// A test of a value: a text that it must be, or `{exact: ..}`, `{prefix: ..}`, `{regex: ..}` or
/// `{present: true}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ValueSpec {
    /// Exactly this.
    Exact(String),
    /// It begins with this.
    Prefix(String),
    /// The expression matches somewhere in it.
    Regex(String),
    /// True: it is there, whatever its value. False: it is not.
    Present(bool),
}

impl<'de> Deserialize<'de> for ValueSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ValueSpec, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = ValueSpec;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text, or one of {exact: ..}, {prefix: ..}, {regex: ..}, {present: ..}")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ValueSpec, E> {
        Ok(ValueSpec::Exact(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ValueSpec, A::Error> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Typed {
            #[serde(default)]
            exact: Option<String>,
            #[serde(default)]
            prefix: Option<String>,
            #[serde(default)]
            regex: Option<String>,
            #[serde(default)]
            present: Option<bool>,
        }
        let typed = Typed::deserialize(MapAccessDeserializer::new(map))?;
        let all = [
            typed.exact.map(ValueSpec::Exact),
            typed.prefix.map(ValueSpec::Prefix),
            typed.regex.map(ValueSpec::Regex),
            typed.present.map(ValueSpec::Present),
        ];
        let mut tests = all.into_iter().flatten();
        match (tests.next(), tests.next()) {
            (Some(test), None) => Ok(test),
            _ => Err(Error::custom("give exactly one of exact, prefix, regex, present")),
        }
    }
}

/// Tests by name.
pub type ValueSpecs = BTreeMap<String, ValueSpec>;

/// A test in a record. A regular expression is named by the hash of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Test<'a> {
    Exact(&'a [u8]),
    Prefix(&'a [u8]),
    Regex(u64),
    Present,
    Absent,
}

const EXACT: u8 = 0;
const PREFIX: u8 = 1;
const REGEX: u8 = 2;
const PRESENT: u8 = 3;
const ABSENT: u8 = 4;

impl<'a> Test<'a> {
    #[inline]
    pub(crate) fn read(record: &mut Reader<'a>) -> Option<Test<'a>> {
        Some(match record.u8()? {
            EXACT => Test::Exact(record.text()?),
            PREFIX => Test::Prefix(record.text()?),
            REGEX => Test::Regex(record.u64()?),
            PRESENT => Test::Present,
            _ => Test::Absent,
        })
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Test::Exact(text) => {
                out.push(EXACT);
                bytes::write_text(out, text);
            }
            Test::Prefix(text) => {
                out.push(PREFIX);
                bytes::write_text(out, text);
            }
            Test::Regex(hash) => {
                out.push(REGEX);
                out.extend(hash.to_le_bytes());
            }
            Test::Present => out.push(PRESENT),
            Test::Absent => out.push(ABSENT),
        }
    }

    #[inline]
    pub(crate) fn holds(&self, value: Field<'_>, regexes: &Regexes) -> bool {
        match (self, value) {
            (Test::Absent, Field::Absent) => true,
            (Test::Absent, _) | (_, Field::Absent) => false,
            (Test::Present, _) => true,
            (_, Field::Several) => false,
            (Test::Exact(text), Field::One(value)) => *text == value,
            (Test::Prefix(text), Field::One(value)) => value.starts_with(text),
            (Test::Regex(hash), Field::One(value)) => regexes.is_match(*hash, value),
        }
    }
}
