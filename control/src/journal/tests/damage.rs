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

/// Without a line: why that is refused, if it is.
fn without_line(from: &Path, name: &str, line: usize) -> Option<String> {
    let copy = Scratch::copy(from);
    let text = fs::read_to_string(copy.file(name)).unwrap();
    let lines = text.split_inclusive('\n').enumerate();
    let left: String = lines.filter(|(at, _)| at + 1 != line).map(|(_, text)| text).collect();
    fs::write(copy.file(name), left).unwrap();
    let journal = Journal::open(&copy.0, &mut Vec::new()).map_err(|error| copy.shown(error));
    let read = journal.and_then(|journal| journal.net().map_err(|error| copy.shown(error)));
    read.err()
}

#[test]
fn a_line_that_was_taken_out_is_missed() {
    let scratch = history();
    let missed = |line| without_line(&scratch.0, FIRST, line);
    for line in 1..5 {
        let next = line + 1;
        let why = format!("entry {line} should be here, not {next}");
        assert_eq!(missed(line), Some(format!("{FIRST}:{line}:1: the journal is damaged: {why}")));
    }
    assert_eq!(missed(5), None, "the last one looks as if it had never been committed");
    let whole = fs::read(scratch.file(FIRST)).unwrap();
    let second = offsets(&whole)[1];
    let without_lf = [&whole[..second - 1], &whole[second..]].concat();
    assert!(reopened(&without_lf).unwrap_err().starts_with("0000000001.log:1:1: "));
}

#[test]
fn a_line_of_a_base_or_between_files_is_missed() {
    let scratch = long_history();
    let missed = |name, line| without_line(&scratch.0, name, line).unwrap_or_default();
    let base = "0000000001.base";
    assert!(missed(base, 1).starts_with("0000000001.base:1:1: the journal is damaged: no head"));
    let said = "0000000001.base:2:1: the journal is damaged: entry 1 should be here, not 2";
    assert_eq!(missed(base, 2), said);
    let said = "0000000001.base:6:1: the journal is damaged: entry 5 of 5 should be here";
    assert_eq!(missed(base, 6), said);
    let said = "0000000003.log:1:1: the journal is damaged: entry 6 should be here, not 7";
    assert_eq!(missed(SECOND, 1), said);
    assert_eq!(missed("0000000004.log", 1), "", "the last one of the journal");
    let head = fs::read_to_string(scratch.file(base)).unwrap();
    assert!(head.lines().next().unwrap().ends_with(" 5 {\"entries\":5}"), "{head}");
}

#[test]
fn numbers_go_on_where_a_segment_is_empty_or_a_commit_was_torn() {
    let scratch = Scratch::new();
    let mut journal = scratch.open();
    commit(&mut journal, &[put("a"), put("b")]);
    compact(&mut journal);
    drop(journal);
    // Behind a base alone.
    let mut journal = scratch.open();
    assert_eq!(journal.next, 2);
    commit(&mut journal, &[put("c")]);
    drop(journal);
    // All of the last commit is torn, in the only segment that holds anything.
    let bytes = fs::read(scratch.file(SECOND)).unwrap();
    fs::write(scratch.file(SECOND), &bytes[..bytes.len() - 1]).unwrap();
    let mut journal = Journal::open(&scratch.0, &mut Vec::new()).unwrap();
    assert_eq!(journal.next, 2);
    journal.append(&[put("d"), Change::Put { id: "x", route: "1" }]).unwrap_err();
    commit(&mut journal, &[put("e")]);
    commit(&mut journal, &[put("f")]);
    compact(&mut journal);
    commit(&mut journal, &[put("g")]);
    drop(journal);
    let journal = scratch.open();
    assert_eq!(
        (journal.next, ids(&journal)),
        (5, ["a", "b", "e", "f", "g"].map(Into::into).into())
    );
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
    for (name, line) in [("0000000001.base", 6), (SECOND, 1), ("0000000003.log", 1)] {
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
    let json = br#" 1 [{"move":"a"}]"#;
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
