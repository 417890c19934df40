//! When to flush and when to compact: the storage worker's work, one kind at a time.
//!
//! A compaction takes versions away only when the command that allowed it is durable in the engine: a
//! node that crashes in between must not come back to a state which promises versions that are gone.

use bytes::Bytes;
use wire::Revision;

/// What is under way and what is due.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    /// A flush is under way; it makes this compaction durable.
    pub(crate) flushing: Option<Revision>,
    /// Versions below may go.
    allowed: Revision,
    /// Versions below are gone.
    done: Revision,
    compacting: Option<Revision>,
    cursor: Option<Bytes>,
}

impl Maintenance {
    /// At start: what an earlier life left is finished by the next compaction.
    pub(crate) fn new(compacted: Revision) -> Self {
        Self { allowed: compacted, done: compacted, ..Self::default() }
    }

    /// The state was replaced by one that is compacted to here. What is under way goes on.
    pub(crate) fn replaced(&mut self, compacted: Revision) {
        let flushing = self.flushing;
        *self = Self { flushing, ..Self::new(compacted) };
    }

    /// The flush under way is durable.
    pub(crate) fn flushed(&mut self) {
        if let Some(compacted) = self.flushing.take() {
            self.allowed = self.allowed.max(compacted);
        }
    }

    /// The next slice of a compaction, if one is due and none is under way.
    pub(crate) fn next_slice(&mut self) -> Option<(Revision, Option<Bytes>)> {
        if self.compacting.is_some() || self.done >= self.allowed {
            return None;
        }
        self.compacting = Some(self.allowed);
        Some((self.allowed, self.cursor.take()))
    }

    /// A slice is done; `next` is where the following one begins.
    pub(crate) fn sliced(&mut self, next: Option<Bytes>) {
        let Some(before) = self.compacting.take() else { return };
        match next {
            Some(cursor) => self.cursor = Some(cursor),
            None => self.done = self.done.max(before),
        }
    }

    /// Whether the worker has nothing of ours.
    pub(crate) fn is_idle(&self) -> bool {
        self.flushing.is_none() && self.compacting.is_none()
    }
}
