//! A file line by line, with the place of each.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::path::Path;

use super::entry::{self, Change, Head, LINE_BYTES_MAX, Written};
use super::folder::{self, Part};
use crate::error::ConfigError;

/// Read at a time: a few hundred routes.
const READ_BYTES: usize = 256 << 10;

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    /// A file of the journal.
    pub(crate) file: &'a Path,
    /// Line, from 1.
    pub(crate) line: u32,
}

impl Origin<'_> {
    /// An error at this place.
    pub(crate) fn fault(&self, message: impl Into<String>) -> ConfigError {
        let error = ConfigError::new(self.file.display().to_string(), message);
        ConfigError { line: self.line, column: 1, ..error }
    }
}

/// One line as it was read, with its LF unless the file ends without one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) number: u32,
    /// Offset of the first byte.
    pub(super) at: u64,
}

/// The lines of a stream. The buffer for them is as large as the longest so far.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    line: Vec<u8>,
    number: u32,
    end: u64,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R) -> Lines<R> {
        let reader = BufReader::with_capacity(READ_BYTES, reader);
        Lines { reader, line: Vec::new(), number: 0, end: 0 }
    }

    /// The next line, or `None` at the end. `InvalidData` if it is too long.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let bound = LINE_BYTES_MAX as u64 + 1;
        let length = self.reader.by_ref().take(bound).read_until(b'\n', &mut self.line)?;
        self.number = self.number.saturating_add(1);
        if length > LINE_BYTES_MAX {
            let message = format!("line {} is longer than 64 MiB", self.number);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let at = self.end;
        self.end += length as u64;
        Ok((length > 0).then_some(Line { bytes: &self.line, number: self.number, at }))
    }
}

/// One change of a file, and where its text stands.
pub(super) struct Item<'a> {
    pub(super) change: Change<'a>,
    pub(super) origin: Origin<'a>,
    /// Offset of the text that [`Written::parse`] takes.
    pub(super) at: u64,
    /// Length of that text in bytes.
    pub(super) len: u32,
}

/// Gives each change in the first `bytes` of a file, in order. A line that is not a whole entry is
/// a fault, and so is one that is missing: `next` is the number of the entry that the file begins
/// with, or that its base has taken in up to, and afterwards that of the entry behind it.
pub(super) fn scan(
    part: &Part,
    bytes: u64,
    next: &mut u64,
    visit: &mut dyn FnMut(Item<'_>) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let cannot = |error: io::Error| folder::fault(&part.path, "cannot be read", &error);
    let input = File::open(&part.path).map_err(cannot)?.take(bytes);
    scan_input(part, input, next, visit)
}

/// As [`scan`], of what was read elsewhere.
pub(super) fn scan_input(
    part: &Part,
    input: impl Read,
    next: &mut u64,
    visit: &mut dyn FnMut(Item<'_>) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let cannot = |error: io::Error| folder::fault(&part.path, "cannot be read", &error);
    let mut lines = Lines::new(input);
    let head = if part.is_base { Some(scan_head(&part.path, &mut lines)?) } else { None };
    let mut number = if head.is_some() { 1 } else { *next };
    while let Some(line) = lines.next().map_err(cannot)? {
        scan_line(&part.path, &line, number, visit)?;
        number = number.saturating_add(1);
    }
    let Some((last, Head { entries })) = head else {
        *next = number;
        return Ok(());
    };
    if number - 1 != entries {
        let origin = Origin { file: &part.path, line: lines.number };
        let message = format!("{DAMAGED}: entry {number} of {entries} should be here");
        return Err(origin.fault(message));
    }
    *next = last.saturating_add(1);
    Ok(())
}

/// The number of the last entry that went into a base, and what else its first line says.
pub(super) fn scan_head(
    path: &Path,
    lines: &mut Lines<impl Read>,
) -> Result<(u64, Head), ConfigError> {
    let origin = Origin { file: path, line: 1 };
    let line = lines.next().map_err(|error| folder::fault(path, "cannot be read", &error))?;
    let sound = line.and_then(|line| entry::unseal(line.bytes));
    let sound = sound.ok_or_else(|| origin.fault(BROKEN))?;
    let head = serde_json::from_slice(sound.json)
        .map_err(|error| origin.fault(format!("{DAMAGED}: no head of a base: {error}")))?;
    Ok((sound.number, head))
}

fn scan_line(
    path: &Path,
    line: &Line<'_>,
    number: u64,
    visit: &mut dyn FnMut(Item<'_>) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let origin = Origin { file: path, line: line.number };
    let fault = |message: String| origin.fault(message);
    let sound = entry::unseal(line.bytes).ok_or_else(|| origin.fault(BROKEN))?;
    if sound.number != number {
        let found = sound.number;
        return Err(fault(format!("{DAMAGED}: entry {number} should be here, not {found}")));
    }
    for text in entry::texts(sound.json).map_err(fault)? {
        let written = Written::parse(text).map_err(fault)?;
        let change = written.change().map_err(fault)?;
        let offset = text.as_ptr().addr() - line.bytes.as_ptr().addr();
        // INVARIANT: a line has at most 64 MiB.
        let len = u32::try_from(text.len()).expect("shorter than a line");
        visit(Item { change, origin, at: line.at + offset as u64, len })?;
    }
    Ok(())
}

const DAMAGED: &str = "the journal is damaged";

/// Said of a line that is damaged where no torn write can be the reason.
pub(super) const BROKEN: &str = "the journal is damaged: this line does not match its checksum";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_with_their_places() {
        let mut lines = Lines::new(&b"ab\n\nc"[..]);
        let line = |bytes, number, at| Line { bytes, number, at };
        assert_eq!(lines.next().unwrap(), Some(line(b"ab\n", 1, 0)));
        assert_eq!(lines.next().unwrap(), Some(line(b"\n", 2, 3)));
        assert_eq!(lines.next().unwrap(), Some(line(b"c", 3, 4)));
        assert_eq!(lines.next().unwrap(), None);
        assert_eq!(lines.end, 5);
    }

    #[test]
    fn a_line_has_a_bound() {
        let long = io::repeat(b'x').take(LINE_BYTES_MAX as u64 + 7);
        let mut lines = Lines::new(b"a\n".chain(long));
        assert!(lines.next().unwrap().is_some());
        assert_eq!(lines.next().unwrap_err().to_string(), "line 2 is longer than 64 MiB");
    }

    #[test]
    fn a_fault_shows_its_place() {
        let origin = Origin { file: Path::new("x.log"), line: 7 };
        assert_eq!(origin.fault("bad").to_string(), "x.log:7:1: bad");
    }
}
