//! Any bytes as a file of the journal, and as an entry with a right checksum.

use std::path::PathBuf;

use super::entry::{self, Change, Head, Written};
use super::folder::Part;
use super::lines;
use super::segment::Whole;

/// For fuzzers: reads any bytes as a segment, a base and an entry. What is whole stays so, what was
/// written comes back, and a line that is taken out is missed.
pub fn fuzz_journal(bytes: &[u8]) {
    if let Ok(whole) = Whole::of(bytes) {
        let cut = &bytes[..usize::try_from(whole.bytes).expect("a part of the input")];
        assert_eq!(Whole::of(cut).ok(), Some(whole), "what is whole stays whole");
    }
    for is_base in [false, true] {
        if read(bytes, is_base).is_some() && !without(bytes, 0).is_empty() {
            assert_eq!(read(&without(bytes, 0), is_base), None, "its first line is missed");
        }
    }
    let Ok(texts) = entry::texts(bytes) else { return };
    let written: Result<Vec<_>, _> = texts.into_iter().map(Written::parse).collect();
    let Ok(written) = written else { return };
    let changes: Result<Vec<_>, _> = written.iter().map(Written::change).collect();
    let Ok(changes) = changes else { return };
    check_entry(&changes);
    check_files(&changes);
}

/// The number of the entry behind the last one; none of bytes that are refused.
fn read(bytes: &[u8], is_base: bool) -> Option<u64> {
    let part = Part { path: PathBuf::from("fuzz"), is_base };
    let mut next = 1;
    lines::scan_input(&part, bytes, &mut next, &mut |_| Ok(())).ok()?;
    Some(next)
}

/// The bytes without a line.
fn without(bytes: &[u8], line: usize) -> Vec<u8> {
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let others = lines.filter(|(number, _)| *number != line);
    others.flat_map(|(_, text)| text.iter().copied()).collect()
}

fn check_entry(changes: &[Change<'_>]) {
    let mut line = Vec::new();
    entry::encode(&mut line, true, 1, changes).expect("what was read can be written");
    let json = entry::unseal(&line).expect("a right checksum").json;
    let read = entry::texts(json).expect("an array");
    assert_eq!(read.len(), changes.len());
    for (text, change) in read.into_iter().zip(changes) {
        let written = Written::parse(text).expect("a change");
        assert_same(written.change().expect("a put or a delete"), *change);
    }
}

/// Equal, but for line breaks between the tokens of a route.
fn assert_same(read: Change<'_>, written: Change<'_>) {
    match (read, written) {
        (Change::Put { id, route }, Change::Put { id: id_before, route: before }) => {
            assert_eq!((id, route), (id_before, before.replace('\n', " ").as_str()));
        }
        (read, written) => assert_eq!(read, written),
    }
}

/// The changes three times, as a segment and as a base: each line is missed, but a segment's last.
fn check_files(changes: &[Change<'_>]) {
    let (mut segment, mut base) = (Vec::new(), Vec::new());
    entry::encode_head(&mut base, 17, Head { entries: 3 }).expect("a head");
    for number in 1..=3 {
        entry::encode(&mut segment, true, number, changes).expect("as before");
        entry::encode(&mut base, true, number, changes).expect("as before");
    }
    assert_eq!((read(&segment, false), read(&base, true)), (Some(4), Some(18)));
    for line in 0..4 {
        let left = read(&without(&segment, line), false);
        assert_eq!(left, [None, None, Some(3), Some(4)][line]);
        assert_eq!(read(&without(&base, line), true), None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_takes_its_own_lines() {
        let changes = [
            Change::Put { id: "a\"b", route: r#"{"x": [1]}"# },
            Change::Delete { id: "c", declared: true },
        ];
        let mut segment = Vec::new();
        entry::encode(&mut segment, true, 1, &changes).unwrap();
        fuzz_journal(&segment["12345678 1 ".len()..]);
        entry::encode(&mut segment, false, 2, &changes[1..]).unwrap();
        fuzz_journal(&segment);
        let mut base = Vec::new();
        entry::encode_head(&mut base, 9, Head { entries: 1 }).unwrap();
        entry::encode(&mut base, true, 1, &changes).unwrap();
        fuzz_journal(&base);
        fuzz_journal(b"[{\"put\":\"a\",\"route\":{\n}}]");
        fuzz_journal(b"no\nline\n");
    }
}
