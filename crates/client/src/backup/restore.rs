//! From a file into an empty store; and whether a file is whole.

use std::io::{BufReader, Read, Seek, SeekFrom};

use bytes::Bytes;
use wire::{Body, Item, RestoreChunk, Revision, check_key};

use super::format::{Block, Header, Input};
use super::save::size;
use super::{BackupError, Progress, Summary};
use crate::{Client, Error, WriteOptions};

/// Reads a backup through: whether it is whole, and what it holds.
pub fn verify(reader: impl Read) -> Result<Summary, BackupError> {
    let mut contents = Contents::begin(reader)?;
    while contents.next()?.is_some() {}
    Ok(contents.summary())
}

/// Puts a backup into an empty store; tells `progress` after each chunk. The file is verified before
/// the first byte of it is used. If this fails later, the store stays closed, for it holds a part of
/// the backup: restore into a new cluster.
pub async fn restore(
    client: &Client,
    mut reader: impl Read + Seek,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, BackupError> {
    let io = |source| BackupError::Io { action: "read", source };
    let start = reader.stream_position().map_err(io)?;
    let summary = verify(&mut reader)?;
    reader.seek(SeekFrom::Start(start)).map_err(io)?;
    let mut contents = Contents::begin(reader)?;
    let mut next = || contents.next();
    fill(client, summary.revision, summary.items, &mut next, progress).await?;
    Ok(summary)
}

/// Puts items into an empty store, which stands at `revision` then; tells `progress` after each chunk.
/// `next` gives the items chunk by chunk, in the order of their keys, each of about [`super::CHUNK_BYTES`] as
/// one command can carry it, `total` of them in all. If this fails after the first chunk, the store
/// stays closed, for it holds a part of them.
pub async fn fill<E: From<Error>>(
    client: &Client,
    revision: Revision,
    total: u64,
    next: &mut dyn FnMut() -> Result<Option<Vec<Item>>, E>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), E> {
    let mut chunk = next()?;
    let mut sequence = 0;
    let mut done = Progress { total: Some(total), ..Progress::default() };
    let restore = client.draw();
    loop {
        // The last chunk opens the store: so each is held back until it is known what follows.
        let after = next()?;
        let last = after.is_none();
        // A store without keys is restored too: its revision counts.
        let items = chunk.unwrap_or_default();
        done.items += items.len() as u64;
        done.bytes += items.iter().map(size).sum::<u64>();
        let body = Body::Restore(RestoreChunk { restore, sequence, items, revision, last });
        client.execute(body, WriteOptions::default()).await?;
        progress(done);
        if last {
            return Ok(());
        }
        chunk = after;
        sequence += 1;
    }
}

/// The items of a backup, chunk by chunk, with everything checked that can be.
struct Contents<R: Read> {
    input: Input<BufReader<R>>,
    header: Header,
    done: Progress,
    last_key: Bytes,
    over: bool,
}

impl<R: Read> Contents<R> {
    fn begin(reader: R) -> Result<Self, BackupError> {
        let mut input = Input::begin(BufReader::new(reader))?;
        let offset = input.offset;
        let Block::Header(header) = input.block()? else {
            let what = "the header is missing".into();
            return Err(BackupError::Damaged { offset, what });
        };
        let done = Progress::default();
        let last_key = Bytes::new();
        Ok(Self { input, header, done, last_key, over: false })
    }

    /// The next chunk; `None` behind the last one, when the trailer was found to hold.
    fn next(&mut self) -> Result<Option<Vec<Item>>, BackupError> {
        if self.over {
            return Ok(None);
        }
        let offset = self.input.offset;
        let damaged = |what: &str| BackupError::Damaged { offset, what: what.into() };
        match self.input.block()? {
            Block::Header(_) => Err(damaged("there is a second header")),
            Block::Chunk(items) => {
                for item in &items {
                    self.check(item).map_err(damaged)?;
                }
                Ok(Some(items))
            }
            Block::Trailer { items, bytes, .. } => {
                if (items, bytes) != (self.done.items, self.done.bytes) {
                    return Err(damaged("the trailer counts otherwise"));
                }
                self.over = true;
                Ok(None)
            }
        }
    }

    fn check(&mut self, item: &Item) -> Result<(), &'static str> {
        if check_key(&item.key).is_err() {
            return Err("a key is empty or too long");
        }
        if item.key <= self.last_key {
            return Err("the keys are out of order");
        }
        if item.created > item.modified || item.modified > self.header.revision {
            return Err("an item is later than the backup's revision");
        }
        self.last_key = item.key.clone();
        self.done.items += 1;
        self.done.bytes += size(item);
        Ok(())
    }

    fn summary(self) -> Summary {
        let Header { cluster, revision, created_by } = self.header;
        let Progress { items, bytes, .. } = self.done;
        Summary { cluster, revision, created_by, items, bytes, file_bytes: self.input.offset }
    }
}
