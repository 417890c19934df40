//! A directory of the operating system as a [`disk::Disk`].
//!
//! # Durability
//!
//! [`disk::File::sync_data`] is `fdatasync`. A name is durable after [`disk::Disk::sync_dir`], which
//! opens the directory and syncs it, as `disk` describes.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use disk::{Disk, Open};

use super::manners;

/// Whoever writes politely syncs after so many bytes: the disk takes one thing after the other, and
/// the journal's next sync would wait for all that stands before it.
const POLITE_BYTES: u64 = 256 << 10;

/// Whoever removes a file politely frees so many bytes at once.
const FREED_BYTES: u64 = 1 << 20;

/// The files below one directory.
#[derive(Clone, Debug)]
pub(crate) struct OsDisk {
    root: PathBuf,
}

impl OsDisk {
    /// The files below `root`, which must exist.
    pub(crate) fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Opens a file that must exist, and that nobody is going to write to.
    pub(super) fn open_to_read(&self, path: &str) -> io::Result<OsFile> {
        let file = File::open(self.locate(path))?;
        Ok(OsFile { file, unsynced: AtomicU64::new(0) })
    }

    /// Where `path` really is. Paths are ours, never an outsider's: they stay below the root.
    fn locate(&self, path: &str) -> PathBuf {
        let relative = Path::new(path);
        let inside = relative.components().all(|part| matches!(part, Component::Normal(_)));
        assert!(inside, "{path:?} leads out of the data directory");
        self.root.join(relative)
    }
}

impl Disk for OsDisk {
    type File = OsFile;

    fn open(&self, path: &str, how: Open) -> io::Result<OsFile> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match how {
            Open::Existing => &mut options,
            Open::New => options.create_new(true),
            Open::OrCreate => options.create(true).truncate(false),
        };
        let file = options.open(self.locate(path))?;
        Ok(OsFile { file, unsynced: AtomicU64::new(0) })
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.locate(dir)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry?.file_name().into_string();
            names.push(name.map_err(|name| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a foreign file: {}", name.display()),
                )
            })?);
        }
        names.sort();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        create_dir_durably(&self.locate(dir))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.locate(from), self.locate(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.locate(path);
        if manners::is_polite() {
            shrink(&path)?;
        }
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        sync_dir(&self.locate(dir))
    }
}

/// Creates `dir` and its parents. Each new name is synced in the directory that holds it.
pub(crate) fn create_dir_durably(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dir_durably(parent)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_dir(parent),
    }
}

/// Makes the names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Frees a file's blocks a few at a time. To free many at once, and to tell the disk of it, holds up
/// the journal's syncs for 10 ms and more.
fn shrink(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let mut len = file.metadata()?.len();
    while len > FREED_BYTES {
        len -= FREED_BYTES;
        file.set_len(len)?;
        manners::pause();
    }
    Ok(())
}

/// An open file.
#[derive(Debug)]
pub(crate) struct OsFile {
    file: File,
    /// Bytes that were written since the last sync.
    unsynced: AtomicU64,
}

impl disk::File for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(&self.file, buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(&self.file, bytes, offset)?;
        self.unsynced.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.unsynced.store(0, Ordering::Relaxed);
        self.file.sync_data()
    }

    fn breathe(&self) -> io::Result<()> {
        manners::breathe();
        if self.unsynced.load(Ordering::Relaxed) >= POLITE_BYTES && manners::is_polite() {
            self.sync_data()?;
            manners::pause();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use disk::File as _;

    use super::*;
    use crate::drivers::test_dir::TestDir;

    fn disk() -> (TestDir, OsDisk) {
        let dir = TestDir::new();
        let disk = OsDisk::new(dir.path());
        (dir, disk)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let (_dir, disk) = disk();
        disk.create_dir("a/b").unwrap();
        let file = disk.open("a/b/c", Open::New).unwrap();
        file.write_all_at(b"stones", 4).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir("a/b").unwrap();
        let mut bytes = [1; 10];
        disk.open("a/b/c", Open::Existing).unwrap().read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\0\0\0stones");
        assert_eq!(file.len().unwrap(), 10);
        file.set_len(4).unwrap();
        assert_eq!(file.len().unwrap(), 4);
    }

    #[test]
    fn reading_past_the_end_is_an_unexpected_end() {
        let (_dir, disk) = disk();
        let file = disk.open("f", Open::New).unwrap();
        let error = file.read_exact_at(&mut [0], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn the_ways_of_opening_differ() {
        let (_dir, disk) = disk();
        assert_eq!(disk.open("f", Open::Existing).unwrap_err().kind(), io::ErrorKind::NotFound);
        disk.open("f", Open::OrCreate).unwrap().write_all_at(b"x", 0).unwrap();
        assert_eq!(disk.open("f", Open::New).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.open("f", Open::OrCreate).unwrap().len().unwrap(), 1);
    }

    #[test]
    fn names_are_listed_in_order_renamed_and_removed() {
        let (_dir, disk) = disk();
        assert!(disk.list("none").unwrap().is_empty());
        disk.create_dir("d").unwrap();
        for name in ["d/c", "d/a", "d/b"] {
            disk.open(name, Open::New).unwrap();
        }
        disk.rename("d/c", "d/a").unwrap();
        disk.remove("d/b").unwrap();
        assert_eq!(disk.list("d").unwrap(), ["a"]);
    }

    #[test]
    #[should_panic(expected = "leads out of the data directory")]
    fn a_path_stays_inside() {
        let (_dir, disk) = disk();
        let _ = disk.open("../f", Open::New);
    }

    #[test]
    fn who_writes_politely_syncs_piece_by_piece() {
        let (_dir, disk) = disk();
        let file = disk.open("f", Open::New).unwrap();
        let unsynced = || file.unsynced.load(Ordering::Relaxed);
        let half = vec![1; usize::try_from(POLITE_BYTES / 2).unwrap()];
        let write = |at: u64| {
            file.write_all_at(&half, at * POLITE_BYTES / 2).unwrap();
            file.breathe().unwrap();
        };
        (0..3).for_each(write);
        assert_eq!(unsynced(), POLITE_BYTES * 3 / 2, "nobody asked for politeness");
        manners::politely(None, || write(3));
        assert_eq!(unsynced(), 0);
        manners::politely(None, || write(4));
        assert_eq!(unsynced(), POLITE_BYTES / 2);
    }

    #[test]
    fn a_large_file_goes_politely_too() {
        let (_dir, disk) = disk();
        let file = disk.open("f", Open::New).unwrap();
        file.set_len(FREED_BYTES * 5 / 2).unwrap();
        manners::politely(None, || disk.remove("f")).unwrap();
        assert!(disk.list("").unwrap().is_empty());
        let missing = manners::politely(None, || disk.remove("f"));
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
