//! The node's write-ahead log: one for all the groups that the node hosts, over a [`disk::Disk`].
//!
//! # Durability
//!
//! [`Journal::append`] writes one batch; [`Journal::sync`] makes it durable. Whatever queued while
//! the last sync ran goes out in the next batch: that is group commit, and the host does it by
//! handing over one batch at a time. Nothing may be said to a peer or a client on the strength of
//! a batch before `sync` has returned for it.
//!
//! # Errors have one answer each
//!
//! * A failed write or sync poisons the journal: every later call fails, and the node must stop.
//!   It is never retried, for after a failed sync the page cache lies.
//! * Disk full is found *before* a batch is begun, when a new segment can't be allocated:
//!   [`AppendError::DiskFull`] leaves the journal whole, and nothing of the batch is written.
//! * A torn tail (a crash in mid-batch, nothing after it) is cut off at [`Journal::open`], silently
//!   but counted.
//! * Damage *before* the tail — a batch that is broken although a later batch proves that it had
//!   been synced — is never dropped in silence: see [`Recovered::damage`].
//!
//! # What can't be told
//!
//! When the *last* batch rots before anything stands after it, that looks like a torn tail, and is
//! cut off as one. [`Journal::seal`] narrows that window to the time between a sync and the next
//! idle moment; [`Journal::close`] shuts it. A last segment that vanishes as a whole is not noticed
//! either.
//!
//! # Where things are
//!
//! `layout` knows bytes, `files` names, `logs` what the records add up to. `scan` and `replay` read
//! them back and judge their end, `recovery` mends what they found, `verify` only tells it, `journal`
//! appends. The format, byte by byte, is `docs/formats/journal.md`.

mod config;
mod damage;
mod errors;
mod files;
mod inspect;
mod journal;
mod layout;
mod logs;
mod plan;
mod recovery;
mod replay;
mod scan;
mod verify;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use consensus::{Entry, HardState, Membership, Position};

pub use crate::config::Config;
#[cfg(feature = "planted")]
pub use crate::config::Planted;
pub use crate::damage::{Damage, Reason};
pub use crate::errors::{
    AppendError, ClearDamageError, DiskFailure, InspectError, OpenError, SyncError,
};
pub use crate::inspect::{Line, Seen, inspect};
pub use crate::journal::Journal;
pub use crate::verify::{Extent, Finding, Flaw, Verified, verify};

/// Names one log (one group's) within the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId(pub u64);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "log {}", self.0)
    }
}

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A new promise or vote.
    HardState {
        /// Whose.
        log: LogId,
        /// The promise.
        hard_state: HardState,
    },
    /// The log begins after `base` now. If the log held another entry at that index, or none, all
    /// its entries are void.
    Base {
        /// Whose.
        log: LogId,
        /// The new beginning.
        base: Position,
    },
    /// The membership in force at the log's base, from here on.
    Membership {
        /// Whose.
        log: LogId,
        /// The membership.
        membership: Arc<Membership>,
    },
    /// An entry; it replaces the log from its index on. That lies after the log's base, and at
    /// most one after its last entry.
    Entry {
        /// Whose.
        log: LogId,
        /// The entry.
        entry: Entry,
    },
    /// The log is no more: its replica was removed from this node. Its promise is forgotten too.
    Forget {
        /// Which.
        log: LogId,
    },
}

impl Record {
    /// Whose record it is.
    pub fn log(&self) -> LogId {
        match self {
            Self::HardState { log, .. }
            | Self::Base { log, .. }
            | Self::Membership { log, .. }
            | Self::Entry { log, .. }
            | Self::Forget { log } => *log,
        }
    }
}

/// What [`Journal::open`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Every log that the journal knows.
    pub logs: BTreeMap<LogId, RecoveredLog>,
    /// Something that had been synced is gone, now or at an earlier open, and
    /// [`Journal::clear_damage`] was not called since. Promises and acknowledgements of any log
    /// may be missing. `logs` is what stood before the damage; only promises are from after it.
    pub damage: Option<Damage>,
    /// Bytes of a torn tail that were cut off, as far as one can tell.
    pub torn_tail_bytes: u64,
    /// Number of the last batch that counts.
    pub last_batch: u64,
}

/// What the journal holds of one log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveredLog {
    /// Last promise or vote.
    pub hard_state: HardState,
    /// The log begins after this.
    pub base: Position,
    /// The membership in force there, if one was ever written.
    pub membership: Option<Arc<Membership>>,
    /// Its entries, without gaps, the first right after `base`.
    pub entries: Vec<Entry>,
}

/// What a journal has done since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Batches appended, without seals and restatements.
    pub appends: u64,
    /// Bytes written to segments.
    pub bytes: u64,
    /// Syncs of segments that had something to sync.
    pub syncs: u64,
    /// Segments that were made, full of zeros.
    pub segments_created: u64,
    /// Segments that were released and kept as spares.
    pub segments_recycled: u64,
    /// Segments that were released and removed.
    pub segments_removed: u64,
    /// Bytes of a torn tail that were cut off at open.
    pub torn_tail_bytes: u64,
}
