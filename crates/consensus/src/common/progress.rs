//! How far one follower is, as its leader sees it, and what may be sent to it next.
//!
//! ```text
//!            accepted                      its entries were compacted
//!   probe ─────────────► replicate      any ──────────────────────────► snapshot
//!     ▲                      │                                              │
//!     └── rejected, hung up ─┘            accepted at the base or beyond ───┴──► probe
//! ```
//!
//! While probing we look for the place where the logs agree: one message per answer or heartbeat.
//! While replicating we send ahead of the answers, within a window of messages and of bytes.
//!
//! # Invariants
//!
//! * `matched < next`. `matched` falls only when a follower says that it is in doubt.
//! * What is sent is in the leader's log; a reply of an older session counts for nothing.
//!
//! What the messages are called, and how the place where the logs agree is found, is the protocol's.

use std::sync::Arc;
use std::time::Duration;

use crate::{
    Config, Entry, Epoch, LogIndex, Membership, Message, Output, PeerProgress, Position, ReplicaId,
    Time,
};

use super::inflight::Inflight;
use super::link::Link;
use super::log::{Log, size_bytes};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Looking for the last entry in common.
    Probe(Probe),
    /// Sending ahead of the answers.
    Replicate,
    /// It needs entries that we no longer have.
    Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Probe {
    Ready,
    /// A message is out: wait for its answer or the next heartbeat.
    Waiting,
}

/// What a leader makes its messages from.
pub(crate) struct View<'a> {
    pub(crate) now: Time,
    pub(crate) epoch: Epoch,
    pub(crate) log: &'a Log,
    pub(crate) commit: LogIndex,
    pub(crate) round: u64,
    pub(crate) config: &'a Config,
    pub(crate) dialect: &'a dyn Dialect,
}

/// How a protocol words what every leader has to say.
pub(crate) trait Dialect {
    /// These entries follow `prev`; without any, a heartbeat.
    fn entries(&self, view: &View<'_>, prev: Position, entries: Vec<Entry>, link: Link) -> Message;

    /// What you need is gone from my log: fetch a snapshot.
    /// A witness is told what is in force there instead.
    fn snapshot(&self, view: &View<'_>, link: Link, skip: Option<Arc<Membership>>) -> Message;

    /// This is committed, and you hold it.
    fn committed(&self, view: &View<'_>, position: Position) -> Message;
}

#[derive(Clone, Debug, Hash)]
pub(crate) struct Progress {
    peer: ReplicaId,
    matched: LogIndex,
    next: LogIndex,
    state: State,
    inflight: Inflight,
    /// The highest commit index that it has been sent.
    commit_sent: LogIndex,
    /// The last read round that it has confirmed.
    pub(crate) round: u64,
    /// Until when it has promised us to elect nobody else, by our clock: see `common::lease`.
    pub(crate) granted_until: Time,
    /// When it last answered.
    pub(crate) heard: Time,
    pub(crate) link: Link,
}

impl Progress {
    pub(crate) fn new(peer: ReplicaId, last: LogIndex, now: Time) -> Self {
        Self {
            peer,
            matched: LogIndex(0),
            next: last.next(),
            state: State::Probe(Probe::Ready),
            inflight: Inflight::default(),
            commit_sent: LogIndex(0),
            round: 0,
            granted_until: Time::default(),
            heard: now,
            link: Link::default(),
        }
    }

    pub(crate) fn peer(&self) -> ReplicaId {
        self.peer
    }

    pub(crate) fn matched(&self) -> LogIndex {
        self.matched
    }

    pub(crate) fn awaits_snapshot(&self) -> bool {
        self.state == State::Snapshot
    }

    /// A view for operators, in which the state has this name.
    pub(crate) fn describe(
        &self,
        state: &'static str,
        now: Time,
        timeout: Duration,
    ) -> PeerProgress {
        PeerProgress {
            peer: self.peer,
            matched: self.matched,
            next: self.next,
            state,
            active: now.since(self.heard) < timeout,
        }
    }

    pub(crate) fn state_name(&self) -> &'static str {
        match self.state {
            State::Probe(_) => "probe",
            State::Replicate => "replicate",
            State::Snapshot => "snapshot",
        }
    }

    /// Sends what the state and the window allow.
    pub(crate) fn send(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        match self.state {
            State::Probe(Probe::Ready) => {
                let sent = self.send_entries(view, out);
                if sent.is_some() {
                    self.state = State::Probe(Probe::Waiting);
                }
            }
            State::Replicate => self.stream(view, out),
            State::Probe(Probe::Waiting) | State::Snapshot => {}
        }
    }

    /// Makes the leader heard, and finds out what was lost.
    pub(crate) fn beat(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        match self.state {
            State::Probe(_) if view.now.since(self.heard) >= view.config.election_timeout => {
                // It is probably gone: do not send it the same entries again and again.
                self.state = State::Probe(Probe::Waiting);
                self.ask(view, out);
            }
            State::Probe(_) => {
                self.state = State::Probe(Probe::Ready);
                self.send(view, out);
            }
            // It starts after all that was sent: if any of that was lost, it is rejected.
            State::Replicate | State::Snapshot => self.ask(view, out),
        }
    }

    /// Sends something small that wants an answer.
    pub(crate) fn ask(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        if self.state == State::Snapshot || self.next.prev() < view.log.base().index {
            self.send_snapshot(view, out);
        } else {
            self.send_after(Vec::new(), view, out);
        }
    }

    /// Tells an idle follower what is committed; a busy one learns it from its next entries.
    pub(crate) fn push_commit(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        let Some(position) = self.awaits_commit(view) else { return };
        self.commit_sent = position.index;
        self.say(view.dialect.committed(view, position), out);
    }

    /// What it has, is committed, and it has not been told of, if no answer of it is awaited.
    pub(crate) fn awaits_commit(&self, view: &View<'_>) -> Option<Position> {
        let index = view.commit.min(self.matched);
        let is_idle = self.state == State::Replicate && self.inflight.is_empty();
        if !is_idle || index <= self.commit_sent {
            return None;
        }
        Some(Position { index, epoch: view.log.epoch_at(index)? })
    }

    /// Its log equals ours up to `matched`, on its disk.
    pub(crate) fn accepted(&mut self, matched: LogIndex, log: &Log) {
        assert!(matched <= log.last().index, "a match is within the leader's log");
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        match self.state {
            State::Probe(_) => self.state = State::Replicate,
            State::Replicate => self.inflight.answered(matched),
            State::Snapshot if self.matched >= log.base().index => {
                self.probe_from(self.matched.next());
            }
            State::Snapshot => {}
        }
    }

    /// Whether a refusal of what followed `prev` tells something new: later ones of the same window
    /// do not.
    pub(crate) fn learns_from_refusal(&self, prev: LogIndex) -> bool {
        match self.state {
            State::Probe(_) => prev == self.next.prev(),
            State::Replicate => prev < self.next,
            State::Snapshot => false,
        }
    }

    /// The transport lost it. What was on its way may never arrive.
    pub(crate) fn hung_up(&mut self) {
        if self.state == State::Replicate {
            self.probe_from(self.matched.next());
            self.state = State::Probe(Probe::Waiting);
        }
    }

    /// Its disk has lost what it acknowledged: begin anew, deaf to what it said before.
    pub(crate) fn in_doubt(&mut self, nonce: u64, last: LogIndex) {
        self.link = Link { session: self.link.session + 1, nonce };
        self.matched = LogIndex(0);
        self.commit_sent = LogIndex(0);
        self.probe_from(last.next());
    }

    /// Looks for the place where the logs agree from here on.
    pub(crate) fn probe_from(&mut self, next: LogIndex) {
        assert!(next > self.matched, "what matches is not sent again");
        self.next = next;
        self.inflight = Inflight::default();
        self.state = State::Probe(Probe::Ready);
    }

    fn stream(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        while self.next <= view.log.last().index && self.inflight.has_room(view.config) {
            let Some((end, bytes)) = self.send_entries(view, out) else { return };
            self.inflight.sent(end, bytes);
            self.next = end.next();
        }
    }

    /// Sends one message from `next` on, with as much as fits. Tells its end and its bytes, or
    /// nothing if it had to be a snapshot.
    fn send_entries(
        &mut self,
        view: &View<'_>,
        out: &mut Vec<Output>,
    ) -> Option<(LogIndex, usize)> {
        if self.next.prev() < view.log.base().index {
            self.send_snapshot(view, out);
            return None;
        }
        let entries = view.log.read(self.next, view.config.max_append_bytes);
        let bytes = entries.iter().map(size_bytes).sum();
        let end = self.send_after(entries, view, out);
        Some((end, bytes))
    }

    fn send_after(
        &mut self,
        entries: Vec<Entry>,
        view: &View<'_>,
        out: &mut Vec<Output>,
    ) -> LogIndex {
        let index = self.next.prev();
        let epoch = view.log.epoch_at(index).expect("what precedes `next` is in the log");
        let end = LogIndex(index.0 + entries.len() as u64);
        self.commit_sent = self.commit_sent.max(view.commit.min(end));
        let prev = Position { index, epoch };
        self.say(view.dialect.entries(view, prev, entries, self.link), out);
        end
    }

    fn send_snapshot(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        self.state = State::Snapshot;
        self.inflight = Inflight::default();
        let memberships = view.log.memberships();
        let skip = memberships.is_witness(self.peer).then(|| Arc::clone(memberships.base()));
        self.say(view.dialect.snapshot(view, self.link, skip), out);
    }

    fn say(&self, message: Message, out: &mut Vec<Output>) {
        out.push(Output::Send { to: self.peer, message });
    }
}
