//! The leader's half of replication: takes in commands, sends them out, and counts who has them.
//!
//! # Invariants
//!
//! * A leader only appends to its log.
//! * An entry is committed by counting replicas only if it is of the leader's own term; earlier
//!   ones are committed with it (§5.4.2, figure 8).
//! * The leader counts itself for what its own disk has confirmed, like any other.
//!
//! # Durability
//!
//! Appends stand before the write of the same entries (thesis §10.2.1): our disk and the
//! followers' work in parallel.
//!
//! # Reference
//!
//! Raft §5.3, §5.4; thesis §10.2; §6.2 for `CheckQuorum`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::common::change;
use crate::common::log::{Log, size_bytes};
use crate::common::progress::{Dialect, Progress, View};
use crate::common::reads::Reads;
use crate::common::transfer::{self, Transfer};
use crate::common::{dropped, place, refuse};
use crate::{
    Entry, LogIndex, Membership, Output, Payload, PeerProgress, Position, ProposalId, ReadId,
    ReplicaId, Time,
};

use super::message::{Append, AppendReply, Message, Outcome};
use super::planted::Planted;
use super::{Link, Raft, State};

/// What only a leader knows.
#[derive(Clone, Hash)]
pub(super) struct Leader {
    pub(super) peers: BTreeMap<ReplicaId, Progress>,
    heartbeat_deadline: Time,
    /// When followers are told what is committed, if no Append has told them by then.
    notice_deadline: Option<Time>,
    /// Whether an entry of this term is committed, so that the commit index can be relied upon.
    pub(super) is_ready: bool,
    uncommitted_bytes: usize,
    pub(super) reads: Reads,
    pub(super) transfer: Option<Transfer>,
}

impl Leader {
    pub(super) fn new(raft: &Raft, uncommitted_bytes: usize) -> Self {
        let last = raft.log.last().index;
        let progress = |peer: &ReplicaId| (*peer, Progress::new(*peer, last, raft.now));
        Self {
            peers: raft.peers.iter().map(progress).collect(),
            heartbeat_deadline: raft.now + raft.config.heartbeat_interval,
            notice_deadline: None,
            is_ready: false,
            uncommitted_bytes,
            reads: Reads::new(&raft.config),
            transfer: None,
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
        let bytes: usize = entries.iter().map(size_bytes).sum();
        assert!(bytes <= self.uncommitted_bytes, "what is committed was uncommitted before");
        self.uncommitted_bytes -= bytes;
    }

    pub(super) fn take_reads(&mut self) -> Vec<ReadId> {
        self.reads.take_all()
    }

    pub(super) fn peers(&self, now: Time, timeout: Duration) -> Vec<PeerProgress> {
        let describe = |progress: &Progress| progress.describe(progress.state_name(), now, timeout);
        self.peers.values().map(describe).collect()
    }

    /// What a quorum of `members` has reached, given what each follower has, and the leader itself.
    pub(super) fn reached<T: Copy + Ord + Default>(
        &self,
        members: &Membership,
        of: impl Fn(&Progress) -> T,
        own: (ReplicaId, T),
    ) -> T {
        change::reached(members, |voter| self.peers.get(&voter).map(&of), own)
    }
}

impl Raft {
    /// Takes in commands: one Append for each follower, and then our own write.
    pub(super) fn propose(&mut self, proposals: Vec<(ProposalId, Bytes)>, out: &mut Vec<Output>) {
        if proposals.is_empty() {
            return;
        }
        if !self.takes_proposals() {
            let proposals = proposals.into_iter().map(|(id, _)| id).collect();
            return refuse(proposals, Vec::new(), self.hint(), out);
        }
        let first = Position { index: self.log.last().index.next(), epoch: self.term() };
        let (accepted, entries) = place(first, proposals);
        out.push(Output::Accepted(accepted));
        self.append(entries, out);
    }

    /// A new leader's first entry.
    pub(super) fn append_noop(&mut self, out: &mut Vec<Output>) {
        let position = Position { index: self.log.last().index.next(), epoch: self.term() };
        self.append(vec![Entry { position, payload: Payload::Noop }], out);
    }

    pub(super) fn append(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        let State::Leader(leader) = &mut self.state else { return };
        leader.uncommitted_bytes += entries.iter().map(size_bytes).sum::<usize>();
        self.log.append(entries.iter().cloned());
        self.members_changed(out);
        self.send_to_all(out);
        self.persist(entries, out);
    }

    /// Whether it leads, is no witness, is not about to hand over, and has room.
    pub(super) fn takes_proposals(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let greedy = self.planted(Planted::ProposesInHandOver);
        (leader.transfer.is_none() || greedy)
            && leader.uncommitted_bytes < self.config.max_uncommitted_bytes
            && !self.serves_nothing()
    }

    pub(super) fn tick_leader(&mut self, out: &mut Vec<Output>) {
        let State::Leader(leader) = &mut self.state else { return };
        transfer::end(&mut leader.transfer, self.now);
        if leader.notice_deadline.is_some_and(|deadline| deadline <= self.now) {
            leader.notice_deadline = None;
            self.for_each_peer(|progress, view| progress.push_commit(view, out));
        }
        let State::Leader(leader) = &mut self.state else { return };
        if self.peers.is_empty() || self.now < leader.heartbeat_deadline {
            return;
        }
        let own = (self.config.id, self.now);
        let members = self.log.memberships().latest();
        let silence = self.now.since(leader.reached(members, |progress| progress.heard, own));
        if silence >= self.config.election_timeout {
            return self.step_down(out);
        }
        leader.heartbeat_deadline = self.now + self.config.heartbeat_interval;
        leader.reads.begin_for_lease(self.now);
        self.for_each_peer(|progress, view| progress.beat(view, out));
    }

    /// Asks every follower whether we still lead.
    pub(super) fn ask_all(&mut self, out: &mut Vec<Output>) {
        self.for_each_peer(|progress, view| progress.ask(view, out));
    }

    fn send_to_all(&mut self, out: &mut Vec<Output>) {
        self.for_each_peer(|progress, view| progress.send(view, out));
    }

    pub(super) fn receive_append_reply(
        &mut self,
        from: ReplicaId,
        reply: &AppendReply,
        out: &mut Vec<Output>,
    ) {
        if reply.term > self.term() {
            return self.adopt_term(reply.term, out);
        }
        let is_old = reply.term < self.term() && !self.planted(Planted::MatchFromOtherTerm);
        let last = self.log.last().index;
        let any_answer = self.planted(Planted::OldAnswerConfirmsReads);
        let State::Leader(leader) = &mut self.state else { return };
        let Some(progress) = leader.peers.get_mut(&from) else { return };
        if is_old || reply.link != progress.link {
            return;
        }
        let round = leader.reads.round();
        match reply.outcome {
            Outcome::Accepted { matched }
                if matched > last && reply.term == self.durability.hard_state().epoch =>
            {
                return dropped(from, "it acknowledged more than was sent", out);
            }
            Outcome::Accepted { matched } => progress.accepted(matched.min(last), &self.log),
            Outcome::Rejected { prev, hint } => rejected(progress, prev, hint, &self.log),
            Outcome::Fetching => {}
            Outcome::InDoubt { nonce } => progress.in_doubt(nonce, last),
            // Only a follower of a later term says so, and its reply bears that term.
            Outcome::Stale => return,
        }
        progress.heard = self.now;
        let answered = if any_answer { round } else { reply.round };
        if !matches!(reply.outcome, Outcome::InDoubt { .. }) && reply.round <= round {
            progress.round = progress.round.max(answered);
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
        self.yield_office(out);
        self.hand_over(out);
    }

    /// Commits what a quorum has on disk, if its last entry is of our own term.
    pub(super) fn advance_commit(&mut self, out: &mut Vec<Output>) {
        let any_term = self.planted(Planted::CommitOldTermByCounting);
        let State::Leader(_) = &self.state else { return };
        let own = (self.config.id, self.durability.durable_index());
        let members = self.deciding();
        let State::Leader(leader) = &mut self.state else { return };
        let index = leader.reached(&members, Progress::matched, own);
        if index <= self.commit {
            return;
        }
        let is_own_term = self.log.epoch_at(index) == Some(self.durability.hard_state().epoch);
        if !is_own_term && !any_term {
            return;
        }
        let becomes_ready = is_own_term && !leader.is_ready;
        leader.is_ready |= is_own_term;
        self.commit_to(index, out);
        self.give_notice(out);
        if becomes_ready {
            self.announce_ready(out);
            self.begin_round(out);
        }
        self.go_on_changing(out);
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
        let State::Leader(leader) = &self.state else { return None };
        let last = self.log.last().index;
        Some(leader.peers.values().map(Progress::matched).min().unwrap_or(last))
    }
}

/// It does not hold our entry at `prev`; nothing after `hint` can match.
///
/// The hint that skips a whole term per rejection is a variant of the one sketched at the end of
/// §5.3: follower and leader both skip entries that cannot match by their terms.
fn rejected(progress: &mut Progress, prev: LogIndex, hint: Position, log: &Log) {
    if !progress.learns_from_refusal(prev) || prev <= progress.matched() {
        return;
    }
    let common = log.newest_before(hint.index.min(prev.prev()), hint.epoch);
    // Without one in our log, it needs what came before it: a probe there finds the base.
    let common = common.map_or(log.base().index.prev(), |position| position.index);
    progress.probe_from(common.max(progress.matched()).next());
}

/// What a leader says, in Raft's words.
struct Words;

impl Dialect for Words {
    fn entries(
        &self,
        view: &View<'_>,
        prev: Position,
        entries: Vec<Entry>,
        link: Link,
    ) -> crate::Message {
        crate::Message::Raft(Message::Append(Append {
            term: view.epoch,
            prev,
            entries,
            commit: view.commit,
            round: view.round,
            last: view.log.last().index,
            link,
        }))
    }

    fn snapshot(
        &self,
        view: &View<'_>,
        link: Link,
        skip: Option<Arc<Membership>>,
    ) -> crate::Message {
        crate::Message::Raft(Message::Snapshot {
            term: view.epoch,
            position: view.log.base(),
            round: view.round,
            last: view.log.last().index,
            link,
            skip,
        })
    }

    fn committed(&self, view: &View<'_>, position: Position) -> crate::Message {
        crate::Message::Raft(Message::Commit { term: view.epoch, position })
    }
}
