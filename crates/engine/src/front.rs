//! The half of an engine that the node's thread owns: the same for both bases.
//!
//! Written rows go into the active table. A flush freezes it, begins a new one, and hands the
//! frozen one to the worker; when that is done, the snapshot of the base that came back holds the
//! frozen rows, and the frozen table goes.
//!
//! # Invariants
//!
//! * A row is in the active table, or in the frozen one, or in the base's snapshot; in the view
//!   set, always in exactly one of them.
//! * Durable positions never pass applied ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use consensus::Position;
use wire::{GroupId, Revision, SpaceId};

use crate::checkpoint::Shot;
use crate::config::META_OVERHEAD_BYTES;
use crate::counts::Counts;
use crate::jobs::{DoneKind, Frozen, JobKind, Meta, NoRoomFor, Retired};
use crate::recent::{Recent, Size};
use crate::store::{Due, Snapshot, Span, Table, Watermarks};
use crate::view::ViewSet;
use crate::{
    Batch, Checkpoint, Chunk, Config, Done, Engine, Job, Progress, ReadError, Stats, View, codec,
};

pub(crate) struct Front {
    config: Config,
    view: Arc<ViewSet>,
    active: Active,
    frozen: Option<(Arc<Frozen>, Size)>,
    /// The worker has a flush of the frozen table.
    flushing: bool,
    /// The worker has a piece of upkeep.
    keeping_up: bool,
    retired: Option<Retired>,
    applied: BTreeMap<GroupId, Position>,
    durable: BTreeMap<GroupId, Position>,
    /// Groups whose state is being replaced, and their spaces.
    ingesting: BTreeMap<GroupId, Vec<SpaceId>>,
    /// Recent rows of groups whose state is being replaced: still to be seen, never to be flushed.
    replaced: Vec<Arc<Recent>>,
    watermarks: Watermarks,
    stats: Stats,
}

/// What has gathered since the last flush began.
#[derive(Default)]
struct Active {
    table: Arc<Recent>,
    size: Size,
    meta: Meta,
    applied: BTreeMap<GroupId, Position>,
}

impl Front {
    /// An engine whose whole state is in `base`.
    pub(crate) fn open(config: Config, base: Arc<dyn Snapshot>) -> Result<Self, ReadError> {
        let durable = read_applied(&*base)?;
        let active = Active::default();
        let view = Arc::new(ViewSet {
            tables: vec![Arc::clone(&active.table)],
            base,
            counts: Arc::new(Counts::new(config.count_stretch_keys)),
        });
        let applied = durable.clone();
        let ingesting = BTreeMap::new();
        Ok(Self {
            config,
            view,
            active,
            frozen: None,
            flushing: false,
            keeping_up: false,
            retired: None,
            applied,
            durable,
            ingesting,
            replaced: Vec::new(),
            watermarks: Watermarks::new(),
            stats: Stats::default(),
        })
    }

    /// How many bytes make a flush worth while: writing an image costs as much as all the data,
    /// so it waits until half as much is new.
    fn flush_due_bytes(&self) -> usize {
        self.config.flush_bytes.max(self.view.base.data_bytes() / 2)
    }

    /// Scaled so that a flush is due at the same figure, whatever the base.
    fn scaled(&self, amount: usize) -> usize {
        let due = self.flush_due_bytes().max(1) as u128;
        let scaled = amount as u128 * self.config.flush_bytes as u128 / due;
        usize::try_from(scaled).unwrap_or(usize::MAX)
    }

    fn refresh_view(&mut self, base: Arc<dyn Snapshot>) {
        let mut tables = vec![Arc::clone(&self.active.table)];
        tables.extend(self.replaced.iter().cloned());
        tables.extend(self.frozen.iter().map(|(frozen, _)| Arc::clone(&frozen.table)));
        let counts = Arc::clone(&self.view.counts);
        self.view = Arc::new(ViewSet { tables, base, counts });
    }

    /// What was counted is of a state that is no more; views of that one keep what they know.
    fn forget_counts(&mut self) {
        let ViewSet { tables, base, counts: _ } = &*self.view;
        let (tables, base) = (tables.clone(), Arc::clone(base));
        let counts = Counts::new(self.config.count_stretch_keys);
        self.view = Arc::new(ViewSet { tables, base, counts: Arc::new(counts) });
    }

    /// Takes a group whose state is being replaced out of the frozen table: its flush must not come
    /// after the ingest. Views that others hold keep the table as it is. New ones show the old
    /// state, too, until the new one has taken its place.
    fn thaw(&mut self, group: GroupId, spaces: &[SpaceId]) {
        let Some((frozen, _)) = self.frozen.take() else { return };
        let (replaced, kept, size) = frozen.table.split(spaces);
        self.replaced.push(Arc::new(replaced));
        let (mut meta, mut applied) = (frozen.meta.clone(), frozen.applied.clone());
        let mut watermarks = frozen.watermarks.clone();
        meta.remove(&group);
        applied.remove(&group);
        watermarks.retain(|space, _| !spaces.contains(space));
        if !applied.is_empty() {
            let frozen = Frozen { table: Arc::new(kept), meta, applied, watermarks };
            self.frozen = Some((Arc::new(frozen), size));
        }
    }

    /// The flush has found no room, and waits.
    fn wait_for_room(&mut self) {
        self.flushing = false;
        for (group, spaces) in self.ingesting.clone() {
            self.thaw(group, &spaces);
        }
        self.refresh_view(Arc::clone(&self.view.base));
    }

    /// Whether a flush may begin now: one at a time, and none before pressing upkeep.
    fn may_flush(&self) -> bool {
        !self.flushing && self.view.base.due() < Due::UpkeepFirst
    }

    fn flushed(&mut self, base: Arc<dyn Snapshot>) {
        let (frozen, _) = self.frozen.take().expect("a flush was under way");
        self.flushing = false;
        for (&group, &position) in &frozen.applied {
            self.durable.insert(group, position);
            assert!(position <= self.applied(group), "{group} is durable beyond what it applied");
        }
        self.retired = Some(Retired(Arc::clone(&frozen.table)));
        self.refresh_view(base);
    }
}

impl Engine for Front {
    fn write(&mut self, batch: Batch) {
        let group = batch.group;
        assert!(!self.ingesting.contains_key(&group), "{group} was written to during an ingest");
        assert!(batch.applied >= self.applied(group), "{group} went back in its log");
        self.applied.insert(group, batch.applied);
        self.active.applied.insert(group, batch.applied);
        self.view.counts.note(&batch.rows);
        let added = self.active.table.insert(batch.rows);
        self.active.size.bytes += added.bytes;
        self.active.size.rows += added.rows;
        if batch.meta.is_empty() {
            return;
        }
        let meta = self.active.meta.entry(group).or_default();
        for (key, value) in batch.meta {
            let value_bytes = value.as_ref().map_or(0, Bytes::len);
            let cost = META_OVERHEAD_BYTES + key.len() + value_bytes;
            let freed = meta
                .insert(key, value)
                .map_or(0, |old| META_OVERHEAD_BYTES + old.as_ref().map_or(0, Bytes::len));
            // The key of an entry that was there before is counted twice; that is cheap to bear.
            self.active.size.bytes = (self.active.size.bytes + cost).saturating_sub(freed);
        }
    }

    fn applied(&self, group: GroupId) -> Position {
        self.applied.get(&group).copied().unwrap_or_default()
    }

    fn durable(&self, group: GroupId) -> Position {
        self.durable.get(&group).copied().unwrap_or_default()
    }

    fn meta(&self, group: GroupId) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let span = Span { start: codec::meta_key(group, &[]), end: codec::meta_end(group) };
        let mut entries = BTreeMap::new();
        let mut cursor = self.view.base.range(Table::Meta, &span)?;
        while cursor.step()? {
            let (_, key) = codec::decode_group(cursor.key())?;
            let [key, value] = [key, cursor.value()].map(Bytes::copy_from_slice);
            entries.insert(key, Some(value));
        }
        let frozen = self.frozen.as_ref().and_then(|(frozen, _)| frozen.meta.get(&group));
        for newer in frozen.into_iter().chain(self.active.meta.get(&group)) {
            entries.extend(newer.iter().map(|(key, value)| (key.clone(), value.clone())));
        }
        Ok(entries.into_iter().filter_map(|(key, value)| Some((key, value?))).collect())
    }

    fn view(&self) -> Arc<dyn View> {
        Arc::clone(&self.view) as Arc<dyn View>
    }

    fn unflushed_bytes(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, |(_, size)| size.bytes);
        self.scaled(self.active.size.bytes + frozen)
    }

    fn wants_flush(&self) -> bool {
        let enough = self.scaled(self.active.size.bytes) >= self.config.flush_bytes;
        self.may_flush() && (enough || self.frozen.is_some())
    }

    fn flush(&mut self) -> Option<Job> {
        if !self.may_flush() {
            return None;
        }
        if self.frozen.is_none() {
            if self.active.applied.is_empty() {
                return None;
            }
            let Active { table, size, meta, applied } = std::mem::take(&mut self.active);
            let watermarks = self.watermarks.clone();
            self.frozen = Some((Arc::new(Frozen { table, meta, applied, watermarks }), size));
            self.refresh_view(Arc::clone(&self.view.base));
        }
        let (frozen, _) = self.frozen.as_ref()?;
        self.flushing = true;
        Some(Job(JobKind::Flush { frozen: Arc::clone(frozen), retired: self.retired.take() }))
    }

    fn upkeep(&mut self) -> Option<Job> {
        if self.keeping_up || self.view.base.due() == Due::Nothing {
            return None;
        }
        self.keeping_up = true;
        Some(Job(JobKind::Upkeep))
    }

    fn compact(&mut self, space: SpaceId, before: Revision) {
        let watermark = self.watermarks.entry(space).or_default();
        *watermark = before.max(*watermark);
    }

    fn stats(&self) -> Stats {
        self.stats
    }

    fn checkpoint(&self, group: GroupId, spaces: &[SpaceId]) -> Arc<dyn Checkpoint> {
        let base = Arc::clone(&self.view.base);
        Arc::new(Shot::new(base, group, spaces, self.durable(group), self.config.chunk_bytes))
    }

    fn stage(&mut self, group: GroupId, chunk: Chunk) -> Job {
        Job(JobKind::Stage { group, chunk })
    }

    fn ingest(&mut self, group: GroupId, spaces: &[SpaceId]) -> Job {
        self.ingesting.insert(group, spaces.to_vec());
        let (replaced, kept, size) = self.active.table.split(spaces);
        self.active.table = Arc::new(kept);
        self.active.size = size;
        self.active.meta.remove(&group);
        self.active.applied.remove(&group);
        self.watermarks.retain(|space, _| !spaces.contains(space));
        self.replaced.push(Arc::new(replaced));
        // A flush that the worker has comes before the ingest; one that waits for room would not.
        if !self.flushing {
            self.thaw(group, spaces);
        }
        self.refresh_view(Arc::clone(&self.view.base));
        Job(JobKind::Ingest { group, spaces: spaces.to_vec() })
    }

    fn done(&mut self, done: Done) -> Progress {
        match done.0 {
            DoneKind::Flushed { base, stats } => {
                self.flushed(base.0);
                self.stats = stats;
                Progress::Flushed
            }
            DoneKind::KeptUp { base, stats } => {
                self.keeping_up = false;
                self.refresh_view(base.0);
                self.stats = stats;
                Progress::KeptUp
            }
            DoneKind::NoRoom { work } => {
                match work {
                    NoRoomFor::Flush => self.wait_for_room(),
                    NoRoomFor::Upkeep => self.keeping_up = false,
                }
                Progress::NoRoom
            }
            DoneKind::Staged { group, sequence } => Progress::Staged { group, sequence },
            DoneKind::Ingested { group, applied, base } => {
                self.ingesting.remove(&group);
                if self.ingesting.is_empty() {
                    self.replaced.clear();
                }
                self.applied.insert(group, applied);
                self.durable.insert(group, applied);
                self.refresh_view(base.0);
                self.forget_counts();
                Progress::Ingested { group, applied }
            }
        }
    }
}

/// All groups' durable positions.
fn read_applied(base: &dyn Snapshot) -> Result<BTreeMap<GroupId, Position>, ReadError> {
    let mut applied = BTreeMap::new();
    let mut cursor = base.range(Table::Applied, &Span { start: Vec::new(), end: None })?;
    while cursor.step()? {
        let (group, _) = codec::decode_group(cursor.key())?;
        applied.insert(group, codec::decode_position(cursor.value())?);
    }
    Ok(applied)
}
