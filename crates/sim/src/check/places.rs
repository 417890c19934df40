//! Places in the log, as far as answers tell them: an answer bears the index up to which its node had
//! applied the log, and what begins after that answer came is behind it.

use std::collections::BTreeMap;

use consensus::Time;
use wire::Revision;

use crate::history::{History, Operation, Outcome};

/// Something is at one of these indexes, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// What a history tells of indexes.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// When an answer came, and the highest index that any answer had named by then.
    known: Vec<(Time, u64)>,
    /// By revision: the lowest index at which an answer saw it, or a later one.
    reached: BTreeMap<Revision, u64>,
    /// By revision: the highest index at which an answer saw it, or an earlier one.
    not_passed: BTreeMap<Revision, u64>,
}

impl Places {
    pub(super) fn of(history: &History) -> Self {
        let mut places = Self::default();
        for operation in &history.operations {
            let Outcome::Done(header, _) = &operation.outcome else { continue };
            let Some(at) = index_of(operation) else { continue };
            places.known.extend(operation.ended.map(|ended| (ended, at)));
            let reached = places.reached.entry(header.revision).or_insert(at);
            *reached = at.min(*reached);
            let passed = places.not_passed.entry(header.revision).or_insert(at);
            *passed = at.max(*passed);
        }
        places.known.sort_unstable();
        let mut highest = 0;
        for (_, at) in &mut places.known {
            highest = highest.max(*at);
            *at = highest;
        }
        let mut lowest = u64::MAX;
        for at in places.reached.values_mut().rev() {
            lowest = lowest.min(*at);
            *at = lowest;
        }
        let mut highest = 0;
        for at in places.not_passed.values_mut() {
            highest = highest.max(*at);
            *at = highest;
        }
        places
    }

    /// An index that was committed before this moment: what begins then is behind it.
    pub(super) fn before(&self, moment: Time) -> u64 {
        let behind = self.known.partition_point(|(ended, _)| *ended < moment);
        behind.checked_sub(1).map_or(0, |last| self.known[last].1)
    }

    /// Where the command was that made this revision.
    pub(super) fn of_revision(&self, revision: Revision) -> Span {
        let passed = self.not_passed.range(..revision).next_back().map_or(0, |(_, at)| *at);
        let reached = self.reached.range(revision..).next().map_or(u64::MAX, |(_, at)| *at);
        Span { first: passed + 1, last: reached }
    }

    /// Where a command is that was proposed by this operation: until its answer, or anywhere behind its
    /// beginning.
    pub(super) fn of_command(&self, operation: &Operation) -> Span {
        let first = self.before(operation.began) + 1;
        Span { first, last: index_of(operation).unwrap_or(u64::MAX) }
    }
}

impl Span {
    /// What a command finds that is in here: all before it is done, and nothing of its own.
    pub(super) fn before(self) -> Self {
        Self { first: self.first.saturating_sub(1), last: self.last.saturating_sub(1) }
    }

    /// What both say.
    pub(super) fn and(self, other: Self) -> Self {
        Self { first: self.first.max(other.first), last: self.last.min(other.last) }
    }
}

/// How far the node that answered had applied the log. An answer that was put together of what is
/// remembered tells nothing of that.
pub(super) fn index_of(operation: &Operation) -> Option<u64> {
    match &operation.outcome {
        Outcome::Done(header, _) if header.applied > 0 => Some(header.applied),
        Outcome::Done(..) | Outcome::NotDone(_) | Outcome::Pending | Outcome::Unknown(_) => None,
    }
}
