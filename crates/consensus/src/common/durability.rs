//! What is written before what: every write and every reply of a replica goes through here.
//!
//! # Durability
//!
//! A reply reports a promise: a term, a ballot, an epoch. It leaves only when the write that carries
//! the current promise is on disk; an acknowledgement names one more write to wait for. Where that
//! write was asked for in an earlier list, an [`Output::Await`] stands for it.
//!
//! # Invariants
//!
//! * A changed promise, and a base that has moved, are in a write before the step ends.

use std::sync::Arc;

use crate::{Durable, Entry, HardState, LogIndex, Membership, Output, PersistId, Position};

use super::writes::Writes;

/// A replica's promise, and what of it and of its log is on disk.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Durability {
    hard_state: HardState,
    /// What changed at the start or in this step and is in no write yet.
    unsaved: Unsaved,
    /// The membership at the log's base, as the writes so far say.
    membership: Arc<Membership>,
    writes: Writes,
    /// The strongest barrier that stands in the list under way.
    barrier: PersistId,
}

/// What has yet to be written.
#[derive(Clone, Debug, Default, Hash)]
struct Unsaved {
    hard_state: bool,
    base: bool,
    membership: bool,
}

impl Durability {
    /// With what the disk gave back: this promise, a log up to `last`, and the membership at its base.
    pub(crate) fn new(hard_state: HardState, last: LogIndex, membership: Arc<Membership>) -> Self {
        Self {
            hard_state,
            unsaved: Unsaved::default(),
            membership,
            writes: Writes::new(last),
            barrier: PersistId(0),
        }
    }

    /// A new list begins, and with it no barrier stands.
    pub(crate) fn begin_list(&mut self) {
        self.barrier = PersistId(0);
    }

    pub(crate) fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Changes the promise; it is written with the next write, or at the end of the step.
    pub(crate) fn promise(&mut self, hard_state: HardState) {
        self.unsaved.hard_state |= self.hard_state != hard_state;
        self.hard_state = hard_state;
    }

    /// The log's base has moved, to where this membership is in force; the next write says so.
    pub(crate) fn base_moved(&mut self, membership: &Arc<Membership>) {
        self.unsaved.base = true;
        if self.membership != *membership {
            self.membership = Arc::clone(membership);
            self.unsaved.membership = true;
        }
    }

    pub(crate) fn has_unsaved_base(&self) -> bool {
        self.unsaved.base
    }

    /// Writes `entries` and all that is unsaved. The log begins after `base`.
    pub(crate) fn persist(&mut self, entries: Vec<Entry>, base: Position, out: &mut Vec<Output>) {
        let id = self.writes.issue();
        let unsaved = std::mem::take(&mut self.unsaved);
        if unsaved.hard_state {
            self.writes.carries_hard_state();
        }
        if let Some(last) = entries.last() {
            self.writes.carries_log(last.position.index);
        }
        self.barrier = id;
        out.push(Output::Persist(Durable {
            id,
            hard_state: unsaved.hard_state.then_some(self.hard_state),
            base: unsaved.base.then_some(base),
            membership: unsaved.membership.then(|| Arc::clone(&self.membership)),
            entries,
        }));
    }

    /// The same for a log that comes to be what it is, up to `through` at least, with this write.
    pub(crate) fn persist_through(
        &mut self,
        through: LogIndex,
        entries: Vec<Entry>,
        base: Position,
        out: &mut Vec<Output>,
    ) {
        let is_longer = entries.last().is_some_and(|last| last.position.index > through);
        self.persist(entries, base, out);
        if !is_longer {
            self.writes.carries_log(through);
        }
    }

    /// Writes a changed promise that no write carries yet.
    pub(crate) fn save_promise(&mut self, base: Position, out: &mut Vec<Output>) {
        if self.unsaved.hard_state {
            self.persist(Vec::new(), base, out);
        }
    }

    /// What follows in the list waits for the promise and for the write `after`.
    pub(crate) fn wait_for(&mut self, after: PersistId, base: Position, out: &mut Vec<Output>) {
        self.save_promise(base, out);
        let after = after.max(self.writes.of_hard_state());
        if !self.writes.is_durable(after) && self.barrier < after {
            // Writes are ordered, so the one barrier covers all before it.
            self.barrier = after;
            out.push(Output::Await(after));
        }
    }

    /// Takes note that the write `id` and all before it are on disk.
    pub(crate) fn persisted(&mut self, id: PersistId) {
        self.writes.persisted(id);
    }

    /// Whether the current promise is on disk.
    pub(crate) fn is_promise_durable(&self) -> bool {
        !self.unsaved.hard_state && self.writes.is_durable(self.writes.of_hard_state())
    }

    /// The log is on disk up to here.
    pub(crate) fn durable_index(&self) -> LogIndex {
        self.writes.durable_index()
    }

    /// The write that makes the log durable up to `index`.
    pub(crate) fn of_log(&self, index: LogIndex) -> PersistId {
        self.writes.of_log(index)
    }

    /// Entries from `from` on are gone from the log, whatever is still under way.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        self.writes.truncate(from);
    }

    /// All up to `index` is durable by other means: in a snapshot.
    pub(crate) fn cover(&mut self, index: LogIndex) {
        self.writes.cover(index);
    }
}
