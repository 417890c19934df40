//! The half of an engine that may block: the same for both bases.

use std::collections::BTreeMap;

use consensus::Position;
use disk::Disk;
use wire::{GroupId, Revision, SpaceId};

use crate::checkpoint::{group_span, space_span};
use crate::chunk::{ChunkReader, Entry};
use crate::compaction::{self, Scope};
use crate::jobs::{Base, DoneKind, Frozen, JobKind};
use crate::staging::{self, Staging};
use crate::store::{Changes, Durability, Store, Table};
use crate::{Chunk, Config, Done, Job, JobError, ReadError, Worker, codec};

pub(crate) struct BaseWorker<S, D: Disk> {
    config: Config,
    disk: D,
    path: String,
    store: S,
    staged: BTreeMap<GroupId, Staging<D::File>>,
}

impl<S: Store, D: Disk> BaseWorker<S, D> {
    pub(crate) fn new(config: Config, disk: D, path: &str, store: S) -> Self {
        Self { config, disk, path: path.to_owned(), store, staged: BTreeMap::new() }
    }

    /// Rows, meta entries and applied positions, in one step: the heart of recovery.
    fn flush(&mut self, frozen: &Frozen) -> Result<DoneKind, JobError> {
        const ACTION: &str = "flush";
        if self.config.splits_applied() {
            let mut work = |changes: &mut dyn Changes| put_applied(changes, &frozen.applied);
            self.store.commit(ACTION, Durability::Now, &mut work)?;
        }
        self.store.commit(ACTION, Durability::Now, &mut |changes| {
            put_rows(changes, frozen)?;
            put_meta(changes, frozen)?;
            put_applied(changes, &frozen.applied)
        })?;
        Ok(DoneKind::Flushed { base: self.base()? })
    }

    fn compact(
        &mut self,
        space: SpaceId,
        before: Revision,
        cursor: Option<&[u8]>,
    ) -> Result<DoneKind, JobError> {
        const ACTION: &str = "compact";
        let (limit, drops_live) = (self.config.slice_rows.max(2), self.config.drops_live());
        let scope = Scope { space, before, limit, drops_live };
        let slice = compaction::choose(&*self.store.snapshot()?, scope, cursor)
            .map_err(|error| JobError::read(ACTION, error))?;
        if !slice.rows.is_empty() || !slice.history.is_empty() {
            self.store.commit(ACTION, Durability::WithTheNext, &mut |changes| {
                slice.history.iter().try_for_each(|key| changes.remove(Table::History, key))?;
                slice.rows.iter().try_for_each(|key| changes.remove(Table::Rows, key))
            })?;
        }
        let removed = slice.rows.len() as u64;
        Ok(DoneKind::Compacted { space, next: slice.next, removed, base: self.base()? })
    }

    fn stage(&mut self, group: GroupId, chunk: &Chunk) -> Result<DoneKind, JobError> {
        if chunk.sequence == 0 {
            let begun = Staging::begin(&self.disk, &self.path, group)?;
            self.staged.insert(group, begun);
        }
        let staging = self.staged.get_mut(&group);
        staging.ok_or(JobError::MissingChunk { expected: 0 })?.add(chunk)?;
        Ok(DoneKind::Staged { group, sequence: chunk.sequence })
    }

    /// All chunks are read before the commit, so that a damaged one leaves the group as it was.
    fn ingest(&mut self, group: GroupId, spaces: &[SpaceId]) -> Result<DoneKind, JobError> {
        let staging = self.staged.get(&group).ok_or(JobError::MissingChunk { expected: 0 })?;
        let mut applied = None;
        self.store.commit("ingest a snapshot", Durability::Now, &mut |changes| {
            for &space in spaces {
                changes.clear(Table::Rows, &space_span(space))?;
                changes.clear(Table::History, &space_span(space))?;
            }
            changes.clear(Table::Meta, &group_span(group))?;
            staging.read(&mut |chunk| {
                ingest_chunk(changes, chunk, group, spaces).map(|found| applied = found.or(applied))
            })?;
            // A snapshot without a position is not one of ours: its last chunk should have it.
            applied.map(drop).ok_or(JobError::DamagedChunk { sequence: staging.last() })
        })?;
        let applied = applied.expect("the commit checked that");
        self.staged.remove(&group);
        staging::remove(&self.disk, &self.path, group)?;
        Ok(DoneKind::Ingested { group, applied, base: self.base()? })
    }

    fn base(&self) -> Result<Base, JobError> {
        Ok(Base(self.store.snapshot()?))
    }
}

impl<S: Store, D: Disk> Worker for BaseWorker<S, D> {
    fn run(&mut self, job: Job) -> Result<Done, JobError> {
        let done = match job.0 {
            JobKind::Flush { frozen, retired } => {
                drop(retired);
                self.flush(&frozen)
            }
            JobKind::Compact { space, before, cursor } => {
                self.compact(space, before, cursor.as_deref())
            }
            JobKind::Stage { group, chunk } => self.stage(group, &chunk),
            JobKind::Ingest { group, spaces } => self.ingest(group, &spaces),
        };
        done.map(Done)
    }
}

/// In key order, which is what a B-tree takes in most cheaply.
fn put_rows(changes: &mut dyn Changes, frozen: &Frozen) -> Result<(), JobError> {
    let mut value = Vec::new();
    for entry in frozen.table.rows() {
        value.clear();
        codec::cell(entry.value().as_ref(), &mut value);
        changes.put(Table::Rows, entry.key(), &value)?;
    }
    for entry in frozen.table.history() {
        changes.put(Table::History, entry.key(), entry.value())?;
    }
    Ok(())
}

fn put_meta(changes: &mut dyn Changes, frozen: &Frozen) -> Result<(), JobError> {
    for (&group, entries) in &frozen.meta {
        for (key, value) in entries {
            let key = codec::meta_key(group, key);
            match value {
                Some(value) => changes.put(Table::Meta, &key, value)?,
                None => changes.remove(Table::Meta, &key)?,
            }
        }
    }
    Ok(())
}

fn put_applied(
    changes: &mut dyn Changes,
    applied: &BTreeMap<GroupId, Position>,
) -> Result<(), JobError> {
    for (&group, &position) in applied {
        changes.put(Table::Applied, &codec::meta_key(group, &[]), &codec::position(position))?;
    }
    Ok(())
}

/// Puts a chunk's entries; returns the group's position if it was among them.
fn ingest_chunk(
    changes: &mut dyn Changes,
    mut chunk: ChunkReader,
    group: GroupId,
    spaces: &[SpaceId],
) -> Result<Option<Position>, JobError> {
    let sequence = chunk.sequence;
    let damaged = || JobError::DamagedChunk { sequence };
    let mut applied = None;
    while let Some(entry) = chunk.next().map_err(|_| damaged())? {
        let position = check_entry(&entry, group, spaces).map_err(|_| damaged())?;
        applied = position.or(applied);
        changes.put(entry.table, &entry.key, &entry.value)?;
    }
    Ok(applied)
}

/// A checksum says that a chunk is as it was sent, not that it was meant for this group.
fn check_entry(
    entry: &Entry,
    group: GroupId,
    spaces: &[SpaceId],
) -> Result<Option<Position>, ReadError> {
    let foreign = || codec::damaged("an entry of another group");
    let (ours, position) = match entry.table {
        Table::Rows => {
            codec::decode_cell(&entry.value)?;
            (spaces.contains(&codec::decode_row_key(&entry.key)?.space), None)
        }
        Table::History => (spaces.contains(&codec::decode_history_key(&entry.key)?.0), None),
        Table::Meta => (codec::decode_group(&entry.key)?.0 == group, None),
        Table::Applied => {
            let ours = entry.key == codec::meta_key(group, &[]);
            (ours, Some(codec::decode_position(&entry.value)?))
        }
    };
    if ours { Ok(position) } else { Err(foreign()) }
}
