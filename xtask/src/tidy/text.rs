//! Rules about the text of files: columns, module docs, open work, ignored tests, sleeps, paths,
//! names.
//!
//! The words that are searched for are put together at compile time, so that this file does not
//! find itself.

use super::source::Source;
use super::{Tree, Violation};

const COLUMNS_MAX: usize = 100;

/// Languages whose lines are counted beside Rust's.
const CODE_SUFFIXES: &[&str] = &[".sh", ".lua", ".py", ".mjs", ".js", ".ci/run"];

/// Lines of code over 100 columns (characters, not bytes). TOML is left out: an inline table is one
/// line.
pub(super) fn columns(tree: &Tree) -> Vec<Violation> {
    let scripts = tree.texts.iter().filter(|text| ends_with_any(&text.path, CODE_SUFFIXES));
    let scripts = scripts.map(|text| (text.path.as_str(), text.text.as_str()));
    let sources = tree.sources.iter().map(|source| (source.path.as_str(), source.text.as_str()));
    let mut found = Vec::new();
    for (path, text) in sources.chain(scripts) {
        for (index, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                let message = format!("{columns} columns, at most {COLUMNS_MAX}");
                found.push(Violation::new(path, index + 1, message));
            }
        }
    }
    found
}

/// Every Rust file opens with `//!` lines that say what it is.
pub(super) fn module_docs(tree: &Tree) -> Vec<Violation> {
    let lacks = |source: &&Source| {
        let first = source.text.lines().find(|line| !line.is_empty() && !line.starts_with("#!"));
        !first.is_some_and(|line| line.starts_with("//! "))
    };
    let missing = tree.sources.iter().filter(lacks);
    missing.map(|source| Violation::new(&source.path, 1, "no `//!` module doc")).collect()
}

const NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
const STUBS: &[&str] = &["todo", "unimplemented", "dbg"];

/// Notes of unfinished work in any text, and stub macros in code.
pub(super) fn open_work(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let sources = tree.sources.iter().map(|source| (&source.path, &source.text));
    let texts = tree.texts.iter().map(|text| (&text.path, &text.text));
    for (path, text) in sources.chain(texts) {
        found.extend(lines_with(path, text, NOTES, "open work belongs in the tracker"));
    }
    for source in &tree.sources {
        for stub in STUBS {
            let is_macro = |at: &usize| source.code[at + stub.len()..].starts_with('!');
            let calls = source.words(stub).filter(is_macro);
            let found_at =
                |at| Violation::new(&source.path, source.line_of(at), format!("{stub}!"));
            found.extend(calls.map(found_at));
        }
    }
    found
}

/// `#[ignore]` without a reason.
pub(super) fn ignored_tests(tree: &Tree) -> Vec<Violation> {
    let bare = "#[ignore]";
    let mut found = Vec::new();
    for source in &tree.sources {
        for (at, _) in source.code.match_indices(bare) {
            let message = "an ignored test needs a reason: #[ignore = \"..\"]";
            found.push(Violation::new(&source.path, source.line_of(at), message));
        }
    }
    found
}

/// Where a test may wait between two looks at a condition, with a limit on their number.
const POLLING: &[&str] = &["cli/tests/support/poll.rs"];

/// Sleeping in a test: it either waits too long or not long enough.
pub(super) fn sleeps_in_tests(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in &tree.sources {
        if POLLING.contains(&source.path.as_str()) {
            continue;
        }
        for (at, _) in source.code.match_indices("thread::sleep") {
            if source.is_test_at(at) {
                let message = "a test must not sleep";
                found.push(Violation::new(&source.path, source.line_of(at), message));
            }
        }
    }
    found
}

/// Folders of one machine, which mean nothing on another.
const MACHINE_PATHS: &[&str] = &[
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/tmp/", "k/"),
    concat!("/tmp/", "target"),
];

/// Paths of a builder's machine in any file.
pub(super) fn machine_paths(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in &tree.sources {
        found.extend(lines_with(&source.path, &source.text, MACHINE_PATHS, "a machine's path"));
    }
    for text in &tree.texts {
        found.extend(lines_with(&text.path, &text.text, MACHINE_PATHS, "a machine's path"));
    }
    found
}

/// Names that say nothing about what a file holds.
const EMPTY_NAMES: &[&str] = &["util.rs", "utils.rs", "common.rs", "helpers.rs", "misc.rs"];

/// Files called util, common and the like.
pub(super) fn file_names(tree: &Tree) -> Vec<Violation> {
    let is_empty = |source: &&Source| {
        source.path.rsplit('/').next().is_some_and(|name| EMPTY_NAMES.contains(&name))
    };
    let named = tree.sources.iter().filter(is_empty);
    named.map(|source| Violation::new(&source.path, 0, "a name that says nothing")).collect()
}

fn lines_with(path: &str, text: &str, words: &[&str], message: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(word) = words.iter().find(|word| line.contains(*word)) {
            found.push(Violation::new(path, index + 1, format!("`{word}`: {message}")));
        }
    }
    found
}

fn ends_with_any(path: &str, suffixes: &[&str]) -> bool {
    suffixes.iter().any(|suffix| path.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn one(check: fn(&Tree) -> Vec<Violation>, path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, text)])).iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn long_lines_are_found_by_characters() {
        let fits = "ä".repeat(100);
        let text = format!("{fits}\n{fits}a\n");
        assert_eq!(one(columns, "a.rs", &text), [2]);
        assert_eq!(one(columns, "scripts/a.sh", &text), [2]);
        assert_eq!(one(columns, "README.md", &text), NONE);
    }

    #[test]
    fn a_file_opens_with_its_doc() {
        assert_eq!(one(module_docs, "a.rs", "//! What.\nfn a() {}\n"), NONE);
        assert_eq!(one(module_docs, "a.rs", "#![forbid(unsafe_code)]\n\n//! What.\n"), NONE);
        assert_eq!(one(module_docs, "a.rs", "// What.\n//! Late.\n"), [1]);
        assert_eq!(one(module_docs, "a.rs", ""), [1]);
    }

    #[test]
    fn open_work_is_found_in_every_file() {
        let note = concat!("x\n// TO", "DO(me): later\n");
        assert_eq!(one(open_work, "a.rs", note), [2]);
        assert_eq!(one(open_work, "tuning.md", note), [2]);
        assert_eq!(one(open_work, "a.rs", "fn a() {\n    todo!()\n}\n"), [2]);
        assert_eq!(one(open_work, "a.rs", "// todo!() in words\nfn todo() {}\n"), NONE);
    }

    #[test]
    fn ignoring_needs_a_reason() {
        assert_eq!(one(ignored_tests, "a.rs", "#[test]\n#[ignore]\nfn a() {}\n"), [2]);
        assert_eq!(one(ignored_tests, "a.rs", "#[ignore = \"needs a disk\"]\nfn a() {}\n"), NONE);
    }

    #[test]
    fn sleeping_is_found_in_tests_only() {
        let sleep = "fn a() { std::thread::sleep(x); }\n";
        assert_eq!(one(sleeps_in_tests, "a/src/b.rs", sleep), NONE);
        assert_eq!(one(sleeps_in_tests, "a/tests/b.rs", sleep), [1]);
        assert_eq!(one(sleeps_in_tests, POLLING[0], sleep), NONE);
        let inside = format!("#[cfg(test)]\nmod tests {{\n{sleep}}}\n");
        assert_eq!(one(sleeps_in_tests, "a/src/b.rs", &inside), [3]);
    }

    #[test]
    fn machine_paths_are_found() {
        assert_eq!(one(machine_paths, "a.sh", concat!("cd /ro", "ot/x\n")), [1]);
        assert_eq!(one(machine_paths, "a.sh", "cd /etc/ringway\n"), NONE);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        assert_eq!(one(file_names, "a/src/util.rs", ""), [0]);
        assert_eq!(one(file_names, "a/src/table.rs", ""), NONE);
    }
}
