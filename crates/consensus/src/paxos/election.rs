//! Elections: who stands, and who may ask.
//!
//! A replica that hears nothing first asks whether it *could* lead and only then opens a ballot, so
//! that one that was cut off does not unseat a leader when it comes back. An acceptor that hears from
//! a live leader refuses both, unless the leader itself wants it so. Where leaders have leases it refuses both
//! as long as it has granted one (`common::lease`), also when it hears that leader no more.
//!
//! Of two candidates the higher ballot wins; the lower one is told so by a Nack, and waits a random
//! time before it asks again. So duels end (*Paxos Made Simple* §2.4; PMMC §3).
//!
//! # Durability
//!
//! A ballot is on disk before its proposer asks for promises, and before it counts its own: it never
//! uses one twice.

use std::collections::BTreeSet;

use crate::quorum::Quorums;
use crate::{Epoch, HardState, Membership, Output, ReplicaId};

use super::message::{Base, Cause, Message};
use super::phase1::Phase1;
use super::planted::Planted;
use super::{Paxos, State, send};

/// What a replica has heard that asks whether it could lead.
#[derive(Clone, Hash)]
pub(super) struct Question {
    /// Who would promise us a higher ballot.
    granted: BTreeSet<ReplicaId>,
    /// The highest ballot that anyone of them has promised: ours will have to be above it.
    highest: Epoch,
}

impl Paxos {
    /// Stands for election: at first only by asking whether it would make sense.
    pub(super) fn campaign(&mut self, cause: Cause, out: &mut Vec<Output>) {
        self.leader = None;
        self.heard = None;
        self.reset_election_timer();
        if matches!(cause, Cause::Transfer { .. }) || self.members().is_alone(self.id()) {
            return self.open_ballot(self.promised(), cause, out);
        }
        let (granted, highest) = (BTreeSet::from([self.id()]), self.promised());
        self.state = State::PreCandidate(Question { granted, highest });
        let message = Message::PrePrepare { ballot: self.promised() };
        for peer in self.other_voters() {
            send(peer, message.clone(), out);
        }
        self.open_if_granted(out);
    }

    /// Opens a ballot above the one given, promises it to itself, and asks for promises once that is on
    /// disk (phase 1a).
    fn open_ballot(&mut self, above: Epoch, cause: Cause, out: &mut Vec<Output>) {
        assert!(
            cause != Cause::Silence || !self.grant.forbids(self.id(), self.now),
            "a voter keeps its promise"
        );
        let epoch = Epoch { round: above.round + 1, proposer: self.id().0 };
        assert!(epoch > self.promised(), "a new ballot is above all that was promised");
        self.durability.promise(HardState { epoch, vote: None });
        self.agreed = self.sure;
        let nonce = self.random.next();
        let retry = self.now + self.config.heartbeat_interval;
        self.state = State::Candidate(Phase1::new(nonce, cause, retry));
        if !self.planted(Planted::PromiseBeforeDurable) {
            self.save_promise(out);
        }
        for peer in self.other_voters() {
            self.prepare(peer, out);
        }
    }

    /// Would I promise this replica a higher ballot? Promises nothing.
    pub(super) fn receive_pre_prepare(
        &mut self,
        from: ReplicaId,
        ballot: Epoch,
        out: &mut Vec<Output>,
    ) {
        let is_bound = self.hears_leader() || self.grant.forbids(from, self.now);
        let granted = !self.in_doubt() && !is_bound;
        let base = self.slots.base_told();
        let reply = Message::PrePromise { ballot: self.promised(), asked: ballot, granted, base };
        self.reply(from, reply, crate::PersistId(0), out);
    }

    pub(super) fn receive_pre_promise(
        &mut self,
        from: ReplicaId,
        ballot: Epoch,
        (asked, granted): (Epoch, bool),
        base: Base,
        out: &mut Vec<Output>,
    ) {
        if !granted && ballot > self.promised() {
            // A leader of that ballot is alive.
            return self.adopt_ballot(ballot, out);
        }
        let asked_now = asked == self.promised();
        if !matches!(self.state, State::PreCandidate(_)) || !granted || !asked_now {
            return;
        }
        self.learn_from_base(base, out);
        if base.position.index > self.commit {
            // What it has forgotten we would have to learn from it: we may not lead without.
            return self.fetch_to_stand(from, base.position, out);
        }
        let State::PreCandidate(question) = &mut self.state else { return };
        question.granted.insert(from);
        question.highest = question.highest.max(ballot);
        self.open_if_granted(out);
    }

    fn open_if_granted(&mut self, out: &mut Vec<Output>) {
        let State::PreCandidate(question) = &self.state else { return };
        if self.grant.forbids(self.config.id, self.now) {
            return;
        }
        if self.may_elect(&self.deciding(), |voter| question.granted.contains(&voter)) {
            let above = question.highest;
            self.reset_election_timer();
            self.open_ballot(above, Cause::Silence, out);
        }
    }

    /// An acceptor has promised a higher ballot: ours is lost.
    pub(super) fn receive_nack(&mut self, ballot: Epoch, out: &mut Vec<Output>) {
        if ballot > self.promised() {
            self.adopt_ballot(ballot, out);
        }
    }

    /// The leader wants this replica to follow it in office: acceptors need not wait for silence.
    pub(super) fn receive_take_over(
        &mut self,
        from: ReplicaId,
        ballot: Epoch,
        out: &mut Vec<Output>,
    ) {
        let follows = matches!(self.state, State::Follower) && self.leader == Some(from);
        if follows && self.may_stand() && ballot == self.promised() {
            self.campaign(Cause::Transfer { of: ballot }, out);
        }
    }

    /// Whether a live leader was heard from within the least time after which anyone stands.
    /// A leader hears itself: `CheckQuorum` ends that when it is cut off.
    pub(super) fn hears_leader(&self) -> bool {
        if self.leader == Some(self.id()) {
            return true;
        }
        let timeout = self.config.election_timeout;
        self.leader.is_some() && self.heard.is_some_and(|heard| self.now.since(heard) < timeout)
    }

    /// Whether those for whom `has` holds are a quorum of phase 1 of these members.
    pub(super) fn may_elect(&self, members: &Membership, has: impl Fn(ReplicaId) -> bool) -> bool {
        if self.planted(Planted::QuorumsDoNotMeet) && !members.is_unknown() {
            let majorities = || Quorums::majorities(members.voters.len());
            let size = self.config.quorums.unwrap_or_else(majorities).phase1;
            return count(members, has) >= (size - 1).max(1);
        }
        elects(self.config.quorums, members, has)
    }

    /// Gives up a candidacy, and waits until others have stood.
    pub(super) fn let_others_stand(&mut self, out: &mut Vec<Output>) {
        self.stop_leading_or_standing(out);
        self.election_deadline = self.election_deadline + self.config.election_timeout;
    }

    /// Steps down in the same ballot, because it has lost touch with a quorum.
    pub(super) fn step_down(&mut self, out: &mut Vec<Output>) {
        assert!(matches!(self.state, State::Leader(_)), "only a leader steps down");
        self.stop_leading_or_standing(out);
    }
}

/// Whether those for whom `has` holds are a quorum of phase 1 of these members, in a group with these
/// quorums if they are no majorities.
pub(super) fn elects(
    quorums: Option<Quorums>,
    members: &Membership,
    has: impl Fn(ReplicaId) -> bool,
) -> bool {
    match quorums {
        Some(quorums) => count(members, has) >= quorums.phase1,
        None => members.is_quorum(has),
    }
}

fn count(members: &Membership, has: impl Fn(ReplicaId) -> bool) -> usize {
    members.voters.iter().filter(|voter| has(**voter)).count()
}
