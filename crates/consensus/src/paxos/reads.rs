//! Linearizable reads without a slot of their own.
//!
//! A leader notes its commit index, asks a quorum of phase 2 whether it still leads, and may then
//! serve all reads that had begun before it asked. Such a quorum meets every quorum of phase 1, so no
//! higher ballot had one when it answered, and nothing was chosen that this leader does not know of.
//! One round serves all reads that waited when it began. A leader with a lease need not ask: see
//! `common::lease`.
//!
//! # Invariants
//!
//! * A reply confirms a round only if it echoes that round or a later one, in the same ballot.
//! * A read is served without a round only if the lease lasts at the time of the step that brought it.
//! * No read is served before the leader's first own entry is committed: until then its commit index
//!   may be behind what an earlier leader has acknowledged.
//!
//! # Reference
//!
//! Ongaro, *Consensus: Bridging Theory and Practice* (2014), §6.4, steps 1–4; PMMC §4.5 names the
//! need and offers leases instead.

use crate::common::refuse;
use crate::{Output, ReadId, Time};

use super::planted::Planted;
use super::{Paxos, State};

impl Paxos {
    pub(super) fn read(&mut self, reads: Vec<ReadId>, out: &mut Vec<Output>) {
        if reads.is_empty() {
            return;
        }
        let without_quorum = self.planted(Planted::ReadWithoutQuorum);
        let State::Leader(leader) = &mut self.state else {
            return refuse(Vec::new(), reads, self.leader, out);
        };
        if without_quorum && leader.is_ready {
            return out.push(Output::Serve { reads, at: self.commit });
        }
        if self.has_lease() {
            return out.push(Output::Serve { reads, at: self.commit });
        }
        let State::Leader(leader) = &mut self.state else { return };
        if let Err(reads) = leader.reads.add(reads) {
            return refuse(Vec::new(), reads, self.leader, out);
        }
        self.begin_round(out);
    }

    /// Begins a round for the reads that wait, unless one is under way.
    pub(super) fn begin_round(&mut self, out: &mut Vec<Output>) {
        let early = self.planted(Planted::ReadBeforeReady);
        let State::Leader(leader) = &mut self.state else { return };
        let may_begin = leader.is_ready || early;
        if !may_begin || !leader.reads.begin(self.commit, self.now) {
            return;
        }
        self.ask_all(out);
        self.confirm_reads(out);
    }

    /// Whether nobody else can have been elected by now.
    fn has_lease(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        let until = || self.reached(leader, |progress| progress.granted_until, Time::NEVER);
        leader.is_ready && leader.reads.has_lease(until, self.now)
    }

    /// Serves the reads of the round under way if a quorum has confirmed it.
    pub(super) fn confirm_reads(&mut self, out: &mut Vec<Output>) {
        let State::Leader(leader) = &self.state else { return };
        let confirmed = self.reached(leader, |progress| progress.round, leader.reads.round());
        let State::Leader(leader) = &mut self.state else { return };
        if let Some((at, reads)) = leader.reads.confirmed(confirmed) {
            assert!(at <= self.commit, "a read index is committed");
            out.push(Output::Serve { reads, at });
            self.begin_round(out);
        }
    }
}
