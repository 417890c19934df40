//! The writing end: batches into the active segment, and segments one after another.
//!
//! # Invariants
//!
//! * A segment is synced before the next one's header is written. So a header proves all that
//!   stands before it, and only the last segment can have a torn tail.
//! * Everything that can be refused is refused before the first byte of a batch is written.
//! * A segment is released only after a sync: the base that makes it superfluous must be durable.

use std::collections::{BTreeSet, VecDeque};

use disk::{Disk, File};

use crate::errors::{AppendError, ClearDamageError, DiskFailure, OpenError, SyncError};
use crate::files::{Directory, Pool, segment_name};
use crate::layout::{
    BATCH_HEADER_BYTES, Batch, BatchWriter, Key, Link, Logged, Origin, RESTATED_BYTES,
    SegmentHeader, restated_bytes,
};
use crate::logs::{Logs, Reach};
use crate::plan::Plan;
use crate::{Config, Record, Recovered, Stats, recovery};

/// Zeros written by one [`Journal::prepare`]: a millisecond's worth, so that no batch waits longer.
const PREPARED_BYTES: u64 = 1024 * 1024;

/// Capacity of the encoding buffer that is kept between batches.
const KEPT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// The write-ahead log of one node.
#[derive(Debug)]
pub struct Journal<D: Disk> {
    directory: Directory<D>,
    config: Config,
    logs: Logs,
    /// Segments before the active one, oldest first.
    older: VecDeque<Older>,
    active: Active<D::File>,
    pool: Pool,
    /// Bytes that go to the active segment next.
    buffer: Vec<u8>,
    next_batch: u64,
    synced_batch: u64,
    /// Something was written since the last sync.
    unsynced: bool,
    /// A seal stands after the last batch.
    sealed: bool,
    /// The last batch counts only with the one after it.
    group: Link,
    poisoned: bool,
    stats: Stats,
}

/// A segment that is complete and synced.
#[derive(Debug)]
pub(crate) struct Older {
    pub(crate) sequence: u64,
    pub(crate) reach: Reach,
    pub(crate) len: u64,
}

/// The segment that is written to.
#[derive(Debug)]
pub(crate) struct Active<F> {
    pub(crate) sequence: u64,
    pub(crate) file: F,
    pub(crate) origin: Origin,
    /// Where the next batch goes.
    pub(crate) offset: u64,
    pub(crate) capacity: u64,
    pub(crate) reach: Reach,
}

/// What a journal goes on from.
pub(crate) struct Parts<D: Disk> {
    pub(crate) directory: Directory<D>,
    pub(crate) config: Config,
    pub(crate) logs: Logs,
    pub(crate) older: VecDeque<Older>,
    pub(crate) active: Active<D::File>,
    pub(crate) pool: Pool,
    pub(crate) next_batch: u64,
    pub(crate) stats: Stats,
}

impl<D: Disk> Journal<D> {
    /// Opens the journal in directory `dir`, or makes a new one there.
    ///
    /// What is returned is durable: a torn tail is cut, and what a killed process had written
    /// without a sync is synced if it is whole.
    pub fn open(disk: D, dir: &str, config: Config) -> Result<(Self, Recovered), OpenError> {
        recovery::open(Directory::new(disk, dir), config)
    }

    /// Writes one batch. After a crash, all of its records count or none; before the next
    /// [`Journal::sync`] returns, either may be the case.
    ///
    /// # Panics
    ///
    /// If an entry does not follow its log: at or before its base, or with a gap.
    pub fn append(&mut self, records: &[Record]) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        if records.is_empty() {
            return Ok(());
        }
        let sizes = self.admit(records)?;
        let plan = self.plan(&sizes, self.restated_after(records));
        if plan.rolls {
            self.reserve(plan.chunks.len())?;
        }
        self.write_planned(records, &plan).inspect_err(|_| self.poisoned = true)?;
        self.stats.appends += 1;
        self.sealed = false;
        Ok(())
    }

    /// Makes all batches durable, and gives back segments that nothing needs any more.
    pub fn sync(&mut self) -> Result<(), SyncError> {
        if self.poisoned {
            return Err(SyncError::Poisoned);
        }
        if self.unsynced {
            self.sync_active()?;
            // The batches are durable whatever comes of this; the next call will tell.
            if self.release().is_err() {
                self.poisoned = true;
            }
        }
        Ok(())
    }

    /// Writes an empty batch, without syncing it, that proves that what stands before it was
    /// synced. To be called when the host goes idle after a sync: from then on, rot in the last
    /// batch is told from a torn tail. Cheap; does nothing where it can't be done or was done.
    pub fn seal(&mut self) {
        let room = self.active.capacity - self.active.offset;
        if self.poisoned || self.unsynced || self.sealed || room < BATCH_HEADER_BYTES as u64 {
            return;
        }
        self.encode_batch(&[], Link::Ends);
        if self.write_buffer().is_err() {
            self.poisoned = true;
        }
        self.sealed = true;
    }

    /// Ends cleanly: everything is durable and sealed.
    pub fn close(mut self) -> Result<(), SyncError> {
        self.sync()?;
        self.seal();
        self.sync()
    }

    /// Makes a part of the next segment's file ready, if it will be wanted soon. Takes about as long
    /// as a large batch; to be called after each sync, also under load. What is not made by the time
    /// it is needed is made inside [`Journal::append`], which then takes long.
    pub fn prepare(&mut self) -> Result<(), AppendError> {
        if self.poisoned {
            return Err(AppendError::Poisoned);
        }
        if self.active.offset > self.active.capacity / 2 && self.pool.is_empty() {
            let filled = self.pool.fill(&self.directory, PREPARED_BYTES, &mut self.stats);
            filled.map_err(|failure| self.unreserved(failure))?;
        }
        Ok(())
    }

    /// The host has dealt with [`Recovered::damage`]: later opens do not report it any more.
    pub fn clear_damage(&mut self) -> Result<(), ClearDamageError> {
        Ok(self.directory.remove_marker()?)
    }

    /// What was done since the journal was opened.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// How many segment files hold the journal, without spares.
    pub fn segments(&self) -> usize {
        self.older.len() + 1
    }

    pub(crate) fn from_parts(parts: Parts<D>) -> Self {
        let Parts { directory, config, logs, older, active, pool, next_batch, stats } = parts;
        let (buffer, group) = (Vec::new(), Link::Ends);
        let synced_batch = next_batch - 1;
        let (unsynced, sealed, poisoned) = (false, false, false);
        Self {
            directory,
            config,
            logs,
            older,
            active,
            pool,
            buffer,
            next_batch,
            synced_batch,
            unsynced,
            sealed,
            group,
            poisoned,
            stats,
        }
    }

    /// Writes and syncs the head of a first segment: no logs, and nothing before it.
    pub(crate) fn begin(&mut self) -> Result<(), DiskFailure> {
        self.encode_head(0, false);
        self.write_buffer()?;
        self.sync_active()
    }

    /// Writes and syncs the head of a segment that replaces all before it, and the entries that
    /// were recovered. It counts only as a whole.
    pub(crate) fn begin_afresh(&mut self, entries: &[Record]) -> Result<(), OpenError> {
        let sizes = self.sizes(entries);
        if sizes.iter().any(|bytes| *bytes > self.config.max_record_bytes) {
            return Err(OpenError::BadConfig { reason: "max_record_bytes is less than is stored" });
        }
        self.group = if entries.is_empty() { Link::Ends } else { Link::Continues };
        self.encode_head(0, true);
        self.write_buffer()?;
        if !entries.is_empty() {
            let plan = self.plan(&sizes, self.logs.restated_bytes());
            if plan.rolls {
                self.pool.reserve(&self.directory, plan.chunks.len(), &mut self.stats)?;
            }
            self.write_planned(entries, &plan)?;
        }
        Ok(self.sync_active()?)
    }

    /// Refuses what can't be written; otherwise tells how long each record is.
    fn admit(&self, records: &[Record]) -> Result<Vec<u64>, AppendError> {
        let limit = self.config.max_record_bytes;
        let sizes = self.sizes(records);
        if let Some(index) = sizes.iter().position(|bytes| *bytes > limit) {
            return Err(AppendError::TooLarge { index, bytes: sizes[index], limit });
        }
        let (logs, restated) = (self.logs_after(records), self.restated_after(records));
        let grows = restated > self.logs.restated_bytes();
        if grows && restated_bytes(restated) > self.config.max_restated_bytes() {
            let segment_bytes = self.config.segment_bytes;
            return Err(AppendError::TooManyLogs { logs, segment_bytes });
        }
        Ok(sizes)
    }

    fn sizes(&self, records: &[Record]) -> Vec<u64> {
        records.iter().map(|record| self.logs.logged(record).encoded_bytes() as u64).collect()
    }

    /// How many logs there are after these records, at most.
    fn logs_after(&self, records: &[Record]) -> usize {
        let unknown = |record: &Record| {
            let log = record.log();
            self.logs.find(log).is_none().then_some(log)
        };
        self.logs.len() + records.iter().filter_map(unknown).collect::<BTreeSet<_>>().len()
    }

    /// Most bytes that restating the logs takes after these records.
    fn restated_after(&self, records: &[Record]) -> u64 {
        let new_logs = self.logs_after(records) - self.logs.len();
        let memberships =
            records.iter().filter(|record| matches!(record, Record::Membership { .. }));
        let memberships = memberships.map(|record| self.logs.logged(record).encoded_bytes() as u64);
        self.logs.restated_bytes() + (new_logs * RESTATED_BYTES) as u64 + memberships.sum::<u64>()
    }

    fn plan(&self, sizes: &[u64], restated: u64) -> Plan {
        let room = self.active.capacity - self.active.offset;
        Plan::new(sizes, restated, room, self.config.segment_bytes)
    }

    fn reserve(&mut self, spares: usize) -> Result<(), AppendError> {
        let reserved = self.pool.reserve(&self.directory, spares, &mut self.stats);
        reserved.map_err(|failure| self.unreserved(failure))
    }

    /// Only a full disk can be waited for.
    fn unreserved(&mut self, failure: DiskFailure) -> AppendError {
        if failure.is_disk_full() {
            return AppendError::DiskFull(failure);
        }
        self.poisoned = true;
        AppendError::Io(failure)
    }

    fn write_planned(&mut self, records: &[Record], plan: &Plan) -> Result<(), DiskFailure> {
        let mut rest = records;
        for (chunk, count) in plan.chunks.iter().enumerate() {
            if plan.rolls {
                self.roll()?;
            }
            let (now, later) = rest.split_at(*count);
            rest = later;
            let is_last = chunk + 1 == plan.chunks.len();
            let logged = self.take_in(now);
            self.encode_batch(&logged, if is_last { Link::Ends } else { Link::Continues });
            self.write_buffer()?;
        }
        assert!(rest.is_empty(), "each record has its place in the plan");
        Ok(())
    }

    /// Brings the books up to date with what is about to be written.
    fn take_in(&mut self, records: &[Record]) -> Vec<Logged> {
        let mut logged = Vec::with_capacity(records.len());
        for record in records {
            let one = self.logs.logged(record);
            let taken = self.logs.apply(&one);
            assert!(taken.is_ok(), "{} does not take an entry there: {one:?}", one.log());
            self.active.reach.note(&one);
            if let Logged::Forgotten { log } = one {
                self.forget_reach(log);
            }
            logged.push(one);
        }
        logged
    }

    /// A log of the same name may come again, and must not keep its predecessor's segments.
    fn forget_reach(&mut self, log: crate::LogId) {
        self.active.reach.forget(log);
        for older in &mut self.older {
            older.reach.forget(log);
        }
    }

    /// Goes on in a fresh segment. Its head is left in the buffer, to be written with what follows.
    fn roll(&mut self) -> Result<(), DiskFailure> {
        if self.unsynced {
            self.sync_active()?;
        }
        let previous_end = self.active.offset;
        let active = Active::take(&self.directory, &mut self.pool, self.active.sequence + 1)?;
        let done = std::mem::replace(&mut self.active, active);
        let Active { sequence, reach, capacity: len, .. } = done;
        self.older.push_back(Older { sequence, reach, len });
        self.encode_head(previous_end, false);
        Ok(())
    }

    /// A segment's header and its restatement of all logs.
    fn encode_head(&mut self, previous_end: u64, fresh_start: bool) {
        assert_eq!(self.active.offset, 0, "a head stands at the beginning");
        assert!(self.buffer.is_empty(), "nothing stands before a head");
        let header = SegmentHeader {
            sequence: self.active.sequence,
            journal_id: self.config.journal_id,
            first_batch: self.next_batch,
            previous_end,
            fresh_start,
            origin: self.active.origin,
        };
        self.buffer.extend_from_slice(&header.encode());
        let restated = self.logs.restated();
        self.encode_batch(&restated, self.group);
    }

    fn encode_batch(&mut self, records: &[Logged], link: Link) {
        let batch = Batch {
            number: self.next_batch,
            durable_through: self.synced_batch,
            link,
            records: u32::try_from(records.len()).expect("each record takes several bytes"),
            bytes: records.iter().map(|logged| logged.encoded_bytes() as u64).sum(),
        };
        let offset = self.active.offset + self.buffer.len() as u64;
        assert!(offset + batch.total_bytes() <= self.active.capacity, "the batch has room");
        let key = Key::new(&self.config, self.active.sequence);
        let mut writer = BatchWriter::new(&mut self.buffer, key, offset, &batch);
        for logged in records {
            writer.record(logged);
        }
        writer.finish();
        self.next_batch += 1;
        self.group = link;
    }

    fn write_buffer(&mut self) -> Result<(), DiskFailure> {
        let written = self.active.file.write_all_at(&self.buffer, self.active.offset);
        let name = segment_name(self.active.sequence);
        written.map_err(DiskFailure::at("write", &self.directory.path_of(&name)))?;
        self.active.offset += self.buffer.len() as u64;
        self.stats.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        self.unsynced = true;
        Ok(())
    }

    fn sync_active(&mut self) -> Result<(), DiskFailure> {
        let synced = self.sync_file();
        let name = segment_name(self.active.sequence);
        synced.map_err(DiskFailure::at("sync", &self.directory.path_of(&name))).inspect_err(
            |_| {
                self.poisoned = true;
            },
        )?;
        self.unsynced = false;
        self.synced_batch = self.next_batch - 1;
        self.stats.syncs += 1;
        Ok(())
    }

    fn sync_file(&self) -> std::io::Result<()> {
        let synced = self.active.file.sync_data();
        #[cfg(feature = "planted")]
        let synced = match (self.config.planted, synced) {
            (Some(crate::Planted::IgnoreSyncFailure), Err(_)) => Ok(()),
            (Some(crate::Planted::RetrySyncFailure), Err(_)) => self.active.file.sync_data(),
            (_, synced) => synced,
        };
        synced
    }

    /// Gives back the oldest segments as far as nothing needs them.
    fn release(&mut self) -> Result<(), DiskFailure> {
        while let Some(oldest) = self.older.front()
            && !oldest.reach.is_needed_by(&self.logs)
        {
            let (sequence, len) = (oldest.sequence, oldest.len);
            self.pool.give_back(&self.directory, sequence, len, &mut self.stats)?;
            self.older.pop_front();
        }
        Ok(())
    }
}

impl<F: File> Active<F> {
    /// Makes a spare the segment `sequence`, with nothing written to it yet.
    pub(crate) fn take<D: Disk<File = F>>(
        directory: &Directory<D>,
        pool: &mut Pool,
        sequence: u64,
    ) -> Result<Self, DiskFailure> {
        let (file, origin) = pool.take(directory, sequence)?;
        let (offset, capacity, reach) = (0, pool.segment_bytes(), Reach::default());
        Ok(Self { sequence, file, origin, offset, capacity, reach })
    }
}
