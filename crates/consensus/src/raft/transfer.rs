//! Handing leadership to another replica, without waiting for a silence.
//!
//! The leader takes no more proposals, brings the target up to date, and tells it to stand at once.
//! If that has not come about within an election timeout it goes on leading.
//!
//! Reference: thesis §3.10.

use crate::common::progress::Progress;
use crate::common::transfer::Transfer;
use crate::{Output, ReplicaId};

use super::message::Message;
use super::planted::Planted;
use super::{Raft, State, send};

impl Raft {
    pub(super) fn transfer(&mut self, to: ReplicaId, out: &mut Vec<Output>) {
        let deadline = self.now + self.config.election_timeout;
        let may_lead = to != self.id() && self.members().may_be_handed(to);
        let State::Leader(leader) = &mut self.state else { return };
        if !may_lead {
            return;
        }
        leader.transfer = Some(Transfer::new(to, deadline));
        self.with_peer(to, |progress, view| progress.send(view, out));
        self.hand_over(out);
    }

    /// Tells the target to stand if it has all that we have.
    pub(super) fn hand_over(&mut self, out: &mut Vec<Output>) {
        let term = self.term();
        let early = self.is_witness() && self.planted(Planted::WitnessHandsOverEarly);
        let may_lag = early || self.planted(Planted::HandOverToLagging);
        let State::Leader(leader) = &mut self.state else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let to = transfer.to();
        let matched = leader.peers.get(&to).map(Progress::matched);
        if transfer.tells(matched, self.log.last().index, may_lag) {
            leader.reads.give_up_lease();
            send(to, Message::TimeoutNow { term }, out);
        }
    }
}
