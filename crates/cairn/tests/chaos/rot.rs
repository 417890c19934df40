//! A bit that flips at rest in the journal of a node that is down.
//!
//! Only in a batch that a later one proves to have been synced: behind that nobody can tell rot from
//! a torn tail, as docs/formats/journal.md says, and a node that lost its tail unnoticed could cost
//! an acknowledged write.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

use disk::mem::MemDisk;
use disk::{Disk, File, Open};
use journal::Seen;

use crate::chance::Chance;

/// Bytes of a batch in a file.
#[derive(Clone, Debug)]
struct Place {
    file: String,
    from: u64,
    to: u64,
}

/// Flips a bit in the journal in `dir`. Says where; `None` if there is nothing that could rot.
pub(crate) fn flip(dir: &Path, chance: &mut Chance) -> Option<String> {
    let places = proven(dir);
    if places.is_empty() {
        return None;
    }
    let Place { file, from, to } = chance.pick(&places);
    let offset = from + chance.below(to - from);
    let open = OpenOptions::new().read(true).write(true).open(dir.join(&file)).unwrap();
    let mut byte = [0];
    open.read_exact_at(&mut byte, offset).unwrap();
    byte[0] ^= 1 << chance.below(8);
    open.write_all_at(&byte, offset).unwrap();
    open.sync_all().unwrap();
    Some(format!("{file} at byte {offset}"))
}

/// Whether the journal in `dir` has noticed damage. Takes away what it has set aside, as an operator
/// would: the disk is small.
pub(crate) fn noticed(dir: &Path) -> bool {
    let mut noticed = false;
    for entry in std::fs::read_dir(dir).unwrap().filter_map(Result::ok) {
        if entry.file_name().to_string_lossy().ends_with(".damaged") {
            std::fs::remove_file(entry.path()).unwrap();
            noticed = true;
        }
    }
    noticed
}

/// Batches that a later one proves to have been synced.
fn proven(dir: &Path) -> Vec<Place> {
    let mut found: Vec<(u64, Place)> = Vec::new();
    let mut through = 0;
    let read =
        journal::inspect(in_memory(dir), "journal", &mut |line| match (line.seen, line.batch) {
            (Seen::Batch { durable_through, .. }, Some(batch)) => {
                through = through.max(durable_through);
                found.push((
                    batch,
                    Place { file: line.file, from: line.offset, to: line.offset + 1 },
                ));
            }
            (Seen::Record { bytes, .. }, Some(batch)) => {
                if let Some((of, place)) = found.last_mut()
                    && *of == batch
                {
                    place.to = place.to.max(line.offset + bytes);
                }
            }
            (Seen::Segment { .. } | Seen::Invalid { .. }, _)
            | (Seen::Batch { .. } | Seen::Record { .. }, None) => {}
        });
    read.unwrap();
    found.into_iter().filter(|(batch, _)| *batch <= through).map(|(_, place)| place).collect()
}

/// A copy of the journal's segments, so that looking can change nothing.
fn in_memory(dir: &Path) -> MemDisk {
    let copy = MemDisk::new(0);
    copy.create_dir("journal").unwrap();
    for entry in std::fs::read_dir(dir).unwrap().filter_map(Result::ok) {
        if entry.path().extension().is_some_and(|extension| extension == "seg") {
            let name = entry.file_name().into_string().unwrap();
            let file = copy.open(&format!("journal/{name}"), Open::New).unwrap();
            file.write_all_at(&std::fs::read(entry.path()).unwrap(), 0).unwrap();
        }
    }
    copy
}
