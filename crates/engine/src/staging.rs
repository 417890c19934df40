//! Snapshots on their way in: chunks that were received, in a file each, until the last is there.
//!
//! Nothing here is synced and nothing survives an opening: an ingest makes the rows durable in the
//! base, and before that a snapshot that a crash interrupts is sent again.

use std::io;

use disk::{Disk, File, Open};
use wire::GroupId;

use crate::chunk::{self, ChunkReader, Follows};
use crate::paths::parent;
use crate::{Chunk, JobError, OpenError};

const ACTION: &str = "stage a snapshot";

/// What has been staged for one group.
pub(crate) struct Staging<F> {
    file: F,
    end: u64,
    next: u64,
    complete: bool,
}

impl<F: File> Staging<F> {
    /// Begins with an empty file.
    pub(crate) fn begin(
        disk: &impl Disk<File = F>,
        path: &str,
        group: GroupId,
    ) -> Result<Self, JobError> {
        let open = || {
            let file = disk.open(&file_name(path, group), Open::OrCreate)?;
            file.set_len(0)?;
            Ok(file)
        };
        let file = open().map_err(|error| JobError::disk(ACTION, &error))?;
        Ok(Self { file, end: 0, next: 0, complete: false })
    }

    /// Appends a chunk, if it is whole and the next one.
    pub(crate) fn add(&mut self, chunk: &Chunk) -> Result<(), JobError> {
        if chunk.sequence != self.next || self.complete {
            return Err(JobError::MissingChunk { expected: self.next });
        }
        let damaged = || JobError::DamagedChunk { sequence: chunk.sequence };
        let reader = ChunkReader::open(&chunk.bytes).map_err(|_| damaged())?;
        let last = reader.follows == Follows::Nothing;
        if reader.sequence != chunk.sequence || last != chunk.last {
            return Err(damaged());
        }
        self.end = chunk::append(&self.file, self.end, &chunk.bytes)
            .map_err(|error| JobError::disk(ACTION, &error))?;
        self.next += 1;
        self.complete = last;
        Ok(())
    }

    /// The number of the newest chunk.
    pub(crate) fn last(&self) -> u64 {
        self.next.saturating_sub(1)
    }

    /// Reads all chunks back, in order, once the last one is there.
    pub(crate) fn read(
        &self,
        each: &mut dyn FnMut(ChunkReader) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        if !self.complete {
            return Err(JobError::MissingChunk { expected: self.next });
        }
        let mut at = 0;
        for sequence in 0..self.next {
            let damaged = || JobError::DamagedChunk { sequence };
            let found = chunk::read(&self.file, at)
                .map_err(|error| JobError::disk("read a staged snapshot", &error))?;
            let (bytes, next) = found.ok_or_else(damaged)?;
            let reader = ChunkReader::open(&bytes).map_err(|_| damaged())?;
            if reader.sequence != sequence {
                return Err(damaged());
            }
            each(reader)?;
            at = next;
        }
        Ok(())
    }
}

/// Files beside the base that the next opening removes unread: staged snapshots, each with the number
/// of chunks in it that are whole, and a base half made.
pub(crate) fn leftovers(disk: &impl Disk, path: &str) -> io::Result<Vec<(String, Option<u64>)>> {
    let (dir, name) = parent(path);
    let (staged, unfinished) = (format!("{name}.staging-"), format!("{name}.new"));
    let mut found = Vec::new();
    for file in disk.list(dir)? {
        let is_staged = file.starts_with(&staged);
        if is_staged || file == unfinished {
            let file = if dir.is_empty() { file } else { format!("{dir}/{file}") };
            let chunks = if is_staged { Some(whole_chunks(disk, &file)?) } else { None };
            found.push((file, chunks));
        }
    }
    Ok(found)
}

fn whole_chunks(disk: &impl Disk, path: &str) -> io::Result<u64> {
    let file = disk.open(path, Open::Existing)?;
    let (mut at, mut chunks) = (0, 0);
    while let Some((bytes, next)) = chunk::read(&file, at)? {
        if ChunkReader::open(&bytes).is_ok_and(|chunk| chunk.sequence == chunks) {
            chunks += 1;
        }
        at = next;
    }
    Ok(chunks)
}

/// Removes the file of a group. It may come back after a crash, and is removed at the opening.
pub(crate) fn remove(disk: &impl Disk, path: &str, group: GroupId) -> Result<(), JobError> {
    disk.remove(&file_name(path, group))
        .map_err(|error| JobError::disk("remove a staged snapshot", &error))
}

/// Removes what an earlier life left behind: staged snapshots, and a base half made.
pub(crate) fn clean(disk: &impl Disk, path: &str) -> Result<(), OpenError> {
    let broken = |error| OpenError::disk("remove files of an earlier life", &error);
    let (dir, name) = parent(path);
    let (staged, unfinished) = (format!("{name}.staging-"), format!("{name}.new"));
    for found in disk.list(dir).map_err(broken)? {
        if found.starts_with(&staged) || found == unfinished {
            let found = if dir.is_empty() { found } else { format!("{dir}/{found}") };
            disk.remove(&found).map_err(broken)?;
        }
    }
    Ok(())
}

fn file_name(path: &str, group: GroupId) -> String {
    format!("{path}.staging-{group}")
}
