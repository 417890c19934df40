//! What a caller may have to react to.

use wire::{Outcome, Refusal};

/// A lock, an election or a session did not come to what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not done. The own key is gone from the queue, with its lease or by somebody's hand: enter it
    /// again, with a lease that lives.
    #[error(
        "the place in the queue is lost: its key is gone, with its lease or by somebody's hand"
    )]
    Gone,

    /// Not done. Another one leads, or will: stop acting as the leader.
    #[error("the election is lost: the key of this leadership is gone or was created anew")]
    NotLeader,

    /// What [`client::Error::outcome`] says. To enter or leave a queue may be repeated in any case:
    /// it is done once.
    #[error(transparent)]
    Client(#[from] client::Error),
}

impl Error {
    /// What holds after this error.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Gone | Self::NotLeader => Outcome::NotDone,
            Self::Client(error) => error.outcome(),
        }
    }
}

/// Whether a question may be asked again after a pause: the cluster is busy, or nobody could be asked.
pub(crate) fn passes(error: &client::Error) -> bool {
    match error {
        client::Error::Unavailable { .. } | client::Error::Unknown { .. } => true,
        client::Error::Fatal { .. } => false,
        client::Error::Refused(refusal) => match refusal {
            Refusal::NotLeader { .. }
            | Refusal::Busy { .. }
            | Refusal::Unanswered { .. }
            | Refusal::Unavailable { .. }
            | Refusal::Broken { .. } => true,
            Refusal::Compacted { .. }
            | Refusal::Future { .. }
            | Refusal::TooLarge { .. }
            | Refusal::Invalid { .. }
            | Refusal::Expired { .. }
            | Refusal::AnswerForgotten { .. }
            | Refusal::NotEmpty { .. }
            | Refusal::LeaseNotFound { .. }
            | Refusal::LeaseExists { .. }
            | Refusal::KeyNotFound { .. }
            | Refusal::Fenced { .. }
            | Refusal::Denied { .. }
            | Refusal::Member { .. } => false,
        },
    }
}
