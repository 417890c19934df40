//! From a cluster into a file.

use std::io::Write;

use wire::{Item, KeyRange};

use super::format::{Block, CHUNK_BYTES, Header, Output};
use super::{BackupError, Progress, Summary};
use crate::Client;

/// Writes all keys, as they are at one revision, into `writer`; tells `progress` after each page.
/// What is written is not a backup before this returns: keep it under another name until then, and
/// sync it.
pub async fn save(
    client: &Client,
    writer: impl Write,
    progress: &mut dyn FnMut(Progress),
) -> Result<Summary, BackupError> {
    let status = client.status(None).await?;
    let mut output = Output::begin(writer)?;
    let mut scan = client.scan(KeyRange::all());
    let mut header = None;
    let mut done = Progress::default();
    while let Some(page) = scan.next().await? {
        if header.is_none() {
            let new = Header {
                cluster: status.cluster.clone(),
                revision: page.header.revision,
                created_by: env!("CARGO_PKG_VERSION").to_owned(),
            };
            output.block(&Block::Header(new.clone()))?;
            header = Some(new);
        }
        for item in &page.value.items {
            done.items += 1;
            done.bytes += size(item);
        }
        for chunk in chunks(page.value.items) {
            output.block(&Block::Chunk(chunk))?;
        }
        progress(done);
    }
    let Header { cluster, revision, created_by } = header.expect("a scan has one page at least");
    let file_bytes = output.finish(done.items, done.bytes)?;
    Ok(Summary { cluster, revision, created_by, items: done.items, bytes: done.bytes, file_bytes })
}

/// An item's bytes of key and value.
pub(super) fn size(item: &Item) -> u64 {
    (item.key.len() + item.value.len()) as u64
}

/// Items in parts that one command can carry; an item that is larger goes alone.
fn chunks(items: Vec<Item>) -> Vec<Vec<Item>> {
    // Beside key and value: four numbers and two lengths.
    const OVERHEAD_BYTES: u64 = 6 * 10;
    let mut chunks: Vec<Vec<Item>> = Vec::new();
    let mut room = 0;
    for item in items {
        let bytes = size(&item) + OVERHEAD_BYTES;
        if let Some(chunk) = chunks.last_mut().filter(|_| bytes <= room) {
            chunk.push(item);
        } else {
            chunks.push(vec![item]);
            room = CHUNK_BYTES as u64;
        }
        room = room.saturating_sub(bytes);
    }
    chunks
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wire::Revision;

    use super::*;

    #[test]
    fn a_chunk_stays_below_its_limit_unless_one_item_is_larger() {
        let item = |len: usize| Item {
            key: Bytes::from_static(b"k"),
            value: Bytes::from(vec![0; len]),
            created: Revision(1),
            modified: Revision(1),
            version: 1,
            lease: 0,
        };
        let sizes = |items: Vec<Item>| chunks(items).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(vec![]), Vec::<usize>::new());
        assert_eq!(sizes(vec![item(10), item(10)]), [2]);
        assert_eq!(sizes(vec![item(10), item(2 << 20), item(10), item(10)]), [1, 1, 2]);
        assert_eq!(sizes((0..5).map(|_| item(400 << 10)).collect()), [2, 2, 1]);
    }
}
