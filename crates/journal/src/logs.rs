//! Where each log stands: its promise, its base, how far it reaches, and under which epochs.
//!
//! The writer keeps this to restate it at the head of each segment, to tell a base that keeps the
//! entries after it from one that voids them, and to know which segments may go. Recovery builds
//! the same by replaying the same records, and keeps the entries beside it.
//!
//! # Invariants
//!
//! * `base.index <= start <= last`. Entries in `(base, start]` stood in segments that are released.
//!   That they were not needed shows when a later base passes them: at the end of a whole replay,
//!   `start == base.index` in every log.

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::{Entry, Epoch, HardState, LogIndex, Membership, Position};

use crate::layout::{Base, Logged, RESTATED_BYTES};
use crate::{LogId, Reason, Record};

/// One log, without its payloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogState {
    pub(crate) hard_state: HardState,
    pub(crate) base: Position,
    /// The membership in force at the base, if one was ever written.
    pub(crate) membership: Option<Arc<Membership>>,
    /// The first entry that is held lies after this.
    start: LogIndex,
    /// Epoch of the entry at `start`, unless the log was cut back below what is held.
    start_epoch: Option<Epoch>,
    last: LogIndex,
    /// Epochs of `(start, last]`: each holds from its index on.
    runs: Vec<(LogIndex, Epoch)>,
}

/// All logs of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logs(BTreeMap<LogId, LogState>);

impl LogState {
    fn new(hard_state: HardState, base: Position, membership: Option<Arc<Membership>>) -> Self {
        let start_epoch = Some(base.epoch);
        let (start, last) = (base.index, base.index);
        Self { hard_state, base, membership, start, start_epoch, last, runs: Vec::new() }
    }

    /// The first entry that is held lies after this.
    pub(crate) fn start(&self) -> LogIndex {
        self.start
    }

    /// The position that the entries held begin after, if it is known.
    pub(crate) fn start_position(&self) -> Option<Position> {
        self.start_epoch.map(|epoch| Position { index: self.start, epoch })
    }

    /// The log's last index.
    pub(crate) fn last_index(&self) -> LogIndex {
        self.last
    }

    /// The log's last position. Its epoch is unknown when nothing is held after a cut.
    fn last(&self) -> (LogIndex, Option<Epoch>) {
        (self.last, self.epoch_at(self.last))
    }

    /// The epoch of the entry at `index`, if that is known.
    pub(crate) fn epoch_at(&self, index: LogIndex) -> Option<Epoch> {
        if index == self.base.index {
            return Some(self.base.epoch);
        }
        if index == self.start {
            return self.start_epoch;
        }
        if index < self.start || index > self.last {
            return None;
        }
        let after = self.runs.partition_point(|(first, _)| *first <= index);
        let (_, epoch) = self.runs[after.checked_sub(1).expect("a run covers each entry held")];
        Some(epoch)
    }

    /// Whether an entry may stand at `index` next.
    fn takes(&self, index: LogIndex) -> bool {
        self.base.index < index && index <= self.last.next()
    }

    fn put(&mut self, position: Position) {
        let index = position.index;
        if index <= self.start {
            let before = index.prev();
            self.start_epoch = self.epoch_at(before);
            self.start = before;
        }
        self.runs.truncate(self.runs.partition_point(|(first, _)| *first < index));
        if self.runs.last().is_none_or(|(_, epoch)| *epoch != position.epoch) {
            self.runs.push((index, position.epoch));
        }
        self.last = index;
    }

    fn rebase(&mut self, base: Position, effect: Base) {
        match effect {
            Base::Voids => *self = Self::new(self.hard_state, base, self.membership.take()),
            Base::Keeps => {
                self.base = base;
                if self.start < base.index {
                    self.start = base.index;
                    self.start_epoch = Some(base.epoch);
                }
                let done = self.runs.partition_point(|(first, _)| *first <= self.start.next());
                self.runs.drain(..done.saturating_sub(1));
                if self.last == self.start {
                    self.runs.clear();
                }
            }
        }
    }

    /// What a segment that begins now says of this log.
    fn restated(&self, log: LogId) -> impl Iterator<Item = Logged> {
        let (index, epoch) = self.last();
        let last = Position { index, epoch: epoch.unwrap_or_default() };
        let (hard_state, base) = (self.hard_state, self.base);
        let membership = self.membership.clone();
        let membership = membership.map(|membership| Logged::Membership { log, membership });
        [Logged::Restated { log, hard_state, base, last }].into_iter().chain(membership)
    }

    /// Length of the record that restates its membership.
    fn membership_bytes(&self) -> usize {
        self.membership.as_ref().map_or(0, |membership| {
            let membership = Arc::clone(membership);
            Logged::Membership { log: LogId(0), membership }.encoded_bytes()
        })
    }

    fn from_restated(hard_state: HardState, base: Position, last: Position) -> Self {
        let mut state = Self::new(hard_state, base, None);
        if last.index > base.index {
            state.start = last.index;
            state.start_epoch = Some(last.epoch);
            state.last = last.index;
        }
        state
    }
}

impl Logs {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn find(&self, log: LogId) -> Option<&LogState> {
        self.0.get(&log)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LogId, &LogState)> {
        self.0.iter().map(|(log, state)| (*log, state))
    }

    pub(crate) fn restated(&self) -> Vec<Logged> {
        self.0.iter().flat_map(|(log, state)| state.restated(*log)).collect()
    }

    /// Length of the records that restate all logs.
    pub(crate) fn restated_bytes(&self) -> u64 {
        self.0.values().map(|state| (RESTATED_BYTES + state.membership_bytes()) as u64).sum()
    }

    /// Puts a log that has no entries.
    pub(crate) fn put_empty(
        &mut self,
        log: LogId,
        hard_state: HardState,
        (base, membership): (Position, Option<Arc<Membership>>),
    ) {
        self.0.insert(log, LogState::new(hard_state, base, membership));
    }

    /// The form in which the journal keeps `record`, given all records before it.
    pub(crate) fn logged(&self, record: &Record) -> Logged {
        match record {
            Record::HardState { log, hard_state } => {
                Logged::HardState { log: *log, hard_state: *hard_state }
            }
            Record::Base { log, base } => {
                let held = self.0.get(log).and_then(|state| state.epoch_at(base.index));
                let keeps = held == Some(base.epoch);
                let effect = if keeps { Base::Keeps } else { Base::Voids };
                Logged::Base { log: *log, base: *base, effect }
            }
            Record::Entry { log, entry } => Logged::Entry { log: *log, entry: entry.clone() },
            Record::Membership { log, membership } => {
                Logged::Membership { log: *log, membership: Arc::clone(membership) }
            }
            Record::Forget { log } => Logged::Forgotten { log: *log },
        }
    }

    /// Takes in one record. An error says why it can't follow the records before it, and leaves
    /// everything as it was.
    pub(crate) fn apply(&mut self, logged: &Logged) -> Result<(), Reason> {
        match logged {
            Logged::HardState { log, hard_state } => self.log(*log).hard_state = *hard_state,
            Logged::Base { log, base, effect } => {
                let state = self.log(*log);
                let is_held = (state.base.index..=state.last).contains(&base.index);
                if *effect == Base::Keeps && !is_held {
                    return Err(Reason::Gap);
                }
                state.rebase(*base, *effect);
            }
            Logged::Entry { log, entry: Entry { position, .. } } => {
                let state = self.log(*log);
                if !state.takes(position.index) {
                    return Err(Reason::Gap);
                }
                state.put(*position);
            }
            Logged::Restated { log, hard_state, base, last } => {
                let restated = LogState::from_restated(*hard_state, *base, *last);
                let state = self.0.entry(*log).or_insert(restated);
                let (index, epoch) = state.last();
                let agrees = state.hard_state == *hard_state
                    && state.base == *base
                    && index == last.index
                    && epoch.is_none_or(|epoch| epoch == last.epoch);
                if !agrees {
                    return Err(Reason::Disagreement);
                }
            }
            Logged::Membership { log, membership } => {
                self.log(*log).membership = Some(Arc::clone(membership));
            }
            Logged::Forgotten { log } => {
                self.0.remove(log);
            }
        }
        Ok(())
    }

    fn log(&mut self, log: LogId) -> &mut LogState {
        self.0
            .entry(log)
            .or_insert_with(|| LogState::new(HardState::default(), Position::default(), None))
    }
}

/// How far the entries in one segment reach, in each log. When every log's base has passed that,
/// nothing needs the segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reach(BTreeMap<LogId, LogIndex>);

impl Reach {
    pub(crate) fn note(&mut self, logged: &Logged) {
        if let Logged::Entry { log, entry } = logged {
            let reach = self.0.entry(*log).or_default();
            *reach = entry.position.index.max(*reach);
        }
    }

    pub(crate) fn forget(&mut self, log: LogId) {
        self.0.remove(&log);
    }

    pub(crate) fn is_needed_by(&self, logs: &Logs) -> bool {
        let reaches_beyond_base = |(log, reach): (&LogId, &LogIndex)| {
            logs.find(*log).is_some_and(|state| state.base.index < *reach)
        };
        self.0.iter().any(reaches_beyond_base)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId(1);

    fn at(index: u64, round: u64) -> Position {
        Position { index: LogIndex(index), epoch: Epoch { round, proposer: 0 } }
    }

    fn entry(index: u64, round: u64) -> Logged {
        let payload = consensus::Payload::Noop;
        Logged::Entry { log: LOG, entry: Entry { position: at(index, round), payload } }
    }

    fn logs(entries: &[(u64, u64)]) -> Logs {
        let mut logs = Logs::default();
        for (index, round) in entries {
            logs.apply(&entry(*index, *round)).unwrap();
        }
        logs
    }

    fn base_effect(logs: &Logs, base: Position) -> Base {
        match logs.logged(&Record::Base { log: LOG, base }) {
            Logged::Base { effect, .. } => effect,
            other => panic!("a base became {other:?}"),
        }
    }

    #[test]
    fn a_base_keeps_only_what_follows_the_very_position() {
        let logs = logs(&[(1, 1), (2, 1), (3, 2), (4, 4)]);
        assert_eq!(base_effect(&logs, at(2, 1)), Base::Keeps);
        assert_eq!(base_effect(&logs, at(3, 2)), Base::Keeps);
        assert_eq!(base_effect(&logs, at(3, 1)), Base::Voids);
        assert_eq!(base_effect(&logs, at(5, 4)), Base::Voids);
        assert_eq!(base_effect(&logs, at(0, 0)), Base::Keeps);
    }

    #[test]
    fn epochs_follow_cuts_and_bases() {
        let mut logs = logs(&[(1, 1), (2, 1), (3, 2), (4, 2), (3, 5), (4, 5)]);
        let base = at(2, 1);
        logs.apply(&Logged::Base { log: LOG, base, effect: Base::Keeps }).unwrap();
        let state = logs.find(LOG).unwrap();
        assert_eq!(state.runs, [(LogIndex(3), at(0, 5).epoch)]);
        assert_eq!(state.last, LogIndex(4));
        assert_eq!(base_effect(&logs, at(4, 5)), Base::Keeps);
        assert_eq!(base_effect(&logs, at(1, 1)), Base::Voids);
    }

    #[test]
    fn an_entry_beyond_the_end_or_at_the_base_is_a_gap() {
        let mut logs = logs(&[(1, 1)]);
        assert_eq!(logs.apply(&entry(3, 1)), Err(Reason::Gap));
        let base = at(1, 1);
        logs.apply(&Logged::Base { log: LOG, base, effect: Base::Keeps }).unwrap();
        assert_eq!(logs.apply(&entry(1, 1)), Err(Reason::Gap));
        logs.apply(&entry(2, 1)).unwrap();
    }

    #[test]
    fn a_replay_that_begins_late_floats_until_a_base_passes() {
        let whole = logs(&[(1, 1), (2, 1), (3, 2)]);
        let mut late = Logs::default();
        for logged in whole.restated() {
            late.apply(&logged).unwrap();
        }
        late.apply(&entry(4, 2)).unwrap();
        assert_eq!(late.find(LOG).unwrap().start(), LogIndex(3));
        late.apply(&entry(2, 3)).unwrap();
        assert_eq!(late.find(LOG).unwrap().start(), LogIndex(1));
        assert_eq!(late.find(LOG).unwrap().start_position(), None);
        let base = at(2, 3);
        late.apply(&Logged::Base { log: LOG, base, effect: Base::Keeps }).unwrap();
        assert_eq!(late.find(LOG).unwrap().start(), LogIndex(2));
    }

    #[test]
    fn restating_twice_changes_nothing_and_differently_is_noticed() {
        let mut logs = logs(&[(1, 1), (2, 1)]);
        let before = logs.clone();
        for logged in before.restated() {
            logs.apply(&logged).unwrap();
        }
        assert_eq!(logs, before);
        let hard_state = HardState::default();
        let other = Logged::Restated { log: LOG, hard_state, base: at(0, 0), last: at(3, 1) };
        assert_eq!(logs.apply(&other), Err(Reason::Disagreement));
    }
}
