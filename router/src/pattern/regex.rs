//! Regular expressions over bytes, each compiled into a deterministic automaton.
//!
//! An automaton reads every byte once and needs no scratch memory, so that a match costs one or two
//! nanoseconds a byte, whatever the expression and the text. What would make it large (counted
//! repeats of wide classes) is refused when the rule is read. Classes are of ASCII bytes; `.` takes
//! any byte but a line feed. An expression may match anywhere in the text, as in nginx: `^` and `$`
//! bind it to the ends.
//!
//! Named groups capture. What they took is found once it is known that the expression matches: the
//! text is read again from where the match begins, by an automaton that knows at each byte which
//! groups begin and end. There is one where no byte leaves a choice between two ways through the
//! expression; others with named groups are refused. Where a match may begin anywhere, two more
//! readings find its end, and from there its start. What the last one notes on its way is held by
//! each thread: the first captures of a thread allocate it, 256 bytes at most.

use std::cell::RefCell;
use std::error::Error;

use regex_automata::dfa::{Automaton, StartKind, dense, onepass};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::{NonMaxUsize, PatternID};
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, MatchKind};

use crate::query::{CAPTURES_MAX, Captures};

/// An expression and its automaton.
pub(crate) struct Regex {
    text: Box<str>,
    automaton: dense::DFA<Vec<u32>>,
    /// Of an expression with named groups.
    groups: Option<Box<Groups>>,
}

/// Bytes of an automaton, and of what is held while it is made.
const AUTOMATON_BYTES_MAX: usize = 128 << 10;

impl Regex {
    /// Compiles; the error says what is wrong, and where.
    pub(crate) fn new(text: &str) -> Result<Regex, String> {
        let built = dense::Builder::new()
            .syntax(parse())
            .thompson(states(WhichCaptures::None))
            .configure(automaton(MatchKind::LeftmostFirst, StartKind::Unanchored))
            .build(text);
        let automaton = built.map_err(|error| why(text, &error))?;
        let groups = Groups::new(text)?.map(Box::new);
        Ok(Regex { text: text.into(), automaton, groups })
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

    /// What the named groups took of `bytes`, in the order in which they are written. None without
    /// named groups, and of what does not match.
    #[inline]
    pub(crate) fn captures(&self, bytes: &[u8]) -> Captures {
        match &self.groups {
            Some(groups) => groups.captures(&self.automaton, bytes),
            None => Captures::NONE,
        }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let groups = self.groups.as_ref().map_or(0, |groups| groups.bytes());
        self.text.len() + self.automaton.memory_usage() + groups
    }
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "~{}", self.text)
    }
}

/// What finds the captures of an expression.
struct Groups {
    one_pass: onepass::DFA,
    /// Reads backwards from where a match ends to where it begins; none where every match begins
    /// with the text.
    backwards: Option<dense::DFA<Vec<u32>>>,
    /// The numbers of the named groups, among all groups.
    named: Box<[usize]>,
}

/// Slots of a one-pass automaton: start and end of the match, and of 16 groups at most.
const SLOTS: usize = 2 + 32;

thread_local! {
    /// What a one-pass search notes on its way.
    static NOTES: RefCell<Option<onepass::Cache>> = const { RefCell::new(None) };
}

impl Groups {
    /// None where no group has a name.
    fn new(text: &str) -> Result<Option<Groups>, String> {
        let nfa = thompson::Compiler::new()
            .syntax(parse())
            .configure(states(WhichCaptures::All))
            .build(text)
            .map_err(|error| deepest(&error))?;
        let names = nfa.group_info().pattern_names(PatternID::ZERO).enumerate();
        let named: Vec<(usize, &str)> =
            names.filter_map(|(number, name)| Some((number, name?))).collect();
        if named.is_empty() {
            return Ok(None);
        }
        if named.len() > CAPTURES_MAX {
            return Err(format!("has more than {CAPTURES_MAX} named groups"));
        }
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if let Some((_, name)) = named.iter().find(|(_, name)| !name.bytes().all(is_word)) {
            return Err(format!("group `{name}`: a name has only letters, digits and `_`"));
        }
        let named = named.iter().map(|(number, _)| *number).collect();
        let is_bound = nfa.is_always_start_anchored();
        let one_pass = onepass::Builder::new()
            .configure(onepass::Config::new().size_limit(Some(AUTOMATON_BYTES_MAX)))
            .build_from_nfa(nfa)
            .map_err(|error| format!("{AMBIGUOUS} ({})", deepest(&error)))?;
        let backwards = if is_bound { None } else { Some(backwards(text)?) };
        Ok(Some(Groups { one_pass, backwards, named }))
    }

    fn captures(&self, forwards: &dense::DFA<Vec<u32>>, bytes: &[u8]) -> Captures {
        let start = match &self.backwards {
            Some(backwards) => start(forwards, backwards, bytes),
            None => Some(0),
        };
        let Some(start) = start else { return Captures::NONE };
        let input = Input::new(bytes).range(start..).anchored(Anchored::Yes);
        let mut slots = [None; SLOTS];
        let found = NOTES.with_borrow_mut(|notes| {
            let notes = notes.get_or_insert_with(|| self.one_pass.create_cache());
            notes.reset(&self.one_pass);
            // It only fails where a search is asked for that is not anchored.
            self.one_pass.try_search_slots(notes, &input, &mut slots).is_ok_and(|at| at.is_some())
        });
        if found { self.named(&slots) } else { Captures::NONE }
    }

    fn named(&self, slots: &[Option<NonMaxUsize>; SLOTS]) -> Captures {
        let mut captures = Captures::NONE;
        for number in &self.named {
            let slot = |at: usize| slots.get(at).copied().flatten().map(NonMaxUsize::get);
            match (slot(2 * number), slot(2 * number + 1)) {
                (Some(start), Some(end)) => captures.push(start, end),
                _ => captures.push_nothing(),
            }
        }
        captures
    }

    fn bytes(&self) -> usize {
        let backwards = self.backwards.as_ref().map_or(0, dense::DFA::memory_usage);
        size_of::<Groups>() + self.one_pass.memory_usage() + backwards
    }
}

/// Where the leftmost match begins.
fn start(
    forwards: &dense::DFA<Vec<u32>>,
    backwards: &dense::DFA<Vec<u32>>,
    bytes: &[u8],
) -> Option<usize> {
    let end = forwards.try_search_fwd(&Input::new(bytes)).ok()??.offset();
    let before = Input::new(bytes).range(..end).anchored(Anchored::Yes);
    Some(backwards.try_search_rev(&before).ok()??.offset())
}

fn backwards(text: &str) -> Result<dense::DFA<Vec<u32>>, String> {
    let built = dense::Builder::new()
        .syntax(parse())
        .thompson(states(WhichCaptures::None).reverse(true))
        .configure(automaton(MatchKind::All, StartKind::Anchored))
        .build(text);
    built.map_err(|error| why(text, &error))
}

fn parse() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false).nest_limit(50)
}

fn states(captures: WhichCaptures) -> thompson::Config {
    thompson::Config::new()
        .utf8(false)
        .which_captures(captures)
        .nfa_size_limit(Some(AUTOMATON_BYTES_MAX))
}

fn automaton(matches: MatchKind, starts: StartKind) -> dense::Config {
    dense::Config::new()
        .match_kind(matches)
        .start_kind(starts)
        .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
        .determinize_size_limit(Some(AUTOMATON_BYTES_MAX))
}

/// Said of named groups that no one-pass automaton can tell.
const AMBIGUOUS: &str = "what a named group takes must be plain at each byte: let it end before \
                         what it cannot take, as in `(?<name>[^/]+)/`, and write other groups \
                         `(?:..)`";

/// The parser's own words take several lines with a caret; one line with a place serves a log.
fn why(text: &str, error: &dense::BuildError) -> String {
    match regex_syntax::ast::parse::Parser::new().parse(text) {
        Err(error) => format!("at byte {}: {}", error.span().start.offset + 1, error.kind()),
        Ok(_) => deepest(error),
    }
}

/// The last line of the innermost reason.
fn deepest(error: &dyn Error) -> String {
    let mut deepest = error;
    while let Some(inner) = deepest.source() {
        deepest = inner;
    }
    deepest.to_string().lines().last().unwrap_or_default().to_owned()
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
    use proptest::prelude::*;

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

    /// Texts of the named groups.
    fn taken<'p>(text: &str, path: &'p [u8]) -> Vec<Option<&'p [u8]>> {
        let regex = Regex::new(text).unwrap();
        assert!(regex.is_match(path), "{text}");
        let captures = regex.captures(path);
        (0..captures.len()).map(|at| captures.range(at).map(|range| &path[range])).collect()
    }

    #[test]
    fn named_groups_capture_in_the_order_they_are_written() {
        let two = "^/(?<id>[0-9]+)/(x|y)/(?<name>[^/]*)$";
        assert_eq!(taken(two, b"/12/y/\xff"), [Some(&b"12"[..]), Some(b"\xff")]);
        assert_eq!(taken(two, b"/1/x/"), [Some(&b"1"[..]), Some(b"")]);
        let nested = "^/(?<all>(?<first>[a-c]+)-[0-9]+)";
        assert_eq!(taken(nested, b"/ab-12/z"), [Some(&b"ab-12"[..]), Some(b"ab")]);
        let one = r"\.(?:(?<image>png|gif)|(?<page>html?))$";
        assert_eq!(taken(one, b"/a.png"), [Some(&b"png"[..]), None]);
        assert_eq!(taken(one, b"/a.png/b.htm"), [None, Some(&b"htm"[..])]);
        assert_eq!(taken("(?<last>[0-9])*x", b"/12x"), [Some(&b"2"[..])]);
        assert_eq!(taken("^/([0-9]+)", b"/12"), []);
        assert_eq!(Regex::new(two).unwrap().captures(b"/12/z/").len(), 0, "no match");
    }

    #[test]
    fn groups_that_cannot_be_told_apart_are_refused() {
        let why = |text: &str| Regex::new(text).unwrap_err();
        for text in ["^/(?<a>.*)/(?<b>.*)$", "(?<a>x*)x", "^(?:(?<a>x)y|x(?<b>z))"] {
            assert!(why(text).starts_with("what a named group takes must be plain"), "{text}");
        }
        assert!(Regex::new("^/(.*)/(.*)$").is_ok(), "nobody asks what these take");
        let named = |count: usize| (0..count).map(|n| format!("(?<g{n}>{n})")).collect::<String>();
        assert_eq!(Regex::new(&named(8)).unwrap().captures(b"01234567").len(), 8);
        assert_eq!(why(&named(9)), "has more than 8 named groups");
        assert_eq!(why("(?<a.b>x)"), "group `a.b`: a name has only letters, digits and `_`");
        assert!(why(&("(x)".repeat(16) + "(?<a>y)")).ends_with("(max is 16))"));
    }

    #[test]
    fn a_long_path_is_read_and_a_thread_starts_anew() {
        let path = [&b"/"[..], &[b'a'; 8192], b"/b"].concat();
        let groups = "(?<a>a+)/(?<b>b)(?<c>c)?(?<d>d)?$";
        let captures = || [taken("(?<b>b)$", b"/b").len(), taken(groups, &path).len()];
        let all_a = taken(groups, &path)[0].map(<[u8]>::len);
        assert_eq!((captures(), all_a), ([1, 4], Some(8192)));
        std::thread::scope(|scope| {
            assert_eq!(scope.spawn(captures).join().unwrap(), [1, 4]);
        });
    }

    /// A part of an expression; `{}` is where a name goes.
    fn part() -> impl Strategy<Value = String> {
        let leaf = prop::sample::select(vec![
            "a", "b", "/", "[ab]+", "[^/]+", "[^/]*", ".", "a?", "b*", "(?:a|bb)", "(?:)", r"\b",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(3, 12, 3, |inner| {
            let several = prop::collection::vec(inner.clone(), 1..4);
            prop_oneof![
                2 => several.clone().prop_map(|parts| parts.concat()),
                1 => several.prop_map(|parts| format!("(?:{})", parts.join("|"))),
                4 => inner.clone().prop_map(|part| format!("(?<{{}}>{part})")),
                1 => inner.clone().prop_map(|part| format!("({part})")),
                1 => inner.prop_map(|part| format!("(?:{part})*")),
            ]
        })
    }

    /// With each `{}` a name of its own.
    fn with_names(text: &str) -> String {
        let mut parts = text.split("{}");
        let first = parts.next().unwrap_or_default().to_owned();
        let named = parts.zip(0..).map(|(part, number)| format!("n{number}{part}"));
        first + &named.collect::<String>()
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 2 * ProptestConfig::default().cases,
            ..ProptestConfig::default()
        })]

        #[test]
        fn captures_are_those_of_the_regex_crate(
            parts in prop::collection::vec(part(), 1..4),
            bound in any::<[bool; 2]>(),
            texts in prop::collection::vec("[ab/c\\n]{0,9}", 8),
        ) {
            let bind = |is_so: bool, text: &'static str| if is_so { text } else { "" };
            let text = with_names(&parts.concat());
            let text = [bind(bound[0], "^"), &text, bind(bound[1], "$")].concat();
            let Ok(own) = Regex::new(&text) else { return Ok(()) };
            let reference = regex::bytes::RegexBuilder::new(&text).unicode(false).build().unwrap();
            for path in &texts {
                let expected = reference.captures(path.as_bytes());
                prop_assert_eq!(own.is_match(path.as_bytes()), expected.is_some());
                let names = reference.capture_names().flatten();
                let expected: Vec<_> = names
                    .filter_map(|name| Some(expected.as_ref()?.name(name).map(|at| at.range())))
                    .collect();
                let captures = own.captures(path.as_bytes());
                let found: Vec<_> = (0..captures.len()).map(|at| captures.range(at)).collect();
                prop_assert_eq!(found, expected, "{} of {:?}", text, path);
            }
        }
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
