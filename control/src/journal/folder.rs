//! The folder: which files are there, which of them count, and the lock.
//!
//! `N.log` is segment N, `N.base` the net effect of everything up to segment N, `N.base.new` a base
//! that is being written. The highest base counts, with all segments above it; everything else is
//! left over from a compaction. Segments above the base have no gaps, and there is at least one
//! next to a base, since it is made before the compaction begins.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::ConfigError;

const LOCK: &str = "lock";
const FOLDER_MODE: u32 = 0o700;
/// Mode of all files in the folder.
pub(super) const FILE_MODE: u32 = 0o600;

/// `path: message: error`.
pub(super) fn fault(path: &Path, message: &str, error: &io::Error) -> ConfigError {
    ConfigError::new(path.display().to_string(), format!("{message}: {error}"))
}

/// The folder is ours. Dropped, it is free at once: closing the file alone would leave it locked
/// for as long as a child process that is being started has a copy of the descriptor.
#[derive(Debug)]
pub(super) struct Lock(File);

#[cfg(test)]
impl Lock {
    /// Another descriptor of the same open file.
    pub(super) fn copy(&self) -> File {
        self.0.try_clone().unwrap()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is next, which unlocks it as well.
        let _ = self.0.unlock();
    }
}

/// Makes the folder if it is not there, and locks it.
pub(super) fn lock(folder: &Path) -> Result<Lock, ConfigError> {
    let cannot = |error: io::Error| fault(folder, "cannot be used for the journal", &error);
    if !folder.try_exists().map_err(cannot)? {
        make(folder).map_err(cannot)?;
    }
    let mut options = File::options();
    options.create(true).truncate(false).write(true).mode(FILE_MODE);
    let file = options.open(folder.join(LOCK)).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(fs::TryLockError::Error(error)) => Err(cannot(error)),
        Err(fs::TryLockError::WouldBlock) => {
            let message = "the journal is in use by another process";
            Err(ConfigError::new(folder.display().to_string(), message))
        }
    }
}

/// A folder whose own name is not durable would take the commits with it.
fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    sync(above.unwrap_or(Path::new(".")))
}

/// Makes the folder's names durable: files that were made, renamed or removed.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The files that count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
    /// Number of the base, 0 without one.
    pub(super) base: u64,
    /// Number of the last segment; not above `base` if there are none.
    pub(super) last: u64,
}

impl Files {
    /// Looks into the folder, and refuses it if a file is missing.
    pub(super) fn find(folder: &Path) -> Result<Files, ConfigError> {
        let names = names(folder).map_err(|error| fault(folder, "cannot be read", &error))?;
        let base = names.iter().filter_map(Name::base).max().unwrap_or(0);
        let mut segments: Vec<u64> = names.iter().filter_map(Name::segment).collect();
        segments.retain(|number| *number > base);
        segments.sort_unstable();
        let last = segments.last().copied().unwrap_or(base);
        let files = Files { folder: folder.to_owned(), base, last };
        let expected = files.last.max(base + u64::from(base > 0));
        let missing = (base + 1..=expected).find(|number| segments.binary_search(number).is_err());
        missing.map_or(Ok(files.clone()), |number| {
            let path = files.segment(number).display().to_string();
            Err(ConfigError::new(path, "the journal is damaged: this file is missing"))
        })
    }

    /// Numbers of the segments, in order.
    pub(super) fn segments(&self) -> RangeInclusive<u64> {
        self.base + 1..=self.last
    }

    /// Where segment `number` is.
    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.folder.join(Name::Segment(number).text())
    }

    /// Where the base is, if there is one.
    pub(super) fn base_path(&self) -> Option<PathBuf> {
        (self.base > 0).then(|| self.folder.join(Name::Base(self.base).text()))
    }

    /// The files in the order of their entries.
    pub(super) fn parts(&self) -> impl Iterator<Item = Part> {
        let base = self.base_path().map(|path| Part { path, is_base: true });
        let segment = |number| Part { path: self.segment(number), is_base: false };
        base.into_iter().chain(self.segments().map(segment))
    }

    /// Where the base that takes the place of all these files is written, and where it goes then.
    pub(super) fn next_base(&self) -> (PathBuf, PathBuf) {
        let path = |name: Name| self.folder.join(name.text());
        (path(Name::Unfinished(self.last)), path(Name::Base(self.last)))
    }

    /// Removes what the base has made superfluous. The base's own name is durable before.
    pub(super) fn sweep(&self) -> io::Result<()> {
        sync(&self.folder)?;
        for name in names(&self.folder)?.into_iter().filter(|name| name.is_left_over(self.base)) {
            fs::remove_file(self.folder.join(name.text()))?;
        }
        Ok(())
    }
}

/// A file that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) is_base: bool,
}

/// A name of a file of the journal, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Base(u64),
    Segment(u64),
    Unfinished(u64),
}

impl Name {
    /// Anything but the text of a name is no file of the journal.
    fn parse(text: &OsStr) -> Option<Name> {
        let text = text.to_str()?;
        let number = text.split_once('.')?.0.parse().ok().filter(|number| *number > 0)?;
        let names = [Name::Base(number), Name::Segment(number), Name::Unfinished(number)];
        names.into_iter().find(|name| name.text() == text)
    }

    fn text(self) -> String {
        match self {
            Name::Base(number) => format!("{number:010}.base"),
            Name::Segment(number) => format!("{number:010}.log"),
            Name::Unfinished(number) => format!("{number:010}.base.new"),
        }
    }

    fn base(&self) -> Option<u64> {
        if let Name::Base(number) = *self { Some(number) } else { None }
    }

    fn segment(&self) -> Option<u64> {
        if let Name::Segment(number) = *self { Some(number) } else { None }
    }

    fn is_left_over(&self, base: u64) -> bool {
        match *self {
            Name::Base(number) => number < base,
            Name::Segment(number) => number <= base,
            Name::Unfinished(_) => true,
        }
    }
}

fn names(folder: &Path) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for item in fs::read_dir(folder)? {
        names.extend(Name::parse(&item?.file_name()));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in [Name::Base(1), Name::Segment(12_345_678_901), Name::Unfinished(7)] {
            assert_eq!(Name::parse(OsStr::new(&name.text())), Some(name));
        }
        for other in
            ["lock", "1.log", "0000000000.log", "0000000001.log~", ".log", "+000000001.log"]
        {
            assert_eq!(Name::parse(OsStr::new(other)), None, "{other}");
        }
    }
}
