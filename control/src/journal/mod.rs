//! The journal of route changes: what the admin API was told, kept over restarts.
//!
//! A change is acknowledged after [`Journal::commit`] has brought it to the disk. At start, and
//! again at each reload, `Journal::net` gives what all changes come to, and the caller lays that
//! over the routes of the configuration files. It is not a database: it knows nothing of routes
//! but their ids.
//!
//! The folder holds one *base* (the net effect of everything up to a number) and the *segments*
//! with the higher numbers; `folder` has the names, `entry` the lines. A background thread folds
//! base and closed segments into the next base (`compact`), while commits go on in a new segment.
//!
//! - J1 What a commit has acknowledged is read again, whatever instant the process is killed at.
//! - J2 An entry is read whole or not at all.
//! - J3 At any instant the names in the folder alone say which files count. A file that counts is
//!   never changed but at its end.
//! - J4 Only the last commit of the journal can be torn: each is on the disk before the next is
//!   written. A broken line anywhere else is a fault with its place and refuses the start. Damage
//!   that reaches into the first entry of the last commit passes for a torn one.
//! - J5 Entries are numbered over all files, and a base says how many lines it has and up to which
//!   entry. A line that was taken out is a fault where the next one stands; only the last ones of
//!   the journal can go unnoticed, since they look as if they had never been committed.
//! - J6 A base keeps for each id its last route, at the place of the first put since the last
//!   delete. It keeps a delete only where the configuration files declared the id.
//!
//! Owned by the control thread. Cost: `append` copies and checks the text, `commit` is one write
//! and one `fdatasync`, `net` reads every byte once, `tend` compares numbers. In memory are only
//! the entries that wait for their commit; a net has about 60 bytes an id.

mod compact;
mod entry;
mod folder;
mod fuzz;
mod lines;
mod net;
mod segment;

use std::fs;
use std::hash::RandomState;
use std::io;
use std::path::Path;

use crate::error::ConfigError;
use compact::Work;
use folder::{Files, Lock};
#[cfg(test)]
use lines::Origin;
use segment::Segment;

pub use entry::{Change, LINE_BYTES_MAX};
pub use fuzz::fuzz_journal;
pub(crate) use net::Net;

/// Below this many bytes of segments nothing is compacted: a replay of them takes milliseconds.
const SEGMENTS_BYTES_MIN: u64 = 4 << 20;
/// Segments may hold this many times the bytes of the base, so that a compaction reads at most
/// half of its input in vain.
const SEGMENTS_PER_BASE: u64 = 2;

/// An open journal. It holds the lock of its folder until it is dropped.
#[derive(Debug)]
pub struct Journal {
    files: Files,
    base_bytes: u64,
    /// Bytes of the segments before the current one.
    closed_bytes: u64,
    current: Segment,
    /// Entries that the next commit writes.
    pending: Vec<u8>,
    /// The number of the next entry.
    next: u64,
    /// Why nothing more is taken.
    failure: Option<Failure>,
    running: Option<Work>,
    /// No compaction below this many bytes of segments.
    bytes_min: u64,
    /// None below this many either, after one has failed.
    retry_bytes: u64,
    /// Released last, after the compaction has ended.
    _lock: Lock,
}

/// The first error of a commit, kept to be given again.
#[derive(Debug)]
struct Failure {
    kind: io::ErrorKind,
    message: String,
}

impl Failure {
    fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.message.clone())
    }
}

impl Journal {
    /// Opens the journal in `folder`, which is made (mode 0700) if it is not there. What a commit
    /// left unfinished is cut off, with a warning. Reads the newest segment once.
    ///
    /// # Errors
    ///
    /// Another process has the folder open; it cannot be read or written; a file is missing; a
    /// line of the newest segment before its last commit is broken.
    pub fn open(folder: &Path, warnings: &mut Vec<String>) -> Result<Journal, ConfigError> {
        let lock = folder::lock(folder)?;
        let fault = |what: &str, error: io::Error| folder::fault(folder, what, &error);
        let mut files = Files::find(folder)?;
        files.sweep().map_err(|error| fault("cannot be cleaned up", error))?;
        let last = segment::mend(&files, warnings)?;
        files.last = files.last.max(files.base + 1);
        let current = Segment::open(&files).map_err(|error| fault("takes no segment", error))?;
        let closed = files.segments().filter(|number| *number < files.last);
        let closed_bytes = closed.map(|number| bytes(&files.segment(number))).sum();
        Ok(Journal {
            base_bytes: files.base_path().map_or(0, |path| bytes(&path)),
            closed_bytes,
            current,
            files,
            pending: Vec::new(),
            next: last.saturating_add(1),
            failure: None,
            running: None,
            bytes_min: SEGMENTS_BYTES_MIN,
            retry_bytes: 0,
            _lock: lock,
        })
    }

    /// What all committed changes come to. One line is in memory at a time, at most
    /// [`LINE_BYTES_MAX`].
    ///
    /// # Errors
    ///
    /// A file cannot be read, or a line is broken or missing.
    pub(crate) fn net(&self) -> Result<Net, ConfigError> {
        let mut net = Net::new(RandomState::new());
        for part in self.files.parts() {
            net.read(&part, self.committed_bytes(&part.path), &mut || Ok(()))?;
        }
        Ok(net)
    }

    /// What is committed of a file.
    fn committed_bytes(&self, path: &Path) -> u64 {
        if path == self.current.path { self.current.bytes } else { u64::MAX }
    }

    /// Gives every committed change in order, with the place it stands at.
    #[cfg(test)]
    fn replay(&self, apply: &mut dyn FnMut(Change<'_>, Origin<'_>)) -> Result<(), ConfigError> {
        let mut next = 1;
        for part in self.files.parts() {
            lines::scan(&part, self.committed_bytes(&part.path), &mut next, &mut |item| {
                apply(item.change, item.origin);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Puts `changes` as one atomic entry behind those that wait for [`Journal::commit`]. Without
    /// I/O; the text is checked, so that what is taken can be read back. Line breaks between the
    /// tokens of a route become blanks.
    ///
    /// # Errors
    ///
    /// `InvalidInput`: a route is not one JSON object, or the entry is longer than
    /// [`LINE_BYTES_MAX`]. The entry is left out, those before it stay. After a failed commit, its
    /// error.
    pub fn append(&mut self, changes: &[Change<'_>]) -> io::Result<()> {
        self.check_failure()?;
        if changes.is_empty() {
            return Ok(());
        }
        let is_first = self.pending.is_empty();
        entry::encode(&mut self.pending, is_first, self.next, changes)?;
        self.next += 1;
        Ok(())
    }

    /// Brings all appended entries to the disk with one write and one `fdatasync`. Without entries
    /// it does nothing.
    ///
    /// # Errors
    ///
    /// What is on the disk is unknown then: none of the entries may be acknowledged. The journal
    /// cuts its file back if it can, and gives this error for everything from then on, until it is
    /// opened anew.
    pub fn commit(&mut self) -> io::Result<()> {
        self.check_failure()?;
        if self.pending.is_empty() {
            return Ok(());
        }
        let committed = self.current.append(&self.pending);
        self.pending.clear();
        committed.inspect_err(|error| {
            let message = format!("{}: {error}", self.current.path.display());
            self.failure = Some(Failure { kind: error.kind(), message });
        })
    }

    /// Starts a compaction when one is due and takes over a finished one. To be called on each tick
    /// of the control thread; it never waits for the work. After a compaction that failed the next
    /// one waits until there is twice as much to compact; each failure gives one warning.
    pub fn tend(&mut self, warnings: &mut Vec<String>) {
        if let Some(running) = self.running.take_if(|running| running.is_finished()) {
            let settled = self.settle(running);
            self.note(settled, warnings);
        }
        if self.running.is_none() && self.failure.is_none() && self.is_due() {
            let begun = self.begin();
            self.note(begun, warnings);
        }
    }

    fn check_failure(&self) -> io::Result<()> {
        self.failure.as_ref().map_or(Ok(()), |failure| Err(failure.error()))
    }

    fn segments_bytes(&self) -> u64 {
        self.closed_bytes + self.current.bytes
    }

    fn is_due(&self) -> bool {
        let bytes = self.segments_bytes();
        bytes >= self.bytes_min.max(self.retry_bytes) && bytes > SEGMENTS_PER_BASE * self.base_bytes
    }

    fn note(&mut self, outcome: Result<(), ConfigError>, warnings: &mut Vec<String>) {
        if let Err(error) = outcome {
            self.retry_bytes = 2 * self.segments_bytes();
            warnings.push(format!("compaction of the journal: {error}"));
        }
    }

    /// Closes the current segment and has everything up to it compacted. There is something.
    fn begin(&mut self) -> Result<(), ConfigError> {
        debug_assert!(self.segments_bytes() > 0 && self.running.is_none());
        let cannot = |error| folder::fault(&self.files.folder, "takes no segment", &error);
        if self.current.bytes > 0 {
            let files = Files { last: self.files.last + 1, ..self.files.clone() };
            let next = Segment::open(&files).map_err(cannot)?;
            self.closed_bytes += self.current.bytes;
            (self.files, self.current) = (files, next);
        }
        let closed = Files { last: self.files.last - 1, ..self.files.clone() };
        self.run(Work::compact(closed))
    }

    /// Counts from the new base on, and has removed what went into it.
    fn settle(&mut self, finished: Work) -> Result<(), ConfigError> {
        let Some(base) = finished.join()? else { return Ok(()) };
        self.files.base = base.number;
        (self.base_bytes, self.closed_bytes, self.retry_bytes) = (base.bytes, 0, 0);
        self.run(Work::sweep(self.files.clone()))
    }

    fn run(&mut self, work: io::Result<Work>) -> Result<(), ConfigError> {
        let cannot = |error| folder::fault(&self.files.folder, "has no thread", &error);
        self.running = Some(work.map_err(cannot)?);
        Ok(())
    }
}

/// Length of a file, 0 if it cannot be told: it only decides when to compact.
fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

#[cfg(test)]
mod tests;
