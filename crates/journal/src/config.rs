//! What the host decides about its journal.

use crate::layout::{BATCH_HEADER_BYTES, HEADER_BYTES};

const SMALLEST_SEGMENT_BYTES: u64 = 4 * 1024;
const LARGEST_SEGMENT_BYTES: u64 = 1024 * 1024 * 1024;

/// Settings of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// A random number that names this journal. It must be the same at every open: segments that
    /// bear another one are refused.
    pub journal_id: u64,
    /// Length of a segment file in bytes, a multiple of 4096. Larger ones are begun less often;
    /// space is given back in pieces of this size. Segments made with another length stay readable.
    pub segment_bytes: u64,
    /// Longest record in bytes, at most half a segment. Bounds what one entry may carry.
    pub max_record_bytes: u64,
    /// How many released segments are kept to be used again. Each costs a segment's space and
    /// saves writing one full of zeros.
    pub spare_segments: u32,
    /// A fault of ours, put in on purpose, to see whether the tests would find it.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

/// A fault put in on purpose.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A failed sync counts as a good one.
    IgnoreSyncFailure,
    /// A failed sync is repeated, and believed when it then succeeds.
    RetrySyncFailure,
    /// Checksums are not looked at.
    TornRecordTakenWhole,
    /// Damage before the tail is cut off as if it were a torn tail.
    DamagedMiddleAsTornTail,
    /// Checksums do not depend on the segment, and the numbers of batches are not looked at.
    RecycledRecordsBelieved,
}

impl Config {
    /// Settings for production, for the journal of this name.
    pub fn new(journal_id: u64) -> Self {
        Self {
            journal_id,
            segment_bytes: 64 * 1024 * 1024,
            max_record_bytes: 16 * 1024 * 1024,
            spare_segments: 2,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// What is wrong with these settings, if anything is.
    pub(crate) fn flaw(&self) -> Option<&'static str> {
        if !(SMALLEST_SEGMENT_BYTES..=LARGEST_SEGMENT_BYTES).contains(&self.segment_bytes) {
            return Some("segment_bytes must lie between 4KiB and 1GiB");
        }
        if !self.segment_bytes.is_multiple_of(4096) {
            return Some("segment_bytes must be a multiple of 4096");
        }
        if !(256..=self.segment_bytes / 2).contains(&self.max_record_bytes) {
            return Some("max_record_bytes must lie between 256 and half of segment_bytes");
        }
        None
    }

    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "it asks for the planted fault, where there are any")]
    pub(crate) fn believes_any_number(&self) -> bool {
        false
    }

    #[cfg(feature = "planted")]
    pub(crate) fn believes_any_number(&self) -> bool {
        self.planted == Some(Planted::RecycledRecordsBelieved)
    }

    /// Most bytes that restating all logs may take at a segment's head. What is left holds the
    /// longest record.
    pub(crate) fn max_restated_bytes(&self) -> u64 {
        const FRAME: u64 = (HEADER_BYTES + 2 * BATCH_HEADER_BYTES + 16) as u64;
        const { assert!(SMALLEST_SEGMENT_BYTES / 4 > FRAME) };
        self.segment_bytes / 4
    }
}
