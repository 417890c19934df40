//! The replicated log in memory: a base position, and the entries after it without a gap; and with
//! them the memberships that they bring.
//!
//! Terms never decrease along the log, so questions about them are answered by bisection. What is
//! durable and what is committed is not this module's business.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::membership::Memberships;
use crate::{Entry, Epoch, LogIndex, Membership, Position};

/// What an entry costs in memory and on the wire beyond its payload, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// The size of an entry as limits count it.
pub(crate) fn size_bytes(entry: &Entry) -> usize {
    entry.payload.len() + ENTRY_OVERHEAD_BYTES
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    base: Position,
    entries: VecDeque<Entry>,
    bytes: usize,
    memberships: Memberships,
}

impl Log {
    /// A log that begins after `base`, where this membership is in force.
    pub(crate) fn new(base: Position, membership: Arc<Membership>, entries: Vec<Entry>) -> Self {
        let mut log = Self {
            base,
            entries: VecDeque::with_capacity(entries.len()),
            bytes: 0,
            memberships: Memberships::new(membership),
        };
        log.append(entries);
        log
    }

    /// The log begins after this.
    pub(crate) fn base(&self) -> Position {
        self.base
    }

    /// The memberships at the base and after it.
    pub(crate) fn memberships(&self) -> &Memberships {
        &self.memberships
    }

    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, |entry| entry.position)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The term of the entry at `index`, if it is at the base or after it.
    pub(crate) fn epoch_at(&self, index: LogIndex) -> Option<Epoch> {
        if index == self.base.index {
            return Some(self.base.epoch);
        }
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?).map(|entry| entry.position.epoch)
    }

    pub(crate) fn holds(&self, position: Position) -> bool {
        self.epoch_at(position.index) == Some(position.epoch)
    }

    /// Adds entries that follow the last one.
    pub(crate) fn append(&mut self, entries: impl IntoIterator<Item = Entry>) {
        let mut last = self.last();
        for entry in entries {
            let position = entry.position;
            assert!(position.index == last.index.next(), "a log has no gap: {last}, {position}");
            assert!(position.epoch >= last.epoch, "terms never decrease: {last}, {position}");
            self.bytes += size_bytes(&entry);
            self.memberships.append(&entry);
            self.entries.push_back(entry);
            last = position;
        }
    }

    /// Drops `from` and all that follows it.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        assert!(from > self.base.index, "the base is never truncated");
        self.memberships.truncate(from);
        let keep = self.offset_after(from.prev());
        self.bytes -= self.entries.drain(keep..).map(|entry| size_bytes(&entry)).sum::<usize>();
    }

    /// Drops all entries up to `through`, which becomes the base.
    pub(crate) fn compact(&mut self, through: LogIndex) {
        let epoch = self.epoch_at(through).expect("only what the log holds can be compacted");
        self.memberships.compact(through);
        let drop = self.offset_after(through);
        self.bytes -= self.entries.drain(..drop).map(|entry| size_bytes(&entry)).sum::<usize>();
        self.base = Position { index: through, epoch };
    }

    /// Drops everything: the log begins anew after `base`, where this membership is in force.
    pub(crate) fn reset(&mut self, base: Position, membership: Arc<Membership>) {
        self.memberships.reset(membership);
        self.entries.clear();
        self.bytes = 0;
        self.base = base;
    }

    /// Entries from `from` on, as many as `max_bytes` allows, but at least one if there is one.
    pub(crate) fn read(&self, from: LogIndex, max_bytes: usize) -> Vec<Entry> {
        let begin = self.offset_after(from.prev());
        let mut end = begin;
        let mut bytes = 0;
        for entry in self.entries.range(begin..) {
            bytes += size_bytes(entry);
            if bytes > max_bytes && end > begin {
                break;
            }
            end += 1;
        }
        self.entries.range(begin..end).cloned().collect()
    }

    /// The entries after `after`, up to and including `through`.
    pub(crate) fn between(&self, after: LogIndex, through: LogIndex) -> Vec<Entry> {
        self.range(after, through).cloned().collect()
    }

    /// The bytes of the entries after `after`, up to and including `through`.
    pub(crate) fn bytes_between(&self, after: LogIndex, through: LogIndex) -> usize {
        self.range(after, through).map(size_bytes).sum()
    }

    /// The first index such that the entries after it, up to `through`, fit into `max_bytes`.
    pub(crate) fn keep_within(&self, through: LogIndex, max_bytes: usize) -> LogIndex {
        let mut kept = 0;
        for entry in self.range(self.base.index, through).rev() {
            kept += size_bytes(entry);
            if kept > max_bytes {
                return entry.position.index;
            }
        }
        self.base.index
    }

    /// The highest position at or before `index` whose term is at most `epoch`, if the log still
    /// holds it.
    pub(crate) fn newest_before(&self, index: LogIndex, epoch: Epoch) -> Option<Position> {
        let limit = self.offset_after(index.min(self.last().index).max(self.base.index));
        let at_most = self.entries.partition_point(|entry| entry.position.epoch <= epoch);
        match at_most.min(limit) {
            0 if index >= self.base.index && self.base.epoch <= epoch => Some(self.base),
            0 => None,
            count => Some(self.entries[count - 1].position),
        }
    }

    fn range(
        &self,
        after: LogIndex,
        through: LogIndex,
    ) -> std::collections::vec_deque::Iter<'_, Entry> {
        self.entries.range(self.offset_after(after)..self.offset_after(through))
    }

    /// How many entries stand up to and including `index`.
    fn offset_after(&self, index: LogIndex) -> usize {
        assert!(index >= self.base.index, "{index} is before the log's base {}", self.base);
        let offset = usize::try_from(index.0 - self.base.index.0).expect("a log fits into memory");
        assert!(offset <= self.entries.len(), "{index} is beyond the log's end {}", self.last());
        offset
    }
}

#[cfg(test)]
mod tests;
