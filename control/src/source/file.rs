//! The files of a configuration: which there are, and bytes to text.
//!
//! Bounded and strict: at most [`FILE_BYTES_MAX`] each, UTF-8. A set of routes beyond that size
//! belongs in a file of routes, which is streamed, not in a tree of nodes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::ConfigError;

/// Largest file that is read.
pub(crate) const FILE_BYTES_MAX: u64 = 16 << 20;

/// Most files of a configuration.
const FILES_MAX: usize = 10_000;

/// The files of a configuration.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub(super) configs: Vec<PathBuf>,
    pub(super) routes: Vec<PathBuf>,
}

/// What is at these paths, in their order.
pub(super) fn list_all<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<Files, ConfigError> {
    let mut all = Files::default();
    for path in paths {
        let files = list(path)?;
        all.configs.extend(files.configs);
        all.routes.extend(files.routes);
        if all.configs.len() + all.routes.len() > FILES_MAX {
            let fault = format!("with it there are more than {FILES_MAX} files");
            return Err(ConfigError::new(path.display().to_string(), fault));
        }
    }
    Ok(all)
}

/// The file itself, or what is in the folder: hidden files and other endings are left alone.
fn list(path: &Path) -> Result<Files, ConfigError> {
    if !path.is_dir() {
        return Ok(Files { configs: vec![path.to_owned()], routes: Vec::new() });
    }
    let fault = |message: String| ConfigError::new(path.display().to_string(), message);
    let cannot = |error: std::io::Error| fault(format!("cannot be read: {error}"));
    let mut files = Files::default();
    for entry in path.read_dir().map_err(cannot)? {
        let file = entry.map_err(cannot)?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        match file.extension().and_then(|ending| ending.to_str()) {
            _ if hidden => {}
            Some("yaml" | "yml") => files.configs.push(file),
            Some("jsonl") => files.routes.push(file),
            _ => {}
        }
    }
    if files.configs.is_empty() {
        return Err(fault("has no *.yaml file".to_owned()));
    }
    files.configs.sort();
    files.routes.sort();
    Ok(files)
}

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
