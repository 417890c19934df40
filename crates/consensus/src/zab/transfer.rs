//! Handing leadership to another replica, without waiting for a silence.
//!
//! The leader takes no more proposals, brings the target up to date, and asks it to stand. The target opens
//! an election with a vote that says so: among logs that end alike it wins, its leader and those that
//! follow it vote at once, and nobody waits for a better vote. If that has not come about within
//! an election timeout the leader goes on leading.
//!
//! # Reference
//!
//! Ongaro's thesis §3.10, for Zab's election. The papers have no such thing.

use crate::common::transfer::Transfer;
use crate::{Epoch, Output, ReplicaId};

use super::broadcast::Leader;
use super::message::Message;
use super::planted::Planted;
use super::{State, Zab, send};

impl Leader {
    /// Whether this replica was asked to stand.
    pub(super) fn has_blessed(&self, replica: ReplicaId) -> bool {
        let transfer = self.transfer.as_ref();
        transfer.is_some_and(|transfer| transfer.to() == replica && transfer.is_told())
    }
}

impl Zab {
    pub(super) fn transfer(&mut self, to: ReplicaId, out: &mut Vec<Output>) {
        let deadline = self.now + self.config.election_timeout;
        let may_lead = to != self.id() && self.members().may_be_handed(to);
        let State::Leading(leader) = &mut self.state else { return };
        if !may_lead {
            return;
        }
        leader.transfer = Some(Transfer::new(to, deadline));
        self.with_peer(to, |peer, view| peer.send(view, out));
        self.hand_over(out);
    }

    /// Asks the target to stand if it has all that we have.
    pub(super) fn hand_over(&mut self, out: &mut Vec<Output>) {
        let epoch = self.epoch();
        let early = self.is_witness() && self.planted(Planted::WitnessHandsOverEarly);
        let may_lag = early || self.planted(Planted::HandOverToLagging);
        let State::Leading(leader) = &mut self.state else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let to = transfer.to();
        let matched = leader.peers.get(&to).map(|peer| peer.progress.matched());
        if transfer.tells(matched, self.log.last().index, may_lag) {
            leader.reads.give_up_lease();
            send(to, Message::HandOver { epoch }, out);
        }
    }

    /// The leader wants this replica to follow it in office.
    pub(super) fn receive_hand_over(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        out: &mut Vec<Output>,
    ) {
        let may_stand = !self.is_witness()
            && !self.in_doubt()
            && self.is_voter()
            && self.is_agreed()
            && self.leader() == Some(from);
        if may_stand && epoch == self.epoch() {
            self.grant.release(epoch);
            self.look(true, out);
        }
    }
}
