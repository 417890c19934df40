//! The follower's half of replication: takes in Appends and says truthfully what it holds.
//!
//! # Invariants
//!
//! * Only an entry that conflicts with the leader's cuts the log; a late or doubled Append, which
//!   shows less than the log already holds, never does (§5.3).
//! * Committed entries never conflict. If they do, the cluster's safety is already lost: stop.
//! * An acknowledgement covers no more than its Append has shown, and what follows it in the log
//!   does not count: it may be another leader's.
//!
//! # Durability
//!
//! An Append with entries is acknowledged once they are on disk. A heartbeat is answered at once,
//! with what is durable by then, so that reads and leadership do not wait for the disk.
//!
//! # Reference
//!
//! Raft §5.3, figure 2, receiver of AppendEntries.

use std::time::Duration;

use crate::{Epoch, LogIndex, News, Output, PersistId, Position, ReplicaId};

use super::message::{Append, AppendReply, Message, Outcome};
use super::planted::Planted;
use super::{Link, Raft, send};

impl Raft {
    pub(super) fn receive_append(
        &mut self,
        from: ReplicaId,
        append: Append,
        out: &mut Vec<Output>,
    ) {
        let request = (append.round, append.link);
        let is_stale = append.term < self.term();
        if is_stale && !self.planted(Planted::StaleAppendAccepted) {
            return self.answer(from, request, Outcome::Stale, PersistId(0), out);
        }
        if !is_stale {
            self.follow(from, append.term, out);
        }
        if let Some(nonce) = self.doubts_link(append.link) {
            return self.answer(from, request, Outcome::InDoubt { nonce }, PersistId(0), out);
        }
        self.note_contact(append.last);
        match self.disagreement(append.prev) {
            Some(hint) => {
                let outcome = Outcome::Rejected { prev: append.prev.index, hint };
                self.answer(from, request, outcome, PersistId(0), out);
            }
            None => self.accept(from, append, out),
        }
    }

    /// Takes the entries of an Append whose `prev` our log holds, or has compacted.
    fn accept(&mut self, from: ReplicaId, append: Append, out: &mut Vec<Output>) {
        let request = (append.round, append.link);
        let (end, commit) = (append.end(), append.commit);
        let is_heartbeat = append.entries.is_empty();
        let early_ack = !is_heartbeat
            && (self.planted(Planted::AckBeforeDurable)
                || (self.is_witness() && self.planted(Planted::WitnessAckBeforeDurable)));
        if early_ack {
            let (round, link) = request;
            let outcome = Outcome::Accepted { matched: end };
            let grant = self.grant.give(from, self.term(), self.now);
            let reply = AppendReply { term: self.term(), round, link, outcome, grant };
            send(from, Message::AppendReply(reply), out);
        }
        self.store(append, out);
        let agreed =
            if self.planted(Planted::CommitBeyondMatch) { self.log.last().index } else { end };
        self.commit_to(commit.min(agreed).max(self.commit), out);
        self.note_agreement(end);
        if early_ack {
            return;
        }
        if is_heartbeat {
            let matched = end.min(self.durability.durable_index());
            self.answer(from, request, Outcome::Accepted { matched }, PersistId(0), out);
        } else {
            let after = self.durability.of_log(end);
            self.answer(from, request, Outcome::Accepted { matched: end }, after, out);
        }
        self.resolve_doubt(out);
    }

    /// Appends and writes what is new in an Append; cuts the log only where it conflicts.
    fn store(&mut self, append: Append, out: &mut Vec<Output>) {
        let known = |position: Position| {
            position.index <= self.log.base().index || self.log.holds(position)
        };
        let new = append.entries.iter().position(|entry| !known(entry.position));
        let Some(new) = new else {
            if self.planted(Planted::AlwaysTruncate) {
                self.cut_planted(append.end());
            }
            return;
        };
        let mut entries = append.entries;
        let entries = if new == 0 { entries } else { entries.split_off(new) };
        let first = entries[0].position.index;
        if first <= self.log.last().index {
            self.cut(first, out);
        }
        self.log.append(entries.iter().cloned());
        self.members_changed(out);
        self.persist(entries, out);
    }

    /// Drops entries of an earlier leader that were never committed.
    fn cut(&mut self, from: LogIndex, out: &mut Vec<Output>) {
        assert!(from > self.commit, "a leader contradicts the committed entry at {from}");
        self.log.truncate(from);
        self.durability.truncate(from);
        out.push(Output::News(News::Truncated { from }));
    }

    /// The mistake of [`Planted::AlwaysTruncate`]: forgets entries that match.
    fn cut_planted(&mut self, end: LogIndex) {
        let from = end.max(self.commit).next();
        if from <= self.log.last().index {
            self.log.truncate(from);
            self.durability.truncate(from);
        }
    }

    /// If our log does not hold `prev`: the highest entry before it that could match.
    fn disagreement(&self, prev: Position) -> Option<Position> {
        let base = self.log.base();
        if prev.index < base.index {
            // Committed and compacted: every later leader's log agrees there.
            return None;
        }
        assert!(
            prev.index != base.index || prev.epoch == base.epoch,
            "a leader contradicts the committed entry {base} with {prev}"
        );
        if self.log.holds(prev) {
            return None;
        }
        Some(self.log.newest_before(prev.index.prev(), prev.epoch).unwrap_or(base))
    }

    pub(super) fn receive_commit(
        &mut self,
        from: ReplicaId,
        term: Epoch,
        position: Position,
        out: &mut Vec<Output>,
    ) {
        // A follower in doubt believes only what was sent to this life of it.
        if term < self.term() || self.in_doubt() {
            return;
        }
        self.follow(from, term, out);
        if position.index > self.commit && self.log.holds(position) {
            self.commit_to(position.index, out);
        }
    }

    /// Answers an Append or Snapshot once the write `after` is on disk.
    pub(super) fn answer(
        &mut self,
        to: ReplicaId,
        (round, link): (u64, Link),
        outcome: Outcome,
        after: PersistId,
        out: &mut Vec<Output>,
    ) {
        let grant = match outcome {
            Outcome::Accepted { .. } | Outcome::Rejected { .. } | Outcome::Fetching
                if round > 0 =>
            {
                self.grant.give(to, self.term(), self.now)
            }
            _ => Duration::ZERO,
        };
        let reply = AppendReply { term: self.term(), round, link, outcome, grant };
        self.reply(to, Message::AppendReply(reply), after, out);
    }
}
