//! Changes over restarts and reloads, on the disk.

mod measure;
mod replay;

use std::path::{Path, PathBuf};

use super::*;
use crate::routes::find_get;

/// A folder of its own for each test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let name = format!("ringway-store-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    /// Writes the configuration with these routes.
    fn declare(&self, routes: &str) -> Sources {
        let journal = self.0.join("journal");
        let text = format!(
            "version: 1\nsettings: {{route_journal: {}}}\nlisteners: [{{address: 127.0.0.1:0}}]\n\
             clusters: {{app: {{endpoints: ['127.0.0.1:1']}}}}\nroutes: {routes}\n",
            journal.display()
        );
        self.write(&text)
    }

    fn write(&self, text: &str) -> Sources {
        let file = self.0.join("r.yaml");
        std::fs::write(&file, text).unwrap();
        Sources { file: Some(file), ..Sources::default() }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Another run's folder has another name.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(id: &str, path: &str) -> Change {
    let route =
        format!("{{\"id\": \"{id}\", \"cluster\": \"app\",\n\"match\": {{\"path\": \"{path}\"}}}}");
    Change::Put { id: id.to_owned(), route }
}

fn delete(id: &str) -> Change {
    Change::Delete { id: id.to_owned() }
}

fn find(routes: &Routes, path: &str) -> Option<String> {
    let found = find_get(routes, "x", path)?;
    routes.name(found.route).map(str::to_owned)
}

fn change(store: &mut RouteStore, group: &[Change]) -> Result<(), Refusal> {
    store.change(&[group], Instant::now()).remove(0)
}

const DECLARED: &str = "[{id: a, match: {path: /a}, cluster: app}, \
                        {id: b, match: {path: /b}, cluster: app}]";

#[test]
fn what_was_acknowledged_is_there_after_a_restart_and_after_a_reload() {
    let folder = Folder::new("restart");
    let sources = folder.declare(DECLARED);
    let (first, mut store) = RouteStore::load(&sources).unwrap();
    assert_eq!(first.routes.len(), 2);
    let groups = [vec![put("c", "/c"), put("a", "/aa")], vec![delete("b")], vec![delete("x")]];
    let groups: Vec<&[Change]> = groups.iter().map(Vec::as_slice).collect();
    let answers = store.change(&groups, Instant::now());
    assert!(answers[0].is_ok() && answers[1].is_ok());
    assert!(matches!(&answers[2], Err(Refusal::Faults(faults)) if faults.len() == 1));
    let check = |routes: &Routes| {
        let paths = ["/a", "/aa", "/b", "/c"].map(|path| find(routes, path));
        assert_eq!(paths, [None, Some("a".into()), None, Some("c".into())]);
    };
    check(store.routes());
    let next = store.reload(&first, &sources).unwrap();
    check(&next.routes);
    assert_eq!((next.generation, next.loaded), (2, 2));
    drop(store);
    let (again, mut store) = RouteStore::load(&sources).unwrap();
    check(&again.routes);
    assert_eq!(again.hash, first.hash, "of what the files mean");
    change(&mut store, &[put("b", "/b2")]).unwrap();
    assert_eq!(find(store.routes(), "/b2"), Some("b".into()));
}

#[test]
fn a_journal_that_fits_the_configuration_no_more_refuses_it() {
    let folder = Folder::new("unfit");
    let (first, mut store) = RouteStore::load(&folder.declare(DECLARED)).unwrap();
    change(&mut store, &[put("c", "/c")]).unwrap();
    let taken = "[{id: a, match: {path: /c}, cluster: app}]";
    let errors = store.reload(&first, &folder.declare(taken)).unwrap_err();
    let said = errors[0].to_string();
    assert!(said.contains(":1:1: the journal's route `c`: route `c`: can never match"), "{said}");
    assert_eq!(find(store.routes(), "/c"), Some("c".into()), "nothing has changed");
    drop(store);
    assert!(RouteStore::load(&folder.declare(taken)).is_err());
    assert!(RouteStore::load(&folder.declare("[]")).is_ok(), "the journal has routes enough");
}

#[test]
fn without_a_journal_nothing_is_taken() {
    let folder = Folder::new("none");
    let sources = folder.write(
        "version: 1\nlisteners: [{address: 127.0.0.1:0}]\nclusters: {app: {endpoints: \
         ['127.0.0.1:1']}}\nroutes: [{id: a, cluster: app}]\n",
    );
    let (_, mut store) = RouteStore::load(&sources).unwrap();
    assert_eq!(change(&mut store, &[put("c", "/c")]), Err(Refusal::NoJournal));
}

#[test]
fn two_processes_do_not_share_a_journal() {
    let folder = Folder::new("shared");
    let sources = folder.declare(DECLARED);
    let held = RouteStore::load(&sources).unwrap();
    let errors = RouteStore::load(&sources).unwrap_err();
    assert!(errors[0].file.contains(Path::new("journal").to_str().unwrap()), "{errors:?}");
    drop(held);
    assert!(RouteStore::load(&sources).is_ok());
}
