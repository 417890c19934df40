//! What stands on disks, and what is made from it.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use client::Client;
use client::backup::save;
use consensus::{Entry, Epoch, HardState, LogIndex, Payload, Position, ReplicaId};
use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use engine::{Batch, Cell, Chunk, Row};
use journal::{Journal, LogId, Record};
use node::{GROUP, SPACE};
use wire::{OpResult, RequestId, Revision, TxnResult, Writer};

use crate::door::{Door, runtime};
use crate::solo::{Solo, engine_config};
use crate::targets::{JOURNAL_DIR, journal_config};

fn at(index: u64) -> Position {
    Position { index: LogIndex(index), epoch: Epoch { round: 1, proposer: 0 } }
}

/// Segments of journals, without the zeros at their ends: a short one, one that went on in further
/// segments, one that was released in part.
pub(crate) fn journals() -> Vec<Vec<Vec<u8>>> {
    let entry = |log, index, bytes: usize| {
        let payload = match bytes {
            0 => Payload::Noop,
            _ => Payload::Command(Bytes::from(vec![b'x'; bytes])),
        };
        Record::Entry { log: LogId(log), entry: Entry { position: at(index), payload } }
    };
    let epoch = at(0).epoch;
    let promise = |log| {
        let hard_state = HardState { epoch, vote: Some(ReplicaId(2)) };
        Record::HardState { log: LogId(log), hard_state }
    };
    let base = |log, index| Record::Base { log: LogId(log), base: at(index) };
    let short = vec![
        vec![promise(1), entry(1, 1, 0), entry(1, 2, 5)],
        vec![base(1, 1), base(2, 9), entry(2, 10, 3)],
        vec![entry(1, 2, 4), Record::Forget { log: LogId(2) }],
    ];
    let long: Vec<Vec<Record>> = (1..8).map(|index| vec![entry(1, index, 900)]).collect();
    let mut released = long.clone();
    released.push(vec![base(1, 6)]);
    released.push((8..14).map(|index| entry(1, index, 700)).collect());
    [short, long, released].iter().map(|batches| journal(batches)).collect()
}

fn journal(batches: &[Vec<Record>]) -> Vec<Vec<u8>> {
    let disk = MemDisk::new(1);
    let opened = Journal::open(disk.clone(), JOURNAL_DIR, journal_config());
    let (mut journal, _) = opened.expect("an empty disk is sound");
    for batch in batches {
        journal.append(batch).expect("there is room");
        journal.sync().expect("the disk is sound");
    }
    journal.close().expect("the disk is sound");
    let names = disk.list(JOURNAL_DIR).expect("the disk is sound");
    let segments = names.iter().filter(|name| name.strip_suffix(".seg").is_some());
    segments.map(|name| without_zeros(&disk, &format!("{JOURNAL_DIR}/{name}"))).collect()
}

fn without_zeros(disk: &MemDisk, path: &str) -> Vec<u8> {
    let read = || {
        let file = disk.open(path, Open::Existing)?;
        let mut bytes = vec![0; usize::try_from(file.len()?).expect("it is short")];
        file.read_exact_at(&mut bytes, 0)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let mut bytes = read().expect("the disk is sound");
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    bytes.truncate(end);
    bytes
}

/// What one entry of the log may change.
pub(crate) fn rows(revision: u64) -> Vec<Row> {
    let key = Bytes::from(format!("key/{:02}", revision % 20));
    let cell = (!revision.is_multiple_of(7)).then(|| Cell {
        created: Revision(revision),
        version: 1,
        lease: 0,
        value: Bytes::from(vec![b'v'; 20]),
    });
    vec![Row { space: SPACE, key, revision: Revision(revision), cell }]
}

/// Checkpoints of an empty state and of one of several chunks.
pub(crate) fn checkpoints() -> Vec<Vec<Chunk>> {
    [0, 12].map(checkpoint).into_iter().collect()
}

fn checkpoint(entries: u64) -> Vec<Chunk> {
    let opened = engine::open_memory(MemDisk::new(1), "engine", engine_config());
    let (mut engine, mut worker) = opened.expect("an empty disk is sound");
    for index in 1..=entries {
        let meta = vec![(Bytes::from_static(b"counters"), Some(Bytes::from_static(b"some")))];
        engine.write(Batch { group: GROUP, applied: at(index), rows: rows(index), meta });
    }
    if let Some(job) = engine.flush() {
        let done = worker.run(job).expect("the disk is sound");
        engine.done(done);
    }
    let checkpoint = engine.checkpoint(GROUP, &[SPACE]);
    let (mut chunks, mut cursor) = (Vec::new(), Bytes::new());
    for sequence in 0.. {
        let (chunk, next) = checkpoint.read(sequence, &cursor).expect("the engine is sound");
        let last = chunk.last;
        chunks.push(chunk);
        if last {
            break;
        }
        cursor = next;
    }
    chunks
}

/// Backups of an empty store and of one with keys.
pub(crate) fn backups() -> Vec<Vec<u8>> {
    let of = |solo: Solo| {
        let door = Door(Arc::new(Mutex::new(solo)));
        let client = Client::new(Arc::new(door), client::Config::new(7, 1));
        let mut file = Vec::new();
        let saved = runtime().block_on(save(&client, &mut file, &mut |_| {}));
        saved.expect("the store is sound");
        file
    };
    let mut filled = Solo::new(1);
    for write in super::some_writes() {
        filled.ask(write).expect("a write that is in order");
    }
    vec![of(Solo::new(1)), of(filled)]
}

/// What a node's engine holds beside the rows, by the kinds of key of the target `node-state`.
pub(crate) fn node_states() -> Vec<Vec<(u8, Bytes)>> {
    let counters = |restoring: bool| {
        let mut out = Writer::new();
        out.u8(1).varint(5).varint(2).varint(1).option(restoring.then_some(()), |out, ()| {
            out.u128(77).varint(1).varint(9).bytes(b"k");
        });
        out.finish()
    };
    let mut answer = Writer::new();
    let results =
        vec![OpResult::Put { previous: None }, OpResult::Deleted { count: 1, previous: vec![] }];
    TxnResult { revision: Revision(4), succeeded: true, results }.encode(&mut answer);
    let mut client = Writer::new();
    // Floor, last index, two answers: of one only the revision was kept.
    client.varint(1).varint(8).varint(2);
    client.varint(1).varint(4).u8(1).bytes(&answer.finish());
    client.varint(2).varint(5).u8(0);
    let client = client.finish();
    let mut lease = Writer::new();
    lease.varint(3).varint(60_000).varint(300);
    let lease = lease.finish();
    let id = RequestId { client: 2, number: 1 };
    let kind = u8::try_from(id.client).expect("2");
    vec![
        vec![(0, counters(false)), (kind, client.clone())],
        vec![(0, counters(true))],
        vec![(0, counters(false)), (8, lease), (9, Bytes::new())],
        vec![(0, counters(false)), (2, client.clone()), (3, client.clone()), (4, client)],
    ]
}
