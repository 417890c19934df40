//! Handing leadership to another replica, without waiting for a silence.
//!
//! The leader takes no more proposals, brings the target up to date, and tells it to stand at once.
//! If that has not come about within an election timeout it goes on leading.
//!
//! Reference: Ongaro, *Consensus: Bridging Theory and Practice* (2014), §3.10.

use crate::{Output, ReplicaId, Time};

use super::message::Message;
use super::phase2::Leader;
use super::{Paxos, State, send};

#[derive(Clone, Hash)]
pub(super) struct Transfer {
    to: ReplicaId,
    pub(super) deadline: Time,
    stage: Stage,
}

#[derive(Clone, PartialEq, Eq, Hash)]
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
}

impl Paxos {
    pub(super) fn transfer(&mut self, to: ReplicaId, out: &mut Vec<Output>) {
        let deadline = self.now + self.config.election_timeout;
        let State::Leader(leader) = &mut self.state else { return };
        if !leader.peers.contains_key(&to) {
            return;
        }
        leader.transfer = Some(Transfer { to, deadline, stage: Stage::CatchingUp });
        self.with_peer(to, |progress, view| progress.send(view, out));
        self.hand_over(out);
    }

    /// Tells the target to stand if it has all that we have.
    pub(super) fn hand_over(&mut self, out: &mut Vec<Output>) {
        let ballot = self.promised();
        let State::Leader(leader) = &mut self.state else { return };
        let Some(transfer) = &mut leader.transfer else { return };
        let matched = leader.peers.get(&transfer.to).map(super::progress::Progress::matched);
        if transfer.stage == Stage::CatchingUp && matched == Some(self.slots.last()) {
            transfer.stage = Stage::Told;
            send(transfer.to, Message::TakeOver { ballot }, out);
        }
    }
}
