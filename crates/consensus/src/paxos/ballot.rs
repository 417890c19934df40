//! Ballots: promising one, following its proposer, leaving an office.
//!
//! # Invariants
//!
//! * The promise never decreases. A ballot belongs to its proposer, so it has one leader.
//! * A replica in doubt stays in doubt, whatever the ballot.
//!
//! # Reference
//!
//! *Paxos Made Simple* §2.2, P1a; PMMC §2.2.

use crate::common::refuse;
use crate::{Epoch, HardState, Output, ReplicaId};

use super::{Paxos, State};

impl Paxos {
    /// Promises a higher ballot, as a follower that knows no leader yet.
    ///
    /// Whoever shows us a higher ballot gets that, asked or not: it only refuses lower ones.
    pub(super) fn adopt_ballot(&mut self, ballot: Epoch, out: &mut Vec<Output>) {
        assert!(ballot > self.promised(), "a promise never decreases");
        self.durability.promise(HardState { epoch: ballot, vote: None });
        self.agreed = self.sure;
        self.stop_leading_or_standing(out);
    }

    /// Becomes a follower without a leader. Doubt stays.
    pub(super) fn stop_leading_or_standing(&mut self, out: &mut Vec<Output>) {
        self.leader = None;
        self.fetch = None;
        match &mut self.state {
            State::InDoubt(doubt) => doubt.leader_changed(),
            State::Leader(leader) => {
                let reads = leader.take_reads();
                refuse(Vec::new(), reads, None, out);
                self.state = State::Follower;
                self.heard = None;
                self.reset_election_timer();
            }
            State::PreCandidate(_) | State::Candidate(_) => {
                self.state = State::Follower;
                self.reset_election_timer();
            }
            State::Follower => {}
        }
    }

    /// Takes note of a message of the leader of a ballot that is at least what we have promised.
    pub(super) fn follow(&mut self, leader: ReplicaId, ballot: Epoch, out: &mut Vec<Output>) {
        assert!(ballot.proposer == leader.0, "a ballot is led by its proposer");
        if ballot > self.promised() {
            self.adopt_ballot(ballot, out);
        }
        if matches!(self.state, State::PreCandidate(_) | State::Candidate(_)) {
            self.stop_leading_or_standing(out);
        }
        assert!(!matches!(self.state, State::Leader(_)), "nobody else leads our ballot");
        self.leader = Some(leader);
        self.heard = Some(self.now);
        self.reset_election_timer();
    }

    pub(super) fn reset_election_timer(&mut self) {
        let timeout = self.config.election_timeout;
        self.election_deadline = self.now + timeout + self.random.below(timeout);
    }
}
