//! Where the project lies and which of its files are text to be checked.
//!
//! The root is that of the build this binary came from, so `cargo xtask` works from any folder.
//! Nothing here follows links or leaves the root.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that hold no source: build products, version control, installed packages.
const SKIPPED_FOLDERS: &[&str] =
    &["target", ".git", "node_modules", "corpus", "artifacts", "__pycache__"];

/// The project's root folder.
pub(crate) struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// The workspace this binary was built from.
    pub(crate) fn of_this_build() -> Self {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        // INVARIANT: xtask is a member folder directly below the root.
        let root = manifest.parent().expect("xtask has a parent folder").to_path_buf();
        Self { root }
    }

    /// A workspace elsewhere: a copy, or a tree made by a test.
    pub(crate) fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Build products of xtask's own: copies of the tree, logs, tools.
    pub(crate) fn target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => self.root.join(folder),
            None => self.root.join("target"),
        }
    }

    /// Every file that is not a build product, relative to the root with `/` between folders,
    /// sorted.
    pub(crate) fn files(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        collect(&self.root, "", &mut found)?;
        found.sort();
        Ok(found)
    }
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let relative = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if kind.is_file() {
            found.push(relative);
        } else if kind.is_dir() && !SKIPPED_FOLDERS.contains(&name.as_str()) {
            collect(&entry.path(), &format!("{relative}/"), found)?;
        }
    }
    Ok(())
}
