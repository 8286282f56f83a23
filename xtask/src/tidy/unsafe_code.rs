//! Where `unsafe` may stand: six files of `engine`, and `lanes`; every other crate forbids it in
//! its first lines.
//!
//! rustc and clippy check that each block is documented and small; this checks where it is, and
//! bans what no comment can make right.

use super::source::Source;
use super::{Tree, Violation};

/// design.md section 10.
const ALLOWED: &[&str] = &[
    "engine/src/ring/uring.rs",
    "engine/src/op.rs",
    "engine/src/buf/pool.rs",
    "engine/src/buf/slice.rs",
    "engine/src/task/raw.rs",
    "engine/src/sys.rs",
    "lanes/src/prefetch.rs",
    "lanes/src/region.rs",
    "lanes/src/tags.rs",
];

const BANNED: &[&str] =
    &["unreachable_unchecked", "get_unchecked", "get_unchecked_mut", "transmute"];

/// `unsafe` outside of the listed files, and what is banned everywhere.
pub(super) fn allow_list(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for source in &tree.sources {
        if !ALLOWED.contains(&source.path.as_str()) {
            found.extend(every(source, "unsafe", "unsafe outside of its allow-list"));
        }
        for word in BANNED {
            found.extend(every(source, word, "banned"));
        }
        found.extend(every(source, "static mut", "banned"));
        found.extend(every(source, "unsafe impl Send", "banned"));
        found.extend(every(source, "unsafe impl Sync", "banned"));
    }
    found
}

fn every(source: &Source, word: &'static str, message: &str) -> Vec<Violation> {
    let at = |at| Violation::new(&source.path, source.line_of(at), format!("{word}: {message}"));
    source.words(word).map(at).collect()
}

/// Crate roots of the product without `#![forbid(unsafe_code)]`; `engine`, `lanes`, the fuzz
/// targets, whose entry point is made by a macro, and the peer whose code volo-build makes are left
/// out.
pub(super) fn forbid_lines(tree: &Tree) -> Vec<Violation> {
    let lacks = |source: &&Source| {
        is_product_root(&source.path) && !source.code.contains("#![forbid(unsafe_code)]")
    };
    let message = "the crate does not forbid unsafe code";
    tree.sources.iter().filter(lacks).map(|s| Violation::new(&s.path, 1, message)).collect()
}

fn is_product_root(path: &str) -> bool {
    let is_root = path.ends_with("/src/lib.rs") || path.ends_with("/src/main.rs");
    is_root
        && !["engine/", "lanes/", "fuzz/", "interop/volo/"]
            .iter()
            .any(|folder| path.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "fn a() {\n    unsafe { b() }\n}\n";

    #[test]
    fn unsafe_is_found_outside_its_files() {
        let words =
            "//! unsafe in words\n#![deny(unsafe_op_in_unsafe_fn)]\nconst S: &str = \"unsafe\";";
        let tree = Tree::of(&[
            (ALLOWED[0], BLOCK),
            ("engine/src/shard.rs", BLOCK),
            ("router/src/lib.rs", words),
        ]);
        let found = allow_list(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].file.as_str(), found[0].line), ("engine/src/shard.rs", 2));
    }

    #[test]
    fn what_no_comment_makes_right_is_found_in_allowed_files_too() {
        let text = "static mut A: u8 = 0;\nunsafe impl Send for B {}\nfn c() { transmute(d) }\n";
        let lines: Vec<usize> =
            allow_list(&Tree::of(&[(ALLOWED[1], text)])).iter().map(|v| v.line).collect();
        assert_eq!(lines, [3, 1, 2]);
    }

    #[test]
    fn crates_forbid_unsafe_code() {
        let tree = Tree::of(&[
            ("router/src/lib.rs", "//! What.\n#![forbid(unsafe_code)]\n"),
            ("control/src/lib.rs", "//! #![forbid(unsafe_code)] in words only\n"),
            ("engine/src/lib.rs", "//! What.\n"),
        ]);
        let found = forbid_lines(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "control/src/lib.rs");
    }
}
