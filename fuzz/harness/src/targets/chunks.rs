//! A snapshot's chunks, as they come from another node.
//!
//! Chunks are staged and taken in, or refused as damaged or missing, and nothing else is changed then.
//! What was taken in can be read as a whole: rows, history, and what stands beside them. It survives a
//! restart, and a checkpoint of it is taken in elsewhere to the same state.

use bytes::Bytes;
use disk::mem::MemDisk;
use engine::{Chunk, Engine, JobError, Progress, Visit, Worker};
use node::{GROUP, SPACE};
use wire::{Event, Item, KeyRange, Revision};

use crate::input::{Input, push_piece};
use crate::solo::engine_config;
use crate::{seal, seeds};

const MOST_CHUNKS: u64 = 16;
const PATH: &str = "engine";

type Half = (Box<dyn Engine>, Box<dyn Worker>);

/// Everything that can be read.
type State = (Vec<Item>, Vec<Event>, Vec<(Bytes, Bytes)>);

/// Input: which engine; then chunks, each of flags (checksum, last) and its bytes behind their length.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let in_memory = input.u8() & 1 == 0;
    let disk = MemDisk::new(1);
    let mut engine = open(&disk, in_memory);
    let mut sequence = 0;
    while !input.is_empty() && sequence < MOST_CHUNKS {
        let (flags, mut bytes) = (input.u8(), input.piece().to_vec());
        if flags & 1 == 1 {
            seal::chunk(&mut bytes);
        }
        let chunk = Chunk { sequence, bytes: Bytes::from(bytes), last: flags & 2 == 2 };
        if !staged(&mut engine, chunk) {
            break;
        }
        sequence += 1;
    }
    if !ingested(&mut engine) {
        let empty = (Vec::new(), Vec::new(), Vec::new());
        assert_eq!(read(&*engine.0), empty, "a snapshot that was refused left something");
        return;
    }
    let state = read(&*engine.0);
    assert_eq!(engine.0.durable(GROUP), engine.0.applied(GROUP));
    let copy = elsewhere(&*engine.0);
    assert_eq!(copy, state, "a checkpoint of it is something else");
    drop(engine);
    assert_eq!(read(&*open(&disk, in_memory).0), state, "a restart changed it");
}

fn open(disk: &MemDisk, in_memory: bool) -> Half {
    let opened = if in_memory {
        engine::open_memory(disk.clone(), PATH, engine_config())
    } else {
        engine::open_disk(disk.clone(), PATH, engine_config())
    };
    opened.expect("what the engine wrote itself is sound")
}

fn staged((engine, worker): &mut Half, chunk: Chunk) -> bool {
    let job = engine.stage(GROUP, chunk);
    match worker.run(job) {
        Ok(done) => matches!(engine.done(done), Progress::Staged { .. }),
        Err(JobError::DamagedChunk { .. } | JobError::MissingChunk { .. }) => false,
        Err(error) => panic!("a chunk broke the engine: {error}"),
    }
}

fn ingested((engine, worker): &mut Half) -> bool {
    let job = engine.ingest(GROUP, &[SPACE]);
    match worker.run(job) {
        Ok(done) => matches!(engine.done(done), Progress::Ingested { .. }),
        Err(JobError::DamagedChunk { .. } | JobError::MissingChunk { .. }) => false,
        Err(error) => panic!("a snapshot broke the engine: {error}"),
    }
}

/// All of it, at the end of time.
fn read(engine: &dyn Engine) -> State {
    let (view, all) = (engine.view(), KeyRange::all());
    let (mut items, mut events) = (Vec::new(), Vec::new());
    let newest = Revision(u64::MAX);
    let scanned = view.scan(SPACE, &all, newest, &mut |item| {
        items.push(item);
        Visit::Continue
    });
    scanned.expect("rows that were taken in can be read");
    let told = view.history(SPACE, &all, Revision(0), newest, &mut |event| {
        events.push(event);
        Visit::Continue
    });
    told.expect("history that was taken in can be read");
    (items, events, engine.meta(GROUP).expect("what was taken in can be read"))
}

/// The state of another engine that takes in a checkpoint of this one.
fn elsewhere(engine: &dyn Engine) -> State {
    let checkpoint = engine.checkpoint(GROUP, &[SPACE]);
    let mut other = open(&MemDisk::new(2), true);
    let (mut sequence, mut cursor) = (0, Bytes::new());
    loop {
        let (chunk, next) = checkpoint.read(sequence, &cursor).expect("the engine is sound");
        let last = chunk.last;
        assert!(staged(&mut other, chunk), "its own chunk is refused");
        if last {
            break;
        }
        assert_ne!(next, cursor, "a checkpoint goes on");
        (sequence, cursor) = (sequence + 1, next);
    }
    assert!(ingested(&mut other), "its own checkpoint is refused");
    read(&*other.0)
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for checkpoint in seeds::checkpoints() {
        for (kind, sealed) in [(0, 1), (1, 1), (0, 0)] {
            let mut seed = vec![kind];
            for chunk in &checkpoint {
                seed.push(sealed | if chunk.last { 2 } else { 0 });
                push_piece(&mut seed, &chunk.bytes);
            }
            seeds.push(seed);
        }
    }
    seeds
}
