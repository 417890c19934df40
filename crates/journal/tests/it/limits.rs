//! What is refused, and that it leaves everything whole.

use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use journal::{AppendError, Config, Journal, OpenError};

use crate::support::{DIR, Generator, ID, apply, entry, open, open_with, promise, small};

#[test]
fn a_full_disk_at_any_batch_refuses_it_whole() {
    let mut refused = 0;
    for seed in 0..20 {
        let disk = MemDisk::new(seed);
        let (mut journal, recovered) = open(&disk);
        let mut logs = recovered.logs;
        let mut generator = Generator::new(seed);
        for _ in 0..60 {
            let batch = generator.batch();
            disk.fill();
            match journal.append(&batch) {
                Ok(()) => {}
                Err(AppendError::DiskFull(_)) => {
                    refused += 1;
                    // What is there is whole, for the next life and for this one.
                    let fork = disk.fork(seed);
                    assert_eq!(open(&fork).1.logs, logs);
                    disk.set_capacity(None);
                    journal.append(&batch).unwrap();
                }
                Err(other) => panic!("{other:?}"),
            }
            disk.fill();
            journal.sync().unwrap();
            apply(&mut logs, &batch);
        }
        disk.set_capacity(None);
        journal.close().unwrap();
        assert_eq!(open(&disk).1.logs, logs);
        let files = disk.list(DIR).unwrap();
        assert!(files.iter().all(|name| !name.contains("tmp")), "{files:?}");
    }
    assert!(refused > 20, "only {refused} batches were refused");
}

#[test]
fn a_segment_that_fits_only_in_part_leaves_nothing_behind() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    for index in 1..=4 {
        journal.append(&[entry(1, index, 1, 900)]).unwrap();
    }
    let used = disk.used();
    for room in 0..4096 {
        disk.set_capacity(Some(used + room));
        let refused = journal.append(&[entry(1, 5, 1, 900)]);
        assert!(matches!(refused, Err(AppendError::DiskFull(_))), "{room} bytes of room");
        assert_eq!(disk.used(), used);
    }
    disk.set_capacity(Some(used + 4096));
    journal.append(&[entry(1, 5, 1, 900)]).unwrap();
}

#[test]
fn a_full_disk_refuses_a_new_journal_and_not_an_old_one() {
    let disk = MemDisk::new(1);
    disk.fill();
    let refused = Journal::open(disk.clone(), DIR, small());
    assert!(matches!(refused, Err(OpenError::DiskFull(_))));
    disk.set_capacity(None);
    let (mut journal, _) = open(&disk);
    journal.append(&[entry(1, 1, 1, 10)]).unwrap();
    drop(journal);
    disk.fill();
    assert_eq!(open(&disk).1.logs.len(), 1);
}

#[test]
fn a_record_that_is_too_large_is_refused_before_anything_is_written() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    let before = disk.operations();
    let refused = journal.append(&[entry(1, 1, 1, 10), entry(1, 2, 1, 1024)]);
    let Err(AppendError::TooLarge { index: 1, bytes: 1066, limit: 1024 }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(disk.operations(), before);
    journal.append(&[entry(1, 1, 1, 10), entry(1, 2, 1, 1024 - 42)]).unwrap();
}

#[test]
fn more_logs_than_a_segment_can_restate_are_refused() {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    let mut logs = 0;
    loop {
        match journal.append(&[promise(logs + 1, 1, None)]) {
            Ok(()) => logs += 1,
            Err(AppendError::TooManyLogs { logs: refused, .. }) => {
                assert_eq!(refused as u64, logs + 1);
                break;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(logs, (1024 - 40) / 90);
    for index in 1..200 {
        journal.append(&[entry(1, index, 1, 900)]).unwrap();
    }
    journal.close().unwrap();
    assert_eq!(open(&disk).1.logs.len() as u64, logs);
}

#[test]
fn another_nodes_journal_is_refused_untouched() {
    let disk = MemDisk::new(1);
    open(&disk).0.close().unwrap();
    let before = disk.fingerprint();
    let refused = Journal::open(disk.clone(), DIR, Config { journal_id: 7, ..small() });
    let Err(OpenError::WrongJournal { path, found: ID, expected: 7 }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(path, "journal/0000000001.seg");
    assert_eq!(disk.fingerprint(), before);
}

#[test]
fn a_later_version_is_refused_untouched() {
    let disk = MemDisk::new(1);
    open(&disk).0.close().unwrap();
    let file = disk.open("journal/0000000001.seg", Open::Existing).unwrap();
    let mut header = [0; 64];
    file.read_exact_at(&mut header, 0).unwrap();
    header[8] = 2;
    header[12..16].fill(0);
    let crc = crc32fast::hash(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    file.write_all_at(&header, 0).unwrap();
    let before = disk.fingerprint();
    let refused = Journal::open(disk.clone(), DIR, small());
    assert!(matches!(refused, Err(OpenError::UnknownVersion { version: 2, .. })), "{refused:?}");
    assert_eq!(disk.fingerprint(), before);
}

#[test]
fn impossible_settings_are_refused() {
    let disk = MemDisk::new(1);
    for config in [
        Config { segment_bytes: 0, ..small() },
        Config { segment_bytes: 5000, ..small() },
        Config { segment_bytes: 2 << 30, ..small() },
        Config { max_record_bytes: 2049, ..small() },
        Config { max_record_bytes: 0, ..small() },
    ] {
        let refused = Journal::open(disk.clone(), DIR, config);
        assert!(matches!(refused, Err(OpenError::BadConfig { .. })));
    }
    open_with(&disk, Config { segment_bytes: 1 << 20, max_record_bytes: 4096, ..small() });
}

#[test]
fn a_read_error_at_open_is_an_error_and_no_damage() {
    let disk = MemDisk::new(1);
    open(&disk).0.close().unwrap();
    disk.fail_reads(DIR);
    assert!(matches!(Journal::open(disk.clone(), DIR, small()), Err(OpenError::Io(_))));
    disk.heal_reads();
    assert_eq!(open(&disk).1.damage, None);
}
