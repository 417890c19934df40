//! What a caller of the client may have to react to.

use wire::{Outcome, Refusal, RequestId};

/// An operation did not come to its answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What [`Refusal::outcome`] says, usually not done. Do what the refusal asks for; repeating the
    /// same request helps nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),

    /// Not done. Nobody could do it in time: try again later.
    #[error("not done: {why}")]
    Unavailable {
        /// What came of the last try.
        why: String,
    },

    /// Unknown. Repeat it with the same request id, never with a fresh one; or read the state to
    /// find out.
    #[error("{}no answer came, so it may or may not be done: {why}", request.map(|id| format!("request {id}: ")).unwrap_or_default())]
    Unknown {
        /// The id to repeat a write with; `None` for what bears none.
        request: Option<RequestId>,
        /// What came of the last try.
        why: String,
    },

    /// Not done. No retry will help: the addresses, the cluster or the release are wrong.
    #[error("{why}")]
    Fatal {
        /// What is wrong.
        why: String,
    },
}

impl Error {
    /// What holds after this error.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(refusal) => refusal.outcome(),
            Self::Unavailable { .. } | Self::Fatal { .. } => Outcome::NotDone,
            Self::Unknown { .. } => Outcome::Unknown,
        }
    }

    /// A short stable word for it, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.code(),
            Self::Unavailable { .. } => "unavailable",
            Self::Unknown { .. } => "unknown",
            Self::Fatal { .. } => "fatal",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_says_what_holds_and_which_request_to_repeat() {
        let request = Some(RequestId { client: 7, number: 3 });
        let unknown = Error::Unknown { request, why: "n1: gone".into() };
        assert_eq!(unknown.outcome(), Outcome::Unknown);
        assert_eq!(unknown.code(), "unknown");
        assert_eq!(
            unknown.to_string(),
            "request 00000000000000000000000000000007-3: no answer came, so it may or may not be \
             done: n1: gone"
        );
        let expired = Error::from(Refusal::Expired { id: "7-3".into() });
        assert_eq!((expired.outcome(), expired.code()), (Outcome::Unknown, "expired"));
        let unavailable = Error::Unavailable { why: "n1: busy".into() };
        assert_eq!((unavailable.outcome(), unavailable.code()), (Outcome::NotDone, "unavailable"));
        let fatal = Error::Fatal { why: "n1: another cluster".into() };
        assert_eq!((fatal.outcome(), fatal.code()), (Outcome::NotDone, "fatal"));
    }
}
