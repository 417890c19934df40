//! Which of a replica's writes are on disk, and what that makes durable.
//!
//! Writes are numbered and reach the disk in order. For each one under way that carries entries
//! we remember how far the log went with it. When a later write replaces entries, what an earlier
//! one still makes durable ends before them.

use std::collections::VecDeque;

use crate::{LogIndex, PersistId};

#[derive(Clone, Debug, Hash)]
pub(crate) struct Writes {
    issued: PersistId,
    durable: PersistId,
    /// The write that carries the current hard state.
    hard_state: PersistId,
    /// Writes under way, each with the end of the log that it makes durable. Both ascend.
    under_way: VecDeque<(PersistId, LogIndex)>,
    /// The log is on disk up to here.
    durable_index: LogIndex,
}

impl Writes {
    /// At start all that was restored is on disk.
    pub(crate) fn new(last: LogIndex) -> Self {
        Self {
            issued: PersistId(0),
            durable: PersistId(0),
            hard_state: PersistId(0),
            under_way: VecDeque::new(),
            durable_index: last,
        }
    }

    pub(crate) fn issue(&mut self) -> PersistId {
        self.issued = PersistId(self.issued.0 + 1);
        self.issued
    }

    /// The last write carries the hard state.
    pub(crate) fn carries_hard_state(&mut self) {
        self.hard_state = self.issued;
    }

    /// The last write carries entries up to `last`.
    pub(crate) fn carries_log(&mut self, last: LogIndex) {
        assert!(
            self.under_way.back().is_none_or(|(_, end)| *end <= last),
            "what writes make durable ascends"
        );
        self.under_way.push_back((self.issued, last));
    }

    /// Entries from `from` on are gone from the log, whatever is still under way.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        let end = from.prev();
        self.durable_index = self.durable_index.min(end);
        for (_, last) in &mut self.under_way {
            *last = (*last).min(end);
        }
    }

    /// All up to `index` is durable by other means: in a snapshot.
    pub(crate) fn cover(&mut self, index: LogIndex) {
        self.durable_index = self.durable_index.max(index);
    }

    /// Takes note that `id` and all before it are on disk.
    pub(crate) fn persisted(&mut self, id: PersistId) {
        assert!(id <= self.issued, "the host persisted a write that was never asked for");
        self.durable = self.durable.max(id);
        while let Some((write, last)) = self.under_way.front() {
            if *write > id {
                break;
            }
            self.durable_index = self.durable_index.max(*last);
            self.under_way.pop_front();
        }
    }

    pub(crate) fn is_durable(&self, id: PersistId) -> bool {
        id <= self.durable
    }

    pub(crate) fn durable_index(&self) -> LogIndex {
        self.durable_index
    }

    /// The write that makes the current hard state durable.
    pub(crate) fn of_hard_state(&self) -> PersistId {
        self.hard_state
    }

    /// The write that makes the log durable up to `index`.
    pub(crate) fn of_log(&self, index: LogIndex) -> PersistId {
        if index <= self.durable_index {
            return PersistId(0);
        }
        let write = self.under_way.iter().find(|(_, last)| *last >= index);
        write.expect("each entry of the log is in a write").0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(writes: &mut Writes, last: u64) -> PersistId {
        let id = writes.issue();
        writes.carries_log(LogIndex(last));
        id
    }

    #[test]
    fn a_write_makes_the_log_durable_up_to_its_end() {
        let mut writes = Writes::new(LogIndex(3));
        let (first, second) = (write(&mut writes, 5), write(&mut writes, 9));
        assert_eq!(writes.of_log(LogIndex(3)), PersistId(0));
        assert_eq!(writes.of_log(LogIndex(4)), first);
        assert_eq!(writes.of_log(LogIndex(6)), second);
        writes.persisted(first);
        assert_eq!(writes.durable_index(), LogIndex(5));
        assert!(writes.is_durable(first));
        assert!(!writes.is_durable(second));
    }

    #[test]
    fn what_was_replaced_is_not_durable_by_an_earlier_write() {
        let mut writes = Writes::new(LogIndex(3));
        let first = write(&mut writes, 9);
        writes.truncate(LogIndex(6));
        let second = write(&mut writes, 7);
        writes.persisted(first);
        assert_eq!(writes.durable_index(), LogIndex(5), "6 to 9 were another leader's");
        assert_eq!(writes.of_log(LogIndex(6)), second);
        writes.persisted(second);
        assert_eq!(writes.durable_index(), LogIndex(7));
    }

    #[test]
    fn what_was_durable_is_not_when_it_is_replaced() {
        let mut writes = Writes::new(LogIndex(9));
        writes.truncate(LogIndex(4));
        assert_eq!(writes.durable_index(), LogIndex(3));
        let id = write(&mut writes, 4);
        assert_eq!(writes.of_log(LogIndex(4)), id);
    }

    /// A slot in the middle is written anew together with all that follows it: what is durable by an
    /// earlier write ends before it until that write is done.
    #[test]
    fn a_rewritten_suffix_is_durable_with_its_own_write_only() {
        let mut writes = Writes::new(LogIndex(3));
        let first = write(&mut writes, 9);
        writes.truncate(LogIndex(5));
        let second = write(&mut writes, 9);
        writes.truncate(LogIndex(7));
        let third = write(&mut writes, 9);
        assert_eq!(writes.of_log(LogIndex(4)), first);
        assert_eq!(writes.of_log(LogIndex(6)), second);
        assert_eq!(writes.of_log(LogIndex(9)), third, "it was rewritten twice");
        writes.persisted(first);
        assert_eq!(writes.durable_index(), LogIndex(4));
        writes.persisted(second);
        assert_eq!(writes.durable_index(), LogIndex(6));
        writes.persisted(third);
        assert_eq!(writes.durable_index(), LogIndex(9));
    }

    /// A base moves into the middle, and what follows it is written anew.
    #[test]
    fn a_covered_prefix_does_not_make_what_follows_it_durable() {
        let mut writes = Writes::new(LogIndex(9));
        writes.truncate(LogIndex(7));
        writes.cover(LogIndex(6));
        let id = write(&mut writes, 9);
        assert_eq!(writes.durable_index(), LogIndex(6));
        assert_eq!(writes.of_log(LogIndex(7)), id);
        writes.persisted(id);
        assert_eq!(writes.durable_index(), LogIndex(9));
    }

    #[test]
    fn one_report_covers_all_writes_before_it() {
        let mut writes = Writes::new(LogIndex(0));
        write(&mut writes, 1);
        write(&mut writes, 2);
        let third = write(&mut writes, 3);
        writes.persisted(third);
        assert_eq!(writes.durable_index(), LogIndex(3));
        assert!(writes.under_way.is_empty());
    }
}
