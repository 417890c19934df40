//! Phase 1, once for each leader: a candidate learns from a quorum what may have been chosen, and
//! proposes it anew under its own ballot.
//!
//! Each acceptor tells what it has accepted from the candidate's first unknown slot on, in pages; the
//! next page is simply asked for by another Prepare. Of each slot the candidate keeps the value of the
//! highest ballot (P2c). When a quorum of phase 1 has told all, it leads: it proposes these values,
//! fills the slots between them with nothing, and appends an entry of its own. Once that one is
//! chosen, so is all before it, and the leader knows what is committed: it is *ready*.
//!
//! Which quorum that is the promises may change themselves, by the memberships that they reveal: see
//! `members`.
//!
//! # Who lacks what others have forgotten may not lead
//!
//! An acceptor whose base is beyond what the candidate knows cannot tell it the slots before. Its
//! promise does not count; the candidate fetches a snapshot from it, and asks again. Unless the candidate
//! turns out to hold what was forgotten: see `snapshot`. A witness has no snapshot to give. Then another may
//! hold it, so the candidate leaves them the time to stand: its questions keep others from it.
//!
//! # What is dead is not revived
//!
//! Plain Paxos lets a new leader find a value that a former one could not get chosen and that a
//! leader in between did not see, and have it chosen *after* that one's entries. So a command of a
//! deposed leader, such as the end of a lease, could take effect after its successor was ready and
//! had promised otherwise without writing a word. Therefore: **a value accepted at slot s under
//! ballot a is passed over if a slot before s holds a value whose origin o is above a.** For the
//! leader of o first proposed at slots beyond the end of what its own phase 1 had found, thus
//! nothing was chosen at s under any ballot below o. A ready leader's first entry is found, or known
//! to be chosen, by every later leader; so no entry of an earlier leader comes after it.
//!
//! A filled slot bears the round of the value before it as its origin, so that this is not forgotten
//! where the log is.
//!
//! # Invariants
//!
//! * Only pages that answer this candidacy count, by its nonce, and each page once.
//! * A candidate's own promise is one of those needed, and is on disk.
//!
//! # Reference
//!
//! *Paxos Made Simple* §2.2 (P2c), §3 (a new leader's gaps); PMMC §2.3 (scouts), §4.2 (only what is
//! still unknown is told). *Flexible Paxos* §3 for the size of the quorum.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::dropped;
use crate::{
    Entry, Epoch, LogIndex, Membership, Output, Payload, PersistId, Position, ReplicaId, Time,
};

use super::message::{Acceptance, Cause, Message, Promise};
use super::phase2::Leader;
use super::planted::Planted;
use super::slots::stamped;
use super::{Paxos, State, send};

/// What a candidate has learned so far.
#[derive(Clone, Hash)]
pub(super) struct Phase1 {
    /// Marks this candidacy.
    nonce: u64,
    cause: Cause,
    /// How far each acceptor has told what it has accepted.
    told: BTreeMap<ReplicaId, Told>,
    /// Of each slot the value of the highest ballot.
    found: BTreeMap<LogIndex, Acceptance>,
    /// All slots up to here are chosen, and those that told so hold what was.
    chosen: LogIndex,
    /// When to ask again those that have not told all.
    retry: Time,
    /// A witness has forgotten what we lack, and has no image.
    in_vain: bool,
}

#[derive(Clone, Hash)]
enum Told {
    /// It was asked for what it has accepted from here on.
    Before(LogIndex),
    /// All of it.
    All,
}

impl Phase1 {
    pub(super) fn new(nonce: u64, cause: Cause, retry: Time) -> Self {
        Self {
            nonce,
            cause,
            told: BTreeMap::new(),
            found: BTreeMap::new(),
            chosen: LogIndex(0),
            retry,
            in_vain: false,
        }
    }

    pub(super) fn deadline(&self) -> Time {
        self.retry
    }

    /// Whether it may be that only others can lead.
    pub(super) fn is_in_vain(&self) -> bool {
        self.in_vain
    }

    /// From which slot on this acceptor is to tell next, for a candidate that is sure up to `sure`.
    fn next_from(&self, acceptor: ReplicaId, sure: LogIndex) -> Option<LogIndex> {
        match self.told.get(&acceptor) {
            None => Some(sure.next()),
            Some(Told::Before(from)) => Some(sure.next().max(*from)),
            Some(Told::All) => None,
        }
    }

    /// The last slot of which anything was found.
    fn end(&self) -> LogIndex {
        self.found.last_key_value().map_or(LogIndex(0), |(index, _)| *index)
    }

    fn expects(&self, acceptor: ReplicaId, promise: &Promise) -> bool {
        let from =
            matches!(self.told.get(&acceptor), Some(Told::Before(from)) if *from == promise.from);
        from && promise.nonce == self.nonce
    }

    /// Whether this acceptor has told all.
    fn has_promised(&self, acceptor: ReplicaId) -> bool {
        matches!(self.told.get(&acceptor), Some(Told::All))
    }

    /// The slots of memberships that were found.
    fn memberships(&self) -> impl Iterator<Item = LogIndex> {
        let is_membership =
            |found: &&Acceptance| matches!(found.entry.payload, Payload::Membership(_));
        self.found.values().filter(is_membership).map(|found| found.entry.position.index)
    }

    /// Of two proposals for a slot the one with the higher ballot counts (P2c).
    fn find(&mut self, acceptance: Acceptance, keep_first: bool) {
        let index = acceptance.entry.position.index;
        match self.found.get_mut(&index) {
            Some(known) if keep_first || known.ballot >= acceptance.ballot => {}
            Some(known) => *known = acceptance,
            None => {
                self.found.insert(index, acceptance);
            }
        }
    }

    pub(super) fn forget_through(&mut self, sure: LogIndex) {
        self.found = self.found.split_off(&sure.next());
    }
}

impl Paxos {
    /// Asks an acceptor for its promise, or for the next page of it.
    pub(super) fn prepare(&mut self, acceptor: ReplicaId, out: &mut Vec<Output>) {
        let (ballot, end) = (self.promised(), self.slots.last());
        let State::Candidate(phase1) = &mut self.state else { return };
        let from = match phase1.next_from(acceptor, self.sure) {
            Some(from) => {
                phase1.told.insert(acceptor, Told::Before(from));
                from
            }
            // It has told all, and need only hear that we still stand.
            None => phase1.end().max(end).next(),
        };
        let (cause, nonce) = (phase1.cause, phase1.nonce);
        let message = Message::Prepare { ballot, from, cause, nonce };
        if self.planted(Planted::PromiseBeforeDurable) {
            return send(acceptor, message, out);
        }
        self.reply(acceptor, message, PersistId(0), out);
    }

    /// Asks all again: a message may be lost, and who hears nothing of us would soon stand itself.
    pub(super) fn ask_again(&mut self, out: &mut Vec<Output>) {
        let State::Candidate(phase1) = &mut self.state else { return };
        if self.now < phase1.retry {
            return;
        }
        phase1.retry = self.now + self.config.heartbeat_interval;
        let State::Candidate(phase1) = &self.state else { return };
        let (id, (_, electing)) = (self.config.id, self.electing(phase1));
        for voter in electing.all_voters().into_iter().filter(|voter| *voter != id) {
            self.prepare(voter, out);
        }
    }

    pub(super) fn receive_promise(
        &mut self,
        from: ReplicaId,
        promise: Promise,
        out: &mut Vec<Output>,
    ) {
        let ballot = self.promised();
        let State::Candidate(phase1) = &mut self.state else { return };
        if promise.ballot != ballot || !phase1.expects(from, &promise) {
            return;
        }
        if promise.accepted.iter().any(|acceptance| acceptance.ballot >= ballot) {
            return dropped(from, "it accepted what was never proposed", out);
        }
        self.learn_from_base(promise.base, out);
        let base = promise.base.position;
        if base.index > self.commit {
            let is_witness = self.memberships.is_witness(from);
            if let State::Candidate(phase1) = &mut self.state {
                phase1.in_vain |= is_witness;
            }
            return self.fetch_to_stand(from, base, out);
        }
        if base.index > self.sure {
            self.rest_on_image(out);
        }
        self.take_page(from, promise, out);
    }

    fn take_page(&mut self, from: ReplicaId, promise: Promise, out: &mut Vec<Output>) {
        let (sure, keep_first) = (self.sure, self.planted(Planted::FirstValueHeard));
        let end = promise.end();
        let State::Candidate(phase1) = &mut self.state else { return };
        phase1.chosen = phase1.chosen.max(promise.chosen);
        for acceptance in promise.accepted {
            if acceptance.entry.position.index > sure {
                phase1.find(acceptance, keep_first);
            }
        }
        let told = if promise.more { Told::Before(end.next()) } else { Told::All };
        phase1.told.insert(from, told);
        if promise.more {
            self.reset_election_timer();
            return self.prepare(from, out);
        }
        self.ask_those_revealed(out);
        self.lead_if_promised(out);
    }

    /// Asks voters of whom only a promise has told. Whoever learns so that it is no voter itself stands no
    /// more.
    fn ask_those_revealed(&mut self, out: &mut Vec<Output>) {
        let State::Candidate(phase1) = &self.state else { return };
        let (_, electing) = self.electing(phase1);
        if !electing.is_voter(self.id()) {
            return self.stop_leading_or_standing(out);
        }
        for voter in electing.all_voters() {
            let State::Candidate(phase1) = &self.state else { return };
            if voter != self.config.id && !phase1.told.contains_key(&voter) {
                self.prepare(voter, out);
            }
        }
    }

    /// The last membership among what we have accepted or heard of, by which promises count, and its
    /// slot; 0 if it is known to be chosen. See `members` for why this one is enough.
    fn electing(&self, phase1: &Phase1) -> (LogIndex, Arc<Membership>) {
        let mut places: BTreeSet<_> = self.memberships.places().collect();
        if !self.planted(Planted::PromisedMembersIgnored) {
            places.extend(phase1.memberships());
        }
        for index in places.into_iter().rev().take_while(|index| *index > self.commit) {
            let best = self.best(&phase1.found, index).map(|(_, entry)| entry.payload);
            if let Some(Payload::Membership(membership)) = best {
                return (index, self.decides(&membership));
            }
        }
        (LogIndex(0), self.decides(self.memberships.base()))
    }

    /// A candidate's own promise counts like any other: when it is on disk.
    pub(super) fn lead_if_promised(&mut self, out: &mut Vec<Output>) {
        let State::Candidate(phase1) = &self.state else { return };
        let own =
            self.durability.is_promise_durable() || self.planted(Planted::PromiseBeforeDurable);
        if !own {
            return;
        }
        let (index, electing) = self.electing(phase1);
        let id = self.config.id;
        if self.may_elect(&electing, |voter| voter == id || phase1.has_promised(voter)) {
            self.lead(index, out);
        }
    }

    /// Becomes leader, and proposes for all slots that it is not sure of. All is chosen before `members`, where
    /// the membership stands that has elected it.
    fn lead(&mut self, members: LogIndex, out: &mut Vec<Output>) {
        let State::Candidate(phase1) = &mut self.state else { return };
        let heard_end = phase1.end();
        let mut found = std::mem::take(&mut phase1.found);
        let chosen = phase1.chosen;
        if self.planted(Planted::OwnValuesOnly) {
            found.clear();
        }
        let ballot = self.promised();
        assert!(ballot.proposer == self.id().0, "a leader leads its own ballot");
        let end = self.slots.last().max(heard_end);
        let mut entries = self.choose(&found, members.prev(), end);
        let start = Position { index: end.next(), epoch: ballot };
        entries.push(Entry { position: start, payload: Payload::Noop });
        let chosen = chosen.min(end).max(members.prev()).max(self.commit);
        self.leader = Some(self.id());
        let changed = self.put(stamped(ballot, entries, chosen, true));
        assert!(
            self.memberships.latest_index() == members
                || self.planted(Planted::PromisedMembersIgnored),
            "a leader counts by the membership that has elected it"
        );
        let uncommitted = self.slots.bytes_between(self.commit, self.slots.last());
        self.state = State::Leader(Leader::new(self, chosen, start.index, uncommitted));
        self.members_changed(out);
        self.commit_to(chosen, out);
        self.send_to_all(out);
        self.persist(changed, out);
    }

    /// What this replica would have accepted under a ballot of its own, as the disk has it, if it were the only
    /// acceptor and then proposed `last`: phase 1 by itself. What the image covers nobody need know.
    pub(crate) fn decide_alone(
        &mut self,
        last: Payload,
        out: &mut Vec<Output>,
    ) -> (Epoch, Vec<Entry>) {
        if self.sure < self.commit {
            self.rest_on_image(out);
        }
        // The image may know of leaders that this acceptor never promised anything.
        let round = self.promised().max(self.newest).round + 1;
        let ballot = Epoch { round, proposer: self.id().0 };
        let end = self.slots.last();
        let mut entries = self.choose(&BTreeMap::new(), LogIndex(0), end);
        let position = Position { index: end.next(), epoch: ballot };
        entries.push(Entry { position, payload: last });
        (ballot, stamped(ballot, entries, self.sure, false))
    }

    /// What to propose for the slots after `sure`, up to `end`. Those up to `chosen` are known to be so, besides
    /// those that were handed out.
    fn choose(
        &self,
        found: &BTreeMap<LogIndex, Acceptance>,
        chosen: LogIndex,
        end: LogIndex,
    ) -> Vec<Entry> {
        let mut newest = self.newest;
        let mut entries = Vec::new();
        let mut index = self.sure;
        while index < end {
            index = index.next();
            let best = self.best(found, index);
            let is_chosen = index <= self.commit.max(chosen);
            assert!(!is_chosen || best.is_some(), "what was chosen at {index} is lost");
            let revives = self.planted(Planted::RevivesTheDead);
            let best = best.filter(|(ballot, _)| is_chosen || revives || *ballot >= newest);
            entries.push(match best {
                Some((_, entry)) => {
                    newest = newest.max(entry.position.epoch);
                    entry
                }
                None => nothing(index, newest),
            });
        }
        entries
    }

    /// The proposal of the highest ballot that we have heard of or have accepted ourselves.
    fn best(
        &self,
        found: &BTreeMap<LogIndex, Acceptance>,
        index: LogIndex,
    ) -> Option<(Epoch, Entry)> {
        let own = self.slots.get(index).map(|(stamp, payload)| {
            let position = Position { index, epoch: stamp.origin };
            (stamp.ballot, Entry { position, payload: payload.clone() })
        });
        let heard = found.get(&index).map(|known| (known.ballot, known.entry.clone()));
        match (own, heard) {
            (Some(own), Some(heard)) => {
                let prefer_own = self.planted(Planted::FirstValueHeard) || own.0 >= heard.0;
                Some(if prefer_own { own } else { heard })
            }
            (own, heard) => own.or(heard),
        }
    }
}

/// Fills a slot in which nothing can have been chosen, after values whose newest origin is this.
fn nothing(index: LogIndex, newest: Epoch) -> Entry {
    let epoch = Epoch { round: newest.round, proposer: 0 };
    Entry { position: Position { index, epoch }, payload: Payload::Noop }
}
