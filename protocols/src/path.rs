//! Paths in normal form: what a route is matched against is, byte for byte, what is forwarded.
//!
//! A path can be written in many ways (`/a/%2e%2e/b`, `/%62`, `/x/../b`), and a gateway that
//! matches one reading while its upstream serves another guards nothing. So a target is brought
//! into one form before routing, or refused where its readers are known to disagree. The rule is
//! RFC 3986 §6.2.2: escapes of unreserved characters are decoded, hex digits are upper case, dot
//! segments are resolved (§5.2.4); [`PathRule`] says what goes beyond it. This is not a URL
//! parser: it takes the origin form that a wire has already let in, and never touches a query.
//!
//! N1 Normalising twice is normalising once. N2 A path never grows and is never empty. N3 Unless
//! the rule is `Off`, no segment of the result is `.` or `..`; from `Safe` on, none becomes one
//! when the result is decoded once more. N4 Dot segments are found after decoding, and a `..`
//! above the root is refused rather than swallowed: no honest client sends one.
//!
//! Cost: a path in normal form is read once and nothing is written. Any other is rewritten in
//! place, in one further pass.

use crate::error::Fault;
use crate::head::is_target_byte;

/// How much of a path is put right, and how much is refused. Each rule includes the ones before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathRule {
    /// Nothing changes; malformed escapes and `%00` are refused, as under every rule.
    Off,
    /// RFC 3986 §6.2.2: unreserved characters decoded, hex in upper case, dot segments resolved.
    Minimal,
    /// Also: empty segments are dropped (`//` becomes `/`) before dot segments are resolved;
    /// `%2F`, `%5C` and `\` are refused, which some servers take for a separator.
    #[default]
    Safe,
    /// Also refused: `;` and `%3B` (path parameters, as in `/..;/`), `%25` before two hex digits
    /// (double encoding), escapes of control bytes, and escapes that are not UTF-8.
    Strict,
}

/// Brings an origin-form target into normal form. `Ok(true)`: it changed, and `out` holds the new
/// one, query included. `Ok(false)`: it is in normal form as it is; `out` is then unspecified.
///
/// # Errors
///
/// `bad_target` for what is neither `*` nor begins with `/`, or holds a byte that no target may;
/// `bad_escape`, `path_above_root`, `encoded_slash`, `raw_backslash`, `path_parameter`,
/// `double_encoding`, `encoded_control`, `path_not_utf8` as the rule says.
pub fn normalise(rule: PathRule, target: &[u8], out: &mut Vec<u8>) -> Result<bool, Fault> {
    if is_settled(rule, target)? {
        return Ok(false);
    }
    out.clear();
    out.extend_from_slice(target);
    let len = rewrite(rule, out)?;
    out.truncate(len);
    Ok(out != target)
}

/// Whether nothing is to be rewritten. False may be wrong, true never is.
pub(crate) fn is_settled(rule: PathRule, target: &[u8]) -> Result<bool, Fault> {
    match target {
        b"*" => Ok(true),
        [b'/', ..] if rule == PathRule::Off => check_escapes(target).map(|()| true),
        [b'/', ..] => Ok(is_normal(rule, target)),
        _ => Err(Fault::BadTarget),
    }
}

/// Rewrites a target that begins with `/` in place; how long it is then.
pub(crate) fn rewrite(rule: PathRule, target: &mut [u8]) -> Result<usize, Fault> {
    let mut path = Path { rule, bytes: target, read: 0, write: 0 };
    while path.segment()? {}
    Ok(path.keep_query())
}

fn check_escapes(target: &[u8]) -> Result<(), Fault> {
    let path = target.split(|&b| b == b'?').next().unwrap_or_default();
    let percents = path.iter().enumerate().filter(|&(_, &b)| b == b'%');
    percents.map(|(at, _)| escaped_byte(path, at)).try_for_each(|byte| byte.map(drop))
}

/// Reads the target up to its query. Where in doubt it says no, and the rewrite finds out.
fn is_normal(rule: PathRule, target: &[u8]) -> bool {
    let mut start = 1;
    for (at, &byte) in target.iter().enumerate().skip(1) {
        match byte {
            _ if is_plain(byte) => {}
            b'/' => {
                let segment = target.get(start..at).unwrap_or_default();
                if is_dots(segment) || (segment.is_empty() && rule >= PathRule::Safe) {
                    return false;
                }
                start = at + 1;
            }
            b'?' => return !is_dots(target.get(start..at).unwrap_or_default()),
            b'%' if !is_normal_escape(rule, target.get(at + 1..at + 3)) => return false,
            b'\\' if rule >= PathRule::Safe => return false,
            b';' if rule >= PathRule::Strict => return false,
            _ if !is_target_byte(byte) => return false,
            _ => {}
        }
    }
    !is_dots(target.get(start..).unwrap_or_default())
}

/// Whether the byte means the same under every rule.
fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)).copied().unwrap_or_default()
}

static PLAIN: [bool; 256] = plain_bytes();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, never at run time")]
const fn plain_bytes() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let special = matches!(byte as u8, b'/' | b'?' | b'%' | b'\\' | b';');
        table[byte] = is_target_byte(byte as u8) && !special;
        byte += 1;
    }
    table
}

fn is_dots(segment: &[u8]) -> bool {
    matches!(segment, b"." | b"..")
}

/// Whether an escape with these digits stays as it is, whatever stands around it.
fn is_normal_escape(rule: PathRule, digits: Option<&[u8]>) -> bool {
    let Some(&[high, low]) = digits else { return false };
    if high.is_ascii_lowercase() || low.is_ascii_lowercase() {
        return false;
    }
    let (Some(high), Some(low)) = (nibble(high), nibble(low)) else { return false };
    let byte = high << 4 | low;
    let strict = rule >= PathRule::Strict && (byte == b'%' || !byte.is_ascii());
    byte != 0 && !is_unreserved(byte) && !strict && refusal(rule, byte).is_none()
}

/// What is wrong with the escape of this byte by itself.
fn refusal(rule: PathRule, byte: u8) -> Option<Fault> {
    match byte {
        b'/' | b'\\' if rule >= PathRule::Safe => Some(Fault::EncodedSlash),
        b';' if rule >= PathRule::Strict => Some(Fault::PathParameter),
        _ if rule >= PathRule::Strict && byte.is_ascii_control() => Some(Fault::EncodedControl),
        _ => None,
    }
}

/// RFC 3986 §2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

/// The byte that the escape at `at` stands for.
fn escaped_byte(bytes: &[u8], at: usize) -> Result<u8, Fault> {
    let digits = bytes.get(at + 1..at + 3);
    let Some(&[high, low]) = digits else { return Err(Fault::BadEscape) };
    match (nibble(high), nibble(low)) {
        (Some(0), Some(0)) | (None, _) | (_, None) => Err(Fault::BadEscape),
        (Some(high), Some(low)) => Ok(high << 4 | low),
    }
}

/// A path being rewritten in place: `write <= read`, since no step writes more than it reads.
struct Path<'a> {
    rule: PathRule,
    bytes: &'a mut [u8],
    read: usize,
    write: usize,
}

impl Path<'_> {
    /// Rewrites `/` and the segment behind it. False when it was the last.
    fn segment(&mut self) -> Result<bool, Fault> {
        let start = self.write;
        self.put(b'/');
        self.read += 1;
        while let Some(&byte) = self.bytes.get(self.read) {
            match byte {
                b'/' | b'?' => break,
                b'%' => self.escape()?,
                _ => self.plain(byte)?,
            }
            self.check_double(start)?;
        }
        let last = self.bytes.get(self.read) != Some(&b'/');
        self.close(start, last)?;
        Ok(!last)
    }

    /// Resolves the segment written at `start` if it is a dot segment, drops it if it is empty.
    /// A resolved last segment leaves its `/`: it names a directory.
    fn close(&mut self, start: usize, last: bool) -> Result<(), Fault> {
        match self.bytes.get(start + 1..self.write) {
            Some(b"") if !last && self.rule >= PathRule::Safe => self.write = start,
            Some(b".") => self.write = start + usize::from(last),
            Some(b"..") => {
                let above = self.bytes.get(..start).unwrap_or_default();
                let parent = above.iter().rposition(|&b| b == b'/').ok_or(Fault::PathAboveRoot)?;
                self.write = parent + usize::from(last);
            }
            _ => {}
        }
        Ok(())
    }

    fn plain(&mut self, byte: u8) -> Result<(), Fault> {
        match byte {
            b'\\' if self.rule >= PathRule::Safe => return Err(Fault::RawBackslash),
            b';' if self.rule >= PathRule::Strict => return Err(Fault::PathParameter),
            _ if !is_target_byte(byte) => return Err(Fault::BadTarget),
            _ => self.put(byte),
        }
        self.read += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Fault> {
        let byte = escaped_byte(self.bytes, self.read)?;
        if let Some(fault) = refusal(self.rule, byte) {
            return Err(fault);
        }
        if is_unreserved(byte) {
            self.put(byte);
            self.read += 3;
            return Ok(());
        }
        let strict = self.rule >= PathRule::Strict;
        let count = if strict { self.character(byte)? } else { 1 };
        for _ in 0..count {
            self.keep_escape();
        }
        Ok(())
    }

    /// How many escapes from here on make one character of UTF-8 (RFC 3629 §4).
    fn character(&self, first: u8) -> Result<usize, Fault> {
        let len = match first {
            0..0x80 => return Ok(1),
            0xc0..0xe0 => 2,
            0xe0..0xf0 => 3,
            _ => 4,
        };
        let mut bytes = [0; 4];
        for (index, slot) in bytes.iter_mut().enumerate().take(len) {
            let at = self.read + 3 * index;
            if self.bytes.get(at) != Some(&b'%') {
                return Err(Fault::PathNotUtf8);
            }
            *slot = escaped_byte(self.bytes, at)?;
        }
        let text = core::str::from_utf8(bytes.get(..len).unwrap_or_default());
        if text.is_ok() { Ok(len) } else { Err(Fault::PathNotUtf8) }
    }

    /// Copies an escape, its digits in upper case.
    fn keep_escape(&mut self) {
        for _ in 0..3 {
            let byte = self.bytes.get(self.read).copied().unwrap_or_default();
            self.put(byte.to_ascii_uppercase());
            self.read += 1;
        }
    }

    /// Looks at what was written: a digit behind `%25` may itself have been escaped.
    fn check_double(&self, start: usize) -> Result<(), Fault> {
        let tail = self.write.checked_sub(5).filter(|&at| at > start);
        let tail = tail.and_then(|at| self.bytes.get(at..self.write));
        match tail {
            Some([b'%', b'2', b'5', high, low])
                if self.rule >= PathRule::Strict
                    && high.is_ascii_hexdigit()
                    && low.is_ascii_hexdigit() =>
            {
                Err(Fault::DoubleEncoding)
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, byte: u8) {
        debug_assert!(self.write <= self.read);
        if let Some(slot) = self.bytes.get_mut(self.write) {
            *slot = byte;
        }
        self.write += 1;
    }

    /// Moves the query up behind the path; the length of both.
    fn keep_query(self) -> usize {
        let query = self.bytes.len().saturating_sub(self.read);
        self.bytes.copy_within(self.read.min(self.bytes.len()).., self.write);
        self.write + query
    }
}

/// Any bytes as a target, under the rule that the first byte chooses: N1 to N3 hold.
#[cfg(any(test, feature = "fuzz"))]
pub fn fuzz_path(data: &[u8]) {
    let Some((&choice, target)) = data.split_first() else { return };
    let rules = [PathRule::Minimal, PathRule::Safe, PathRule::Strict, PathRule::Off];
    let rule = rules.get(usize::from(choice % 4)).copied().unwrap_or_default();
    let (mut out, mut again) = (Vec::new(), Vec::new());
    let Ok(changed) = normalise(rule, target, &mut out) else { return };
    let form = if changed { out.as_slice() } else { target };
    assert!(changed == (form != target), "changed and not changed");
    assert!(form == b"*" || form.first() == Some(&b'/'), "N2: no path");
    assert!(form.len() <= target.len(), "N2: it grew");
    assert_eq!(normalise(rule, form, &mut again), Ok(false), "N1: twice is not once");
    if rule == PathRule::Off {
        return assert!(!changed, "off");
    }
    let query =
        |text: &[u8]| text.iter().position(|&b| b == b'?').map(|at| text.split_at(at).1.to_vec());
    assert_eq!(query(form), query(target), "the query was touched");
    let path = form.split(|&b| b == b'?').next().unwrap_or_default();
    assert!(!path.split(|&b| b == b'/').any(is_dots), "N3: a dot segment");
    if rule >= PathRule::Safe {
        assert!(!path.windows(2).any(|pair| pair == b"//"), "an empty segment");
    }
    if !target.iter().all(|&b| is_target_byte(b)) {
        return;
    }
    let mut head = crate::Head::new();
    head.set_request(b"GET", target);
    assert_eq!(head.normalise_path(rule), Ok(()));
    assert_eq!(head.target(), form, "a head's target");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::head::Head;

    const RULES: [PathRule; 3] = [PathRule::Minimal, PathRule::Safe, PathRule::Strict];

    fn form(rule: PathRule, target: &str) -> Result<String, Fault> {
        let mut out = b"left over".to_vec();
        let changed = normalise(rule, target.as_bytes(), &mut out)?;
        let form = if changed { out } else { target.into() };
        assert_eq!(changed, form != target.as_bytes(), "{target}");
        Ok(String::from_utf8(form).unwrap())
    }

    /// Targets, and what they become under each of `RULES`.
    fn table(rows: &[(&str, [Result<&str, Fault>; 3])]) {
        for (target, wanted) in rows {
            for (rule, want) in RULES.iter().zip(wanted) {
                let want = want.map(str::to_owned);
                assert_eq!(form(*rule, target), want, "{rule:?} {target}");
            }
        }
    }

    #[test]
    fn public_tricks() {
        use Fault::*;
        let all = |form| [Ok(form); 3];
        let never = |fault| [Err(fault); 3];
        table(&[
            ("/a/%2e%2e/b", all("/b")),
            ("/a/%2E%2E/b", all("/b")),
            ("/a/.%2e/b", all("/b")),
            ("/a/%2e/b", all("/a/b")),
            ("/a/./b", all("/a/b")),
            ("/a/.", all("/a/")),
            ("/a/..", all("/")),
            ("/a/b/..", all("/a/")),
            ("/a/b/%2e%2E?x=/../", all("/a/?x=/../")),
            ("/.", all("/")),
            ("/a/...", all("/a/...")),
            ("/..", never(PathAboveRoot)),
            ("/../a", never(PathAboveRoot)),
            ("/a/../../b", never(PathAboveRoot)),
            ("/%2E%2E/", never(PathAboveRoot)),
            ("/%2e%2e%2f", [Ok("/..%2F"), Err(EncodedSlash), Err(EncodedSlash)]),
            ("/a%2fb", [Ok("/a%2Fb"), Err(EncodedSlash), Err(EncodedSlash)]),
            ("/a%5c..%5cb", [Ok("/a%5C..%5Cb"), Err(EncodedSlash), Err(EncodedSlash)]),
            ("/a\\..\\b", [Ok("/a\\..\\b"), Err(RawBackslash), Err(RawBackslash)]),
            ("/a%00", never(BadEscape)),
            ("/a%0", never(BadEscape)),
            ("/%%34%31", never(BadEscape)),
            ("/%252e%252e/", [Ok("/%252e%252e/"), Ok("/%252e%252e/"), Err(DoubleEncoding)]),
            ("/%25%32%65", [Ok("/%252e"), Ok("/%252e"), Err(DoubleEncoding)]),
            ("/100%25", all("/100%25")),
            ("/a/..;/b", [Ok("/a/..;/b"), Ok("/a/..;/b"), Err(PathParameter)]),
            ("/a;x=1/b", [Ok("/a;x=1/b"), Ok("/a;x=1/b"), Err(PathParameter)]),
            ("/a/..%3b/b", [Ok("/a/..%3B/b"), Ok("/a/..%3B/b"), Err(PathParameter)]),
            ("/a%0d%0ab", [Ok("/a%0D%0Ab"), Ok("/a%0D%0Ab"), Err(EncodedControl)]),
            ("/%7f", [Ok("/%7F"), Ok("/%7F"), Err(EncodedControl)]),
            // Overlong: '.' and '/' in two bytes.
            ("/%c0%ae%c0%ae/", [Ok("/%C0%AE%C0%AE/"), Ok("/%C0%AE%C0%AE/"), Err(PathNotUtf8)]),
            ("/%c0%af", [Ok("/%C0%AF"), Ok("/%C0%AF"), Err(PathNotUtf8)]),
            ("/%c3a9", [Ok("/%C3a9"), Ok("/%C3a9"), Err(PathNotUtf8)]),
            ("/%c3", [Ok("/%C3"), Ok("/%C3"), Err(PathNotUtf8)]),
            ("/%c3/%a9", [Ok("/%C3/%A9"), Ok("/%C3/%A9"), Err(PathNotUtf8)]),
            ("/%ed%a0%80", [Ok("/%ED%A0%80"), Ok("/%ED%A0%80"), Err(PathNotUtf8)]),
            ("/%c3%a9%E2%82%AC%f0%9f%98%80", all("/%C3%A9%E2%82%AC%F0%9F%98%80")),
            ("//", [Ok("//"), Ok("/"), Ok("/")]),
            ("//a///b//", [Ok("//a///b//"), Ok("/a/b/"), Ok("/a/b/")]),
            ("/a/..//b", [Ok("//b"), Ok("/b"), Ok("/b")]),
            ("/a//../b", [Ok("/a/b"), Ok("/b"), Ok("/b")]),
            ("//..", [Ok("/"), Err(PathAboveRoot), Err(PathAboveRoot)]),
            ("/%41%7a%2D%5f%7E", all("/Az-_~")),
            ("/a%20b?%41=%", all("/a%20b?%41=%")),
            ("/a#b", never(BadTarget)),
            ("/a b", never(BadTarget)),
            ("/\u{e9}", never(BadTarget)),
            ("", never(BadTarget)),
            ("a", never(BadTarget)),
            ("?a", never(BadTarget)),
        ]);
    }

    #[test]
    fn what_is_in_normal_form_is_not_written() {
        for target in
            ["/", "*", "/a", "/a/", "/a.b/c..d/.e/..f/g.", "/.well-known/x?y=//../%zz", "/%20%C3/"]
        {
            let mut out = Vec::new();
            let rule = PathRule::default();
            assert_eq!(normalise(rule, target.as_bytes(), &mut out), Ok(false), "{target}");
            assert_eq!(out.capacity(), 0, "{target}");
        }
    }

    #[test]
    fn off_changes_nothing() {
        for target in ["*", "/", "//a/../%2e\\;%2f?%", "/..", "/%ff"] {
            assert_eq!(form(PathRule::Off, target).as_deref(), Ok(target));
        }
        for target in ["/%", "/a%4", "/%zz", "/%00"] {
            assert_eq!(form(PathRule::Off, target), Err(Fault::BadEscape), "{target}");
        }
    }

    #[test]
    fn a_head_keeps_what_is_refused() {
        let mut head = Head::new();
        head.set_request(b"GET", b"/x/../a?b");
        let held = head.held_bytes();
        head.normalise_path(PathRule::Safe).unwrap();
        assert_eq!((head.path(), head.query()), (&b"/a"[..], Some(&b"b"[..])));
        head.set_target(b"/a/../%2e%2E/b");
        assert_eq!(head.normalise_path(PathRule::Safe), Err(Fault::PathAboveRoot));
        assert_eq!(head.target(), b"/a/../%2e%2E/b");
        assert_eq!(head.held_bytes(), held);
        let mut empty = Head::new();
        assert_eq!(empty.normalise_path(PathRule::Strict), Ok(()));
    }

    /// Splits, decodes and stacks, in as many passes as it takes.
    fn naive(rule: PathRule, target: &str) -> Option<String> {
        let (path, query) = match target.find('?') {
            Some(at) => target.split_at(at),
            None => (target, ""),
        };
        let path = path.strip_prefix('/')?;
        if !path.bytes().all(is_target_byte) {
            return None;
        }
        let segments: Option<Vec<String>> = path.split('/').map(naive_segment).collect();
        let segments = segments?;
        if !naive_allows(rule, &segments.join("/")) {
            return None;
        }
        let mut stack: Vec<&str> = Vec::new();
        let last = segments.len() - 1;
        for (index, segment) in segments.iter().enumerate() {
            match segment.as_str() {
                "" if rule >= PathRule::Safe && index < last => {}
                "." | ".." => {
                    if segment == ".." {
                        stack.pop()?;
                    }
                    if index == last {
                        stack.push("");
                    }
                }
                other => stack.push(other),
            }
        }
        Some(format!("/{}{query}", stack.join("/")))
    }

    fn naive_segment(segment: &str) -> Option<String> {
        let mut parts = segment.split('%');
        let mut text = parts.next()?.to_owned();
        for part in parts {
            let (digits, rest) = part.split_at_checked(2)?;
            let byte = u8::from_str_radix(digits, 16).ok().filter(|byte| *byte > 0)?;
            match char::from(byte) {
                c if c.is_ascii_alphanumeric() || "-._~".contains(c) => text.push(c),
                _ => text += &format!("%{byte:02X}"),
            }
            text += rest;
        }
        Some(text)
    }

    fn naive_allows(rule: PathRule, path: &str) -> bool {
        let has = |words: &[&str]| words.iter().any(|word| path.contains(word));
        if rule >= PathRule::Safe && has(&["%2F", "%5C", "\\"]) {
            return false;
        }
        if rule < PathRule::Strict {
            return true;
        }
        let double = path
            .split("%25")
            .skip(1)
            .any(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|b| b.is_ascii_hexdigit()));
        let bytes: Vec<u8> = path
            .split('%')
            .enumerate()
            .flat_map(|(index, part)| match index {
                0 => part.as_bytes().to_vec(),
                _ => {
                    let byte = u8::from_str_radix(&part[..2], 16).unwrap();
                    [&[byte], &part.as_bytes()[2..]].concat()
                }
            })
            .collect();
        let control = bytes.iter().any(u8::is_ascii_control);
        !(has(&[";", "%3B"]) || double || control || String::from_utf8(bytes).is_err())
    }

    fn targets() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "/",
            "/",
            "/",
            ".",
            "..",
            "/../",
            "/./",
            "%2e",
            "%2E",
            "%2f",
            "%5C",
            "\\",
            ";",
            "%3b",
            "a",
            "b",
            "%41",
            "%7e",
            "%25",
            "%32",
            "2",
            "5",
            "e",
            "%c3",
            "%a9",
            "%C3%A9",
            "%e2%82%ac",
            "%00",
            "%",
            "%zz",
            "?",
            "//",
            "%09",
            "%20",
            "~",
            "#",
        ]);
        prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            failure_persistence: None,
            cases: 2000,
            ..ProptestConfig::default()
        })]

        #[test]
        fn it_agrees_with_the_naive_model(target in targets()) {
            for rule in RULES {
                prop_assert_eq!(form(rule, &target).ok(), naive(rule, &target), "{:?}", rule);
            }
        }

        #[test]
        fn the_invariants_hold(target in targets(), choice: u8) {
            fuzz_path(&[&[choice], target.as_bytes()].concat());
        }

        #[test]
        fn any_bytes_hold_the_invariants(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            fuzz_path(&bytes);
        }
    }
}
