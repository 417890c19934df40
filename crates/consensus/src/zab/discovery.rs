//! Phase 1: discovery. Who believes that it was elected makes an epoch its own.
//!
//! ```text
//!   follower                                         prospective leader
//!      │ ── FollowerInfo: the epoch it has accepted ──► │
//!      │                          a quorum has said its own: propose a greater one,
//!      │                                       │ once it is on the own disk
//!      │ ◄─────────────── NewEpoch ─────────────────────│
//!   accepts it, on disk                                 │
//!      │ ── AckEpoch: where its log ends ─────────────► │
//!      │                   a quorum has promised, and none has what we lack: lead
//! ```
//!
//! # Invariants
//!
//! * The accepted epoch never decreases, and is promised to one replica alone. So an epoch, which takes
//!   a quorum's promises, has one leader.
//! * A proposed epoch is greater than all that a quorum has accepted, ourselves among it.
//! * Who has granted a leader a lease promises no epoch to others, and proposes none, before that is over
//!   (`common::lease`), unless that leader has blessed a vote. An election may come before: it decides nothing.
//! * Who leads has a log that ends no earlier than those of a quorum, as far as these are binding (see
//!   `members`): it has all that is committed. It
//!   takes the place of the history that the paper's leader picks from that quorum.
//!
//! # Durability
//!
//! An epoch is on disk before it is proposed, before it is promised, and before its own promise counts.
//!
//! # Reference
//!
//! Zab §IV.A, phase 1; Medeiros §3.1, algorithm 1. That a leader with a shorter log than a follower's gives
//! up, instead of fetching that log, is ZooKeeper's way (Medeiros §4.1). A follower that can't promise
//! because it has given the epoch to another that lost follows the winner all the same, and counts for
//! nothing in this phase.

use std::collections::{BTreeMap, BTreeSet};

use crate::quorum::majority;
use crate::{Epoch, HardState, Output, PersistId, Position, ReplicaId, Time};

use super::following::Stage;
use super::message::{AckEpoch, Message};
use super::planted::Planted;
use super::{State, Zab, send};

/// What only a prospective leader knows.
#[derive(Clone, Hash)]
pub(super) struct Discovery {
    /// What those that may promise have accepted, we among them.
    accepted: BTreeMap<ReplicaId, Epoch>,
    /// All that would follow.
    joiners: BTreeSet<ReplicaId>,
    /// The proposal of the epoch that we have accepted, if we have made one.
    proposal: Option<Proposal>,
    deadline: Time,
    retry_at: Time,
}

/// An epoch that was proposed.
#[derive(Clone, Hash)]
struct Proposal {
    nonce: u64,
    promised: BTreeSet<ReplicaId>,
    /// Where the logs end of those that have answered, and the nonces of their doubts.
    answers: BTreeMap<ReplicaId, (Position, u64)>,
    /// Repeated promises that a planted mistake counts again.
    repeated: usize,
}

impl Discovery {
    pub(super) fn new(zab: &mut Zab) -> Self {
        let timeout = zab.config.election_timeout;
        Self {
            accepted: BTreeMap::from([(zab.id(), zab.epoch())]),
            joiners: BTreeSet::new(),
            proposal: None,
            deadline: zab.now + timeout + zab.random.below(timeout),
            retry_at: zab.now + zab.config.heartbeat_interval,
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.deadline.min(self.retry_at)
    }

    /// Whether it has proposed an epoch.
    pub(super) fn has_proposed(&self) -> bool {
        self.proposal.is_some()
    }
}

impl Zab {
    pub(super) fn tick_discovery(&mut self, out: &mut Vec<Output>) {
        let State::Discovering(discovery) = &mut self.state else { return };
        if discovery.deadline <= self.now {
            return self.look(false, out);
        }
        if discovery.retry_at > self.now {
            return;
        }
        discovery.retry_at = self.now + self.config.heartbeat_interval;
        if discovery.proposal.is_none() {
            return self.propose_epoch(out);
        }
        self.send_proposal(out);
    }

    /// CEPOCH. A leader's half of the first exchange.
    pub(super) fn receive_follower_info(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        in_doubt: bool,
        out: &mut Vec<Output>,
    ) {
        self.highest_seen = self.highest_seen.max(epoch);
        let own = self.epoch();
        if !in_doubt {
            self.hear_follower(from, out);
        }
        let is_member = self.members().contains(from);
        match &mut self.state {
            State::Asking(_) => {}
            // It believes that we lead.
            State::Looking(_) | State::Following(_) => self.tell(from, out),
            // It belongs to another membership, and nothing that it has accepted can be in our way.
            State::Discovering(_) | State::Leading(_) if !is_member => {}
            State::Discovering(discovery) => {
                discovery.joiners.insert(from);
                if !in_doubt {
                    discovery.accepted.insert(from, epoch);
                }
                let proposal = discovery.proposal.as_ref();
                let has_promised = proposal.is_some_and(|p| p.promised.contains(&from));
                if proposal.is_none() || (epoch >= own && !has_promised) {
                    // What we have proposed is not above what this one has accepted.
                    return self.propose_epoch(out);
                }
                self.send_new_epoch(from, out);
            }
            State::Leading(_) if epoch > own => self.look(false, out),
            State::Leading(_) => self.send_new_epoch(from, out),
        }
    }

    /// Proposes an epoch, once a quorum has said what it has accepted.
    pub(super) fn propose_epoch(&mut self, out: &mut Vec<Output>) {
        let (id, before) = (self.id(), self.epoch());
        let State::Discovering(discovery) = &self.state else { return };
        if !self.has_quorum(|voter| discovery.accepted.contains_key(&voter)) {
            return;
        }
        if self.grant.forbids(id, self.now) {
            // It tries again with each heartbeat.
            return;
        }
        let State::Discovering(discovery) = &mut self.state else { return };
        let highest = discovery.accepted.values().copied().fold(self.highest_seen, Epoch::max);
        let epoch = Epoch { round: highest.max(before).round + 1, proposer: 0 };
        discovery.proposal = Some(Proposal {
            nonce: self.random.next(),
            promised: BTreeSet::new(),
            answers: BTreeMap::new(),
            repeated: 0,
        });
        assert!(discovery.accepted.values().all(|other| *other < epoch), "it is above a quorum's");
        self.accept_epoch(epoch, Some(id));
        self.save_promise(out);
        self.send_proposal(out);
    }

    /// NEWEPOCH, to those that have not answered yet.
    fn send_proposal(&mut self, out: &mut Vec<Output>) {
        let State::Discovering(Discovery { joiners, proposal: Some(proposal), .. }) = &self.state
        else {
            return;
        };
        let unanswered = joiners.iter().filter(|peer| !proposal.answers.contains_key(peer));
        for peer in unanswered.copied().collect::<Vec<_>>() {
            self.send_new_epoch(peer, out);
        }
    }

    fn send_new_epoch(&mut self, to: ReplicaId, out: &mut Vec<Output>) {
        let nonce = match &self.state {
            State::Discovering(Discovery { proposal: Some(proposal), .. }) => proposal.nonce,
            State::Leading(leader) => leader.nonce,
            _ => return,
        };
        let message = Message::NewEpoch { epoch: self.epoch(), nonce };
        self.reply(to, message, PersistId(0), out);
    }

    /// NEWEPOCH. A follower's half: it promises an epoch above all that it has promised.
    pub(super) fn receive_new_epoch(
        &mut self,
        from: ReplicaId,
        epoch: Epoch,
        nonce: u64,
        out: &mut Vec<Output>,
    ) {
        self.highest_seen = self.highest_seen.max(epoch);
        let State::Following(following) = &self.state else { return };
        if following.leader != from {
            return;
        }
        if epoch < self.epoch() && !self.planted(Planted::LowerEpochAccepted) {
            return self.send_follower_info(from, out);
        }
        if epoch > self.epoch() && self.grant.forbids(from, self.now) {
            // It will be asked again.
            return;
        }
        if epoch != self.epoch() {
            self.fetch = None;
            let promised_to = (!self.in_doubt()).then_some(from);
            self.accept_epoch(epoch, promised_to);
        } else if following.stage.is_served() {
            // Its leader already knows where our log ends: this is a late copy.
            return;
        }
        let is_promised = self.durability.hard_state().vote == Some(from);
        let promised = is_promised || self.planted(Planted::EpochPromisedTwice);
        self.await_leader(Stage::Promised { epoch, nonce, promised }, out);
    }

    /// ACK-E, or again.
    pub(super) fn send_ack_epoch(&mut self, out: &mut Vec<Output>) {
        let State::Following(following) = &self.state else { return };
        let Stage::Promised { epoch, nonce, promised } = following.stage else { return };
        let (to, last) = (following.leader, self.log.last());
        let doubt = self.doubt.as_ref().map_or(0, |doubt| doubt.nonce);
        let promised = promised && doubt == 0;
        let binding = self.binding();
        let ack = Message::AckEpoch(AckEpoch { epoch, nonce, promised, last, binding, doubt });
        if self.planted(Planted::PromiseBeforeDurable) {
            return send(to, ack, out);
        }
        self.reply(to, ack, PersistId(0), out);
    }

    /// ACK-E. A leader's half of the second exchange.
    pub(super) fn receive_ack_epoch(
        &mut self,
        from: ReplicaId,
        ack: AckEpoch,
        out: &mut Vec<Output>,
    ) {
        if ack.epoch != self.epoch() {
            return;
        }
        // Who is not counted may be ahead of us: nothing was committed with its help that we need.
        let is_behind = self.is_behind(ack.binding) && self.members().is_voter(from);
        let counts_again = self.planted(Planted::PromiseCountedTwice);
        match &mut self.state {
            State::Leading(leader) if leader.nonce == ack.nonce => {
                self.synchronise(from, ack.last, ack.doubt, out);
            }
            State::Discovering(Discovery { joiners, proposal: Some(proposal), .. })
                if proposal.nonce == ack.nonce =>
            {
                if ack.promised && is_behind {
                    return self.look(false, out);
                }
                joiners.insert(from);
                proposal.answers.insert(from, (ack.last, ack.doubt));
                if ack.promised && !proposal.promised.insert(from) && counts_again {
                    proposal.repeated += 1;
                }
                self.lead_if_promised(out);
            }
            _ => {}
        }
    }

    /// A prospective leader's own promise counts like any other: when it is on disk.
    pub(super) fn lead_if_promised(&mut self, out: &mut Vec<Output>) {
        let id = self.id();
        let State::Discovering(Discovery { proposal: Some(proposal), .. }) = &mut self.state else {
            return;
        };
        // It is among those needed, so that a leader's epoch is on its disk.
        if !self.durability.is_promise_durable() {
            return;
        }
        proposal.promised.insert(id);
        let State::Discovering(Discovery { proposal: Some(proposal), .. }) = &self.state else {
            return;
        };
        if !self.is_promised(proposal) {
            return;
        }
        let State::Discovering(Discovery { proposal: Some(proposal), .. }) = &mut self.state else {
            return;
        };
        let (nonce, answers) = (proposal.nonce, std::mem::take(&mut proposal.answers));
        self.lead(nonce, answers, out);
    }

    fn is_promised(&self, proposal: &Proposal) -> bool {
        if self.planted(Planted::PromiseCountedTwice) {
            let count = proposal.promised.len() + proposal.repeated;
            return count >= majority(self.members().voters.len());
        }
        self.has_quorum(|voter| proposal.promised.contains(&voter))
    }

    /// Accepts an epoch: nothing of a lower one counts any more. It is promised to this replica alone.
    pub(super) fn accept_epoch(&mut self, epoch: Epoch, promised_to: Option<ReplicaId>) {
        assert!(epoch > self.epoch(), "an accepted epoch never decreases");
        self.durability.promise(HardState { epoch, vote: promised_to });
        self.epoch_leader = None;
        if let Some(doubt) = &mut self.doubt {
            doubt.leader_changed();
        }
    }
}
