//! What can go wrong, and what it means for the caller.

use std::io;

/// An operation of the disk failed.
#[derive(Debug, thiserror::Error)]
#[error("{action} {path}")]
pub struct DiskFailure {
    /// What was tried.
    pub action: &'static str,
    /// On which file or directory.
    pub path: String,
    /// What the disk said.
    #[source]
    pub source: io::Error,
}

impl DiskFailure {
    /// For `map_err`: says what was tried on `path`.
    pub(crate) fn at(action: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }

    pub(crate) fn is_disk_full(&self) -> bool {
        self.source.kind() == io::ErrorKind::StorageFull
    }
}

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not done, and nothing acknowledged was changed. Make space, then open again.
    #[error("no space left to open the journal")]
    DiskFull(#[source] DiskFailure),

    /// Not done. Mend the disk or its permissions, then open again; what was acknowledged is as it
    /// was.
    #[error(transparent)]
    Io(DiskFailure),

    /// Not done, nothing was changed. The directory holds a file of another node's journal: put
    /// the right directory in its place, or take the file away.
    #[error("{path} belongs to journal {found:016x}, not to {expected:016x}")]
    WrongJournal {
        /// The file.
        path: String,
        /// Whose it is.
        found: u64,
        /// Whose it should be.
        expected: u64,
    },

    /// Not done, nothing was changed. A later release wrote this: start that release again.
    #[error("{path} has journal format {version}, which this release does not know")]
    UnknownVersion {
        /// The file.
        path: String,
        /// Its format.
        version: u32,
    },

    /// Not done, nothing was changed. Correct the configuration.
    #[error("journal configuration: {reason}")]
    BadConfig {
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl From<DiskFailure> for OpenError {
    fn from(failure: DiskFailure) -> Self {
        if failure.is_disk_full() { Self::DiskFull(failure) } else { Self::Io(failure) }
    }
}

/// Why a batch was not appended.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Not done: nothing of the batch is written, the journal is whole. Try again when there is
    /// space.
    #[error("no space left for another journal segment")]
    DiskFull(#[source] DiskFailure),

    /// Not done: nothing of the batch is written, the journal is whole. Refuse such records before
    /// they come here.
    #[error("record {index} of the batch takes {bytes} bytes, more than {limit}")]
    TooLarge {
        /// Which record of the batch.
        index: usize,
        /// Its length in the journal.
        bytes: u64,
        /// `Config::max_record_bytes`.
        limit: u64,
    },

    /// Not done: nothing of the batch is written, the journal is whole. Host fewer groups here, or
    /// configure larger segments.
    #[error("{logs} logs are too many for segments of {segment_bytes} bytes")]
    TooManyLogs {
        /// How many there would be.
        logs: usize,
        /// `Config::segment_bytes`.
        segment_bytes: u64,
    },

    /// Not done. An earlier write or sync failed: stop the node; opening the journal anew tells
    /// what survived.
    #[error("the journal has failed before")]
    Poisoned,

    /// Unknown: it may be there after the next open, or not. The journal is poisoned: stop the
    /// node.
    #[error(transparent)]
    Io(#[from] DiskFailure),
}

/// Why batches were not made durable.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// Not done. An earlier write or sync failed: stop the node.
    #[error("the journal has failed before")]
    Poisoned,

    /// Unknown: batches since the last good sync may be there after the next open, or not. The
    /// journal is poisoned: stop the node. Never repeated, for the second answer would be a lie.
    #[error(transparent)]
    Io(#[from] DiskFailure),
}

/// Why damage could not be declared resolved.
#[derive(Debug, thiserror::Error)]
pub enum ClearDamageError {
    /// Unknown: the next open may report the damage again. Safe to repeat.
    #[error(transparent)]
    Io(#[from] DiskFailure),
}

/// Why the inspector could not go on.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Not done; nothing was changed. Some lines may have been handed out before.
    #[error(transparent)]
    Io(#[from] DiskFailure),
}
