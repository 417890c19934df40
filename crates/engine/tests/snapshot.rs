//! Checkpoints from one engine to another, and chunks that are not what they should be.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod common;

use bytes::Bytes;
use common::{Host, Kind, Model, chunks, config, group, space};
use disk::Disk;
use disk::mem::MemDisk;
use engine::{Chunk, JobError};

fn filled(kind: Kind, number: u8, applied: u64) -> (Host, Model, MemDisk) {
    let disk = MemDisk::new(2);
    let mut host = Host::open(kind, &disk, config()).unwrap();
    let mut model = Model::at(applied);
    for seed in 0..30 {
        let changes = [(seed, Some(seed)), (seed + 1, None), (seed * 3, Some(2))];
        host.engine.write(model.write(number, &changes));
    }
    host.flush().unwrap();
    model.compacted = 10;
    host.compact(number, 10).unwrap();
    (host, model, disk)
}

#[test]
fn a_checkpoint_builds_the_same_state_elsewhere() {
    for from in Kind::BOTH {
        for to in Kind::BOTH {
            let (mut source, model, _disk) = filled(from, 1, 100);
            let (mut target, old, disk) = filled(to, 1, 0);
            let mut other = Model::default();
            target.engine.write(other.write(2, &[(1, Some(1))]));
            assert!(old.applied < model.applied);
            let checkpoint = source.engine.checkpoint(group(1), &[space(1)]);
            // It stays what it is while the source goes on.
            source.engine.write(model.clone().write(1, &[(0, None), (1, Some(7))]));
            source.flush().unwrap();
            source.compact(1, model.revision + 1).unwrap();
            assert_eq!(checkpoint.applied(), common::position(model.applied));
            assert!(chunks(&*checkpoint).len() > 3);
            target.install(1, &*checkpoint).unwrap();
            model.check_engine(1, &*target.engine);
            other.check_engine(2, &*target.engine);
            assert_eq!(target.engine.durable(group(1)), common::position(model.applied));
            assert!(!disk.list("engine").unwrap().iter().any(|name| name.contains("staging")));
            drop(target);
            let target = Host::open(to, &disk, config()).unwrap();
            model.check_engine(1, &*target.engine);
        }
    }
}

#[test]
fn a_damaged_or_misplaced_chunk_is_refused() {
    let (source, model, _disk) = filled(Kind::Disk, 1, 100);
    let chunks = chunks(&*source.engine.checkpoint(group(1), &[space(1)]));
    for kind in Kind::BOTH {
        let (mut host, old, _disk) = filled(kind, 1, 0);
        let mut stage = |chunk: Chunk| {
            let job = host.engine.stage(group(1), chunk);
            host.worker.run(job)
        };
        let early = stage(chunks[1].clone());
        assert!(matches!(early, Err(JobError::MissingChunk { expected: 0 })));
        stage(chunks[0].clone()).unwrap();
        let late = stage(chunks[2].clone());
        assert!(matches!(late, Err(JobError::MissingChunk { expected: 1 })));
        for bit in (0..chunks[1].bytes.len() * 8).step_by(61) {
            let mut bytes = chunks[1].bytes.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let damaged = stage(Chunk { bytes: Bytes::from(bytes), ..chunks[1].clone() });
            assert!(matches!(damaged, Err(JobError::DamagedChunk { sequence: 1 })));
        }
        let swapped = stage(Chunk { bytes: chunks[2].bytes.clone(), ..chunks[1].clone() });
        assert!(matches!(swapped, Err(JobError::DamagedChunk { sequence: 1 })));
        stage(chunks[1].clone()).unwrap();
        let job = host.engine.ingest(group(1), &[space(1)]);
        let early = host.worker.run(job);
        assert!(matches!(early, Err(JobError::MissingChunk { expected: 2 })));
        old.check_engine(1, &*host.engine);
        host.install(1, &*source.engine.checkpoint(group(1), &[space(1)])).unwrap();
        model.check_engine(1, &*host.engine);
    }
}

/// A whole chunk of another group must not be taken for this group's.
#[test]
fn a_checkpoint_of_another_group_changes_nothing() {
    let (source, _, _disk) = filled(Kind::Disk, 2, 100);
    for kind in Kind::BOTH {
        let (mut host, old, _disk) = filled(kind, 1, 0);
        let foreign = host.install(1, &*source.engine.checkpoint(group(2), &[space(2)]));
        assert!(matches!(foreign, Err(JobError::DamagedChunk { .. })), "{kind:?}");
        old.check_engine(1, &*host.engine);
    }
}

#[test]
fn what_an_earlier_life_staged_is_removed() {
    for kind in Kind::BOTH {
        let (source, _, _disk) = filled(Kind::Disk, 1, 100);
        let checkpoint = source.engine.checkpoint(group(1), &[space(1)]);
        let (mut host, old, disk) = filled(kind, 1, 0);
        let job = host.engine.stage(group(1), chunks(&*checkpoint)[0].clone());
        host.worker.run(job).unwrap();
        assert!(disk.list("engine").unwrap().iter().any(|name| name.contains("staging")));
        drop(host);
        let host = Host::open(kind, &disk, config()).unwrap();
        let names = disk.list("engine").unwrap();
        assert!(!names.iter().any(|name| name.contains("staging")), "{names:?}");
        old.check_engine(1, &*host.engine);
    }
}

#[test]
fn an_ingest_drops_what_was_not_flushed() {
    let (source, model, _disk) = filled(Kind::Memory, 1, 100);
    for kind in Kind::BOTH {
        let (mut host, mut old, _disk) = filled(kind, 1, 0);
        host.engine.write(old.write(1, &[(4, Some(4)), (5, Some(5))]));
        host.install(1, &*source.engine.checkpoint(group(1), &[space(1)])).unwrap();
        model.check_engine(1, &*host.engine);
        host.flush().unwrap();
        model.check_engine(1, &*host.engine);
    }
}

#[test]
fn a_view_outlives_the_state_that_it_shows() {
    let (source, _, _disk) = filled(Kind::Memory, 1, 100);
    for kind in Kind::BOTH {
        let (mut host, mut old, _disk) = filled(kind, 1, 0);
        host.engine.write(old.write(1, &[(4, Some(4)), (5, Some(5))]));
        let view = host.engine.view();
        host.install(1, &*source.engine.checkpoint(group(1), &[space(1)])).unwrap();
        old.check(1, &*view, old.revision);
    }
}
