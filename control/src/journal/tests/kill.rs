//! The process is killed: at each step of a compaction, and at any moment.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;

use super::super::compact;
use super::super::folder::Files;
use super::*;

fn delete(id: &str) -> Change<'_> {
    Change::Delete { id, declared: false }
}

/// The ids that are there after all changes, in the order of their places.
fn state(journal: &Journal) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    let apply = &mut |change: Change<'_>, _: super::super::Origin<'_>| match change {
        Change::Put { id, .. } if ids.iter().any(|known| known == id) => {}
        Change::Put { id, .. } => ids.push(id.to_owned()),
        Change::Delete { id, .. } => ids.retain(|known| known != id),
    };
    journal.replay(apply).unwrap();
    ids
}

/// Opens a copy of the folder as it is, and goes on with it.
fn assert_survives(folder: &Path, expected: &[&str]) {
    let copy = Scratch::copy(folder);
    let mut journal = copy.open();
    assert_eq!(state(&journal), expected);
    commit(&mut journal, &[put("z")]);
    compact(&mut journal);
    drop(journal);
    assert_eq!(state(&copy.open()), [expected, &["z"]].concat());
    assert_eq!(copy.names().len(), 3, "{:?}", copy.names());
}

#[test]
fn a_compaction_may_end_at_any_step() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    commit(&mut journal, &[put("a"), put("b"), put("c"), put("d")]);
    compact(&mut journal);
    commit(&mut journal, &[delete("a"), put("e")]);
    commit(&mut journal, &[put("a"), delete("c")]);
    drop(journal);
    let expected = ["b", "d", "e", "a"];
    assert_survives(&scratch.0, &expected);
    // The next segment is there.
    fs::write(scratch.file("0000000003.log"), "").unwrap();
    assert_survives(&scratch.0, &expected);
    // The base is being written.
    let files = Files { folder: scratch.0.clone(), base: 1, last: 2 };
    let (unfinished, base) = files.next_base();
    compact::write(&files, &unfinished, &AtomicBool::new(false)).unwrap();
    let whole = fs::read(&unfinished).unwrap();
    for length in (0..whole.len()).step_by(23).chain([whole.len()]) {
        fs::write(&unfinished, &whole[..length]).unwrap();
        assert_survives(&scratch.0, &expected);
    }
    // The base has its name.
    fs::rename(&unfinished, &base).unwrap();
    assert_survives(&scratch.0, &expected);
    // Old files are removed, in any order.
    for gone in [&[SECOND][..], &["0000000001.base"], &[SECOND, "0000000001.base"]] {
        let copy = Scratch::copy(&scratch.0);
        gone.iter().for_each(|name| fs::remove_file(copy.file(name)).unwrap());
        assert_survives(&copy.0, &expected);
    }
}

/// The folder that the child process works in.
const CHILD: &str = "RINGWAY_JOURNAL_KILL";
/// An entry of the child has this many changes.
const BATCH: usize = 3;

/// The child commits without end and says what it has committed; compactions go on beside.
#[test]
fn a_killed_process_has_lost_nothing_that_it_acknowledged() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return work(Path::new(&folder));
    }
    let scratch = Scratch::new();
    let mut first = 0;
    for lines in [1, 2, 17, 40, 90, 200] {
        let mut child = start(&scratch.0);
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut told = output.lines().map(Result::unwrap).filter_map(|line| {
            line.strip_prefix("committed ").map(|number| number.parse::<usize>().unwrap())
        });
        // The pipe stays open until the kill: a child that cannot write ends in an orderly way.
        let last = told.by_ref().take(lines).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        first = check(&scratch.0, first, last);
    }
}

fn start(folder: &Path) -> Child {
    let name = std::thread::current().name().unwrap().to_owned();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", &name, "--nocapture"]).env(CHILD, folder);
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// Commits entries of `BATCH` puts with rising numbers, several a commit.
fn work(folder: &Path) {
    let mut warnings = Vec::new();
    let mut journal = Journal::open(folder, &mut warnings).unwrap();
    journal.bytes_min = 1000;
    let first = ids(&journal).len() / BATCH;
    println!();
    for number in first.. {
        let names: Vec<String> = (0..BATCH).map(|part| format!("{number}.{part}")).collect();
        journal.append(&names.iter().map(|name| put(name)).collect::<Vec<_>>()).unwrap();
        if number % 4 == 3 {
            journal.commit().unwrap();
            println!("committed {number}");
            journal.tend(&mut warnings);
            assert_eq!(warnings.iter().filter(|text| text.contains("compaction")).count(), 0);
        }
    }
}

/// Everything up to the entry `last` is there, and no half entry; gives the number of entries.
fn check(folder: &Path, first: usize, last: usize) -> usize {
    let ids = ids(&Journal::open(folder, &mut Vec::new()).unwrap());
    assert!(ids.len().is_multiple_of(BATCH), "no half batch");
    let entries = ids.len() / BATCH;
    assert!(first <= last && last < entries, "{first} {last} {entries}");
    for (index, id) in ids.iter().enumerate() {
        assert_eq!(*id, format!("{}.{}", index / BATCH, index % BATCH));
    }
    entries
}
