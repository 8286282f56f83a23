//! Lengths: a function has at most 70 lines, a file at most 1000 outside its tests.
//!
//! The ratchet holds the files that are over and how far; a number there may only fall, and an
//! entry that is no longer needed is a violation itself.

use super::{Tree, Violation};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 1000;

/// Files allowed over `FILE_LINES_MAX`, each with its own limit.
const FILE_RATCHET: &[(&str, usize)] = &[];

/// Functions over their budget, tests included.
pub(super) fn functions(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in &tree.sources {
        for function in source.functions() {
            if function.lines > FUNCTION_LINES_MAX {
                let message = format!(
                    "fn {} has {} lines, at most {FUNCTION_LINES_MAX}",
                    function.name, function.lines
                );
                found.push(Violation::new(&source.path, function.line, message));
            }
        }
    }
    found
}

/// Files over their budget; folders of tests are left out.
pub(super) fn files(tree: &Tree) -> Vec<Violation> {
    files_with(tree, FILE_RATCHET)
}

fn files_with(tree: &Tree, ratchet: &[(&str, usize)]) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in tree.sources.iter().filter(|source| !source.is_test_file()) {
        let lines = source.lines_without_tests();
        let excused = ratchet.iter().find(|(path, _)| *path == source.path);
        let max = excused.map_or(FILE_LINES_MAX, |(_, max)| *max);
        if lines > max {
            let message = format!("{lines} lines without tests, at most {max}");
            found.push(Violation::new(&source.path, 0, message));
        } else if excused.is_some() && lines <= FILE_LINES_MAX {
            found.push(Violation::new(&source.path, 0, "needs its ratchet entry no longer"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function_of(lines: usize) -> String {
        format!("fn long() {{\n{}}}\n", "    x();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_of_71_lines_is_found() {
        let tree = Tree::of(&[("a/src/b.rs", &function_of(70)), ("a/src/c.rs", &function_of(71))]);
        let found = functions(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].to_string(), "a/src/c.rs:1: fn long has 71 lines, at most 70");
    }

    #[test]
    fn a_file_of_1001_lines_is_found_and_its_tests_do_not_count() {
        let product = "// x\n".repeat(1000);
        let tests = format!("{product}#[cfg(test)]\nmod tests {{\n{product}}}\n");
        let over = format!("{product}// x\n");
        let tree = Tree::of(&[("a/src/b.rs", &tests), ("a/src/c.rs", &over)]);
        let found = files(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "a/src/c.rs");
    }

    #[test]
    fn the_ratchet_excuses_up_to_its_number_and_must_be_needed() {
        let (long, short) = ("// x\n".repeat(1100), "// x\n".repeat(10));
        let tree = Tree::of(&[("long.rs", &long), ("short.rs", &short)]);
        assert_eq!(files_with(&tree, &[("long.rs", 1100)]), []);
        assert_eq!(files_with(&tree, &[("long.rs", 1099)])[0].file, "long.rs");
        let unneeded = files_with(&tree, &[("long.rs", 1100), ("short.rs", 1100)]);
        assert_eq!(unneeded[0].file, "short.rs");
    }
}
