//! The data path's walls: each data-path crate carries a `clippy.toml` that bans what A7 names,
//! each with its reason.
//!
//! clippy enforces the bans; this checks that the file is there, that nothing is missing from it,
//! and that every entry says why. Entries are one line each, so reading them needs no TOML parser.

use super::{Tree, Violation};

const DATA_PATH: &[&str] = &["engine", "protocols", "router", "gateway"];

/// What no data-path crate may name (A7). `gateway` and `engine` run on shards; `protocols` and
/// `router` are called there.
const BANNED: &[&str] = &[
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::thread::sleep",
    "std::time::Instant::now",
    "std::time::Instant::elapsed",
    "std::time::SystemTime::now",
    "std::time::SystemTime::elapsed",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs::to_socket_addrs",
];

/// Data-path crates without the wall, with a hole in it, or with an unexplained entry.
pub(super) fn data_path(tree: &Tree) -> Vec<Violation> {
    let mut found: Vec<Violation> =
        DATA_PATH.iter().flat_map(|name| missing(tree, &format!("{name}/clippy.toml"))).collect();
    let files = tree.texts.iter().filter(|text| text.path.ends_with("clippy.toml"));
    for file in files {
        found.extend(unexplained(&file.path, &file.text));
    }
    found
}

fn missing(tree: &Tree, path: &str) -> Vec<Violation> {
    let Some(text) = tree.text(path) else {
        return vec![Violation::new(path, 0, "a data-path crate without its clippy.toml")];
    };
    let entries: Vec<&str> = text.lines().filter(|line| !line.trim().starts_with('#')).collect();
    let names = |banned: &&&str| {
        let quoted = format!("path = \"{banned}\"");
        entries.iter().any(|line| line.contains(&quoted))
    };
    let holes = BANNED.iter().filter(|banned| !names(banned));
    holes.map(|banned| Violation::new(path, 0, format!("does not ban {banned}"))).collect()
}

fn unexplained(path: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let is_entry = line.contains("path =");
        if is_entry && !line.contains("reason = \"") {
            found.push(Violation::new(path, index + 1, "a ban without a reason"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(without: &str) -> String {
        let entries = BANNED.iter().filter(|banned| **banned != without);
        entries.map(|banned| format!("{{ path = \"{banned}\", reason = \"A7\" }},\n")).collect()
    }

    fn tree_with(engine: &str) -> Tree {
        let whole = wall("");
        Tree::of(&[
            ("engine/clippy.toml", engine),
            ("protocols/clippy.toml", &whole),
            ("router/clippy.toml", &whole),
            ("gateway/clippy.toml", &whole),
        ])
    }

    #[test]
    fn a_whole_wall_passes() {
        assert_eq!(data_path(&tree_with(&wall(""))), []);
    }

    #[test]
    fn a_missing_file_and_a_hole_are_found() {
        let found = data_path(&tree_with(&wall("std::sync::Mutex")));
        assert_eq!(found[0].to_string(), "engine/clippy.toml: does not ban std::sync::Mutex");
        assert_eq!(data_path(&Tree::of(&[])).len(), DATA_PATH.len());
    }

    #[test]
    fn an_entry_needs_a_reason() {
        let text = wall("") + "{ path = \"std::rc::Rc\" },\n";
        let found = data_path(&tree_with(&text));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].line, BANNED.len() + 1);
    }
}
