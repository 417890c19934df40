//! A leadership that is being handed over.
//!
//! The leader takes no more proposals, brings the target up to date, and tells it once. If it still leads
//! when the time is over it goes on leading.

use crate::{LogIndex, ReplicaId, Time};

#[derive(Clone, Hash)]
pub(crate) struct Transfer {
    to: ReplicaId,
    deadline: Time,
    is_told: bool,
}

impl Transfer {
    pub(crate) fn new(to: ReplicaId, deadline: Time) -> Self {
        Self { to, deadline, is_told: false }
    }

    pub(crate) fn to(&self) -> ReplicaId {
        self.to
    }

    pub(crate) fn deadline(&self) -> Time {
        self.deadline
    }

    /// Whether the target was told to take over.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }

    /// The target holds our log up to `matched`, which ends at `last`: whether it is to be told now. A mistake
    /// that a test plants is that it may lag.
    pub(crate) fn tells(
        &mut self,
        matched: Option<LogIndex>,
        last: LogIndex,
        may_lag: bool,
    ) -> bool {
        let tells = !self.is_told && (matched == Some(last) || may_lag);
        self.is_told |= tells;
        tells
    }
}

/// Gives up a transfer that has taken too long.
pub(crate) fn end(transfer: &mut Option<Transfer>, now: Time) {
    if transfer.as_ref().is_some_and(|transfer| now >= transfer.deadline) {
        *transfer = None;
    }
}
