//! Changing who belongs to the group, while it works: joint memberships, in Zab's log.
//!
//! A change is a proposal like any other: the leader proposes a joint membership, which a quorum of the
//! old voters and one of the new must acknowledge, with all that follows it. When that is committed, a
//! second proposal activates the new voters alone. A membership is in force as soon as it stands
//! in the log, committed or not, and each replica counts by the one in its own log: votes in an election,
//! promises of an epoch, acknowledgements of NEWLEADER and of what comes after. A new leader whose history
//! ends with a joint membership thus carries the change on: NEWLEADER takes both quorums.
//!
//! # Why an epoch has one leader, and a leader's history all that is committed
//!
//! By induction over epochs: up to epoch e, leaders had all that was committed in lower ones, so their
//! logs agree on the sequence of committed memberships. Each of these is followed by the next only once it is
//! committed (`common::change`), and any two neighbours have no quorums apart: a joint membership's
//! are quorums of what was before it and of what is after it, and so are those of another joint one that
//! began at the same place and was never committed.
//!
//! Let C be one that has a quorum's promises of e, counted by the membership M in its log, and let M be, or
//! follow upon, the i-th of the committed memberships.
//!
//! * *C has what was committed before e.* Suppose it lacks some of it, and take the first that it lacks.
//!   If that was committed by quorums of a membership next to M or of M itself, then one of these has
//!   promised e to C. Otherwise, in between, a membership next to M was committed, which C lacks, by a quorum
//!   of whom one has promised e to C: but then that would be the first. Either way, who promised had acknowledged
//!   before it promised, for it takes nothing of a lower epoch after that. So its log was further than
//!   C's, and C gave up (see `discovery`).
//! * *No other one has e.* Take another that counts by M'. If M and M' are the same or neighbours, somebody in
//!   both quorums would have promised e to both. If they are further apart, a membership next to the earlier
//!   one was committed before e, and by the above its counter has it in its log, or has given up.
//!
//! How far a log is binding: if a replica's own log takes its vote away, by a joint membership in which it is
//! among the old voters alone, then up to that membership. Nothing behind it was committed without a quorum of the
//! new voters, and who has that membership needs such a quorum too, while who lacks it is behind. Were all
//! of the log binding, an old leader that alone holds the end of the change could neither stand, being no voter,
//! nor let anybody else lead.
//!
//! Who is not counted matters to neither: a learner may promise, acknowledge and vote, and be ahead of
//! the leader. Therefore nobody asks first whether another is a member of its own membership. That may be out of
//! date, and whoever is needed as a voter need not know yet that it is one.
//!
//! # How those find a leader who do not know the members
//!
//! A replica that is no voter in its own log, a learner or one that joins, does not stand. It hands
//! on the best vote that it hears, so that those who count on it may, and follows whoever says that it leads. A
//! voter wants to hear first that its leader has a quorum, but its membership may be of the past: when
//! it has looked for an election timeout in vain, the leader's word is enough. If it joins the
//! wrong one, nothing is lost but time. A leader tells those members that it leads of whom it hears
//! nothing, for they may know nobody.
//!
//! # Invariants
//!
//! * A change begins only when the one before it is over, and when the leader is established.
//! * A leader that the new voters do not count among them leads until they alone are in force and
//!   that is committed, and counts itself for nothing in that; then it hands over and follows.
//!
//! # Reference
//!
//! Shraer, Reed, Malkhi & Junqueira, *Dynamic Reconfiguration of Primary/Backup Clusters* (USENIX ATC 2012).
//! There too a change is a proposal, acknowledged by quorums of both configurations; its leader activates it by a
//! message, and goes on proposing meanwhile under the new one. Ours activates it by a second proposal, and
//! until that is in the log all takes both quorums: what is in force is read from the log alone. Our learners
//! are ZooKeeper's observers.

use std::sync::Arc;

use crate::common::change::{self, Next};
use crate::common::progress::Progress;
use crate::common::refuse;
use crate::quorum::majority;
use crate::{Accepted, Entry, Membership, Output, Payload, Position, ProposalId, ReplicaId, Time};

use super::message::Message;
use super::peer::Peer;
use super::planted::Planted;
use super::{State, Zab, send};

impl Zab {
    /// The membership in force.
    pub(super) fn members(&self) -> &Arc<Membership> {
        self.log.memberships().latest()
    }

    /// Those of them whose quorums decide.
    pub(super) fn deciding(&self) -> Arc<Membership> {
        let members = self.members();
        if members.is_joint() && self.planted(Planted::NewVotersAlone) {
            return Arc::new(members.settled());
        }
        Arc::clone(members)
    }

    /// Whether we are counted ourselves.
    pub(super) fn is_voter(&self) -> bool {
        self.members().is_voter(self.id())
    }

    /// Whether those for whom `has` holds are a quorum.
    pub(super) fn has_quorum(&self, has: impl Fn(ReplicaId) -> bool) -> bool {
        let members = self.deciding();
        if self.planted(Planted::LearnersCounted) && !members.is_unknown() {
            let all = members.all_voters().into_iter().chain(members.learners.iter().copied());
            return all.filter(|member| has(*member)).count() >= majority(members.voters.len());
        }
        members.is_quorum(has)
    }

    /// The last entry of our log that may have needed our acknowledgement to be committed.
    pub(super) fn binding(&self) -> Position {
        let Some(index) = self.log.memberships().leaves_at(self.id()) else {
            return self.log.last();
        };
        let index = index.max(self.log.base().index);
        let epoch = self.log.epoch_at(index).expect("a membership in force stands in the log");
        Position { index, epoch }
    }

    /// Begins to change the members to `target`.
    pub(super) fn reconfigure(
        &mut self,
        id: ProposalId,
        target: Membership,
        out: &mut Vec<Output>,
    ) {
        let hasty = self.planted(Planted::ChangeBeforeCommit);
        let memberships = self.log.memberships();
        let may_begin = change::may_begin(memberships, self.commit, &self.config, &target) || hasty;
        if !may_begin || !self.takes_proposals() {
            return refuse(vec![id], Vec::new(), self.hint(), out);
        }
        if !target.voters.contains(&self.id()) {
            self.hand_over_to_one_of(&target, out);
            return refuse(vec![id], Vec::new(), self.hint(), out);
        }
        let membership = Arc::new(self.members().towards(target));
        let first = Position { index: self.log.last().index.next(), epoch: self.epoch() };
        out.push(Output::Accepted(Accepted { first, proposals: vec![id] }));
        self.propose_membership(membership, out);
    }

    fn propose_membership(&mut self, membership: Arc<Membership>, out: &mut Vec<Output>) {
        let position = Position { index: self.log.last().index.next(), epoch: self.epoch() };
        self.broadcast(vec![Entry { position, payload: Payload::Membership(membership) }], out);
    }

    /// Does what a committed membership asks of its leader.
    pub(super) fn go_on_changing(&mut self, out: &mut Vec<Output>) {
        let State::Leading(leader) = &self.state else { return };
        if !leader.is_established {
            return;
        }
        match change::next(self.log.memberships(), self.commit, self.id()) {
            Next::Nothing => {}
            Next::Settle(membership) => {
                self.propose_membership(membership, out);
                // Nobody else may be needed for it.
                self.advance_commit(out);
            }
            Next::Leave => self.leave(out),
        }
    }

    /// Follows from here on; whoever is best able to lead need not wait for our silence.
    fn leave(&mut self, out: &mut Vec<Output>) {
        if let Some(to) = self.successor(&self.members().clone()) {
            send(to, Message::HandOver { epoch: self.epoch() }, out);
        }
        self.look(false, out);
    }

    fn hand_over_to_one_of(&mut self, target: &Membership, out: &mut Vec<Output>) {
        let voters = self.members().voters.intersection(&target.voters).copied().collect();
        if let Some(to) = self.successor(&Membership { voters, ..target.clone() }) {
            self.transfer(to, out);
        }
    }

    pub(super) fn successor(&self, among: &Membership) -> Option<ReplicaId> {
        let State::Leading(leader) = &self.state else { return None };
        let time = (self.now, self.config.election_timeout);
        change::successor(leader.peers.values().map(|peer| &peer.progress), among, time)
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
        if self.in_doubt() && before.others(self.id()) != self.peers {
            // It has asked those that belonged to it before; what others promised it does not know.
            return self.doubt_anew(out);
        }
        match &self.state {
            State::Leading(_) => self.serve_members(out),
            // An image has taken the log's place. What we stood for is gone.
            State::Looking(_) | State::Discovering(_) => self.look(false, out),
            State::Asking(_) | State::Following(_) => {}
        }
    }

    /// Leaves those alone that are no members any more, and tells the new ones that we lead.
    fn serve_members(&mut self, out: &mut Vec<Output>) {
        let (last, now, members) = (self.log.last().index, self.now, Arc::clone(self.members()));
        let State::Leading(leader) = &mut self.state else { return };
        leader.peers.retain(|peer, _| members.contains(*peer));
        if leader.reads.members_change() {
            for peer in leader.peers.values_mut() {
                peer.progress.granted_until = Time::default();
            }
        }
        let known = |peer: &ReplicaId| leader.peers.contains_key(peer);
        let new: Vec<_> = self.peers.iter().copied().filter(|peer| !known(peer)).collect();
        for peer in &new {
            leader.peers.insert(*peer, Peer::new(Progress::new(*peer, last, now)));
        }
        for peer in new {
            self.tell(peer, out);
        }
        // Perhaps those who remain have confirmed already, or there is nobody left to ask.
        self.confirm_reads(out);
    }
}
