//! A directory for one test, removed with it.

use std::path::{Path, PathBuf};

/// A directory that does not exist yet.
#[derive(Debug)]
pub(crate) struct TestDir {
    path: PathBuf,
}

impl TestDir {
    /// A fresh name; `name` is unique among the tests.
    pub(crate) fn new(name: &str) -> Self {
        let pid = std::process::id();
        let path = std::env::temp_dir().join(format!("cairn-up-{pid}-{name}"));
        let _ = std::fs::remove_dir_all(&path);
        Self { path }
    }

    /// Where it is, or will be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
