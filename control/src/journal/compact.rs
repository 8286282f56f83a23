//! Compaction: from a base and closed segments to the next base, on a thread of its own.
//!
//! The files are read once in order, and for each id only its hash, its place and where its last
//! change stands are kept. Then the changes that count are read at random, in the order of their
//! places, and written. The base has its name only after it is on the disk as a whole. The old
//! files stay until the journal counts from the new base, since a replay may be reading them. A
//! sweep removes them then, on a thread as well: that takes a file system a second for a gigabyte.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufWriter};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use super::entry::{self, Change, Written};
use super::folder::{self, FILE_MODE, Files};
use super::lines::{self, Item};
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
    for path in files.paths() {
        net.read(path, is_given_up)?;
    }
    let cannot = |error: io::Error| folder::fault(to, "cannot be written", &error);
    let mut options = File::options();
    options.create(true).truncate(true).write(true).mode(FILE_MODE);
    let mut out = BufWriter::with_capacity(WRITE_BYTES, options.open(to).map_err(cannot)?);
    let bytes = net.write(&mut out, is_given_up).map_err(cannot)?;
    let file = out.into_inner().map_err(|error| cannot(error.into_error()))?;
    file.sync_all().map_err(cannot)?;
    Ok(bytes)
}

/// The net effect of what was read.
pub(super) struct Net<S> {
    files: Vec<File>,
    /// The latest slot of each hash; older ones with the same hash follow by `next`.
    heads: HashMap<u64, u32, S>,
    slots: Vec<Slot>,
    /// Counts changes, so that places are in order.
    count: u64,
}

/// One id, found again by the text of its last change.
#[derive(Clone, Copy)]
struct Slot {
    place: u64,
    at: u64,
    len: u32,
    file: u32,
    next: Option<u32>,
    /// The last change is a put.
    is_live: bool,
    /// The configuration files declared the id when it was deleted.
    is_declared: bool,
}

impl<S: BuildHasher> Net<S> {
    pub(super) fn new(hasher: S) -> Net<S> {
        let heads = HashMap::with_hasher(hasher);
        Net { files: Vec::new(), heads, slots: Vec::new(), count: 0 }
    }

    /// Takes in a whole file.
    pub(super) fn read(
        &mut self,
        path: PathBuf,
        is_given_up: &AtomicBool,
    ) -> Result<(), ConfigError> {
        let cannot = |error: io::Error| folder::fault(&path, "cannot be read", &error);
        self.files.push(File::open(&path).map_err(cannot)?);
        lines::scan(&path, u64::MAX, &mut |item| {
            check(is_given_up).and_then(|()| self.take(&item)).map_err(cannot)
        })
    }

    fn take(&mut self, item: &Item<'_>) -> io::Result<()> {
        let index = self.find_or_add(item.change.id())?;
        self.count += 1;
        let slot = &mut self.slots[index as usize];
        let is_put = matches!(item.change, Change::Put { .. });
        if !(is_put && slot.is_live) {
            slot.place = self.count;
        }
        slot.is_live = is_put;
        slot.is_declared |= matches!(item.change, Change::Delete { declared: true, .. });
        // INVARIANT: there are few files, and `read` has added this one.
        slot.file = u32::try_from(self.files.len() - 1).expect("few files");
        (slot.at, slot.len) = (item.at, item.len);
        Ok(())
    }

    fn find_or_add(&mut self, id: &str) -> io::Result<u32> {
        let hash = self.heads.hasher().hash_one(id);
        let mut next = self.heads.get(&hash).copied();
        while let Some(index) = next {
            let slot = self.slots[index as usize];
            if self.has_id(&slot, id)? {
                return Ok(index);
            }
            next = slot.next;
        }
        let index =
            u32::try_from(self.slots.len()).map_err(|_| io::Error::other("too many ids"))?;
        let next = self.heads.insert(hash, index);
        let (is_live, is_declared) = (false, false);
        self.slots.push(Slot { place: 0, at: 0, len: 0, file: 0, next, is_live, is_declared });
        Ok(index)
    }

    /// Hashes may collide: the id itself decides.
    fn has_id(&self, slot: &Slot, id: &str) -> io::Result<bool> {
        let text = text(&self.files, slot)?;
        let written = Written::parse(&text).map_err(io::Error::other)?;
        Ok(written.change().map_err(io::Error::other)?.id() == id)
    }

    /// Writes what counts, one id an entry, in the order of places.
    pub(super) fn write(
        self,
        out: &mut impl io::Write,
        is_given_up: &AtomicBool,
    ) -> io::Result<u64> {
        let Net { files, heads, mut slots, .. } = self;
        drop(heads);
        slots.retain(|slot| slot.is_live || slot.is_declared);
        slots.sort_unstable_by_key(|slot| slot.place);
        let (mut bytes, mut line) = (0, Vec::new());
        for slot in &slots {
            check(is_given_up)?;
            line.clear();
            encode(&mut line, &text(&files, slot)?, slot)?;
            out.write_all(&line)?;
            bytes += line.len() as u64;
        }
        Ok(bytes)
    }
}

/// A put behind a declared delete keeps it: without it, the put would take the place of the route
/// that the configuration files declare.
fn encode(line: &mut Vec<u8>, text: &str, slot: &Slot) -> io::Result<()> {
    let written = Written::parse(text).map_err(io::Error::other)?;
    let last = written.change().map_err(io::Error::other)?;
    let delete = Change::Delete { id: last.id(), declared: true };
    match (slot.is_declared, slot.is_live) {
        (false, _) => entry::encode(line, true, &[last]),
        (true, true) => entry::encode(line, true, &[delete, last]),
        (true, false) => entry::encode(line, true, &[delete]),
    }
}

fn text(files: &[File], slot: &Slot) -> io::Result<String> {
    let mut bytes = vec![0; slot.len as usize];
    files[slot.file as usize].read_exact_at(&mut bytes, slot.at)?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

fn check(is_given_up: &AtomicBool) -> io::Result<()> {
    if is_given_up.load(Ordering::Relaxed) {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "given up"));
    }
    Ok(())
}
