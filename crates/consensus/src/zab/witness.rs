//! A witness: it votes and keeps the log, and its host applies nothing.
//!
//! What is committed may be on a leader's disk and a witness's alone. If that leader dies, only the witness
//! has the furthest log, with which a quorum may elect, and no data to serve: it must lead, and must not stay.
//! So a witness
//!
//! * *loses to others whose logs end where its own does*: a vote says whether it is for a witness, so that all
//!   order votes alike;
//! * *leads to bring others up to date*: NEWLEADER, behind its history, goes to them like any leader's. It
//!   carries on a change of the members that it finds, and refuses commands, reads and changes;
//! * *hands over* to the first voter that holds the data and all of its log.
//!
//! # Invariants
//!
//! * Leadership is handed to no witness, and by a witness only to one that lacks nothing of its log.
//! * A witness takes no proposal and serves no read. That is a promise to the host; safety does not rest on it.
//!
//! # Reference
//!
//! Pâris, *Voting with Witnesses* (1986), for copies that vote without data. There a witness knows a version
//! number; ours has the log, so that an entry on a data replica's disk and on a witness's is not lost with
//! the first.

use crate::common::transfer::Transfer;
use crate::{Output, ReplicaId};

use super::planted::Planted;
use super::{State, Zab};

impl Zab {
    /// Whether we keep the log without the data.
    pub(super) fn is_witness(&self) -> bool {
        self.config.witnesses.contains(&self.id()) || self.log.memberships().is_witness(self.id())
    }

    /// Whether we are known to hold the data.
    pub(super) fn is_data_replica(&self) -> bool {
        self.members().contains(self.id()) && !self.is_witness()
    }

    /// Whether proposals and reads are for others to take.
    pub(super) fn serves_nothing(&self) -> bool {
        self.is_witness() && !self.planted(Planted::WitnessServes)
    }

    /// Whom to ask instead of us: nobody yet, while we look for one to hand over to.
    pub(super) fn hint(&self) -> Option<ReplicaId> {
        match &self.state {
            State::Leading(leader) if self.serves_nothing() => {
                let told = leader.transfer.as_ref().filter(|transfer| transfer.is_told());
                told.map(Transfer::to)
            }
            _ => self.leader(),
        }
    }

    /// Hands over to a voter that holds the data and has caught up, if we only lead for want of one.
    pub(super) fn yield_office(&mut self, out: &mut Vec<Output>) {
        if !self.is_witness() {
            return;
        }
        let State::Leading(leader) = &self.state else { return };
        if leader.transfer.is_some() {
            return;
        }
        let Some(to) = self.successor(&self.members().clone()) else { return };
        let State::Leading(leader) = &self.state else { return };
        let lacks = leader.peers[&to].progress.matched() < self.log.last().index;
        if !lacks || self.planted(Planted::WitnessHandsOverEarly) {
            self.transfer(to, out);
        }
    }
}
