//! A directory for one test, gone when the test is over.

use std::path::{Path, PathBuf};

/// Removes its directory when dropped.
pub(crate) struct TestDir(PathBuf);

impl TestDir {
    /// A new empty directory.
    pub(crate) fn new() -> Self {
        let mut unique = [0; 8];
        rustix::rand::getrandom(&mut unique, rustix::rand::GetRandomFlags::empty()).unwrap();
        let name = format!("cairn-test-{:016x}", u64::from_le_bytes(unique));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TestDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
