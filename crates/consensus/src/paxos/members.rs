//! Changing who belongs to the group: reconfiguration through the log, by joint memberships.
//!
//! A membership is a value like another, and is in force at a replica as soon as that has accepted it: the
//! last one in its slots. A leader proposes a joint one, E; once that is chosen by a quorum of the old
//! voters and one of the new, it proposes the new voters alone. What it counts, it counts by the last
//! membership of its own log. Slots are chosen out of order and may be overwritten, so a log's end says
//! less than in Raft. One rule makes up for that:
//!
//! > **A membership is first proposed, at slot m, only when a quorum of the one in force holds each slot
//! > before m**: in the leader's ballot, or as chosen.
//!
//! The leader takes no proposals for a round trip, until what is under way is held.
//!
//! # Why phase 1 may count by the last membership that it finds
//!
//! Call P the predecessor of E: the last membership that is chosen before m. Each quorum of E meets each of
//! P: a joint membership has the old voters, its successor is half of it, and learners count for nothing.
//!
//! 1. *Whoever sees E anywhere knows that all before m is chosen.* So there is one chain of chosen
//!    memberships. Whatever else was ever proposed as a membership is dead, if it is before the last m;
//!    or it stands at that same slot under another ballot, with the same P: a sibling of E. If P is settled,
//!    siblings share a majority of its voters; if P is joint, its one successor has no sibling that differs.
//! 2. *A quorum of E tells each value before m*: it meets the quorum of P that held them all. A replica
//!    that holds a chosen value has accepted it under the ballot that chose it or a higher one, so that
//!    the highest ballot tells it right (P2c).
//! 3. Let a candidate of ballot b have promises of a quorum Q of E, where E is the last membership in what
//!    they and its own slots show, by the highest ballot of each slot. *Whatever is chosen under a
//!    ballot below b, now or later, was counted by P, by E or a sibling, or by a child of E*, and each
//!    such quorum meets Q. For a grandchild needs a chosen child, and the lowest ballot that chose the
//!    child did so with a quorum of it, which meets Q: then the child would have been found. A
//!    sibling that is chosen would have been found with a higher ballot than E, likewise. And one who
//!    counted by a predecessor of P chose nothing at m or beyond: not under a lower ballot than that which
//!    first proposed E, as it would have been found there, and E lies beyond all that was found; nor
//!    under a higher one, whose own phase 1 (by this argument, for lower ballots) has found P.
//!
//! So a candidate needs a quorum of the last membership that it knows *while* promises come in: each may
//! reveal another one, whose voters are asked then. It needs none of those before, which may be switched
//! off by then. A leader needs no promises of the voters that it adds: by 3, Q meets all that any
//! lower ballot can still get chosen, and they add nothing to that. For reads it is the same: a quorum
//! that confirms a round meets the phase 1 of the next one that leads.
//!
//! # Invariants
//!
//! * A change begins only when the one before it is chosen, and when its leader is ready.
//! * A leader's last membership stands at most one slot beyond what it knows to be chosen.
//! * A leader that the new voters do not count among them leads until they alone are in force and that
//!   is chosen, and counts itself for nothing in that; then it hands over. A group whose quorums are no
//!   majorities keeps its members.
//!
//! # Reference
//!
//! Lamport, Malkhi & Zhou, *Reconfiguring a State Machine* (2010): the state machine's own commands
//! change it; there a command rules from α slots later on, here at once, at the cost of a pause. Joint
//! memberships are those of Ongaro's thesis, §4.3.

use std::sync::Arc;

use crate::common::change::{self, Next};
use crate::common::refuse;
use crate::quorum;
use crate::{
    Accepted, Entry, LogIndex, Membership, Output, Payload, Position, ProposalId, ReplicaId, Time,
};

use super::doubt::Doubt;
use super::message::Message;
use super::phase2::Leader;
use super::planted::Planted;
use super::progress::Progress;
use super::stamp::MAX_PROPOSER;
use super::{Paxos, State, send};

/// Whether a ballot has room for this proposer.
pub(super) fn fits_into_ballot(id: ReplicaId) -> bool {
    (1..=MAX_PROPOSER).contains(&id.0)
}

/// The membership that an entry brings.
pub(super) fn membership_of(entry: &Entry) -> Option<Arc<Membership>> {
    match &entry.payload {
        Payload::Membership(membership) => Some(Arc::clone(membership)),
        Payload::Noop | Payload::Command(_) => None,
    }
}

impl Paxos {
    /// The membership in force.
    pub(super) fn members(&self) -> &Arc<Membership> {
        self.memberships.latest()
    }

    /// That whose quorums decide.
    pub(super) fn deciding(&self) -> Arc<Membership> {
        self.decides(self.members())
    }

    /// The part of a membership whose quorums decide where it is in force: all of it.
    pub(super) fn decides(&self, members: &Arc<Membership>) -> Arc<Membership> {
        if self.planted(Planted::NewVotersAlone) && members.is_joint() {
            return Arc::new(members.settled());
        }
        Arc::clone(members)
    }

    /// Whether our own promise counts.
    pub(super) fn is_voter(&self) -> bool {
        self.members().is_voter(self.id())
    }

    /// Whether we keep the log without the data.
    pub(super) fn is_witness(&self) -> bool {
        self.config.witnesses.contains(&self.id()) || self.memberships.is_witness(self.id())
    }

    /// Whether we are known to hold the data.
    pub(super) fn is_data_replica(&self) -> bool {
        self.members().contains(self.id()) && !self.is_witness()
    }

    /// Whether it may stand: a voter that holds the data. A witness need not. What it has accepted, a
    /// candidate learns from its promise, so that no other must wait for it to lead.
    pub(super) fn may_stand(&self) -> bool {
        self.is_voter() && (!self.is_witness() || self.planted(Planted::WitnessStands))
    }

    /// All others whose promises count.
    pub(super) fn other_voters(&self) -> Vec<ReplicaId> {
        let all = self.members().all_voters();
        all.into_iter().filter(|voter| *voter != self.config.id).collect()
    }

    /// What a quorum of phase 2 has reached, given what each follower has, and this leader itself.
    pub(super) fn reached<T: Copy + Ord + Default>(
        &self,
        leader: &Leader,
        of: impl Fn(&Progress) -> T,
        own: T,
    ) -> T {
        let value = |voter: ReplicaId| match leader.peers.get(&voter) {
            Some(progress) => of(progress),
            None if voter == self.config.id => own,
            None => T::default(),
        };
        match self.config.quorums {
            Some(quorums) => {
                let values = self.members().voters.iter().map(|voter| value(*voter));
                quorum::reached_by(values, quorums.phase2)
            }
            None => self.deciding().reached(value),
        }
    }

    /// Begins to change the members to `target`.
    pub(super) fn reconfigure(
        &mut self,
        id: ProposalId,
        target: Membership,
        out: &mut Vec<Output>,
    ) {
        let is_ready = matches!(&self.state, State::Leader(leader) if leader.is_ready);
        let hasty = is_ready && self.planted(Planted::ChangeBeforeChosen);
        let may_begin =
            change::may_begin(&self.memberships, self.commit, &self.config, &target) || hasty;
        let fit = target.voters.iter().chain(&target.learners).all(|id| fits_into_ballot(*id));
        // It would have to wait, and all others with it.
        let is_behind = is_ready && self.held_by_quorum() < self.commit && !hasty;
        if !is_ready || !may_begin || !fit || is_behind || !self.takes_proposals() {
            return refuse(vec![id], Vec::new(), self.leader, out);
        }
        if !target.voters.contains(&self.id()) {
            self.hand_over_to_one_of(&target, out);
            return refuse(vec![id], Vec::new(), self.leader, out);
        }
        let membership = Arc::new(self.members().towards(target));
        // Nothing else is proposed before it.
        let first = Position { index: self.slots.last().next(), epoch: self.promised() };
        out.push(Output::Accepted(Accepted { first, proposals: vec![id] }));
        if hasty || self.planted(Planted::ChangeBeforeHeld) {
            return self.propose_membership(membership, out);
        }
        if let State::Leader(leader) = &mut self.state {
            leader.change = Some(membership);
        }
        self.go_on_changing(out);
    }

    /// Does what a chosen membership asks of its leader, and proposes the next one when it may.
    pub(super) fn go_on_changing(&mut self, out: &mut Vec<Output>) {
        let State::Leader(leader) = &self.state else { return };
        if !leader.is_ready {
            return;
        }
        if leader.change.is_none() {
            match change::next(&self.memberships, self.commit, self.id()) {
                Next::Nothing => return,
                Next::Leave => return self.leave(out),
                // While they lag by much, it need not keep others from proposing.
                Next::Settle(_) if self.held_by_quorum() < self.commit => return,
                Next::Settle(membership) => {
                    let State::Leader(leader) = &mut self.state else { return };
                    leader.change = Some(membership);
                }
            }
        }
        let is_held = self.held_by_quorum() >= self.slots.last();
        let State::Leader(leader) = &mut self.state else { return };
        if is_held && let Some(membership) = leader.change.take() {
            assert!(self.commit == self.slots.last(), "what a quorum holds is chosen");
            self.propose_membership(membership, out);
        }
    }

    /// A quorum holds all slots up to this one: not only those that were not chosen yet.
    fn held_by_quorum(&self) -> LogIndex {
        let State::Leader(leader) = &self.state else { return LogIndex(0) };
        let own = self.durability.durable_index();
        self.reached(leader, Progress::matched, own)
    }

    fn propose_membership(&mut self, membership: Arc<Membership>, out: &mut Vec<Output>) {
        let position = Position { index: self.slots.last().next(), epoch: self.promised() };
        self.append(vec![Entry { position, payload: Payload::Membership(membership) }], out);
    }

    /// Follows from here on; whoever is best able to lead need not wait for our silence.
    fn leave(&mut self, out: &mut Vec<Output>) {
        if let Some(to) = self.successor(&self.members().clone()) {
            send(to, Message::TakeOver { ballot: self.promised() }, out);
        }
        self.step_down(out);
    }

    fn hand_over_to_one_of(&mut self, target: &Membership, out: &mut Vec<Output>) {
        let voters = self.members().voters.intersection(&target.voters).copied().collect();
        if let Some(to) = self.successor(&Membership { voters, ..target.clone() }) {
            self.transfer(to, out);
        }
    }

    fn successor(&self, among: &Membership) -> Option<ReplicaId> {
        let State::Leader(leader) = &self.state else { return None };
        let peers = leader.peers.iter();
        let peers = peers.map(|(peer, progress)| (*peer, progress.matched(), progress.heard));
        change::best_able(peers, among, (self.now, self.config.election_timeout))
    }

    /// Takes note of what is put into the slots: beyond what was handed out, the members change with it.
    pub(super) fn note_members(&mut self, entries: &[Entry]) {
        let known = entries.partition_point(|entry| entry.position.index <= self.commit);
        self.memberships.put(&entries[known..]);
    }

    /// The slots are about to begin after `target`.
    pub(super) fn base_moves_through(&mut self, target: LogIndex) {
        let passed = self.slots.memberships(self.slots.base().index, target).next_back();
        if let Some(membership) = passed.and_then(membership_of) {
            self.at_base = membership;
        }
    }

    /// The slots have changed: sees to it that their membership is in force.
    pub(super) fn members_changed(&mut self, out: &mut Vec<Output>) {
        let members = Arc::clone(self.members());
        if Arc::ptr_eq(&members, &self.in_force) {
            return;
        }
        let before = std::mem::replace(&mut self.in_force, Arc::clone(&members));
        if before == members {
            // The same under another ballot.
            return;
        }
        out.push(Output::Members(Arc::clone(&members)));
        self.peers = members.others(self.id());
        let (next, now) = (self.commit.next(), self.now);
        match &mut self.state {
            State::Leader(leader) => {
                leader.peers.retain(|peer, _| members.contains(*peer));
                if leader.reads.members_change() {
                    for progress in leader.peers.values_mut() {
                        progress.granted_until = Time::default();
                    }
                }
                for peer in &self.peers {
                    let new = || Progress::new(*peer, next, now);
                    leader.peers.entry(*peer).or_insert_with(new);
                }
            }
            // It has asked those that belonged to it before; what others promised it does not know.
            State::InDoubt(doubt) if before.others(self.config.id) != self.peers => {
                *doubt = Doubt::new(&self.peers, &mut self.random);
                self.ask_ballots(out);
            }
            State::PreCandidate(_) | State::Candidate(_) if !members.is_voter(self.config.id) => {
                self.stop_leading_or_standing(out);
            }
            State::InDoubt(_) | State::Follower | State::PreCandidate(_) | State::Candidate(_) => {}
        }
        // Perhaps those who remain have confirmed already, or there is nobody left to ask.
        self.confirm_reads(out);
    }
}
