//! Why an operation got no answer, whichever API it went by.

use super::etcd;

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// By Cairn's own protocol.
    #[error(transparent)]
    Native(#[from] client::Error),
    /// By etcd's.
    #[error(transparent)]
    Etcd(#[from] etcd::Fault),
}

impl Fault {
    /// A short stable word: errors are counted by it.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Native(error) => error.code(),
            Self::Etcd(fault) => fault.code(),
        }
    }
}
