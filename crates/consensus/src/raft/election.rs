//! Elections: who may lead, and who may ask.
//!
//! A replica that hears nothing first asks whether it *could* win (`PreVote`) and only then opens
//! a term, so that one that was cut off does not unseat a leader when it comes back. A voter that
//! hears from a live leader refuses both (thesis §4.2.3), unless the leader itself wants it so. Where leaders
//! have leases it refuses both as long as it has promised one (`common::lease`), also when it hears it no more.
//!
//! # Invariants
//!
//! * A replica gives one vote in a term, to a candidate whose log has all that ours could have
//!   committed (§5.4.1).
//! * Votes are a set of voters: a repeated grant counts once, and one for a former life never.
//!
//! # Durability
//!
//! Term and vote are on disk before the reply that reports them, before the candidate asks for
//! votes, and before it counts its own.
//!
//! # Reference
//!
//! Raft §5.2, §5.4.1; thesis §9.6 (`PreVote`), §6.2 (`CheckQuorum`), §3.10 (transfer).

use std::collections::BTreeSet;

use crate::quorum::majority;
use crate::{Epoch, HardState, LogIndex, News, Output, Position, ReplicaId};

use super::message::{Cause, Message};
use super::planted::Planted;
use super::replication::Leader;
use super::{Raft, State, is_up_to_date, send};

/// Who has voted for a candidate.
#[derive(Clone, Hash)]
pub(super) struct Votes {
    /// Marks this candidacy.
    nonce: u64,
    from: BTreeSet<ReplicaId>,
    /// Repeated grants that a planted mistake counts again.
    repeated: usize,
}

impl Votes {
    fn new(nonce: u64) -> Self {
        Self { nonce, from: BTreeSet::new(), repeated: 0 }
    }

    fn count(&self) -> usize {
        self.from.len() + self.repeated
    }
}

impl Raft {
    /// Stands for election: at first only by asking whether it would make sense.
    pub(super) fn campaign(&mut self, cause: Cause, out: &mut Vec<Output>) {
        self.leader = None;
        self.heard = None;
        self.reset_election_timer();
        if cause == Cause::Transfer || self.members().is_alone(self.id()) {
            return self.open_term(cause, out);
        }
        self.state = State::PreCandidate(BTreeSet::from([self.id()]));
        let message = Message::PreVote { term: self.term(), last: self.log.last() };
        for peer in &self.peers {
            send(*peer, message.clone(), out);
        }
    }

    /// Opens a term, votes for itself, and asks for votes once that is on disk (§5.2).
    fn open_term(&mut self, cause: Cause, out: &mut Vec<Output>) {
        assert!(
            cause == Cause::Transfer || !self.grant.forbids(self.id(), self.now),
            "a voter keeps its promise"
        );
        let term = Epoch { round: self.term().round + 1, ..self.term() };
        self.durability.promise(HardState { epoch: term, vote: Some(self.id()) });
        self.term_leader = None;
        self.fetch = None;
        let nonce = self.random.next();
        self.state = State::Candidate(Votes::new(nonce));
        self.save_promise(out);
        let message = Message::Vote { term, last: self.log.last(), cause, nonce };
        for peer in &self.peers {
            send(*peer, message.clone(), out);
        }
    }

    /// Would I vote for this replica in the term after its own? Promises nothing.
    pub(super) fn receive_pre_vote(
        &mut self,
        from: ReplicaId,
        term: Epoch,
        last: Position,
        out: &mut Vec<Output>,
    ) {
        let is_bound = self.hears_leader() || self.grant.forbids(from, self.now);
        let granted = !self.in_doubt() && !is_bound && term >= self.term() && self.may_elect(last);
        let reply = Message::PreVoteReply { term: self.term(), asked: term, granted };
        self.reply(from, reply, crate::PersistId(0), out);
    }

    pub(super) fn receive_pre_vote_reply(
        &mut self,
        from: ReplicaId,
        term: Epoch,
        (asked, granted): (Epoch, bool),
        out: &mut Vec<Output>,
    ) {
        if !granted && term > self.term() {
            return self.adopt_term(term, out);
        }
        let asked_now = asked == self.term();
        let State::PreCandidate(votes) = &mut self.state else { return };
        if !granted || !asked_now {
            return;
        }
        votes.insert(from);
        let votes = &*votes;
        if self.grant.forbids(self.config.id, self.now) {
            return;
        }
        if self.log.memberships().latest().is_quorum(|id| votes.contains(&id)) {
            self.reset_election_timer();
            self.open_term(Cause::Silence, out);
        }
    }

    pub(super) fn receive_vote(
        &mut self,
        from: ReplicaId,
        term: Epoch,
        last: Position,
        (cause, nonce): (Cause, u64),
        out: &mut Vec<Output>,
    ) {
        if cause == Cause::Silence && self.hears_leader() && term > self.term() {
            // Do not even take note of its term: that would unseat a leader that works.
            return;
        }
        if cause == Cause::Transfer {
            // The leader of the term before has asked it to stand.
            self.grant.release(Epoch { round: term.round.saturating_sub(1), ..term });
        }
        if self.grant.forbids(from, self.now) {
            return;
        }
        if term > self.term() {
            self.adopt_term(term, out);
        }
        let vote = self.durability.hard_state().vote;
        let free = vote.is_none_or(|vote| vote == from);
        let granted = term == self.term() && free && !self.in_doubt() && self.may_elect(last);
        let reply = Message::VoteReply { term: self.term(), granted, nonce };
        if granted && vote.is_none() {
            self.durability.promise(HardState { epoch: term, vote: Some(from) });
        }
        if granted {
            self.reset_election_timer();
        }
        if self.planted(Planted::VoteBeforeDurable) {
            return send(from, reply, out);
        }
        self.reply(from, reply, crate::PersistId(0), out);
    }

    pub(super) fn receive_vote_reply(
        &mut self,
        from: ReplicaId,
        term: Epoch,
        (answered, granted): (u64, bool),
        out: &mut Vec<Output>,
    ) {
        if term > self.term() {
            return self.adopt_term(term, out);
        }
        let count_again = self.planted(Planted::VoteCountedTwice);
        let State::Candidate(votes) = &mut self.state else { return };
        if !granted || term < self.durability.hard_state().epoch || answered != votes.nonce {
            return;
        }
        if !votes.from.insert(from) && count_again {
            votes.repeated += 1;
        }
        self.win_if_elected(out);
    }

    /// A candidate's own vote counts like any other: when it is on disk.
    pub(super) fn count_own_vote(&mut self, out: &mut Vec<Output>) {
        let id = self.id();
        let State::Candidate(votes) = &mut self.state else { return };
        if self.durability.is_promise_durable() && votes.from.insert(id) {
            self.win_if_elected(out);
        }
    }

    /// The leader wants this replica to follow it in office: voters need not wait for silence.
    pub(super) fn receive_timeout_now(
        &mut self,
        from: ReplicaId,
        term: Epoch,
        out: &mut Vec<Output>,
    ) {
        let follows = matches!(self.state, State::Follower) && self.term_leader == Some(from);
        if follows && self.may_stand() && !self.is_witness() && term == self.term() {
            self.campaign(Cause::Transfer, out);
        }
    }

    fn win_if_elected(&mut self, out: &mut Vec<Output>) {
        let State::Candidate(votes) = &self.state else { return };
        // Its own vote is among those needed, so that a leader's term and vote are on its disk.
        let own = self.durability.is_promise_durable();
        if own && self.is_elected(votes) {
            self.lead(out);
        }
    }

    fn is_elected(&self, votes: &Votes) -> bool {
        let members = self.members();
        if self.planted(Planted::VoteCountedTwice) {
            return votes.count() >= majority(members.voters.len());
        }
        self.deciding().is_quorum(|id| votes.from.contains(&id))
    }

    /// Becomes leader, and appends an entry of its own term: only by committing that one does it
    /// learn what is committed (§5.4.2, §8).
    fn lead(&mut self, out: &mut Vec<Output>) {
        assert!(self.term_leader.is_none(), "a term has one leader");
        assert!(
            self.durability.hard_state().vote == Some(self.id()),
            "a leader has voted for itself"
        );
        self.term_leader = Some(self.id());
        self.leader = Some(self.id());
        assert!(self.may_stand(), "a leader is a voter, or was one");
        let uncommitted = self.log.bytes_between(self.commit, self.log.last().index);
        self.state = State::Leader(Leader::new(self, uncommitted));
        self.append_noop(out);
    }

    /// Whether a live leader was heard from within the least time after which anyone stands.
    /// A leader hears itself: `CheckQuorum` ends that when it is cut off.
    fn hears_leader(&self) -> bool {
        if self.leader == Some(self.id()) {
            return true;
        }
        let timeout = self.config.election_timeout;
        self.leader.is_some() && self.heard.is_some_and(|heard| self.now.since(heard) < timeout)
    }

    fn may_elect(&self, last: Position) -> bool {
        is_up_to_date(last, self.log.last()) || self.planted(Planted::NoElectionRestriction)
    }

    /// Steps down in the same term, because it has lost touch with a quorum.
    pub(super) fn step_down(&mut self, out: &mut Vec<Output>) {
        assert!(matches!(self.state, State::Leader(_)), "only a leader steps down");
        self.stop_leading_or_standing(out);
    }

    /// A leader has committed an entry of its own term.
    pub(super) fn announce_ready(&self, out: &mut Vec<Output>) {
        assert!(self.commit > LogIndex(0), "something is committed");
        out.push(Output::News(News::LeaderReady { epoch: self.term() }));
    }
}
