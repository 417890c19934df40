//! A segment's first 64 bytes.
//!
//! Magic, version and checksum stand at the same places in all versions, so that a segment of a
//! later release is recognised as that, and not taken for a damaged one.

use super::{Reader, chain};

/// Where batches begin.
pub(crate) const HEADER_BYTES: usize = 64;
const MAGIC: [u8; 8] = *b"CairnJnl";
const VERSION: u32 = 1;
const CRC_AT: usize = 12;
const FRESH_START: u32 = 1;
const RECYCLED: u32 = 2;

/// Where the bytes of the segment's file come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Zeros.
    Zeroed,
    /// Another segment's former life.
    Recycled,
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) sequence: u64,
    pub(crate) journal_id: u64,
    /// Number of the first batch in this segment.
    pub(crate) first_batch: u64,
    /// Where the segment before this one ends. All before that was synced when this was written.
    pub(crate) previous_end: u64,
    /// Nothing in earlier segments counts any more: what was recovered stands here again.
    pub(crate) fresh_start: bool,
    pub(crate) origin: Origin,
}

/// Why there is no header to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// No header, or a damaged one.
    Invalid,
    /// A whole header of a version that this program does not know.
    Version(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut flags = 0;
        if self.fresh_start {
            flags |= FRESH_START;
        }
        if self.origin == Origin::Recycled {
            flags |= RECYCLED;
        }
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.journal_id.to_le_bytes());
        bytes[32..36].copy_from_slice(&flags.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.first_batch.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.previous_end.to_le_bytes());
        let crc = chain(0, &bytes);
        bytes[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, HeaderError> {
        Self::parse(bytes).unwrap_or(Err(HeaderError::Invalid))
    }

    fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Result<Self, HeaderError>> {
        let mut reader = Reader(bytes);
        let magic = reader.array::<8>()?;
        let version = reader.u32()?;
        let crc = reader.u32()?;
        let mut without_crc = *bytes;
        without_crc[CRC_AT..CRC_AT + 4].fill(0);
        if magic != MAGIC || crc != chain(0, &without_crc) {
            return None;
        }
        if version != VERSION {
            return Some(Err(HeaderError::Version(version)));
        }
        let sequence = reader.number()?;
        let journal_id = reader.u64()?;
        let flags = reader.u32()?;
        let _reserved = reader.u32()?;
        let first_batch = reader.number().filter(|number| *number > 0)?;
        let previous_end = reader.number()?;
        let origin = if flags & RECYCLED == 0 { Origin::Zeroed } else { Origin::Recycled };
        let fresh_start = flags & FRESH_START != 0;
        Some(Ok(Self { sequence, journal_id, first_batch, previous_end, fresh_start, origin }))
    }
}
