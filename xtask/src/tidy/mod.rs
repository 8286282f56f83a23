//! `cargo xtask tidy`: the project's rules that rustc, clippy and rustfmt do not know. One file a
//! rule family.
//!
//! It reads files and `cargo metadata`, changes nothing and builds nothing. A check is a function
//! from the tree to violations; adding one is a line in `CHECKS`. The same checks run as a test, so
//! `cargo test` fails on what tidy fails.

use std::fmt;
use std::fs;

use crate::tally::Tally;
use crate::workspace::Workspace;

mod arrows;
mod bans;
mod budgets;
mod modules;
mod requirements;
mod source;
mod text;
mod unsafe_code;

use source::Source;

/// A rule broken at a place.
#[derive(Debug, Eq, PartialEq)]
struct Violation {
    file: String,
    /// 1-based; 0 when the whole file is meant.
    line: usize,
    message: String,
}

impl Violation {
    fn new(file: impl Into<String>, line: usize, message: impl Into<String>) -> Self {
        Self { file: file.into(), line, message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file, self.message),
            line => write!(f, "{}:{line}: {}", self.file, self.message),
        }
    }
}

/// A text file that is not Rust: its path relative to the root, and its content.
struct Text {
    path: String,
    text: String,
}

/// All files a check may look at.
struct Tree {
    sources: Vec<Source>,
    texts: Vec<Text>,
}

impl Tree {
    fn read(workspace: &Workspace) -> anyhow::Result<Self> {
        let mut tree = Self { sources: Vec::new(), texts: Vec::new() };
        for path in workspace.files()? {
            let Ok(text) = String::from_utf8(fs::read(workspace.path(&path))?) else { continue };
            tree.add(path, text);
        }
        Ok(tree)
    }

    fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        let (path, text) = (path.into(), text.into());
        if path.ends_with(".rs") {
            self.sources.push(Source::new(path, text));
        } else {
            self.texts.push(Text { path, text });
        }
    }

    fn text(&self, path: &str) -> Option<&str> {
        self.texts.iter().find(|text| text.path == path).map(|text| text.text.as_str())
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self { sources: Vec::new(), texts: Vec::new() };
        for (path, text) in files {
            tree.add(*path, *text);
        }
        tree
    }
}

struct Check {
    name: &'static str,
    run: fn(&Tree) -> Vec<Violation>,
}

const CHECKS: &[Check] = &[
    Check { name: "function lengths", run: budgets::functions },
    Check { name: "file lengths", run: budgets::files },
    Check { name: "columns", run: text::columns },
    Check { name: "module docs", run: text::module_docs },
    Check { name: "open work", run: text::open_work },
    Check { name: "ignored tests", run: text::ignored_tests },
    Check { name: "sleeps in tests", run: text::sleeps_in_tests },
    Check { name: "machine paths", run: text::machine_paths },
    Check { name: "file names", run: text::file_names },
    Check { name: "module tree", run: modules::orphans },
    Check { name: "requirement tables", run: requirements::tables },
    Check { name: "unsafe code", run: unsafe_code::allow_list },
    Check { name: "forbidden unsafe", run: unsafe_code::forbid_lines },
    Check { name: "clippy bans", run: bans::data_path },
];

/// Runs every check and prints the violations; a check is one step of the tally.
pub(crate) fn main(workspace: &Workspace, _args: &[String]) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for (name, violations) in all(workspace)? {
        for violation in &violations {
            println!("tidy, {name}: {violation}");
        }
        tally.add(Tally::step(violations.is_empty()));
    }
    Ok(tally)
}

fn all(workspace: &Workspace) -> anyhow::Result<Vec<(&'static str, Vec<Violation>)>> {
    let tree = Tree::read(workspace)?;
    let mut results: Vec<_> = CHECKS.iter().map(|check| (check.name, (check.run)(&tree))).collect();
    results.push(("dependency arrows", arrows::check(&arrows::packages(workspace)?)));
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_tree_is_tidy() {
        let found: Vec<String> = all(&Workspace::of_this_build())
            .unwrap()
            .iter()
            .flat_map(|(name, violations)| violations.iter().map(move |v| format!("{name}: {v}")))
            .collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    }
}
