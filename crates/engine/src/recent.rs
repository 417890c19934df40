//! The table of recent versions: what was written and is not yet in the base.
//!
//! One thread writes, any thread reads, and neither waits for the other. A reader sees rows appear
//! one by one; that a batch is seen as a whole or not at all is the host's doing: it hands
//! revisions to readers only after [`crate::Engine::write`] has returned, and a reader asks for no
//! version above the revision that it was handed.

use std::ops::Bound;

use bytes::Bytes;
use crossbeam_skiplist::SkipMap;
use crossbeam_skiplist::map::Entry;
use wire::{Revision, SpaceId};

use crate::config::ROW_OVERHEAD_BYTES;
use crate::{Cell, Row, codec};

pub(crate) type RowEntry<'a> = Entry<'a, Bytes, Option<Cell>>;
pub(crate) type HistoryEntry<'a> = Entry<'a, [u8; 16], Bytes>;

/// How much is in a table, or in a part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) bytes: usize,
    pub(crate) rows: usize,
}

/// Versions in memory, and the order in which they were made.
#[derive(Default)]
pub(crate) struct Recent {
    rows: SkipMap<Bytes, Option<Cell>>,
    history: SkipMap<[u8; 16], Bytes>,
}

impl Recent {
    /// Takes in the rows of one batch. From the last to the first, so that of two versions of
    /// one key in one revision the later is kept: there is no earlier one to be seen.
    pub(crate) fn insert(&self, rows: Vec<Row>) -> Size {
        let mut size = Size::default();
        let may_repeat = rows.len() > 1;
        let orders = 0..u32::try_from(rows.len()).expect("a batch comes out of a few commands");
        for (order, row) in orders.zip(rows).rev() {
            assert!(!row.key.is_empty(), "a row without a key");
            let key = Bytes::from(codec::row_key(row.space, &row.key, row.revision));
            if may_repeat && self.rows.contains_key(&key) {
                continue;
            }
            size.bytes += row_bytes(&key, row.cell.as_ref());
            size.rows += 1;
            self.rows.insert(key, row.cell);
            self.history.insert(codec::history_key(row.space, row.revision, order), row.key);
        }
        size
    }

    /// Two tables from this one: what lies in `spaces`, and the rest. This one stays what it is, for
    /// those who hold it.
    pub(crate) fn split(&self, spaces: &[SpaceId]) -> (Self, Self, Size) {
        let (inside, outside) = (Self::default(), Self::default());
        let mut size = Size::default();
        for entry in &self.rows {
            let (key, cell) = (entry.key(), entry.value());
            let in_spaces = lies_in(spaces, key);
            if !in_spaces {
                size.bytes += row_bytes(key, cell.as_ref());
                size.rows += 1;
            }
            let table = if in_spaces { &inside } else { &outside };
            table.rows.insert(key.clone(), cell.clone());
        }
        for entry in &self.history {
            let table = if lies_in(spaces, entry.key()) { &inside } else { &outside };
            table.history.insert(*entry.key(), entry.value().clone());
        }
        (inside, outside, size)
    }

    /// The first version at or behind `key`, in key order.
    pub(crate) fn row_from(&self, key: &[u8]) -> Option<RowEntry<'_>> {
        self.rows.lower_bound::<[u8]>(Bound::Included(key))
    }

    /// The first change at or behind `key`.
    pub(crate) fn history_from(&self, key: &[u8]) -> Option<HistoryEntry<'_>> {
        self.history.lower_bound::<[u8]>(Bound::Included(key))
    }

    /// The revision of the last change of a space.
    pub(crate) fn newest_change(&self, space: SpaceId) -> Option<Revision> {
        let last = codec::history_key(space, Revision(u64::MAX), u32::MAX);
        let entry = self.history.upper_bound(Bound::Included(&last))?;
        let (found, revision) = codec::decode_history_key(entry.key()).ok()?;
        (found == space).then_some(revision)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = RowEntry<'_>> {
        self.rows.iter()
    }

    pub(crate) fn history(&self) -> impl Iterator<Item = HistoryEntry<'_>> {
        self.history.iter()
    }
}

fn lies_in(spaces: &[SpaceId], key: &[u8]) -> bool {
    let within = |space: &SpaceId| {
        key >= &codec::space_start(*space)[..]
            && codec::space_end(*space).is_none_or(|end| key < &end[..])
    };
    spaces.iter().any(within)
}

fn row_bytes(key: &[u8], cell: Option<&Cell>) -> usize {
    ROW_OVERHEAD_BYTES + key.len() + cell.map_or(0, |cell| cell.value.len())
}
