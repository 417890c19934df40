//! Makes runs of entries that come in order: those of a commit, and those of a merge.

use bytes::Bytes;
use disk::Disk;

use super::RunPart;
use super::cursor::Merged;
use super::run::file_name;
use super::shape::Known;
use super::writer::RunWriter;
use crate::paths;
use crate::store::sieve::{Below, Sieve};
use crate::store::{Changes, Table};
use crate::{JobError, ReadError, codec};

/// A slice of a merge ends when it has read this many times what a run may hold: then most of it
/// was garbage.
const SLICE_RUNS: u64 = 4;

/// Where runs are written, and how.
pub(super) struct Files<D> {
    pub(super) disk: D,
    pub(super) path: String,
    pub(super) run_bytes: u64,
    pub(super) block_bytes: usize,
    /// No run had this number or a higher one.
    pub(super) next_run: u64,
}

impl<D: Disk> Files<D> {
    fn begin(
        &mut self,
        below: Below,
        action: &'static str,
    ) -> Result<RunWriter<D::File>, JobError> {
        self.next_run += 1;
        let number = self.next_run - 1;
        RunWriter::create(&self.disk, &self.path, number, self.block_bytes, below, action)
    }

    /// Removes a run's file, if it is there.
    pub(super) fn remove(&self, number: u64) -> std::io::Result<()> {
        paths::remove(&self.disk, &file_name(&self.path, number))
    }
}

/// What came of an output.
pub(super) struct Made<D: Disk> {
    pub(super) parts: Vec<RunPart<D>>,
    /// Numbers of all runs that were begun, finished or not.
    pub(super) begun: Vec<u64>,
    /// Versions that were left out.
    pub(super) removed: u64,
}

impl<D: Disk> Made<D> {
    /// Bytes of runs that were written.
    pub(super) fn written_bytes(&self) -> u64 {
        let runs = self.parts.iter().map(|part| part.run.info());
        runs.filter(|run| self.begun.contains(&run.number)).map(|run| run.bytes).sum()
    }
}

/// Takes entries in their order, and makes runs of them.
pub(super) struct Output<'a, D: Disk> {
    files: &'a mut Files<D>,
    action: &'static str,
    below: Below,
    /// Ends of spans that no run may reach across.
    sections: Vec<Bytes>,
    sieve: Sieve<'a>,
    run: Option<RunWriter<D::File>>,
    parts: Vec<RunPart<D>>,
    /// Numbers of all runs that were begun.
    begun: Vec<u64>,
    key: Vec<u8>,
}

impl<'a, D: Disk> Output<'a, D> {
    /// `below` says what lies below the runs when they take their place; no run reaches across one
    /// of the `sections`, which are keys.
    pub(super) fn new(
        files: &'a mut Files<D>,
        action: &'static str,
        below: Below,
        mut sections: Vec<Bytes>,
        sieve: Sieve<'a>,
    ) -> Self {
        sections.sort_unstable();
        let (parts, begun, key) = Default::default();
        Self { files, action, below, sections, sieve, run: None, parts, begun, key }
    }

    /// Appends an entry. `key` begins with its table's tag.
    fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), JobError> {
        let run = match &mut self.run {
            Some(run) => run,
            none => {
                self.begun.push(self.files.next_run);
                none.insert(self.files.begin(self.below, self.action)?)
            }
        };
        run.add(key, value)
    }

    /// What was made; a run that was not ended is not part of it.
    pub(super) fn into_made(self) -> Made<D> {
        Made { parts: self.parts, begun: self.begun, removed: self.sieve.removed }
    }

    fn len(&self) -> u64 {
        self.run.as_ref().map_or(0, RunWriter::len)
    }

    pub(super) fn end_run(&mut self) -> Result<(), JobError> {
        if let Some(run) = self.run.take() {
            self.parts.push(run.finish()?);
        }
        Ok(())
    }

    /// An entry of a commit: runs end when they are full, and where a section does.
    fn put_entry(&mut self, table: Table, value: Option<&[u8]>) -> Result<(), JobError> {
        let key = std::mem::take(&mut self.key);
        let crossed = self.sections.partition_point(|end| end[..] <= key[..]);
        if crossed > 0 {
            self.sections.drain(..crossed);
            self.end_run()?;
        }
        if self.len() >= self.files.run_bytes {
            self.end_run()?;
        }
        let kept = match value {
            Some(value) => self.sieve.keeps(table, &key[1..], value),
            None => Ok(true),
        };
        if kept.map_err(|error| JobError::read(self.action, error))? {
            self.add(&key, value)?;
        }
        self.key = key;
        Ok(())
    }

    fn set_key(&mut self, table: Table, key: &[u8]) {
        self.key.clear();
        self.key.push(table.tag());
        self.key.extend_from_slice(key);
    }

    /// Makes a run of what is merged: until it is full, or at the end of a part of the target if it
    /// is half full, so that few parts are left cut. Gives where it ends; `None` if there is no more.
    ///
    /// It ends between two keys. The versions of one may fill several runs: if only the newer ones
    /// went down to the target, the older ones would be above them.
    pub(super) fn take_slice(
        &mut self,
        mut merged: Merged<'_, D::File>,
        target: &[RunPart<D>],
    ) -> Result<Option<Bytes>, JobError> {
        let failed = |error: ReadError| JobError::read("merge runs", error);
        let mut ends = target.iter().map(|part| &part.to).peekable();
        let (mut read, mut crossed) = (0, false);
        while merged.step().map_err(failed)? {
            let (key, value) = (merged.key(), merged.value());
            let table = key.first().and_then(|tag| Table::from_tag(*tag));
            let table = table.ok_or_else(|| failed(codec::damaged("a key of no table")))?;
            while ends.next_if(|end| end[..] <= *key).is_some() {
                crossed = true;
            }
            let full = self.len() >= self.files.run_bytes;
            let enough = full
                || !self.parts.is_empty()
                || read >= self.files.run_bytes * SLICE_RUNS
                || (crossed && self.len() >= self.files.run_bytes / 2);
            if enough && !self.sieve.is_same_key(table, &key[1..]).map_err(failed)? {
                let end = Bytes::copy_from_slice(key);
                self.end_run()?;
                return Ok(Some(end));
            }
            if full {
                self.end_run()?;
            }
            crossed &= enough;
            read += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
            let kept = match value {
                Some(value) => self.sieve.keeps(table, &key[1..], value).map_err(failed)?,
                None => true,
            };
            if kept {
                self.add(key, value)?;
            }
        }
        self.end_run()?;
        Ok(None)
    }
}

impl<D: Disk> Changes for Output<'_, D> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), JobError> {
        self.set_key(table, key);
        self.put_entry(table, Some(value))
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), JobError> {
        self.set_key(table, key);
        self.put_entry(table, None)
    }
}
