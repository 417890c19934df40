//! How far one follower is, as its leader sees it: what its log has too much, and then what it lacks.
//!
//! ```text
//!              has answered NewEpoch           its end is in our log
//!   absent ──────┬──────────────────► sending: DIFF, then each proposal; or SNAP
//!                │                       ▲
//!                └──────► truncating ────┘ has cut back what we do not hold
//! ```
//!
//! A follower says where its log ends. If our log holds that entry, so it holds all before it, and what
//! follows is sent. If not, the follower has an uncommitted entry of an earlier epoch too many: TRUNC names
//! our highest entry that may be in its log, it cuts back to the highest of its own that is no further,
//! and says where it ends now. Each time it loses an epoch at least, so it comes to an end.
//!
//! # Invariants
//!
//! * A follower is sent nothing before it has accepted our epoch.
//! * What it has acknowledged is never cut: a late word about a shorter log is not believed.
//!
//! # Reference
//!
//! Medeiros §4.3 (`Leader` chooses between DIFF, TRUNC and SNAP). There TRUNC is one step, to an entry that
//! the follower may not have; ours is repeated until the end is common.

use std::sync::Arc;
use std::time::Duration;

use crate::common::link::Link;
use crate::common::progress::{Dialect, Progress, View};
use crate::{Entry, LogIndex, Membership, Output, Position, Time};

use super::message::{Message, Propose, Truncate};

#[derive(Clone, Hash)]
pub(super) struct Peer {
    pub(super) progress: Progress,
    stage: Stage,
}

#[derive(Clone, Copy, Hash)]
enum Stage {
    /// It has not accepted our epoch, as far as we know.
    Absent,
    /// Its log ended at `from`, which ours does not hold: it was told to cut it back to `to`.
    Truncating { from: Position, to: Position },
    /// It is sent what it lacks.
    Sending,
}

impl Peer {
    pub(super) fn new(progress: Progress) -> Self {
        Self { progress, stage: Stage::Absent }
    }

    pub(super) fn state_name(&self) -> &'static str {
        match self.stage {
            Stage::Absent => "absent",
            Stage::Truncating { .. } => "truncate",
            Stage::Sending => self.progress.state_name(),
        }
    }

    /// Whether nothing shows that it knows of us.
    pub(super) fn is_silent(&self, now: Time, timeout: Duration) -> bool {
        matches!(self.stage, Stage::Absent) || now.since(self.progress.heard) >= timeout
    }

    /// It has accepted our epoch, and its log ends at `last`. `doubt` is the nonce of its doubt, or 0.
    pub(super) fn joins(
        &mut self,
        last: Position,
        doubt: u64,
        view: &View<'_>,
        out: &mut Vec<Output>,
    ) {
        if doubt != 0 && self.progress.link.nonce != doubt {
            self.progress.in_doubt(doubt, view.log.last().index);
        }
        self.synchronise(last, view, out);
    }

    /// It can't put what followed `prev` behind its log, which ends at `last`; or it has cut it back.
    pub(super) fn ends(
        &mut self,
        prev: LogIndex,
        last: Position,
        view: &View<'_>,
        out: &mut Vec<Output>,
    ) {
        let tells_something_new = match self.stage {
            Stage::Absent => true,
            Stage::Truncating { from, .. } => last != from,
            Stage::Sending => {
                self.progress.awaits_snapshot() || self.progress.learns_from_refusal(prev)
            }
        };
        if tells_something_new {
            self.synchronise(last, view, out);
        }
    }

    /// Its disk has lost what it acknowledged.
    pub(super) fn in_doubt(
        &mut self,
        nonce: u64,
        last: Position,
        view: &View<'_>,
        out: &mut Vec<Output>,
    ) {
        self.progress.in_doubt(nonce, view.log.last().index);
        self.synchronise(last, view, out);
    }

    /// Chooses between DIFF, TRUNC and SNAP for a follower whose log ends at `last`, and begins.
    fn synchronise(&mut self, last: Position, view: &View<'_>, out: &mut Vec<Output>) {
        let matched = self.progress.matched();
        if last.index < matched {
            return;
        }
        if view.log.holds(last) {
            self.stage = Stage::Sending;
            self.progress.probe_from(last.index.next());
            self.progress.send(view, out);
        } else if let Some(to) = view.log.newest_before(last.index, last.epoch) {
            self.stage = Stage::Truncating { from: last, to };
            self.progress.probe_from(matched.next());
            self.send_truncate(last, to, view, out);
        } else {
            // It needs what came before our log: a probe there finds that out.
            self.stage = Stage::Sending;
            self.progress.probe_from(view.log.base().index.max(matched.next()));
            self.progress.send(view, out);
        }
    }

    /// Sends what the window allows.
    pub(super) fn send(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        match self.stage {
            Stage::Absent | Stage::Truncating { .. } => {}
            Stage::Sending => self.progress.send(view, out),
        }
    }

    /// Makes the leader heard, and finds out what was lost.
    pub(super) fn beat(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        match self.stage {
            Stage::Absent => {}
            Stage::Truncating { from, to } => self.send_truncate(from, to, view, out),
            Stage::Sending => self.progress.beat(view, out),
        }
    }

    /// Sends something small that wants an answer.
    pub(super) fn ask(&mut self, view: &View<'_>, out: &mut Vec<Output>) {
        match self.stage {
            Stage::Absent => {}
            Stage::Truncating { from, to } => self.send_truncate(from, to, view, out),
            Stage::Sending => self.progress.ask(view, out),
        }
    }

    fn send_truncate(&self, from: Position, to: Position, view: &View<'_>, out: &mut Vec<Output>) {
        let truncate = Truncate {
            epoch: view.epoch,
            from,
            to,
            round: view.round,
            last: view.log.last().index,
            link: self.progress.link,
        };
        super::send(self.progress.peer(), Message::Truncate(truncate), out);
    }
}

/// What a leader says, in Zab's words.
pub(super) struct Words;

impl Dialect for Words {
    fn entries(
        &self,
        view: &View<'_>,
        prev: Position,
        entries: Vec<Entry>,
        link: Link,
    ) -> crate::Message {
        crate::Message::Zab(Message::Propose(Propose {
            epoch: view.epoch,
            prev,
            entries,
            commit: view.commit,
            round: view.round,
            last: view.log.last().index,
            link,
        }))
    }

    fn snapshot(
        &self,
        view: &View<'_>,
        link: Link,
        skip: Option<Arc<Membership>>,
    ) -> crate::Message {
        crate::Message::Zab(Message::Snapshot {
            epoch: view.epoch,
            position: view.log.base(),
            round: view.round,
            last: view.log.last().index,
            link,
            skip,
        })
    }

    fn committed(&self, view: &View<'_>, position: Position) -> crate::Message {
        crate::Message::Zab(Message::Commit { epoch: view.epoch, position })
    }
}
