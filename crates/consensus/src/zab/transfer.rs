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

use crate::common::progress::Progress;
use crate::{Epoch, Output, ReplicaId, Time};

use super::broadcast::Leader;
use super::message::Message;
use super::{State, Zab, send};

pub(super) struct Transfer {
    to: ReplicaId,
    pub(super) deadline: Time,
    stage: Stage,
}

#[derive(PartialEq, Eq)]
enum Stage {
    CatchingUp,
    Told,
}

impl Leader {
    /// Gives up a transfer that has taken too long.
    pub(super) fn end_transfer(&mut self, now: Time) {
        if self.transfer.as_ref().is_some_and(|transfer| now >= transfer.deadline) {
            self.transfer = None;
        }
    }

    /// Whether this replica was asked to stand.
    pub(super) fn has_blessed(&self, replica: ReplicaId) -> bool {
        let transfer = self.transfer.as_ref();
        transfer.is_some_and(|transfer| transfer.to == replica && transfer.stage == Stage::Told)
    }
}

impl Zab {
    pub(super) fn transfer(&mut self, to: ReplicaId, out: &mut Vec<Output>) {
        let deadline = self.now + self.config.election_timeout;
        let State::Leading(leader) = &mut self.state else { return };
        if !leader.peers.contains_key(&to) {
            return;
        }
        leader.transfer = Some(Transfer { to, deadline, stage: Stage::CatchingUp });
        self.with_peer(to, |peer, view| peer.send(view, out));
        self.hand_over(out);
    }

    /// Asks the target to stand if it has all that we have.
    pub(super) fn hand_over(&mut self, out: &mut Vec<Output>) {
        let epoch = self.epoch();
        let State::Leading(leader) = &mut self.state else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let peer = leader.peers.get(&transfer.to);
        let matched = peer.map(|peer| &peer.progress).map(Progress::matched);
        if transfer.stage == Stage::CatchingUp && matched == Some(self.log.last().index) {
            transfer.stage = Stage::Told;
            send(transfer.to, Message::HandOver { epoch }, out);
        }
    }

    /// The leader wants this replica to follow it in office.
    pub(super) fn receive_hand_over(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        out: &mut Vec<Output>,
    ) {
        let may_stand = !self.in_doubt() && self.is_agreed() && self.leader() == Some(from);
        if may_stand && epoch == self.epoch() {
            self.look(true, out);
        }
    }
}
