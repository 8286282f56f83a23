//! A Rust file as tidy sees it: its text, the same text with comments and literals blanked, and
//! where its tests lie.
//!
//! It is no parser. Blanking keeps every line break and every byte position, so offsets into `code`
//! are offsets into `text`; after it, words and braces can be searched without being fooled by
//! strings.

use std::ops::Range;

/// One `.rs` file.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// `text` with comments, strings and character literals replaced by blanks.
    pub(crate) code: String,
    test_ranges: Vec<Range<usize>>,
    /// Where lines end.
    line_ends: Vec<usize>,
}

/// A function's name, first line (1-based) and length in lines.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

impl Source {
    pub(crate) fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let (path, text) = (path.into(), text.into());
        let code = blanked(&text);
        let test_ranges = test_ranges(&code);
        let line_ends = text.match_indices('\n').map(|(at, _)| at).collect();
        Self { path, text, code, test_ranges, line_ends }
    }

    /// A file of tests, not of the product, by its name or folder.
    pub(crate) fn is_test_file(&self) -> bool {
        let is_test = |part: &str| matches!(part, "tests" | "benches" | "tests.rs" | "pair.rs");
        self.path.split('/').any(is_test)
    }

    pub(crate) fn is_test_at(&self, offset: usize) -> bool {
        self.is_test_file() || self.test_ranges.iter().any(|range| range.contains(&offset))
    }

    /// Lines outside of `#[cfg(test)]` items.
    pub(crate) fn lines_without_tests(&self) -> usize {
        let tests: usize =
            self.test_ranges.iter().map(|range| self.text[range.clone()].lines().count()).sum();
        self.text.lines().count() - tests.min(self.text.lines().count())
    }

    pub(crate) fn line_of(&self, offset: usize) -> usize {
        1 + self.line_ends.partition_point(|end| *end < offset)
    }

    /// Every function with a body.
    pub(crate) fn functions(&self) -> Vec<Function> {
        words(&self.code, "fn").filter_map(|at| self.function(at)).collect()
    }

    /// Where a word stands in the code, with no identifier character on either side.
    pub(crate) fn words<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        words(&self.code, word)
    }

    fn function(&self, at: usize) -> Option<Function> {
        let rest = self.code[at + 2..].trim_start();
        let name: String = rest.chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() {
            return None;
        }
        let open = body_start(&self.code, at)?;
        let close = matching_brace(&self.code, open)?;
        let line = self.line_of(at);
        Some(Function { name, line, lines: self.line_of(close) - line + 1 })
    }
}

fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |at| {
        let before = code[..*at].chars().next_back();
        let after = code[*at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The `{` that opens the body of the item at `from`; None when a `;` ends it first.
fn body_start(code: &str, from: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(at),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn matching_brace(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

fn test_ranges(code: &str) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (at, mark) in code.match_indices("#[cfg(test)]") {
        if ranges.last().is_some_and(|range| range.contains(&at)) {
            continue;
        }
        let after = at + mark.len();
        let end = body_start(code, after).and_then(|open| matching_brace(code, open));
        let end = end.unwrap_or_else(|| code[after..].find(';').map_or(after, |at| after + at));
        ranges.push(at..code.len().min(end + 1));
    }
    ranges
}

fn blanked(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    // INVARIANT: whole comments and literals were blanked, so no character is cut in two.
    String::from_utf8(out).expect("blanking keeps characters whole")
}

/// The end of the comment or literal that starts at `at`, or `at` itself when there is none.
fn literal_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let starts_word = at == 0 || !is_word(bytes[at - 1] as char);
    match rest {
        [b'/', b'/', ..] => at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => at + block_comment_len(rest),
        [b'"', ..] => at + 1 + string_len(&rest[1..]),
        [b'r', ..] if starts_word => raw_string_end(bytes, at + 1).unwrap_or(at),
        [b'b' | b'c', b'r', ..] if starts_word => raw_string_end(bytes, at + 2).unwrap_or(at),
        [b'\'', ..] => char_end(bytes, at).unwrap_or(at),
        _ => at,
    }
}

fn block_comment_len(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string_len(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string_end(bytes: &[u8], hashes_at: usize) -> Option<usize> {
    let hashes = bytes[hashes_at..].iter().take_while(|byte| **byte == b'#').count();
    let open = hashes_at + hashes;
    if bytes.get(open) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(1 + hashes, b'#');
    let body = &bytes[open + 1..];
    let length = body.windows(close.len()).position(|window| window == close)?;
    Some(open + 1 + length + close.len())
}

/// A character literal, not a lifetime: `'\..'`, or one character between two quotes.
fn char_end(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at + 1..];
    if rest.first() == Some(&b'\\') {
        let close = rest.iter().skip(2).position(|byte| *byte == b'\'')?;
        return Some(at + 1 + 2 + close + 1);
    }
    let text = std::str::from_utf8(&rest[..rest.len().min(8)]);
    let valid = text.map_or_else(|error| error.valid_up_to(), str::len);
    let first = std::str::from_utf8(&rest[..valid]).ok()?.chars().next()?;
    let close = first.len_utf8();
    (rest.get(close) == Some(&b'\'')).then_some(at + 1 + close + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_in_place() {
        let text = "let a = \"{\\\"\"; // unsafe {\nlet b = '{'; /* { /* */ */ let c: &'a u8;";
        let source = Source::new("a.rs", text);
        assert_eq!(source.code.len(), text.len());
        assert!(!source.code.contains('{'));
        assert!(source.code.contains("&'a u8"));
        assert_eq!(source.words("unsafe").count(), 0);
    }

    #[test]
    fn raw_strings_and_bytes_are_blanked() {
        let source =
            Source::new("a.rs", "x(r#\"fn a() { \"# , br\"{\", b\"{\", b'{', 'ö', '\\'');");
        assert!(!source.code.contains('{'));
        assert!(source.functions().is_empty());
        assert!(source.code.ends_with(");"));
    }

    #[test]
    fn functions_are_measured_from_fn_to_brace() {
        let text = "trait T { fn none(&self) -> [u8; 2]; }\nfn a(x: [u8; 2])\nwhere\n{\n  b()\n}\n\
                    type F = fn(u8);\nfn one() {}\n";
        let found = Source::new("a.rs", text).functions();
        let a = Function { name: "a".into(), line: 2, lines: 5 };
        let one = Function { name: "one".into(), line: 8, lines: 1 };
        assert_eq!(found, [a, one]);
    }

    #[test]
    fn test_modules_are_told_from_the_product() {
        let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n  #[test]\n  fn b() {}\n}\n";
        let source = Source::new("src/a.rs", text);
        assert_eq!(source.lines_without_tests(), 1);
        assert!(!source.is_test_at(0));
        assert!(source.is_test_at(text.find("fn b").unwrap()));
    }

    #[test]
    fn files_of_test_folders_are_tests() {
        assert!(Source::new("cli/tests/e2e.rs", "").is_test_file());
        assert!(!Source::new("engine/src/ring/sim.rs", "").is_test_file());
    }
}
