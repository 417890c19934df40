//! Bytes that rot: an error, or the truth.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use common::{Host, KEYS, Kind, Model, PATH, config, group, key, space};
use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use engine::{OpenError, ReadError, Visit};
use wire::{KeyRange, Revision};

fn filled(kind: Kind) -> (MemDisk, Model) {
    let disk = MemDisk::new(2);
    let mut host = Host::open(kind, &disk, config()).unwrap();
    let mut model = Model::default();
    for seed in 0..60 {
        host.engine.write(model.write(1, &[(seed, Some(seed)), (seed + 1, Some(7))]));
        if seed % 20 == 19 {
            host.flush().unwrap();
        }
    }
    drop(host);
    (disk, model)
}

/// Opens and reads everything; whether all of it could be read. What could be is the truth.
fn read_all(kind: Kind, disk: &MemDisk, model: &Model) -> bool {
    let Ok(host) = Host::open(kind, disk, config()) else { return false };
    let view = host.engine.view();
    let at = Revision(model.revision);
    let mut whole = true;
    for number in 0..KEYS {
        match view.find(space(1), &key(number), at) {
            Ok(found) => assert_eq!(found, model.find(&key(number), at.0)),
            Err(_) => whole = false,
        }
    }
    let (mut items, mut events) = (Vec::new(), Vec::new());
    let scanned = view.scan(space(1), &KeyRange::all(), at, &mut |item| {
        items.push(item);
        Visit::Continue
    });
    let told = view.history(space(1), &KeyRange::all(), Revision(1), at, &mut |event| {
        events.push(event);
        Visit::Continue
    });
    let (all, history) =
        (model.scan(&KeyRange::all(), at.0), model.events(&KeyRange::all(), 1, at.0));
    assert!(all.starts_with(&items) && history.starts_with(&events));
    match host.engine.meta(group(1)) {
        Ok(meta) => assert_eq!(meta, model.meta.clone().into_iter().collect::<Vec<_>>()),
        Err(_) => whole = false,
    }
    assert!(scanned.is_err() || items == all);
    assert!(told.is_err() || events == history);
    whole && scanned.is_ok() && told.is_ok()
}

/// Every byte of an image, a sample of the bytes of a B-tree.
#[test]
fn a_flipped_bit_is_an_error_or_does_not_matter() {
    for (kind, step) in [(Kind::Memory, 7), (Kind::Disk, 41)] {
        let (disk, model) = filled(kind);
        assert!(read_all(kind, &disk, &model));
        let length = disk.open(PATH, Open::Existing).unwrap().len().unwrap();
        let mut found = 0;
        for offset in (0..length.min(200_000)).step_by(step) {
            let (disk, _) = filled(kind);
            disk.flip_bits(PATH, offset, 1 << (offset % 8));
            let read = catch_unwind(AssertUnwindSafe(|| read_all(kind, &disk, &model)));
            found += u64::from(!read.unwrap_or_else(|_| panic!("{kind:?}: byte {offset}")));
        }
        assert!(found > 0, "{kind:?}");
    }
}

#[test]
fn a_file_cut_short_is_an_error() {
    for kind in Kind::BOTH {
        let (disk, model) = filled(kind);
        let file = disk.open(PATH, Open::Existing).unwrap();
        let length = file.len().unwrap();
        for eighth in 0..8 {
            file.set_len(length * (7 - eighth) / 8).unwrap();
            assert!(!read_all(kind, &disk, &model), "{kind:?}: {eighth}");
        }
    }
}

#[test]
fn another_file_is_not_opened() {
    for kind in Kind::BOTH {
        let disk = MemDisk::new(1);
        disk.create_dir("engine").unwrap();
        let file = disk.open(PATH, Open::New).unwrap();
        file.write_all_at(&vec![7; 100_000], 0).unwrap();
        let error = kind.open(&disk, config()).err().unwrap();
        match kind {
            Kind::Disk => assert!(matches!(error, OpenError::UnknownFormat { .. }), "{error}"),
            Kind::Memory => assert!(matches!(error, OpenError::Damaged { .. }), "{error}"),
        }
    }
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error() {
    let (disk, _) = filled(Kind::Disk);
    let host = Host::open(Kind::Disk, &disk, config()).unwrap();
    disk.fail_reads("engine");
    let view = host.engine.view();
    let failed = (0..KEYS).find_map(|number| view.find(space(1), &key(number), Revision(60)).err());
    assert!(matches!(failed, None | Some(ReadError::Storage { .. })), "{failed:?}");
}

/// A page that the disk wrote over another bears the wrong number in its seal.
#[test]
fn a_misdirected_write_is_an_error_or_does_not_matter() {
    for seed in 0..20 {
        let disk = MemDisk::new(seed);
        let mut host = Host::open(Kind::Disk, &disk, config()).unwrap();
        let mut model = Model::default();
        for number in 0..40 {
            let value = Some((number + u8::try_from(seed).unwrap()) % 8);
            host.engine.write(model.write(1, &[(number, value)]));
        }
        disk.misdirect_next_write("engine");
        host.begin_flush();
        if host.run_all().is_ok() {
            drop(host);
            read_all(Kind::Disk, &disk, &model);
        }
    }
}

#[test]
fn empty_ranges_and_unknown_spaces_hold_nothing() {
    for kind in Kind::BOTH {
        let (disk, _) = filled(kind);
        let host = Host::open(kind, &disk, config()).unwrap();
        let view = host.engine.view();
        let key = Bytes::from_static(b"a");
        assert_eq!(view.find(space(9), &key, Revision(60)).unwrap(), None);
        assert!(common::scan(&*view, 9, &KeyRange::all(), 60).is_empty());
        assert!(common::events(&*view, 1, &KeyRange::all(), 5, 4).is_empty());
    }
}
