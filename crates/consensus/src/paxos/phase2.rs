//! Phase 2, the proposer's half: gives commands their slots, sends them out, and counts who accepted.
//!
//! # Invariants
//!
//! * A leader proposes one value for a slot, and never another.
//! * A slot is chosen when a quorum of phase 2 has accepted it *in this leader's ballot*, or knows it
//!   to be chosen. What was accepted under earlier ballots does not count: a higher one may lie in
//!   between (*Paxos Made Simple* §2.2; figure 8 of the Raft paper is the same mistake).
//! * The leader counts itself for what its own disk has confirmed, like any other.
//! * Slots are counted one by one, in whatever order they were accepted, and committed in theirs.
//!
//! # Durability
//!
//! Accepts stand before the write of the same slots: our disk and the followers' work in parallel.
//!
//! # Reference
//!
//! *Paxos Made Simple* §2.2, §3; PMMC §2.3 (commanders); *Flexible Paxos* §3 for the quorum's size.
//! A leader that no quorum of phase 2 answers steps down: it can choose nothing, and only then may
//! those that it still reaches elect another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::common::log::size_bytes;
use crate::common::reads::Reads;
use crate::common::transfer::{self, Transfer};
use crate::common::{dropped, place, refuse};
use crate::{
    Entry, LogIndex, Membership, News, Output, PeerProgress, Position, ProposalId, ReadId,
    ReplicaId, Time,
};

use super::message::{AcceptReply, Outcome};
use super::planted::Planted;
use super::progress::{Progress, View};
use super::slots::stamped;
use super::{Paxos, State};

/// What only a leader knows.
#[derive(Clone, Hash)]
pub(super) struct Leader {
    pub(super) peers: BTreeMap<ReplicaId, Progress>,
    heartbeat_deadline: Time,
    /// When followers are told what is committed, if no Accept has told them by then.
    notice_deadline: Option<Time>,
    /// The slot of its first own entry. Once that is committed it knows what is.
    start: LogIndex,
    pub(super) is_ready: bool,
    uncommitted_bytes: usize,
    pub(super) reads: Reads,
    pub(super) transfer: Option<Transfer>,
    /// What it will propose once all before it is held by a quorum. Until then it takes nothing else.
    pub(super) change: Option<Arc<Membership>>,
}

impl Leader {
    /// Of a ballot whose first phase found all up to `chosen` to be chosen.
    pub(super) fn new(
        paxos: &Paxos,
        chosen: LogIndex,
        start: LogIndex,
        uncommitted_bytes: usize,
    ) -> Self {
        let next = chosen.next();
        let progress = |peer: &ReplicaId| (*peer, Progress::new(*peer, next, paxos.now));
        Self {
            peers: paxos.peers.iter().map(progress).collect(),
            heartbeat_deadline: paxos.now + paxos.config.heartbeat_interval,
            notice_deadline: None,
            start,
            is_ready: false,
            uncommitted_bytes,
            reads: Reads::new(&paxos.config),
            transfer: None,
            change: None,
        }
    }

    pub(super) fn deadline(&self) -> Time {
        let transfer = self.transfer.as_ref().map(Transfer::deadline);
        let others = [transfer, self.notice_deadline].into_iter().flatten();
        others.fold(self.heartbeat_deadline, Time::min)
    }

    pub(super) fn hung_up(&mut self, peer: ReplicaId) {
        if let Some(progress) = self.peers.get_mut(&peer) {
            progress.hung_up();
        }
    }

    pub(super) fn committed(&mut self, entries: &[Entry]) {
        self.no_longer_uncommitted(entries.iter().map(size_bytes).sum());
    }

    pub(super) fn no_longer_uncommitted(&mut self, bytes: usize) {
        assert!(bytes <= self.uncommitted_bytes, "what is committed was uncommitted before");
        self.uncommitted_bytes -= bytes;
    }

    pub(super) fn take_reads(&mut self) -> Vec<ReadId> {
        self.reads.take_all()
    }

    pub(super) fn peers(&self, now: Time, timeout: Duration) -> Vec<PeerProgress> {
        let view = |(peer, progress): (&ReplicaId, &Progress)| PeerProgress {
            peer: *peer,
            matched: progress.matched(),
            next: progress.next(),
            state: progress.state_name(),
            active: now.since(progress.heard) < timeout,
        };
        self.peers.iter().map(view).collect()
    }
}

impl Paxos {
    /// Takes in commands: one Accept for each follower, and then our own write.
    pub(super) fn propose(&mut self, proposals: Vec<(ProposalId, Bytes)>, out: &mut Vec<Output>) {
        if proposals.is_empty() {
            return;
        }
        if !self.takes_proposals() {
            let proposals = proposals.into_iter().map(|(id, _)| id).collect();
            return refuse(proposals, Vec::new(), self.leader, out);
        }
        let ballot = self.promised();
        let first = Position { index: self.slots.last().next(), epoch: ballot };
        let (accepted, entries) = place(first, proposals);
        out.push(Output::Accepted(accepted));
        self.append(entries, out);
    }

    /// Proposes these at the log's end.
    pub(super) fn append(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        let ballot = self.promised();
        let State::Leader(leader) = &mut self.state else { return };
        leader.uncommitted_bytes += entries.iter().map(size_bytes).sum::<usize>();
        let entries = self.put(stamped(ballot, entries, self.commit, false));
        self.members_changed(out);
        self.send_to_all(out);
        self.persist(entries, out);
    }

    /// Whether it leads, is about neither to hand over nor to change the members, and has room.
    pub(super) fn takes_proposals(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let greedy = self.planted(Planted::ProposesInHandOver);
        let has_room = leader.uncommitted_bytes < self.config.max_uncommitted_bytes;
        (leader.transfer.is_none() || greedy) && leader.change.is_none() && has_room
    }

    pub(super) fn tick_leader(&mut self, out: &mut Vec<Output>) {
        let State::Leader(leader) = &mut self.state else { return };
        transfer::end(&mut leader.transfer, self.now);
        if leader.notice_deadline.is_some_and(|deadline| deadline <= self.now) {
            leader.notice_deadline = None;
            self.for_each_peer(|progress, view| progress.push_commit(view, out));
        }
        let State::Leader(leader) = &self.state else { return };
        if self.peers.is_empty() || self.now < leader.heartbeat_deadline {
            return;
        }
        let heard = self.reached(leader, |progress| progress.heard, self.now);
        if self.now.since(heard) >= self.config.election_timeout {
            return self.step_down(out);
        }
        let State::Leader(leader) = &mut self.state else { return };
        leader.heartbeat_deadline = self.now + self.config.heartbeat_interval;
        leader.reads.begin_for_lease(self.now);
        self.for_each_peer(|progress, view| progress.beat(view, out));
    }

    /// Asks every follower whether we still lead.
    pub(super) fn ask_all(&mut self, out: &mut Vec<Output>) {
        self.for_each_peer(|progress, view| progress.ask(view, out));
    }

    pub(super) fn send_to_all(&mut self, out: &mut Vec<Output>) {
        self.for_each_peer(|progress, view| progress.send(view, out));
    }

    pub(super) fn receive_accept_reply(
        &mut self,
        from: ReplicaId,
        reply: &AcceptReply,
        out: &mut Vec<Output>,
    ) {
        if reply.ballot > self.promised() {
            return self.adopt_ballot(reply.ballot, out);
        }
        let is_old = reply.ballot < self.promised() && !self.planted(Planted::CountsOlderBallots);
        let (last, base) = (self.slots.last(), self.slots.base().index);
        let State::Leader(leader) = &mut self.state else { return };
        let Some(progress) = leader.peers.get_mut(&from) else { return };
        if is_old || reply.link != progress.link {
            return;
        }
        match reply.outcome {
            Outcome::Accepted { matched: end } | Outcome::Gap { last: end, .. }
                if end > last && reply.ballot == self.durability.hard_state().epoch =>
            {
                return dropped(from, "it acknowledged more than was sent", out);
            }
            Outcome::Accepted { matched } => progress.accepted(matched.min(last), base),
            Outcome::Gap { matched, missing, first, last: end } => {
                progress.lacks(matched, missing, (first, end), base);
            }
            Outcome::Fetching => {}
            Outcome::InDoubt { nonce } => progress.in_doubt(nonce, last),
            // Only a follower of a higher ballot says so, and its reply bears that.
            Outcome::Stale => return,
        }
        progress.heard = self.now;
        let is_answer = !matches!(reply.outcome, Outcome::InDoubt { .. });
        if is_answer && reply.round <= leader.reads.round() {
            progress.round = progress.round.max(reply.round);
            let until = leader.reads.granted_until(reply.round, reply.grant, self.now);
            progress.granted_until = progress.granted_until.max(until);
        }
        self.after_reply(from, out);
    }

    /// Does what a follower's answer has made possible.
    fn after_reply(&mut self, from: ReplicaId, out: &mut Vec<Output>) {
        self.advance_commit(out);
        self.with_peer(from, |progress, view| progress.send(view, out));
        self.give_notice(out);
        self.confirm_reads(out);
        self.hand_over(out);
    }

    /// Commits what a quorum of phase 2 holds.
    pub(super) fn advance_commit(&mut self, out: &mut Vec<Output>) {
        let commit = self.commit;
        while let Some(index) = self.chosen_next() {
            self.commit_to(index, out);
            if !self.has_runs() {
                break;
            }
        }
        if self.commit > commit {
            self.give_notice(out);
            self.note_ready(out);
        }
        self.go_on_changing(out);
    }

    /// Once its first own entry is committed, a leader knows what is.
    pub(super) fn note_ready(&mut self, out: &mut Vec<Output>) {
        let (epoch, commit) = (self.promised(), self.commit);
        let State::Leader(leader) = &mut self.state else { return };
        if !leader.is_ready && commit >= leader.start {
            leader.is_ready = true;
            out.push(Output::News(News::LeaderReady { epoch }));
            self.begin_round(out);
        }
    }

    /// How far a quorum holds the slots that follow the committed ones, if it holds any. Another
    /// quorum may hold what follows those.
    fn chosen_next(&self) -> Option<LogIndex> {
        let State::Leader(leader) = &self.state else { return None };
        let own = self.durability.durable_index();
        let index = self.reached(leader, |progress| progress.reach(self.commit), own);
        (index > self.commit).then_some(index)
    }

    /// Whether a follower holds slots beyond a gap.
    fn has_runs(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        leader.peers.values().any(Progress::has_runs)
    }

    /// Sees to it that idle followers learn what is committed, now or a little later.
    fn give_notice(&mut self, out: &mut Vec<Output>) {
        let delay = self.config.commit_notice_delay;
        if delay.is_zero() {
            return self.for_each_peer(|progress, view| progress.push_commit(view, out));
        }
        let mut awaited = false;
        self.for_each_peer(|progress, view| awaited |= progress.awaits_commit(view).is_some());
        let State::Leader(leader) = &mut self.state else { return };
        if awaited && leader.notice_deadline.is_none() {
            leader.notice_deadline = Some(self.now + delay);
        }
    }

    fn for_each_peer(&mut self, mut act: impl FnMut(&mut Progress, &View<'_>)) {
        let Some((peers, view)) = self.peers_and_view() else { return };
        for progress in peers.values_mut() {
            act(progress, &view);
        }
    }

    pub(super) fn with_peer(
        &mut self,
        peer: ReplicaId,
        act: impl FnOnce(&mut Progress, &View<'_>),
    ) {
        let Some((peers, view)) = self.peers_and_view() else { return };
        if let Some(progress) = peers.get_mut(&peer) {
            act(progress, &view);
        }
    }

    fn peers_and_view(&mut self) -> Option<(&mut BTreeMap<ReplicaId, Progress>, View<'_>)> {
        let State::Leader(leader) = &mut self.state else { return None };
        let view = View {
            now: self.now,
            ballot: self.durability.hard_state().epoch,
            slots: &self.slots,
            memberships: &self.memberships,
            at_base: &self.at_base,
            commit: self.commit,
            round: leader.reads.round(),
            config: &self.config,
        };
        Some((&mut leader.peers, view))
    }

    /// The highest slot up to which all followers hold all.
    pub(super) fn matched_by_all(&self) -> Option<LogIndex> {
        let State::Leader(leader) = &self.state else { return None };
        let last = self.slots.last();
        Some(leader.peers.values().map(Progress::matched).min().unwrap_or(last))
    }
}
