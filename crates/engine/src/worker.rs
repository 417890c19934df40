//! The half of an engine that may block: the same for both bases.

use std::collections::BTreeMap;

use consensus::Position;
use disk::Disk;
use wire::{GroupId, SpaceId};

use crate::checkpoint::{group_span, space_span};
use crate::chunk::{ChunkReader, Entry};
use crate::jobs::{Base, DoneKind, Frozen, JobKind, NoRoomFor};
use crate::staging::{self, Staging};
use crate::store::{Changes, Commit, Span, Store, Table, Watermarks};
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

    /// Rows, meta entries, applied positions and watermarks, in one step: the heart of recovery.
    fn flush(&mut self, frozen: &Frozen) -> Result<DoneKind, JobError> {
        let commit = |watermarks| Commit { action: "flush", clears: Vec::new(), watermarks };
        if self.config.splits_applied() {
            let mut work = |changes: &mut dyn Changes| put_applied(changes, &frozen.applied);
            self.store.commit(&commit(Watermarks::new()), &mut work)?;
        }
        self.store.commit(&commit(frozen.watermarks.clone()), &mut |changes| {
            put_rows(changes, frozen)?;
            put_meta(changes, frozen)?;
            put_applied(changes, &frozen.applied)
        })?;
        Ok(DoneKind::Flushed { base: self.base(), stats: self.store.stats() })
    }

    fn upkeep(&mut self) -> Result<DoneKind, JobError> {
        self.store.upkeep()?;
        Ok(DoneKind::KeptUp { base: self.base(), stats: self.store.stats() })
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

    /// All chunks are read within the commit, so that a damaged one leaves the group as it was.
    fn ingest(&mut self, group: GroupId, spaces: &[SpaceId]) -> Result<DoneKind, JobError> {
        let staging = self.staged.get(&group).ok_or(JobError::MissingChunk { expected: 0 })?;
        let commit = Commit {
            action: "ingest a snapshot",
            clears: state_of(group, spaces),
            watermarks: Watermarks::new(),
        };
        let mut applied = None;
        self.store.commit(&commit, &mut |changes| {
            let mut last = None;
            staging.read(&mut |chunk| {
                let found = ingest_chunk(changes, chunk, group, spaces, &mut last)?;
                applied = found.or(applied);
                Ok(())
            })?;
            // A snapshot without a position is not one of ours: its last chunk should have it.
            applied.map(drop).ok_or(JobError::DamagedChunk { sequence: staging.last() })
        })?;
        let applied = applied.expect("the commit checked that");
        self.staged.remove(&group);
        staging::remove(&self.disk, &self.path, group)?;
        Ok(DoneKind::Ingested { group, applied, base: self.base() })
    }

    /// A snapshot for which there was no room must not take up what is left.
    fn make_room(
        &mut self,
        group: GroupId,
        done: Result<DoneKind, JobError>,
    ) -> Result<DoneKind, JobError> {
        if matches!(done, Err(JobError::DiskFull { .. })) && self.staged.remove(&group).is_some() {
            staging::remove(&self.disk, &self.path, group)?;
        }
        done
    }

    fn base(&self) -> Base {
        Base(self.store.snapshot())
    }
}

impl<S: Store, D: Disk> Worker for BaseWorker<S, D> {
    fn run(&mut self, job: Job) -> Result<Done, JobError> {
        let done = match job.0 {
            JobKind::Flush { frozen, retired } => {
                drop(retired);
                or_no_room(self.flush(&frozen), NoRoomFor::Flush)
            }
            JobKind::Upkeep => or_no_room(self.upkeep(), NoRoomFor::Upkeep),
            JobKind::Stage { group, chunk } => {
                let staged = self.stage(group, &chunk);
                self.make_room(group, staged)
            }
            JobKind::Ingest { group, spaces } => {
                let ingested = self.ingest(group, &spaces);
                self.make_room(group, ingested)
            }
        };
        done.map(Done)
    }
}

/// Work of the engine's own that found no room is asked for again: that is no error.
fn or_no_room(done: Result<DoneKind, JobError>, work: NoRoomFor) -> Result<DoneKind, JobError> {
    match done {
        Err(JobError::DiskFull { .. }) => Ok(DoneKind::NoRoom { work }),
        done => done,
    }
}

/// In key order, which is what a store takes.
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

/// Where all that a group has lies.
fn state_of(group: GroupId, spaces: &[SpaceId]) -> Vec<(Table, Span)> {
    let mut spans = Vec::new();
    for &space in spaces {
        spans.push((Table::Rows, space_span(space)));
        spans.push((Table::History, space_span(space)));
    }
    spans.push((Table::Meta, group_span(group)));
    spans.push((Table::Applied, group_span(group)));
    spans
}

/// Puts a chunk's entries; returns the group's position if it was among them. `last` is the entry
/// before: they must come in the order of their keys, or the store would not take them.
fn ingest_chunk(
    changes: &mut dyn Changes,
    mut chunk: ChunkReader,
    group: GroupId,
    spaces: &[SpaceId],
    last: &mut Option<(Table, bytes::Bytes)>,
) -> Result<Option<Position>, JobError> {
    let sequence = chunk.sequence;
    let damaged = || JobError::DamagedChunk { sequence };
    let mut applied = None;
    while let Some(entry) = chunk.next().map_err(|_| damaged())? {
        let position = check_entry(&entry, group, spaces).map_err(|_| damaged())?;
        applied = position.or(applied);
        let this = Some((entry.table, entry.key));
        if *last >= this {
            return Err(damaged());
        }
        *last = this;
        if let Some((table, key)) = last {
            changes.put(*table, key, &entry.value)?;
        }
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
            codec::decode_head(&entry.value)?;
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
