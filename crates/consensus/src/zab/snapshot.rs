//! SNAP, and compaction: what happens when a log's beginning is gone.
//!
//! The image of the state machine belongs to the host. Here we decide how much of the log is kept
//! behind it, tell a follower that is further behind to fetch an image, and go on after it.
//!
//! What we rely on: a host never installs an image that is older than what it has applied; it
//! reports [`crate::Input::SnapshotFailed`] instead. When it is asked for a snapshot while it
//! fetches one, a newer leader wants it: it drops the older fetch without a report.
//!
//! # Invariants
//!
//! * Only what is both committed and in the durable image is dropped.
//! * Nothing is handed out for applying twice: after a snapshot, applying goes on behind it.
//!
//! # Durability
//!
//! The host installs a snapshot durably before it says so. That our log now ends with it is told at once,
//! for it acknowledges nothing; what follows is acknowledged when it is on disk, behind the new base.
//!
//! # Reference
//!
//! Medeiros §4.3 (SNAP). Where ZooKeeper streams it through the follower's connection, and its snapshots are
//! fuzzy, ours tells the follower's host to fetch an image that ends at one entry.

use std::sync::Arc;

use crate::common::{dropped, retention, skipped_to};
use crate::{Epoch, LogIndex, Membership, Output, PersistId, Position, ReplicaId};

use super::message::Outcome;
use super::{Link, State, Zab};

/// A snapshot that the host was asked to fetch.
#[derive(Clone, Hash)]
pub(super) struct Fetch {
    from: ReplicaId,
    /// Of the leader's latest request; the answer bears it.
    link: Link,
}

impl Zab {
    /// Drops entries that no recovery needs and that no follower is worth keeping for.
    pub(super) fn checkpoint(&mut self, through: LogIndex, out: &mut Vec<Output>) {
        self.checkpointed = self.checkpointed.max(through.min(self.applied.index));
        if self.is_witness() {
            // It has no image that would have what is still on its way to the disk.
            self.checkpointed = self.checkpointed.min(self.durability.durable_index());
        }
        let (held, retained) = (self.matched_by_all(), self.config.log_retain_bytes);
        let kept = (self.checkpointed, held);
        retention::compact(&mut self.log, &mut self.durability, kept, retained, out);
    }

    /// The leader no longer has the entries that we lack.
    pub(super) fn receive_snapshot(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        position: Position,
        (round, last, link): (u64, LogIndex, Link),
        skip: Option<Arc<Membership>>,
        out: &mut Vec<Output>,
    ) {
        let request = (round, link);
        if skip.is_some() && self.is_data_replica() {
            return dropped(from, "it takes us for a witness", out);
        }
        if epoch < self.epoch() {
            return self.answer(from, request, Outcome::Stale, PersistId(0), out);
        }
        if !self.hear_leader(from, epoch, out) {
            return;
        }
        if let Some(outcome) = self.doubts_link(link) {
            return self.answer(from, request, outcome, PersistId(0), out);
        }
        self.note_contact(last);
        if self.commit >= position.index {
            // It was sent before we had come so far.
            return self.answer_with_end(from, request, position.index, out);
        }
        if let Some(membership) = skip {
            let membership = skipped_to(membership, &self.config);
            self.skip_as_witness((position, membership), out);
            return self.answer_with_end(from, request, position.index, out);
        }
        self.answer(from, request, Outcome::Fetching, PersistId(0), out);
        if self.fetch.is_none() {
            out.push(Output::FetchSnapshot { from, at_least: position });
        }
        self.fetch = Some(Fetch { from, link });
    }

    /// The state machine now is the snapshot at `position`.
    pub(super) fn snapshot_installed(
        &mut self,
        position: Position,
        membership: Arc<Membership>,
        out: &mut Vec<Output>,
    ) {
        if position.epoch > self.epoch() {
            // It was taken in an epoch that we have not heard of: we have promised it to nobody either.
            self.accept_epoch(position.epoch, None);
            if !self.is_asking() {
                self.look(false, out);
            }
        }
        let fetch = self.fetch.take();
        if position.index > self.commit {
            self.restart_log_after(position, membership, out);
        }
        if let Some(Fetch { from, link }) = fetch {
            self.answer_with_end(from, (0, link), position.index, out);
        }
    }

    /// A witness goes on where the leader's log begins.
    fn skip_as_witness(&mut self, place: (Position, Arc<Membership>), out: &mut Vec<Output>) {
        let (position, agreed) = (place.0, self.commit);
        self.fetch = None;
        retention::skip_to(&mut self.log, &mut self.durability, place, agreed, out);
        self.commit = position.index;
        self.applied = position;
        self.checkpointed = position.index;
        self.members_changed(out);
    }

    fn restart_log_after(
        &mut self,
        position: Position,
        membership: Arc<Membership>,
        out: &mut Vec<Output>,
    ) {
        if let State::Leading(leader) = &mut self.state {
            // Asked for before it was elected, in a log that has meanwhile been filled.
            assert!(self.log.holds(position), "a leader has all that is committed");
            leader.committed(&self.log.between(self.commit, position.index));
        }
        let image = (position, membership);
        retention::restart_after(&mut self.log, &mut self.durability, image, out);
        self.commit = position.index;
        self.applied = position;
        self.checkpointed = position.index;
        self.members_changed(out);
    }
}
