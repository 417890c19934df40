//! An acceptor's slots in memory: a base, and the slots after it, some of which may be gaps.
//!
//! Slots are kept as the disk has them, each with its packed [`Stamp`], so that rewriting a part of
//! the log is a copy. What goes to the state machine or to a peer bears its origin instead.
//!
//! # Invariants
//!
//! * The last slot is no gap. What was accepted never becomes a gap again.
//!
//! Ballots do not ascend along the slots, so this is not `common::log`, which relies on that.

use std::collections::VecDeque;

use crate::common::log::size_bytes;
use crate::{Entry, Epoch, LogIndex, Payload, Position};

use super::message::{Acceptance, Base};
use super::stamp::{OF_IMAGE, Stamp, ballot_of, origin_of};

#[derive(Clone, Debug, Hash)]
pub(super) struct Slots {
    /// As on disk: its epoch is a stamp.
    base: Position,
    entries: VecDeque<Entry>,
    bytes: usize,
}

/// A gap as the disk has it.
fn gap(index: LogIndex) -> Entry {
    Entry { position: Position { index, epoch: Epoch::default() }, payload: Payload::Noop }
}

/// The value of a slot, by the name that all replicas have for it.
fn value(entry: &Entry) -> Entry {
    let Position { index, epoch } = entry.position;
    assert!(epoch != Epoch::default(), "a gap has no value");
    let position = Position { index, epoch: origin_of(epoch) };
    Entry { position, payload: entry.payload.clone() }
}

fn stamp(entry: &Entry) -> Stamp {
    Stamp::unpack(entry.position.epoch)
}

/// Values as the disk has them when they are accepted under `ballot` and all is chosen up to `chosen`. The
/// first tells exactly how far that is, if a run of slots under this ballot begins with it.
pub(super) fn stamped(
    ballot: Epoch,
    mut values: Vec<Entry>,
    chosen: LogIndex,
    begins: bool,
) -> Vec<Entry> {
    let mut make = if begins { Stamp::exact } else { Stamp::new };
    for value in &mut values {
        let Position { index, epoch } = &mut value.position;
        *epoch = make(ballot, *epoch, *index, chosen).pack();
        make = Stamp::new;
    }
    values
}

impl Slots {
    /// With what the disk gave back.
    pub(super) fn new(base: Position, entries: Vec<Entry>) -> Self {
        let mut last = base.index;
        for entry in &entries {
            assert!(
                entry.position.index == last.next(),
                "slots have no hole without a gap's entry"
            );
            last = entry.position.index;
        }
        assert!(entries.last().is_none_or(|entry| !stamp(entry).is_gap()), "a gap ends nothing");
        let bytes = entries.iter().map(size_bytes).sum();
        Self { base, entries: entries.into(), bytes }
    }

    /// The slots begin after this; as on disk.
    pub(super) fn base(&self) -> Position {
        self.base
    }

    /// Where the slots begin, as others are told it.
    pub(super) fn base_told(&self) -> Base {
        let ballot = ballot_of(self.base.epoch);
        let under = if ballot == OF_IMAGE { Epoch::default() } else { ballot };
        Base { position: self.base_value(), under }
    }

    /// The slots begin after this value.
    pub(super) fn base_value(&self) -> Position {
        Position { index: self.base.index, epoch: origin_of(self.base.epoch) }
    }

    pub(super) fn last(&self) -> LogIndex {
        self.entries.back().map_or(self.base.index, |entry| entry.position.index)
    }

    /// The value in the last slot.
    pub(super) fn last_value(&self) -> Position {
        self.entries.back().map_or_else(|| self.base_value(), |entry| value(entry).position)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What was accepted at `index`, if the slot is held and no gap.
    pub(super) fn get(&self, index: LogIndex) -> Option<(Stamp, &Payload)> {
        let entry = self.entry(index)?;
        Some((stamp(entry), &entry.payload)).filter(|(stamp, _)| !stamp.is_gap())
    }

    fn entry(&self, index: LogIndex) -> Option<&Entry> {
        let offset = index.0.checked_sub(self.base.index.0 + 1)?;
        self.entries.get(usize::try_from(offset).ok()?)
    }

    /// Under which ballot the slot was accepted; the default if it is a gap or not held.
    pub(super) fn ballot_at(&self, index: LogIndex) -> Epoch {
        self.entry(index).map_or_else(Epoch::default, |entry| ballot_of(entry.position.epoch))
    }

    /// How far the log is known to be chosen, by what its slots tell.
    pub(super) fn proven(&self) -> LogIndex {
        let proves = |entry: &Entry| stamp(entry).proves(entry.position.index);
        self.entries.iter().filter_map(proves).fold(self.base.index, LogIndex::max)
    }

    /// The highest ballot under which anything was accepted.
    pub(super) fn highest_ballot(&self) -> Epoch {
        self.entries.iter().map(|entry| ballot_of(entry.position.epoch)).max().unwrap_or_default()
    }

    /// Puts stamped entries that follow one another and the last slot.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let mut next = self.last().next();
        for entry in entries {
            assert!(entry.position.index == next, "what is appended follows");
            assert!(entry.position.epoch != Epoch::default(), "what is accepted is no gap");
            self.bytes += size_bytes(entry);
            next = next.next();
        }
        self.entries.extend(entries.iter().cloned());
    }

    /// Puts stamped entries that follow one another; a hole before them becomes a gap. Tells the
    /// first slot that has changed.
    pub(super) fn put(&mut self, entries: impl IntoIterator<Item = Entry>) -> LogIndex {
        let mut changed = self.last().next();
        for entry in entries {
            let index = entry.position.index;
            assert!(index > self.base.index, "what is before the base is not written");
            assert!(!stamp(&entry).is_gap(), "what was accepted never becomes a gap again");
            while self.last().next() < index {
                self.push(gap(self.last().next()));
            }
            if index <= self.last() {
                changed = changed.min(index);
                let offset = self.offset_after(index) - 1;
                self.bytes = self.bytes + size_bytes(&entry) - size_bytes(&self.entries[offset]);
                self.entries[offset] = entry;
            } else {
                self.push(entry);
            }
        }
        changed
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += size_bytes(&entry);
        self.entries.push_back(entry);
    }

    /// All slots from `from` on, as the disk has them.
    pub(super) fn suffix(&self, from: LogIndex) -> Vec<Entry> {
        self.entries.range(self.offset_after(from.prev())..).cloned().collect()
    }

    /// Drops all slots up to `through`, which becomes the base.
    pub(super) fn compact(&mut self, through: LogIndex) {
        let drop = self.offset_after(through);
        let Some(last) = drop.checked_sub(1) else { return };
        self.base = self.entries[last].position;
        assert!(self.base.epoch != Epoch::default(), "what is chosen is no gap");
        self.forget(drop);
    }

    /// The slots begin after `base`, whatever they held there; those after it stay.
    pub(super) fn rebase(&mut self, base: Position) {
        assert!(base.index >= self.base.index, "a base never moves back");
        let drop = self.offset_after(base.index.min(self.last()));
        self.forget(drop);
        self.base = base;
    }

    /// The mistake of [`super::Planted::BaseDropsAcceptances`].
    pub(super) fn drop_all(&mut self) {
        self.forget(self.entries.len());
    }

    fn forget(&mut self, count: usize) {
        self.bytes -= self.entries.drain(..count).map(|entry| size_bytes(&entry)).sum::<usize>();
    }

    /// The values after `after`, up to and including `through`, which are no gaps.
    pub(super) fn values(&self, after: LogIndex, through: LogIndex) -> Vec<Entry> {
        self.range(after, through).map(value).collect()
    }

    /// The values from `from` through `through`, as many as `max_bytes` allows, but at least one.
    pub(super) fn read(&self, from: LogIndex, through: LogIndex, max_bytes: usize) -> Vec<Entry> {
        let begin = self.offset_after(from.prev());
        let (mut end, mut bytes) = (begin, 0);
        for entry in self.range(from.prev(), through) {
            bytes += size_bytes(entry);
            if bytes > max_bytes && end > begin {
                break;
            }
            end += 1;
        }
        self.entries.range(begin..end).map(value).collect()
    }

    /// What was accepted from `from` on, as much as `max_bytes` allows, but at least one slot; and
    /// whether there is more.
    pub(super) fn accepted(&self, from: LogIndex, max_bytes: usize) -> (Vec<Acceptance>, bool) {
        let (mut page, mut bytes) = (Vec::new(), 0);
        let after = from.prev().max(self.base.index).min(self.last());
        for entry in self.range(after, self.last()) {
            let stamp = stamp(entry);
            if stamp.is_gap() {
                continue;
            }
            bytes += size_bytes(entry);
            if bytes > max_bytes && !page.is_empty() {
                return (page, true);
            }
            page.push(Acceptance { ballot: stamp.ballot, entry: value(entry) });
        }
        (page, false)
    }

    /// What was accepted after `after`, up to and including `through`, and changes the members.
    pub(super) fn memberships(
        &self,
        after: LogIndex,
        through: LogIndex,
    ) -> impl DoubleEndedIterator<Item = &Entry> {
        let is_membership = |entry: &&Entry| matches!(entry.payload, Payload::Membership(_));
        self.range(after, through).filter(is_membership)
    }

    /// The first gap after `after`, if there is one.
    pub(super) fn first_gap(&self, after: LogIndex) -> Option<LogIndex> {
        let mut range = self.range(after.max(self.base.index), self.last());
        range.find(|entry| stamp(entry).is_gap()).map(|entry| entry.position.index)
    }

    /// The bytes of the slots after `after`, up to and including `through`.
    pub(super) fn bytes_between(&self, after: LogIndex, through: LogIndex) -> usize {
        self.range(after, through).map(size_bytes).sum()
    }

    /// The first index such that the slots after it, up to `through`, fit into `max_bytes`.
    pub(super) fn keep_within(&self, through: LogIndex, max_bytes: usize) -> LogIndex {
        let mut kept = 0;
        for entry in self.range(self.base.index, through).rev() {
            kept += size_bytes(entry);
            if kept > max_bytes {
                return entry.position.index;
            }
        }
        self.base.index
    }

    fn range(
        &self,
        after: LogIndex,
        through: LogIndex,
    ) -> std::collections::vec_deque::Iter<'_, Entry> {
        self.entries.range(self.offset_after(after)..self.offset_after(through))
    }

    /// How many slots stand up to and including `index`.
    fn offset_after(&self, index: LogIndex) -> usize {
        assert!(index >= self.base.index, "{index} is before the slots' base {}", self.base.index);
        let offset = usize::try_from(index.0 - self.base.index.0).expect("slots fit into memory");
        assert!(offset <= self.entries.len(), "{index} is beyond the last slot {}", self.last());
        offset
    }
}

#[cfg(test)]
mod tests;
