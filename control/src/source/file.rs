//! The configuration file: bytes to text.
//!
//! Bounded and strict: at most [`FILE_BYTES_MAX`], UTF-8, an ordinary file. A rule set beyond
//! that size belongs in a rule file that is streamed, not in a tree of nodes.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::ConfigError;

/// Largest file that is read.
pub(crate) const FILE_BYTES_MAX: u64 = 16 << 20;

/// Reads the whole file.
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    let fault = |message: String| ConfigError::new(path.display().to_string(), message);
    let cannot = |error: std::io::Error| fault(format!("cannot be read: {error}"));
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(fault("is larger than 16 MiB".to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        fault(format!("line {line} is not UTF-8"))
    })
}
