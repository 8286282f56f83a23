//! The segment that commits go to, and what a commit may have left of it.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::entry;
use super::folder::{self, FILE_MODE, Files};
use super::lines::{self, BROKEN, Lines, Origin};
use crate::error::ConfigError;

/// An open segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Committed length.
    pub(super) bytes: u64,
}

impl Segment {
    /// Opens the last segment, which is made if it is not there. Its content and its name are on
    /// the disk afterwards.
    pub(super) fn open(files: &Files) -> io::Result<Segment> {
        let path = files.segment(files.last);
        let mut options = File::options();
        options.create(true).truncate(false).write(true).mode(FILE_MODE);
        let file = options.open(&path)?;
        file.sync_all()?;
        folder::sync(&files.folder)?;
        let bytes = file.metadata()?.len();
        Ok(Segment { path, file, bytes })
    }

    /// Writes `entries` behind what is committed and waits for the disk. After an error the file
    /// is cut back; that may fail too, and then the next start cuts it.
    pub(super) fn append(&mut self, entries: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(entries, self.bytes);
        if let Err(error) = written.and_then(|()| self.file.sync_data()) {
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += entries.len() as u64;
        Ok(())
    }
}

/// Cuts off what the last commit of the journal left unfinished. It is in the last segment that
/// holds anything: one that is empty has only been made. Gives the number of the last entry that
/// is left.
pub(super) fn mend(files: &Files, warnings: &mut Vec<String>) -> Result<u64, ConfigError> {
    let mut is_closed = false;
    for number in files.segments().rev() {
        let path = files.segment(number);
        let cannot = |error: io::Error| folder::fault(&path, "cannot be mended", &error);
        let file = File::options().read(true).write(true).open(&path).map_err(cannot)?;
        let bytes = file.metadata().map_err(cannot)?.len();
        let whole = Whole::of(&file).map_err(|broken| broken.fault(&path))?;
        if whole.bytes < bytes && !is_closed {
            file.set_len(whole.bytes).and_then(|()| file.sync_all()).map_err(cannot)?;
            warnings.push(warning(&path, whole.line, bytes - whole.bytes));
        }
        if let Some(last) = whole.last {
            return Ok(last);
        }
        is_closed |= bytes > 0;
    }
    let Some(path) = files.base_path() else { return Ok(0) };
    let file = File::open(&path).map_err(|error| folder::fault(&path, "cannot be read", &error))?;
    lines::scan_head(&path, &mut Lines::new(file)).map(|(last, _)| last)
}

fn warning(path: &Path, line: u32, bytes: u64) -> String {
    let path = path.display();
    format!("{path}:{line}: {bytes} bytes of an unfinished commit were cut off")
}

/// Why a segment is refused.
#[derive(Debug)]
pub(super) enum Broken {
    Unreadable(io::Error),
    /// This line is broken, and a commit follows it.
    Line(u32),
}

impl Broken {
    fn fault(&self, path: &Path) -> ConfigError {
        match self {
            Broken::Unreadable(error) => folder::fault(path, "cannot be read", error),
            Broken::Line(line) => Origin { file: path, line: *line }.fault(BROKEN),
        }
    }
}

/// The whole entries at the start of a segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) bytes: u64,
    /// The line behind them.
    pub(super) line: u32,
    /// The number of the last one.
    pub(super) last: Option<u64>,
}

impl Whole {
    /// Reads a segment.
    pub(super) fn of(segment: impl Read) -> Result<Whole, Broken> {
        let mut lines = Lines::new(segment);
        let mut whole = Whole { line: 1, ..Whole::default() };
        let mut is_torn = false;
        while let Some(line) = lines.next().map_err(Broken::Unreadable)? {
            let end = line.at + line.bytes.len() as u64;
            match entry::unseal(line.bytes) {
                None => is_torn = true,
                Some(sound) if is_torn && sound.is_first => return Err(Broken::Line(whole.line)),
                Some(_) if is_torn => {}
                Some(sound) => {
                    let line = line.number.saturating_add(1);
                    whole = Whole { bytes: end, line, last: Some(sound.number) };
                }
            }
        }
        Ok(whole)
    }
}
