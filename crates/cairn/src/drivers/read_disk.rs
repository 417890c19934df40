//! A directory as a [`disk::Disk`] that is only read, and tells how much was.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use disk::{Disk, File, Open};

use super::os_disk::{OsDisk, OsFile};

/// A long read is done in such pieces, so that somebody who waits sees it go on.
const PIECE_BYTES: usize = 1 << 20;

/// Is told how many bytes were read so far, ever more.
pub(crate) type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// The files below one directory. Whatever would change them is refused.
#[derive(Clone)]
pub(crate) struct ReadDisk {
    files: OsDisk,
    read: Arc<AtomicU64>,
    progress: Progress,
}

impl ReadDisk {
    /// The files of a disk.
    pub(crate) fn new(files: OsDisk, progress: Progress) -> Self {
        Self { files, read: Arc::default(), progress }
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadDisk {
    type File = ReadFile;

    fn open(&self, path: &str, how: Open) -> io::Result<ReadFile> {
        if how != Open::Existing {
            return refused();
        }
        let file = self.files.open_to_read(path)?;
        Ok(ReadFile { file, disk: self.clone() })
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.files.list(dir)
    }

    fn create_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        refused()
    }

    fn sync_dir(&self, _: &str) -> io::Result<()> {
        refused()
    }
}

/// A file of a [`ReadDisk`].
pub(crate) struct ReadFile {
    file: OsFile,
    disk: ReadDisk,
}

impl File for ReadFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        for piece in buf.chunks_mut(PIECE_BYTES) {
            self.file.read_exact_at(piece, offset)?;
            let bytes = piece.len() as u64;
            offset += bytes;
            (self.disk.progress)(self.disk.read.fetch_add(bytes, Ordering::Relaxed) + bytes);
        }
        Ok(())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        refused()
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }

    fn sync_data(&self) -> io::Result<()> {
        refused()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::drivers::test_dir::TestDir;

    #[test]
    fn it_reads_tells_and_changes_nothing() {
        let dir = TestDir::new();
        let long = vec![7; PIECE_BYTES * 2 + 5];
        std::fs::write(dir.path().join("f"), &long).unwrap();
        let told: Arc<Mutex<Vec<u64>>> = Arc::default();
        let hear = Arc::clone(&told);
        let progress: Progress = Arc::new(move |bytes| hear.lock().unwrap().push(bytes));
        let disk = ReadDisk::new(OsDisk::new(dir.path()), progress);
        let file = disk.open("f", Open::Existing).unwrap();
        let mut bytes = vec![0; long.len()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert!(bytes == long);
        let piece = PIECE_BYTES as u64;
        assert_eq!(*told.lock().unwrap(), [piece, 2 * piece, 2 * piece + 5]);
        let refusals = [
            disk.open("g", Open::OrCreate).map(drop),
            disk.open("g", Open::New).map(drop),
            disk.create_dir("d"),
            disk.rename("f", "g"),
            disk.remove("f"),
            disk.sync_dir(""),
            file.write_all_at(b"x", 0),
            file.set_len(0),
            file.sync_data(),
        ];
        for refused in refusals {
            assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem);
        }
        assert_eq!(disk.list("").unwrap(), ["f"]);
    }
}
