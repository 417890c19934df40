//! Writes runs.
//!
//! What a run holds is found out as it is written: which rows, for the filter; and which bytes will
//! be garbage at which watermark, so that the run is written anew when that pays, and only then.

use std::sync::Arc;

use disk::{Disk, File, Open};
use wire::{Revision, SpaceId};

use super::block::BlockBuilder;
use super::filter::{self, Filter};
use super::index::{CHECKSUM_BYTES, IndexBuilder, Place};
use super::run::{FOOTER_BYTES, Footer, Run, checksum, file_name, just_behind};
use super::shape::{Garbage, Part, RunInfo};
use crate::store::Table;
use crate::store::sieve::Below;
use crate::{JobError, ReadError, codec};

/// Bytes that are gathered for one write.
const WRITE_BYTES: usize = 256 * 1024;

/// Part of a run that may go before the run is written anew: its inverse.
const GARBAGE_PART: u64 = 4;

/// A run that is being written.
pub(super) struct RunWriter<F> {
    action: &'static str,
    number: u64,
    file: F,
    block_bytes: usize,
    /// Where `out` will go.
    offset: u64,
    out: Vec<u8>,
    block: BlockBuilder,
    /// The first key of all, and of the block.
    first_key: Vec<u8>,
    block_key: Vec<u8>,
    /// The last key before the block.
    before_block: Vec<u8>,
    index: IndexBuilder,
    hashes: Vec<u64>,
    rows: Rows,
}

impl<F: File> RunWriter<F> {
    /// Begins a file. `below` says what lies below the run when it takes its place.
    pub(super) fn create(
        disk: &impl Disk<File = F>,
        path: &str,
        number: u64,
        block_bytes: usize,
        below: Below,
        action: &'static str,
    ) -> Result<Self, JobError> {
        let file = disk.open(&file_name(path, number), Open::New);
        let file = file.map_err(|error| JobError::disk(action, &error))?;
        Ok(Self {
            action,
            number,
            file,
            block_bytes,
            offset: 0,
            out: Vec::new(),
            block: BlockBuilder::default(),
            first_key: Vec::new(),
            block_key: Vec::new(),
            before_block: Vec::new(),
            index: IndexBuilder::default(),
            hashes: Vec::new(),
            rows: Rows { below, ..Rows::new() },
        })
    }

    /// Bytes so far, roughly.
    pub(super) fn len(&self) -> u64 {
        self.offset + (self.out.len() + self.block.len()) as u64
    }

    /// Appends an entry, behind all others. `key` begins with its table's tag.
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), JobError> {
        if self.block.len() >= self.block_bytes {
            self.end_block()?;
        }
        if self.block.is_empty() {
            self.block_key.clear();
            self.block_key.extend_from_slice(key);
        }
        if self.first_key.is_empty() {
            self.first_key.extend_from_slice(key);
        }
        let before = self.block.len();
        self.block.add(key, value);
        if key.first() == Some(&Table::Rows.tag()) {
            let bytes = self.block.len() - before;
            let deleted = value.is_some_and(codec::is_deletion);
            let first = self.rows.pass(key, bytes, deleted);
            let first = first.map_err(|error| JobError::read(self.action, error))?;
            self.hashes.extend(first.map(filter::hash));
        }
        Ok(())
    }

    /// Ends the run. It is on the disk when this returns, save for its name.
    pub(super) fn finish(mut self) -> Result<Part<Arc<Run<F>>>, JobError> {
        self.end_block()?;
        let filter = Filter::build(&self.hashes);
        let filter = self.append(filter.bytes());
        let index = std::mem::take(&mut self.index).finish();
        let index = self.append(&index);
        let footer = Footer { filter, index };
        let place = self.place();
        self.out.extend_from_slice(&footer.encode(self.number, place));
        self.write()?;
        let action = self.action;
        self.file.sync_data().map_err(|error| JobError::disk(action, &error))?;
        assert!(self.offset == place + FOOTER_BYTES as u64, "the footer ends the run");
        let garbage = self.rows.garbage(self.offset);
        let info = RunInfo { number: self.number, bytes: self.offset, garbage };
        let run = Arc::new(Run::new(info, self.file, footer));
        let to = just_behind(self.block.last_key());
        Ok(Part { run, from: self.first_key.into(), to, whole: true })
    }

    fn end_block(&mut self) -> Result<(), JobError> {
        assert!(!self.block.is_empty(), "a block has entries");
        let mut block = Vec::with_capacity(self.block.len() + 64);
        self.block.finish(&mut block);
        self.index.add(&self.before_block, &self.block_key, block.len());
        self.before_block.clear();
        self.before_block.extend_from_slice(self.block.last_key());
        self.append(&block);
        self.file.breathe().map_err(|error| JobError::disk(self.action, &error))?;
        if self.out.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    /// Puts bytes with their checksum where they belong.
    fn append(&mut self, bytes: &[u8]) -> Place {
        let offset = self.place();
        let len = u32::try_from(bytes.len()).expect("a value is shorter than four gigabytes");
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(&checksum(self.number, offset, bytes).to_le_bytes());
        let place = Place { offset, len };
        assert!(place.end() == self.place(), "{CHECKSUM_BYTES} bytes of checksum");
        place
    }

    fn place(&self) -> u64 {
        self.offset + self.out.len() as u64
    }

    fn write(&mut self) -> Result<(), JobError> {
        let written = self.file.write_all_at(&self.out, self.offset);
        written.map_err(|error| JobError::disk(self.action, &error))?;
        self.offset = self.place();
        self.out.clear();
        Ok(())
    }
}

/// The rows that went into a run: which of them will be garbage, and when.
struct Rows {
    below: Below,
    /// The row before: its key up to the revision, and the revision.
    prefix: Vec<u8>,
    newer: Revision,
    /// Bytes that may go once the watermark of their space is at a revision, space by space.
    doomed: Vec<(SpaceId, Vec<(Revision, u64)>)>,
}

impl Rows {
    fn new() -> Self {
        let (prefix, doomed) = Default::default();
        Self { below: Below::MaybeOlder, prefix, newer: Revision(0), doomed }
    }

    /// Takes a row in. Gives what its key begins with if it is the first version of its key here.
    fn pass(
        &mut self,
        key: &[u8],
        bytes: usize,
        deleted: bool,
    ) -> Result<Option<&[u8]>, ReadError> {
        let (prefix, revision) = codec::split_row_key(key)?;
        let is_older = self.prefix == prefix;
        let newer = std::mem::replace(&mut self.newer, revision);
        // A version may go when the next newer one is a floor; a deletion also when it is one
        // itself, if it can hide nothing.
        let doom = if is_older {
            Some(newer)
        } else {
            (deleted && self.below == Below::Nothing).then_some(revision)
        };
        if !is_older {
            self.prefix.clear();
            self.prefix.extend_from_slice(prefix);
        }
        if let Some(at) = doom {
            let space = codec::space_of(prefix.get(1..).unwrap_or_default())?;
            if self.doomed.last().is_none_or(|(last, _)| *last != space) {
                self.doomed.push((space, Vec::new()));
            }
            if let Some((_, doomed)) = self.doomed.last_mut() {
                doomed.push((at, bytes as u64));
            }
        }
        Ok((!is_older).then_some(&self.prefix))
    }

    /// The watermark at which enough is garbage: in the space that has most of it.
    fn garbage(self, run_bytes: u64) -> Option<Garbage> {
        let total = |doomed: &[(Revision, u64)]| doomed.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let (space, mut doomed) = self.doomed.into_iter().max_by_key(|(_, d)| total(d))?;
        doomed.sort_unstable();
        let mut bytes = 0;
        let enough = doomed.into_iter().find(|(_, more)| {
            bytes += more;
            bytes * GARBAGE_PART >= run_bytes
        });
        enough.map(|(at, _)| Garbage { space, at })
    }
}
