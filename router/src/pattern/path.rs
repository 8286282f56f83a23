//! Paths: `/users` exactly, `/users/{id}` with a segment of any text, `/users/*` with any rest,
//! `~^/users/[0-9]+$` by a regular expression, or any.
//!
//! A path is the segments between its slashes: `/a/` has two, the second one empty. `{name}` takes
//! one segment that is not empty. A trailing `*` takes the rest behind its slash, an empty one
//! too: `/users/*` takes `/users/` and not `/users`. Of a path with more than [`SEGMENTS_MAX`]
//! segments the last one counted is all the rest, so that a long path costs no more than a short.

use super::regex;
use crate::query::{CAPTURES_MAX, Captures};

/// Segments that are told apart. A pattern with `{name}` or `*` has fewer.
pub(crate) const SEGMENTS_MAX: usize = 32;

/// Longest pattern in bytes.
pub(crate) const PATH_BYTES_MAX: usize = 8192;

/// Which form a pattern has, in the order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Exact,
    Segments,
    Prefix,
    Regex,
    Any,
}

impl Class {
    pub(crate) const ALL: [Class; 5] =
        [Class::Exact, Class::Segments, Class::Prefix, Class::Regex, Class::Any];
}

/// A path pattern: its form, and its text without a prefix's `*` or a regular expression's `~`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct PathPattern<'a> {
    pub(crate) class: Class,
    pub(crate) text: &'a [u8],
}

/// What can be told of a pattern without a path: patterns of one shape differ in literals only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) class: Class,
    /// Number of segments; those before the `*` of a prefix, the literal ones before a regular
    /// expression.
    pub(crate) depth: u8,
    /// Segments that are literal: bit 31 for the first, so that of two shapes of the same class and
    /// depth the one whose first difference is a literal has the greater number.
    pub(crate) literals: u32,
}

impl Shape {
    /// Number of leading segments that are literal.
    pub(crate) fn run(self) -> usize {
        (self.literals.leading_ones() as usize).min(usize::from(self.depth))
    }

    /// Whether a path may have more segments.
    pub(crate) fn is_open(self) -> bool {
        matches!(self.class, Class::Prefix | Class::Regex | Class::Any)
    }

    pub(crate) fn is_literal(self, segment: usize) -> bool {
        segment < SEGMENTS_MAX && self.literals << segment >> 31 == 1
    }

    /// Greater is more specific: the class, for prefixes the number of segments, then the first
    /// literal where the other has none.
    pub(crate) fn specificity(self) -> u64 {
        let class = (Class::Any as u64) - (self.class as u64);
        class << CLASS_SHIFT | u64::from(self.depth) << 32 | u64::from(self.literals)
    }
}

/// Where the class stands in a specificity.
pub(crate) const CLASS_SHIFT: u32 = 40;

impl<'a> PathPattern<'a> {
    /// From what was typed; the error follows the path in a message.
    pub(crate) fn read(text: Option<&'a str>) -> Result<PathPattern<'a>, &'static str> {
        let Some(text) = text else {
            return Ok(PathPattern { class: Class::Any, text: b"" });
        };
        if let Some(regex) = text.strip_prefix('~') {
            let pattern = PathPattern { class: Class::Regex, text: regex.as_bytes() };
            return if text.len() > PATH_BYTES_MAX { Err(TOO_LONG) } else { Ok(pattern) };
        }
        if let Some(why) = fault(text) {
            return Err(why);
        }
        let (class, literal) = match text.strip_suffix('*') {
            Some(prefix) => (Class::Prefix, prefix),
            None if text.contains('{') => (Class::Segments, text),
            None => (Class::Exact, text),
        };
        Ok(PathPattern { class, text: literal.as_bytes() })
    }

    /// The segments that count, in order: those before the `*` of a prefix, those that a regular
    /// expression surely begins with.
    pub(crate) fn segments(self) -> Segments<'a> {
        let text = match self.class {
            Class::Any => b"",
            Class::Exact | Class::Segments => self.text,
            Class::Prefix => self.text.strip_suffix(b"/").unwrap_or(self.text),
            Class::Regex => regex::literal_segments(self.text),
        };
        if text.is_empty() { Segments::NONE } else { Segments::of(text) }
    }

    pub(crate) fn shape(self) -> Shape {
        let (mut depth, mut literals) = (0_u8, 0_u32);
        for segment in self.segments() {
            if self.class == Class::Exact || !segment.starts_with(b"{") {
                literals |= 1 << 31 >> depth;
            }
            depth += 1;
        }
        Shape { class: self.class, depth, literals }
    }

    /// What the pattern captures of a path; None when it does not take it. A regular expression is
    /// not looked at here.
    #[inline]
    pub(crate) fn captures(self, path: &[u8]) -> Option<Captures> {
        match self.class {
            Class::Exact => (self.text == path).then_some(Captures::NONE),
            Class::Segments => captures(self.text, path, false),
            Class::Prefix => captures(self.text, path, true),
            Class::Regex | Class::Any => Some(Captures::NONE),
        }
    }

    /// Whether it surely takes every path that `other` takes.
    pub(crate) fn covers(self, other: PathPattern<'_>) -> bool {
        match self.class {
            Class::Any => true,
            Class::Regex => self == other,
            Class::Exact | Class::Segments => self.class == other.class && self.is_like(other),
            // Most patterns differ in their first literals: those are looked at first.
            Class::Prefix if !self.begins(other) => false,
            Class::Prefix => {
                let (own, its) = (self.shape().depth, other.shape().depth);
                let is_deeper = match other.class {
                    // Its literal segments end with a slash, so that another segment follows.
                    Class::Regex => regex::is_rooted(other.text) && its >= own,
                    _ => its > own,
                };
                is_deeper || (other.class == Class::Prefix && self.is_like(other))
            }
        }
    }

    /// Whether segment by segment both ask for the same, whatever their names are called.
    fn is_like(self, other: PathPattern<'_>) -> bool {
        let (mut own, mut its) = (self.segments(), other.segments());
        loop {
            match (own.next(), its.next()) {
                (Some(mine), Some(theirs)) => {
                    let is_named = self.is_named(mine);
                    if is_named != other.is_named(theirs) || !(is_named || mine == theirs) {
                        return false;
                    }
                }
                // Equal when both have ended.
                (mine, theirs) => return mine == theirs && self.class == other.class,
            }
        }
    }

    /// Whether its segments take the first segments of the other.
    fn begins(self, other: PathPattern<'_>) -> bool {
        let mut pairs = self.segments().zip(other.segments());
        pairs.all(|(mine, theirs)| match self.is_named(mine) {
            // A name takes no empty segment.
            true => !theirs.is_empty(),
            false => mine == theirs && !other.is_named(theirs),
        })
    }

    fn is_named(self, segment: &[u8]) -> bool {
        self.class != Class::Exact && segment.starts_with(b"{")
    }
}

/// Walks pattern and path side by side, one `{name}` at a time.
fn captures(pattern: &[u8], path: &[u8], is_prefix: bool) -> Option<Captures> {
    let mut captures = Captures::NONE;
    let (mut pattern, mut at) = (pattern, 0);
    while let Some(open) = pattern.iter().position(|byte| *byte == b'{') {
        let (literal, rest) = pattern.split_at(open);
        if !path[at..].starts_with(literal) {
            return None;
        }
        at += literal.len();
        let len = segment_len(&path[at..]);
        if len == 0 {
            return None;
        }
        captures.push(at, at + len);
        at += len;
        pattern = &rest[segment_len(rest)..];
    }
    let rest = path[at..].strip_prefix(pattern)?;
    if is_prefix {
        captures.push(path.len() - rest.len(), path.len());
    } else if !rest.is_empty() {
        return None;
    }
    Some(captures)
}

fn segment_len(text: &[u8]) -> usize {
    text.iter().position(|byte| *byte == b'/').unwrap_or(text.len())
}

/// The segments of a path. What does not begin with a slash, like `*`, is a single one.
#[derive(Clone, Debug)]
pub(crate) struct Segments<'a> {
    /// What is behind the next slash, until there are no more.
    rest: Option<&'a [u8]>,
    left: usize,
}

impl<'a> Segments<'a> {
    const NONE: Segments<'a> = Segments { rest: None, left: SEGMENTS_MAX };

    #[inline]
    pub(crate) fn of(path: &'a [u8]) -> Segments<'a> {
        match path.strip_prefix(b"/") {
            Some(rest) => Segments { rest: Some(rest), left: SEGMENTS_MAX },
            None => Segments { rest: Some(path), left: 1 },
        }
    }
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        self.left -= 1;
        let end = if self.left == 0 { None } else { rest.iter().position(|byte| *byte == b'/') };
        match end {
            Some(end) => {
                self.rest = Some(&rest[end + 1..]);
                Some(&rest[..end])
            }
            None => {
                self.rest = None;
                Some(rest)
            }
        }
    }
}

const TOO_LONG: &str = "is longer than 8192 bytes";

fn fault(path: &str) -> Option<&'static str> {
    let literal = path.strip_suffix('*').unwrap_or(path);
    if !path.starts_with('/') {
        Some("does not begin with `/`")
    } else if path.len() > PATH_BYTES_MAX {
        Some(TOO_LONG)
    } else if literal.contains('*') {
        Some("has a `*` inside: only a trailing `/*` is possible")
    } else if literal.len() < path.len() && !literal.ends_with('/') {
        Some("ends with `*` after a partial segment: only a trailing `/*` is possible")
    } else if path.contains(['?', '#']) {
        Some("has a `?` or `#`: routes match the path without its query")
    } else if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        Some("has a space or a control character: write it percent-encoded")
    } else {
        names_fault(literal, literal.len() < path.len())
    }
}

fn names_fault(path: &str, is_prefix: bool) -> Option<&'static str> {
    let mut names = Vec::new();
    for segment in path.split('/').filter(|segment| segment.contains(['{', '}'])) {
        let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        let known = |name: &&str| {
            let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !name.is_empty() && name.bytes().all(word)
        };
        match name.filter(known) {
            Some(name) if names.contains(&name) => {
                return Some("has two `{name}` segments of the same name");
            }
            Some(name) => names.push(name),
            None => {
                return Some(
                    "has a brace that is no whole segment: write `{name}` between slashes, with \
                     letters, digits and `_`",
                );
            }
        }
    }
    let captures = names.len() + usize::from(is_prefix);
    let depth = path.split('/').count() - 1;
    if captures > CAPTURES_MAX {
        Some("captures more than 8 parts")
    } else if (is_prefix || !names.is_empty()) && depth >= SEGMENTS_MAX {
        Some("has more than 31 segments: only an exact path may")
    } else {
        None
    }
}
