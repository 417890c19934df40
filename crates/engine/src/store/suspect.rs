//! What a failed sync leaves behind, and how the next opening gets over it.
//!
//! A sync that fails may leave pages that look clean and never reached the disk (Rebello et al.,
//! *Can Applications Recover from fsync Failures?*, ATC 2020). While the system stays up, a new
//! process reads them from the page cache as if all was well, no later sync writes them, and the
//! next loss of power takes them away: behind the back of a journal that was told that the base has
//! them. So the failure is written down, next to the file, before anyone hears of it, and an opening
//! that finds it written down writes the whole file anew.
//!
//! Without a marker there is nothing to fear: a process that was killed leaves dirty pages, and
//! the first sync of the next opening writes them. A write for which there was no room leaves no
//! marker either: it cleans no page, and who has no room for it has none for a second file.
//!
//! # Durability
//!
//! The marker goes when all that was read from the cache is on the disk under the file's name, and
//! was checked. A crash before that leaves the marker, and the old file or the new one.

use std::io;

use disk::{Disk, File, Open};

use crate::paths::{exists, parent};

/// Bytes that are read and written at once.
const COPY_BYTES: u64 = 1024 * 1024;

/// Reads of a piece before the file is given up as unreadable.
const READS: usize = 4;

/// The base's file, which leaves a marker when the disk fails it.
pub(crate) struct Watched<D: Disk> {
    disk: D,
    file: D::File,
    path: String,
}

impl<D: Disk> Watched<D> {
    /// `path` is the base's name, be it the file's or not yet.
    pub(crate) fn new(disk: &D, file: D::File, path: &str) -> Self {
        Self { disk: disk.clone(), file, path: path.to_owned() }
    }

    fn watch<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| match mark(&self.disk, &self.path) {
            Ok(()) => error,
            // Of another kind on purpose: this is no longer the plain error that it was.
            Err(unmarked) => io::Error::other(format!(
                "{error}, and {} could not be made: {unmarked}: what is read from {} before the \
                 next start of the system may not be on the disk",
                marker_of(&self.path),
                self.path,
            )),
        })
    }

    fn watch_write(&self, result: io::Result<()>) -> io::Result<()> {
        match result {
            Err(error) if is_full(&error) => Err(error),
            result => self.watch(result),
        }
    }
}

impl<D: Disk> File for Watched<D> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.watch_write(self.file.write_all_at(bytes, offset))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.watch_write(self.file.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.watch(self.file.sync_data())
    }
}

/// Whether an earlier life left a marker.
pub(crate) fn is_marked(disk: &impl Disk, path: &str) -> io::Result<bool> {
    exists(disk, &marker_of(path))
}

/// Writes all that is read from the file to another one, which takes its name. No unfinished file
/// may be there: one that a failed sync left would be as suspect.
pub(crate) fn rewrite(disk: &impl Disk, path: &str) -> io::Result<()> {
    let unfinished = format!("{path}.new");
    let from = disk.open(path, Open::Existing)?;
    let to = disk.open(&unfinished, Open::New)?;
    let len = from.len()?;
    let mut at = 0;
    while at < len {
        let piece = read_twice(&from, at, COPY_BYTES.min(len - at))?;
        to.write_all_at(&piece, at)?;
        at += piece.len() as u64;
    }
    to.sync_data()?;
    disk.rename(&unfinished, path)?;
    disk.sync_dir(parent(path).0)
}

/// Removes the marker.
pub(crate) fn clear(disk: &impl Disk, path: &str) -> io::Result<()> {
    disk.remove(&marker_of(path))?;
    disk.sync_dir(parent(path).0)
}

/// The marker is empty, for its name says all, and a full disk may still have room for a name.
fn mark(disk: &impl Disk, path: &str) -> io::Result<()> {
    let marker = disk.open(&marker_of(path), Open::OrCreate)?;
    let (synced, named) = (marker.sync_data(), disk.sync_dir(parent(path).0));
    synced.and(named)
}

fn marker_of(path: &str) -> String {
    format!("{path}.suspect")
}

/// Reads until two reads agree: what a bad cable did to one of them must not become the truth.
fn read_twice(file: &impl File, at: u64, len: u64) -> io::Result<Vec<u8>> {
    let read = || {
        let mut piece = vec![0; usize::try_from(len).expect("a piece is small")];
        file.read_exact_at(&mut piece, at).map(|()| piece)
    };
    let mut piece = read()?;
    for _ in 1..READS {
        let again = read()?;
        if again == piece {
            return Ok(piece);
        }
        piece = again;
    }
    Err(io::Error::other(format!("bytes from {at} on read differently each time")))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
