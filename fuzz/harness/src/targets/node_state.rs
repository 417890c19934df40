//! What a node's storage holds beside the rows: counters, and the memory of requests. It comes from
//! the node's own disk, or from another node's snapshot.
//!
//! A node starts on it or says why not. If it starts, it serves: writes, retries of remembered
//! requests, reads. What it wrote down itself it understands again.

use bytes::Bytes;
use consensus::{Epoch, LogIndex, Position};
use disk::mem::MemDisk;
use engine::Batch;
use journal::RecoveredLog;
use wire::{Consistency, KeyRange, Query, Refusal, Request};

use crate::input::{Input, push_piece};
use crate::seeds;
use crate::solo::{Solo, engine_config};

/// Input: entries, each of a kind of key and a value behind its length.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut meta = Vec::new();
    while !input.is_empty() && meta.len() < 8 {
        let key = key(input.u8());
        meta.push((key, Some(Bytes::copy_from_slice(input.piece()))));
    }
    let disk = MemDisk::new(1);
    write_state(&disk, meta);
    let base = Position { index: LogIndex(9), epoch: Epoch { round: 1, proposer: 0 } };
    let log = RecoveredLog { base, ..RecoveredLog::default() };
    let Ok(mut solo) = Solo::start(1, disk, log) else { return };
    for write in seeds::retried_writes() {
        match solo.ask(write) {
            Ok(_)
            | Err(
                Refusal::Expired { .. }
                | Refusal::AnswerForgotten { .. }
                | Refusal::Unavailable { .. }
                | Refusal::Invalid { .. },
            ) => {}
            Err(other) => panic!("a write was refused with {other:?}"),
        }
    }
    let (query, consistency) = (Query::range(KeyRange::all()), Consistency::Linearizable);
    solo.ask(Request::Read { query, consistency }).expect("it serves");
    let digest = solo.node.digest();
    let again = solo.restart();
    assert_eq!(digest.2, again.node.digest().2, "a restart changed the state");
}

fn key(kind: u8) -> Bytes {
    match kind % 10 {
        0 | 1 => Bytes::from_static(b"counters"),
        7 => Bytes::from_static(b"d"),
        8 => Bytes::from_static(b"l\0\0\0\0\0\0\0\x07"),
        9 => Bytes::from_static(b"k\0\0\0\0\0\0\0\x07key"),
        client => {
            let mut key = vec![b'c'];
            key.extend_from_slice(&u128::from(client).to_be_bytes());
            Bytes::from(key)
        }
    }
}

fn write_state(disk: &MemDisk, meta: Vec<(Bytes, Option<Bytes>)>) {
    let opened = engine::open_memory(disk.clone(), "engine", engine_config());
    let (mut engine, mut worker) = opened.expect("an empty disk is sound");
    let applied = Position { index: LogIndex(9), epoch: Epoch { round: 1, proposer: 0 } };
    engine.write(Batch { group: node::GROUP, applied, rows: Vec::new(), meta });
    let job = engine.flush().expect("there is something to flush");
    let done = worker.run(job).expect("the disk is sound");
    engine.done(done);
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let states = seeds::node_states();
    let seed = |state: &Vec<(u8, Bytes)>| {
        let mut seed = Vec::new();
        for (kind, value) in state {
            seed.push(*kind);
            push_piece(&mut seed, value);
        }
        seed
    };
    states.iter().map(seed).collect()
}
