//! What the engine asks of its base: four ordered maps from bytes to bytes, changed atomically,
//! with snapshots.
//!
//! Everything that knows of versions, revisions and groups is written once, above this line; below
//! it are [`lsm`] on disk and [`image`] in memory. What both share of it is [`sieve`]: which
//! versions no reader sees any more, so that they may go when they come by.

pub(crate) mod image;
pub(crate) mod lsm;
pub(crate) mod sieve;
mod sweep;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use wire::{Revision, SpaceId};

use crate::{JobError, ReadError, Stats};

/// The maps. See `codec` for their keys. Their order is the order of the tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Rows,
    History,
    Meta,
    Applied,
}

impl Table {
    pub(crate) const ALL: [Self; 4] = [Self::Rows, Self::History, Self::Meta, Self::Applied];

    /// The byte that stands for it in chunks and in runs.
    pub(crate) fn tag(self) -> u8 {
        match self {
            Self::Rows => 0,
            Self::History => 1,
            Self::Meta => 2,
            Self::Applied => 3,
        }
    }

    pub(crate) fn from_tag(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.tag() == tag)
    }
}

/// A half-open range of keys; `end` is `None` if it has no end.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

/// Revisions, one for each space that has one: below it no reader looks.
pub(crate) type Watermarks = BTreeMap<SpaceId, Revision>;

/// What a commit does beside its puts.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// For errors.
    pub(crate) action: &'static str,
    /// What is in there before the commit goes. If there are any, then every put lies in one.
    pub(crate) clears: Vec<(Table, Span)>,
    /// Watermarks to be raised, with the puts and not before. Those of spaces that are cleared
    /// are forgotten.
    pub(crate) watermarks: Watermarks,
}

/// The base, as its one writer sees it.
///
/// After [`JobError::DiskFull`] nothing has changed, and what was asked may be asked again. After
/// any other error of the disk the store is of no use until it is opened anew.
pub(crate) trait Store: Send {
    /// All that was committed so far. Stays what it is.
    fn snapshot(&self) -> Arc<dyn Snapshot>;

    /// Does `work`, and makes its changes visible and durable all together, or not at all.
    fn commit(
        &mut self,
        commit: &Commit,
        work: &mut dyn FnMut(&mut dyn Changes) -> Result<(), JobError>,
    ) -> Result<(), JobError>;

    /// Does one bounded piece of what keeps the store small and quick: see [`Snapshot::due`].
    fn upkeep(&mut self) -> Result<(), JobError>;

    /// What it has done since it was opened, and how it is.
    fn stats(&self) -> Stats;
}

/// Changes of one commit. They come in the order of tables, and of keys within one; no key twice.
pub(crate) trait Changes {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), JobError>;
    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), JobError>;
}

/// Whether a store has upkeep to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// None.
    Nothing,
    /// Some, when there is time.
    Upkeep,
    /// So much that no commit should come before it.
    UpkeepFirst,
}

/// Is shown a key and its value.
pub(crate) type Visitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<(), ReadError>;

/// A consistent look at the base, from any thread.
pub(crate) trait Snapshot: Send + Sync {
    /// The keys of `span` in order. The cursor stands before the first.
    fn range<'a>(&'a self, table: Table, span: &Span) -> Result<Box<dyn Cursor + 'a>, ReadError>;

    /// Shows the first row at or behind `start` to `visit`, if its key begins with the first
    /// `prefix` bytes of `start`, which are what all versions of a key begin with. Whether there
    /// was one.
    fn find(&self, start: &[u8], prefix: usize, visit: Visitor<'_>) -> Result<bool, ReadError>;

    /// The same, read anew from where it is kept: nothing that was read before is believed, and nothing is
    /// kept that others would need. `None` if nothing is ever kept.
    fn afresh(&self) -> Option<Arc<dyn Snapshot>> {
        None
    }

    /// Bytes of keys and values in all tables, roughly; 0 where nobody needs to know.
    fn data_bytes(&self) -> usize;

    /// What there is to be done at this state. Cheap, for it is asked often.
    fn due(&self) -> Due;
}

/// Walks over a range. Lends each key and value until the next step.
pub(crate) trait Cursor {
    /// Steps to the next key; `false` at the end.
    fn step(&mut self) -> Result<bool, ReadError>;

    /// Steps to the first key at or behind `target`, forwards only; `false` at the end.
    fn seek(&mut self, target: &[u8]) -> Result<bool, ReadError>;

    /// The key that the last step found.
    fn key(&self) -> &[u8];

    /// Its value.
    fn value(&self) -> &[u8];

    /// Its value without the first `skip` bytes, to be kept: a part of what was read, if it is not too
    /// small a part of it to hold all of that for.
    ///
    /// # Panics
    ///
    /// When the value has fewer bytes.
    fn keep_value(&self, skip: usize) -> Bytes {
        Bytes::copy_from_slice(&self.value()[skip..])
    }
}
