//! A sync fails, and the process is started again while the system stays up: the page cache shows
//! what never reached the disk, and shows it as clean. What the next opening reports as durable is
//! on the disk all the same.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Host, Kind, Model, config, group};
use disk::mem::{MemDisk, MemFile};
use disk::{Disk, File, Open};
use engine::JobError;

/// More of them than any life here has.
const SYNCS: Range<u64> = 1..1000;

/// A disk that counts syncs, and fails one of them: of a file as [`MemDisk::fail_next_sync`] does,
/// of a directory by not doing it.
#[derive(Clone)]
struct Failing {
    disk: MemDisk,
    syncs: Arc<AtomicU64>,
    fails: u64,
}

struct FailingFile {
    file: MemFile,
    disk: Failing,
}

impl Failing {
    /// The sync number `fails` fails, counted from 1.
    fn new(disk: &MemDisk, fails: u64) -> Self {
        Self { disk: disk.clone(), syncs: Arc::default(), fails }
    }

    fn struck(&self) -> bool {
        self.syncs.load(Ordering::Relaxed) >= self.fails
    }

    /// Counts one more; whether it is the one to fail.
    fn strikes(&self) -> bool {
        self.syncs.fetch_add(1, Ordering::Relaxed) + 1 == self.fails
    }
}

impl Disk for Failing {
    type File = FailingFile;

    fn open(&self, path: &str, how: Open) -> io::Result<FailingFile> {
        Ok(FailingFile { file: self.disk.open(path, how)?, disk: self.clone() })
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        self.disk.create_dir(dir)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        if self.strikes() { Err(io::Error::other("injected")) } else { self.disk.sync_dir(dir) }
    }
}

impl File for FailingFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.disk.strikes() {
            self.disk.disk.fail_next_sync("");
        }
        self.file.sync_data()
    }
}

/// A group: what it is, was at each applied position, and is known to survive.
#[derive(Clone, Default)]
struct Story {
    model: Model,
    past: BTreeMap<u64, Model>,
    reported: u64,
}

impl Story {
    fn write(&mut self, host: &mut Host, seed: u8) {
        let changes = [(seed, Some(seed)), (seed / 2, (!seed.is_multiple_of(3)).then_some(7))];
        host.engine.write(self.model.write(1, &changes));
        self.past.insert(self.model.applied, self.model.clone());
    }

    fn flush(&mut self, host: &mut Host, seed: u8) -> Result<(), JobError> {
        for write in 0..30 {
            self.write(host, seed + write);
        }
        host.flush()?;
        self.reported = self.model.applied;
        host.upkeep()
    }

    /// Everything that a life does, until the disk fails it.
    fn live(&mut self, kind: Kind, disk: &impl Disk) {
        let Ok(mut host) = Host::open(kind, disk, config()) else { return };
        let _ended_early = (0..3).try_for_each(|round| self.flush(&mut host, round * 40));
    }

    /// Takes the engine's state for the present, if it is a whole one, and none before what was
    /// reported.
    fn adopt(&mut self, host: &Host, case: &str) {
        let durable = host.engine.durable(group(1)).index.0;
        assert!(durable >= self.reported, "{case}: {durable} is behind {}", self.reported);
        let mut model = self.past.get(&durable).cloned().unwrap_or_default();
        assert_eq!(model.applied, durable, "{case}: never was at {durable}");
        model.compacted = model.compacted.max(self.model.compacted);
        model.check_engine(1, &*host.engine);
        (self.model, self.reported) = (model, durable);
    }
}

/// The bytes of all files, and their names.
fn files(disk: &MemDisk) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        let file = disk.open(&format!("engine/{name}"), Open::Existing).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    disk.list("engine").unwrap().into_iter().map(read).collect()
}

/// A sync fails, the process ends, and another one opens what it left; then the power goes, at once
/// or some flushes later. Whether a sync failed at all.
fn fail(kind: Kind, fails: u64, flushes_after: u8) -> bool {
    let case = format!("{kind:?}, sync {fails} fails, {flushes_after} flushes after");
    let disk = MemDisk::new(fails);
    let mut story = Story::default();
    let failing = Failing::new(&disk, fails);
    story.live(kind, &failing);
    let mut host = Host::open(kind, &disk, config()).unwrap();
    story.adopt(&host, &case);
    let shown = files(&disk);
    let held = disk.fork(1);
    held.crash_losing_all();
    let held = files(&held);
    // What it has removed may come back, and is not read then either.
    let kept = shown.iter().all(|(name, bytes)| held.get(name) == Some(bytes));
    assert!(kept, "{case}: what the opening has read is not on the disk");
    for round in 0..flushes_after {
        story.flush(&mut host, 120 + round * 40).unwrap();
    }
    std::mem::forget(host);
    disk.crash_losing_all();
    let host = Host::open(kind, &disk, config()).unwrap_or_else(|error| panic!("{case}: {error}"));
    story.adopt(&host, &case);
    failing.struck()
}

#[test]
fn what_an_opening_finds_after_a_failed_sync_is_on_the_disk() {
    for kind in Kind::BOTH {
        for flushes_after in 0..3 {
            let failed = SYNCS.take_while(|fails| fail(kind, *fails, flushes_after)).count();
            assert!(failed >= 6, "{kind:?}: {failed} syncs are not all of three flushes");
        }
    }
}

/// Sync `second` of the opening that gets over a failed sync fails as well; after that the power
/// goes or does not. Whether it failed.
fn fail_again(kind: Kind, disk: &MemDisk, mut story: Story, second: u64) -> bool {
    let failing = Failing::new(disk, second);
    if let Ok(host) = Host::open(kind, &failing, config()) {
        story.adopt(&host, "the opening that was failed");
        std::mem::forget(host);
    }
    for power_lost in [true, false] {
        let case = format!("{kind:?}, sync {second} fails again, power lost: {power_lost}");
        let (disk, mut story) = (disk.fork(second), story.clone());
        if power_lost {
            disk.crash();
        }
        let host = Host::open(kind, &disk, config()).unwrap_or_else(|e| panic!("{case}: {e}"));
        story.adopt(&host, &case);
        std::mem::forget(host);
        disk.crash_losing_all();
        let host = Host::open(kind, &disk, config()).unwrap_or_else(|e| panic!("{case}: {e}"));
        story.adopt(&host, &case);
        let known = |name: &String| name == "base" || name.contains(".run");
        assert!(files(&disk).keys().all(known), "{case}");
    }
    failing.struck()
}

#[test]
fn getting_over_a_failed_sync_may_fail_as_well() {
    for (kind, firsts) in [(Kind::Disk, 8..20), (Kind::Memory, 1..8)] {
        for first in firsts.step_by(2) {
            let disk = MemDisk::new(first);
            let mut story = Story::default();
            story.live(kind, &Failing::new(&disk, first));
            let again = |second| fail_again(kind, &disk.fork(second), story.clone(), second);
            assert!(SYNCS.take_while(|second| again(*second)).count() > 0, "{kind:?}, {first}");
        }
    }
}

/// The power goes at every operation of the opening that gets over a failed sync.
#[test]
fn getting_over_a_failed_sync_may_be_cut_short() {
    for kind in Kind::BOTH {
        for first in (1..=24).step_by(3) {
            let disk = MemDisk::new(first);
            let mut story = Story::default();
            story.live(kind, &Failing::new(&disk, first));
            for operations in 1.. {
                let case = format!("{kind:?}, sync {first} fails, {operations} operations");
                let (disk, mut story) = (disk.fork(operations), story.clone());
                disk.crash_after(operations);
                drop(Host::open(kind, &disk, config()));
                let cut_short = disk.crashed();
                disk.crash();
                let host = Host::open(kind, &disk, config());
                story.adopt(&host.unwrap_or_else(|error| panic!("{case}: {error}")), &case);
                if !cut_short {
                    break;
                }
            }
        }
    }
}

/// After a failed sync nothing more is done in the same life: to go on would be to believe a lie.
#[test]
fn an_engine_on_disk_does_not_go_on_after_a_failed_sync() {
    let disk = MemDisk::new(5);
    let mut story = Story::default();
    let mut host = Host::open(Kind::Disk, &disk, config()).unwrap();
    story.flush(&mut host, 0).unwrap();
    story.write(&mut host, 1);
    host.begin_flush();
    disk.fail_next_sync("engine");
    assert!(matches!(host.run_all(), Err(JobError::Storage { .. })));
    let before = disk.operations();
    host.jobs.push_back(host.engine.ingest(group(1), &[]));
    assert!(host.run_all().is_err());
    assert_eq!(disk.operations(), before);
}
