//! How far one follower is, as its leader sees it, and what may be sent to it next.
//!
//! ```text
//!            accepted                      its entries were compacted
//!   probe ─────────────► replicate      any ──────────────────────────► snapshot
//!     ▲                      │                                              │
//!     └── rejected, hung up ─┘            accepted at the base or beyond ───┴──► probe
//! ```
//!
//! While probing we look for the place where the logs agree: one Append per answer or heartbeat.
//! While replicating we send ahead of the answers, within a window of Appends and of bytes.
//!
//! # Invariants
//!
//! * `matched < next`. `matched` falls only when a follower says that it is in doubt.
//! * What is sent is in the leader's log; a reply of an older session counts for nothing.
//!
//! # Reference
//!
//! Raft §5.3. The hint that skips a whole term per rejection is a variant of the one sketched at
//! the end of §5.3: follower and leader both skip entries that cannot match by their terms.

use crate::common::inflight::Inflight;
use crate::common::log::{Log, size_bytes};
use crate::{Config, Epoch, LogIndex, Output, Position, ReplicaId, Time};

use super::message::{Append, Link, Message};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Looking for the last entry in common.
    Probe(Probe),
    /// Sending ahead of the answers.
    Replicate,
    /// It needs entries that we no longer have.
    Snapshot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    Ready,
    /// An Append is out: wait for its answer or the next heartbeat.
    Waiting,
}

/// What a leader makes its messages from.
pub(super) struct View<'a> {
    pub(super) now: Time,
    pub(super) term: Epoch,
    pub(super) log: &'a Log,
    pub(super) commit: LogIndex,
    pub(super) round: u64,
    pub(super) config: &'a Config,
}

#[derive(Debug)]
pub(super) struct Progress {
    peer: ReplicaId,
    matched: LogIndex,
    next: LogIndex,
    state: State,
    inflight: Inflight,
    /// The highest commit index that it has been sent.
    commit_sent: LogIndex,
    /// The last read round that it has confirmed.
    pub(super) round: u64,
    /// When it last answered.
    pub(super) heard: Time,
    pub(super) link: Link,
}

impl Progress {
    pub(super) fn new(peer: ReplicaId, last: LogIndex, now: Time) -> Self {
        Self {
            peer,
            matched: LogIndex(0),
            next: last.next(),
            state: State::Probe(Probe::Ready),
            inflight: Inflight::default(),
            commit_sent: LogIndex(0),
            round: 0,
            heard: now,
            link: Link::default(),
        }
    }

    pub(super) fn matched(&self) -> LogIndex {
        self.matched
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

    /// Sends what the state and the window allow.
    pub(super) fn send(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
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
    pub(super) fn beat(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
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
    pub(super) fn ask(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        if self.state == State::Snapshot || self.next.prev() < view.log.base().index {
            self.send_snapshot(view, out);
        } else {
            self.send_append(Vec::new(), view, out);
        }
    }

    /// Tells an idle follower what is committed; a busy one learns it from the next Append.
    pub(super) fn push_commit(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        let Some(position) = self.awaits_commit(view) else { return };
        self.commit_sent = position.index;
        out.push(send(self.peer, Message::Commit { term: view.term, position }));
    }

    /// What it has, is committed, and it has not been told of, if no answer of it is awaited.
    pub(super) fn awaits_commit(&self, view: &View<'_>) -> Option<Position> {
        let index = view.commit.min(self.matched);
        let is_idle = self.state == State::Replicate && self.inflight.is_empty();
        if !is_idle || index <= self.commit_sent {
            return None;
        }
        Some(Position { index, epoch: view.log.epoch_at(index)? })
    }

    /// Its log equals ours up to `matched`, on its disk.
    pub(super) fn accepted(&mut self, matched: LogIndex, log: &Log) {
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

    /// It does not hold our entry at `prev`; nothing after `hint` can match.
    pub(super) fn rejected(&mut self, prev: LogIndex, hint: Position, log: &Log) {
        let stale = match self.state {
            State::Probe(_) => prev != self.next.prev(),
            State::Replicate => prev >= self.next,
            State::Snapshot => true,
        };
        if stale || prev <= self.matched {
            return;
        }
        let common = log.newest_before(hint.index.min(prev.prev()), hint.epoch);
        // Without one in our log, it needs what came before it: a probe there finds the base.
        let common = common.map_or(log.base().index.prev(), |position| position.index);
        self.probe_from(common.max(self.matched).next());
    }

    /// The transport lost it. What was on its way may never arrive.
    pub(super) fn hung_up(&mut self) {
        if self.state == State::Replicate {
            self.probe_from(self.matched.next());
            self.state = State::Probe(Probe::Waiting);
        }
    }

    /// Its disk has lost what it acknowledged: begin anew, deaf to what it said before.
    pub(super) fn in_doubt(&mut self, nonce: u64, last: LogIndex) {
        self.link = Link { session: self.link.session + 1, nonce };
        self.matched = LogIndex(0);
        self.commit_sent = LogIndex(0);
        self.probe_from(last.next());
    }

    fn probe_from(&mut self, next: LogIndex) {
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

    /// Sends one Append from `next` on, with as much as fits. Tells its end and its bytes, or
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
        let end = self.send_append(entries, view, out);
        Some((end, bytes))
    }

    fn send_append(
        &mut self,
        entries: Vec<crate::Entry>,
        view: &View<'_>,
        out: &mut Vec<Output>,
    ) -> LogIndex {
        let index = self.next.prev();
        let epoch = view.log.epoch_at(index).expect("what precedes `next` is in the log");
        let append = Append {
            term: view.term,
            prev: Position { index, epoch },
            entries,
            commit: view.commit,
            round: view.round,
            last: view.log.last().index,
            link: self.link,
        };
        let end = append.end();
        self.commit_sent = self.commit_sent.max(view.commit.min(end));
        out.push(send(self.peer, Message::Append(append)));
        end
    }

    fn send_snapshot(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        self.state = State::Snapshot;
        self.inflight = Inflight::default();
        let message = Message::Snapshot {
            term: view.term,
            position: view.log.base(),
            round: view.round,
            last: view.log.last().index,
            link: self.link,
        };
        out.push(send(self.peer, message));
    }
}

fn send(to: ReplicaId, message: Message) -> Output {
    Output::Send { to, message: crate::Message::Raft(message) }
}
