//! The bytes of a backup: `docs/formats/backup.md`.
//!
//! ```text
//! magic 8 │ version u16 │ header block │ chunk block … │ trailer block │ end of file
//! block: kind u8 │ length u32 │ crc32 u32 │ body      crc of kind, length and body
//! ```

use std::io::{ErrorKind, Read, Write};

use bytes::Bytes;
use wire::{DecodeError, Item, Reader, Revision, Writer};

use super::BackupError;

/// What every backup begins with.
pub(super) const MAGIC: &[u8; 8] = b"CAIRNBK\n";

/// Raised when an older release could not read the file.
pub(super) const VERSION: u16 = 1;

/// Items are gathered into chunks of about this many bytes.
pub const CHUNK_BYTES: usize = 1 << 20;

/// No block is longer: one item of the largest size fits.
const MAX_BLOCK_BYTES: u32 = 64 << 20;

const BLOCK_HEADER_BYTES: usize = 9;

/// What a backup is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) cluster: String,
    pub(super) revision: Revision,
    pub(super) created_by: String,
}

/// One block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    Header(Header),
    Chunk(Vec<Item>),
    Trailer { items: u64, bytes: u64, crc: u32 },
}

/// Writes blocks and keeps the sums.
pub(super) struct Output<W> {
    writer: W,
    crc: crc32fast::Hasher,
    pub(super) file_bytes: u64,
}

/// Reads blocks and keeps the sums.
pub(super) struct Input<R> {
    reader: R,
    crc: crc32fast::Hasher,
    /// Where the next block begins.
    pub(super) offset: u64,
}

impl Block {
    fn kind(&self) -> u8 {
        match self {
            Self::Header(_) => 1,
            Self::Chunk(_) => 2,
            Self::Trailer { .. } => 3,
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        match self {
            Self::Header(header) => {
                out.bytes(header.cluster.as_bytes())
                    .varint(header.revision.0)
                    .bytes(header.created_by.as_bytes());
            }
            Self::Chunk(items) => {
                out.list(items, |out, item| item.encode(out));
            }
            Self::Trailer { items, bytes, crc } => {
                out.varint(*items).varint(*bytes).u32(*crc);
            }
        }
        out.into_vec()
    }

    fn decode(kind: u8, body: Bytes) -> Result<Self, DecodeError> {
        let mut input = Reader::new(body);
        let block = match kind {
            1 => Self::Header(Header {
                cluster: input.string("cluster")?,
                revision: Revision(input.varint("revision")?),
                created_by: input.string("release")?,
            }),
            2 => Self::Chunk(input.list("items", Item::decode)?),
            3 => Self::Trailer {
                items: input.varint("count of items")?,
                bytes: input.varint("count of bytes")?,
                crc: input.u32("sum of the file")?,
            },
            _ => return Err(input.malformed("kind of block")),
        };
        input.end("block")?;
        Ok(block)
    }
}

impl<W: Write> Output<W> {
    /// Begins a file.
    pub(super) fn begin(writer: W) -> Result<Self, BackupError> {
        let mut output = Self { writer, crc: crc32fast::Hasher::new(), file_bytes: 0 };
        output.write(MAGIC)?;
        output.write(&VERSION.to_le_bytes())?;
        Ok(output)
    }

    /// Writes one block.
    pub(super) fn block(&mut self, block: &Block) -> Result<(), BackupError> {
        let body = block.encode();
        let len = u32::try_from(body.len()).ok().filter(|&len| len <= MAX_BLOCK_BYTES);
        let len = len.expect("an item came in a frame, and is no longer than one");
        let kind = block.kind();
        self.write(&[kind])?;
        self.write(&len.to_le_bytes())?;
        self.write(&sum(kind, len, &body).to_le_bytes())?;
        self.write(&body)
    }

    /// Writes the trailer.
    pub(super) fn finish(mut self, items: u64, bytes: u64) -> Result<u64, BackupError> {
        let crc = self.crc.clone().finalize();
        self.block(&Block::Trailer { items, bytes, crc })?;
        self.writer.flush().map_err(|source| BackupError::Io { action: "write", source })?;
        Ok(self.file_bytes)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.crc.update(bytes);
        self.file_bytes += bytes.len() as u64;
        self.writer.write_all(bytes).map_err(|source| BackupError::Io { action: "write", source })
    }
}

impl<R: Read> Input<R> {
    /// Begins to read a file.
    pub(super) fn begin(reader: R) -> Result<Self, BackupError> {
        let mut input = Self { reader, crc: crc32fast::Hasher::new(), offset: 0 };
        let head = input.read(MAGIC.len() as u64 + 2)?;
        if head.len() < MAGIC.len() + 2 || !head.starts_with(MAGIC) {
            return Err(BackupError::Format { what: "the file is not a Cairn backup".into() });
        }
        let version = u16::from_le_bytes([head[8], head[9]]);
        if version != VERSION {
            let what = format!(
                "the backup has format {version}, this release reads {VERSION}; use the release \
                 that took it"
            );
            return Err(BackupError::Format { what });
        }
        input.take_in(&head);
        Ok(input)
    }

    /// The next block. The trailer is checked against the sum of what stands before it, and must be
    /// the end of the file.
    pub(super) fn block(&mut self) -> Result<Block, BackupError> {
        let head = self.read(BLOCK_HEADER_BYTES as u64)?;
        if head.len() < BLOCK_HEADER_BYTES {
            return Err(self.damaged("the file is cut off"));
        }
        let word = |at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (kind, len, crc) = (head[0], word(1), word(5));
        if len > MAX_BLOCK_BYTES {
            return Err(self.damaged("a block claims to be longer than any block is"));
        }
        let body = self.read(u64::from(len))?;
        if body.len() < len as usize {
            return Err(self.damaged("the file is cut off"));
        }
        if sum(kind, len, &body) != crc {
            return Err(self.damaged("a block's checksum does not hold"));
        }
        let before = self.crc.clone().finalize();
        let block = Block::decode(kind, Bytes::from(body.clone()))
            .map_err(|e| self.damaged(&e.to_string()))?;
        if matches!(block, Block::Trailer { crc, .. } if crc != before) {
            return Err(self.damaged("the checksum of the whole does not hold"));
        }
        self.take_in(&head);
        self.take_in(&body);
        if matches!(block, Block::Trailer { .. }) && !self.read(1)?.is_empty() {
            return Err(self.damaged("there is something behind the trailer"));
        }
        Ok(block)
    }

    /// An error that says where.
    pub(super) fn damaged(&self, what: &str) -> BackupError {
        BackupError::Damaged { offset: self.offset, what: what.to_owned() }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.offset += bytes.len() as u64;
    }

    /// So many bytes, or fewer if the file ends.
    fn read(&mut self, len: u64) -> Result<Vec<u8>, BackupError> {
        let mut bytes = Vec::new();
        match self.reader.by_ref().take(len).read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Ok(bytes),
            Err(source) => Err(BackupError::Io { action: "read", source }),
        }
    }
}

fn sum(kind: u8, len: u32, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    crc.update(&len.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../docs/formats/backup.md");

    fn blocks() -> Vec<Block> {
        let header =
            Header { cluster: "prod".into(), revision: Revision(300), created_by: "0.1.0".into() };
        let item = Item {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"hello"),
            created: Revision(7),
            modified: Revision(300),
            version: 2,
            lease: 0,
        };
        vec![Block::Header(header), Block::Chunk(vec![item])]
    }

    /// The page's example, of format 1: of each line, what stands before its words.
    fn golden() -> Vec<u8> {
        let text = PAGE.split("```text\n").nth(1).expect("an example");
        let text = text.split("```").next().expect("its end");
        let byte = |word: &str| u8::from_str_radix(word, 16).ok().filter(|_| word.len() == 2);
        text.lines().flat_map(|line| line.split_whitespace().map_while(byte)).collect()
    }

    #[test]
    fn golden_bytes_are_written() {
        let mut file = Vec::new();
        let mut output = Output::begin(&mut file).expect("it is memory");
        for block in blocks() {
            output.block(&block).expect("it is memory");
        }
        let file_bytes = output.finish(1, 6).expect("it is memory");
        assert_eq!(file_bytes, file.len() as u64);
        let hex: Vec<String> = file.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(file, golden(), "{}", hex.concat());
    }

    #[test]
    fn golden_bytes_are_read() {
        let golden = golden();
        let mut input = Input::begin(&golden[..]).expect("it is whole");
        for block in blocks() {
            assert_eq!(input.block().expect("it is whole"), block);
        }
        let trailer = input.block().expect("it is whole");
        assert!(matches!(trailer, Block::Trailer { items: 1, bytes: 6, .. }), "{trailer:?}");
    }
}
