//! What a journal comes to at a start: the same as its changes one by one, whatever the files say.

use proptest::prelude::*;
use router::PlanId;

use super::*;
use crate::journal::Journal;

const IDS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const PATHS: [&str; 6] = ["/x", "/x/*", "/{n}", "/y/{n}", "~^/[xy]+$", "/y/z"];

/// The first three of the names are declared, and a listener has a plan of its own.
fn head(folder: &Folder, order: &str) -> String {
    format!(
        "version: 1\nsettings: {{route_journal: {}, route_order: {order}, seed: 7}}\n\
         listeners: [{{address: 127.0.0.1:0}}, {{address: 127.0.0.2:0, protocols: [tcp], cluster: \
         bytes}}]\nclusters:\n  app: {{endpoints: ['127.0.0.1:1']}}\n  other: {{endpoints: \
         ['127.0.0.1:2']}}\n  bytes: {{protocol: tcp, endpoints: ['127.0.0.1:3']}}\n",
        folder.0.join("journal").display()
    )
}

const THREE: &str = "routes: [{id: a, match: {path: /x}, cluster: app}, \
                     {id: b, match: {path: '/y/*'}, cluster: other}, \
                     {id: c, match: {host: h, path: '/{n}'}, cluster: app}]\n";

fn text(id: &str, path: &str, host: &str, priority: i32, cluster: &str) -> String {
    format!(
        "{{\"id\": \"{id}\", \"cluster\": \"{cluster}\", \"priority\": {priority}, \"match\": \
         {{\"path\": \"{path}\"{host}}}}}"
    )
}

fn any_change() -> impl Strategy<Value = Change> {
    let id = || prop::sample::select(&IDS[..]);
    let put = (
        id(),
        prop::sample::select(&PATHS[..]),
        prop::sample::select(vec!["", ", \"host\": \"h\"", ", \"host\": \"*.h\""]),
        prop::sample::select(vec![0, 0, 0, 3, -3]),
        prop::sample::select(vec!["app", "other"]),
    );
    let put = put.prop_map(|(id, path, host, priority, cluster)| Change::Put {
        id: id.to_owned(),
        route: text(id, path, host, priority, cluster),
    });
    prop_oneof![3 => put, 2 => id().prop_map(|id| Change::Delete { id: id.to_owned() })]
}

#[derive(Clone, Debug)]
enum Step {
    Change(Vec<Change>),
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::collection::vec(any_change(), 1..4).prop_map(Step::Change),
        1 => Just(Step::Compact),
    ]
}

/// Every route as it is listed, in order, and who takes what.
fn seen(routes: &Routes) -> Vec<String> {
    let cluster = |plan: PlanId| routes.plan(plan).unwrap().cluster;
    let listed = routes.ids().into_iter().map(|route| {
        let plan = cluster(routes.table.plan(route).unwrap());
        format!("{:?} {plan:?} {:?}", routes.name(route), routes.table.describe(route))
    });
    let mut all: Vec<String> = listed.collect();
    for host in ["h", "a.h", "other"] {
        for path in ["/x", "/x/", "/y", "/y/z", "/y/n", "/q", "/xy", "/"] {
            let found = find_get(routes, host, path);
            let name = found.map(|found| {
                (routes.name(found.route), cluster(found.plan), found.captures.range(0))
            });
            all.push(format!("{host} {path}: {name:?}"));
        }
    }
    all
}

fn compact(store: &mut RouteStore) {
    store.journal.iter_mut().for_each(Journal::compact_whole);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_start_and_a_reload_come_to_what_the_changes_came_to(
        steps in prop::collection::vec(step(), 1..12),
        order in prop::sample::select(vec!["specific", "first_match"]),
    ) {
        let folder = Folder::new("replay");
        let sources = folder.write(&(head(&folder, order) + THREE));
        let (first, mut store) = RouteStore::load(&sources).unwrap();
        let now = Instant::now();
        for step in &steps {
            match step {
                // Some are refused.
                Step::Change(group) => drop(store.change(&[group], now)),
                Step::Compact => compact(&mut store),
            }
        }
        let live = seen(store.routes());
        let names = IDS.map(|id| (store.editor.has(id), store.editor.is_declared(id)));
        let next = store.reload(&first, &sources).unwrap();
        prop_assert_eq!(&seen(&next.routes), &live);
        compact(&mut store);
        drop(store);
        let (again, mut store) = RouteStore::load(&sources).unwrap();
        prop_assert_eq!(&seen(&again.routes), &live);
        prop_assert_eq!(again.hash, first.hash);
        prop_assert_eq!(
            IDS.map(|id| (store.editor.has(id), store.editor.is_declared(id))), names
        );
        // A new one comes behind all others, and takes no one's id.
        let new = Change::Put { id: "new".into(), route: text("new", "/new", "", 0, "app") };
        change(&mut store, &[new]).unwrap();
        let routes = store.routes();
        prop_assert_eq!(routes.ids().last().map(|id| routes.name(*id)), Some(Some("new")));
    }
}

/// What is listed after a restart with other routes in the file, and after a compaction.
fn restarted(folder: &Folder, head: &str, routes: &str) -> Vec<String> {
    let sources = folder.write(&format!("{head}routes: [{routes}]\n"));
    let names = |store: &RouteStore| -> Vec<String> {
        let routes = store.routes();
        routes.ids().into_iter().map(|id| routes.name(id).unwrap().to_owned()).collect()
    };
    let (_, mut store) = RouteStore::load(&sources).unwrap();
    let before = names(&store);
    compact(&mut store);
    drop(store);
    assert_eq!(names(&RouteStore::load(&sources).unwrap().1), before);
    before
}

#[test]
fn files_may_change_beneath_a_journal() {
    let folder = Folder::new("beneath");
    let head = head(&folder, "specific");
    let (_, mut store) = RouteStore::load(&folder.write(&(head.clone() + THREE))).unwrap();
    let put = |id: &str, path: &str| Change::Put {
        id: id.to_owned(),
        route: text(id, path, "", 0, "app"),
    };
    change(&mut store, &[put("d", "/d"), put("b", "/b"), delete("c")]).unwrap();
    change(&mut store, &[put("gone", "/gone"), delete("gone"), put("c", "/c")]).unwrap();
    drop(store);
    let route = |id: &str| format!("{{id: {id}, match: {{path: /file/{id}}}, cluster: other}}");
    let file = |ids: &[&str]| ids.iter().map(|id| route(id)).collect::<Vec<_>>().join(", ");
    let all = |ids: &[&str]| restarted(&folder, &head, &file(ids));
    assert_eq!(all(&["a", "b"]), ["a", "b", "d", "c"]);
    assert_eq!(all(&["b", "c", "d", "e"]), ["b", "d", "e", "c"], "`c` was ended before it was put");
    assert_eq!(all(&["gone"]), ["gone", "d", "b", "c"], "nobody ended the file's own");
}

/// Why a start is refused, without the folder.
fn refusal(folder: &Folder, text: &str) -> Vec<String> {
    let errors = RouteStore::load(&folder.write(text)).err().unwrap();
    let shown = |error: &ConfigError| {
        let text = error.to_string().replace(&format!("{}/", folder.0.display()), "");
        text.lines().next().unwrap().to_owned()
    };
    errors.iter().map(shown).collect()
}

#[test]
fn only_what_a_journal_comes_to_must_fit_the_configuration() {
    let folder = Folder::new("fit");
    let head = head(&folder, "specific");
    let (_, mut store) = RouteStore::load(&folder.write(&(head.clone() + THREE))).unwrap();
    let put = |id: &str, path: &str, cluster: &str| Change::Put {
        id: id.to_owned(),
        route: text(id, path, "", 0, cluster),
    };
    change(&mut store, &[put("d", "/d", "other")]).unwrap();
    change(&mut store, &[put("d", "/d", "app"), put("e", "/e", "other")]).unwrap();
    change(&mut store, &[put("b", "/b", "other")]).unwrap();
    drop(store);
    let renamed = head.replace("other", "another") + &THREE.replace("other", "another");
    let gone = |id: &str| {
        format!("the journal's route `{id}`: unknown cluster `other` (did you mean `another`?)")
    };
    assert_eq!(
        refusal(&folder, &renamed),
        [
            format!("journal/0000000001.log:2:1: {}", gone("e")),
            format!("journal/0000000001.log:3:1: {}", gone("b")),
        ]
    );
    let faulty = format!("{head}routes: [{{id: b, match: {{path: b}}, cluster: app}}]\n");
    let said = refusal(&folder, &faulty);
    assert_eq!(said.len(), 1);
    assert!(said[0].contains("route `b`: path `b` does not begin with `/`"), "{said:?}");
    let file = folder.0.join("journal/0000000001.log");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[0] ^= 1;
    std::fs::write(file, bytes).unwrap();
    let damaged = refusal(&folder, &(head + THREE));
    assert!(damaged[0].starts_with("journal/0000000001.log:1:1: the journal is damaged"));
    let faulty = faulty.replace("id: b", "id: x");
    assert_eq!(refusal(&folder, &faulty)[0], said[0].replace("`b`:", "`x`:"), "files go first");
}

#[test]
fn who_is_in_whose_way_is_said_of_the_journal() {
    let folder = Folder::new("way");
    let head = head(&folder, "specific");
    let (_, mut store) = RouteStore::load(&folder.write(&(head.clone() + THREE))).unwrap();
    let put = Change::Put { id: "z".into(), route: text("z", "/z/*", "", 1, "app") };
    change(&mut store, &[put]).unwrap();
    drop(store);
    let hidden = format!("{head}routes: [{{id: q, match: {{path: /z/q}}, cluster: app}}]\n");
    let place = "journal/0000000001.log:1:1: the journal's route `z`";
    let why = "route `q`: can never match: what it takes is taken before by route `z` (line 1)";
    assert_eq!(refusal(&folder, &hidden), [format!("{place}: {why}")]);
}
