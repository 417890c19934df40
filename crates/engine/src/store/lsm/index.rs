//! Where a run's blocks lie: for each a key that parts it from the one before, and its length.

use super::block::common_prefix;
use crate::{ReadError, codec};

/// Bytes of the checksum behind each block.
pub(super) const CHECKSUM_BYTES: usize = 4;

/// Gathers the index of a run that is being written.
#[derive(Default)]
pub(super) struct IndexBuilder {
    bytes: Vec<u8>,
    last_key: Vec<u8>,
    blocks: u64,
}

impl IndexBuilder {
    /// The next block: the last key of the one before (empty for the first), its own first key,
    /// its length without checksum.
    pub(super) fn add(&mut self, before: &[u8], first: &[u8], len: usize) {
        // The shortest key behind the one and not behind the other.
        let parting = &first[..(common_prefix(before, first) + 1).min(first.len())];
        let shared = common_prefix(&self.last_key, parting);
        codec::varint(shared as u64, &mut self.bytes);
        codec::varint((parting.len() - shared) as u64, &mut self.bytes);
        codec::varint(len as u64, &mut self.bytes);
        self.bytes.extend_from_slice(&parting[shared..]);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&parting[shared..]);
        self.blocks += 1;
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes.len() + 10);
        codec::varint(self.blocks, &mut out);
        out.extend_from_slice(&self.bytes);
        out
    }
}

/// A block's place in its file, without the checksum that follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) len: u32,
}

impl Place {
    /// Where what follows it begins.
    pub(super) fn end(self) -> u64 {
        self.offset + u64::from(self.len) + CHECKSUM_BYTES as u64
    }
}

/// An index in memory.
#[derive(Debug)]
pub(super) struct Index {
    keys: Vec<u8>,
    /// Where each parting key ends among the keys, and where its block is.
    blocks: Vec<(u32, Place)>,
}

impl Index {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let malformed = || codec::damaged("a run's index");
        let mut rest = bytes;
        let count = codec::take_varint(&mut rest)?;
        let (mut keys, mut blocks) = (Vec::new(), Vec::new());
        let (mut last, mut offset) = (Vec::new(), 0u64);
        for _ in 0..count {
            let mut number = || {
                let value = codec::take_varint(&mut rest)?;
                u32::try_from(value).map_err(|_| malformed())
            };
            let (shared, unshared, len) = (number()? as usize, number()? as usize, number()?);
            if shared > last.len() {
                return Err(malformed());
            }
            last.truncate(shared);
            last.extend_from_slice(rest.split_off(..unshared).ok_or_else(malformed)?);
            keys.extend_from_slice(&last);
            let place = Place { offset, len };
            blocks.push((u32::try_from(keys.len()).map_err(|_| malformed())?, place));
            offset = place.end();
        }
        if blocks.is_empty() || !rest.is_empty() {
            return Err(malformed());
        }
        Ok(Self { keys, blocks })
    }

    /// What it takes in memory.
    pub(super) fn size(&self) -> usize {
        self.keys.len() + self.blocks.len() * size_of::<(u32, Place)>()
    }

    /// The number of the block that has `key`, if any has.
    pub(super) fn find(&self, key: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.blocks.len());
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.parting(middle) <= key {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Where the block with this number is; `None` behind the last.
    pub(super) fn place(&self, number: usize) -> Option<Place> {
        self.blocks.get(number).map(|(_, place)| *place)
    }

    /// How many blocks there are.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The key that parts a block from the one before.
    pub(super) fn parting(&self, number: usize) -> &[u8] {
        let start = number.checked_sub(1).map_or(0, |before| self.blocks[before].0);
        &self.keys[start as usize..self.blocks[number].0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut builder = IndexBuilder::default();
        builder.add(b"", b"apple", 100);
        builder.add(b"banana", b"bandit", 50);
        builder.add(b"bar", b"bark", 7);
        builder.finish()
    }

    #[test]
    fn a_key_is_looked_for_in_the_block_that_may_have_it() {
        let index = Index::parse(&sample()).unwrap();
        let found = |key: &[u8]| index.find(key);
        assert_eq!([found(b""), found(b"apple"), found(b"banana"), found(b"banc")], [0; 4]);
        assert_eq!([found(b"band"), found(b"bandit"), found(b"bar")], [1; 3]);
        assert_eq!([found(b"bark"), found(b"z")], [2; 2]);
        assert_eq!(index.place(1), Some(Place { offset: 104, len: 50 }));
        assert_eq!(index.place(3), None);
    }

    #[test]
    fn the_format_is_pinned() {
        assert_eq!(sample(), b"\x03\x00\x01\x64a\x00\x04\x32band\x02\x02\x07rk");
    }

    #[test]
    fn every_cut_is_found() {
        let whole = sample();
        for cut in 0..whole.len() {
            assert!(Index::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }
}
