//! Where a batch goes: behind the last one, or to fresh segments, as few as can be.

use crate::layout::{BATCH_HEADER_BYTES, HEADER_BYTES, padded, restated_bytes};

/// How a batch is laid out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Whether the first chunk goes to a fresh segment.
    pub(crate) rolls: bool,
    /// So many records go together; each chunk but the first has a fresh segment of its own.
    pub(crate) chunks: Vec<usize>,
}

impl Plan {
    /// Lays out records of these sizes, where `room` is left in the active segment, and a fresh
    /// one must first restate the logs, in records of at most so many bytes.
    pub(crate) fn new(sizes: &[u64], restated: u64, room: u64, segment_bytes: u64) -> Self {
        const FRAME: u64 = BATCH_HEADER_BYTES as u64;
        if padded(FRAME + sizes.iter().sum::<u64>()) <= room {
            return Self { rolls: false, chunks: vec![sizes.len()] };
        }
        let fresh_room = segment_bytes - HEADER_BYTES as u64 - restated_bytes(restated);
        let (mut chunks, mut records, mut bytes) = (Vec::new(), 0, FRAME);
        for size in sizes {
            if padded(bytes + size) > fresh_room {
                assert!(records > 0, "a segment holds the longest record");
                chunks.push(records);
                (records, bytes) = (0, FRAME);
            }
            records += 1;
            bytes += size;
        }
        chunks.push(records);
        Self { rolls: true, chunks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(sizes: &[u64], room: u64) -> (bool, Vec<usize>) {
        let Plan { rolls, chunks } = Plan::new(sizes, 0, room, 4096);
        (rolls, chunks)
    }

    #[test]
    fn a_batch_stays_whole_where_it_can() {
        assert_eq!(plan(&[100, 20], 160), (false, vec![2]));
        assert_eq!(plan(&[100, 20], 159), (true, vec![2]));
        assert_eq!(plan(&[1000; 3], 0), (true, vec![3]));
        assert_eq!(plan(&[1000; 4], 4000), (true, vec![3, 1]));
        assert_eq!(plan(&[1000; 7], 0), (true, vec![3, 3, 1]));
    }
}
