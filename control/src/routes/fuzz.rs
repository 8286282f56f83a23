//! Any bytes as a file of routes and as a batch of changes.

use std::io::{Cursor, ErrorKind};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use super::{Change, Editor};
use crate::admin::batch_changes;
use crate::compile::{Compiled, Facts, Make, Resolve, compile, stream_faults};
use crate::config::Config;

const FILE: &str = "version: 1
listeners: [{address: 127.0.0.1:0}]
clusters: {app: {endpoints: ['127.0.0.1:1']}, other: {endpoints: ['127.0.0.1:2']}}
routes:
- {id: a, match: {path: /a}, cluster: app}
- {id: b, match: {host: h, path: '/b/{x}', headers: {k: v}}, cluster: app}
- {id: c, match: {path: '~^/c[0-9]'}, cluster: app}
";

fn compiled() -> Compiled {
    let mut errors = Vec::new();
    let mut config = Config::parse("r.yaml", FILE, &mut errors);
    let mut resolve = Resolve::with(|_, _| Err(ErrorKind::NotFound.into()));
    let compiled = compile(&mut config, None, &mut resolve, &mut errors);
    // INVARIANT: the text above is a good configuration.
    compiled.unwrap_or_else(|| panic!("{errors:?}"))
}

/// For fuzzers: reads any bytes as a file of routes.
pub fn fuzz_route_lines(bytes: &[u8]) {
    static BASE: LazyLock<(Facts, Make)> = LazyLock::new(|| {
        let Compiled { facts, make, .. } = compiled();
        (facts, make)
    });
    let (facts, make) = &*BASE;
    let input = Box::new(Cursor::new(bytes.to_vec()));
    for fault in stream_faults(input, facts, *make) {
        assert!(fault.place.line > 0 && !fault.message.is_empty(), "{fault:?}");
    }
}

/// For fuzzers: makes the changes of any bytes, twice. A group takes whole or not at all.
pub fn fuzz_route_changes(bytes: &[u8]) {
    let Ok(group) = batch_changes(bytes) else { return };
    let mut editor = Editor::new(compiled());
    for _ in 0..2 {
        let before = Arc::clone(editor.routes());
        match editor.apply(&group, Instant::now()) {
            Ok(()) => check_last(&editor, &group),
            Err(faults) => {
                assert!(Arc::ptr_eq(&before, editor.routes()), "nothing is applied");
                assert!(faults.iter().all(|fault| fault.at < group.len()));
            }
        }
    }
}

/// What a name was last said to be, it is.
fn check_last(editor: &Editor, group: &[Change]) {
    for (at, change) in group.iter().enumerate() {
        if group[at + 1..].iter().any(|later| later.id() == change.id()) {
            continue;
        }
        let there = editor.has(change.id());
        assert_eq!(there, matches!(change, Change::Put { .. }), "{change:?}");
    }
    assert_eq!(editor.routes().ids().len(), editor.routes().len());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts that are nearly lists of changes.
    fn fragment() -> impl Strategy<Value = String> {
        prop::sample::select(vec![
            "{\"put\": {\"id\": \"a\", \"cluster\": \"app\"}}",
            "{\"put\": {\"id\": \"d\", \"cluster\": \"other\", \"match\": {\"path\": \"/d\"}}}",
            "{\"put\": {\"id\": \"e\", \"cluster\": \"app\", \"match\": {\"path\": \"/a\"}}}",
            "{\"put\": {\"id\": \"c\", \"cluster\": \"app\", \"match\": {\"path\": \"~x\"}}}",
            "{\"delete\": \"a\"}",
            "{\"delete\": \"c\"}",
            "{\"delete\": \"d\"}",
            "{\"put\": {\"id\": \"f\"}}",
            "{\"put\": 1}",
        ])
        .prop_map(str::to_owned)
    }

    proptest! {
        #[test]
        fn groups_take_whole_or_not_at_all(parts in prop::collection::vec(fragment(), 0..8)) {
            fuzz_route_changes(format!("[{}]", parts.join(",")).as_bytes());
        }

        #[test]
        fn lines_are_routes_or_faults(parts in prop::collection::vec(fragment(), 0..8)) {
            let lines = parts.join("\n");
            fuzz_route_lines(lines.as_bytes());
            fuzz_route_lines(lines.replace("{\"put\": ", "").replace("}}", "}").as_bytes());
        }
    }
}
