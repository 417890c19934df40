//! Changing who belongs to the group: joint consensus.
//!
//! A membership is in force as soon as it stands in the log. The leader appends a joint one, commits it
//! with a majority of the old voters and one of the new, then appends the new one alone.
//! Whoever leads meanwhile carries on, for it has the joint entry in its log or the entry was never
//! committed.
//!
//! # Invariants
//!
//! * A change begins only when the one before it is over, and after an entry of the leader's own term
//!   is committed: so no uncommitted change of an earlier term can come back behind it.
//! * A leader that the new voters do not count among them leads until they alone are in force and
//!   committed, and counts itself for nothing in that; then it hands over.
//!
//! # Reference
//!
//! Thesis §4.1 (who is answered), §4.2.2 (removing the leader), §4.3 (joint consensus). The rule about the
//! leader's own term is that of Ongaro's note on single-server changes (raft-dev, 2015); with
//! joint consensus it costs nothing to keep.

use std::sync::Arc;

use crate::common::change::{self, Next};
use crate::common::progress::Progress;
use crate::common::refuse;
use crate::{Accepted, Entry, Membership, Output, Payload, Position, ProposalId, ReplicaId, Time};

use super::doubt::Doubt;
use super::message::Message;
use super::planted::Planted;
use super::{Raft, State, send};

impl Raft {
    /// The membership in force.
    pub(super) fn members(&self) -> &Arc<Membership> {
        self.log.memberships().latest()
    }

    /// Those of them whose quorums decide.
    pub(super) fn deciding(&self) -> Arc<Membership> {
        let members = self.members();
        if self.planted(Planted::NewVotersAlone) && members.is_joint() {
            return Arc::new(members.settled());
        }
        Arc::clone(members)
    }

    /// Whether our own vote counts.
    pub(super) fn is_voter(&self) -> bool {
        self.members().is_voter(self.id())
    }

    /// Whether it may stand for election: also if the last membership in its log leaves it out, as long as
    /// that may not be committed. It may be the only one that holds it, and needed by those who do not
    /// (thesis §4.2.2).
    pub(super) fn may_stand(&self) -> bool {
        if self.is_witness() && self.planted(Planted::WitnessNeverStands) {
            return false;
        }
        let memberships = self.log.memberships();
        let was_voter = || memberships.before_latest().is_voter(self.id());
        self.is_voter() || (memberships.latest_index() > self.commit && was_voter())
    }

    /// Begins to change the members to `target`.
    pub(super) fn reconfigure(
        &mut self,
        id: ProposalId,
        target: Membership,
        out: &mut Vec<Output>,
    ) {
        let hasty = self.planted(Planted::ChangeBeforeCommit);
        let is_ready = matches!(&self.state, State::Leader(leader) if leader.is_ready);
        let memberships = self.log.memberships();
        let may_begin = change::may_begin(memberships, self.commit, &self.config, &target) || hasty;
        if !is_ready || !may_begin || !self.takes_proposals() {
            return refuse(vec![id], Vec::new(), self.hint(), out);
        }
        if !target.voters.contains(&self.id()) {
            self.hand_over_to_one_of(&target, out);
            return refuse(vec![id], Vec::new(), self.hint(), out);
        }
        let membership = Arc::new(self.members().towards(target));
        let first = self.append_membership(membership, out);
        out.push(Output::Accepted(Accepted { first, proposals: vec![id] }));
    }

    fn append_membership(
        &mut self,
        membership: Arc<Membership>,
        out: &mut Vec<Output>,
    ) -> Position {
        let position = Position { index: self.log.last().index.next(), epoch: self.term() };
        self.append(vec![Entry { position, payload: Payload::Membership(membership) }], out);
        position
    }

    /// Does what a committed membership asks of its leader.
    pub(super) fn go_on_changing(&mut self, out: &mut Vec<Output>) {
        let State::Leader(leader) = &self.state else { return };
        if !leader.is_ready {
            return;
        }
        match change::next(self.log.memberships(), self.commit, self.id()) {
            Next::Nothing => {}
            Next::Settle(membership) => {
                self.append_membership(membership, out);
                // Nobody else may be needed for it.
                self.advance_commit(out);
            }
            Next::Leave => self.leave(out),
        }
    }

    /// Follows from here on; whoever is best able to lead need not wait for our silence.
    fn leave(&mut self, out: &mut Vec<Output>) {
        if let Some(to) = self.successor(&self.members().clone()) {
            send(to, Message::TimeoutNow { term: self.term() }, out);
        }
        self.step_down(out);
    }

    fn hand_over_to_one_of(&mut self, target: &Membership, out: &mut Vec<Output>) {
        let voters = self.members().voters.intersection(&target.voters).copied().collect();
        if let Some(to) = self.successor(&Membership { voters, ..target.clone() }) {
            self.transfer(to, out);
        }
    }

    pub(super) fn successor(&self, among: &Membership) -> Option<ReplicaId> {
        let State::Leader(leader) = &self.state else { return None };
        let time = (self.now, self.config.election_timeout);
        change::successor(leader.peers.values(), among, time)
    }

    /// The log has changed: sees to it that its membership is in force.
    pub(super) fn members_changed(&mut self, out: &mut Vec<Output>) {
        let members = Arc::clone(self.members());
        if members == self.in_force {
            return;
        }
        let before = std::mem::replace(&mut self.in_force, Arc::clone(&members));
        out.push(Output::Members(Arc::clone(&members)));
        self.peers = members.others(self.id());
        let (last, now) = (self.log.last().index, self.now);
        match &mut self.state {
            State::Leader(leader) => {
                leader.peers.retain(|peer, _| members.contains(*peer));
                if leader.reads.members_change() {
                    for progress in leader.peers.values_mut() {
                        progress.granted_until = Time::default();
                    }
                }
                for peer in &self.peers {
                    let new = || Progress::new(*peer, last, now);
                    leader.peers.entry(*peer).or_insert_with(new);
                }
            }
            // It has asked those that belonged to it before; what others promised it does not know.
            State::InDoubt(doubt) if before.others(self.config.id) != self.peers => {
                *doubt = Doubt::new(&mut self.random);
                self.ask_terms(out);
            }
            State::InDoubt(_) | State::Follower | State::PreCandidate(_) | State::Candidate(_) => {}
        }
        // Perhaps those who remain have confirmed already, or there is nobody left to ask.
        self.confirm_reads(out);
    }
}
