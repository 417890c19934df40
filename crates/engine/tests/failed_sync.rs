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

use common::{Host, Kind, Model, PATH, config, group};
use disk::mem::{MemDisk, MemFile};
use disk::{Disk, File, Open};
use engine::{JobError, OpenError};

const NAME: &str = "base";
const MARKER: &str = "base.suspect";
/// A page and its seal.
const FRAME: usize = 4100;
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
        Ok(())
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
    assert!(!files(&disk).contains_key(MARKER), "{case}: the marker is still there");
    let shown = files(&disk);
    let held = disk.fork(1);
    held.crash_losing_all();
    assert!(files(&held) == shown, "{case}: what the opening has read is not on the disk");
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
        assert!(files(&disk).keys().all(|name| name == NAME), "{case}");
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
    let mut marked = 0;
    for first in 1..=20 {
        let disk = MemDisk::new(first);
        let mut story = Story::default();
        story.live(Kind::Disk, &Failing::new(&disk, first));
        if !files(&disk).contains_key(MARKER) {
            continue;
        }
        marked += 1;
        for operations in 1.. {
            let case = format!("sync {first} fails, power lost after {operations} operations");
            let (disk, mut story) = (disk.fork(operations), story.clone());
            disk.crash_after(operations);
            drop(Host::open(Kind::Disk, &disk, config()));
            let cut_short = disk.crashed();
            disk.crash();
            let host = Host::open(Kind::Disk, &disk, config());
            story.adopt(&host.unwrap_or_else(|error| panic!("{case}: {error}")), &case);
            assert!(files(&disk).keys().eq([NAME]), "{case}");
            if !cut_short {
                break;
            }
        }
    }
    assert!(marked >= 10, "only {marked} failed syncs left a marker");
}

/// A page that was never written has left the page cache, and an older one is read in its place,
/// whose seal is whole: after a failed sync the file is checked as redb alone can.
#[test]
fn an_older_page_in_a_suspect_file_is_found() {
    let disk = MemDisk::new(1);
    let mut story = Story::default();
    let mut host = Host::open(Kind::Disk, &disk, config()).unwrap();
    let flush = |seed| {
        story.flush(&mut host, seed).unwrap();
        files(&disk).remove(NAME).unwrap()
    };
    let [old, _, new] = [0, 40, 80].map(flush);
    std::mem::forget(host);
    let frames = old.chunks_exact(FRAME).zip(new.chunks_exact(FRAME)).enumerate().skip(1);
    let changed = frames.filter(|(_, (old, new))| old != new && old.iter().any(|byte| *byte != 0));
    let mut found = 0;
    for (number, (old, _)) in changed {
        let disk = disk.fork(1);
        let file = disk.open(PATH, Open::Existing).unwrap();
        file.write_all_at(old, (number * FRAME) as u64).unwrap();
        disk.open(&format!("engine/{MARKER}"), Open::New).unwrap();
        match Host::open(Kind::Disk, &disk, config()) {
            Ok(host) => story.clone().adopt(&host, "an older page that nobody reads"),
            Err(OpenError::Damaged { .. }) => {
                found += 1;
                let again = Host::open(Kind::Disk, &disk, config()).err();
                assert!(matches!(again, Some(OpenError::Damaged { .. })), "{again:?}");
            }
            Err(error) => panic!("page {number}: {error}"),
        }
    }
    assert!(found > 0);
}

/// No write was confirmed that is not there: no need to have room for a second file.
#[test]
fn a_full_disk_does_not_make_the_file_suspect() {
    let disk = MemDisk::new(5);
    let mut story = Story::default();
    let mut host = Host::open(Kind::Disk, &disk, config()).unwrap();
    story.flush(&mut host, 0).unwrap();
    disk.set_capacity(Some(disk.used() + 100));
    let failed = (0..200).try_for_each(|round| story.flush(&mut host, round));
    assert!(matches!(failed, Err(JobError::DiskFull { .. })), "{failed:?}");
    drop(host);
    assert!(files(&disk).keys().eq([NAME]));
    story.adopt(&Host::open(Kind::Disk, &disk, config()).unwrap(), "on a full disk");
}

/// What can't be written down must at least be said.
#[test]
fn a_failure_that_cannot_be_marked_says_so() {
    let disk = MemDisk::new(5);
    let mut story = Story::default();
    let mut host = Host::open(Kind::Disk, &disk, config()).unwrap();
    story.flush(&mut host, 0).unwrap();
    story.write(&mut host, 1);
    host.begin_flush();
    disk.fail_next_sync("engine");
    disk.fill();
    let error = host.run_all().unwrap_err().to_string();
    assert!(error.contains("base.suspect could not be made"), "{error}");
}
