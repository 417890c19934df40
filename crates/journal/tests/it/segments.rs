//! Segments come, are released, come again, and never speak of their former lives.

use disk::Disk;
use disk::mem::MemDisk;
use journal::{Config, Record, Seen, inspect};

use crate::support::{DIR, Generator, apply, base, entry, open, open_with, promise, small, states};

#[test]
fn released_segments_are_used_again_and_their_number_is_bounded() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    let mut logs = states(&[])[0].clone();
    for index in 1..=400 {
        let mut batch = vec![entry(1, index, 1, 300)];
        if index > 10 {
            batch.push(base(1, index - 10, 1));
        }
        journal.append(&batch).unwrap();
        journal.sync().unwrap();
        apply(&mut logs, &batch);
        assert!(journal.segments() <= 4, "{} segments after {index}", journal.segments());
        assert!(disk.list(DIR).unwrap().len() <= 6);
    }
    let stats = journal.stats();
    assert!(stats.segments_recycled > 20, "{stats:?}");
    assert!(stats.segments_created < 10, "{stats:?}");
    assert_eq!(stats.appends, 400);
    drop(journal);
    disk.crash();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.damage, None);
    assert_eq!(recovered.logs, logs);
}

#[test]
fn a_journal_that_begins_anew_does_not_believe_the_spares_of_a_former_one() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    let mut index = 0;
    while journal.stats().segments_recycled == 0 {
        index += 1;
        journal.append(&[entry(1, index, 1, 700), base(1, index, 1)]).unwrap();
        journal.sync().unwrap();
    }
    drop(journal);
    let names = disk.list(DIR).unwrap();
    assert!(names.iter().any(|name| name == "0.spare"), "segment 1 is a spare: {names:?}");
    for name in names.iter().filter(|name| !name.contains("spare")) {
        disk.remove(&format!("{DIR}/{name}")).unwrap();
    }
    disk.sync_dir(DIR).unwrap();
    let (journal, recovered) = open(&disk);
    assert!(recovered.logs.is_empty());
    drop(journal);
    let (_, again) = open(&disk);
    assert!(again.logs.is_empty(), "the records of the former segment 1 are back: {again:?}");
}

#[test]
fn one_log_that_lags_keeps_its_segments_and_no_more() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    journal.append(&[entry(2, 1, 1, 10)]).unwrap();
    let mut logs = states(&[vec![entry(2, 1, 1, 10)]])[1].clone();
    for index in 1..=60 {
        let batch = [entry(1, index, 1, 300), base(1, index, 1)];
        journal.append(&batch).unwrap();
        journal.sync().unwrap();
        apply(&mut logs, &batch);
    }
    assert!(journal.segments() > 4, "log 2 needs the first segment");
    let batch = [base(2, 1, 1)];
    journal.append(&batch).unwrap();
    assert!(journal.segments() > 4, "the base is not durable yet");
    journal.sync().unwrap();
    apply(&mut logs, &batch);
    assert_eq!(journal.segments(), 1);
    drop(journal);
    assert_eq!(open(&disk).1.logs, logs);
}

#[test]
fn a_forgotten_log_holds_nothing_back() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    journal.append(&[entry(2, 1, 1, 10), promise(2, 9, Some(1))]).unwrap();
    for index in 1..=30 {
        journal.append(&[entry(1, index, 1, 300), base(1, index, 1)]).unwrap();
    }
    journal.append(&[Record::Forget { log: journal::LogId(2) }]).unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.segments(), 1);
    drop(journal);
    let (_, recovered) = open(&disk);
    assert!(!recovered.logs.contains_key(&journal::LogId(2)));
}

#[test]
fn a_batch_larger_than_a_segment_counts_as_one() {
    let batch: Vec<Record> = (1..=30).map(|index| entry(1, index, 1, 700)).collect();
    let whole = states(std::slice::from_ref(&batch))[1].clone();
    let calm = MemDisk::new(1);
    let (mut journal, _) = open(&calm);
    let before = calm.operations();
    journal.append(&batch).unwrap();
    journal.sync().unwrap();
    assert!(journal.segments() > 5);
    drop(journal);
    assert_eq!(open(&calm).1.logs, whole);
    for operation in 1..=calm.operations() - before {
        let disk = MemDisk::new(operation);
        let (mut journal, _) = open(&disk);
        disk.crash_after(operation);
        let synced = journal.append(&batch).is_ok() && journal.sync().is_ok();
        drop(journal);
        disk.crash();
        let (_, recovered) = open(&disk);
        assert_eq!(recovered.damage, None);
        assert!(recovered.logs == whole || (recovered.logs.is_empty() && !synced));
    }
}

#[test]
fn segments_of_another_length_stay_readable() {
    let disk = MemDisk::new(1);
    let mut logs = states(&[])[0].clone();
    let mut generator = Generator::new(4);
    for life in 0..30 {
        let segment_bytes = [4096, 8192, 65536, 4096][life % 4];
        let (mut journal, recovered) = open_with(&disk, Config { segment_bytes, ..small() });
        assert_eq!(recovered.logs, logs);
        for _ in 0..20 {
            let batch = generator.batch();
            journal.append(&batch).unwrap();
            journal.sync().unwrap();
            apply(&mut logs, &batch);
        }
    }
}

#[test]
fn preparing_makes_the_next_roll_cheap() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    journal.prepare().unwrap();
    assert_eq!(journal.stats().segments_created, 1, "too early");
    for index in 1..=4 {
        journal.append(&[entry(1, index, 1, 900)]).unwrap();
    }
    journal.sync().unwrap();
    journal.prepare().unwrap();
    journal.prepare().unwrap();
    assert_eq!(journal.stats().segments_created, 2);
    disk.fill();
    journal.append(&[entry(1, 5, 1, 900)]).unwrap();
    journal.sync().unwrap();
    assert_eq!(journal.segments(), 2);
}

#[test]
fn sealing_costs_no_sync_and_happens_once() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    journal.append(&[entry(1, 1, 1, 10)]).unwrap();
    journal.seal();
    let before = disk.counters(DIR);
    journal.sync().unwrap();
    journal.seal();
    journal.seal();
    let after = disk.counters(DIR);
    assert_eq!((after.syncs, after.writes), (before.syncs + 1, before.writes + 1));
}

#[test]
fn the_inspector_shows_every_record_and_changes_nothing() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    journal.append(&[promise(1, 3, Some(2)), entry(1, 1, 3, 5)]).unwrap();
    journal.sync().unwrap();
    journal.append(&[base(1, 1, 3)]).unwrap();
    journal.close().unwrap();
    disk.flip_bits("journal/0000000001.seg", 64 + 40 + 50, 1);
    let before = disk.fingerprint();
    let mut lines = Vec::new();
    inspect(disk.clone(), DIR, &mut |line| lines.push(line)).unwrap();
    assert_eq!(disk.fingerprint(), before);
    let kinds: Vec<&str> = lines
        .iter()
        .map(|line| match &line.seen {
            Seen::Segment { .. } => "segment",
            Seen::Batch { .. } => "batch",
            Seen::Record { text, .. } => text.as_str(),
            Seen::Invalid { .. } => "invalid",
        })
        .collect();
    assert_eq!(kinds, ["segment", "batch", "invalid", "batch", "base 1@3", "batch"]);
    assert_eq!(lines[3].batch, Some(3));
}
