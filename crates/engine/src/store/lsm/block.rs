//! A block: some entries in key order, as they stand in a run.
//!
//! A key is stored as what it does not share with the key before it; every few entries one is
//! stored whole, so that a search can begin there. `docs/formats/engine.md` has it byte by byte.
//!
//! A block's checksum was checked before it comes here. What does not make sense all the same is
//! an error, not a panic.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::{ReadError, codec};

/// Entries from one that is stored whole to the next.
const RESTART_ENTRIES: usize = 8;
const NUMBER_BYTES: usize = 4;

/// A value that is kept may hold a block of so many times its size in memory; a smaller one is copied.
const MOST_HELD_FOR_ONE_KEPT: usize = 32;

/// Gathers entries.
#[derive(Default)]
pub(super) struct BlockBuilder {
    bytes: Vec<u8>,
    restarts: Vec<u32>,
    since_restart: usize,
    last_key: Vec<u8>,
}

impl BlockBuilder {
    /// Appends an entry; its key is behind all others. No value: the key was removed.
    pub(super) fn add(&mut self, key: &[u8], value: Option<&[u8]>) {
        let shared = if self.restarts.is_empty() || self.since_restart == RESTART_ENTRIES {
            self.restarts.push(u32::try_from(self.bytes.len()).expect("a block is cut in time"));
            self.since_restart = 0;
            0
        } else {
            common_prefix(&self.last_key, key)
        };
        self.since_restart += 1;
        codec::varint(shared as u64, &mut self.bytes);
        codec::varint((key.len() - shared) as u64, &mut self.bytes);
        codec::varint(value.map_or(0, |value| value.len() as u64 + 1), &mut self.bytes);
        self.bytes.extend_from_slice(&key[shared..]);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(&key[shared..]);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The last key.
    pub(super) fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Appends the block to `out`, and is empty again.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.bytes);
        for restart in &self.restarts {
            out.extend_from_slice(&restart.to_le_bytes());
        }
        let count = u32::try_from(self.restarts.len()).expect("fewer than bytes");
        out.extend_from_slice(&count.to_le_bytes());
        self.restarts.clear();
        self.since_restart = 0;
    }
}

/// How many bytes two keys begin with alike.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// A block in memory.
#[derive(Debug)]
pub(super) struct Block {
    bytes: Bytes,
    /// Where the entries end and the list of restarts begins.
    end: usize,
    restarts: usize,
}

impl Block {
    /// Takes the bytes that [`BlockBuilder::finish`] has made.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, ReadError> {
        let malformed = || codec::damaged("a block's list of restarts");
        let count = bytes.last_chunk::<NUMBER_BYTES>().ok_or_else(malformed)?;
        let restarts = u32::from_le_bytes(*count) as usize;
        let list = restarts.checked_add(1).and_then(|numbers| numbers.checked_mul(NUMBER_BYTES));
        let end = list.and_then(|list| bytes.len().checked_sub(list)).ok_or_else(malformed)?;
        if restarts == 0 {
            return Err(malformed());
        }
        Ok(Self { bytes: Bytes::from(bytes), end, restarts })
    }

    /// What it takes in memory.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the list of restarts is what the entries make it.
    pub(super) fn restarts_hold(&self) -> Result<bool, ReadError> {
        let (mut at, mut number) = (0, 0);
        while at < self.end {
            if number % RESTART_ENTRIES == 0 && self.restart(number / RESTART_ENTRIES)? != at {
                return Ok(false);
            }
            number += 1;
            at = self.entry(at)?.next;
        }
        Ok(number.div_ceil(RESTART_ENTRIES) == self.restarts)
    }

    fn restart(&self, number: usize) -> Result<usize, ReadError> {
        let at = self.end + number * NUMBER_BYTES;
        let restart = self.bytes.get(at..).and_then(|rest| rest.first_chunk::<NUMBER_BYTES>());
        let restart = restart.ok_or_else(|| codec::damaged("a restart of a block"))?;
        Ok(u32::from_le_bytes(*restart) as usize)
    }

    fn entry(&self, at: usize) -> Result<Entry, ReadError> {
        let malformed = || codec::damaged("an entry of a block");
        let mut rest = self.bytes.get(at..self.end).ok_or_else(malformed)?;
        let mut number = || {
            let value = codec::take_varint(&mut rest)?;
            usize::try_from(value).map_err(|_| malformed())
        };
        let (shared, unshared, kind) = (number()?, number()?, number()?);
        let key = self.end - rest.len();
        let value = key.checked_add(unshared).ok_or_else(malformed)?;
        let next = value.checked_add(kind.saturating_sub(1)).ok_or_else(malformed)?;
        if next > self.end {
            return Err(malformed());
        }
        Ok(Entry { shared, key: key..value, value: (kind > 0).then_some(value..next), next })
    }

    /// The key of the entry at a restart.
    fn restart_key(&self, number: usize) -> Result<&[u8], ReadError> {
        let entry = self.entry(self.restart(number)?)?;
        if entry.shared != 0 {
            return Err(codec::damaged("a restart of a block"));
        }
        Ok(&self.bytes[entry.key])
    }
}

struct Entry {
    shared: usize,
    key: Range<usize>,
    value: Option<Range<usize>>,
    next: usize,
}

/// Walks over a block.
#[derive(Debug)]
pub(super) struct BlockCursor {
    block: Arc<Block>,
    next: usize,
    key: Vec<u8>,
    value: Option<Range<usize>>,
}

impl BlockCursor {
    /// Before the first entry.
    pub(super) fn new(block: Arc<Block>) -> Self {
        Self { block, next: 0, key: Vec::new(), value: None }
    }

    /// Begins another block.
    pub(super) fn enter(&mut self, block: Arc<Block>) {
        self.block = block;
        self.next = 0;
        self.key.clear();
    }

    /// Steps to the next entry; `false` at the end.
    pub(super) fn step(&mut self) -> Result<bool, ReadError> {
        if self.next >= self.block.end {
            return Ok(false);
        }
        let entry = self.block.entry(self.next)?;
        if entry.shared > self.key.len() {
            return Err(codec::damaged("an entry of a block"));
        }
        self.key.truncate(entry.shared);
        self.key.extend_from_slice(&self.block.bytes[entry.key]);
        self.value = entry.value;
        self.next = entry.next;
        Ok(true)
    }

    /// Steps to the first entry at or behind `target`; `false` if there is none.
    pub(super) fn seek(&mut self, target: &[u8]) -> Result<bool, ReadError> {
        // The last restart that is not behind the target, or the first of all.
        let (mut low, mut high) = (0, self.block.restarts);
        while high - low > 1 {
            let middle = usize::midpoint(low, high);
            if self.block.restart_key(middle)? <= target {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.next = self.block.restart(low)?;
        self.key.clear();
        while self.step()? {
            if &self.key[..] >= target {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The entry's value; `None` if its key was removed.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.value.clone().map(|value| &self.block.bytes[value])
    }

    /// The entry's value without the first `skip` bytes, to be kept for a while.
    pub(super) fn keep_value(&self, skip: usize) -> Bytes {
        let Some(Range { start, end }) = self.value else { return Bytes::new() };
        let kept = start + skip..end;
        if kept.len() * MOST_HELD_FOR_ONE_KEPT < self.block.bytes.len() {
            return Bytes::copy_from_slice(&self.block.bytes[kept]);
        }
        self.block.bytes.slice(kept)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn build(entries: &BTreeMap<Vec<u8>, Option<Vec<u8>>>) -> Vec<u8> {
        let mut builder = BlockBuilder::default();
        for (key, value) in entries {
            builder.add(key, value.as_deref());
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        bytes
    }

    fn keys() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0u8..4, 0..6)
    }

    proptest! {
        #[test]
        fn a_block_is_an_ordered_map(
            entries in prop::collection::btree_map(keys(), any::<Option<Vec<u8>>>(), 1..60),
            target in keys(),
        ) {
            let mut cursor = BlockCursor::new(Arc::new(Block::parse(build(&entries)).unwrap()));
            let mut found = BTreeMap::new();
            while cursor.step().unwrap() {
                found.insert(cursor.key().to_vec(), cursor.value().map(<[u8]>::to_vec));
            }
            prop_assert_eq!(&found, &entries);
            let expected = entries.range(target.clone()..).next();
            let found = cursor.seek(&target).unwrap().then(|| cursor.key().to_vec());
            prop_assert_eq!(found.as_ref(), expected.map(|(key, _)| key));
        }

        #[test]
        fn no_bytes_make_a_block_panic(bytes: Vec<u8>, target: Vec<u8>) {
            if let Ok(block) = Block::parse(bytes) {
                let mut cursor = BlockCursor::new(Arc::new(block));
                while let Ok(true) = cursor.step() {}
                let _ = cursor.seek(&target);
            }
        }
    }

    #[test]
    fn the_format_is_pinned() {
        let entries = BTreeMap::from([
            (b"abc".to_vec(), Some(b"x".to_vec())),
            (b"abd".to_vec(), None),
            (b"b".to_vec(), Some(Vec::new())),
        ]);
        let expected = b"\x00\x03\x02abcx\x02\x01\x00d\x00\x01\x01b\0\0\0\0\x01\0\0\0";
        assert_eq!(build(&entries), expected);
    }
}
