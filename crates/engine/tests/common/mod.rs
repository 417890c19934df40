//! An engine under test, and the obvious model of it.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use consensus::{Epoch, LogIndex, Position};
use disk::Disk;
use engine::{
    Batch, Cell, Checkpoint, Config, Engine, Halves, Job, JobError, OpenError, Progress, Row, View,
    Visit, Worker,
};
use wire::{Change, Event, GroupId, Item, KeyRange, Revision, SpaceId};

pub(crate) const PATH: &str = "engine/base";
pub(crate) const KEYS: u8 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Disk,
    Memory,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Disk, Self::Memory];

    pub(crate) fn open(self, disk: &impl Disk, config: Config) -> Result<Halves, OpenError> {
        match self {
            Self::Disk => engine::open_disk(disk.clone(), PATH, config),
            Self::Memory => engine::open_memory(disk.clone(), PATH, config),
        }
    }
}

/// Small limits, so that small tests meet them.
pub(crate) fn config() -> Config {
    Config {
        cache_bytes: 1 << 20,
        flush_bytes: 4096,
        chunk_bytes: 300,
        run_bytes: 1024,
        block_bytes: 128,
        count_stretch_keys: 2,
        #[cfg(feature = "planted")]
        planted: None,
    }
}

pub(crate) fn position(index: u64) -> Position {
    Position { index: LogIndex(index), epoch: Epoch { round: 1, proposer: 0 } }
}

/// Keys with everything that an encoding may stumble over.
pub(crate) fn key(number: u8) -> Bytes {
    let keys: [&[u8]; KEYS as usize] =
        [b"a", b"a\0", b"a\0\0", b"a\0\x01", b"a\xff", b"b", b"\0", b"\xff\xff", b"\0\xff", b"abc"];
    Bytes::from_static(keys[usize::from(number % KEYS)])
}

/// One group with one space: what should be there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Model {
    pub(crate) applied: u64,
    pub(crate) revision: u64,
    pub(crate) compacted: u64,
    versions: BTreeMap<Bytes, BTreeMap<u64, Option<Cell>>>,
    history: Vec<(u64, Bytes)>,
    pub(crate) meta: BTreeMap<Bytes, Bytes>,
}

impl Model {
    /// A group that has nothing to show for the log entries that it applied.
    pub(crate) fn at(applied: u64) -> Self {
        Self { applied, ..Self::default() }
    }

    /// One command: a change of some keys, and of a meta entry.
    pub(crate) fn write(&mut self, group: u8, changes: &[(u8, Option<u8>)]) -> Batch {
        self.applied += 1;
        self.revision += 1;
        let mut rows = Vec::new();
        let mut last = BTreeMap::new();
        for (order, &(number, length)) in changes.iter().enumerate() {
            let key = key(number);
            let cell = length.map(|length| self.cell(&key, length));
            last.insert(key.clone(), (order, cell.clone()));
            rows.push(Row { space: space(group), key, revision: Revision(self.revision), cell });
        }
        let mut order: Vec<_> =
            last.iter().map(|(key, (order, _))| (*order, key.clone())).collect();
        order.sort();
        self.history.extend(order.into_iter().map(|(_, key)| (self.revision, key)));
        for (key, (_, cell)) in last {
            self.versions.entry(key).or_default().insert(self.revision, cell);
        }
        let meta = self.change_meta();
        Batch { group: self::group(group), applied: position(self.applied), rows, meta }
    }

    fn cell(&self, key: &Bytes, length: u8) -> Cell {
        let before = self.version(key, self.revision);
        let (created, version) = match before {
            Some((_, Some(cell))) => (cell.created, cell.version + 1),
            _ => (Revision(self.revision), 1),
        };
        let value = format!("{}:{key:?}", self.revision).repeat(usize::from(length % 8));
        Cell { created, version, lease: u64::from(length), value: value.into() }
    }

    fn change_meta(&mut self) -> Vec<(Bytes, Option<Bytes>)> {
        let key = Bytes::from(vec![(self.applied % 5) as u8]);
        let value = Bytes::from(self.applied.to_string());
        if self.applied % 7 == 3 {
            self.meta.remove(&key);
            return vec![(key, None)];
        }
        self.meta.insert(key.clone(), value.clone());
        vec![(key, Some(value))]
    }

    fn version(&self, key: &Bytes, at: u64) -> Option<(u64, Option<Cell>)> {
        let found = self.versions.get(key)?.range(..=at).next_back()?;
        Some((*found.0, found.1.clone()))
    }

    pub(crate) fn find(&self, key: &Bytes, at: u64) -> Option<Item> {
        let (modified, cell) = self.version(key, at)?;
        cell.map(|cell| item(key.clone(), modified, cell))
    }

    pub(crate) fn scan(&self, range: &KeyRange, at: u64) -> Vec<Item> {
        let keys = self.versions.keys().filter(|key| range.contains(key));
        keys.filter_map(|key| self.find(key, at)).collect()
    }

    pub(crate) fn events(&self, range: &KeyRange, from: u64, to: u64) -> Vec<Event> {
        let changes = self.history.iter().filter(|(revision, _)| (from..=to).contains(revision));
        let changes = changes.filter(|(_, key)| range.contains(key));
        changes
            .map(|(revision, key)| Event {
                revision: Revision(*revision),
                change: match &self.versions[key][revision] {
                    Some(cell) => Change::Put(item(key.clone(), *revision, cell.clone())),
                    None => Change::Delete { key: key.clone() },
                },
                previous: None,
            })
            .collect()
    }

    /// Whether `view` shows this model at `at`, which was not compacted.
    pub(crate) fn check(&self, group: u8, view: &dyn View, at: u64) {
        for number in 0..KEYS {
            let key = key(number);
            let found = view.find(space(group), &key, Revision(at)).unwrap();
            assert_eq!(found, self.find(&key, at), "g{group}: {key:?} at {at}");
        }
        for range in ranges() {
            let found = scan(view, group, &range, at);
            assert_eq!(found, self.scan(&range, at), "g{group}: {range:?} at {at}");
            // Twice: the second time from what the first one has remembered.
            for _ in 0..2 {
                let count = view.count(space(group), &range, Revision(at)).unwrap();
                assert_eq!(count, found.len() as u64, "g{group}: {range:?} counted at {at}");
            }
            let from = self.compacted + 1;
            let found = events(view, group, &range, from, at);
            assert_eq!(found, self.events(&range, from, at), "g{group}: history to {at}");
        }
    }

    /// Whether an engine holds this model, at every revision that it must still know.
    pub(crate) fn check_engine(&self, group: u8, engine: &dyn Engine) {
        let view = engine.view();
        for at in self.compacted.max(1)..=self.revision {
            self.check(group, &*view, at);
        }
        let meta: Vec<_> = self.meta.clone().into_iter().collect();
        assert_eq!(engine.meta(self::group(group)).unwrap(), meta);
        assert_eq!(engine.applied(self::group(group)).index.0, self.applied);
    }
}

pub(crate) fn group(number: u8) -> GroupId {
    GroupId(u64::from(number))
}

pub(crate) fn space(group: u8) -> SpaceId {
    SpaceId(u32::from(group))
}

fn item(key: Bytes, modified: u64, cell: Cell) -> Item {
    Item {
        key,
        value: cell.value,
        created: cell.created,
        modified: Revision(modified),
        version: cell.version,
        lease: cell.lease,
    }
}

fn ranges() -> Vec<KeyRange> {
    vec![
        KeyRange::all(),
        KeyRange::prefix(Bytes::from_static(b"a")),
        KeyRange::single(Bytes::from_static(b"a\0")),
        KeyRange { start: Bytes::from_static(b"a\0\0"), end: Some(Bytes::from_static(b"b")) },
        KeyRange { start: Bytes::from_static(b"b"), end: Some(Bytes::from_static(b"a")) },
        KeyRange { start: Bytes::from_static(b"\xff"), end: None },
    ]
}

pub(crate) fn scan(view: &dyn View, group: u8, range: &KeyRange, at: u64) -> Vec<Item> {
    let mut items = Vec::new();
    view.scan(space(group), range, Revision(at), &mut |item| {
        items.push(item);
        Visit::Continue
    })
    .unwrap();
    items
}

pub(crate) fn events(
    view: &dyn View,
    group: u8,
    range: &KeyRange,
    from: u64,
    to: u64,
) -> Vec<Event> {
    let mut events = Vec::new();
    view.history(space(group), range, Revision(from), Revision(to), &mut |event| {
        events.push(event);
        Visit::Continue
    })
    .unwrap();
    events
}

/// An engine with its worker and the jobs between them.
pub(crate) struct Host {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) worker: Box<dyn Worker>,
    pub(crate) jobs: VecDeque<Job>,
}

impl Host {
    pub(crate) fn open(kind: Kind, disk: &impl Disk, config: Config) -> Result<Self, OpenError> {
        let (engine, worker) = kind.open(disk, config)?;
        Ok(Self { engine, worker, jobs: VecDeque::new() })
    }

    pub(crate) fn begin_flush(&mut self) {
        self.jobs.extend(self.engine.flush());
    }

    pub(crate) fn begin_upkeep(&mut self) {
        self.jobs.extend(self.engine.upkeep());
    }

    /// Does the next job, if there is one.
    pub(crate) fn run(&mut self) -> Result<Option<Progress>, JobError> {
        let Some(job) = self.jobs.pop_front() else { return Ok(None) };
        Ok(Some(self.engine.done(self.worker.run(job)?)))
    }

    pub(crate) fn run_all(&mut self) -> Result<(), JobError> {
        while self.run()?.is_some() {}
        Ok(())
    }

    /// Flushes everything, and does what must come before. Stops where there is no room.
    pub(crate) fn flush(&mut self) -> Result<(), JobError> {
        self.run_all()?;
        loop {
            self.begin_flush();
            match self.run()? {
                Some(Progress::Flushed) => return self.run_all(),
                Some(progress) => panic!("{progress:?} instead of a flush"),
                None if self.engine.unflushed_bytes() == 0 => return Ok(()),
                None => self.begin_upkeep(),
            }
            if self.run()? == Some(Progress::NoRoom) {
                return Ok(());
            }
        }
    }

    /// Does all upkeep that there is.
    pub(crate) fn upkeep(&mut self) -> Result<(), JobError> {
        self.run_all()?;
        loop {
            self.begin_upkeep();
            if self.run()? != Some(Progress::KeptUp) {
                return Ok(());
            }
        }
    }

    /// Raises a watermark, makes it count, and takes away what may go.
    pub(crate) fn compact(&mut self, group: u8, before: u64) -> Result<(), JobError> {
        self.engine.compact(space(group), Revision(before));
        self.flush()?;
        self.upkeep()
    }

    /// Sends a checkpoint to this engine.
    pub(crate) fn install(
        &mut self,
        number: u8,
        checkpoint: &dyn Checkpoint,
    ) -> Result<(), JobError> {
        for chunk in chunks(checkpoint) {
            let job = self.engine.stage(group(number), chunk);
            self.jobs.push_back(job);
            self.run_all()?;
        }
        let job = self.engine.ingest(group(number), &[space(number)]);
        self.jobs.push_back(job);
        self.run_all()
    }
}

pub(crate) fn chunks(checkpoint: &dyn Checkpoint) -> Vec<engine::Chunk> {
    let (mut chunks, mut cursor) = (Vec::new(), Bytes::new());
    for sequence in 0.. {
        let (chunk, next) = checkpoint.read(sequence, &cursor).unwrap();
        let again = checkpoint.read(sequence, &cursor).unwrap().0;
        assert_eq!(again, chunk, "a chunk read twice");
        let last = chunk.last;
        chunks.push(chunk);
        cursor = next;
        if last {
            break;
        }
    }
    chunks
}

/// A held view with the models that it must go on to show.
pub(crate) struct Held {
    pub(crate) view: Arc<dyn View>,
    pub(crate) models: [Model; 2],
}
