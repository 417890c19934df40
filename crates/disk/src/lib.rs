//! The disk as the storage crates see it, and what we assume of it.
//!
//! [`Disk`] and [`File`] are the only way in which `journal` and `engine` touch storage. The binary
//! gives them a real directory; tests and the simulation give them [`mem::MemDisk`], which loses
//! what was not synced, tears it, flips its bits and fails on demand.
//!
//! # What we assume
//!
//! * [`File::sync_data`] that returned `Ok` means: bytes written before the call survive a crash.
//! * After a failed sync nothing is known about any byte written since the last good one. The
//!   caller must stop using the file; to retry would be to believe a lie (Rebello et al., *Can
//!   Applications Recover from fsync Failures?*, ATC 2020).
//! * Unsynced writes may survive a crash in any combination of 512-byte sectors, each old or new.
//! * A file's creation, removal and rename survive a crash only after [`Disk::sync_dir`] of its
//!   directory; before that, any of them may have happened or not. A rename is atomic: after a crash
//!   either name is whole.
//! * Bytes at rest may rot. Readers check checksums; the disk promises nothing.

pub mod mem;

use std::io;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// The file must exist.
    Existing,
    /// The file must not exist; it is created empty.
    New,
    /// Open it, or create it empty.
    OrCreate,
}

/// A directory of files, addressed by relative paths with `/` between their parts (`journal/0000000001.seg`).
///
/// Cheap to clone; clones are the same disk.
pub trait Disk: Clone + Send + Sync + 'static {
    /// An open file.
    type File: File;

    /// Opens `path` for reading and writing.
    fn open(&self, path: &str, how: Open) -> io::Result<Self::File>;

    /// Names in directory `dir`, sorted; empty if the directory does not exist.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Creates `dir` and its parents, durably. No error if it exists.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Gives a file another name, replacing what stood there. Durable after [`Disk::sync_dir`].
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_dir`].
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes creations, removals and renames in `dir` durable.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
}

/// An open file. Positions are in bytes. Methods take `&self`, as positioned I/O does.
pub trait File: Send + Sync + 'static {
    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buf` from `offset`; [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file if need be.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts or grows (with zeros) to `len` bytes.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes the file's bytes durable, and its length where that is needed to read them back
    /// (`fdatasync`).
    fn sync_data(&self) -> io::Result<()>;

    /// Long work with this file has come a little further: a host may let what is more urgent go
    /// first, and put on the disk what was written so far. Called often, with nothing locked, by
    /// whoever may block and syncs the file in the end. An error is that of a sync.
    fn breathe(&self) -> io::Result<()> {
        Ok(())
    }
}
