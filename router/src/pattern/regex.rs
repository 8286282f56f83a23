//! Regular expressions over bytes, each compiled into a deterministic automaton.
//!
//! An automaton reads every byte once and needs no scratch memory, so that a match costs one or two
//! nanoseconds a byte, whatever the expression and the text. What would make it large (counted
//! repeats of wide classes) is refused when the rule is read. Classes are of ASCII bytes; `.` takes
//! any byte but a line feed. An expression may match anywhere in the text, as in nginx: `^` and `$`
//! bind it to the ends.

use std::error::Error;

use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use regex_automata::{Input, MatchKind};

/// An expression and its automaton.
pub(crate) struct Regex {
    text: Box<str>,
    automaton: dense::DFA<Vec<u32>>,
}

/// Bytes of an automaton, and of what is held while it is made.
const AUTOMATON_BYTES_MAX: usize = 128 << 10;

impl Regex {
    /// Compiles; the error says what is wrong, and where.
    pub(crate) fn new(text: &str) -> Result<Regex, String> {
        let parse = syntax::Config::new().unicode(false).utf8(false).nest_limit(50);
        let automaton = dense::Config::new()
            .match_kind(MatchKind::LeftmostFirst)
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
            .determinize_size_limit(Some(AUTOMATON_BYTES_MAX));
        let states = thompson::Config::new()
            .utf8(false)
            .which_captures(thompson::WhichCaptures::None)
            .nfa_size_limit(Some(AUTOMATON_BYTES_MAX));
        let built =
            dense::Builder::new().syntax(parse).thompson(states).configure(automaton).build(text);
        match built {
            Ok(automaton) => Ok(Regex { text: text.into(), automaton }),
            Err(error) => Err(why(text, &error)),
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches anywhere in `bytes`.
    #[inline]
    pub(crate) fn is_match(&self, bytes: &[u8]) -> bool {
        let input = Input::new(bytes).earliest(true);
        // It only fails for automata that give up on some bytes, and none of ours does.
        self.automaton.try_search_fwd(&input).is_ok_and(|found| found.is_some())
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.text.len() + self.automaton.memory_usage()
    }
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "~{}", self.text)
    }
}

/// The parser's own words take several lines with a caret; one line with a place serves a log.
fn why(text: &str, error: &dense::BuildError) -> String {
    match regex_syntax::ast::parse::Parser::new().parse(text) {
        Err(error) => format!("at byte {}: {}", error.span().start.offset + 1, error.kind()),
        Ok(_) => {
            let mut deepest: &dyn Error = error;
            while let Some(inner) = deepest.source() {
                deepest = inner;
            }
            deepest.to_string().lines().last().unwrap_or_default().to_owned()
        }
    }
}

/// Whether every match surely begins with a slash.
pub(crate) fn is_rooted(regex: &[u8]) -> bool {
    // An alternative need not begin like the first one; a repeat may take the slash away.
    let is_repeated = regex.get(2).is_some_and(|byte| b"*?{".contains(byte));
    regex.starts_with(b"^/") && !regex.contains(&b'|') && !is_repeated
}

/// Whole segments that every match surely begins with, as a path without its last slash; empty if
/// there are none.
pub(crate) fn literal_segments(regex: &[u8]) -> &[u8] {
    if !is_rooted(regex) {
        return b"";
    }
    let text = &regex[1..];
    let special = |byte: &u8| b"\\.+*?()[]{}^$".contains(byte);
    let end = text.iter().position(special).unwrap_or(text.len());
    // A repeat takes the character before it.
    let is_repeated = text.get(end).is_some_and(|byte| b"*?{+".contains(byte));
    let literal = &text[..end - usize::from(is_repeated)];
    let slash = literal.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    &literal[..slash]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_anywhere_unless_bound() {
        let is_match = |text: &str, path: &[u8]| Regex::new(text).unwrap().is_match(path);
        assert!(is_match("[0-9]+", b"/a/12/b"));
        assert!(!is_match("^/[0-9]+$", b"/a/12"));
        assert!(is_match("^/[0-9]+$", b"/12"));
        assert!(is_match("^/.$", b"/\xff"), "any byte");
        assert!(is_match("(?i)^/abc", b"/ABCd"));
    }

    #[test]
    fn faults_have_a_place() {
        let why = |text: &str| Regex::new(text).unwrap_err();
        assert_eq!(why("^/a("), "at byte 4: unclosed group");
        assert_eq!(
            why("a{3,1}"),
            "at byte 2: invalid repetition count range, the start must be <= the end"
        );
        assert!(
            why("(.{100}){100}").contains("exceeded limit of 131072"),
            "{}",
            why("(.{100}){100}")
        );
        assert!(why(r"\pL").contains("Unicode"), "{}", why(r"\pL"));
    }

    #[test]
    fn literals_end_where_a_match_may_differ() {
        let literal = |text: &'static str| literal_segments(text.as_bytes());
        assert_eq!(literal("^/users/[0-9]+$"), b"/users");
        assert_eq!(literal("^/users/a/?$"), b"/users");
        assert_eq!(literal("^/users/?$"), b"");
        assert_eq!(literal("^/a/b/c$"), b"/a/b");
        assert_eq!(literal("^/a/b|^/c"), b"");
        assert_eq!(literal("/a/b/[0-9]"), b"");
        assert_eq!(literal(r"^/a/b\.c/d"), b"/a");
        assert_eq!(literal("^/a/b/{2}"), b"/a");
    }
}
