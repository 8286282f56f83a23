//! Files of routes, one JSON object a line: streamed, and read by several threads.
//!
//! A thread takes a chunk of whole lines from the file, reads its routes without the file's lock,
//! and leaves a part of the draft. Nothing is kept of a line but what its route comes to: a million
//! of them never exist as nodes or as text at once. Only a line with a fault is read once more, as
//! a tree, so that each of its faults has its column and a hint.

use std::io::{self, ErrorKind, Read};
use std::sync::{Mutex, PoisonError};

use router::RouteSpec;

use super::draft::{Draft, Make, Terms};
use super::facts::Facts;
use super::single::{explain, json_fault};
use crate::config::Item;
use crate::decode::Fault;
use crate::tree::Place;

/// Bytes that a thread takes at a time, up to the end of a line.
const CHUNK_BYTES: usize = 1 << 20;
/// Longest line.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Faulty lines of a chunk that are described before the rest of it is left for the next run.
const FAULTS_MAX: usize = 100;

/// The routes of a file in their order, and its faults.
pub(super) fn read(
    file: u16,
    input: Box<dyn Read + Send>,
    terms: Terms<'_>,
    threads: usize,
) -> (Vec<Draft>, Vec<Fault>) {
    let chunks = Mutex::new(Chunks { input, rest: Vec::new(), line: 1, count: 0, ended: false });
    let read_some = || {
        let mut parts = Vec::new();
        loop {
            let next = chunks.lock().unwrap_or_else(PoisonError::into_inner).next();
            match next {
                Ok(None) => return parts,
                Ok(Some(chunk)) => parts.push(read_chunk(file, &chunk, terms)),
                Err((count, fault)) => {
                    let place = fault.place;
                    let place = Place { file, ..place };
                    parts.push((count, Draft::new(terms.make), vec![Fault { place, ..fault }]));
                    return parts;
                }
            }
        }
    };
    let mut parts = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.max(1)).map(|_| scope.spawn(read_some)).collect();
        let mut parts = read_some();
        for other in others {
            // INVARIANT: a panic of a reader is a panic of the load.
            parts.extend(other.join().expect("a reader of routes"));
        }
        parts
    });
    parts.sort_by_key(|(count, ..)| *count);
    let (mut drafts, mut faults) = (Vec::new(), Vec::new());
    for (_, draft, found) in parts {
        drafts.push(draft);
        faults.extend(found);
    }
    (drafts, faults)
}

/// The faults of a file of routes.
pub(crate) fn faults(input: Box<dyn Read + Send>, facts: &Facts, make: Make) -> Vec<Fault> {
    read(0, input, Terms { facts, make, journal: None }, 1).1
}

/// A file cut into whole lines.
struct Chunks {
    input: Box<dyn Read + Send>,
    /// The beginning of the next chunk.
    rest: Vec<u8>,
    /// The number of its first line.
    line: u32,
    count: usize,
    ended: bool,
}

struct Chunk {
    count: usize,
    line: u32,
    bytes: Vec<u8>,
}

impl Chunks {
    /// The next chunk; none after an error.
    fn next(&mut self) -> Result<Option<Chunk>, (usize, Fault)> {
        if self.ended {
            return Ok(None);
        }
        let bytes = match self.lines() {
            Ok(bytes) => bytes,
            Err(error) => {
                self.ended = true;
                let message = format!("cannot be read: {error}");
                let place = Place { file: 0, line: self.line, column: 1 };
                return Err((self.count, Fault::new(place, message)));
            }
        };
        let chunk = Chunk { count: self.count, line: self.line, bytes };
        self.count += 1;
        self.line += chunk.bytes.iter().filter(|byte| **byte == b'\n').count() as u32;
        Ok(Some(chunk))
    }

    fn lines(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.rest);
        let want = CHUNK_BYTES.saturating_sub(bytes.len()).max(CHUNK_BYTES / 4);
        let got = self.input.by_ref().take(want as u64).read_to_end(&mut bytes)?;
        if got < want {
            self.ended = true;
            return Ok(bytes);
        }
        match bytes.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => {
                self.rest = bytes.split_off(last + 1);
                Ok(bytes)
            }
            None if bytes.len() > LINE_BYTES_MAX => {
                let message = format!("a line is longer than {LINE_BYTES_MAX} bytes");
                Err(io::Error::new(ErrorKind::InvalidData, message))
            }
            None => {
                self.rest = bytes;
                Ok(Vec::new())
            }
        }
    }
}

fn read_chunk(file: u16, chunk: &Chunk, terms: Terms<'_>) -> (usize, Draft, Vec<Fault>) {
    let (mut draft, mut faults) = (Draft::new(terms.make), Vec::new());
    for (line, number) in chunk.bytes.split(|byte| *byte == b'\n').zip(chunk.line..) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii().is_empty() {
            continue;
        }
        let place = Place { file, line: number, column: 1 };
        if faults.len() >= FAULTS_MAX {
            faults.push(Fault::new(place, "the lines from here on were not looked at"));
            break;
        }
        read_line(place, line, terms, &mut draft, &mut faults);
    }
    (chunk.count, draft, faults)
}

fn read_line(
    place: Place,
    line: &[u8],
    terms: Terms<'_>,
    draft: &mut Draft,
    faults: &mut Vec<Fault>,
) {
    let mut found = match serde_json::from_slice::<RouteSpec>(line) {
        Ok(mut spec) => {
            let name = std::mem::take(&mut spec.id);
            add(draft, terms, &Item::plain(name, place, spec))
        }
        Err(error) => vec![json_fault(place, &error)],
    };
    if found.is_empty() {
        return;
    }
    let explained = explain(place, line, terms.facts, terms.make);
    if !explained.is_empty() {
        found = explained;
    }
    let snippet = String::from_utf8_lossy(line);
    faults.extend(
        found
            .into_iter()
            .map(|fault| Fault { snippet: Some(snippet.clone().into_owned()), ..fault }),
    );
}

fn add(draft: &mut Draft, terms: Terms<'_>, item: &Item<RouteSpec>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if let Some(spec) = &item.spec {
        draft.add(terms, item, spec, &mut faults);
    }
    faults
}

#[cfg(test)]
mod tests;
