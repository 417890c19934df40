//! Loss of power at every operation, also while the journal is being opened again.

use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use journal::{Journal, Record};

use crate::support::{
    DIR, Generator, Logs, Progress, apply, check, entry, open, run, small, states,
};

fn batches(seed: u64, count: usize) -> Vec<Vec<Record>> {
    let mut generator = Generator::new(seed);
    (0..count).map(|_| generator.batch()).collect()
}

/// Opens, checks, appends one more batch, and finds that too after another crash.
fn go_on(disk: &MemDisk, states: &[Logs], progress: Progress, seed: u64) {
    let (mut journal, recovered) = open(disk);
    check(&recovered, states, progress);
    let mut logs = recovered.logs;
    let mut generator = Generator::from_logs(seed, logs.clone());
    for _ in 0..3 {
        let batch = generator.batch();
        journal.append(&batch).unwrap();
        apply(&mut logs, &batch);
        journal.sync().unwrap();
    }
    drop(journal);
    disk.crash();
    let (_, again) = open(disk);
    assert_eq!(again.damage, None);
    assert_eq!(again.logs, logs);
}

#[test]
fn a_crash_at_every_operation_loses_nothing_acknowledged() {
    for seed in 0..12 {
        let batches = batches(seed, 40);
        let states = states(&batches);
        let calm = MemDisk::new(seed);
        assert_eq!(run(&calm, small(), &batches).synced, batches.len());
        for operation in 1..=calm.operations() {
            let disk = MemDisk::new(seed * 10_000 + operation);
            disk.crash_after(operation);
            let progress = run(&disk, small(), &batches);
            assert!(disk.crashed());
            disk.crash();
            go_on(&disk, &states, progress, seed + operation);
        }
    }
}

#[test]
fn a_crash_at_every_operation_of_the_next_open_changes_nothing() {
    for seed in 0..6 {
        let batches = batches(seed, 16);
        let states = states(&batches);
        let calm = MemDisk::new(seed);
        run(&calm, small(), &batches);
        for operation in 1..=calm.operations() {
            let disk = MemDisk::new(seed * 1000 + operation);
            disk.crash_after(operation);
            let progress = run(&disk, small(), &batches);
            disk.crash();
            for second in 1..100 {
                let disk = disk.fork(second);
                disk.crash_after(second);
                if Journal::open(disk.clone(), DIR, small()).is_ok() {
                    break;
                }
                disk.crash();
                go_on(&disk, &states, progress, seed);
            }
        }
    }
}

#[test]
fn what_a_killed_process_left_unsynced_is_durable_once_it_was_found() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    let batch = vec![entry(1, 1, 1, 100)];
    journal.append(&batch).unwrap();
    drop(journal);
    let (journal, recovered) = open(&disk);
    assert_eq!(recovered.logs, states(&[batch])[1]);
    drop(journal);
    disk.crash_losing_all();
    let (_, again) = open(&disk);
    assert_eq!(again.logs, recovered.logs);
}

#[test]
fn a_batch_torn_at_any_byte_is_dropped_whole() {
    let batches = [vec![entry(1, 1, 1, 60)], vec![entry(1, 2, 1, 90), entry(2, 1, 1, 33)]];
    let states = states(&batches);
    let whole = MemDisk::new(1);
    let (mut journal, _) = open(&whole);
    journal.append(&batches[0]).unwrap();
    journal.sync().unwrap();
    let start = 64 + 40 + (40_u64 + 42 + 60).next_multiple_of(8);
    journal.append(&batches[1]).unwrap();
    drop(journal);
    let length = (40_u64 + 42 + 90 + 42 + 33).next_multiple_of(8);
    let mut torn = 0;
    for cut in 0..length {
        let disk = whole.fork(cut);
        let file = disk.open("journal/0000000001.seg", Open::Existing).unwrap();
        let rest = usize::try_from(length - cut).unwrap();
        let mut old = vec![0; rest];
        file.read_exact_at(&mut old, start + cut).unwrap();
        file.write_all_at(&vec![0; rest], start + cut).unwrap();
        let (_, recovered) = open(&disk);
        assert_eq!(recovered.damage, None);
        let zeros = old.iter().all(|byte| *byte == 0);
        assert_eq!(recovered.logs, states[usize::from(zeros) + 1], "cut at {cut}");
        torn += u64::from(recovered.torn_tail_bytes > 0);
    }
    assert!(torn > length - 10, "torn bytes are counted");
}

#[test]
fn remains_of_a_torn_batch_never_come_back() {
    // The torn batch is longer than the one that takes its place, and its number is used again.
    for seed in 0..50 {
        let disk = MemDisk::new(seed);
        let (mut journal, _) = open(&disk);
        for index in 1..=6 {
            journal.append(&[entry(1, index, 1, 200)]).unwrap();
        }
        drop(journal);
        disk.crash();
        let (mut journal, recovered) = open(&disk);
        let mut logs = recovered.logs;
        let next = logs.values().next().map_or(1, |log| log.entries.len() as u64 + 1);
        let batch = [entry(1, next, 2, 200)];
        journal.append(&batch).unwrap();
        journal.sync().unwrap();
        apply(&mut logs, &batch);
        drop(journal);
        assert_eq!(open(&disk).1.logs, logs);
    }
}

#[test]
fn a_clean_end_leaves_nothing_to_cut() {
    let batches = batches(3, 30);
    let disk = MemDisk::new(1);
    run(&disk, small(), &batches);
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.torn_tail_bytes, 0);
    assert_eq!(recovered.logs, states(&batches)[30]);
    assert!(recovered.last_batch > 30);
}

#[test]
fn a_failed_sync_poisons_the_journal() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    journal.append(&[entry(1, 1, 1, 10)]).unwrap();
    journal.sync().unwrap();
    journal.append(&[entry(1, 2, 1, 10)]).unwrap();
    disk.fail_next_sync(DIR);
    assert!(matches!(journal.sync(), Err(journal::SyncError::Io(_))));
    assert!(matches!(journal.sync(), Err(journal::SyncError::Poisoned)));
    let refused = journal.append(&[entry(1, 3, 1, 10)]);
    assert!(matches!(refused, Err(journal::AppendError::Poisoned)));
    drop(journal);
    disk.crash();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.damage, None);
    assert_eq!(recovered.logs, states(&[vec![entry(1, 1, 1, 10)]])[1]);
}

#[test]
fn a_failed_sync_anywhere_loses_nothing_acknowledged() {
    let batches = batches(5, 60);
    let states = states(&batches);
    for after in 0..60 {
        let disk = MemDisk::new(after);
        let first = usize::try_from(after).unwrap();
        let progress = run(&disk, small(), &batches[..first]);
        assert_eq!(progress.synced, first);
        disk.fail_next_sync(DIR);
        // Batches that were run already only repeat what the journal knows.
        let (mut journal, recovered) = match Journal::open(disk.clone(), DIR, small()) {
            Ok(opened) => opened,
            Err(_refused) => open(&disk),
        };
        assert_eq!(recovered.logs, states[first]);
        let mut progress = progress;
        disk.fail_next_sync(DIR);
        for batch in &batches[first..] {
            progress.begun += 1;
            if journal.append(batch).is_err() || journal.sync().is_err() {
                break;
            }
            progress.synced = progress.begun;
        }
        drop(journal);
        disk.crash();
        check(&open(&disk).1, &states, progress);
    }
}

/// The process dies of a failed sync and is started again while the system stays up: the page cache
/// still shows what never reached the disk, and shows it as clean.
#[test]
fn what_is_recovered_after_a_failed_sync_is_on_the_disk() {
    let batches = batches(9, 40);
    for after in 0..40 {
        let disk = MemDisk::new(after);
        let first = usize::try_from(after).unwrap();
        run(&disk, small(), &batches[..first]);
        let (mut journal, _) = open(&disk);
        disk.fail_next_sync(DIR);
        if journal.append(&batches[first]).is_ok() {
            let _failed = journal.sync();
        }
        drop(journal);
        let (journal, recovered) = open(&disk);
        drop(journal);
        disk.crash_losing_all();
        let (_, again) = open(&disk);
        assert_eq!(again.damage, None);
        assert_eq!(again.logs, recovered.logs, "what the last life relied upon is gone");
    }
}
