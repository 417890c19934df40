//! Where a node's words are kept. Bounded: when the file is full it becomes the old one, and the one
//! that was old is forgotten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file is full at this size: with the old one, a node's words take twice that.
pub(crate) const MAX_BYTES: u64 = 16 << 20;

/// `log.jsonl`, and `log.old.jsonl` when it was full once.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    max_bytes: u64,
}

impl LogFile {
    /// Opens or makes `log.jsonl` in `directory`.
    pub(crate) fn open(directory: &Path, max_bytes: u64) -> io::Result<Self> {
        let path = directory.join("log.jsonl");
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size_bytes = file.metadata()?.len();
        Ok(Self { path, file, size_bytes, max_bytes })
    }

    /// Appends. A disk that is full must not stop the cluster: what can't be written is lost.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        if self.size_bytes + bytes.len() as u64 > self.max_bytes && self.size_bytes > 0 {
            // If that fails the old file grows on, and the next append tries again.
            let _ = self.rotate();
        }
        if self.file.write_all(bytes).is_ok() {
            self.size_bytes += bytes.len() as u64;
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        fs::rename(&self.path, self.path.with_extension("old.jsonl"))?;
        self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.size_bytes = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::test_dir::TestDir;

    #[test]
    fn two_files_at_most() {
        let dir = TestDir::new();
        let mut log = LogFile::open(dir.path(), 10).unwrap();
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            log.append(line.as_bytes());
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(read("log.old.jsonl"), "three\n");
        assert_eq!(read("log.jsonl"), "four\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
