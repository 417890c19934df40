//! The leader's half of phases 2 and 3: brings its followers up to its own history, then takes in commands,
//! proposes them, and counts who has them.
//!
//! # Invariants
//!
//! * A leader only appends to its log. The first entry of its epoch is a [`Payload::Noop`]: NEWLEADER's
//!   own place in the log, behind all of the history that it was elected with.
//! * It commits nothing, and takes in no command, before a quorum has acknowledged NEWLEADER. So it is
//!   established in Zab's order: all that earlier leaders have committed is delivered before the
//!   first of its own proposals is made (primary integrity).
//! * It counts itself for what its own disk has confirmed, like any other.
//!
//! # Durability
//!
//! Proposals stand before the write of the same entries: our disk and the followers' work in parallel.
//!
//! # Reference
//!
//! Zab §IV.A, phases 2 and 3, leader; Medeiros §3.1, algorithms 2 and 3. An acknowledgement covers all
//! before it, and several proposals share a message. `CheckQuorum` stands for the paper's leader that loses
//! its connections to a quorum.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::common::change;
use crate::common::log::size_bytes;
use crate::common::progress::{Progress, View};
use crate::common::reads::Reads;
use crate::common::transfer::{self, Transfer};
use crate::common::{dropped, place, refuse};
use crate::{
    Entry, LogIndex, Membership, News, Output, Payload, PeerProgress, Position, ProposalId, ReadId,
    ReplicaId, Time,
};

use super::message::{Ack, Outcome};
use super::peer::{Peer, Words};
use super::planted::Planted;
use super::{State, Zab};

/// What only a leader knows.
#[derive(Clone, Hash)]
pub(super) struct Leader {
    pub(super) peers: BTreeMap<ReplicaId, Peer>,
    /// Marks its epoch's proposal, for those that come later.
    pub(super) nonce: u64,
    heartbeat_deadline: Time,
    /// When followers are told what is committed, if no proposal has told them by then.
    notice_deadline: Option<Time>,
    /// Whether a quorum has acknowledged NEWLEADER, so that the commit index can be relied upon.
    pub(super) is_established: bool,
    uncommitted_bytes: usize,
    pub(super) reads: Reads,
    pub(super) transfer: Option<Transfer>,
}

impl Leader {
    fn new(zab: &Zab, nonce: u64) -> Self {
        let last = zab.log.last().index;
        let peer = |peer: &ReplicaId| (*peer, Peer::new(Progress::new(*peer, last, zab.now)));
        Self {
            peers: zab.peers.iter().map(peer).collect(),
            nonce,
            heartbeat_deadline: zab.now + zab.config.heartbeat_interval,
            notice_deadline: None,
            is_established: false,
            uncommitted_bytes: zab.log.bytes_between(zab.commit, last),
            reads: Reads::new(&zab.config),
            transfer: None,
        }
    }

    pub(super) fn deadline(&self) -> Time {
        let transfer = self.transfer.as_ref().map(Transfer::deadline);
        let others = [transfer, self.notice_deadline].into_iter().flatten();
        others.fold(self.heartbeat_deadline, Time::min)
    }

    pub(super) fn hung_up(&mut self, peer: ReplicaId) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.progress.hung_up();
        }
    }

    pub(super) fn committed(&mut self, entries: &[Entry]) {
        let bytes: usize = entries.iter().map(size_bytes).sum();
        assert!(bytes <= self.uncommitted_bytes, "what is committed was uncommitted before");
        self.uncommitted_bytes -= bytes;
    }

    pub(super) fn peers(&self, now: Time, timeout: Duration) -> Vec<PeerProgress> {
        let describe = |peer: &Peer| peer.progress.describe(peer.state_name(), now, timeout);
        self.peers.values().map(describe).collect()
    }

    /// What a quorum of `members` has reached, given what each follower has, and the leader itself.
    pub(super) fn reached<T: Copy + Ord + Default>(
        &self,
        members: &Membership,
        of: impl Fn(&Progress) -> T,
        own: (ReplicaId, T),
    ) -> T {
        change::reached(members, |voter| self.peers.get(&voter).map(|peer| of(&peer.progress)), own)
    }
}

impl Zab {
    /// Owns its epoch: sends NEWLEADER, behind what each of those that answered lacks.
    pub(super) fn lead(
        &mut self,
        nonce: u64,
        answers: BTreeMap<ReplicaId, (Position, u64)>,
        out: &mut Vec<Output>,
    ) {
        assert!(self.epoch_leader.is_none(), "an epoch has one leader");
        assert!(
            self.durability.hard_state().vote == Some(self.id()),
            "a leader has promised its epoch to itself"
        );
        assert!(self.log.last().epoch < self.epoch(), "an epoch begins with its leader's entry");
        self.epoch_leader = Some(self.id());
        self.state = State::Leading(Leader::new(self, nonce));
        let position = Position { index: self.log.last().index.next(), epoch: self.epoch() };
        let new_leader = vec![Entry { position, payload: Payload::Noop }];
        self.append(&new_leader, out);
        for (peer, (last, doubt)) in answers {
            self.with_peer(peer, |peer, view| peer.joins(last, doubt, view, out));
        }
        self.persist(new_leader, out);
    }

    /// A follower that comes later has accepted our epoch.
    pub(super) fn synchronise(
        &mut self,
        from: ReplicaId,
        last: Position,
        doubt: u64,
        out: &mut Vec<Output>,
    ) {
        let now = self.now;
        self.with_peer(from, |peer, view| {
            peer.progress.heard = now;
            peer.joins(last, doubt, view, out);
        });
    }

    /// Takes in commands: one proposal for each follower, and then our own write.
    pub(super) fn propose(&mut self, proposals: Vec<(ProposalId, Bytes)>, out: &mut Vec<Output>) {
        if proposals.is_empty() {
            return;
        }
        if !self.takes_proposals() {
            let proposals = proposals.into_iter().map(|(id, _)| id).collect();
            return refuse(proposals, Vec::new(), self.hint(), out);
        }
        assert!(
            self.applied.epoch == self.epoch(),
            "primary integrity: it has delivered NEWLEADER"
        );
        let first = Position { index: self.log.last().index.next(), epoch: self.epoch() };
        let (accepted, entries) = place(first, proposals);
        out.push(Output::Accepted(accepted));
        self.broadcast(entries, out);
    }

    /// Proposes these entries to each follower, and writes them.
    pub(super) fn broadcast(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        self.append(&entries, out);
        self.for_each_peer(|peer, view| peer.send(view, out));
        self.persist(entries, out);
    }

    fn append(&mut self, entries: &[Entry], out: &mut Vec<Output>) {
        let State::Leading(leader) = &mut self.state else { return };
        leader.uncommitted_bytes += entries.iter().map(size_bytes).sum::<usize>();
        self.log.append(entries.iter().cloned());
        self.members_changed(out);
    }

    /// Whether it is established, is no witness, is not about to hand over, and has room.
    pub(super) fn takes_proposals(&self) -> bool {
        let State::Leading(leader) = &self.state else { return false };
        let greedy = self.planted(Planted::ProposesInHandOver);
        leader.is_established
            && (leader.transfer.is_none() || greedy)
            && leader.uncommitted_bytes < self.config.max_uncommitted_bytes
            && !self.serves_nothing()
    }

    pub(super) fn tick_leader(&mut self, out: &mut Vec<Output>) {
        let State::Leading(leader) = &mut self.state else { return };
        transfer::end(&mut leader.transfer, self.now);
        if leader.notice_deadline.is_some_and(|deadline| deadline <= self.now) {
            leader.notice_deadline = None;
            self.for_each_peer(|peer, view| peer.progress.push_commit(view, out));
        }
        let State::Leading(leader) = &mut self.state else { return };
        if self.peers.is_empty() || self.now < leader.heartbeat_deadline {
            return;
        }
        let own = (self.config.id, self.now);
        let members = self.log.memberships().latest();
        let silence = self.now.since(leader.reached(members, |progress| progress.heard, own));
        if silence >= self.config.election_timeout {
            return self.look(false, out);
        }
        leader.heartbeat_deadline = self.now + self.config.heartbeat_interval;
        leader.reads.begin_for_lease(self.now);
        self.for_each_peer(|peer, view| peer.beat(view, out));
        self.tell_the_silent(out);
    }

    /// A member of which nothing is heard may know nobody whom it could ask who leads.
    fn tell_the_silent(&mut self, out: &mut Vec<Output>) {
        let (now, timeout) = (self.now, self.config.election_timeout);
        let State::Leading(leader) = &self.state else { return };
        let silent = leader.peers.iter().filter(|(_, peer)| peer.is_silent(now, timeout));
        for peer in silent.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.tell(peer, out);
        }
    }

    /// Asks every follower whether we still lead.
    pub(super) fn ask_all(&mut self, out: &mut Vec<Output>) {
        self.for_each_peer(|peer, view| peer.ask(view, out));
    }

    /// ACK and ACK-LD.
    pub(super) fn receive_ack(&mut self, from: ReplicaId, ack: Ack, out: &mut Vec<Output>) {
        self.highest_seen = self.highest_seen.max(ack.epoch);
        let any_epoch = self.planted(Planted::AckOfOtherEpoch);
        let any_answer = self.planted(Planted::OldAnswerConfirmsReads);
        let (last, own, now) = (self.log.last().index, self.epoch(), self.now);
        let State::Leading(leader) = &mut self.state else { return };
        let Some(peer) = leader.peers.get_mut(&from) else { return };
        if ack.epoch > own {
            // It has accepted another epoch: what we propose in ours reaches it no more.
            return self.look(false, out);
        }
        if (ack.epoch < own && !any_epoch) || ack.link != peer.progress.link {
            return;
        }
        let round = leader.reads.round();
        match ack.outcome {
            Outcome::Accepted { matched } if matched > last && ack.epoch == own => {
                return dropped(from, "it acknowledged more than was sent", out);
            }
            Outcome::Accepted { matched } => peer.progress.accepted(matched.min(last), &self.log),
            Outcome::Ends { .. } | Outcome::InDoubt { .. } | Outcome::Fetching => {}
            // Only a follower of a later epoch says so, and its answer bears that epoch.
            Outcome::Stale => return,
        }
        peer.progress.heard = now;
        let answered = if any_answer { round } else { ack.round };
        if !matches!(ack.outcome, Outcome::InDoubt { .. }) && ack.round <= round {
            peer.progress.round = peer.progress.round.max(answered);
            let until = leader.reads.granted_until(ack.round, ack.grant, now);
            peer.progress.granted_until = peer.progress.granted_until.max(until);
        }
        self.with_peer(from, |peer, view| match ack.outcome {
            Outcome::Ends { prev, last } => peer.ends(prev, last, view, out),
            Outcome::InDoubt { nonce, last } => peer.in_doubt(nonce, last, view, out),
            Outcome::Accepted { .. } | Outcome::Fetching | Outcome::Stale => {}
        });
        self.after_ack(from, out);
    }

    /// Does what a follower's answer has made possible.
    fn after_ack(&mut self, from: ReplicaId, out: &mut Vec<Output>) {
        self.advance_commit(out);
        self.with_peer(from, |peer, view| peer.send(view, out));
        self.give_notice(out);
        self.confirm_reads(out);
        self.yield_office(out);
        self.hand_over(out);
    }

    /// Commits what a quorum has on disk. The first time that is NEWLEADER, and with it the history.
    pub(super) fn advance_commit(&mut self, out: &mut Vec<Output>) {
        let any_epoch = self.planted(Planted::CommitBeforeNewLeader);
        let counts_itself = self.planted(Planted::OwnAckBeforeDurable);
        let new_alone = self.planted(Planted::NewLeaderWithoutOutgoing);
        let mut members = self.deciding();
        let own =
            if counts_itself { self.log.last().index } else { self.durability.durable_index() };
        let State::Leading(leader) = &mut self.state else { return };
        if new_alone && !leader.is_established {
            members = Arc::new(members.settled());
        }
        let index = leader.reached(&members, Progress::matched, (self.config.id, own));
        if index <= self.commit {
            return;
        }
        let is_own_epoch = self.log.epoch_at(index) == Some(self.durability.hard_state().epoch);
        if !is_own_epoch && !any_epoch {
            return;
        }
        let becomes_established = is_own_epoch && !leader.is_established;
        leader.is_established |= is_own_epoch;
        self.commit_to(index, out);
        self.give_notice(out);
        if becomes_established {
            out.push(Output::News(News::LeaderReady { epoch: self.epoch() }));
            self.begin_round(out);
        }
        self.go_on_changing(out);
    }

    /// Sees to it that idle followers learn what is committed, now or a little later.
    fn give_notice(&mut self, out: &mut Vec<Output>) {
        let delay = self.config.commit_notice_delay;
        if delay.is_zero() {
            return self.for_each_peer(|peer, view| peer.progress.push_commit(view, out));
        }
        let mut awaited = false;
        self.for_each_peer(|peer, view| awaited |= peer.progress.awaits_commit(view).is_some());
        let State::Leading(leader) = &mut self.state else { return };
        if awaited && leader.notice_deadline.is_none() {
            leader.notice_deadline = Some(self.now + delay);
        }
    }

    fn for_each_peer(&mut self, mut act: impl FnMut(&mut Peer, &View<'_>)) {
        let Some((peers, view)) = self.peers_and_view() else { return };
        for peer in peers.values_mut() {
            act(peer, &view);
        }
    }

    pub(super) fn with_peer(&mut self, peer: ReplicaId, act: impl FnOnce(&mut Peer, &View<'_>)) {
        let Some((peers, view)) = self.peers_and_view() else { return };
        if let Some(peer) = peers.get_mut(&peer) {
            act(peer, &view);
        }
    }

    fn peers_and_view(&mut self) -> Option<(&mut BTreeMap<ReplicaId, Peer>, View<'_>)> {
        let State::Leading(leader) = &mut self.state else { return None };
        let view = View {
            now: self.now,
            epoch: self.durability.hard_state().epoch,
            log: &self.log,
            commit: self.commit,
            round: leader.reads.round(),
            config: &self.config,
            dialect: &Words,
        };
        Some((&mut leader.peers, view))
    }

    /// The highest index that all followers hold.
    pub(super) fn matched_by_all(&self) -> Option<LogIndex> {
        let State::Leading(leader) = &self.state else { return None };
        let last = self.log.last().index;
        Some(leader.peers.values().map(|peer| peer.progress.matched()).min().unwrap_or(last))
    }

    pub(super) fn take_reads(&mut self) -> Vec<ReadId> {
        let State::Leading(leader) = &mut self.state else { return Vec::new() };
        leader.reads.take_all()
    }
}
