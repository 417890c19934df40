//! Which slots one acceptor has acknowledged: all up to a mark, and runs beyond it.
//!
//! # Invariants
//!
//! * Runs neither touch nor overlap, and begin beyond the mark and a hole.

use std::collections::BTreeMap;

use crate::LogIndex;

/// Most runs that are remembered. What lies in a run that is not is sent once more.
const MAX_RUNS: usize = 1024;

#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Acks {
    matched: LogIndex,
    /// The first and last slot of each run.
    runs: BTreeMap<LogIndex, LogIndex>,
}

impl Acks {
    /// All slots up to here.
    pub(super) fn matched(&self) -> LogIndex {
        self.matched
    }

    /// Whether this slot was acknowledged.
    pub(super) fn has(&self, index: LogIndex) -> bool {
        self.reach(index.prev()) >= index
    }

    /// Whether slots beyond a hole were acknowledged.
    pub(super) fn has_runs(&self) -> bool {
        !self.runs.is_empty()
    }

    /// The highest slot that was acknowledged.
    pub(super) fn highest(&self) -> LogIndex {
        self.runs.last_key_value().map_or(self.matched, |(_, end)| *end)
    }

    /// All slots up to `matched` were acknowledged.
    pub(super) fn through(&mut self, matched: LogIndex) {
        self.matched = self.matched.max(matched);
        while let Some(run) = self.runs.first_entry() {
            if *run.key() > self.matched.next() {
                break;
            }
            self.matched = self.matched.max(run.remove());
        }
    }

    /// What was acknowledged from `missing` on does not hold any more.
    pub(super) fn forget_from(&mut self, missing: LogIndex) {
        self.matched = self.matched.min(missing.prev());
        self.runs.clear();
    }

    /// The slots from `first` through `last` were acknowledged.
    pub(super) fn run(&mut self, first: LogIndex, last: LogIndex) {
        if first > last || last <= self.matched {
            return;
        }
        if first <= self.matched.next() {
            return self.through(last);
        }
        let (mut first, mut last) = (first, last);
        while let Some((begin, end)) = self.touching(first, last) {
            self.runs.remove(&begin);
            (first, last) = (first.min(begin), last.max(end));
        }
        if self.runs.len() < MAX_RUNS {
            self.runs.insert(first, last);
        }
    }

    /// A run that overlaps these slots or lies right beside them.
    fn touching(&self, first: LogIndex, last: LogIndex) -> Option<(LogIndex, LogIndex)> {
        let (begin, end) = self.runs.range(..=last.next()).next_back()?;
        (end.next() >= first).then_some((*begin, *end))
    }

    /// The last of the slots that follow `after` and are acknowledged without a hole.
    pub(super) fn reach(&self, after: LogIndex) -> LogIndex {
        if after < self.matched {
            return self.matched;
        }
        if self.runs.is_empty() {
            return after;
        }
        match self.runs.range(..=after.next()).next_back() {
            Some((_, end)) => after.max(*end),
            None => after,
        }
    }

    /// The last slot of the hole that begins at `first`, if a run ends it.
    pub(super) fn hole_end(&self, first: LogIndex) -> Option<LogIndex> {
        self.runs.range(first..).next().map(|(begin, _)| begin.prev())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against an obvious model: the set of all slots that were acknowledged.
        #[test]
        fn behaves_like_a_set(ops in prop::collection::vec((any::<bool>(), 0..60u64, 0..9u64), 1..40)) {
            let (mut acks, mut model) = (Acks::default(), BTreeSet::new());
            for (is_run, first, count) in ops {
                let last = first + count;
                if is_run {
                    acks.run(LogIndex(first + 1), LogIndex(last));
                    model.extend(first + 1..=last);
                } else if count == 0 {
                    acks.through(LogIndex(first));
                    model.extend(1..=first);
                }
                let reach = |after: u64| (after..99).find(|n| !model.contains(&(n + 1))).unwrap();
                prop_assert_eq!(acks.matched(), LogIndex(reach(0)));
                for after in acks.matched().0..80 {
                    prop_assert_eq!(acks.reach(LogIndex(after)), LogIndex(reach(after)));
                    prop_assert_eq!(acks.has(LogIndex(after + 1)), model.contains(&(after + 1)));
                    if !model.contains(&(after + 1)) {
                        let next = model.range(after + 1..).next().map(|next| LogIndex(next - 1));
                        prop_assert_eq!(acks.hole_end(LogIndex(after + 1)), next);
                    }
                }
            }
        }
    }
}
