//! Snapshots and compaction: what happens when a log's beginning is gone.
//!
//! The image of the state machine belongs to the host. Here we decide how many slots are kept behind
//! it, tell a follower that is further behind to fetch an image, fetch one ourselves when we cannot
//! lead without, and go on after it.
//!
//! What we rely on: a host never installs an image that is older than what it has applied; it
//! reports [`crate::Input::SnapshotFailed`] instead. When it is asked for a snapshot while it
//! fetches one, somebody else's is wanted: it drops the older fetch without a report.
//!
//! # Invariants
//!
//! * Only slots that are sure and in the durable image are dropped.
//! * An acceptance is never dropped: slots beyond a new base stay, and are written together with it
//!   where the base voids the disk's log.
//! * Nothing is handed out for applying twice: after a snapshot, applying goes on behind it.
//!
//! # Durability
//!
//! The host installs a snapshot durably before it says so, and we acknowledge it once the new base
//! is on disk. A base that merely moves on is written with nothing waiting for it.
//!
//! # Reference
//!
//! PMMC §4.2 (garbage collection): there a leader tells acceptors what all learners have; here each
//! replica keeps what it likes, and a laggard fetches an image.

use std::sync::Arc;

use crate::common::link::Link;
use crate::{Epoch, LogIndex, Membership, Output, PersistId, Position, ReplicaId};

use super::message::Outcome;
use super::planted::Planted;
use super::stamp::Stamp;
use super::{Paxos, State};

/// The log is compacted in steps of this part of what it retains, not slot by slot.
const STEPS_IN_RETAINED: usize = 8;

/// A snapshot that the host was asked to fetch.
#[derive(Clone, Hash)]
pub(super) struct Fetch {
    from: ReplicaId,
    /// Of the leader's latest request; the acknowledgement bears it. None if nobody asked us to.
    link: Option<Link>,
}

/// A base whose value is known from an image alone, as the disk has it. Under which ballot it was
/// accepted no longer matters: it is chosen.
pub(super) fn of_image(position: Position) -> Position {
    let ballot = Epoch { round: 1, proposer: 1 };
    let stamp = Stamp::new(ballot, position.epoch, position.index, position.index);
    Position { epoch: stamp.pack(), ..position }
}

impl Paxos {
    /// Drops slots that no recovery needs and that no follower is worth keeping for.
    pub(super) fn checkpoint(&mut self, through: LogIndex, out: &mut Vec<Output>) {
        self.checkpointed = self.checkpointed.max(through.min(self.commit));
        let base = self.slots.base().index;
        let through = self.checkpointed.min(self.sure).max(base);
        let needed_by_none = self.matched_by_all().map_or(base, |matched| matched.min(through));
        let retained = self.config.log_retain_bytes;
        let target = self.slots.keep_within(through, retained).max(needed_by_none);
        if target == base {
            return;
        }
        let dropped_bytes = self.slots.bytes_between(base, target);
        if target == through || dropped_bytes >= retained / STEPS_IN_RETAINED {
            self.base_moves_through(target);
            self.slots.compact(target);
            self.durability.cover(target);
            self.durability.base_moved(&self.at_base);
            self.persist(Vec::new(), out);
        }
    }

    /// The leader no longer has the slots that we lack.
    pub(super) fn receive_snapshot(
        &mut self,
        from: ReplicaId,
        ballot: Epoch,
        position: Position,
        (round, last, link): (u64, LogIndex, Link),
        out: &mut Vec<Output>,
    ) {
        let request = (round, link);
        if ballot < self.promised() {
            return self.answer(from, request, Outcome::Stale, PersistId(0), out);
        }
        self.follow(from, ballot, out);
        if let Some(nonce) = self.doubts_link(link) {
            return self.answer(from, request, Outcome::InDoubt { nonce }, PersistId(0), out);
        }
        self.note_contact(last);
        if self.commit >= position.index {
            if self.sure < position.index {
                self.rest_on_image(out);
            }
            return self.answer_with_sure(from, request, out);
        }
        self.answer(from, request, Outcome::Fetching, PersistId(0), out);
        self.ask_host(Fetch { from, link: Some(link) }, position, out);
    }

    /// A candidate needs what this acceptor can tell by a snapshot only.
    pub(super) fn fetch_to_stand(
        &mut self,
        from: ReplicaId,
        position: Position,
        out: &mut Vec<Output>,
    ) {
        self.ask_host(Fetch { from, link: None }, position, out);
    }

    fn ask_host(&mut self, fetch: Fetch, at_least: Position, out: &mut Vec<Output>) {
        if self.fetch.is_none() {
            out.push(Output::FetchSnapshot { from: fetch.from, at_least });
        }
        self.fetch = Some(fetch);
    }

    /// The state machine now is the snapshot at `position`.
    pub(super) fn snapshot_installed(
        &mut self,
        position: Position,
        membership: Arc<Membership>,
        out: &mut Vec<Output>,
    ) {
        let fetch = self.fetch.take();
        if position.index > self.commit {
            self.memberships.rebase(position.index, membership);
            self.skip_to(position, out);
            self.members_changed(out);
        }
        if let Some(Fetch { from, link: Some(link) }) = fetch {
            self.answer_with_sure(from, (0, link), out);
        }
    }

    /// Goes on behind an image that is further than what was handed out.
    fn skip_to(&mut self, position: Position, out: &mut Vec<Output>) {
        let (commit, index) = (self.commit, position.index);
        let held = self.slots.get(index).is_some_and(|(stamp, _)| stamp.origin == position.epoch);
        let proposed = self.slots.bytes_between(commit, index.min(self.slots.last()));
        self.commit = index;
        self.applied = position;
        self.newest = self.newest.max(position.epoch);
        self.checkpointed = index;
        self.rest_on_image(out);
        match &mut self.state {
            // Asked for before it was elected, in a log that has meanwhile been filled.
            State::Leader(leader) if held => leader.no_longer_uncommitted(proposed),
            // Another leader has chosen what we did not propose.
            State::Leader(_) => self.stop_leading_or_standing(out),
            State::Candidate(phase1) => phase1.forget_through(index),
            State::Follower | State::PreCandidate(_) | State::InDoubt(_) => {}
        }
        self.note_ready(out);
    }

    /// Lets the slots begin behind what was applied: the image knows it, whatever they hold there.
    pub(super) fn rest_on_image(&mut self, out: &mut Vec<Output>) {
        let Position { index, epoch } = self.applied;
        let held = self.slots.get(index).is_some_and(|(stamp, _)| stamp.origin == epoch);
        let mut rest = Vec::new();
        if held {
            // The disk holds it as well, so all that follows stays.
            self.slots.compact(index);
        } else {
            self.slots.rebase(of_image(self.applied));
            self.durability.truncate(index.next());
            if self.planted(Planted::BaseDropsAcceptances) {
                self.slots.drop_all();
            }
            rest = self.slots.suffix(index.next());
        }
        self.sure = index;
        self.advance_agreed();
        self.at_base = Arc::clone(self.memberships.base());
        self.durability.cover(index);
        self.durability.base_moved(&self.at_base);
        self.persist(rest, out);
    }

    /// What is sure here is so for every leader.
    fn answer_with_sure(&mut self, to: ReplicaId, request: (u64, Link), out: &mut Vec<Output>) {
        let after = self.durability.of_log(self.sure);
        self.answer(to, request, Outcome::Accepted { matched: self.sure }, after, out);
        self.resolve_doubt(out);
    }
}
