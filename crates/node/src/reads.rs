//! Reads that wait: for consensus to allow them, for their log index to be applied, or for a
//! session's revision to arrive.

use std::collections::BTreeMap;

use consensus::{LogIndex, ReadId, Time};
use wire::{Query, Revision};

use crate::Ticket;

/// A read that nobody has served yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Whom to answer.
    pub(crate) ticket: Ticket,
    /// What to read.
    pub(crate) query: Query,
}

/// All reads of one group that wait.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    fresh: Vec<ReadId>,
    asked: BTreeMap<ReadId, Waiting>,
    allowed: BTreeMap<LogIndex, Vec<Waiting>>,
    sessions: BTreeMap<(Revision, Ticket), (Time, Query)>,
    last: u64,
}

impl Reads {
    /// A linearizable read, to be asked for when the node settles.
    pub(crate) fn add(&mut self, waiting: Waiting) {
        self.last += 1;
        let read = ReadId(self.last);
        self.fresh.push(read);
        self.asked.insert(read, waiting);
    }

    /// What came in since the last call.
    pub(crate) fn take_fresh(&mut self) -> Vec<ReadId> {
        std::mem::take(&mut self.fresh)
    }

    /// Consensus allows these once `at` is applied.
    pub(crate) fn allow(&mut self, reads: &[ReadId], at: LogIndex) {
        let reads = reads.iter().filter_map(|read| self.asked.remove(read));
        self.allowed.entry(at).or_default().extend(reads);
    }

    /// Consensus does not allow this one.
    pub(crate) fn refused(&mut self, read: ReadId) -> Option<Waiting> {
        self.asked.remove(&read)
    }

    /// Those that can be served from what is applied.
    pub(crate) fn ready(&mut self, applied: LogIndex) -> Vec<Waiting> {
        if self.allowed.first_key_value().is_none_or(|(at, _)| *at > applied) {
            return Vec::new();
        }
        let later = self.allowed.split_off(&applied.next());
        std::mem::replace(&mut self.allowed, later).into_values().flatten().collect()
    }

    /// A session read that waits for `revision` until `deadline`.
    pub(crate) fn await_revision(&mut self, revision: Revision, deadline: Time, read: Waiting) {
        self.sessions.insert((revision, read.ticket), (deadline, read.query));
    }

    /// Session reads whose revision has come.
    pub(crate) fn arrived(&mut self, revision: Revision) -> Vec<Waiting> {
        let mut arrived = Vec::new();
        while let Some(first) = self.sessions.first_entry()
            && first.key().0 <= revision
        {
            let ((_, ticket), (_, query)) = first.remove_entry();
            arrived.push(Waiting { ticket, query });
        }
        arrived
    }

    /// Session reads that have waited too long, with what they waited for.
    pub(crate) fn expired(&mut self, now: Time) -> Vec<(Revision, Ticket)> {
        let late = self.sessions.iter().filter(|(_, (deadline, _))| *deadline <= now);
        let late: Vec<_> = late.map(|(key, _)| *key).collect();
        for key in &late {
            self.sessions.remove(key);
        }
        late
    }

    /// Forgets a session read whose client has gone. Others are served all the same.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        let before = self.sessions.len();
        self.sessions.retain(|(_, waiting), _| *waiting != ticket);
        before != self.sessions.len()
    }

    /// When the first session read will have waited too long.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.sessions.values().map(|(deadline, _)| *deadline).min()
    }

    /// Linearizable reads asked for and not yet allowed, for they will not be: leadership is lost.
    pub(crate) fn drain(&mut self) -> Vec<Waiting> {
        self.fresh.clear();
        std::mem::take(&mut self.asked).into_values().collect()
    }
}
