//! The tests' own test: faults put into the journal on purpose are found by the same checks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use disk::mem::MemDisk;
use journal::{Config, Planted};

use crate::support::{
    DIR, Generator, Progress, apply, base, check, entry, open_with, run, small, states,
};

fn with(planted: Option<Planted>) -> Config {
    Config { planted, ..small() }
}

fn is_found(test: impl Fn() + Copy) -> bool {
    catch_unwind(AssertUnwindSafe(test)).is_err()
}

fn failing_syncs(planted: Option<Planted>) {
    for seed in 0..20 {
        let mut generator = Generator::new(seed);
        let batches: Vec<_> = (0..6).map(|_| generator.batch()).collect();
        let disk = MemDisk::new(seed);
        let (mut journal, _) = open_with(&disk, with(planted));
        let mut progress = Progress::default();
        for (number, batch) in batches.iter().enumerate() {
            progress.begun = number + 1;
            if number == 3 {
                disk.fail_next_sync(DIR);
            }
            if journal.append(batch).is_err() || journal.sync().is_err() {
                break;
            }
            progress.synced = number + 1;
        }
        drop(journal);
        disk.crash();
        check(&open_with(&disk, with(planted)).1, &states(&batches), progress);
    }
}

fn crashes(planted: Option<Planted>) {
    for seed in 0..200 {
        let mut generator = Generator::new(seed);
        let batches: Vec<_> = (0..20).map(|_| generator.batch()).collect();
        let disk = MemDisk::new(seed);
        disk.crash_after(5 + seed % 60);
        let progress = run(&disk, with(planted), &batches);
        disk.crash();
        check(&open_with(&disk, with(planted)).1, &states(&batches), progress);
    }
}

fn rot(planted: Option<Planted>) {
    let disk = MemDisk::new(1);
    let batches: Vec<_> = (1..=5).map(|index| vec![entry(1, index, 1, 100)]).collect();
    run(&disk, with(planted), &batches);
    disk.flip_bits("journal/0000000001.seg", 400, 1);
    let (_, recovered) = open_with(&disk, with(planted));
    assert!(recovered.damage.is_some());
}

fn recycling(planted: Option<Planted>) {
    for lives in 1..40 {
        let disk = MemDisk::new(lives);
        let (mut journal, _) = open_with(&disk, with(planted));
        let mut logs = states(&[])[0].clone();
        for index in 1..=lives * 3 {
            // Batches of one length, so that old ones stand where new ones may end.
            let batch = [entry(1, index, 1, 300), base(1, index, 1)];
            journal.append(&batch).unwrap();
            journal.sync().unwrap();
            apply(&mut logs, &batch);
        }
        drop(journal);
        let (_, recovered) = open_with(&disk, with(planted));
        assert_eq!(recovered.damage, None);
        assert_eq!(recovered.logs, logs);
    }
}

#[test]
fn without_a_planted_fault_nothing_is_found() {
    failing_syncs(None);
    crashes(None);
    rot(None);
    recycling(None);
}

#[test]
fn a_sync_failure_that_is_ignored_is_found() {
    assert!(is_found(|| failing_syncs(Some(Planted::IgnoreSyncFailure))));
}

#[test]
fn a_sync_failure_that_is_retried_is_found() {
    assert!(is_found(|| failing_syncs(Some(Planted::RetrySyncFailure))));
}

#[test]
fn a_torn_record_that_is_believed_is_found() {
    assert!(is_found(|| crashes(Some(Planted::TornRecordTakenWhole))));
}

#[test]
fn damage_that_is_cut_like_a_tail_is_found() {
    assert!(is_found(|| rot(Some(Planted::DamagedMiddleAsTornTail))));
}

#[test]
fn a_recycled_record_that_is_believed_is_found() {
    assert!(is_found(|| recycling(Some(Planted::RecycledRecordsBelieved))));
}
