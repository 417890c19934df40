//! The journal's segments, with everything that opening, recovery and the inspector do with them.
//!
//! A journal opens, or says why not; a directory that is not its own it leaves as it is. What it
//! recovers is durable: after a loss of power it is there again, and damage stays reported. It can be
//! written to, and what is written is there at the next opening.

use std::collections::BTreeMap;

use bytes::Bytes;
use consensus::{Entry, LogIndex, Payload, Position};
use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use journal::{Config, Journal, LogId, OpenError, Record, Recovered, RecoveredLog, inspect};

use crate::input::{Input, push_piece};
use crate::{seal, seeds};

pub(crate) const DIR: &str = "journal";
pub(crate) const ID: u64 = 0x0102_0304_0506;
const SEGMENT_BYTES: u64 = 4096;
const MOST_SEGMENTS: u64 = 4;

pub(crate) fn config() -> Config {
    Config { segment_bytes: SEGMENT_BYTES, max_record_bytes: 1024, ..Config::new(ID) }
}

/// Input: whether to put checksums right and to fill segments up with zeros; then segments, each
/// behind its length.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let flags = input.u8();
    let disk = MemDisk::new(1);
    let mut sequence = 1;
    while !input.is_empty() && sequence <= MOST_SEGMENTS {
        let segment = segment(input.piece(), flags, sequence);
        put(&disk, &format!("{sequence:010}.seg"), &segment);
        sequence += 1;
    }
    check(&disk);
}

/// A segment's bytes as flag 1 (checksums) and flag 2 (length) want them.
pub(super) fn segment(bytes: &[u8], flags: u8, sequence: u64) -> Vec<u8> {
    let mut segment = bytes.to_vec();
    if flags & 2 == 2 {
        let whole = usize::try_from(SEGMENT_BYTES).expect("4096");
        segment.resize(segment.len().next_multiple_of(whole).max(whole), 0);
    }
    if flags & 1 == 1 {
        seal::segment(&mut segment, ID, sequence);
    }
    segment
}

/// A file in the journal's directory, durably.
pub(super) fn put(disk: &MemDisk, name: &str, bytes: &[u8]) {
    let write = || {
        disk.create_dir(DIR)?;
        let file = disk.open(&format!("{DIR}/{name}"), Open::OrCreate)?;
        file.set_len(0)?;
        file.write_all_at(bytes, 0)?;
        file.sync_data()?;
        disk.sync_dir(DIR)
    };
    write().expect("the disk is sound");
}

/// What must hold of any directory of a journal.
pub(super) fn check(disk: &MemDisk) {
    look(disk);
    let before = disk.fingerprint();
    let (journal, recovered) = match Journal::open(disk.clone(), DIR, config()) {
        Ok(opened) => opened,
        Err(OpenError::WrongJournal { .. } | OpenError::UnknownVersion { .. }) => {
            return assert_eq!(disk.fingerprint(), before, "a foreign directory was changed");
        }
        Err(OpenError::BadConfig { .. }) => return,
        Err(error) => panic!("the disk is sound: {error}: {:?}", std::error::Error::source(&error)),
    };
    recovered.logs.iter().for_each(|(log, state)| check_log(*log, state));
    drop(journal);
    disk.crash_losing_all();
    let again = open(disk);
    assert_eq!(again.logs, recovered.logs, "what was recovered was not durable");
    assert_eq!(again.torn_tail_bytes, 0, "a torn tail was not cut");
    // Of several damaged places, either opening may name another one first.
    let reported = [&recovered, &again].map(|opening| opening.damage.is_some());
    assert_eq!(reported[0], reported[1], "damage is reported until it is dealt with");
    if has_room_to_count(&recovered) {
        go_on(disk, recovered.logs);
    }
    look(disk);
}

fn open(disk: &MemDisk) -> Recovered {
    Journal::open(disk.clone(), DIR, config()).expect("it was opened before").1
}

fn check_log(log: LogId, state: &RecoveredLog) {
    let mut before = state.base.index;
    for entry in &state.entries {
        assert_eq!(entry.position.index, before.next(), "{log} has a gap");
        before = entry.position.index;
    }
}

/// Whether it is not at the end of its numbers, where no journal of ours ever comes.
fn has_room_to_count(recovered: &Recovered) -> bool {
    const MOST: u64 = 1 << 61;
    let last = |state: &RecoveredLog| state.base.index.0 + state.entries.len() as u64;
    recovered.last_batch < MOST && recovered.logs.values().all(|state| last(state) < MOST)
}

/// Writes to every log and to a new one.
fn go_on(disk: &MemDisk, mut logs: BTreeMap<LogId, RecoveredLog>) {
    let (mut journal, _) =
        Journal::open(disk.clone(), DIR, config()).expect("it was opened before");
    let mut records = Vec::new();
    let new = LogId(u64::MAX);
    logs.entry(new).or_default();
    for (log, state) in &mut logs {
        let last = state.entries.last().map_or(state.base, |entry| entry.position);
        let position = Position { index: LogIndex(last.index.0 + 1), epoch: last.epoch };
        let entry = Entry { position, payload: Payload::Command(Bytes::from_static(b"more")) };
        state.entries.push(entry.clone());
        records.push(Record::Entry { log: *log, entry });
    }
    match journal.append(&records) {
        Ok(()) => journal.close().expect("the disk is sound"),
        Err(journal::AppendError::TooManyLogs { .. }) => return,
        Err(error) => panic!("the journal takes no more: {error}"),
    }
    assert_eq!(open(disk).logs, logs, "what was appended is there");
}

/// The inspector comes to an end, and changes nothing.
fn look(disk: &MemDisk) {
    let before = disk.fingerprint();
    let (mut lines, most) = (0, 16 + disk.used());
    inspect(disk.clone(), DIR, &mut |_| lines += 1).expect("the disk is sound");
    assert!(lines <= most, "more lines than bytes");
    assert_eq!(disk.fingerprint(), before, "a look changed something");
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let seed = |flags: u8, segments: &Vec<Vec<u8>>| {
        let mut seed = vec![flags];
        for segment in segments {
            push_piece(&mut seed, segment);
        }
        seed
    };
    let journals = seeds::journals();
    let sealed = journals.iter().map(|segments| seed(3, segments));
    sealed.chain(journals.iter().map(|segments| seed(2, segments))).collect()
}
