//! Every Rust file is compiled: it is a crate's root or some `mod` line leads to it.
//!
//! This is also how a registry is complete: a folder's `mod.rs` is its list. `#[path]` is not
//! followed, so a file that needs it counts as an orphan.

use std::collections::HashSet;

use super::source::Source;
use super::{Tree, Violation};

/// Files that no `mod` line reaches.
pub(super) fn orphans(tree: &Tree) -> Vec<Violation> {
    let paths: HashSet<&str> = tree.sources.iter().map(|source| source.path.as_str()).collect();
    let mut reached: HashSet<String> = HashSet::new();
    for source in &tree.sources {
        for name in declared(source) {
            let candidates = module_files(source, &name);
            reached.extend(candidates.into_iter().filter(|path| paths.contains(path.as_str())));
        }
    }
    let is_orphan =
        |source: &&Source| !is_root(&source.path) && !reached.contains(source.path.as_str());
    let orphans = tree.sources.iter().filter(is_orphan);
    orphans.map(|source| Violation::new(&source.path, 0, "no `mod` line leads here")).collect()
}

/// The names in `mod name;` lines.
fn declared(source: &Source) -> Vec<String> {
    let after = source.words("mod").map(|at| &source.code[at + "mod".len()..]);
    let names = after.filter_map(|rest| rest.trim_start().split_once(';'));
    let is_name = |name: &&str| !name.is_empty() && !name.contains(|c: char| !is_word(c));
    names.map(|(name, _)| name.trim_end()).filter(is_name).map(str::to_owned).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Where `mod name;` in a file may point. A root `x.rs` may keep modules in a folder `x`, inside
/// `mod x { }`: so the tests of a target get a folder and names that begin with the target's.
fn module_files(source: &Source, name: &str) -> Vec<String> {
    let path = source.path.as_str();
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let stem = file.trim_end_matches(".rs");
    if is_root(path) && source.code.contains(&format!("mod {stem} {{")) {
        let inside = format!("{folder}/{stem}");
        return vec![format!("{inside}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
    }
    let folder = if is_root(path) || file == "mod.rs" {
        folder.to_owned()
    } else {
        path.trim_end_matches(".rs").to_owned()
    };
    vec![format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")]
}

/// A crate's root: lib, main, build script, a file directly in bin, tests, benches, examples or
/// fuzz_targets.
fn is_root(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let is_crate = matches!(parts.as_slice(), [.., "src", "lib.rs" | "main.rs"] | [.., "build.rs"]);
    let folder = parts.len().checked_sub(2).map(|index| parts[index]);
    is_crate || folder.is_some_and(|name| ROOT_FOLDERS.contains(&name))
}

/// Folders whose every file is a crate of its own.
const ROOT_FOLDERS: &[&str] = &["bin", "tests", "benches", "examples", "fuzz_targets"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_mod_line_is_an_orphan() {
        let tree = Tree::of(&[
            ("a/src/lib.rs", "mod b;\npub(crate) mod c;\n// mod lost;\n"),
            ("a/src/b.rs", "mod inner;"),
            ("a/src/b/inner.rs", ""),
            ("a/src/c/mod.rs", "#[cfg(test)]\nmod d;\nmod inline { fn x() {} }"),
            ("a/src/c/d.rs", ""),
            ("a/src/lost.rs", ""),
            ("a/tests/e2e.rs", "mod support;"),
            ("a/tests/support/mod.rs", "pub mod poll;"),
            ("a/tests/support/poll.rs", ""),
            ("a/tests/support/stray.rs", ""),
            ("a/tests/parts.rs", "mod support;\nmod parts {\n    mod one;\n}"),
            ("a/tests/parts/one.rs", ""),
            ("a/tests/parts/two.rs", ""),
            ("fuzz/fuzz_targets/h1.rs", ""),
        ]);
        let found: Vec<String> = orphans(&tree).into_iter().map(|v| v.file).collect();
        assert_eq!(found, ["a/src/lost.rs", "a/tests/support/stray.rs", "a/tests/parts/two.rs"]);
    }
}
