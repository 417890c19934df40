//! The engine's files on a disk that rots: real ones, changed in some places, cut, or replaced.
//!
//! The engine opens, or says why not; what it opens it reads or calls damaged, takes writes, flushes or
//! says why not. Only its public interface is used, so it holds whatever the format is.

use std::sync::LazyLock;

use bytes::Bytes;
use consensus::{Epoch, LogIndex, Position};
use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use engine::{Batch, Engine, Halves, OpenError, Visit};
use node::{GROUP, SPACE};
use wire::{KeyRange, Revision};

use crate::input::Input;
use crate::seeds;
use crate::solo::engine_config;

const PATH: &str = "engine";
const MOST_CHANGES: usize = 16;
/// Chunks of a checkpoint of this small state; a reader that needs more goes round in circles.
const MOST_CHUNKS: u64 = 10_000;

/// A disk with an engine that was flushed twice: on disk, in memory.
static SOUND: LazyLock<[MemDisk; 2]> = LazyLock::new(|| [filled(false), filled(true)]);

/// Input: which engine; then changes, each of a kind, a file, a place, and bytes behind their length.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let in_memory = input.u8() & 1;
    let disk = SOUND[usize::from(in_memory)].fork(1);
    let files = files(&disk);
    for _ in 0..MOST_CHANGES {
        if input.is_empty() {
            break;
        }
        let (kind, file) = (input.u8(), usize::from(input.u8()));
        let at = u64::from(input.u16()) << 8 | u64::from(input.u8());
        change(&disk, &files[file % files.len()], kind, at, input.piece());
    }
    match open(&disk, in_memory == 1) {
        Ok((mut engine, mut worker)) => {
            read(&*engine);
            engine.write(batch(1000));
            if let Some(job) = engine.flush()
                && let Ok(done) = worker.run(job)
            {
                engine.done(done);
                read(&*engine);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty(), "a fault has words"),
    }
}

fn change(disk: &MemDisk, path: &str, kind: u8, at: u64, bytes: &[u8]) {
    let change = || {
        let file = disk.open(path, Open::Existing)?;
        let at = at % (file.len()? + 1);
        match kind % 4 {
            0 | 1 => file.write_all_at(bytes, at)?,
            2 => file.set_len(at)?,
            _ => {
                file.set_len(0)?;
                file.write_all_at(bytes, 0)?;
            }
        }
        file.sync_data()
    };
    change().expect("the disk is sound");
}

/// Whatever can be read, is; what can't is called damaged.
fn read(engine: &dyn Engine) {
    let (view, all) = (engine.view(), KeyRange::all());
    let newest = Revision(u64::MAX);
    let _ = view.scan(SPACE, &all, newest, &mut |_| Visit::Continue);
    let _ = view.find(SPACE, b"a", newest);
    let _ = view.history(SPACE, &all, Revision(0), newest, &mut |_| Visit::Continue);
    let _ = engine.meta(GROUP);
    let checkpoint = engine.checkpoint(GROUP, &[SPACE]);
    let (mut sequence, mut cursor) = (0, Bytes::new());
    while let Ok((chunk, next)) = checkpoint.read(sequence, &cursor) {
        if chunk.last {
            break;
        }
        (sequence, cursor) = (sequence + 1, next);
        assert!(sequence < MOST_CHUNKS, "a checkpoint without an end");
    }
}

fn open(disk: &MemDisk, in_memory: bool) -> Result<Halves, OpenError> {
    if in_memory {
        engine::open_memory(disk.clone(), PATH, engine_config())
    } else {
        engine::open_disk(disk.clone(), PATH, engine_config())
    }
}

fn filled(in_memory: bool) -> MemDisk {
    let disk = MemDisk::new(1);
    let (mut engine, mut worker) = open(&disk, in_memory).expect("an empty disk is sound");
    for from in [1, 40] {
        for index in from..from + 30 {
            engine.write(batch(index));
        }
        let job = engine.flush().expect("there is something to flush");
        let done = worker.run(job).expect("the disk is sound");
        engine.done(done);
    }
    disk
}

fn batch(index: u64) -> Batch {
    let applied = Position { index: LogIndex(index), epoch: Epoch { round: 1, proposer: 0 } };
    let meta = vec![(Bytes::from_static(b"counters"), Some(Bytes::from_static(b"some")))];
    Batch { group: GROUP, applied, rows: seeds::rows(index), meta }
}

/// Every file of the engine, at its path or below it.
fn files(disk: &MemDisk) -> Vec<String> {
    let names = |dir: &str| disk.list(dir).expect("the disk is sound");
    let below = names(PATH).into_iter().map(|name| format!("{PATH}/{name}"));
    let paths = names("").into_iter().chain(below);
    let paths: Vec<String> = paths.filter(|path| disk.open(path, Open::Existing).is_ok()).collect();
    assert!(!paths.is_empty(), "the engine has a file");
    paths
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for engine in [0, 1] {
        seeds.push(vec![engine]);
        for (kind, at, bytes) in
            [(0, 64_u16, &[0xff_u8][..]), (0, 3, &[1, 2, 3]), (2, 9, &[]), (3, 0, b"x")]
        {
            let mut seed = vec![engine, kind, 0];
            seed.extend_from_slice(&at.to_le_bytes());
            seed.push(0);
            crate::input::push_piece(&mut seed, bytes);
            seeds.push(seed);
        }
    }
    seeds
}
