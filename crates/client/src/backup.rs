//! Backups: a store's whole state at one revision in one file, and back from it into an empty store.
//!
//! The file is described byte by byte in `docs/formats/backup.md`. It is a row of blocks, each with
//! its own checksum, closed by a trailer that counts and sums up all before it; so a file that was
//! cut off, or changed anywhere, is known as such.
//!
//! # Invariants
//!
//! * All of a backup is one revision: its pages are read at the revision of the first one.
//! * Nothing is restored from a file that is not whole: it is read through once before.

mod format;
mod restore;
mod save;

use wire::{Outcome, Revision};

pub use format::CHUNK_BYTES;
pub use restore::{fill, restore, verify};
pub use save::save;

use crate::Error;

/// How far it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Keys so far.
    pub items: u64,
    /// Bytes of keys and values so far.
    pub bytes: u64,
    /// Keys in all, where that is known.
    pub total: Option<u64>,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The cluster it was taken from.
    pub cluster: String,
    /// The revision at which it was taken.
    pub revision: Revision,
    /// The release that took it.
    pub created_by: String,
    /// Keys.
    pub items: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}

/// A backup was not taken, or not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Not done. The file is no backup, or one of another release.
    #[error("{what}")]
    Format {
        /// What was found.
        what: String,
    },
    /// Not done: nothing was restored. Use another copy of the backup.
    #[error("the backup is damaged at byte {offset}: {what}")]
    Damaged {
        /// Where the block that does not hold begins.
        offset: u64,
        /// What does not hold.
        what: String,
    },
    /// Unknown: of the file a part may be written, and a restore may have been begun. Begin afresh, the
    /// restore in a new cluster.
    #[error("{action} the backup: {source}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// What the cluster said. A store into which a restore was begun stays closed: restore into a new
    /// cluster.
    #[error(transparent)]
    Cluster(#[from] Error),
}

impl BackupError {
    /// What holds after this error.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Format { .. } | Self::Damaged { .. } => Outcome::NotDone,
            Self::Io { .. } => Outcome::Unknown,
            Self::Cluster(error) => error.outcome(),
        }
    }
}
