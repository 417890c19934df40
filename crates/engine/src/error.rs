//! What can go wrong: in reading, in a job, in opening.
//!
//! None of these is ever met with a retry on the same base: see each variant for what to do.

use std::io;

use wire::Outcome;

/// A failed or impossible read. The base is damaged or its disk fails: the node must stop serving.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk answered with an error.
    #[error("{action}: {reason}")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// What the storage said.
        reason: String,
    },
    /// Bytes that were read back are not what was written.
    #[error("damaged row in the storage engine: {what}")]
    Damaged {
        /// What does not hold.
        what: String,
    },
}

impl ReadError {
    pub(crate) fn disk(action: &'static str, error: &io::Error) -> Self {
        Self::Storage { action, reason: error.to_string() }
    }
}

/// A job failed. It is done as a whole or not at all; the next opening shows which.
///
/// After [`JobError::Storage`] and [`JobError::Damaged`] the base can't be trusted to go on: the
/// node must stop, and replay from the journal when it starts again. The others concern a snapshot
/// only, which may be sent again from its chunk 0.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Not done, and everything is as it was. No room on the disk for a snapshot: have it sent
    /// again when there is. (A flush or upkeep without room is no error, see
    /// [`crate::Progress::NoRoom`].)
    #[error("no room on the disk for {action}")]
    DiskFull {
        /// What was being done.
        action: &'static str,
    },
    /// Unknown. Anything else that the disk or the base said: stop. Nothing of what the disk
    /// failed is believed at the next opening.
    #[error("{action}: {reason}")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// What the storage said.
        reason: String,
    },
    /// Unknown. The base holds bytes that were never written: rebuild this node's replicas from
    /// their peers.
    #[error("{action}: damaged row in the storage engine: {what}")]
    Damaged {
        /// What was being done.
        action: &'static str,
        /// What does not hold.
        what: String,
    },
    /// Not done. A snapshot chunk is not what its checksum says, or not a chunk at all, or of
    /// another group. Have the snapshot sent again.
    #[error("damaged snapshot chunk {sequence}")]
    DamagedChunk {
        /// Which one, counted from 0.
        sequence: u64,
    },
    /// Not done. Chunks are staged in order, and all of them before an ingest.
    #[error("snapshot chunk {expected} is missing")]
    MissingChunk {
        /// The one that must be staged next.
        expected: u64,
    },
}

impl JobError {
    /// Whether the job may have been done.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Storage { .. } | Self::Damaged { .. } => Outcome::Unknown,
            Self::DiskFull { .. } | Self::DamagedChunk { .. } | Self::MissingChunk { .. } => {
                Outcome::NotDone
            }
        }
    }

    /// Whether the base must not be used any more.
    pub(crate) fn ends_the_store(&self) -> bool {
        matches!(self, Self::Storage { .. } | Self::Damaged { .. })
    }

    /// The same where it is not known what was done, be it for want of room or not.
    pub(crate) fn unknown(self) -> Self {
        match self {
            Self::DiskFull { action } => {
                Self::Storage { action, reason: "no room on the disk".into() }
            }
            other => other,
        }
    }

    pub(crate) fn disk(action: &'static str, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { action },
            _ => Self::Storage { action, reason: error.to_string() },
        }
    }

    pub(crate) fn read(action: &'static str, error: ReadError) -> Self {
        match error {
            ReadError::Storage { action, reason } => Self::Storage { action, reason },
            ReadError::Damaged { what } => Self::Damaged { action, what },
        }
    }
}

/// The engine could not be opened. Nothing was changed that a later opening would miss.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk answered with an error.
    #[error("{action}: {reason}")]
    Storage {
        /// What was being done.
        action: &'static str,
        /// What the storage said.
        reason: String,
    },
    /// The file is damaged. Keep it for inspection, and rebuild this node's replicas from their
    /// peers.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// What does not hold.
        what: String,
    },
    /// The file was written by another release, or is no engine's file at all. What it holds can
    /// be had again: move the engine's directory away, and the node is rebuilt from the journal and
    /// its peers.
    #[error(
        "{path} is of another release of Cairn, or not one of its files: move the directory that \
         it is in away, and this node's state is rebuilt from its journal and the other nodes"
    )]
    UnknownFormat {
        /// The file.
        path: String,
    },
}

impl OpenError {
    pub(crate) fn disk(action: &'static str, error: &io::Error) -> Self {
        Self::Storage { action, reason: error.to_string() }
    }

    pub(crate) fn no_room(action: &'static str) -> Self {
        Self::Storage { action, reason: "no room on the disk".into() }
    }

    pub(crate) fn read(path: &str, error: ReadError) -> Self {
        match error {
            ReadError::Storage { action, reason } => Self::Storage { action, reason },
            ReadError::Damaged { what } => Self::Damaged { path: path.to_owned(), what },
        }
    }
}
