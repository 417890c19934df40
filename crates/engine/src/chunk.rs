//! Chunks: rows on their way, in checkpoints, in staging files and in images of the base in memory.
//!
//! The format is in `docs/formats/checkpoint.md`. A chunk is checked as a whole before anything
//! in it is believed, and says itself which one it is and whether more follow.

use std::io;

use bytes::Bytes;
use disk::File;
use wire::{DecodeError, Reader, Writer};

use crate::config::MAX_CHUNK_BYTES;
use crate::store::Table;

const MAGIC: &[u8; 4] = b"CRNK";
const VERSION: u16 = 1;
const END_OF_ENTRIES: u8 = 0xff;
const CHECKSUM_BYTES: usize = 4;
const LENGTH_BYTES: usize = 4;

/// Whether more chunks follow one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Follows {
    More,
    Nothing,
}

/// Builds one chunk.
pub(crate) struct ChunkWriter(Writer);

impl ChunkWriter {
    pub(crate) fn new(sequence: u64) -> Self {
        let mut out = Writer::new();
        out.raw(MAGIC).u16(VERSION).varint(sequence);
        Self(out)
    }

    pub(crate) fn add(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.0.u8(table.tag()).bytes(key).bytes(value);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn finish(mut self, follows: Follows) -> Bytes {
        self.0.u8(END_OF_ENTRIES).u8(match follows {
            Follows::More => 0,
            Follows::Nothing => 1,
        });
        let mut bytes = self.0.into_vec();
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        Bytes::from(bytes)
    }
}

/// One key and value of a table.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) table: Table,
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
}

/// A chunk whose checksum holds.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    pub(crate) sequence: u64,
    pub(crate) follows: Follows,
    entries: Reader,
}

impl ChunkReader {
    /// Checks the bytes as a whole, and reads what stands around the entries.
    pub(crate) fn open(bytes: &Bytes) -> Result<Self, DecodeError> {
        let body = bytes.len().checked_sub(CHECKSUM_BYTES);
        let body = body.ok_or(DecodeError { what: "chunk length", at: bytes.len() })?;
        let mut trailer = Reader::new(bytes.slice(body..));
        if trailer.u32("chunk checksum")? != crc32fast::hash(&bytes[..body]) {
            return Err(DecodeError { what: "chunk checksum", at: body });
        }
        let last = body.checked_sub(1).ok_or(DecodeError { what: "chunk end", at: 0 })?;
        let follows = match bytes[last] {
            0 => Follows::More,
            1 => Follows::Nothing,
            _ => return Err(DecodeError { what: "chunk end", at: last }),
        };
        let mut entries = Reader::new(bytes.slice(..last));
        if entries.u32("chunk magic")? != u32::from_le_bytes(*MAGIC) {
            return Err(entries.malformed("chunk magic"));
        }
        if entries.u16("chunk version")? != VERSION {
            return Err(entries.malformed("chunk version"));
        }
        let sequence = entries.varint("chunk sequence")?;
        Ok(Self { sequence, follows, entries })
    }

    /// The next entry; `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, DecodeError> {
        let tag = self.entries.u8("chunk entry")?;
        if tag == END_OF_ENTRIES {
            self.entries.end("bytes behind the last entry")?;
            return Ok(None);
        }
        let table = Table::from_tag(tag).ok_or(self.entries.malformed("chunk entry"))?;
        let key = self.entries.bytes("entry key")?;
        let value = self.entries.bytes("entry value")?;
        Ok(Some(Entry { table, key, value }))
    }
}

/// Writes a chunk at `at` of a file of chunks, and says where the next one goes.
pub(crate) fn append(file: &impl File, at: u64, chunk: &[u8]) -> io::Result<u64> {
    let Some(length) = u32::try_from(chunk.len()).ok().filter(|_| chunk.len() <= MAX_CHUNK_BYTES)
    else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a chunk is too long"));
    };
    file.write_all_at(&length.to_le_bytes(), at)?;
    file.write_all_at(chunk, at + LENGTH_BYTES as u64)?;
    Ok(at + LENGTH_BYTES as u64 + u64::from(length))
}

/// Reads the chunk at `at` of a file of chunks, unchecked, and says where the next one is.
/// `None` if there is no whole chunk.
pub(crate) fn read(file: &impl File, at: u64) -> io::Result<Option<(Bytes, u64)>> {
    let end = file.len()?;
    let start = at + LENGTH_BYTES as u64;
    if start > end {
        return Ok(None);
    }
    let mut length = [0; LENGTH_BYTES];
    file.read_exact_at(&mut length, at)?;
    let next = start + u64::from(u32::from_le_bytes(length));
    let length = u32::from_le_bytes(length) as usize;
    if next > end || length > MAX_CHUNK_BYTES {
        return Ok(None);
    }
    let mut chunk = vec![0; length];
    file.read_exact_at(&mut chunk, start)?;
    Ok(Some((Bytes::from(chunk), next)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Bytes {
        let mut writer = ChunkWriter::new(3);
        writer.add(Table::Rows, b"key", b"value");
        writer.add(Table::Meta, b"k", b"");
        writer.finish(Follows::Nothing)
    }

    #[test]
    fn a_chunk_round_trips() {
        let mut reader = ChunkReader::open(&sample()).unwrap();
        assert_eq!((reader.sequence, reader.follows), (3, Follows::Nothing));
        let first = reader.next().unwrap().unwrap();
        assert_eq!(
            (first.table, &first.key[..], &first.value[..]),
            (Table::Rows, &b"key"[..], &b"value"[..])
        );
        assert_eq!(reader.next().unwrap().unwrap().table, Table::Meta);
        assert!(reader.next().unwrap().is_none());
    }

    #[test]
    fn the_format_is_pinned() {
        let body = b"CRNK\x01\x00\x03\x00\x03key\x05value\x02\x01k\x00\xff\x01";
        let mut expected = body.to_vec();
        expected.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
        assert_eq!(sample(), expected);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let whole = sample();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(ChunkReader::open(&Bytes::from(damaged)).is_err(), "bit {bit}");
        }
        for cut in 0..whole.len() {
            assert!(ChunkReader::open(&whole.slice(..cut)).is_err(), "cut at {cut}");
        }
    }
}
