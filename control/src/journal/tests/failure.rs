//! Commits and compactions that the disk refuses.

use std::process::Command;

use super::*;

/// Set in the child process that may not write long files.
const CHILD: &str = "RINGWAY_JOURNAL_FULL";

fn assert_refuses(journal: &mut Journal, message: &str) {
    for _ in 0..2 {
        assert!(journal.append(&[put("later")]).unwrap_err().to_string().ends_with(message));
        assert!(journal.commit().unwrap_err().to_string().ends_with(message));
    }
}

/// The device takes the place of the segment: `full` refuses writes, `null` to sync, and neither
/// can be cut back.
#[test]
fn after_a_failed_commit_nothing_is_taken() {
    for (device, message) in [("/dev/full", "(os error 28)"), ("/dev/null", "(os error 22)")] {
        let scratch = Scratch::new();
        let mut journal = scratch.open();
        commit(&mut journal, &[put("a")]);
        journal.current.file = fs::File::options().write(true).open(device).unwrap();
        journal.append(&[put("b")]).unwrap();
        let error = journal.commit().unwrap_err().to_string();
        assert!(error.ends_with(message), "{error}");
        assert_refuses(&mut journal, message);
        journal.bytes_min = 1;
        journal.tend(&mut Vec::new());
        assert!(journal.running.is_none(), "no compaction of what is unknown");
        assert_eq!(ids(&journal), ["a"]);
        drop(journal);
        let mut journal = scratch.open();
        commit(&mut journal, &[put("c")]);
        assert_eq!(ids(&journal), ["a", "c"]);
    }
}

/// A disk that fills up in the middle of a write: the limit on the length of files, which holds for
/// a whole process.
#[test]
fn a_commit_that_is_written_in_part_is_cut_back() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return fill(Path::new(&folder));
    }
    let scratch = Scratch::new();
    // A signal that is ignored stays ignored in the programs that are started.
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact \"$1\"";
    let name = std::thread::current().name().unwrap().to_owned();
    let mut command = Command::new("bash");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap()).arg(name);
    let output = command.env(CHILD, &scratch.0).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let journal = scratch.open();
    assert_eq!(ids(&journal), ["a"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

fn fill(folder: &Path) {
    let mut journal = Journal::open(folder, &mut Vec::new()).unwrap();
    commit(&mut journal, &[put("a")]);
    let long = format!("{{\"x\":\"{}\"}}", "x".repeat(10_000));
    journal.append(&[Change::Put { id: "b", route: &long }]).unwrap();
    let error = journal.commit().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
    assert_refuses(&mut journal, "(os error 27)");
}

#[test]
fn a_failed_compaction_warns_once_and_waits_for_more() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    journal.bytes_min = 1;
    let in_the_way = scratch.file("0000000001.base.new");
    fs::create_dir(&in_the_way).unwrap();
    commit(&mut journal, &[put("a")]);
    let mut warnings = Vec::new();
    journal.tend(&mut warnings);
    while journal.running.is_some() {
        std::thread::yield_now();
        journal.tend(&mut warnings);
    }
    let folder = format!("{}/", scratch.0.display());
    assert_eq!(
        warnings.iter().map(|text| text.replace(&folder, "")).collect::<Vec<_>>(),
        ["compaction of the journal: 0000000001.base.new: cannot be written: Is a directory (os \
          error 21)"]
    );
    journal.tend(&mut warnings);
    assert!(journal.running.is_none() && warnings.len() == 1);
    fs::remove_dir(&in_the_way).unwrap();
    commit(&mut journal, &[put("b")]);
    journal.tend(&mut warnings);
    assert!(journal.running.is_some(), "twice as much is there");
    finish(&mut journal);
    assert_eq!((journal.retry_bytes, journal.closed_bytes), (0, 0));
    assert_eq!(ids(&journal), ["a", "b"]);
}

#[test]
fn a_segment_that_cannot_be_made_is_a_warning() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    journal.bytes_min = 1;
    commit(&mut journal, &[put("a")]);
    fs::create_dir(scratch.file(SECOND)).unwrap();
    let mut warnings = Vec::new();
    journal.tend(&mut warnings);
    journal.tend(&mut warnings);
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("takes no segment"));
    commit(&mut journal, &[put("b")]);
    assert_eq!(ids(&journal), ["a", "b"]);
}

/// The segment behind it was made, but the compaction did not begin: commits go on in the one
/// before, and the last of them may be torn.
#[test]
fn an_empty_segment_does_not_close_the_one_before() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    commit(&mut journal, &[put("a")]);
    commit(&mut journal, &[put("b")]);
    drop(journal);
    fs::write(scratch.file(SECOND), "").unwrap();
    let bytes = fs::read(scratch.file(FIRST)).unwrap();
    fs::write(scratch.file(FIRST), &bytes[..bytes.len() - 1]).unwrap();
    let mut warnings = Vec::new();
    let mut journal = Journal::open(&scratch.0, &mut warnings).unwrap();
    assert_eq!(warnings.len(), 1);
    commit(&mut journal, &[put("c")]);
    drop(journal);
    assert_eq!(ids(&scratch.open()), ["a", "c"]);
    assert!(fs::metadata(scratch.file(SECOND)).unwrap().len() > 0);
}
