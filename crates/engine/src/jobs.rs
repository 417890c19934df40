//! What passes between the two halves of an engine.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use consensus::Position;
use wire::{GroupId, SpaceId};

use crate::recent::Recent;
use crate::store::{Snapshot, Watermarks};
use crate::{Chunk, Stats};

/// Changes of meta entries that wait for a flush.
pub(crate) type Meta = BTreeMap<GroupId, BTreeMap<Bytes, Option<Bytes>>>;

/// All that one flush makes durable. Nothing is added to it any more.
pub(crate) struct Frozen {
    pub(crate) table: Arc<Recent>,
    pub(crate) meta: Meta,
    pub(crate) applied: BTreeMap<GroupId, Position>,
    pub(crate) watermarks: Watermarks,
}

impl fmt::Debug for Frozen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frozen").field("applied", &self.applied).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(crate) enum JobKind {
    /// `retired` is an earlier flush's table: thousands of allocations that the node's thread had
    /// better not free. The worker drops it.
    Flush {
        frozen: Arc<Frozen>,
        retired: Option<Retired>,
    },
    Upkeep,
    Stage {
        group: GroupId,
        chunk: Chunk,
    },
    Ingest {
        group: GroupId,
        spaces: Vec<SpaceId>,
    },
}

/// A table that is in the base by now.
pub(crate) struct Retired(
    #[expect(dead_code, reason = "held to be dropped")] pub(crate) Arc<Recent>,
);

impl fmt::Debug for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Retired")
    }
}

/// The base as a job left it.
pub(crate) struct Base(pub(crate) Arc<dyn Snapshot>);

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Base")
    }
}

#[derive(Debug)]
pub(crate) enum DoneKind {
    Flushed {
        base: Base,
        stats: Stats,
    },
    KeptUp {
        base: Base,
        stats: Stats,
    },
    /// A flush or upkeep found no room, and nothing was done.
    NoRoom {
        work: NoRoomFor,
    },
    Staged {
        group: GroupId,
        sequence: u64,
    },
    Ingested {
        group: GroupId,
        applied: Position,
        base: Base,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoRoomFor {
    Flush,
    Upkeep,
}
