//! A group's durable state, in chunks.
//!
//! All versions of its spaces that the base holds, and their history: so a replica that was built
//! from it serves past revisions and watches as the others do. Then the group's meta entries and
//! its applied position. Nothing is kept between two chunks but the cursor, so that any of them
//! can be read again.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use consensus::Position;
use wire::{GroupId, SpaceId};

use crate::chunk::{ChunkWriter, Follows};
use crate::store::{Snapshot, Span, Table};
use crate::{Checkpoint, Chunk, ReadError, codec};

/// A checkpoint: a snapshot of the base, and what of it belongs to the group.
pub(crate) struct Shot {
    base: Arc<dyn Snapshot>,
    group: GroupId,
    sections: Vec<(Table, Span)>,
    applied: Position,
    chunk_bytes: usize,
}

impl Shot {
    pub(crate) fn new(
        base: Arc<dyn Snapshot>,
        group: GroupId,
        spaces: &[SpaceId],
        applied: Position,
        chunk_bytes: usize,
    ) -> Self {
        // An ingest takes entries in the order of their keys.
        let spaces: BTreeSet<SpaceId> = spaces.iter().copied().collect();
        let mut sections = Vec::with_capacity(spaces.len() * 2 + 1);
        for table in [Table::Rows, Table::History] {
            sections.extend(spaces.iter().map(|&space| (table, space_span(space))));
        }
        sections.push((Table::Meta, group_span(group)));
        Self { base, group, sections, applied, chunk_bytes }
    }
}

/// All rows, or all history, of a space.
pub(crate) fn space_span(space: SpaceId) -> Span {
    Span { start: codec::space_start(space), end: codec::space_end(space) }
}

/// All meta entries of a group.
pub(crate) fn group_span(group: GroupId) -> Span {
    Span { start: codec::meta_key(group, &[]), end: codec::meta_end(group) }
}

impl Checkpoint for Shot {
    fn applied(&self) -> Position {
        self.applied
    }

    fn read(&self, sequence: u64, cursor: &[u8]) -> Result<(Chunk, Bytes), ReadError> {
        let mut chunk = ChunkWriter::new(sequence);
        let (first, mut resume) = decode_cursor(cursor)?;
        for (section, (table, span)) in self.sections.iter().enumerate().skip(first) {
            let start = resume.take().unwrap_or_else(|| span.start.clone());
            let mut rows = self.base.range(*table, &Span { start, end: span.end.clone() })?;
            while rows.step()? {
                chunk.add(*table, rows.key(), rows.value());
                if chunk.len() >= self.chunk_bytes {
                    let next = encode_cursor(section, rows.key());
                    let bytes = chunk.finish(Follows::More);
                    return Ok((Chunk { sequence, bytes, last: false }, next));
                }
            }
        }
        let position = codec::position(self.applied);
        chunk.add(Table::Applied, &codec::meta_key(self.group, &[]), &position);
        let bytes = chunk.finish(Follows::Nothing);
        Ok((Chunk { sequence, bytes, last: true }, Bytes::new()))
    }
}

/// Where the next chunk begins: in which section, and behind which key.
fn encode_cursor(section: usize, key: &[u8]) -> Bytes {
    let section = u32::try_from(section).expect("a node has far fewer spaces");
    Bytes::from([&section.to_be_bytes(), key].concat())
}

fn decode_cursor(cursor: &[u8]) -> Result<(usize, Option<Vec<u8>>), ReadError> {
    if cursor.is_empty() {
        return Ok((0, None));
    }
    let (section, key) =
        cursor.split_first_chunk::<4>().ok_or_else(|| codec::damaged("checkpoint cursor"))?;
    // The smallest key behind another is that key and a zero.
    let behind = [key, &[0]].concat();
    Ok((u32::from_be_bytes(*section) as usize, Some(behind)))
}
