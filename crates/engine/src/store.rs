//! What the engine asks of its base: four ordered maps from bytes to bytes, changed atomically,
//! with snapshots.
//!
//! Everything that knows of versions, revisions and groups is written once, above this line; below
//! it are [`tree`] on disk and [`image`] in memory.

pub(crate) mod image;
pub(crate) mod sealed;
pub(crate) mod suspect;
pub(crate) mod tree;

use std::sync::Arc;

use crate::{JobError, ReadError};

/// The maps. See `codec` for their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    Rows,
    History,
    Meta,
    Applied,
}

impl Table {
    pub(crate) const ALL: [Self; 4] = [Self::Rows, Self::History, Self::Meta, Self::Applied];

    /// The byte that stands for it in chunks.
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

/// What is done with a transaction's effects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// They survive a crash when the commit returns.
    Now,
    /// They may be lost in a crash, all together: the work can be done again.
    WithTheNext,
}

/// The base, as its one writer sees it.
pub(crate) trait Store: Send {
    /// All that was committed so far. Stays what it is.
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, JobError>;

    /// Does `work`, and makes its changes visible and durable all together, or not at all.
    fn commit(
        &mut self,
        action: &'static str,
        durability: Durability,
        work: &mut dyn FnMut(&mut dyn Changes) -> Result<(), JobError>,
    ) -> Result<(), JobError>;
}

/// Changes of one transaction.
pub(crate) trait Changes {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), JobError>;
    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), JobError>;
    fn clear(&mut self, table: Table, span: &Span) -> Result<(), JobError>;
}

/// A consistent look at the base, from any thread.
pub(crate) trait Snapshot: Send + Sync {
    /// The keys of `span` in order. The cursor stands before the first.
    fn range(&self, table: Table, span: &Span) -> Result<Box<dyn Cursor + '_>, ReadError>;

    /// Bytes of keys and values in all tables, roughly; 0 where nobody needs to know.
    fn data_bytes(&self) -> usize;
}

/// Walks over a range. Lends each key and value until the next step.
pub(crate) trait Cursor {
    /// Steps to the next key; `false` at the end.
    fn step(&mut self) -> Result<bool, ReadError>;

    /// The key that the last step found.
    fn key(&self) -> &[u8];

    /// Its value.
    fn value(&self) -> &[u8];
}
