//! The journal's bytes: segment headers, batches, records. `docs/formats/journal.md` is the page
//! for readers; this module is the only one that knows an offset.
//!
//! # Checksums
//!
//! Every batch header is checked by a CRC that begins from the segment's [`Key`] (journal and
//! sequence number) and covers the header's place in the file. Each record's CRC goes on from that
//! of the record before it, the first from the batch header's. So a record is valid only in its
//! segment, at its place, after its predecessors: neither a recycled segment's former life, nor a
//! misdirected write, nor a mixture of two batches can pass.

mod batch;
mod header;
mod record;

pub(crate) use self::batch::{
    BATCH_HEADER_BYTES, Batch, BatchWriter, Link, read_batch, read_batch_header,
};
pub(crate) use self::header::{HEADER_BYTES, HeaderError, Origin, SegmentHeader};
pub(crate) use self::record::RESTATED_BYTES;
pub(crate) use self::record::{Base, Logged};

use crate::Config;
#[cfg(feature = "planted")]
use crate::config::Planted;

/// Batches begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 8;

/// The largest number that is believed, whatever the checksums say: of a batch, a segment, a log
/// index, an epoch, a length. It leaves room to count on.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// What checksums of one segment begin from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    seed: u32,
    #[cfg(feature = "planted")]
    planted: Option<Planted>,
}

impl Key {
    /// The key of segment `sequence`. Two segments of one journal have different keys, until
    /// 2^32 of them have been written; and CRCs of equal bytes that begin differently differ.
    pub(crate) fn new(config: &Config, sequence: u64) -> Self {
        let (id, sequence) = (folded(config.journal_id), folded(sequence));
        #[cfg(feature = "planted")]
        let sequence = match config.planted {
            Some(Planted::RecycledRecordsBelieved) => 0,
            _ => sequence,
        };
        Self {
            seed: id ^ sequence,
            #[cfg(feature = "planted")]
            planted: config.planted,
        }
    }

    /// The checksum that stands before the first record of the batch at `offset`.
    fn start(self, offset: u64) -> u32 {
        chain(self.seed, &offset.to_le_bytes())
    }

    /// Whether `found` will do where `computed` is due.
    #[cfg_attr(
        not(feature = "planted"),
        expect(clippy::unused_self, reason = "it asks for the planted fault, where there are any")
    )]
    fn accepts(self, found: u32, computed: u32) -> bool {
        #[cfg(feature = "planted")]
        if self.planted == Some(Planted::TornRecordTakenWhole) {
            return true;
        }
        found == computed
    }
}

/// Four bytes of eight. Numbers below 2^32 stay as they are, so that they stay different.
fn folded(number: u64) -> u32 {
    let low = u32::try_from(number & u64::from(u32::MAX)).expect("it was masked");
    let high = u32::try_from(number >> 32).expect("it was shifted");
    low ^ high.rotate_left(16)
}

/// The CRC of `bytes`, going on from `before`.
fn chain(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

/// `bytes` rounded up to the next place where a batch may begin.
pub(crate) fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT as u64)
}

/// Length of the batch at a segment's head, of records of so many bytes.
pub(crate) fn restated_bytes(records: u64) -> u64 {
    padded(BATCH_HEADER_BYTES as u64 + records)
}

/// Takes little-endian numbers off the front of some bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number that is counted on from.
    fn number(&mut self) -> Option<u64> {
        self.u64().filter(|number| *number <= MAX_NUMBER)
    }

    fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Nothing may be left over.
    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests;
