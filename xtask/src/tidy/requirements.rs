//! The tables that map requirements and attacks to tests: every test that a table names exists, and
//! every test of the kind appears in its table.
//!
//! A test is named by its target, its module and its function, as in
//! `rfc::rfc9112_2_message::a_bare_lf_is_refused`; one within a crate by its modules. Whether a
//! test shows what its row says is for readers; this keeps a renamed or removed test from leaving a
//! row without proof.

use super::source::Source;
use super::{Text, Tree, Violation};

/// A document with its table, and the folder whose tests it must name all of.
struct Document {
    path: &'static str,
    folder: &'static str,
    /// What names begin below.
    root: &'static str,
    /// What a row may say in the place of a test.
    excuses: &'static [&'static str],
}

const DOCUMENTS: &[Document] = &[
    Document { path: "docs/rfc9112.md", folder: "cli/tests/rfc", root: TARGETS, excuses: EXCUSES },
    Document {
        path: "docs/rfc7541.md",
        folder: "protocols/src/hpack/rfc7541",
        root: "protocols/src/",
        excuses: EXCUSES,
    },
    Document {
        path: "docs/rfc9113.md",
        folder: "protocols/src/h2/rfc9113",
        root: "protocols/src/",
        excuses: EXCUSES,
    },
    Document { path: "docs/security.md", folder: "cli/tests/abuse", root: TARGETS, excuses: &[] },
];

/// Tests through the real binary.
const TARGETS: &str = "cli/tests/";

const EXCUSES: &[&str] = &["n/a: ", "not yet: ", "on purpose: "];

/// Rows without a test, names without a test behind them, tests without a row.
pub(super) fn tables(tree: &Tree) -> Vec<Violation> {
    DOCUMENTS.iter().flat_map(|document| of_one(tree, document)).collect()
}

fn of_one(tree: &Tree, document: &Document) -> Vec<Violation> {
    let tests = tests_of(tree, document);
    let Some(text) = tree.texts.iter().find(|text| text.path == document.path) else {
        let lacks = Violation::new(document.path, 0, "is missing, but its tests are there");
        return if tests.is_empty() { Vec::new() } else { vec![lacks] };
    };
    let mut found = rows_without_proof(text, document.excuses);
    let named: Vec<(usize, String)> = names(&text.text);
    for (line, name) in &named {
        if !exists(tree, document.root, name) {
            found.push(Violation::new(&text.path, *line, format!("there is no test `{name}`")));
        }
    }
    for test in tests.iter().filter(|test| !named.iter().any(|(_, name)| *name == test.name)) {
        let message = format!("`{}` is not in {}", test.name, document.path);
        found.push(Violation::new(&test.file, test.line, message));
    }
    found
}

/// The rows of a table whose last cell names no test and gives no reason.
fn rows_without_proof(text: &Text, excuses: &[&str]) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in text.text.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        let is_row = line.starts_with('|') && !line.starts_with("|-") && !is_heading(text, index);
        let last = cells.last().copied().unwrap_or_default();
        let is_excused = excuses.iter().any(|excuse| last.starts_with(excuse));
        if is_row && !is_excused && names(last).is_empty() {
            found.push(Violation::new(&text.path, index + 1, "a row without a test"));
        }
    }
    found
}

/// The line above a table's ruler.
fn is_heading(text: &Text, index: usize) -> bool {
    text.text.lines().nth(index + 1).is_some_and(|next| next.starts_with("|-"))
}

/// What stands between backticks and holds `::`, with its line.
fn names(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let quoted = line.split('`').skip(1).step_by(2);
        let paths = quoted.filter(|word| word.contains("::"));
        found.extend(paths.map(|name| (index + 1, name.to_owned())));
    }
    found
}

/// Whether the name, read as modules and a function below `root`, is a test.
fn exists(tree: &Tree, root: &str, name: &str) -> bool {
    let Some((module, function)) = name.rsplit_once("::") else { return false };
    let path = format!("{root}{}.rs", module.replace("::", "/"));
    let source = tree.sources.iter().find(|source| source.path == path);
    source.is_some_and(|source| functions(source).iter().any(|(test, _)| test == function))
}

/// A test, by its whole name.
struct Test {
    name: String,
    file: String,
    line: usize,
}

fn tests_of(tree: &Tree, document: &Document) -> Vec<Test> {
    let inside =
        |path: &str| path.strip_prefix(document.folder).is_some_and(|rest| rest.starts_with('/'));
    let mut found = Vec::new();
    for source in tree.sources.iter().filter(|source| inside(&source.path)) {
        let module = source.path.trim_start_matches(document.root).trim_end_matches(".rs");
        for (function, line) in functions(source) {
            let name = format!("{}::{function}", module.replace('/', "::"));
            found.push(Test { name, file: source.path.clone(), line });
        }
    }
    found
}

/// The functions behind a `#[test]`, with their lines.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let marks: Vec<usize> = source.code.match_indices("#[test]").map(|(at, _)| at).collect();
    let lines: Vec<usize> = marks.iter().map(|at| source.line_of(*at)).collect();
    let follows =
        |line: usize| source.functions().into_iter().find(|function| function.line > line);
    lines.into_iter().filter_map(follows).map(|function| (function.name, function.line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TESTS: &str = "//! Doc.\n#[test]\nfn one() {}\nfn no_test() {}\n#[test]\nfn two() {}\n";

    fn found(document: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("docs/rfc9112.md", document),
            ("cli/tests/rfc/part.rs", TESTS),
            ("cli/tests/other.rs", "#[test]\nfn three() {}\n"),
        ]);
        tables(&tree).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn a_complete_table_is_fine() {
        let table = "| rule | test |\n|---|---|\n| a | `rfc::part::one`, `rfc::part::two` |\n\
                     | b | n/a: why |\n| c | `other::three` |\n";
        assert_eq!(found(table), [""; 0]);
    }

    #[test]
    fn a_name_without_a_test_is_found() {
        let table = "`rfc::part::one` `rfc::part::two` `rfc::part::no_test` `rfc::gone::one`\n";
        let there_is_no = "docs/rfc9112.md:1: there is no test";
        assert_eq!(
            found(table),
            [
                format!("{there_is_no} `rfc::part::no_test`"),
                format!("{there_is_no} `rfc::gone::one`")
            ]
        );
    }

    #[test]
    fn a_test_without_a_row_is_found() {
        let missing = "cli/tests/rfc/part.rs:6: `rfc::part::two` is not in docs/rfc9112.md";
        assert_eq!(found("`rfc::part::one`\n"), [missing]);
    }

    #[test]
    fn tests_within_a_crate_are_named_by_their_modules() {
        let part = "protocols/src/hpack/rfc7541/part.rs";
        let name = "hpack::rfc7541::part::one";
        let table = format!("| rule | test |\n|---|---|\n| a | `{name}`, `rfc::part::one` |\n");
        let tree = Tree::of(&[("docs/rfc7541.md", table.as_str()), (part, TESTS)]);
        let found: Vec<String> = tables(&tree).iter().map(Violation::to_string).collect();
        assert_eq!(
            found,
            [
                "docs/rfc7541.md:3: there is no test `rfc::part::one`".to_owned(),
                format!("{part}:6: `hpack::rfc7541::part::two` is not in docs/rfc7541.md"),
            ]
        );
    }

    #[test]
    fn a_row_without_a_test_is_found() {
        let table =
            "`rfc::part::one` `rfc::part::two`\n\n| rule | test |\n|---|---|\n| a | later |\n";
        assert_eq!(found(table), ["docs/rfc9112.md:5: a row without a test"]);
    }
}
