//! A long life: many flushes and merges of all kinds, keys hot and cold, watermarks that follow at
//! various distances. What is in the way of small runs is met here: versions of one key across
//! several runs, runs that are moved unread, merges that overtake others.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::BTreeMap;

use bytes::Bytes;
use common::{Host, Kind, config, group, position, space};
use disk::mem::MemDisk;
use engine::{Batch, Cell, Config, Row, Visit};
use wire::{KeyRange, Revision};

/// A generator of chance, good enough to choose keys.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % limit
    }

    fn one_in(&mut self, number: u64) -> bool {
        self.below(number) == 0
    }
}

/// What the engine should hold: each key's versions, by revision.
type Versions = BTreeMap<Bytes, BTreeMap<u64, Option<Cell>>>;

struct Life {
    kind: Kind,
    disk: MemDisk,
    host: Host,
    config: Config,
    chance: Chance,
    versions: Versions,
    revision: u64,
    watermark: u64,
    /// The watermark follows the newest revision at this distance.
    retained: u64,
}

impl Life {
    fn new(kind: Kind, seed: u64) -> Self {
        let mut chance = Chance(seed);
        let run_bytes = [300, 1000, 4000][usize::try_from(seed % 3).unwrap()];
        let config = Config { run_bytes, cache_bytes: 10_000, ..config() };
        let disk = MemDisk::new(seed);
        let host = Host::open(kind, &disk, config.clone()).unwrap();
        let retained = [3, 100, 1000][usize::try_from(chance.below(3)).unwrap()];
        let (versions, revision, watermark) = (Versions::new(), 0, 0);
        Self { kind, disk, host, config, chance, versions, revision, watermark, retained }
    }

    fn key(&mut self) -> Bytes {
        let number = match self.chance.below(4) {
            0 => self.chance.below(2),
            1 => self.chance.below(20),
            // Keys that only grow, as those of a log.
            2 => 1000 + self.revision / 4,
            _ => self.chance.below(300),
        };
        Bytes::from(format!("{number:06}"))
    }

    fn write(&mut self) {
        self.revision += 1;
        let key = self.key();
        let old = self.versions.get(&key).and_then(|versions| versions.last_key_value());
        let old = old.and_then(|(_, cell)| cell.clone());
        let view = self.host.engine.view();
        let before = Revision(self.revision - 1);
        let head = view.head(space(1), &key, before).unwrap().map(|(_, head)| head);
        assert_eq!(head, old.as_ref().map(Cell::head), "{key:?} before {}", self.revision);
        let cell = (!self.chance.one_in(5)).then(|| Cell {
            created: old.as_ref().map_or(Revision(self.revision), |old| old.created),
            version: old.map_or(1, |old| old.version + 1),
            lease: 0,
            value: Bytes::from(vec![b'v'; usize::try_from(self.chance.below(60)).unwrap()]),
        });
        self.versions.entry(key.clone()).or_default().insert(self.revision, cell.clone());
        let rows = vec![Row { space: space(1), key, revision: Revision(self.revision), cell }];
        let applied = position(self.revision);
        self.host.engine.write(Batch { group: group(1), applied, rows, meta: Vec::new() });
    }

    fn step(&mut self) {
        self.write();
        if self.chance.one_in(20) {
            if self.chance.one_in(3) {
                self.watermark = self.watermark.max(self.revision.saturating_sub(self.retained));
                self.host.engine.compact(space(1), Revision(self.watermark));
            }
            self.host.flush().unwrap();
        }
        for _ in 0..self.chance.below(3) {
            self.host.begin_upkeep();
            self.host.run_all().unwrap();
        }
        if self.chance.one_in(200) {
            self.check();
        }
        if self.chance.one_in(400) {
            self.host.flush().unwrap();
            let spare = Host::open(Kind::Memory, &MemDisk::new(0), config()).unwrap();
            drop(std::mem::replace(&mut self.host, spare));
            self.host = Host::open(self.kind, &self.disk, self.config.clone()).unwrap();
        }
    }

    /// All keys at the newest revision, at the watermark, and at one between; and the history.
    fn check(&mut self) {
        let view = self.host.engine.view();
        let between = self.watermark + self.chance.below(self.revision - self.watermark + 1);
        for at in [self.revision, self.watermark.max(1), between.max(1)] {
            let mut expected = BTreeMap::new();
            for (key, versions) in &self.versions {
                let newest = versions.range(..=at).next_back();
                let found = view.find(space(1), key, Revision(at)).unwrap();
                let found = found.map(|item| (item.modified.0, item.version, item.value));
                let cell = newest.and_then(|(at, cell)| Some((*at, cell.as_ref()?)));
                let cell = cell.map(|(at, cell)| (at, cell.version, cell.value.clone()));
                assert_eq!(found, cell, "{key:?} at {at}");
                expected.extend(cell.map(|(at, ..)| (key.clone(), at)));
            }
            let mut scanned = BTreeMap::new();
            view.scan(space(1), &KeyRange::all(), Revision(at), &mut |item| {
                scanned.insert(item.key, item.modified.0);
                Visit::Continue
            })
            .unwrap();
            assert_eq!(scanned, expected, "at {at}");
        }
        let mut told = Vec::new();
        let (from, to) = (Revision(self.watermark + 1), Revision(self.revision));
        view.history(space(1), &KeyRange::all(), from, to, &mut |event| {
            told.push(event.revision.0);
            Visit::Continue
        })
        .unwrap();
        assert!(told.into_iter().eq(from.0..=to.0), "history from {from:?} to {to:?}");
    }
}

#[test]
fn a_long_life_shows_what_was_written() {
    for kind in Kind::BOTH {
        for seed in 0..if kind == Kind::Disk { 24 } else { 2 } {
            let mut life = Life::new(kind, seed);
            for _ in 0..2500 {
                life.step();
            }
            life.check();
        }
    }
}

/// Whatever was superseded is gone after a while, and so are the files that nobody needs.
#[test]
fn space_comes_back() {
    for seed in 0..6 {
        let mut life = Life::new(Kind::Disk, seed);
        for _ in 0..3000 {
            life.step();
        }
        life.watermark = life.revision;
        life.host.compact(1, life.revision).unwrap();
        let needed: usize = life
            .versions
            .iter()
            .filter_map(|(key, versions)| {
                Some(key.len() + versions.last_key_value()?.1.as_ref()?.value.len() + 30)
            })
            .sum();
        let used = life.disk.used();
        assert!(used < 3 * needed as u64, "seed {seed}: {used} bytes for {needed}");
        life.check();
    }
}
