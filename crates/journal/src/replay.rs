//! What the records of a journal add up to while it is read.

use std::collections::{BTreeMap, VecDeque};

use consensus::{Entry, HardState};

use crate::layout::{Base, Logged};
use crate::logs::{Logs, Reach};
use crate::{Damage, LogId, Reason};

/// Where the valid part of the journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Which of the segments that were scanned.
    pub(crate) segment: usize,
    /// Where in it.
    pub(crate) offset: u64,
}

/// A segment that was read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) reach: Reach,
    pub(crate) len: u64,
    /// Where its valid batches end.
    pub(crate) end: u64,
}

/// What the segments add up to.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) logs: Logs,
    pub(crate) entries: BTreeMap<LogId, VecDeque<Entry>>,
    /// One for each segment up to the tail, and perhaps more.
    pub(crate) read: Vec<Read>,
    /// `None` if nothing valid stands there.
    pub(crate) tail: Option<Tail>,
    /// Number of the batch that may be written at the tail.
    pub(crate) next_batch: u64,
    /// No batch that was seen, valid or void, has a higher number.
    pub(crate) highest_batch: u64,
    /// Bytes after the tail that a torn batch has left, as far as one can tell.
    pub(crate) torn_bytes: u64,
    pub(crate) damage: Option<Damage>,
}

impl Scan {
    /// Takes in one record of a batch that counts.
    pub(crate) fn apply(&mut self, logged: Logged) -> Result<(), Reason> {
        let log = logged.log();
        let start = self.logs.find(log).map_or(0, |state| state.start().0);
        self.logs.apply(&logged)?;
        let held = self.entries.entry(log).or_default();
        match logged {
            Logged::Entry { entry, .. } => {
                let kept = entry.position.index.0.saturating_sub(start + 1);
                held.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
                held.push_back(entry);
            }
            Logged::Base { effect: Base::Voids, .. } => held.clear(),
            Logged::Base { base, effect: Base::Keeps, .. } => {
                while held.front().is_some_and(|first| first.position.index <= base.index) {
                    held.pop_front();
                }
            }
            Logged::Forgotten { .. } => {
                self.entries.remove(&log);
            }
            Logged::HardState { .. } | Logged::Membership { .. } | Logged::Restated { .. } => {}
        }
        Ok(())
    }

    pub(crate) fn misses_entries(&self) -> bool {
        self.logs.iter().any(|(_, state)| state.start() > state.base.index)
    }

    /// Raises promises, and lowers none.
    pub(crate) fn promise(&mut self, promises: Vec<(LogId, HardState)>) {
        for (log, hard_state) in promises {
            let known = self.logs.find(log).map(|state| state.hard_state).unwrap_or_default();
            if (hard_state.epoch, hard_state.vote.is_some()) > (known.epoch, known.vote.is_some()) {
                let raised = self.logs.apply(&Logged::HardState { log, hard_state });
                raised.expect("a promise follows anything");
            }
        }
    }
}
