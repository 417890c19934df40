//! Rot, lost and misdirected writes, missing files: what can't be had any more is said, and said
//! again until the host has dealt with it.

use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use journal::{Journal, LogId, Reason, Recovered};

use crate::support::{DIR, Generator, Logs, apply, base, entry, open, promise, run, small, states};

fn sealed_journal(seed: u64, count: usize) -> (MemDisk, Vec<Logs>) {
    let mut generator = Generator::new(seed);
    let batches: Vec<_> = (0..count).map(|_| generator.batch()).collect();
    let disk = MemDisk::new(seed);
    assert_eq!(run(&disk, small(), &batches).synced, count);
    (disk, states(&batches))
}

/// Every log is one that the journal has held at some time, or a later beginning of it; and no
/// promise that was made is missing from a log that is still there.
fn assert_is_of_the_past(recovered: &Recovered, states: &[Logs]) {
    for (log, found) in &recovered.logs {
        let was = states.iter().any(|logs| match logs.get(log) {
            Some(held) => {
                let entries = held.entries.iter();
                let rest: Vec<_> =
                    entries.filter(|entry| entry.position.index > found.base.index).collect();
                found.entries.is_empty() || rest == found.entries.iter().collect::<Vec<_>>()
            }
            None => found.entries.is_empty(),
        });
        assert!(was, "{log} never was {found:#?}");
    }
}

/// The damage stays reported through crashes and lives, then is cleared; the journal works.
fn live_on(disk: &MemDisk, expected: &Recovered, seed: u64) {
    disk.crash();
    let (mut journal, again) = open(disk);
    assert_eq!(again.damage, expected.damage);
    assert_eq!(again.logs, expected.logs);
    let mut logs = again.logs;
    let mut generator = Generator::from_logs(seed, logs.clone());
    for _ in 0..3 {
        let batch = generator.batch();
        journal.append(&batch).unwrap();
        journal.sync().unwrap();
        apply(&mut logs, &batch);
    }
    journal.clear_damage().unwrap();
    drop(journal);
    disk.crash();
    let (_, cleared) = open(disk);
    assert_eq!(cleared.damage, None);
    assert_eq!(cleared.logs, logs);
}

#[test]
fn every_flipped_bit_of_a_sealed_journal_is_reported() {
    let (whole, states) = sealed_journal(2, 26);
    let full = open(&whole.fork(0)).1;
    let segments = whole.list(DIR).unwrap();
    let segments: Vec<_> = segments.iter().filter(|name| name.ends_with("seg")).collect();
    assert!(segments.len() > 1);
    for name in segments {
        let path = format!("{DIR}/{name}");
        for offset in 0..4096 {
            let disk = whole.fork(offset);
            disk.flip_bits(&path, offset, 1 << (offset % 8));
            let (journal, recovered) = open(&disk);
            drop(journal);
            if recovered.damage.is_none() {
                // In the seal, or behind it, or behind the end of an earlier segment.
                assert_eq!(recovered.logs, full.logs, "{path} {offset}");
                continue;
            }
            assert_is_of_the_past(&recovered, &states);
            if offset % 16 == 0 {
                live_on(&disk, &recovered, offset);
            }
        }
    }
}

#[test]
fn rot_within_the_last_unsealed_batch_looks_like_a_torn_tail() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    let batch = vec![entry(1, 1, 1, 100)];
    journal.append(&batch).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let rotten = |disk: &MemDisk| {
        disk.flip_bits("journal/0000000001.seg", 200, 1);
        open(disk).1
    };
    let unsealed = rotten(&disk.fork(1));
    assert_eq!((unsealed.damage, unsealed.logs.len()), (None, 0));
    let (mut journal, _) = open(&disk);
    journal.seal();
    drop(journal);
    let sealed = rotten(&disk);
    assert_eq!(sealed.damage.unwrap().reason, Reason::Checksum);
}

#[test]
fn a_lost_or_misdirected_write_is_found_when_others_follow() {
    for seed in 0..40 {
        let disk = MemDisk::new(seed);
        let (mut journal, _) = open(&disk);
        let mut logs = vec![Logs::new()];
        for index in 1..=20 {
            if index == 8 {
                if seed % 2 == 0 {
                    disk.lose_next_write(DIR);
                } else {
                    disk.misdirect_next_write(DIR);
                }
            }
            let batch = [entry(1, index, 1, 300)];
            journal.append(&batch).unwrap();
            journal.sync().unwrap();
            let mut next = logs.last().unwrap().clone();
            apply(&mut next, &batch);
            logs.push(next);
        }
        drop(journal);
        let (_, recovered) = open(&disk);
        assert!(recovered.damage.is_some(), "seed {seed}");
        assert_is_of_the_past(&recovered, &logs);
        let held = recovered.logs.get(&LogId(1)).map_or(0, |log| log.entries.len());
        assert!(held <= 7, "seed {seed}");
    }
}

#[test]
fn a_missing_segment_is_damage_unless_it_was_released() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    for index in 1..=20 {
        journal.append(&[entry(1, index, 1, 900)]).unwrap();
    }
    journal.close().unwrap();
    let middle = disk.fork(1);
    middle.remove("journal/0000000003.seg").unwrap();
    let (_, recovered) = open(&middle);
    let damage = recovered.damage.clone().unwrap();
    assert_eq!((damage.segment, damage.reason), (3, Reason::MissingSegment));
    assert!(recovered.logs[&LogId(1)].entries.len() > 5);
    live_on(&middle, &recovered, 1);

    disk.remove("journal/0000000001.seg").unwrap();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.damage.unwrap().reason, Reason::MissingEntries);
    let log = &recovered.logs[&LogId(1)];
    assert_eq!(log.entries[0].position.index, log.base.index.next());
}

#[test]
fn promises_from_behind_the_damage_are_kept() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    journal.append(&[promise(1, 3, Some(2)), entry(1, 1, 3, 10)]).unwrap();
    journal.sync().unwrap();
    journal.append(&[entry(1, 2, 3, 10)]).unwrap();
    journal.sync().unwrap();
    journal.append(&[promise(1, 8, Some(4)), entry(1, 3, 8, 10), promise(5, 2, None)]).unwrap();
    journal.close().unwrap();
    // In the second batch's entry.
    disk.flip_bits("journal/0000000001.seg", 64 + 40 + 40 + 96 + 45, 1);
    let (_, recovered) = open(&disk);
    let damage = recovered.damage.unwrap();
    assert_eq!((damage.segment, damage.reason), (1, Reason::Checksum));
    let log = &recovered.logs[&LogId(1)];
    assert_eq!(log.hard_state.epoch.round, 8);
    assert_eq!(log.hard_state.vote.unwrap().0, 4);
    assert_eq!(log.entries.len(), 1);
    assert_eq!(recovered.logs[&LogId(5)].hard_state.epoch.round, 2);
}

#[test]
fn a_crash_at_every_operation_of_the_mending_keeps_the_report_and_the_files() {
    let (whole, states) = sealed_journal(2, 40);
    let first = whole.list(DIR).unwrap().into_iter().find(|name| name.ends_with("seg")).unwrap();
    whole.flip_bits(&format!("{DIR}/{first}"), 2500, 4);
    let calm = whole.fork(0);
    let (_, expected) = open(&calm);
    assert!(expected.damage.is_some());
    assert_is_of_the_past(&expected, &states);
    let mut operation = 1;
    loop {
        let disk = whole.fork(operation);
        disk.crash_after(operation);
        let opened = Journal::open(disk.clone(), DIR, small()).is_ok();
        disk.crash();
        let (_, recovered) = open(&disk);
        assert_eq!(recovered.damage, expected.damage, "operation {operation}");
        assert_eq!(recovered.logs, expected.logs, "operation {operation}");
        let kept = disk.list(DIR).unwrap();
        assert!(kept.contains(&format!("{first}.damaged")), "operation {operation}: {kept:?}");
        live_on(&disk, &recovered, operation);
        if opened {
            break;
        }
        operation += 1;
    }
    assert!(operation > 10);
}

#[test]
fn large_logs_are_mended_over_several_segments() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    for index in 1..=40 {
        let batch = [entry(1, index, 1, 400), entry(2, index, 1, 100)];
        journal.append(&batch).unwrap();
    }
    journal.append(&[base(2, 40, 1)]).unwrap();
    journal.close().unwrap();
    let last = disk.list(DIR).unwrap().into_iter().rfind(|name| name.ends_with("seg")).unwrap();
    disk.flip_bits(&format!("{DIR}/{last}"), 300, 4);
    let whole = disk;
    let (_, expected) = open(&whole.fork(1));
    assert!(expected.logs[&LogId(1)].entries.len() > 30);
    for operation in 1..200 {
        let disk = whole.fork(operation);
        disk.crash_after(operation);
        let opened = Journal::open(disk.clone(), DIR, small()).is_ok();
        disk.crash();
        let (_, recovered) = open(&disk);
        assert_eq!(recovered.logs, expected.logs);
        assert_eq!(recovered.damage, expected.damage);
        if opened {
            live_on(&disk, &recovered, 3);
            return;
        }
    }
    panic!("the mending never ended");
}

#[test]
fn a_bit_that_flips_on_its_way_from_the_disk_is_no_damage() {
    let (whole, states) = sealed_journal(2, 40);
    for seed in 0..200 {
        let disk = whole.fork(seed);
        let prefix = format!("{DIR}/00000000{:02}", seed % 12);
        disk.corrupt_next_read(&prefix);
        let (_, recovered) = open(&disk);
        assert_eq!(recovered.damage, None, "seed {seed}");
        assert_eq!(recovered.logs, states[40]);
    }
}

#[test]
fn random_rot_never_passes_for_truth() {
    let (whole, states) = sealed_journal(9, 60);
    for seed in 0..300 {
        let disk = whole.fork(seed);
        for _ in 0..=seed % 5 {
            disk.flip_random_bit(DIR);
        }
        let (_, recovered) = open(&disk);
        assert_is_of_the_past(&recovered, &states);
        assert!(recovered.damage.is_some() || recovered.logs == states[60], "seed {seed}");
    }
}

#[test]
fn an_unreadable_marker_still_means_damage() {
    let disk = MemDisk::new(1);
    open(&disk).0.close().unwrap();
    disk.open("journal/damage", Open::New).unwrap().write_all_at(b"?", 0).unwrap();
    let (mut journal, recovered) = open(&disk);
    assert_eq!(recovered.damage.unwrap().reason, Reason::Marker);
    journal.clear_damage().unwrap();
    drop(journal);
    assert_eq!(open(&disk).1.damage, None);
}
