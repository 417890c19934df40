//! The bytes themselves: a journal that an earlier build has written, kept in the tree.
//!
//! `UPDATE=1 cargo test -p journal` writes the fixture anew. Do that only for a new format version.

use bytes::Bytes;
use consensus::{Entry, Epoch, HardState, LogIndex, Payload, Position, ReplicaId};
use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use journal::{LogId, Record};

use crate::support::{DIR, open, states};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/v1.seg");
const SEGMENT: &str = "journal/0000000001.seg";

fn batches() -> Vec<Vec<Record>> {
    let log = LogId(0x0102_0304_0506_0708);
    let epoch = Epoch { round: 2, proposer: 5 };
    let at = |index| Position { index: LogIndex(index), epoch };
    let noop = Entry { position: at(1), payload: Payload::Noop };
    let command = Payload::Command(Bytes::from_static(b"cairn"));
    vec![
        vec![
            Record::HardState { log, hard_state: HardState { epoch, vote: Some(ReplicaId(5)) } },
            Record::Entry { log, entry: noop },
            Record::Entry { log, entry: Entry { position: at(2), payload: command } },
        ],
        vec![Record::Base { log, base: at(1) }, Record::Base { log: LogId(2), base: at(9) }],
        vec![
            Record::HardState { log: LogId(3), hard_state: HardState::default() },
            Record::Forget { log: LogId(3) },
        ],
    ]
}

fn written() -> Vec<u8> {
    let disk = MemDisk::new(1);
    let (mut journal, _) = open(&disk);
    for batch in batches() {
        journal.append(&batch).unwrap();
        journal.sync().unwrap();
    }
    journal.close().unwrap();
    let file = disk.open(SEGMENT, Open::Existing).unwrap();
    let mut bytes = vec![0; 4096];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes.truncate(end);
    bytes
}

#[test]
fn the_format_is_what_it_was() {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(FIXTURE, written()).unwrap();
    }
    let golden = std::fs::read(FIXTURE).unwrap();
    assert_eq!(written(), golden);
}

#[test]
fn a_journal_of_the_first_release_opens() {
    let disk = MemDisk::new(1);
    disk.create_dir(DIR).unwrap();
    let file = disk.open(SEGMENT, Open::New).unwrap();
    file.write_all_at(&std::fs::read(FIXTURE).unwrap(), 0).unwrap();
    file.set_len(4096).unwrap();
    let (_, recovered) = open(&disk);
    assert_eq!(recovered.damage, None);
    assert_eq!(recovered.logs, states(&batches())[3]);
}
