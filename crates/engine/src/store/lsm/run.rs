//! A run: a file of entries in key order, written once, synced, and never changed.
//!
//! ```text
//! block, checksum | block, checksum | … | filter, checksum | index, checksum | footer
//! ```
//!
//! Every checksum is of the run's number and the place in the file, too: bytes that a disk wrote to
//! the wrong place, or kept from another file, are not taken for these. The footer is read when the
//! store is opened, so a run that is missing, cut short or another one is found there; a block is
//! checked when it is read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, File, Open};

use super::block::{Block, BlockCursor};
use super::cache::{Cache, Cached};
use super::filter::Filter;
use super::index::{CHECKSUM_BYTES, Index, Place};
use super::shape::{Known, RunInfo};
use crate::paths::parent;
use crate::{ReadError, codec};

const MAGIC: &[u8; 8] = b"CRNR\x01\0\0\0";
pub(super) const FOOTER_BYTES: usize = 8 + 8 + 12 + 12 + CHECKSUM_BYTES;

/// Reads of a block until it is given up: a bit may flip on the way to us.
const READS: usize = 2;

/// Where the parts of a run are that are not its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) filter: Place,
    pub(super) index: Place,
}

impl Footer {
    /// The bytes of the footer, which stands at `offset`.
    pub(super) fn encode(&self, run: u64, offset: u64) -> Vec<u8> {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&run.to_le_bytes());
        for place in [self.filter, self.index] {
            out.extend_from_slice(&place.offset.to_le_bytes());
            out.extend_from_slice(&place.len.to_le_bytes());
        }
        let checksum = checksum(run, offset, &out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8], run: u64, offset: u64) -> Option<Self> {
        let (body, stored) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        if u32::from_le_bytes(*stored) != checksum(run, offset, body) || !body.starts_with(MAGIC) {
            return None;
        }
        let number = |at: usize| body.get(at..).and_then(|rest| rest.first_chunk::<8>());
        let length = |at: usize| body.get(at..).and_then(|rest| rest.first_chunk::<4>());
        let place = |at| {
            let (offset, len) = (number(at)?, length(at + 8)?);
            Some(Place { offset: u64::from_le_bytes(*offset), len: u32::from_le_bytes(*len) })
        };
        Some(Self { filter: place(16)?, index: place(28)? })
    }
}

/// Of bytes at a place of a run.
pub(super) fn checksum(run: u64, offset: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&run.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// The file of a run.
pub(super) fn file_name(path: &str, run: u64) -> String {
    format!("{path}.{run:08}.run")
}

/// The number of the run that has this file.
pub(super) fn run_of(path: &str, file: &str) -> Option<u64> {
    let (_, name) = parent(path);
    let number = file.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".run")?;
    number.parse().ok().filter(|number| file == file_name(name, *number))
}

/// An open run.
pub(super) struct Run<F> {
    info: RunInfo,
    file: F,
    footer: Footer,
}

impl<F> fmt::Debug for Run<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(f)
    }
}

impl<F> Known for Arc<Run<F>> {
    fn info(&self) -> RunInfo {
        self.info
    }
}

impl<F: File> Run<F> {
    pub(super) fn new(info: RunInfo, file: F, footer: Footer) -> Self {
        Self { info, file, footer }
    }

    /// Opens the run's file, and checks that it is the one that was written.
    pub(super) fn open(
        disk: &impl Disk<File = F>,
        path: &str,
        info: RunInfo,
    ) -> Result<Self, ReadError> {
        let name = file_name(path, info.number);
        let missing = || ReadError::Damaged { what: format!("{name} is missing") };
        let file = disk.open(&name, Open::Existing).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => missing(),
            _ => ReadError::disk("open a run", &error),
        })?;
        let len = file.len().map_err(|error| ReadError::disk("open a run", &error))?;
        let cut = || {
            let what = format!("{name} has {len} bytes, and was written with {}", info.bytes);
            ReadError::Damaged { what }
        };
        let offset = info.bytes.checked_sub(FOOTER_BYTES as u64).ok_or_else(cut)?;
        if len != info.bytes {
            return Err(cut());
        }
        for _ in 0..READS {
            let mut footer = vec![0; FOOTER_BYTES];
            read(&file, &mut footer, offset)?;
            if let Some(footer) = Footer::decode(&footer, info.number, offset) {
                return Ok(Self { info, file, footer });
            }
        }
        Err(ReadError::Damaged { what: format!("the footer of {name}") })
    }

    fn number(&self) -> u64 {
        self.info.number
    }

    /// Where its parts are that are not blocks.
    pub(super) fn footer(&self) -> Footer {
        self.footer
    }

    /// Whether a row with this hash may be in it.
    pub(super) fn may_hold(&self, hash: u64, cache: &Cache) -> Result<bool, ReadError> {
        let id = (self.number(), self.footer.filter.offset);
        if let Some(Cached::Filter(filter)) = cache.find(id) {
            return Ok(filter.may_hold(hash));
        }
        let filter = Filter::parse(self.read(self.footer.filter)?);
        let filter = Arc::new(filter.ok_or_else(|| codec::damaged("a run's filter"))?);
        cache.keep(id, Cached::Filter(Arc::clone(&filter)));
        Ok(filter.may_hold(hash))
    }

    /// Its index, kept in the cache if there is one.
    pub(super) fn index(&self, cache: Option<&Cache>) -> Result<Arc<Index>, ReadError> {
        let id = (self.number(), self.footer.index.offset);
        if let Some(Cached::Index(index)) = cache.and_then(|cache| cache.find(id)) {
            return Ok(index);
        }
        let index = Arc::new(Index::parse(&self.read(self.footer.index)?)?);
        if let Some(cache) = cache {
            cache.keep(id, Cached::Index(Arc::clone(&index)));
        }
        Ok(index)
    }

    /// One of its blocks, by way of the cache.
    pub(super) fn block(&self, place: Place, cache: &Cache) -> Result<Arc<Block>, ReadError> {
        let id = (self.number(), place.offset);
        if let Some(Cached::Block(block)) = cache.find(id) {
            return Ok(block);
        }
        let block = Arc::new(Block::parse(self.read(place)?)?);
        cache.keep(id, Cached::Block(Arc::clone(&block)));
        Ok(block)
    }

    /// The first entry at or behind `target`.
    pub(super) fn find(
        &self,
        target: &[u8],
        cache: &Cache,
    ) -> Result<Option<BlockCursor>, ReadError> {
        let index = self.index(Some(cache))?;
        let mut number = index.find(target);
        while let Some(place) = index.place(number) {
            let mut cursor = BlockCursor::new(self.block(place, cache)?);
            if cursor.seek(target)? {
                return Ok(Some(cursor));
            }
            // It is the first of the next block, if any.
            number += 1;
        }
        Ok(None)
    }

    /// See [`File::breathe`].
    pub(super) fn breathe(&self) -> Result<(), ReadError> {
        self.file.breathe().map_err(|error| ReadError::disk("read a run", &error))
    }

    /// Reads the bytes at a place, and checks them.
    pub(super) fn read(&self, place: Place) -> Result<Vec<u8>, ReadError> {
        for _ in 0..READS {
            let mut bytes = self.read_unchecked(place, place.end())?;
            if self.is_whole(place, &bytes) {
                bytes.truncate(place.len as usize);
                return Ok(bytes);
            }
        }
        Err(self.damage(place))
    }

    /// Reads on from a place to `end`, for [`Run::is_whole`] to look at.
    pub(super) fn read_unchecked(&self, place: Place, end: u64) -> Result<Vec<u8>, ReadError> {
        let len = end.min(self.info.bytes).checked_sub(place.offset);
        let len =
            len.and_then(|len| usize::try_from(len).ok()).ok_or_else(|| self.damage(place))?;
        let mut bytes = vec![0; len];
        read(&self.file, &mut bytes, place.offset)?;
        Ok(bytes)
    }

    /// Whether the bytes read from a place begin with what was written there.
    pub(super) fn is_whole(&self, place: Place, bytes: &[u8]) -> bool {
        let Some((body, rest)) = bytes.split_at_checked(place.len as usize) else { return false };
        let stored = rest.first_chunk::<CHECKSUM_BYTES>();
        stored.is_some_and(|stored| {
            u32::from_le_bytes(*stored) == checksum(self.number(), place.offset, body)
        })
    }

    fn damage(&self, place: Place) -> ReadError {
        let (run, offset) = (self.number(), place.offset);
        let what = format!("run {run} (file {run:08}.run) at byte {offset} has a wrong checksum");
        ReadError::Damaged { what }
    }
}

fn read(file: &impl File, bytes: &mut [u8], offset: u64) -> Result<(), ReadError> {
    file.read_exact_at(bytes, offset).map_err(|error| ReadError::disk("read a run", &error))
}

/// The smallest key behind `key`.
pub(super) fn just_behind(key: &[u8]) -> Bytes {
    Bytes::from([key, &[0]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_others() {
        assert_eq!(file_name("engine/tree", 7), "engine/tree.00000007.run");
        assert_eq!(run_of("engine/tree", "tree.00000007.run"), Some(7));
        assert_eq!(run_of("tree", "tree.123456789.run"), Some(123_456_789));
        for name in ["tree.7.run", "tree", "tree.new", "tree.0000000x.run", "leaf.00000007.run"] {
            assert_eq!(run_of("engine/tree", name), None, "{name}");
        }
    }

    #[test]
    fn the_footer_is_pinned() {
        let places = [Place { offset: 256, len: 64 }, Place { offset: 324, len: 10 }];
        let footer = Footer { filter: places[0], index: places[1] };
        let encoded = footer.encode(9, 338);
        let mut expected = b"CRNR\x01\0\0\0\x09\0\0\0\0\0\0\0".to_vec();
        expected.extend_from_slice(b"\0\x01\0\0\0\0\0\0\x40\0\0\0\x44\x01\0\0\0\0\0\0\x0a\0\0\0");
        let mut seeded = [9u64.to_le_bytes(), 338u64.to_le_bytes()].concat();
        seeded.extend_from_slice(&expected);
        expected.extend_from_slice(&crc32fast::hash(&seeded).to_le_bytes());
        assert_eq!(encoded, expected);
        assert_eq!(Footer::decode(&encoded, 9, 338), Some(footer));
        assert_eq!(Footer::decode(&encoded, 8, 338), None);
        assert_eq!(Footer::decode(&encoded, 9, 339), None);
    }
}
