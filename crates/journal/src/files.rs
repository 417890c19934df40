//! The journal's directory: which files there are, and the pool that segments come from and go to.
//!
//! ```text
//! 0000000007.seg          a segment; the number is its sequence
//! 0.spare                 a released segment, or zeros, ready to be renamed into the next one
//! fill.tmp                a spare in the making; worthless after a crash
//! damage                  the marker of damage that the host has not dealt with yet
//! 0000000003.seg.damaged  a segment as it was when damage was found; for the operator alone
//! ```
//!
//! A segment's number is never used twice for bytes that could be taken for each other: what a
//! spare holds was written under a number lower than that of any segment still to come.

use std::collections::BTreeSet;

use disk::{Disk, File, Open};

use crate::Stats;
use crate::errors::DiskFailure;
use crate::layout::{HEADER_BYTES, MAX_NUMBER, Origin};

/// Reads of a file before it is given up as unreadable.
const READS: usize = 4;
const ZEROS_BYTES: usize = 1024 * 1024;
const FILL: &str = "fill.tmp";
pub(crate) const MARKER: &str = "damage";
const MARKER_TEMPORARY: &str = "damage.tmp";
const MOST_MARKER_BYTES: u64 = 64 * 1024;

/// A disk and the journal's directory on it.
#[derive(Clone, Debug)]
pub(crate) struct Directory<D> {
    pub(crate) disk: D,
    path: String,
}

/// What a journal's directory holds.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// Sequence numbers, ascending.
    pub(crate) segments: Vec<u64>,
    /// Names of files set aside, ascending.
    pub(crate) damaged: Vec<String>,
    pub(crate) spares: BTreeSet<u32>,
    pub(crate) temporary: Vec<String>,
    pub(crate) marked: bool,
}

/// The name of segment `sequence`.
pub(crate) fn segment_name(sequence: u64) -> String {
    format!("{sequence:010}.seg")
}

fn spare_name(spare: u32) -> String {
    format!("{spare}.spare")
}

impl<D: Disk> Directory<D> {
    pub(crate) fn new(disk: D, path: &str) -> Self {
        Self { disk, path: path.to_owned() }
    }

    pub(crate) fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) }
    }

    pub(crate) fn create(&self) -> Result<(), DiskFailure> {
        self.disk.create_dir(&self.path).map_err(DiskFailure::at("create", &self.path))
    }

    pub(crate) fn list(&self) -> Result<Listing, DiskFailure> {
        let names = self.disk.list(&self.path).map_err(DiskFailure::at("list", &self.path))?;
        let mut listing = Listing::default();
        for name in names {
            let sequence = name.strip_suffix(".seg").and_then(|number| number.parse().ok());
            let spare = name.strip_suffix(".spare").and_then(|number| number.parse().ok());
            let is_ours = |number: &u64| *number <= MAX_NUMBER && segment_name(*number) == name;
            if let Some(sequence) = sequence.filter(is_ours) {
                listing.segments.push(sequence);
            } else if let Some(spare) = spare.filter(|number| spare_name(*number) == name) {
                listing.spares.insert(spare);
            } else if name == FILL || name == MARKER_TEMPORARY {
                listing.temporary.push(name);
            } else if name == MARKER {
                listing.marked = true;
            } else if name.ends_with(".seg.damaged") {
                listing.damaged.push(name);
            }
        }
        listing.segments.sort_unstable();
        Ok(listing)
    }

    pub(crate) fn open(&self, name: &str) -> Result<D::File, DiskFailure> {
        let path = self.path_of(name);
        self.disk.open(&path, Open::Existing).map_err(DiskFailure::at("open", &path))
    }

    /// The file's bytes from `offset` to its end.
    pub(crate) fn read(&self, name: &str, offset: u64) -> Result<Vec<u8>, DiskFailure> {
        let path = self.path_of(name);
        let file = self.open(name)?;
        let len = file.len().map_err(DiskFailure::at("measure", &path))?;
        let bytes = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; bytes];
        file.read_exact_at(&mut bytes, offset).map_err(DiskFailure::at("read", &path))?;
        Ok(bytes)
    }

    /// The bytes of a file, read until two reads agree: they are about to be written back.
    pub(crate) fn read_twice(&self, name: &str) -> Result<Vec<u8>, DiskFailure> {
        let mut bytes = self.read(name, 0)?;
        for _ in 0..READS {
            let again = self.read(name, 0)?;
            if again == bytes {
                return Ok(bytes);
            }
            bytes = again;
        }
        let path = self.path_of(name);
        let differs = std::io::Error::other("it reads differently each time");
        Err(DiskFailure::at("read", &path)(differs))
    }

    /// Renames, durably.
    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), DiskFailure> {
        let path = self.path_of(from);
        let renamed = self.disk.rename(&path, &self.path_of(to));
        renamed.map_err(DiskFailure::at("rename", &path))?;
        self.sync()
    }

    /// Removes, durably.
    pub(crate) fn remove(&self, name: &str) -> Result<(), DiskFailure> {
        let path = self.path_of(name);
        self.disk.remove(&path).map_err(DiskFailure::at("remove", &path))?;
        self.sync()
    }

    pub(crate) fn sync(&self) -> Result<(), DiskFailure> {
        self.disk.sync_dir(&self.path).map_err(DiskFailure::at("sync directory", &self.path))
    }

    pub(crate) fn read_marker(&self) -> Result<Vec<u8>, DiskFailure> {
        let path = self.path_of(MARKER);
        let file = self.open(MARKER)?;
        let len = file.len().map_err(DiskFailure::at("measure", &path))?.min(MOST_MARKER_BYTES);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0).map_err(DiskFailure::at("read", &path))?;
        Ok(bytes)
    }

    /// Puts a marker in place of the present one, if any, durably and at once.
    pub(crate) fn write_marker(&self, text: &str) -> Result<(), DiskFailure> {
        let path = self.path_of(MARKER_TEMPORARY);
        let file =
            self.disk.open(&path, Open::OrCreate).map_err(DiskFailure::at("create", &path))?;
        file.set_len(0).map_err(DiskFailure::at("truncate", &path))?;
        file.write_all_at(text.as_bytes(), 0).map_err(DiskFailure::at("write", &path))?;
        file.sync_data().map_err(DiskFailure::at("sync", &path))?;
        drop(file);
        self.rename(MARKER_TEMPORARY, MARKER)
    }

    pub(crate) fn remove_marker(&self) -> Result<(), DiskFailure> {
        if self.list()?.marked { self.remove(MARKER) } else { self.sync() }
    }

    /// Writes zeros over `from..to`.
    pub(crate) fn zero(file: &D::File, path: &str, from: u64, to: u64) -> Result<(), DiskFailure> {
        let chunk = usize::try_from(to - from).map_or(ZEROS_BYTES, |bytes| bytes.min(ZEROS_BYTES));
        let zeros = vec![0; chunk];
        let mut at = from;
        while at < to {
            let bytes = usize::try_from(to - at).map_or(chunk, |bytes| bytes.min(chunk));
            file.write_all_at(&zeros[..bytes], at).map_err(DiskFailure::at("zero", path))?;
            at += bytes as u64;
        }
        Ok(())
    }
}

/// Spare segments. Bounded, save while one batch is about to take several.
#[derive(Debug)]
pub(crate) struct Pool {
    spares: BTreeSet<u32>,
    limit: u32,
    segment_bytes: u64,
    /// How much of the next spare is made.
    filled: u64,
}

impl Pool {
    /// Takes over the spares of an earlier life, and removes what is too much or unfit.
    pub(crate) fn adopt<D: Disk>(
        directory: &Directory<D>,
        found: &BTreeSet<u32>,
        limit: u32,
        segment_bytes: u64,
    ) -> Result<Self, DiskFailure> {
        let mut pool = Self { spares: BTreeSet::new(), limit, segment_bytes, filled: 0 };
        for spare in found {
            let name = spare_name(*spare);
            let len = directory.open(&name)?.len();
            let len = len.map_err(DiskFailure::at("measure", &directory.path_of(&name)))?;
            if len == segment_bytes && pool.has_room() {
                pool.spares.insert(*spare);
            } else {
                directory.remove(&name)?;
            }
        }
        Ok(pool)
    }

    /// Removes the spares of an earlier life, of whose numbers nothing is known any more: what they
    /// hold may have been written under a number that is about to be used again.
    pub(crate) fn begin<D: Disk>(
        directory: &Directory<D>,
        found: &BTreeSet<u32>,
        limit: u32,
        segment_bytes: u64,
    ) -> Result<Self, DiskFailure> {
        let none = Self::adopt(directory, found, 0, segment_bytes)?;
        Ok(Self { limit, ..none })
    }

    pub(crate) fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spares.is_empty()
    }

    /// Makes spares, so that there are `wanted`. On failure nothing half made is left behind.
    pub(crate) fn reserve<D: Disk>(
        &mut self,
        directory: &Directory<D>,
        wanted: usize,
        stats: &mut Stats,
    ) -> Result<(), DiskFailure> {
        while self.spares.len() < wanted {
            self.fill(directory, self.segment_bytes, stats)?;
        }
        Ok(())
    }

    /// Makes a spare, or a part of one: whoever waits for the disk meanwhile waits for no more than
    /// `bytes`. On failure nothing half made is left behind.
    pub(crate) fn fill<D: Disk>(
        &mut self,
        directory: &Directory<D>,
        bytes: u64,
        stats: &mut Stats,
    ) -> Result<(), DiskFailure> {
        let filled = self.fill_part(directory, bytes);
        if filled.is_err() {
            self.filled = 0;
            let _best_effort = directory.disk.remove(&directory.path_of(FILL));
        }
        if filled? {
            let spare = self.free_number();
            self.filled = 0;
            directory.rename(FILL, &spare_name(spare))?;
            self.spares.insert(spare);
            stats.segments_created += 1;
        }
        Ok(())
    }

    /// Renames a spare into segment `sequence`. What it holds is older than that segment.
    pub(crate) fn take<D: Disk>(
        &mut self,
        directory: &Directory<D>,
        sequence: u64,
    ) -> Result<(D::File, Origin), DiskFailure> {
        let spare = self.spares.pop_first().expect("a spare was reserved");
        let name = segment_name(sequence);
        directory.rename(&spare_name(spare), &name)?;
        let file = directory.open(&name)?;
        let mut head = [0; HEADER_BYTES];
        let read = file.read_exact_at(&mut head, 0);
        read.map_err(DiskFailure::at("read", &directory.path_of(&name)))?;
        let zeroed = head.iter().all(|byte| *byte == 0);
        Ok((file, if zeroed { Origin::Zeroed } else { Origin::Recycled }))
    }

    /// Keeps a released segment as a spare, or removes it. Durable: releases happen oldest first,
    /// and no crash may leave a hole between the others.
    pub(crate) fn give_back<D: Disk>(
        &mut self,
        directory: &Directory<D>,
        sequence: u64,
        len: u64,
        stats: &mut Stats,
    ) -> Result<(), DiskFailure> {
        let name = segment_name(sequence);
        if len != self.segment_bytes || !self.has_room() {
            stats.segments_removed += 1;
            return directory.remove(&name);
        }
        let spare = self.free_number();
        directory.rename(&name, &spare_name(spare))?;
        self.spares.insert(spare);
        stats.segments_recycled += 1;
        Ok(())
    }

    /// Writes zeros to the last byte, so that later syncs find nothing but data to flush. Says
    /// whether the file is whole.
    fn fill_part<D: Disk>(
        &mut self,
        directory: &Directory<D>,
        bytes: u64,
    ) -> Result<bool, DiskFailure> {
        let path = directory.path_of(FILL);
        let file =
            directory.disk.open(&path, Open::OrCreate).map_err(DiskFailure::at("create", &path))?;
        let to = self.filled.saturating_add(bytes).min(self.segment_bytes);
        Directory::<D>::zero(&file, &path, self.filled, to)?;
        file.sync_data().map_err(DiskFailure::at("sync", &path))?;
        self.filled = to;
        Ok(to == self.segment_bytes)
    }

    fn has_room(&self) -> bool {
        u32::try_from(self.spares.len()).is_ok_and(|spares| spares < self.limit)
    }

    fn free_number(&self) -> u32 {
        let free = (0..u32::MAX).find(|number| !self.spares.contains(number));
        free.expect("far fewer spares than numbers")
    }
}
