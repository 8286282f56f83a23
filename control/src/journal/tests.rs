//! What every use of the journal relies on; torn commits, kills and sequences of all kinds have
//! files of their own.

mod damage;
mod failure;
mod kill;
mod measure;
mod model;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Change, Journal};
use crate::error::ConfigError;

/// A folder that is removed with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = format!("ringway-journal-{}-{number}", std::process::id());
        Scratch(std::env::temp_dir().join(folder))
    }

    /// With the files of another folder.
    fn copy(from: &Path) -> Scratch {
        let copy = Scratch::new();
        fs::create_dir(&copy.0).unwrap();
        for item in fs::read_dir(from).unwrap() {
            let item = item.unwrap();
            fs::copy(item.path(), copy.0.join(item.file_name())).unwrap();
        }
        copy
    }

    /// Opens the journal, which needs no mending.
    fn open(&self) -> Journal {
        let mut warnings = Vec::new();
        let journal = Journal::open(&self.0, &mut warnings).unwrap();
        assert_eq!(warnings, [] as [String; 0]);
        journal
    }

    /// Why it does not open, without the folder.
    fn refusal(&self) -> String {
        self.shown(Journal::open(&self.0, &mut Vec::new()).unwrap_err())
    }

    fn shown(&self, error: ConfigError) -> String {
        error.to_string().replace(&format!("{}/", self.0.display()), "")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names in the folder, in order.
    fn names(&self) -> Vec<String> {
        let items = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            items.map(|item| item.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const FIRST: &str = "0000000001.log";
const SECOND: &str = "0000000002.log";

fn put(id: &str) -> Change<'_> {
    Change::Put { id, route: r#"{"cluster":"c"}"# }
}

/// One commit of one entry.
fn commit(journal: &mut Journal, changes: &[Change<'_>]) {
    journal.append(changes).unwrap();
    journal.commit().unwrap();
}

/// All changes, as `FILE:LINE CHANGE`.
fn replayed(journal: &Journal) -> Vec<String> {
    let mut all = Vec::new();
    let result = journal.replay(&mut |change, origin| {
        let name = origin.file.file_name().unwrap().to_str().unwrap();
        let change = match change {
            Change::Put { id, route } => format!("{id} = {route}"),
            Change::Delete { id, declared } => format!("{id} goes, {declared}"),
        };
        all.push(format!("{name}:{} {change}", origin.line));
    });
    result.unwrap();
    all
}

/// The ids of all changes.
fn ids(journal: &Journal) -> Vec<String> {
    let mut ids = Vec::new();
    journal.replay(&mut |change, _| ids.push(change.id().to_owned())).unwrap();
    ids
}

impl Journal {
    /// A whole compaction, due or not, if there is anything to compact.
    pub(crate) fn compact_whole(&mut self) {
        if self.segments_bytes() > 0 {
            compact(self);
        }
    }
}

fn compact(journal: &mut Journal) {
    journal.begin().unwrap();
    finish(journal);
}

fn finish(journal: &mut Journal) {
    while let Some(running) = journal.running.take() {
        journal.settle(running).unwrap();
    }
}

#[test]
fn committed_changes_come_back_in_order_with_their_places() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    assert_eq!(replayed(&journal), [] as [String; 0]);
    commit(&mut journal, &[put("a"), Change::Delete { id: "b", declared: true }]);
    journal.append(&[]).unwrap();
    journal.append(&[Change::Put { id: "é\"", route: "{\n}" }]).unwrap();
    journal.append(&[Change::Delete { id: "a", declared: false }]).unwrap();
    journal.commit().unwrap();
    journal.append(&[put("never committed")]).unwrap();
    let expected = [
        "0000000001.log:1 a = {\"cluster\":\"c\"}",
        "0000000001.log:1 b goes, true",
        "0000000001.log:2 é\" = { }",
        "0000000001.log:3 a goes, false",
    ];
    assert_eq!(replayed(&journal), expected);
    drop(journal);
    assert_eq!(replayed(&scratch.open()), expected);
}

#[test]
fn a_refused_entry_leaves_the_others() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    journal.append(&[put("a")]).unwrap();
    journal.append(&[put("b"), Change::Put { id: "c", route: "1" }]).unwrap_err();
    journal.append(&[put("d")]).unwrap();
    journal.commit().unwrap();
    assert_eq!(ids(&journal), ["a", "d"]);
}

#[test]
fn a_folder_has_one_owner() {
    let scratch = Scratch::new();
    let journal = scratch.open();
    let message = format!("{}: the journal is in use by another process", scratch.0.display());
    assert_eq!(scratch.refusal(), message);
    drop(journal);
    scratch.open();
}

/// A process that is being started has copies of all descriptors for a moment.
#[test]
fn a_dropped_journal_is_free_though_a_descriptor_lives_on() {
    let scratch = Scratch::new();
    let journal = scratch.open();
    let copy = journal._lock.copy();
    drop(journal);
    scratch.open();
    drop(copy);
}

#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt as _;
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    commit(&mut journal, &[put("a")]);
    compact(&mut journal);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&scratch.0), 0o700);
    for name in scratch.names() {
        assert_eq!(mode(&scratch.file(&name)), 0o600, "{name}");
    }
}

#[test]
fn a_compaction_keeps_the_net_effect() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    let delete = |id, declared| Change::Delete { id, declared };
    commit(&mut journal, &[put("old"), put("gone"), put("a"), put("hidden"), put("b")]);
    commit(&mut journal, &[delete("gone", false), delete("a", true), delete("hidden", true)]);
    compact(&mut journal);
    let newer = Change::Put { id: "old", route: "{}" };
    commit(&mut journal, &[put("a"), newer, delete("hidden", false)]);
    compact(&mut journal);
    assert_eq!(scratch.names(), ["0000000002.base", "0000000003.log", "lock"]);
    let expected = [
        "0000000002.base:2 old = {}",
        "0000000002.base:3 b = {\"cluster\":\"c\"}",
        "0000000002.base:4 a goes, true",
        "0000000002.base:4 a = {\"cluster\":\"c\"}",
        "0000000002.base:5 hidden goes, true",
    ];
    assert_eq!(replayed(&journal), expected);
    drop(journal);
    assert_eq!(replayed(&scratch.open()), expected);
}

#[test]
fn commits_and_replays_go_on_during_a_compaction() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    commit(&mut journal, &[put("a")]);
    journal.begin().unwrap();
    commit(&mut journal, &[put("b")]);
    assert_eq!(ids(&journal), ["a", "b"]);
    finish(&mut journal);
    assert_eq!(ids(&journal), ["a", "b"]);
    assert_eq!(scratch.names(), ["0000000001.base", SECOND, "lock"]);
}

#[test]
fn a_compaction_is_due_when_the_segments_outweigh_the_base() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    assert!(!journal.is_due());
    (journal.bytes_min, journal.base_bytes) = (100, 200);
    for (closed, current, is_due) in [(0, 400, false), (400, 1, true), (0, 401, true)] {
        (journal.closed_bytes, journal.current.bytes) = (closed, current);
        assert_eq!(journal.is_due(), is_due);
    }
    journal.base_bytes = 0;
    for (bytes, is_due) in [(99, false), (100, true)] {
        (journal.closed_bytes, journal.current.bytes) = (0, bytes);
        assert_eq!(journal.is_due(), is_due);
    }
}

#[test]
fn tend_compacts_when_it_is_due() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    let mut warnings = Vec::new();
    commit(&mut journal, &[put("a")]);
    journal.tend(&mut warnings);
    assert!(journal.running.is_none(), "4 MiB are far");
    journal.bytes_min = 1;
    journal.tend(&mut warnings);
    while journal.running.is_some() {
        std::thread::yield_now();
        journal.tend(&mut warnings);
    }
    assert_eq!(warnings, [] as [String; 0]);
    assert_eq!(scratch.names(), ["0000000001.base", SECOND, "lock"]);
    drop(journal);
    let mut journal = scratch.open();
    journal.bytes_min = 1;
    assert!(journal.base_bytes > 0 && !journal.is_due(), "the sizes are known again");
}

#[test]
fn a_dropped_journal_gives_its_compaction_up() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    commit(&mut journal, &[put("a")]);
    journal.begin().unwrap();
    drop(journal);
    assert_eq!(ids(&scratch.open()), ["a"]);
}
