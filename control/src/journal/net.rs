//! The net effect of a journal: what is left of the changes of each id, and in which order.
//!
//! The files are read once in order, and for each id only its hash, its place and where its last
//! change stands are kept: 60 bytes or so. The changes that count are then read at random.
//!
//! N1 An id has the place of the first put since its last delete. N2 A delete counts only where the
//! configuration files declared the id when it was made: what the journal alone had made and ended
//! leaves no trace. So a base comes to the same as the segments that it was made from.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::entry::{Change, Written};
use super::folder::{self, Part};
use super::lines::{self, Item, Origin};
use crate::error::ConfigError;

/// What is left of all changes. Several threads may read it.
#[derive(Debug)]
pub(crate) struct Net<S = RandomState> {
    files: Vec<(PathBuf, File)>,
    /// The latest slot of each hash; older ones with the same hash follow by `next`.
    heads: HashMap<u64, u32, S>,
    slots: Vec<Slot>,
    /// Counts changes, so that places are in order.
    count: u64,
    /// The number of the entry behind all that were read.
    next: u64,
}

/// One id, found again by the text of its last change.
#[derive(Clone, Copy, Debug)]
struct Slot {
    place: u64,
    at: u64,
    len: u32,
    line: u32,
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
        Net { files: Vec::new(), heads, slots: Vec::new(), count: 0, next: 1 }
    }

    /// Takes in the first `bytes` of a file, unless `go_on` ends it before.
    pub(super) fn read(
        &mut self,
        part: &Part,
        bytes: u64,
        go_on: &mut dyn FnMut() -> io::Result<()>,
    ) -> Result<(), ConfigError> {
        let cannot = |error: io::Error| folder::fault(&part.path, "cannot be read", &error);
        self.files.push((part.path.clone(), File::open(&part.path).map_err(cannot)?));
        let mut next = self.next;
        lines::scan(part, bytes, &mut next, &mut |item| {
            go_on().and_then(|()| self.take(&item)).map_err(cannot)
        })?;
        self.next = next;
        Ok(())
    }

    /// The number of the last entry that was read.
    pub(super) fn last(&self) -> u64 {
        self.next - 1
    }

    fn take(&mut self, item: &Item<'_>) -> io::Result<()> {
        let index = self.find_or_add(item.change.id())?;
        self.count += 1;
        let slot = &mut self.slots[index];
        let is_put = matches!(item.change, Change::Put { .. });
        if !(is_put && slot.is_live) {
            slot.place = self.count;
        }
        slot.is_live = is_put;
        slot.is_declared |= matches!(item.change, Change::Delete { declared: true, .. });
        // INVARIANT: there are few files, and `read` has added this one.
        slot.file = u32::try_from(self.files.len() - 1).expect("few files");
        (slot.at, slot.len, slot.line) = (item.at, item.len, item.origin.line);
        Ok(())
    }

    fn find_or_add(&mut self, id: &str) -> io::Result<usize> {
        if let Some(index) = self.find(id)? {
            return Ok(index);
        }
        let index = self.slots.len();
        let head = u32::try_from(index).map_err(|_| io::Error::other("too many ids"))?;
        let next = self.heads.insert(self.heads.hasher().hash_one(id), head);
        let (is_live, is_declared) = (false, false);
        let (place, at, len, line, file) = (0, 0, 0, 0, 0);
        self.slots.push(Slot { place, at, len, line, file, next, is_live, is_declared });
        Ok(index)
    }

    /// The index of an id, if there was any change of it. Hashes may collide: the id itself, which
    /// is read from its file, decides.
    pub(crate) fn find(&self, id: &str) -> io::Result<Option<usize>> {
        let mut next = self.heads.get(&self.heads.hasher().hash_one(id)).copied();
        while let Some(slot) = next {
            let index = slot as usize;
            if self.with(index, |change, _| change.id() == id)? {
                return Ok(Some(index));
            }
            next = self.slots[index].next;
        }
        Ok(None)
    }

    /// Whether a route of this id that the configuration files declare was ended, and is another
    /// one's by now if there is a put.
    pub(crate) fn is_ended(&self, index: usize) -> bool {
        self.slots[index].is_declared
    }

    /// Whether the last change is a put.
    pub(crate) fn is_live(&self, index: usize) -> bool {
        self.slots[index].is_live
    }

    /// The indexes of the ids that count, in the order of their places.
    pub(crate) fn in_order(&self) -> Vec<usize> {
        let counts = |index: &usize| self.is_live(*index) || self.is_ended(*index);
        let mut all: Vec<usize> = (0..self.slots.len()).filter(counts).collect();
        all.sort_unstable_by_key(|index| self.slots[*index].place);
        all
    }

    /// Calls `read` with the last change of an index. One read of its file.
    pub(crate) fn with<R>(
        &self,
        index: usize,
        read: impl FnOnce(Change<'_>, Origin<'_>) -> R,
    ) -> io::Result<R> {
        let slot = &self.slots[index];
        let (path, file) = &self.files[slot.file as usize];
        let mut bytes = vec![0; slot.len as usize];
        file.read_exact_at(&mut bytes, slot.at)?;
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        let written = Written::parse(&text).map_err(io::Error::other)?;
        let change = written.change().map_err(io::Error::other)?;
        Ok(read(change, Origin { file: path, line: slot.line }))
    }

    /// The files that were read.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }
}
