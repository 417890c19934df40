//! Terms: entering one, following its leader, leaving an office.
//!
//! # Invariants
//!
//! * The term never decreases; entering one forgets the vote and the leader of the one before.
//! * A term has one leader. Two that claim it are evidence that safety is lost: stop.
//! * A replica in doubt stays in doubt, whatever the term.
//!
//! # Reference
//!
//! Raft §5.1, §5.2.

use crate::common::refuse;
use crate::{Epoch, HardState, Output, ReplicaId};

use super::{Raft, State};

impl Raft {
    /// Enters a higher term, as a follower that knows no leader yet (§5.1).
    pub(super) fn adopt_term(&mut self, term: Epoch, out: &mut Vec<Output>) {
        assert!(term > self.term(), "a term never decreases");
        self.durability.promise(HardState { epoch: term, vote: None });
        self.term_leader = None;
        self.stop_leading_or_standing(out);
    }

    /// Becomes a follower without a leader in the current term. Doubt stays.
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

    /// Takes note of a message of the leader of a term that is at least ours.
    pub(super) fn follow(&mut self, leader: ReplicaId, term: Epoch, out: &mut Vec<Output>) {
        if term > self.term() {
            self.adopt_term(term, out);
        }
        assert!(
            self.term_leader.is_none_or(|known| known == leader),
            "two leaders in term {term}: {leader} and {:?}",
            self.term_leader
        );
        if matches!(self.state, State::PreCandidate(_) | State::Candidate(_)) {
            self.stop_leading_or_standing(out);
        }
        self.term_leader = Some(leader);
        self.leader = Some(leader);
        self.heard = Some(self.now);
        self.reset_election_timer();
    }

    pub(super) fn reset_election_timer(&mut self) {
        let timeout = self.config.election_timeout;
        self.election_deadline = self.now + timeout + self.random.below(timeout) + self.patience();
    }
}
