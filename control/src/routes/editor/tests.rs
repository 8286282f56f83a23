//! Groups of changes against routes that were declared.

use super::*;
use crate::compile::{Resolve, compile};
use crate::config::Config;
use crate::routes::find_get;

const FILE: &str = "version: 1
listeners: [{address: 127.0.0.1:0}]
clusters: {app: {endpoints: ['127.0.0.1:1']}, other: {endpoints: ['127.0.0.1:2']}}
routes:
- {id: a, match: {path: /a}, cluster: app}
- {id: b, match: {path: /b}, cluster: app}
";

fn editor() -> Editor {
    let mut errors = Vec::new();
    let mut config = Config::parse("r.yaml", FILE, &mut errors);
    let refuse = |_: &str, _| Err(std::io::ErrorKind::NotFound.into());
    let compiled = compile(&mut config, None, &mut Resolve::with(refuse), &mut errors);
    Editor::new(compiled.unwrap_or_else(|| panic!("{errors:?}")))
}

fn put(id: &str, path: &str, cluster: &str) -> Change {
    let route = format!(
        "{{\"id\": \"{id}\", \"cluster\": \"{cluster}\", \"match\": {{\"path\": \"{path}\"}}}}"
    );
    Change::Put { id: id.to_owned(), route }
}

fn delete(id: &str) -> Change {
    Change::Delete { id: id.to_owned() }
}

/// Name and cluster of the route that a path takes.
fn find(routes: &Routes, path: &str) -> Option<(String, u32)> {
    let found = find_get(routes, "x", path)?;
    let cluster = routes.plan(found.plan).unwrap().cluster.0;
    Some((routes.name(found.route).unwrap().to_owned(), cluster))
}

fn took(name: &str, cluster: u32) -> Option<(String, u32)> {
    Some((name.to_owned(), cluster))
}

#[test]
fn routes_come_change_and_go() {
    let (mut editor, now) = (editor(), Instant::now());
    let before = editor.routes().clone();
    editor.apply(&[put("c", "/c", "other"), put("a", "/aa", "other")], now).unwrap();
    let after = editor.routes().clone();
    assert_eq!(find(&after, "/c"), took("c", 1));
    assert_eq!((find(&after, "/aa"), find(&after, "/a")), (took("a", 1), None));
    assert_eq!((find(&before, "/a"), find(&before, "/c")), (took("a", 0), None));
    editor.apply(&[delete("a"), delete("c")], now).unwrap();
    assert_eq!(editor.routes().len(), 1);
    assert!(editor.is_declared("b") && !editor.is_declared("a") && !editor.is_declared("c"));
}

#[test]
fn a_group_is_judged_by_what_it_comes_to() {
    let (mut editor, now) = (editor(), Instant::now());
    editor.apply(&[put("a", "/b", "app"), put("b", "/a", "app")], now).unwrap();
    assert_eq!(find(editor.routes(), "/a"), took("b", 0));
    editor.apply(&[delete("a"), put("a", "/b", "other")], now).unwrap();
    assert_eq!(find(editor.routes(), "/b"), took("a", 1));
    editor.apply(&[put("n", "/n", "app"), delete("n")], now).unwrap();
    assert_eq!((editor.routes().len(), find(editor.routes(), "/n")), (2, None));
}

#[test]
fn of_a_group_with_a_fault_nothing_is_applied_or_kept() {
    let (mut editor, now) = (editor(), Instant::now());
    let broken = "{\"id\": \"d\",\n \"cluter\": 1}".to_owned();
    let broken = Change::Put { id: "d".to_owned(), route: broken };
    let wrong =
        Change::Put { id: "e".to_owned(), route: "{\"id\": \"f\", \"cluster\": \"app\"}".into() };
    let group = [
        put("c", "/c", "nowhere"),
        put("good", "/good", "other"),
        put("d", "~(", "app"),
        broken,
        wrong,
        delete("nobody"),
    ];
    let faults = editor.apply(&group, now).unwrap_err();
    let said: Vec<_> = faults
        .iter()
        .map(|fault| (fault.at, fault.kind, fault.line, fault.column, fault.message.as_str()))
        .collect();
    use ChangeFaultKind::{Invalid, Unknown};
    assert_eq!(said[0], (0, Invalid, 1, 24, "unknown cluster `nowhere`"));
    assert!(said[1].4.starts_with("route `d`: path `~(` is no regular"), "{said:?}");
    assert_eq!((said[1].0, said[1].2, said[1].3), (2, 1, 49));
    assert_eq!(said[2], (3, Invalid, 2, 2, "unknown key `cluter`"));
    assert_eq!(said[3], (4, Invalid, 1, 1, "its `id` is `f`, not `e`"));
    assert_eq!(said[4], (5, Unknown, 0, 0, "there is no route of this name"));
    assert_eq!(said.len(), 5);
    assert_eq!((editor.routes().len(), find(editor.routes(), "/good")), (2, None));
    assert_eq!(editor.plans.iter().count(), 1, "the plan of `good` was given back");
    editor.apply(&[put("good", "/good", "other")], now).unwrap();
    assert_eq!(find(editor.routes(), "/good"), took("good", 1));
    let unused = editor.ended.len() as u32;
    assert_eq!(editor.next - editor.declared - unused, 1, "no id was lost");
}

#[test]
fn a_route_that_could_never_match_is_a_conflict() {
    let (mut editor, now) = (editor(), Instant::now());
    let faults = editor.apply(&[put("c", "/a", "app")], now).unwrap_err();
    let message = "route `c`: can never match: what it takes is taken before by `a`";
    assert_eq!((faults[0].kind, faults[0].message.as_str()), (ChangeFaultKind::Conflict, message));
    let all =
        "{\"id\": \"c\", \"cluster\": \"app\", \"priority\": 5, \"match\": {\"path\": \"/a\"}}";
    let all = Change::Put { id: "c".to_owned(), route: all.to_owned() };
    let faults = editor.apply(&[all], now).unwrap_err();
    assert_eq!((faults[0].id.as_str(), faults.len()), ("c", 1));
    assert!(faults[0].message.starts_with("route `a`: can never match"), "{faults:?}");
}

#[test]
fn an_id_rests_before_it_names_another_route() {
    let (mut editor, start) = (editor(), Instant::now());
    let id = |editor: &Editor, name: &str| editor.routes.id(name).unwrap();
    editor.apply(&[put("c", "/c", "app")], start).unwrap();
    let first = id(&editor, "c");
    editor.apply(&[delete("c"), delete("a")], start).unwrap();
    editor.apply(&[put("d", "/d", "app")], start).unwrap();
    assert_ne!(id(&editor, "d"), first);
    assert_eq!(editor.routes.name(first), Some("c"), "records still find it");
    let later = start + QUARANTINE;
    editor.apply(&[put("e", "/e", "app")], later).unwrap();
    assert_eq!((id(&editor, "e"), editor.routes.name(first)), (first, Some("e")));
    editor.apply(&[put("f", "/f", "app")], later).unwrap();
    assert!(
        id(&editor, "f").0 > id(&editor, "d").0,
        "the id of a declared route is not given away"
    );
}
