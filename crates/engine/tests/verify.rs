//! What `verify` tells of an engine's files: the truth, the right file, and without a change.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use common::{Host, Kind, Model, PATH, chunks, config, group};
use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use engine::{Finding, Flaw, Verified, verify_disk, verify_memory};

/// Flushed many times, merged and compacted; the last flush is on top.
fn filled(kind: Kind) -> (MemDisk, Model) {
    let disk = MemDisk::new(2);
    let mut host = Host::open(kind, &disk, config()).unwrap();
    let mut model = Model::default();
    for seed in 0..90 {
        host.engine.write(model.write(1, &[(seed, Some(seed)), (seed + 1, Some(7)), (3, None)]));
        if seed % 10 == 9 {
            host.flush().unwrap();
        }
        if seed == 49 {
            host.compact(1, 20).unwrap();
            model.compacted = 20;
        }
    }
    drop(host);
    (disk, model)
}

/// Verifies, and makes sure that nothing has changed.
fn look(kind: Kind, disk: &MemDisk) -> Verified {
    let before = disk.dump();
    let verified = match kind {
        Kind::Disk => verify_disk(disk, PATH),
        Kind::Memory => verify_memory(disk, PATH),
    };
    assert_eq!(disk.dump(), before);
    verified
}

fn files(disk: &MemDisk) -> Vec<(String, u64)> {
    let names = disk.list("engine").unwrap();
    let paths = names.into_iter().map(|name| format!("engine/{name}"));
    let length = |path: &String| disk.open(path, Open::Existing).unwrap().len().unwrap();
    paths.map(|path| (path.clone(), length(&path))).collect()
}

fn is_damage(flaw: &Flaw) -> bool {
    matches!(flaw, Flaw::Damaged { .. } | Flaw::UnknownFormat)
}

#[test]
fn an_engine_that_was_dropped_is_whole_and_says_how_far_it_is() {
    for kind in Kind::BOTH {
        let (disk, model) = filled(kind);
        let verified = look(kind, &disk);
        assert_eq!(verified.findings, [], "{kind:?}");
        assert_eq!(verified.applied[&group(1)].index.0, model.applied);
        let runs = files(&disk).len() as u64 - u64::from(kind == Kind::Disk);
        assert_eq!(verified.files, runs, "{kind:?}");
        let empty = look(kind, &MemDisk::new(1));
        assert!(empty.findings.is_empty() && empty.applied.is_empty() && empty.files == 0);
    }
}

/// What is not reported does not matter: zeros behind an edit, and blocks that a compaction has cut
/// away, which nobody reads any more.
#[test]
fn every_flipped_bit_that_matters_is_reported_of_its_file() {
    for kind in Kind::BOTH {
        let (whole, model) = filled(kind);
        let (mut tried, mut quiet) = (0, 0);
        for (path, length) in files(&whole) {
            let is_manifest = path == PATH && kind == Kind::Disk;
            for offset in (0..length).step_by(if is_manifest { 1 } else { 3 }) {
                let disk = whole.fork(1);
                disk.flip_bits(&path, offset, 1 << (offset % 8));
                let findings = look(kind, &disk).findings;
                tried += 1;
                if findings.is_empty() {
                    // Each would take half a minute.
                    if quiet % 16 == 0 {
                        let host = Host::open(kind, &disk, config()).unwrap();
                        model.check_engine(1, &*host.engine);
                    }
                    quiet += 1;
                    continue;
                }
                let told = |finding: &Finding| {
                    finding.file == path && is_damage(&finding.flaw) && finding.offset <= offset
                };
                // A last edit that rotted looks like a torn one: that is told, and an older state is
                // there, or runs are missing that it had replaced.
                assert!(is_manifest || findings.iter().any(told), "{path} {offset}: {findings:?}");
            }
        }
        assert!(quiet * 4 < tried, "{kind:?}: {quiet} of {tried}");
        assert!(kind == Kind::Disk || quiet == 0, "{quiet}");
    }
}

#[test]
fn a_file_that_is_cut_or_missing_is_reported_by_its_name() {
    for kind in Kind::BOTH {
        let (whole, _) = filled(kind);
        for (path, length) in files(&whole) {
            let disk = whole.fork(1);
            disk.open(&path, Open::Existing).unwrap().set_len(length / 2).unwrap();
            let findings = look(kind, &disk).findings;
            assert!(!findings.is_empty(), "{path}");
            assert!(
                path == PATH || findings.iter().any(|finding| finding.file == path),
                "{path}: {findings:?}"
            );
            if kind == Kind::Disk {
                disk.remove(&path).unwrap();
                let findings = look(kind, &disk).findings;
                let damaged = |finding: &Finding| finding.file == path && is_damage(&finding.flaw);
                assert!(findings.iter().any(damaged), "{path}: {findings:?}");
            }
        }
    }
}

#[test]
fn what_a_crash_has_left_is_told_and_is_no_damage() {
    for kind in Kind::BOTH {
        let (disk, _) = filled(kind);
        let mut host = Host::open(kind, &disk, config()).unwrap();
        let checkpoint = host.engine.checkpoint(group(1), &[common::space(1)]);
        for chunk in chunks(&*checkpoint).into_iter().take(2) {
            let job = host.engine.stage(group(2), chunk);
            host.jobs.push_back(job);
            host.run_all().unwrap();
        }
        drop(host);
        disk.open("engine/base.new", Open::New).unwrap();
        disk.open("engine/base.99999999.run", Open::New).unwrap();
        let findings = look(kind, &disk).findings;
        assert!(findings.iter().all(|finding| !is_damage(&finding.flaw)), "{findings:?}");
        let staged = findings.iter().find(|finding| finding.file.contains("staging-")).unwrap();
        let Flaw::Leftover { what } = &staged.flaw else { panic!("{staged:?}") };
        assert!(what.contains("2 whole chunks"), "{what}");
        let told = |name: &str| findings.iter().any(|finding| finding.file == name);
        assert!(told("engine/base.new"));
        assert_eq!(told("engine/base.99999999.run"), kind == Kind::Disk);
    }
}

#[test]
fn a_disk_that_gives_nothing_back_is_no_damage() {
    for kind in Kind::BOTH {
        let (disk, _) = filled(kind);
        disk.fail_reads("engine/");
        let findings = look(kind, &disk).findings;
        let unreadable = |finding: &Finding| matches!(finding.flaw, Flaw::Unreadable { .. });
        assert!(!findings.is_empty() && findings.iter().all(unreadable), "{findings:?}");
    }
}
