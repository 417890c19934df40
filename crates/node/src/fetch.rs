//! Fetching a snapshot: this replica has fallen behind its leader's log.
//!
//! ```text
//! Asking(0) ─chunk─► Staging(0) ─staged─► Asking(1) ─► … ─► Staging(last) ─► Ingesting ─► done
//! ```
//!
//! Until `Ingesting` nothing of the replica's state is touched, and the fetch can be given up.

use std::time::Duration;

use consensus::{Position, Time};
use wire::NodeId;

/// Requests for one chunk before the fetch is given up.
const TRIES: u32 = 5;

/// Where a fetch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A chunk was asked for.
    Asking,
    /// The chunk is being written down.
    Staging {
        /// It was the last one.
        last: bool,
    },
    /// The state is being replaced.
    Ingesting,
}

/// One fetch.
#[derive(Debug)]
pub(crate) struct Fetch {
    /// From whom.
    pub(crate) from: NodeId,
    /// Its name; never used twice by this node.
    pub(crate) id: u64,
    /// How far the snapshot must reach.
    pub(crate) at_least: Position,
    /// The chunk that is next or under way.
    pub(crate) sequence: u64,
    /// Where it is.
    pub(crate) stage: Stage,
    /// How far the snapshot reaches, as its first chunk said.
    pub(crate) applied: Option<Position>,
    deadline: Time,
    tries: u32,
}

/// What to do when time has passed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// Nothing.
    No,
    /// Ask for the same chunk again.
    Again,
    /// Give up.
    GiveUp,
}

impl Fetch {
    pub(crate) fn new(from: NodeId, id: u64, at_least: Position, deadline: Time) -> Self {
        let stage = Stage::Asking;
        Self { from, id, at_least, sequence: 0, stage, applied: None, deadline, tries: 0 }
    }

    /// The chunk under way is written down; the next one is to be asked for.
    pub(crate) fn advance(&mut self, deadline: Time) {
        self.sequence += 1;
        self.stage = Stage::Asking;
        self.deadline = deadline;
        self.tries = 0;
    }

    /// Whether this chunk is the one that was asked for.
    pub(crate) fn wants(&self, fetch: u64, sequence: u64, applied: Position) -> bool {
        self.id == fetch
            && self.sequence == sequence
            && self.stage == Stage::Asking
            && self.applied.is_none_or(|known| known == applied)
    }

    /// What to do at `now`.
    pub(crate) fn late(&mut self, now: Time, wait: Duration) -> Late {
        if self.stage != Stage::Asking || now < self.deadline {
            return Late::No;
        }
        self.tries += 1;
        self.deadline = now + wait;
        if self.tries >= TRIES { Late::GiveUp } else { Late::Again }
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Option<Time> {
        (self.stage == Stage::Asking).then_some(self.deadline)
    }
}
