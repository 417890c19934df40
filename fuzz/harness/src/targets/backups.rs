//! A backup's file: verified, and restored into an empty store.
//!
//! Verified twice, it says the same. What does not verify restores nothing. What verifies is restored,
//! or refused for a reason of the store's; restored, the store stands at the backup's revision and
//! has its keys. Memory is in proportion to what was read, whatever lengths the file claims.

use std::io::Cursor;
use std::sync::{Arc, Mutex};

use client::Client;
use client::backup::{BackupError, restore, verify};
use wire::{KeyRange, Query, Revision};

use crate::door::{Door, runtime};
use crate::input::Input;
use crate::solo::Solo;
use crate::{seal, seeds};

/// Input: whether to put checksums right, the file.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let sealed = input.u8() & 1 == 1;
    let mut file = input.rest().to_vec();
    if sealed {
        seal::backup(&mut file);
    }
    let summary = verify(&file[..]);
    let solo = Arc::new(Mutex::new(Solo::new(1)));
    let client = Client::new(Arc::new(Door(Arc::clone(&solo))), client::Config::new(7, 1));
    let restored = runtime().block_on(restore(&client, Cursor::new(&file), &mut |_| {}));
    let revision = || solo.lock().expect("one thread").node.status().revision;
    match (summary, restored) {
        (Err(first), Err(second)) => {
            assert_eq!(first.to_string(), second.to_string());
            assert_eq!(revision(), Revision(1), "a damaged backup was restored");
        }
        (Ok(_), Err(BackupError::Cluster(_))) => {}
        (Ok(summary), Ok(restored)) => {
            assert_eq!(summary, restored);
            assert_eq!(summary.file_bytes, file.len() as u64);
            assert_eq!(revision(), summary.revision);
            assert_eq!(items(&client), summary.items, "the store has as many keys");
        }
        (summary, restored) => panic!("{summary:?} was verified, {restored:?} restored"),
    }
}

fn items(client: &Client) -> u64 {
    let query = Query { projection: wire::Projection::CountOnly, ..Query::range(KeyRange::all()) };
    let read = client.read(query, wire::Consistency::Eventual);
    runtime().block_on(read).expect("the store is open").value.count
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let seed = |sealed: u8| move |file: &Vec<u8>| [&[sealed][..], file].concat();
    let files = seeds::backups();
    files.iter().map(seed(1)).chain(files.iter().map(seed(0))).collect()
}
