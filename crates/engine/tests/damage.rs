//! Bytes that rot: an error, or the truth.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use common::{Host, KEYS, Kind, Model, PATH, config, group, key, space};
use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use engine::{Config, OpenError, ReadError, Visit};
use wire::{KeyRange, Revision};

fn filled(kind: Kind) -> (MemDisk, Model) {
    let disk = MemDisk::new(2);
    let mut host = Host::open(kind, &disk, config()).unwrap();
    let mut model = Model::default();
    for seed in 0..60 {
        host.engine.write(model.write(1, &[(seed, Some(seed)), (seed + 1, Some(7))]));
        if seed % 10 == 9 {
            host.flush().unwrap();
            host.upkeep().unwrap();
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

/// The files of an engine, and their lengths.
fn files(disk: &MemDisk) -> Vec<(String, u64)> {
    let names = disk.list("engine").unwrap();
    let paths = names.into_iter().map(|name| format!("engine/{name}"));
    let length = |path: &String| disk.open(path, Open::Existing).unwrap().len().unwrap();
    paths.map(|path| (path.clone(), length(&path))).collect()
}

/// Bits all over an image, the manifest and every run. The one exception is the manifest's last edit,
/// which may be taken for the torn tail of one that was never finished: then an earlier state is
/// there, whole, and says itself that it is one.
#[test]
fn a_flipped_bit_is_an_error_or_does_not_matter() {
    for kind in Kind::BOTH {
        let (whole, model) = filled(kind);
        assert!(read_all(kind, &whole.fork(1), &model));
        for (path, length) in files(&whole) {
            let mut found = 0;
            for offset in (0..length).step_by(if path == PATH { 1 } else { 3 }) {
                let disk = whole.fork(1);
                disk.flip_bits(&path, offset, 1 << (offset % 8));
                let read =
                    || !is_whole_and_new(kind, &disk, &model) || read_all(kind, &disk, &model);
                let read = catch_unwind(AssertUnwindSafe(read));
                found += u64::from(!read.unwrap_or_else(|_| panic!("{path}: byte {offset}")));
            }
            assert!(found > 0 || path == PATH, "{path}");
        }
    }
}

/// Whether the engine opens, and at the newest state.
fn is_whole_and_new(kind: Kind, disk: &MemDisk, model: &Model) -> bool {
    let Ok(host) = Host::open(kind, &disk.fork(2), config()) else { return false };
    host.engine.durable(group(1)).index.0 == model.applied
}

#[test]
fn a_file_cut_short_is_an_error() {
    for kind in Kind::BOTH {
        let (whole, model) = filled(kind);
        for (path, length) in files(&whole) {
            for eighth in 0..8 {
                let disk = whole.fork(1);
                let file = disk.open(&path, Open::Existing).unwrap();
                file.set_len(length * (7 - eighth) / 8).unwrap();
                let seen = is_whole_and_new(kind, &disk, &model) && read_all(kind, &disk, &model);
                assert!(!seen, "{path}: {eighth}");
            }
            let disk = whole.fork(1);
            disk.remove(&path).unwrap();
            let opened = Host::open(kind, &disk, config()).err();
            let alone = kind == Kind::Memory;
            assert!(alone || matches!(opened, Some(OpenError::Damaged { .. })), "{path}");
        }
    }
}

/// A run in the place of another one bears the wrong number in its checksums.
#[test]
fn a_run_in_the_place_of_another_is_an_error() {
    let (whole, _) = filled(Kind::Disk);
    let runs: Vec<String> = files(&whole).into_iter().map(|(path, _)| path).skip(1).collect();
    assert!(runs.len() > 3, "{runs:?}");
    for (one, other) in runs.iter().zip(&runs[1..]) {
        let disk = whole.fork(1);
        disk.rename(one, other).unwrap();
        let file = disk.open(one, Open::New).unwrap();
        let copied = disk.open(other, Open::Existing).unwrap();
        let mut bytes = vec![0; usize::try_from(copied.len().unwrap()).unwrap()];
        copied.read_exact_at(&mut bytes, 0).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        let opened = Host::open(Kind::Disk, &disk, config()).err();
        assert!(matches!(opened, Some(OpenError::Damaged { .. })), "{opened:?}");
    }
}

/// A bit that flips on its way from the disk, once, and not on the disk.
#[test]
fn a_bit_that_flips_in_one_reading_does_no_harm() {
    let (whole, model) = filled(Kind::Disk);
    for before in 0..60 {
        let disk = whole.fork(before);
        let host = Host::open(Kind::Disk, &disk, Config { cache_bytes: 0, ..config() }).unwrap();
        let view = host.engine.view();
        for number in 0..KEYS {
            disk.corrupt_next_read("engine");
            let found = view.find(space(1), &key(number), Revision(model.revision)).unwrap();
            assert_eq!(found, model.find(&key(number), model.revision));
        }
        drop((view, host));
        disk.corrupt_next_read("engine");
        let host = Host::open(Kind::Disk, &disk, config()).unwrap();
        disk.heal();
        model.check_engine(1, &*host.engine);
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

/// Writes of a flush and of merges that land elsewhere or nowhere, though the disk says that they are
/// done: what is read then is an error, or the truth of some moment.
#[test]
fn a_write_that_went_astray_is_an_error_or_does_not_matter() {
    for seed in 0..60 {
        for lost in [false, true] {
            let disk = MemDisk::new(seed);
            let mut host = Host::open(Kind::Disk, &disk, config()).unwrap();
            let mut past = vec![Model::default()];
            let mut model = Model::default();
            let mut failed = false;
            for number in 0..40 {
                let value = Some((number + u8::try_from(seed).unwrap()) % 8);
                host.engine.write(model.write(1, &[(number, value)]));
                past.push(model.clone());
                if number % 4 == 3 {
                    if u64::from(number) / 4 == seed % 10 {
                        if lost {
                            disk.lose_next_write("engine");
                        } else {
                            disk.misdirect_next_write("engine");
                        }
                    }
                    let done = host.flush().and_then(|()| host.upkeep());
                    failed |= done.is_err();
                    if failed {
                        break;
                    }
                }
            }
            drop(host);
            if let Ok(host) = Host::open(Kind::Disk, &disk, config()) {
                let durable = host.engine.durable(group(1)).index.0;
                let then = &past[usize::try_from(durable).unwrap()];
                assert_eq!(then.applied, durable);
                drop(host);
                read_all(Kind::Disk, &disk, then);
            }
        }
    }
}

/// The format of an earlier release of ours: said so, and not taken for damage.
#[test]
fn the_file_of_an_earlier_release_is_told() {
    let disk = MemDisk::new(1);
    disk.create_dir("engine").unwrap();
    let file = disk.open(PATH, Open::New).unwrap();
    file.write_all_at(b"redb\x1a\x0a\xa9\x0d\x0a", 0).unwrap();
    file.set_len(8200).unwrap();
    let error = Kind::Disk.open(&disk, config()).err().unwrap();
    assert!(matches!(error, OpenError::UnknownFormat { .. }), "{error}");
    assert!(error.to_string().contains("move the directory"), "{error}");
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
