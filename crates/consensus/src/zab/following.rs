//! The follower's half of phases 2 and 3: makes its log the leader's, then takes in proposals, and says
//! truthfully what it holds.
//!
//! ```text
//!            NewEpoch              heard from the leader            its end is in the leader's log
//!   joining ──────────► promised ───────────────────────► synchronising ──────► agreed
//! ```
//!
//! # Invariants
//!
//! * It follows the leader of the epoch that it has accepted, and takes nothing from a lower one.
//! * Once it is agreed its log is the beginning of its leader's: it only grows, without a gap. Before, it
//!   is only cut back, and what is committed never is.
//! * It commits no more than it is agreed upon.
//!
//! # Durability
//!
//! A proposal is acknowledged once it is on disk. A heartbeat is answered at once, with what is durable by
//! then, so that reads and leadership do not wait for the disk. A cut needs no write: the entries that
//! replace what was cut are written over it, and nothing is acknowledged before. Should it come back
//! after a crash, it is cut again.
//!
//! # Reference
//!
//! Zab §IV.A, phases 2 and 3, follower; Medeiros §3.1, algorithms 2 and 3, and §4.3 for TRUNC. DIFF is not
//! a message of its own: a proposal says which entry it follows, and the first one that follows our end
//! shows that the logs agree. NEWLEADER is the epoch's first entry: having it on disk is ACK-LD.

use std::time::Duration;

use crate::{Epoch, LogIndex, News, Output, PersistId, Position, ReplicaId, Time};

use super::message::{Ack, Message, Outcome, Propose, Truncate};
use super::planted::Planted;
use super::{Link, State, Zab, send};

/// What only a follower knows.
#[derive(Clone, Hash)]
pub(super) struct Following {
    pub(super) leader: ReplicaId,
    pub(super) stage: Stage,
    /// When it last heard from the leader; nothing if the leader is believed to be gone.
    pub(super) heard: Option<Time>,
    /// When it looks for another leader.
    pub(super) deadline: Time,
    /// When it tells the leader again that it waits, if it does.
    pub(super) retry_at: Time,
}

/// How far it is with its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Has said which epoch it has accepted, and waits for a new one.
    Joining,
    /// Has said whether it promises this epoch, and waits for the leader's entries.
    Promised { epoch: Epoch, nonce: u64, promised: bool },
    /// The leader knows of us; our log may hold what the leader's does not.
    Synchronising,
    /// Our log is the beginning of the leader's.
    Agreed,
}

impl Stage {
    /// Whether the epoch that it has accepted is its leader's.
    pub(super) fn has_epoch(self) -> bool {
        self != Self::Joining
    }

    /// Whether the leader sends it what it needs.
    pub(super) fn is_served(self) -> bool {
        matches!(self, Self::Synchronising | Self::Agreed)
    }
}

impl Following {
    pub(super) fn deadline(&self) -> Time {
        if self.stage.is_served() { self.deadline } else { self.deadline.min(self.retry_at) }
    }
}

impl Zab {
    /// Follows this replica, in phase 1 or wherever it is already.
    pub(super) fn follow(&mut self, leader: ReplicaId, stage: Stage, out: &mut Vec<Output>) {
        self.stop(out);
        self.state = State::Following(Following {
            leader,
            stage,
            heard: None,
            deadline: self.now,
            retry_at: self.now,
        });
        self.await_leader(stage, out);
    }

    /// Tells the leader that we wait for it, and begins to wait.
    pub(super) fn await_leader(&mut self, stage: Stage, out: &mut Vec<Output>) {
        self.heard_from_leader(stage);
        self.press_leader(out);
    }

    fn press_leader(&mut self, out: &mut Vec<Output>) {
        let retry_at = self.now + self.config.heartbeat_interval;
        let State::Following(following) = &mut self.state else { return };
        following.retry_at = retry_at;
        match following.stage {
            Stage::Joining => {
                let leader = following.leader;
                self.send_follower_info(leader, out);
            }
            Stage::Promised { .. } => self.send_ack_epoch(out),
            Stage::Synchronising | Stage::Agreed => {}
        }
    }

    /// CEPOCH.
    pub(super) fn send_follower_info(&mut self, to: ReplicaId, out: &mut Vec<Output>) {
        let message = Message::FollowerInfo { epoch: self.epoch(), in_doubt: self.in_doubt() };
        self.reply(to, message, PersistId(0), out);
    }

    fn heard_from_leader(&mut self, stage: Stage) {
        let timeout = self.config.election_timeout;
        let deadline = self.now + timeout + self.random.below(timeout);
        let State::Following(following) = &mut self.state else { return };
        following.stage = stage;
        following.heard = Some(self.now);
        following.deadline = deadline;
    }

    pub(super) fn tick_following(&mut self, out: &mut Vec<Output>) {
        let State::Following(following) = &self.state else { return };
        if following.deadline <= self.now {
            self.look(false, out);
        } else if following.retry_at <= self.now {
            self.press_leader(out);
        }
    }

    fn stage(&self) -> Option<Stage> {
        let State::Following(following) = &self.state else { return None };
        Some(following.stage)
    }

    pub(super) fn is_agreed(&self) -> bool {
        self.stage() == Some(Stage::Agreed)
    }

    fn agree(&mut self) {
        if let State::Following(following) = &mut self.state {
            following.stage = Stage::Agreed;
        }
    }

    /// Takes note of a message that only the leader of `epoch` sends. Tells whether it is to be heeded:
    /// the epoch is the one that we have accepted.
    pub(super) fn hear_leader(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        out: &mut Vec<Output>,
    ) -> bool {
        if epoch != self.epoch() {
            return false;
        }
        assert!(
            self.epoch_leader.is_none_or(|known| known == from),
            "two leaders in epoch {epoch}: {from} and {:?}",
            self.epoch_leader
        );
        self.epoch_leader = Some(from);
        match &self.state {
            // It wants another to lead: what it said before that is late.
            State::Looking(looking) if looking.is_blessed() => return false,
            State::Following(following) if following.leader == from => {
                let is_agreed = following.stage == Stage::Agreed;
                let stage = if is_agreed { Stage::Agreed } else { Stage::Synchronising };
                self.heard_from_leader(stage);
            }
            // It leads after all, and what we were about to do needs no other.
            _ => self.follow(from, Stage::Synchronising, out),
        }
        true
    }

    pub(super) fn receive_propose(
        &mut self,
        from: ReplicaId,
        propose: Propose,
        out: &mut Vec<Output>,
    ) {
        let request = (propose.round, propose.link);
        let is_stale = propose.epoch < self.epoch();
        let takes_stale = is_stale && self.planted(Planted::StaleProposalAccepted);
        if is_stale && !takes_stale {
            return self.answer(from, request, Outcome::Stale, PersistId(0), out);
        }
        // A leader of an epoch that we have not accepted: it can't mean us.
        if !takes_stale && !self.hear_leader(from, propose.epoch, out) {
            return;
        }
        if let Some(outcome) = self.doubts_link(propose.link) {
            return self.answer(from, request, outcome, PersistId(0), out);
        }
        self.note_contact(propose.last);
        if self.planted(Planted::CommitBeyondSync) {
            self.commit_to(propose.commit.min(self.log.last().index).max(self.commit), out);
        }
        if self.follows_our_log(propose.prev) {
            self.accept(from, propose, out);
        } else {
            self.answer_with_end(from, request, propose.prev.index, out);
        }
    }

    /// Whether our log holds `prev` and is the beginning of the leader's.
    fn follows_our_log(&mut self, prev: Position) -> bool {
        let (base, last) = (self.log.base(), self.log.last());
        if prev == last {
            self.agree();
        }
        if self.planted(Planted::GapAccepted) && prev.index >= base.index {
            return true;
        }
        if !self.is_agreed() || prev.index > last.index {
            return false;
        }
        assert!(
            prev.index < base.index || self.log.holds(prev),
            "a leader contradicts itself: our log agreed with its own, but does not hold {prev}"
        );
        true
    }

    /// Takes in proposals that follow what our log holds.
    fn accept(&mut self, from: ReplicaId, propose: Propose, out: &mut Vec<Output>) {
        let (round, link) = (propose.round, propose.link);
        let (prev, end, commit) = (propose.prev.index, propose.end(), propose.commit);
        let is_heartbeat = propose.entries.is_empty();
        let early_ack = !is_heartbeat
            && (self.planted(Planted::AckBeforeDurable)
                || (self.is_witness() && self.planted(Planted::WitnessAckBeforeDurable)));
        if early_ack {
            let outcome = Outcome::Accepted { matched: end };
            let (epoch, grant) = (self.epoch(), Duration::ZERO);
            send(from, Message::Ack(Ack { epoch, round, link, outcome, grant }), out);
        }
        self.store(propose, out);
        self.commit_to(commit.min(self.log.last().index).max(self.commit), out);
        if early_ack {
            return;
        }
        if self.may_not_acknowledge() {
            // Nothing is said to a heartbeat, for the leader would ask again at once.
            if !is_heartbeat {
                self.answer_with_end(from, (round, link), prev, out);
            }
            return;
        }
        if is_heartbeat {
            let matched = self.durability.durable_index().min(self.log.last().index);
            self.answer(from, (round, link), Outcome::Accepted { matched }, PersistId(0), out);
        } else {
            let after = self.durability.of_log(end);
            self.answer(from, (round, link), Outcome::Accepted { matched: end }, after, out);
        }
        self.resolve_doubt(out);
    }

    /// Appends and writes what is new in a proposal.
    fn store(&mut self, propose: Propose, out: &mut Vec<Output>) {
        let Propose { prev, mut entries, .. } = propose;
        let base = self.log.base().index;
        let held = self.log.last().index.0.saturating_sub(prev.index.0);
        let held = usize::try_from(held).map_or(entries.len(), |held| held.min(entries.len()));
        let is_ours = |position: Position| position.index <= base || self.log.holds(position);
        assert!(
            self.planted(Planted::SyncWithoutTruncate)
                || entries[..held].iter().all(|entry| is_ours(entry.position)),
            "a leader contradicts itself after {prev}"
        );
        let entries = if held == 0 { entries } else { entries.split_off(held) };
        if !entries.is_empty() {
            self.log.append(entries.iter().cloned());
            self.persist(entries, out);
            self.members_changed(out);
        }
    }

    /// TRUNC.
    pub(super) fn receive_truncate(
        &mut self,
        from: ReplicaId,
        truncate: Truncate,
        out: &mut Vec<Output>,
    ) {
        let request = (truncate.round, truncate.link);
        if truncate.epoch < self.epoch() {
            return self.answer(from, request, Outcome::Stale, PersistId(0), out);
        }
        if !self.hear_leader(from, truncate.epoch, out) {
            return;
        }
        if let Some(outcome) = self.doubts_link(truncate.link) {
            return self.answer(from, request, outcome, PersistId(0), out);
        }
        self.note_contact(truncate.last);
        if truncate.from == self.log.last() && !self.is_agreed() {
            self.cut_back_to(truncate.to, out);
        }
        self.answer_with_end(from, request, truncate.from.index, out);
    }

    /// Drops what lies after our last entry that may be at or before the leader's entry `to`.
    fn cut_back_to(&mut self, to: Position, out: &mut Vec<Output>) {
        if self.planted(Planted::SyncWithoutTruncate) {
            return self.agree();
        }
        let end = self.log.newest_before(to.index, to.epoch).unwrap_or(self.log.base());
        let from = end.index.next();
        assert!(from > self.commit, "a leader contradicts the committed entry at {from}");
        if end == to {
            self.agree();
        }
        if from <= self.log.last().index {
            self.log.truncate(from);
            self.durability.truncate(from);
            out.push(Output::News(News::Truncated { from }));
            self.members_changed(out);
        }
    }

    /// COMMIT, and UPTODATE.
    pub(super) fn receive_commit(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        position: Position,
        out: &mut Vec<Output>,
    ) {
        // A follower in doubt believes only what was sent to this life of it.
        if self.in_doubt() || !self.hear_leader(from, epoch, out) {
            return;
        }
        if position.index > self.commit && self.is_agreed() && self.log.holds(position) {
            self.commit_to(position.index, out);
        }
    }

    /// Tells the leader where to go on.
    pub(super) fn answer_with_end(
        &mut self,
        to: ReplicaId,
        request: (u64, Link),
        prev: LogIndex,
        out: &mut Vec<Output>,
    ) {
        let outcome = Outcome::Ends { prev, last: self.log.last() };
        self.answer(to, request, outcome, PersistId(0), out);
    }

    /// Answers a leader's message once the write `after` is on disk.
    pub(super) fn answer(
        &mut self,
        to: ReplicaId,
        (round, link): (u64, Link),
        outcome: Outcome,
        after: PersistId,
        out: &mut Vec<Output>,
    ) {
        let grant = match outcome {
            Outcome::Accepted { .. } | Outcome::Ends { .. } | Outcome::Fetching if round > 0 => {
                self.grant.give(to, self.epoch(), self.now)
            }
            _ => Duration::ZERO,
        };
        let ack = Ack { epoch: self.epoch(), round, link, outcome, grant };
        self.reply(to, Message::Ack(ack), after, out);
    }
}
