//! The other files of the journal's directory, and their names: markers of damage, spares,
//! segments set aside, what a crash left behind, what is none of ours.
//!
//! What holds is said in `journal_segments`. Files that are not the journal's it leaves alone.

use disk::mem::MemDisk;
use disk::{Disk, File, Open};

use super::journal_segments::{DIR, check, put, segment};
use crate::input::{Input, push_piece};
use crate::seeds;

const MOST_FILES: usize = 8;
const FOREIGN: &str = "notes.txt";

/// Input: files, each of a kind, a number, and its bytes behind their length.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let disk = MemDisk::new(1);
    for _ in 0..MOST_FILES {
        if input.is_empty() {
            break;
        }
        let (kind, number, bytes) = (input.u8(), input.u16(), input.piece());
        let number = if kind & 128 == 0 { u64::from(number) } else { u64::MAX - u64::from(number) };
        match kind % 8 {
            0 | 1 => put(&disk, &format!("{number:010}.seg"), &segment(bytes, 3, number)),
            // Of a number that is never used again, as the spares of a sound journal are.
            2 => put(&disk, &format!("{number}.spare"), &segment(bytes, 3, u64::MAX)),
            3 => put(&disk, "damage", bytes),
            4 => put(&disk, "damage.tmp", bytes),
            5 => put(&disk, "fill.tmp", bytes),
            6 => put(&disk, &format!("{number:010}.seg.damaged"), bytes),
            _ => put(&disk, &name(bytes), &segment(bytes, 3, number)),
        }
    }
    put(&disk, FOREIGN, b"not yours");
    check(&disk);
    let file = disk.open(&format!("{DIR}/{FOREIGN}"), Open::Existing).expect("it is still there");
    assert_eq!(file.len().expect("the disk is sound"), 9, "a file of another was changed");
}

/// A name of the input's own choice; some end as ours do.
fn name(bytes: &[u8]) -> String {
    let text: String =
        String::from_utf8_lossy(bytes).chars().filter(|c| *c != '/').take(24).collect();
    match bytes.len() % 4 {
        0 => format!("{text}.seg"),
        1 => format!("{text}.spare"),
        2 => format!("{text}.seg.damaged"),
        _ => format!("{text}x"),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let journals = seeds::journals();
    let marker = b"segment 1 offset 64 bad-checksum\nsegment 7 offset 0 bad-header\n".to_vec();
    let file = |seed: &mut Vec<u8>, kind: u8, number: u16, bytes: &[u8]| {
        seed.push(kind);
        seed.extend_from_slice(&number.to_le_bytes());
        push_piece(seed, bytes);
    };
    for segments in &journals {
        let mut seed = Vec::new();
        for (number, segment) in (1..).zip(segments) {
            file(&mut seed, 0, number, segment);
        }
        file(&mut seed, 3, 0, &marker);
        file(&mut seed, 2, 0, &segments[0]);
        seeds.push(seed);
    }
    for (kind, bytes) in
        [(2, &b""[..]), (3, &marker), (4, b"half a"), (5, b""), (6, &journals[0][0])]
    {
        let mut seed = Vec::new();
        file(&mut seed, kind, 3, bytes);
        seeds.push(seed);
    }
    let mut named = Vec::new();
    file(&mut named, 7, 3, b"00000000");
    seeds.push(named);
    seeds
}
