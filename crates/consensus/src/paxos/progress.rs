//! How far one acceptor is, as its leader sees it, and what may be sent to it next.
//!
//! ```text
//!            answered                          what it lacks is no longer held
//!   probe ─────────────► replicate          any ──────────────────────────────► snapshot
//!     ▲                      │                                                     │
//!     └────── hung up ───────┘              it holds the base or more ─────────────┴──► probe
//! ```
//!
//! While probing we send one Accept per answer or heartbeat. While replicating we send ahead of the
//! answers, within a window of Accepts and of bytes. What is lost on the way stays a gap at the
//! acceptor, which takes what comes after it all the same; when it tells so, only the gap is sent
//! again, beside what is new and in a window of its own.
//!
//! # Invariants
//!
//! * `matched < next`. `matched` falls only when an acceptor says that it lacks what it had: it is in
//!   doubt, or was started again and no longer knows that the values of an older ballot were chosen.
//! * What is sent is in the leader's slots; a reply of an older session counts for nothing.
//!
//! # Reference
//!
//! *Paxos Made Simple* §3 (slots proposed ahead, in any order); PMMC §2.3 (commanders, one for each
//! slot: here one run of acknowledgements for each acceptor).

use std::sync::Arc;

use crate::common::inflight::Inflight;
use crate::common::link::Link;
use crate::common::log::size_bytes;
use crate::membership::Memberships;
use crate::{Config, Entry, Epoch, LogIndex, Membership, Output, ReplicaId, Time};

use super::acks::Acks;
use super::message::{Accept, MAX_GAP, Message};
use super::slots::Slots;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Waiting for a sign of life.
    Probe(Probe),
    /// Sending ahead of the answers.
    Replicate,
    /// It needs slots that we no longer have.
    Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Probe {
    Ready,
    /// An Accept is out: wait for its answer or the next heartbeat.
    Waiting,
}

/// What a leader makes its messages from.
pub(super) struct View<'a> {
    pub(super) now: Time,
    pub(super) ballot: Epoch,
    pub(super) slots: &'a Slots,
    pub(super) memberships: &'a Memberships,
    /// That in force where the slots begin.
    pub(super) at_base: &'a Arc<Membership>,
    pub(super) commit: LogIndex,
    pub(super) round: u64,
    pub(super) config: &'a Config,
}

/// What is being sent again.
#[derive(Clone, Debug, Default, Hash)]
struct Repair {
    /// All that is lacking before this slot has been sent again.
    next: LogIndex,
    /// The first slot that was told to be lacking.
    missing: LogIndex,
    /// All that is not acknowledged before this slot is lacking.
    before: LogIndex,
    inflight: Inflight,
    /// What was acknowledged at the last heartbeat; without progress since, the repair was lost too.
    matched: LogIndex,
}

#[derive(Clone, Debug, Hash)]
pub(super) struct Progress {
    peer: ReplicaId,
    acks: Acks,
    next: LogIndex,
    state: State,
    inflight: Inflight,
    repair: Repair,
    /// The highest commit index that it has been sent.
    commit_sent: LogIndex,
    /// The last read round that it has confirmed.
    pub(super) round: u64,
    /// Until when it has promised us to elect nobody else, by our clock: see `common::lease`.
    pub(super) granted_until: Time,
    /// When it last answered.
    pub(super) heard: Time,
    pub(super) link: Link,
}

impl Progress {
    /// Of an acceptor that is to be sent the slots from `next` on.
    pub(super) fn new(peer: ReplicaId, next: LogIndex, now: Time) -> Self {
        Self {
            peer,
            acks: Acks::default(),
            next,
            state: State::Probe(Probe::Ready),
            inflight: Inflight::default(),
            repair: Repair::default(),
            commit_sent: LogIndex(0),
            round: 0,
            granted_until: Time::default(),
            heard: now,
            link: Link::default(),
        }
    }

    pub(super) fn matched(&self) -> LogIndex {
        self.acks.matched()
    }

    /// The last of the slots that follow `after` and that it holds without a gap.
    pub(super) fn reach(&self, after: LogIndex) -> LogIndex {
        self.acks.reach(after)
    }

    /// Whether it holds slots beyond a gap.
    pub(super) fn has_runs(&self) -> bool {
        self.acks.has_runs()
    }

    pub(super) fn next(&self) -> LogIndex {
        self.next
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self.state {
            State::Probe(_) => "probe",
            State::Replicate => "replicate",
            State::Snapshot => "snapshot",
        }
    }

    /// Sends what the state and the windows allow.
    pub(super) fn send(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        match self.state {
            State::Probe(Probe::Ready) => {
                if self.send_slots(self.next, view.slots.last(), view, out).is_some() {
                    self.state = State::Probe(Probe::Waiting);
                }
            }
            State::Replicate => {
                self.send_again(view, out);
                self.stream(view, out);
            }
            State::Probe(Probe::Waiting) | State::Snapshot => {}
        }
    }

    /// Makes the leader heard, and finds out what was lost.
    pub(super) fn beat(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        if self.repair.matched == self.matched() {
            self.repair.next = self.repair.missing;
            self.repair.inflight = Inflight::default();
        }
        self.repair.matched = self.matched();
        match self.state {
            State::Probe(_) if view.now.since(self.heard) >= view.config.election_timeout => {
                // It is probably gone: do not send it the same slots again and again.
                self.state = State::Probe(Probe::Waiting);
                self.ask(view, out);
            }
            State::Probe(_) => {
                self.state = State::Probe(Probe::Ready);
                self.send(view, out);
            }
            // It begins after all that was sent: if any of that was lost, the answer tells.
            State::Replicate | State::Snapshot => self.ask(view, out),
        }
    }

    /// Sends something small that wants an answer.
    pub(super) fn ask(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        if self.state == State::Snapshot {
            self.send_snapshot(view, out);
        } else {
            self.send_accept(self.next, Vec::new(), view, out);
        }
    }

    /// Tells an idle follower what is committed; a busy one learns it from the next Accept.
    pub(super) fn push_commit(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        let Some(index) = self.awaits_commit(view) else { return };
        self.commit_sent = index;
        out.push(send(self.peer, Message::Commit { ballot: view.ballot, index }));
    }

    /// What it has, is committed, and it has not been told of, if no answer of it is awaited.
    pub(super) fn awaits_commit(&self, view: &View<'_>) -> Option<LogIndex> {
        let index = view.commit.min(self.matched());
        let is_idle = self.state == State::Replicate && self.inflight.is_empty();
        (is_idle && index > self.commit_sent).then_some(index)
    }

    /// It holds all slots up to `matched`.
    pub(super) fn accepted(&mut self, matched: LogIndex, view_base: LogIndex) {
        self.acks.through(matched);
        let matched = self.matched();
        self.next = self.next.max(matched.next());
        self.inflight.answered(matched);
        self.repair.inflight.answered(matched);
        match self.state {
            State::Probe(_) => self.state = State::Replicate,
            State::Snapshot if matched >= view_base => self.probe_from(matched.next()),
            State::Replicate | State::Snapshot => {}
        }
    }

    /// It holds all slots up to `matched` and those from `first` through `last`, but lacks some that
    /// were sent before `first`, beginning with `missing`.
    pub(super) fn lacks(
        &mut self,
        matched: LogIndex,
        missing: LogIndex,
        (first, last): (LogIndex, LogIndex),
        view_base: LogIndex,
    ) {
        let is_stale = first > self.next;
        if self.acks.has(missing) && !is_stale {
            self.acks.forget_from(missing);
            self.repair = Repair::default();
        }
        self.acks.run(first, last);
        self.accepted(matched, view_base);
        self.next = self.next.max(last.next());
        if is_stale || self.state != State::Replicate {
            return;
        }
        if first.0 > self.acks.highest().0 + MAX_GAP {
            // It takes nothing so far ahead of what it has: go back.
            self.next = self.matched().next();
            self.inflight = Inflight::default();
            self.repair = Repair::default();
        } else {
            self.repair.before = self.repair.before.max(first);
            self.repair.missing = missing;
            self.repair.next = self.repair.next.max(missing);
        }
    }

    /// The transport lost it. What was on its way may never arrive.
    pub(super) fn hung_up(&mut self) {
        if self.state == State::Replicate {
            self.probe_from(self.matched().next());
            self.state = State::Probe(Probe::Waiting);
        }
    }

    /// Its disk has lost what it acknowledged: begin anew, deaf to what it said before.
    pub(super) fn in_doubt(&mut self, nonce: u64, last: LogIndex) {
        self.link = Link { session: self.link.session + 1, nonce };
        self.acks = Acks::default();
        self.commit_sent = LogIndex(0);
        self.probe_from(last.next());
    }

    fn probe_from(&mut self, next: LogIndex) {
        assert!(next > self.matched(), "what matches is not sent again");
        self.next = next;
        self.inflight = Inflight::default();
        self.repair = Repair::default();
        self.state = State::Probe(Probe::Ready);
    }

    /// Sends what it lacks once more.
    fn send_again(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        while self.repair.before > self.matched() && self.repair.inflight.has_room(view.config) {
            let first = self.acks.reach(self.repair.next.prev().max(self.matched())).next();
            if first >= self.repair.before {
                return;
            }
            let last = self.repair.before.prev();
            let last = self.acks.hole_end(first).map_or(last, |end| end.min(last));
            let Some((end, bytes)) = self.send_slots(first, last, view, out) else { return };
            self.repair.inflight.sent(end, bytes);
            self.repair.next = end.next();
        }
    }

    fn stream(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        let last = view.slots.last();
        while self.state == State::Replicate && self.inflight.has_room(view.config) {
            self.next = self.acks.reach(self.next.prev()).next();
            if self.next > last {
                return;
            }
            let last = self.acks.hole_end(self.next).map_or(last, |end| end.min(last));
            let Some((end, bytes)) = self.send_slots(self.next, last, view, out) else { return };
            self.inflight.sent(end, bytes);
            self.next = end.next();
        }
    }

    /// Sends one Accept with slots from `first` on, up to `last`, as much as fits. Tells its end and
    /// its bytes, or nothing if it had to be a snapshot.
    fn send_slots(
        &mut self,
        first: LogIndex,
        last: LogIndex,
        view: &View<'_>,
        out: &mut Vec<Output>,
    ) -> Option<(LogIndex, usize)> {
        if first <= view.slots.base().index {
            self.send_snapshot(view, out);
            return None;
        }
        let last = last.max(first.prev());
        let entries = view.slots.read(first, last, view.config.max_append_bytes);
        let bytes = entries.iter().map(size_bytes).sum();
        let end = self.send_accept(first, entries, view, out);
        Some((end, bytes))
    }

    fn send_accept(
        &mut self,
        first: LogIndex,
        entries: Vec<Entry>,
        view: &View<'_>,
        out: &mut Vec<Output>,
    ) -> LogIndex {
        let accept = Accept {
            ballot: view.ballot,
            first,
            entries,
            commit: view.commit,
            round: view.round,
            last: view.slots.last(),
            link: self.link,
        };
        let end = accept.end();
        self.commit_sent = self.commit_sent.max(view.commit.min(end));
        out.push(send(self.peer, Message::Accept(accept)));
        end
    }

    fn send_snapshot(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        self.state = State::Snapshot;
        self.inflight = Inflight::default();
        let is_witness = view.memberships.is_witness(self.peer);
        let message = Message::Snapshot {
            ballot: view.ballot,
            base: view.slots.base_told(),
            round: view.round,
            last: view.slots.last(),
            link: self.link,
            skip: is_witness.then(|| Arc::clone(view.at_base)),
        };
        out.push(send(self.peer, message));
    }
}

fn send(to: ReplicaId, message: Message) -> Output {
    Output::Send { to, message: crate::Message::Paxos(message) }
}
