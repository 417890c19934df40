//! The power goes at every single operation: what is found afterwards is the state at a durable
//! position, whole, and no older than what was acknowledged.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Host, Kind, Model, config, group, space};
use disk::Disk;
use disk::mem::MemDisk;
use engine::{Checkpoint, Config, JobError, Progress};

/// What the host did and was told, across crashes.
#[derive(Default)]
struct Story {
    models: [Model; 2],
    /// Each state that a group was in, by its applied position.
    past: [BTreeMap<u64, Model>; 2],
    acknowledged: [u64; 2],
}

impl Story {
    fn remember(&mut self, index: usize) {
        let model = self.models[index].clone();
        self.past[index].insert(model.applied, model);
    }

    fn write(&mut self, host: &mut Host, seed: u8) {
        for (index, number) in [(0, 1u8), (1, 2)] {
            let changes = [(seed, Some(seed)), (seed / 2, (!seed.is_multiple_of(3)).then_some(1))];
            host.engine.write(self.models[index].write(number, &changes));
            self.remember(index);
        }
    }

    fn flush(&mut self, host: &mut Host) -> Result<(), JobError> {
        host.flush()?;
        host.upkeep()?;
        self.acknowledged = self.models.each_ref().map(|model| model.applied);
        Ok(())
    }

    fn compact(&mut self, host: &mut Host) -> Result<(), JobError> {
        let before = self.models[0].revision - 1;
        self.models[0].compacted = before;
        host.compact(1, before)?;
        self.acknowledged = self.models.each_ref().map(|model| model.applied);
        Ok(())
    }

    fn ingest(&mut self, host: &mut Host, source: &Source) -> Result<(), JobError> {
        self.flush(host)?;
        // Durable from somewhere in the middle of this on: old or new, but whole.
        self.past[1].insert(source.model.applied, source.model.clone());
        host.install(2, &*source.checkpoint)?;
        self.models[1] = source.model.clone();
        self.acknowledged[1] = source.model.applied;
        Ok(())
    }

    fn run(&mut self, host: &mut Host, source: &Source) -> Result<(), JobError> {
        for round in 0..3u8 {
            for write in 0..6 {
                self.write(host, round * 6 + write);
            }
            self.flush(host)?;
            self.compact(host)?;
        }
        self.ingest(host, source)?;
        self.write(host, 40);
        self.flush(host)?;
        self.compact(host)
    }

    /// Whether the engine shows all that was written, durable or not.
    fn check_unflushed(&self, host: &Host) {
        for (model, number) in self.models.iter().zip(1..) {
            model.check_engine(number, &*host.engine);
        }
    }

    /// Takes the engine's state for the present, if it is one that it may be in.
    fn check(&mut self, host: &Host, case: &str) {
        for (index, number) in [(0, 1u8), (1, 2)] {
            let durable = host.engine.durable(group(number)).index.0;
            assert_eq!(host.engine.applied(group(number)).index.0, durable);
            assert!(durable >= self.acknowledged[index], "{case}: g{number} lost what was durable");
            let mut model = self.past[index].get(&durable).cloned().unwrap_or_default();
            assert_eq!(model.applied, durable, "{case}: g{number} was never at {durable}");
            model.compacted = model.compacted.max(self.models[index].compacted);
            model.check_engine(number, &*host.engine);
            self.models[index] = model;
        }
    }
}

/// Another node's group 2, further on.
struct Source {
    model: Model,
    checkpoint: Arc<dyn Checkpoint>,
}

impl Source {
    fn new() -> Self {
        let mut model = Model::at(100);
        let mut host = Host::open(Kind::Disk, &MemDisk::new(3), config()).unwrap();
        for seed in 0..12 {
            host.engine.write(model.write(2, &[(seed, Some(seed)), (seed + 3, None)]));
        }
        host.flush().unwrap();
        let checkpoint = host.engine.checkpoint(group(2), &[space(2)]);
        Self { model, checkpoint }
    }
}

/// The whole story with the power going after `operations`; then the next life.
fn crash_after(kind: Kind, config: &Config, operations: u64, source: &Source) {
    let case = format!("{kind:?}, power lost after {operations} operations");
    let disk = MemDisk::new(operations);
    let mut story = Story::default();
    disk.crash_after(operations);
    if let Ok(mut host) = Host::open(kind, &disk, config.clone()) {
        let ended = story.run(&mut host, source);
        assert!(ended.is_err() || !disk.crashed(), "{case}: nobody noticed");
    }
    disk.crash();
    if operations.is_multiple_of(4) {
        disk.crash_after(operations / 4 % 40 + 1);
        drop(Host::open(kind, &disk, config.clone()));
        disk.crash();
    }
    let mut host =
        Host::open(kind, &disk, config.clone()).unwrap_or_else(|error| panic!("{case}: {error}"));
    story.check(&host, &case);
    story.write(&mut host, 50);
    story.flush(&mut host).unwrap();
    story.check(&host, &case);
}

fn operations(kind: Kind, source: &Source) -> u64 {
    let disk = MemDisk::new(1);
    let mut host = Host::open(kind, &disk, config()).unwrap();
    Story::default().run(&mut host, source).unwrap();
    drop(host);
    disk.operations()
}

#[test]
fn a_crash_anywhere_leaves_a_whole_durable_state_on_disk() {
    let source = Source::new();
    for n in 1..=operations(Kind::Disk, &source) {
        crash_after(Kind::Disk, &config(), n, &source);
    }
}

#[test]
fn a_crash_anywhere_leaves_a_whole_durable_state_in_memory() {
    let source = Source::new();
    for n in 1..=operations(Kind::Memory, &source) {
        crash_after(Kind::Memory, &config(), n, &source);
    }
}

/// A process that is killed closes nothing: what it wrote is there, its last words are not.
#[test]
fn a_kill_leaves_the_last_flush() {
    for kind in Kind::BOTH {
        let disk = MemDisk::new(5);
        let mut story = Story::default();
        let mut host = Host::open(kind, &disk, config()).unwrap();
        story.write(&mut host, 1);
        story.flush(&mut host).unwrap();
        story.write(&mut host, 2);
        std::mem::forget(host);
        let host = Host::open(kind, &disk, config()).unwrap();
        story.check(&host, "killed");
        assert_eq!(host.engine.durable(group(1)).index.0, 1);
    }
}

#[test]
fn a_failed_job_leaves_nothing_behind() {
    for kind in Kind::BOTH {
        let disk = MemDisk::new(5);
        let mut story = Story::default();
        let mut host = Host::open(kind, &disk, config()).unwrap();
        story.write(&mut host, 1);
        story.flush(&mut host).unwrap();
        story.write(&mut host, 2);
        disk.fail_next_sync("engine");
        host.begin_flush();
        assert!(matches!(host.run_all(), Err(JobError::Storage { .. })), "{kind:?}");
        drop(host);
        disk.crash();
        let host = Host::open(kind, &disk, config()).unwrap();
        story.check(&host, "failed sync");
    }
}

/// Nothing is lost and nothing is left behind where there is no room, and all goes on when there is.
#[test]
fn a_full_disk_is_got_over() {
    for kind in Kind::BOTH {
        let disk = MemDisk::new(5);
        let mut story = Story::default();
        let mut host = Host::open(kind, &disk, config()).unwrap();
        for seed in 0..8 {
            story.write(&mut host, seed);
            host.flush().unwrap();
        }
        story.acknowledged = story.models.each_ref().map(|model| model.applied);
        for room in [0, 100, 300, 1000, 2000, 4000] {
            disk.set_capacity(Some(disk.used() + room));
            let names = disk.list("engine").unwrap();
            for seed in 0..10 {
                story.write(&mut host, seed);
            }
            let mut refused = 0;
            for _ in 0..12 {
                host.begin_upkeep();
                host.begin_flush();
                while let Some(progress) = host.run().unwrap() {
                    refused += u64::from(progress == Progress::NoRoom);
                }
            }
            story.check_unflushed(&host);
            assert!(refused > 0 || room > 1000, "{kind:?}: {room} bytes were enough");
            disk.set_capacity(None);
            host.flush().unwrap();
            host.upkeep().unwrap();
            story.acknowledged = story.models.each_ref().map(|model| model.applied);
            assert!(kind == Kind::Disk || disk.list("engine").unwrap() == names);
        }
        drop(host);
        let host = Host::open(kind, &disk, config()).unwrap();
        story.check(&host, "full disk");
    }
}

/// However little room is missing, and though the process ends right there: what was given up for want
/// of room is not there when the engine is opened again, and what it would have replaced is.
#[test]
fn a_process_may_end_where_there_was_no_room() {
    for kind in Kind::BOTH {
        let (mut refused, mut done) = (0, 0);
        for room in 0..1200 {
            let disk = MemDisk::new(room);
            let mut story = Story::default();
            let mut host = Host::open(kind, &disk, config()).unwrap();
            for seed in 0..3 {
                story.write(&mut host, seed);
                story.flush(&mut host).unwrap();
            }
            story.write(&mut host, 9);
            disk.set_capacity(Some(disk.used() + room));
            host.begin_flush();
            host.begin_upkeep();
            while let Some(progress) = host.run().unwrap() {
                match progress {
                    Progress::NoRoom => refused += 1,
                    progress => done += u64::from(progress == Progress::Flushed),
                }
            }
            drop(host);
            disk.set_capacity(None);
            let case = format!("{kind:?}, {room} bytes of room");
            let host = Host::open(kind, &disk, config());
            let host = host.unwrap_or_else(|error| panic!("{case}: {error}"));
            story.check(&host, &case);
        }
        assert!(refused > 100 && done > 100, "{kind:?}: {refused} refused, {done} done");
    }
}

/// A snapshot that finds no room is not there, and takes none.
#[test]
fn a_snapshot_that_finds_no_room_leaves_the_group_as_it_was() {
    let source = Source::new();
    for kind in Kind::BOTH {
        let disk = MemDisk::new(5);
        let mut story = Story::default();
        let mut host = Host::open(kind, &disk, config()).unwrap();
        story.write(&mut host, 1);
        story.flush(&mut host).unwrap();
        let names = disk.list("engine").unwrap();
        let mut room = 0;
        loop {
            disk.set_capacity(Some(disk.used() + room));
            match host.install(2, &*source.checkpoint) {
                Ok(()) => break,
                Err(error) => assert!(matches!(error, JobError::DiskFull { .. }), "{error}"),
            }
            assert_eq!(disk.list("engine").unwrap(), names, "{kind:?}: {room} bytes of room");
            story.models[1].check_engine(2, &*host.engine);
            room += 200;
        }
        assert!(room > 0);
        source.model.check_engine(2, &*host.engine);
    }
}

/// A flush that found no room waits, and a snapshot comes: the old state must not come back over
/// the new one when there is room again. Found by seed 900524 of the simulation.
#[test]
fn a_flush_that_waits_for_room_does_not_outlive_a_snapshot() {
    let source = Source::new();
    for kind in Kind::BOTH {
        for flush_is_queued in [false, true] {
            let disk = MemDisk::new(5);
            let mut story = Story::default();
            let mut host = Host::open(kind, &disk, config()).unwrap();
            story.write(&mut host, 1);
            for chunk in common::chunks(&*source.checkpoint) {
                let job = host.engine.stage(group(2), chunk);
                host.jobs.push_back(job);
                host.run_all().unwrap();
            }
            disk.fill();
            host.begin_flush();
            if !flush_is_queued {
                assert_eq!(host.run().unwrap(), Some(Progress::NoRoom));
            }
            let job = host.engine.ingest(group(2), &[space(2)]);
            host.jobs.push_back(job);
            if flush_is_queued {
                assert_eq!(host.run().unwrap(), Some(Progress::NoRoom));
            }
            // Readers see the old state until the new one is there.
            let old = &story.models[1];
            old.check(2, &*host.engine.view(), old.revision);
            story.models[0].check_engine(1, &*host.engine);
            disk.set_capacity(None);
            host.run_all().unwrap();
            host.flush().unwrap();
            story.models[0].check_engine(1, &*host.engine);
            source.model.check_engine(2, &*host.engine);
            drop(host);
            let host = Host::open(kind, &disk, config()).unwrap();
            story.models[0].check_engine(1, &*host.engine);
            source.model.check_engine(2, &*host.engine);
        }
    }
}

#[cfg(feature = "planted")]
mod planted {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use engine::Planted;

    use super::*;

    fn is_caught(planted: Planted) -> bool {
        let source = Source::new();
        let config = Config { planted: Some(planted), ..config() };
        let run = |n| crash_after(Kind::Disk, &config, n, &source);
        (1..400).any(|n| catch_unwind(AssertUnwindSafe(|| run(n))).is_err())
    }

    #[test]
    fn a_position_ahead_of_its_rows_is_found() {
        assert!(is_caught(Planted::AppliedNotAtomic));
    }

    #[test]
    fn a_greedy_compaction_is_found() {
        assert!(is_caught(Planted::CompactionDropsLive));
    }
}
