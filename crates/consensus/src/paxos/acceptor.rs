//! The acceptor and learner: promises ballots, accepts proposals in any order, and says truthfully
//! what it holds.
//!
//! # Invariants
//!
//! * Nothing is promised or accepted below the promise (P1a). One ballot has one value for a slot; if
//!   a leader shows two, the cluster's safety is already lost: stop.
//! * What was accepted is replaced only by what a higher ballot proposes for the slot. Gaps before it
//!   are left open, and a promise tells what lies beyond them.
//! * Slots up to `sure` hold chosen values and never change. Slots up to `agreed` are sure, or were
//!   accepted under the ballot that is promised now; only of those does a leader's commit index
//!   speak. What an older ballot left in the other slots may be something else than what was chosen.
//!
//! # Durability
//!
//! A promise is on disk before it leaves; an Accept with entries is acknowledged once they are. A
//! heartbeat is answered at once, with what is durable by then, so that reads and leadership do not
//! wait for the disk. The disk's log is replaced from the first changed slot on, in one write, so a
//! slot in the middle takes all later ones along.
//!
//! # Reference
//!
//! *Paxos Made Simple* §2.2 and §2.3 (P1a, learning), §3 (gaps); PMMC §2.2 and §4.1. Where PMMC's
//! acceptor answers each proposal with its ballot, ours answers a run of slots with what it holds.

use std::time::Duration;

use crate::common::link::Link;
use crate::{Entry, Epoch, LogIndex, Output, PersistId, Position, ReplicaId};

use super::message::{Accept, AcceptReply, Cause, MAX_GAP, Message, Outcome, Promise};
use super::planted::Planted;
use super::slots::stamped;
use super::{Paxos, send};

impl Paxos {
    /// Phase 1b.
    pub(super) fn receive_prepare(
        &mut self,
        from: ReplicaId,
        ballot: Epoch,
        slot: LogIndex,
        (cause, nonce): (Cause, u64),
        out: &mut Vec<Output>,
    ) {
        if ballot < self.promised() {
            let nack = Message::Nack { ballot: self.promised(), asked: ballot };
            return self.reply(from, nack, PersistId(0), out);
        }
        if let Cause::Transfer { of } = cause {
            self.grant.release(of);
        }
        let hears_another =
            ballot > self.promised() && cause == Cause::Silence && self.hears_leader();
        if hears_another || self.grant.forbids(from, self.now) {
            // Do not even take note of it: that would unseat a leader that works.
            return;
        }
        if ballot > self.promised() {
            self.adopt_ballot(ballot, out);
        }
        if self.in_doubt() {
            return;
        }
        self.reset_election_timer();
        let promise = Message::Promise(self.promise_page(nonce, slot));
        if self.planted(Planted::PromiseBeforeDurable) {
            return send(from, promise, out);
        }
        // What is accepted but not written yet is told, too: it may count, and need not.
        self.reply(from, promise, PersistId(0), out);
    }

    /// What was accepted from `slot` on, as much as fits into a message.
    fn promise_page(&self, nonce: u64, slot: LogIndex) -> Promise {
        let (mut accepted, mut more) = self.slots.accepted(slot, self.config.max_append_bytes);
        if self.planted(Planted::PromiseStopsAtGap)
            && let Some(gap) = self.slots.first_gap(self.sure)
        {
            accepted.retain(|acceptance| acceptance.entry.position.index < gap);
            more = false;
        }
        Promise {
            ballot: self.promised(),
            nonce,
            from: slot,
            base: self.slots.base_told(),
            chosen: self.sure,
            accepted,
            more,
        }
    }

    /// Phase 2b.
    pub(super) fn receive_accept(
        &mut self,
        from: ReplicaId,
        accept: Accept,
        out: &mut Vec<Output>,
    ) {
        let request = (accept.round, accept.link);
        if accept.ballot < self.promised() {
            if self.planted(Planted::AcceptBelowPromise) && !self.in_doubt() {
                return self.accept_stale_planted(from, accept, out);
            }
            return self.answer(from, request, Outcome::Stale, PersistId(0), out);
        }
        self.follow(from, accept.ballot, out);
        if let Some(nonce) = self.doubts_link(accept.link) {
            return self.answer(from, request, Outcome::InDoubt { nonce }, PersistId(0), out);
        }
        self.note_contact(accept.last);
        let (first, mut last, commit) = (accept.first, accept.end(), accept.commit);
        let is_heartbeat = accept.entries.is_empty();
        let is_too_far = first.0 > self.slots.last().0 + MAX_GAP;
        if is_heartbeat || is_too_far {
            last = first.prev();
        } else if self.planted(Planted::AckBeforeDurable)
            || (self.is_witness() && self.planted(Planted::WitnessAckBeforeDurable))
        {
            self.accept_planted(from, accept, out);
            return self.learn(commit, out);
        } else {
            self.store(accept.ballot, accept.entries, out);
        }
        let (outcome, after) = self.outcome(first, last, is_heartbeat);
        self.answer(from, request, outcome, after, out);
        self.learn(commit, out);
        self.resolve_doubt(out);
    }

    /// The mistake of [`Planted::AckBeforeDurable`].
    fn accept_planted(&mut self, from: ReplicaId, accept: Accept, out: &mut Vec<Output>) {
        let (round, link, first, last) = (accept.round, accept.link, accept.first, accept.end());
        let mut writes = Vec::new();
        self.store(accept.ballot, accept.entries, &mut writes);
        let (outcome, _) = self.outcome(first, last, false);
        let grant = Duration::ZERO;
        let reply = AcceptReply { ballot: self.promised(), round, link, outcome, grant };
        send(from, Message::AcceptReply(reply), out);
        out.append(&mut writes);
    }

    /// The mistake of [`Planted::AcceptBelowPromise`].
    fn accept_stale_planted(&mut self, from: ReplicaId, accept: Accept, out: &mut Vec<Output>) {
        let (ballot, first, last) = (accept.ballot, accept.first, accept.end());
        if accept.entries.is_empty() || self.agreed.next() < first {
            return;
        }
        self.store(ballot, accept.entries, out);
        let (round, link, outcome) = (0, accept.link, Outcome::Accepted { matched: last });
        let reply = AcceptReply { ballot, round, link, outcome, grant: Duration::ZERO };
        self.reply(from, Message::AcceptReply(reply), self.durability.of_log(last), out);
    }

    /// Accepts and writes those values that are new here.
    fn store(&mut self, ballot: Epoch, entries: Vec<Entry>, out: &mut Vec<Output>) {
        let is_new = |entry: &Entry| !self.holds(ballot, entry);
        let Some(new) = entries.iter().position(is_new) else { return };
        let mut entries = entries;
        let mut entries = if new == 0 { entries } else { entries.split_off(new) };
        if self.planted(Planted::SameValueNotWritten) {
            entries = self.skip_planted(entries);
        }
        let begins = entries
            .first()
            .is_none_or(|first| self.slots.ballot_at(first.position.index.prev()) != ballot);
        let changed = self.put(stamped(ballot, entries, self.sure, begins));
        self.persist(changed, out);
        self.advance_agreed();
        self.members_changed(out);
    }

    /// The mistake of [`Planted::SameValueNotWritten`]: counts these as accepted, and gives the others.
    fn skip_planted(&mut self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let same = |entry: &&Entry| {
            let held = self.slots.get(entry.position.index);
            held.is_some_and(|(stamp, _)| stamp.origin == entry.position.epoch)
        };
        let count = entries.iter().take_while(same).count();
        if count == 0 || entries[0].position.index > self.agreed.next() {
            return entries;
        }
        self.agreed = self.agreed.max(entries[count - 1].position.index);
        entries.split_off(count)
    }

    /// Whether the slot is sure, or was accepted under this very ballot.
    fn holds(&self, ballot: Epoch, entry: &Entry) -> bool {
        let Position { index, epoch } = entry.position;
        if index > self.slots.last() {
            return false;
        }
        let held =
            self.slots.get(index).filter(|(stamp, _)| index <= self.sure || stamp.ballot == ballot);
        if let Some((stamp, payload)) = held {
            assert!(
                stamp.origin == epoch && *payload == entry.payload,
                "ballot {ballot} contradicts what slot {index} holds since ballot {}",
                stamp.ballot
            );
        }
        index <= self.sure || held.is_some()
    }

    /// Puts stamped values into their slots, and gives what has to be written: these and all later ones.
    pub(super) fn put(&mut self, entries: Vec<Entry>) -> Vec<Entry> {
        let last = self.slots.last();
        self.note_members(&entries);
        if entries.first().is_some_and(|entry| entry.position.index == last.next()) {
            self.slots.append(&entries);
            return entries;
        }
        let changed = self.slots.put(entries);
        assert!(changed > self.sure, "what is chosen never changes");
        if changed <= last {
            // It is on the disk already, but the disk is about to replace it.
            self.durability.truncate(changed);
        }
        self.slots.suffix(changed)
    }

    /// Moves `agreed` over the slots that follow it and were accepted under the current ballot.
    pub(super) fn advance_agreed(&mut self) {
        let ballot = self.promised();
        self.agreed = self.agreed.max(self.sure);
        while self.slots.ballot_at(self.agreed.next()) == ballot && ballot != Epoch::default() {
            self.agreed = self.agreed.next();
        }
    }

    /// What to say of a request for the slots from `first` through `last`, and after which write.
    fn outcome(&self, first: LogIndex, last: LogIndex, is_heartbeat: bool) -> (Outcome, PersistId) {
        let durable = self.durability.durable_index();
        if self.agreed.next() < first {
            let (matched, missing) = (self.agreed.min(durable), self.agreed.next());
            let after = if first > last { PersistId(0) } else { self.durability.of_log(last) };
            return (Outcome::Gap { matched, missing, first, last }, after);
        }
        // A value in the middle was written together with all that follows it.
        let matched = if is_heartbeat { self.agreed.min(durable) } else { self.agreed };
        (Outcome::Accepted { matched }, self.durability.of_log(matched))
    }

    /// All slots up to `index` are chosen, says the leader that we follow.
    fn learn(&mut self, index: LogIndex, out: &mut Vec<Output>) {
        let mut known = index.min(self.agreed);
        if self.planted(Planted::LearnsOlderBallots) {
            let accepted =
                self.slots.first_gap(self.sure).map_or(self.slots.last(), LogIndex::prev);
            known = index.min(accepted);
        }
        self.sure = self.sure.max(known);
        self.commit_to(known, out);
    }

    pub(super) fn receive_commit(
        &mut self,
        from: ReplicaId,
        ballot: Epoch,
        index: LogIndex,
        out: &mut Vec<Output>,
    ) {
        // A follower in doubt believes only what was sent to this life of it.
        if ballot < self.promised() || self.in_doubt() {
            return;
        }
        self.follow(from, ballot, out);
        self.learn(index, out);
    }

    /// Answers an Accept or Snapshot once the write `after` is on disk.
    pub(super) fn answer(
        &mut self,
        to: ReplicaId,
        (round, link): (u64, Link),
        outcome: Outcome,
        after: PersistId,
        out: &mut Vec<Output>,
    ) {
        let grant = match outcome {
            Outcome::Accepted { .. } | Outcome::Gap { .. } | Outcome::Fetching if round > 0 => {
                self.grant.give(to, self.promised(), self.now)
            }
            _ => Duration::ZERO,
        };
        let reply = AcceptReply { ballot: self.promised(), round, link, outcome, grant };
        self.reply(to, Message::AcceptReply(reply), after, out);
    }
}
