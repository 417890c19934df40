//! Reads that wait: for consensus to allow them, for their log index to be applied, or for a
//! session's revision to arrive.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::{LogIndex, ReadId, Time};
use wire::{AuthQuestion, Hidden, MemberChange, Principal, Query, Revision};

use crate::Ticket;

/// A read that nobody has served yet.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Whom to answer.
    pub(crate) ticket: Ticket,
    /// Who asks.
    pub(crate) principal: Option<Principal>,
    /// What it wants.
    pub(crate) wanted: Wanted,
}

/// What a read wants once it is allowed.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A page of keys.
    Page(Query),
    /// To keep a lease alive: the round of confirmation shows that this node still led afterwards.
    KeepAlive(u64),
    /// How a lease is, and what hangs on it, perhaps.
    Lease { lease: u64, keys: bool },
    /// Which leases there are.
    Leases,
    /// Who belongs to the cluster.
    Members,
    /// Other members.
    ChangeMembers(MemberChange),
    /// Who may do what.
    Auth(AuthQuestion),
    /// To have a password compared.
    Authenticate { user: String, password: Hidden },
    /// To be done, as this command: here it seemed that it may not be, but what is known here may lag.
    Command(Bytes),
}

/// All reads of one group that wait.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    fresh: Vec<ReadId>,
    asked: BTreeMap<ReadId, Waiting>,
    allowed: BTreeMap<LogIndex, Vec<Waiting>>,
    sessions: BTreeMap<Ticket, Session>,
    by_revision: BTreeSet<(Revision, Ticket)>,
    deadlines: BTreeSet<(Time, Ticket)>,
    last: u64,
}

/// A session read that waits for a revision.
#[derive(Debug)]
struct Session {
    revision: Revision,
    deadline: Time,
    principal: Option<Principal>,
    query: Query,
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
    pub(crate) fn await_revision(
        &mut self,
        revision: Revision,
        deadline: Time,
        ticket: Ticket,
        (principal, query): (Option<Principal>, Query),
    ) {
        self.by_revision.insert((revision, ticket));
        self.deadlines.insert((deadline, ticket));
        self.sessions.insert(ticket, Session { revision, deadline, principal, query });
    }

    /// Session reads whose revision has come.
    pub(crate) fn arrived(&mut self, revision: Revision) -> Vec<Waiting> {
        let mut arrived = Vec::new();
        while let Some(&(first, ticket)) = self.by_revision.first()
            && first <= revision
        {
            let session = self.remove_session(ticket);
            arrived.extend(session.map(|Session { principal, query, .. }| Waiting {
                ticket,
                principal,
                wanted: Wanted::Page(query),
            }));
        }
        arrived
    }

    /// Session reads that have waited too long, with what they waited for.
    pub(crate) fn expired(&mut self, now: Time) -> Vec<(Revision, Ticket)> {
        let mut late = Vec::new();
        while let Some(&(deadline, ticket)) = self.deadlines.first()
            && deadline <= now
        {
            let session = self.remove_session(ticket);
            late.extend(session.map(|Session { revision, .. }| (revision, ticket)));
        }
        late
    }

    /// Forgets a session read whose client has gone. Others are served all the same.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        self.remove_session(ticket).is_some()
    }

    /// When the first session read will have waited too long.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Linearizable reads asked for and not yet allowed, for they will not be: leadership is lost.
    pub(crate) fn drain(&mut self) -> Vec<Waiting> {
        self.fresh.clear();
        std::mem::take(&mut self.asked).into_values().collect()
    }

    fn remove_session(&mut self, ticket: Ticket) -> Option<Session> {
        let session = self.sessions.remove(&ticket)?;
        self.by_revision.remove(&(session.revision, ticket));
        self.deadlines.remove(&(session.deadline, ticket));
        Some(session)
    }
}
