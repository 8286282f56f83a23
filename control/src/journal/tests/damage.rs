//! Torn commits are cut off; any other damage is refused with its place.

use super::*;

/// Two commits of one entry, and one of three.
fn history() -> Scratch {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    commit(&mut journal, &[put("a")]);
    commit(&mut journal, &[put("b")]);
    for id in ["c", "d", "e"] {
        journal.append(&[put(id)]).unwrap();
    }
    journal.commit().unwrap();
    scratch
}

/// Offsets at which the lines of the first segment begin, and its length.
fn offsets(bytes: &[u8]) -> Vec<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect()
}

/// What is replayed, and the warnings, of a first segment with these bytes.
fn reopened(bytes: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
    let scratch = history();
    fs::write(scratch.file(FIRST), bytes).unwrap();
    let mut warnings = Vec::new();
    let journal = Journal::open(&scratch.0, &mut warnings);
    let mut journal = journal.map_err(|error| scratch.shown(error))?;
    let before = ids(&journal);
    commit(&mut journal, &[put("z")]);
    drop(journal);
    assert_eq!(ids(&scratch.open()), [before.clone(), vec!["z".to_owned()]].concat());
    let folder = format!("{}/", scratch.0.display());
    Ok((before, warnings.iter().map(|text| text.replace(&folder, "")).collect()))
}

#[test]
fn a_commit_cut_at_any_byte_loses_its_entries_from_there() {
    let whole = fs::read(history().file(FIRST)).unwrap();
    let offsets = offsets(&whole);
    for length in offsets[2]..whole.len() {
        let lines = offsets.iter().filter(|at| **at <= length).count() - 1;
        let (kept, warnings) = reopened(&whole[..length]).unwrap();
        assert_eq!(kept, ["a", "b", "c", "d", "e"][..lines], "cut at {length}");
        let torn = length - offsets[lines];
        let cut =
            format!("{FIRST}:{}: {torn} bytes of an unfinished commit were cut off", lines + 1);
        assert_eq!(warnings, if torn > 0 { vec![cut] } else { vec![] });
    }
}

#[test]
fn a_damaged_line_of_the_last_commit_ends_the_journal() {
    let whole = fs::read(history().file(FIRST)).unwrap();
    let offsets = offsets(&whole);
    for line in 2..5 {
        let mut bytes = whole.clone();
        bytes[offsets[line] + 20] ^= 1;
        let (kept, warnings) = reopened(&bytes).unwrap();
        assert_eq!(kept, ["a", "b", "c", "d", "e"][..line]);
        assert_eq!(warnings.len(), 1);
    }
}

/// What a file system can leave of pages that were not written before the power went.
#[test]
fn zeros_of_a_lost_page_are_a_torn_commit() {
    let whole = fs::read(history().file(FIRST)).unwrap();
    let offsets = offsets(&whole);
    for (from, to) in [(offsets[2], offsets[4]), (offsets[3] + 5, whole.len())] {
        let mut bytes = whole.clone();
        bytes[from..to].fill(0);
        let lines = offsets.iter().filter(|at| **at <= from).count() - 1;
        assert_eq!(reopened(&bytes).unwrap().0, ["a", "b", "c", "d", "e"][..lines]);
    }
}

#[test]
fn a_damaged_line_before_the_last_commit_is_refused() {
    let whole = fs::read(history().file(FIRST)).unwrap();
    let offsets = offsets(&whole);
    for line in 0..2 {
        // Without the LF before it, the last commit has no beginning.
        for at in offsets[line]..offsets[line + 1] - line {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            let refusal = reopened(&bytes).unwrap_err();
            let place = format!("{FIRST}:{}:1: the journal is damaged", line + 1);
            assert!(refusal.starts_with(&place), "{refusal}");
        }
    }
}

#[test]
fn a_line_that_was_taken_out_is_not_noticed_but_a_part_of_one_is() {
    let whole = fs::read(history().file(FIRST)).unwrap();
    let offsets = offsets(&whole);
    let without = [&whole[..offsets[0]], &whole[offsets[1]..]].concat();
    assert_eq!(reopened(&without).unwrap().0, ["b", "c", "d", "e"]);
    let without = [&whole[..offsets[1] - 1], &whole[offsets[1]..]].concat();
    assert!(reopened(&without).unwrap_err().starts_with("0000000001.log:1:1: "));
}

/// Two closed segments behind a base, and a current one.
fn long_history() -> Scratch {
    let scratch = history();
    let mut journal = scratch.open();
    compact(&mut journal);
    for id in ["f", "g", "h"] {
        commit(&mut journal, &[put(id)]);
        if id != "h" {
            // A compaction that fails leaves its closed segment behind.
            journal.begin().unwrap();
            drop(journal.running.take());
            fs::remove_file(scratch.file("0000000002.base")).ok();
            fs::remove_file(scratch.file("0000000003.base")).ok();
        }
    }
    drop(journal);
    assert_eq!(
        scratch.names(),
        ["0000000001.base", SECOND, "0000000003.log", "0000000004.log", "lock"]
    );
    scratch
}

#[test]
fn a_closed_file_has_no_torn_end() {
    let scratch = long_history();
    for (name, line) in [("0000000001.base", 5), (SECOND, 1), ("0000000003.log", 1)] {
        let copy = Scratch::copy(&scratch.0);
        let mut bytes = fs::read(copy.file(name)).unwrap();
        bytes.pop();
        fs::write(copy.file(name), bytes).unwrap();
        let error = copy.open().replay(&mut |_, _| ()).unwrap_err();
        let place = format!("{name}:{line}:1: the journal is damaged");
        assert!(copy.shown(error).starts_with(&place));
    }
}

#[test]
fn a_compaction_of_damaged_files_changes_nothing() {
    let scratch = long_history();
    let mut bytes = fs::read(scratch.file(SECOND)).unwrap();
    bytes[0] ^= 1;
    fs::write(scratch.file(SECOND), bytes).unwrap();
    let before = scratch.names();
    let mut journal = scratch.open();
    journal.begin().unwrap();
    let error = journal.running.take().unwrap().join().unwrap_err();
    assert!(scratch.shown(error).starts_with("0000000002.log:1:1: the journal is damaged"));
    drop(journal);
    assert_eq!(scratch.names(), [&before[..4], &["0000000005.log".into(), "lock".into()]].concat());
}

#[test]
fn a_missing_file_is_refused() {
    let scratch = long_history();
    for (name, missing) in [(SECOND, SECOND), ("0000000001.base", FIRST)] {
        let copy = Scratch::copy(&scratch.0);
        fs::remove_file(copy.file(name)).unwrap();
        let message = format!("{missing}: the journal is damaged: this file is missing");
        assert_eq!(copy.refusal(), message);
    }
    let copy = Scratch::copy(&scratch.0);
    for name in [SECOND, "0000000003.log", "0000000004.log"] {
        fs::remove_file(copy.file(name)).unwrap();
    }
    assert_eq!(copy.refusal(), format!("{SECOND}: the journal is damaged: this file is missing"));
}

#[test]
fn an_entry_of_another_shape_is_refused_with_its_place() {
    let scratch = history();
    let json = br#" [{"move":"a"}]"#;
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(json);
    let line = [format!("{crc:08x}").as_bytes(), json, b"\n"].concat();
    fs::write(scratch.file(FIRST), line).unwrap();
    let error = scratch.open().replay(&mut |_, _| ()).unwrap_err();
    assert!(scratch.shown(error).starts_with("0000000001.log:1:1: unknown field `move`"));
}

#[test]
fn other_files_are_left_alone() {
    let scratch = history();
    fs::write(scratch.file("notes.txt"), "x").unwrap();
    fs::write(scratch.file("0000000001.base.new"), "x").unwrap();
    drop(scratch.open());
    assert_eq!(scratch.names(), [FIRST, "lock", "notes.txt"]);
}
