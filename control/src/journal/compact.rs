//! Compaction: from a base and closed segments to the next base, on a thread of its own.
//!
//! What counts of the changes is found out first (`net`), and then written in the order of places.
//! The base has its name only after it is on the disk as a whole. The old files stay until the
//! journal counts from the new base, since a load may be reading them. A sweep removes them then,
//! on a thread as well: that takes a file system a second for a gigabyte.

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::entry::{self, Change, Head};
use super::folder::{self, FILE_MODE, Files};
use super::net::Net;
use crate::error::ConfigError;

const WRITE_BYTES: usize = 256 << 10;

/// Work in the folder that is in progress. Dropped, it is given up and waited for, so that none
/// goes on behind the back of the folder's next owner.
#[derive(Debug)]
pub(super) struct Work {
    is_given_up: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Option<Base>, ConfigError>>>,
}

/// A base that is in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) number: u64,
    pub(super) bytes: u64,
}

impl Work {
    /// Makes a base of `files`, which do not change any more.
    pub(super) fn compact(files: Files) -> io::Result<Work> {
        Work::start(move |is_given_up| run(&files, is_given_up).map(Some))
    }

    /// Removes what the base of `files` has made superfluous. Gives no base.
    pub(super) fn sweep(files: Files) -> io::Result<Work> {
        Work::start(move |_| {
            let swept = files.sweep();
            swept.map_err(|error| folder::fault(&files.folder, "cannot be cleaned up", &error))?;
            Ok(None)
        })
    }

    fn start(
        work: impl FnOnce(&AtomicBool) -> Result<Option<Base>, ConfigError> + Send + 'static,
    ) -> io::Result<Work> {
        let is_given_up = Arc::new(AtomicBool::new(false));
        let flag = is_given_up.clone();
        let thread = thread::Builder::new().name("journal".to_owned());
        let thread = thread.spawn(move || work(&flag))?;
        Ok(Work { is_given_up, thread: Some(thread) })
    }

    /// Whether `join` returns at once.
    pub(super) fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end; gives the new base of a compaction.
    pub(super) fn join(mut self) -> Result<Option<Base>, ConfigError> {
        let joined = self.thread.take().map(JoinHandle::join);
        // INVARIANT: only this function and `drop` take the thread.
        let result = joined.expect("a thread to join");
        result.unwrap_or_else(|_| Err(ConfigError::new("journal", "its thread panicked")))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.is_given_up.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its result is of no use any more, and a panic has been printed.
            let _ = thread.join();
        }
    }
}

/// Makes the base and gives it its name. What is unfinished is removed after an error.
fn run(files: &Files, is_given_up: &AtomicBool) -> Result<Base, ConfigError> {
    let (unfinished, base) = files.next_base();
    let written = write(files, &unfinished, is_given_up);
    let bytes = written.inspect_err(|_| drop(fs::remove_file(&unfinished)))?;
    let named = fs::rename(&unfinished, &base).and_then(|()| folder::sync(&files.folder));
    named.map_err(|error| folder::fault(&base, "cannot be put in its place", &error))?;
    Ok(Base { number: files.last, bytes })
}

/// Writes the base under the name that does not count, down to the disk.
pub(super) fn write(
    files: &Files,
    to: &Path,
    is_given_up: &AtomicBool,
) -> Result<u64, ConfigError> {
    let mut net = Net::new(RandomState::new());
    for part in files.parts() {
        net.read(&part, u64::MAX, &mut || check(is_given_up))?;
    }
    let cannot = |error: io::Error| folder::fault(to, "cannot be written", &error);
    let mut options = File::options();
    options.create(true).truncate(true).write(true).mode(FILE_MODE);
    let mut out = BufWriter::with_capacity(WRITE_BYTES, options.open(to).map_err(cannot)?);
    let bytes = write_net(net, &mut out, is_given_up).map_err(cannot)?;
    let file = out.into_inner().map_err(|error| cannot(error.into_error()))?;
    file.sync_all().map_err(cannot)?;
    Ok(bytes)
}

/// Writes the head, and what counts, one id an entry, in the order of places.
pub(super) fn write_net<S: BuildHasher>(
    net: Net<S>,
    out: &mut impl io::Write,
    is_given_up: &AtomicBool,
) -> io::Result<u64> {
    let (in_order, mut line) = (net.in_order(), Vec::new());
    entry::encode_head(&mut line, net.last(), Head { entries: in_order.len() as u64 })?;
    out.write_all(&line)?;
    let mut bytes = line.len() as u64;
    for (index, number) in in_order.into_iter().zip(1..) {
        check(is_given_up)?;
        line.clear();
        net.with(index, |last, _| encode(&mut line, number, last, net.is_ended(index)))??;
        out.write_all(&line)?;
        bytes += line.len() as u64;
    }
    Ok(bytes)
}

/// A put behind a declared delete keeps it: without it, the put would take the place of the route
/// that the configuration files declare.
fn encode(line: &mut Vec<u8>, number: u64, last: Change<'_>, is_ended: bool) -> io::Result<()> {
    let delete = Change::Delete { id: last.id(), declared: true };
    match last {
        Change::Put { .. } if is_ended => entry::encode(line, true, number, &[delete, last]),
        Change::Put { .. } => entry::encode(line, true, number, &[last]),
        Change::Delete { .. } => entry::encode(line, true, number, &[delete]),
    }
}

fn check(is_given_up: &AtomicBool) -> io::Result<()> {
    if is_given_up.load(Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "given up"));
    }
    Ok(())
}
