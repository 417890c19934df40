//! Clients' requests to one group: writes, reads, watches, and their waiting.

use bytes::Bytes;
use consensus::{Input, Role, Time};
use std::time::Duration;
use wire::{
    Body, Command, Consistency, NodeId, Principal, Query, Refusal, Reply, Request, RequestId,
    Revision, WatchBatch, check_key,
};

use crate::Ticket;
use crate::group::{Group, replica_of};
use crate::memory::Recall;
use crate::reads::{Waiting, Wanted};
use crate::shared::Shared;
use crate::watches::Watched;

/// The longest that a watch may wait for a change before it is answered with none.
const WATCH_WAIT_LIMIT: Duration = Duration::from_mins(1);

/// While a command has waited for longer than this, no other one is taken in. What comes on top of a
/// queue so old would be answered when its client has given up: then all work is in vain, and a
/// cluster that is overloaded does less than it could, for as long as clients try again. A refusal
/// is prompt, and true. It is a part of the time that our clients wait for one node.
const QUEUE_AGE_LIMIT: Duration = Duration::from_millis(500);

/// A compaction takes away at least an eighth of what is retained, so that it is seldom proposed.
const COMPACTION_STEP: u64 = 8;

impl Group {
    /// A command, as its bytes.
    pub(crate) fn write(&mut self, shared: &mut Shared, now: Time, ticket: Ticket, bytes: Bytes) {
        if let Err(refusal) = self.try_write(shared, now, ticket, bytes) {
            shared.refuse(ticket, refusal);
        }
    }

    fn try_write(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        let tuning = &shared.config.tuning;
        if bytes.len() > tuning.command_limit_bytes {
            return Err(Refusal::TooLarge {
                what: "command".into(),
                size: bytes.len() as u64,
                limit: tuning.command_limit_bytes as u64,
                flag: None,
            });
        }
        let command = Command::decode(bytes.clone())
            .map_err(|error| Refusal::Invalid { what: error.to_string() })?;
        if command.id.client == 0 {
            let what = "client id 0 is the cluster's own; a client draws its id at random".into();
            return Err(Refusal::Invalid { what });
        }
        command.check(tuning.value_limit_bytes)?;
        if matches!(command.body, Body::Expire(_) | Body::Checkpoint { .. }) {
            let what = "only the leader itself counts how long leases have left".to_owned();
            return Err(Refusal::Invalid { what });
        }
        self.must_lead(shared)?;
        // Before its answer is looked up: that may say what this user must not know.
        if self.state.auth.judge(&command, &self.state.leases).is_err() {
            return self.doubt_denial(shared, ticket, bytes);
        }
        self.take_in(shared, now, ticket, &command, bytes)
    }

    /// A command that may not be done, as far as is known here: but a new leader has not applied all
    /// that was acknowledged, and a deposed one never will. So this waits as a linearizable read does,
    /// and is judged again by the state that it then finds.
    fn doubt_denial(
        &mut self,
        shared: &mut Shared,
        ticket: Ticket,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        shared.admit(&bytes)?;
        self.reads.add(Waiting { ticket, principal: None, wanted: Wanted::Command(bytes) });
        Ok(())
    }

    /// A command whose denial was in doubt is judged by a state that holds all that was acknowledged
    /// when it came.
    pub(crate) fn write_again(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        bytes: Bytes,
    ) {
        shared.release_bytes(bytes.len());
        if let Err(refusal) = self.try_write_again(shared, now, ticket, bytes) {
            shared.refuse(ticket, refusal);
        }
    }

    fn try_write_again(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        let command = Command::decode(bytes.clone())
            .map_err(|error| Refusal::Invalid { what: error.to_string() })?;
        self.state.auth.judge(&command, &self.state.leases)?;
        self.must_lead(shared)?;
        self.take_in(shared, now, ticket, &command, bytes)
    }

    /// A command that may be done, as far as is known here.
    fn take_in(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        command: &Command,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        match self.state.recall(command) {
            Recall::New => {}
            Recall::Done(remembered) => {
                let result = remembered
                    .result()
                    .ok_or(Refusal::AnswerForgotten { revision: remembered.revision })?;
                let header = self.header(shared);
                shared.answer(ticket, header, Reply::Written(result));
                return Ok(());
            }
            Recall::Forgotten => return Err(Refusal::Expired { id: command.id.to_string() }),
        }
        if !self.commands.join(command.id, ticket) {
            self.must_be_swift(now)?;
            shared.admit(&bytes)?;
            #[cfg(feature = "planted")]
            if shared.config.planted == Some(crate::config::Planted::AnswerBeforeCommit) {
                return self.answer_too_early(shared, now, ticket, command.id, bytes);
            }
            self.commands.add(command.id, Some(ticket), bytes, now);
        }
        Ok(())
    }

    #[cfg(feature = "planted")]
    #[expect(clippy::unnecessary_wraps, reason = "it stands where a result is returned")]
    fn answer_too_early(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        request: RequestId,
        bytes: Bytes,
    ) -> Result<(), Refusal> {
        let revision = self.state.revision.next();
        let results = vec![wire::OpResult::Put { previous: None }];
        let result = wire::TxnResult { revision, succeeded: true, results };
        let header = self.header(shared);
        shared.answer(ticket, header, Reply::Written(result));
        self.commands.add(request, None, bytes, now);
        Ok(())
    }

    pub(crate) fn must_lead(&self, shared: &Shared) -> Result<(), Refusal> {
        if shared.retiring {
            return Err(Refusal::Unavailable { why: "the node is stopping".into() });
        }
        if self.role != Role::Leader {
            return Err(Refusal::NotLeader { leader: self.leader });
        }
        Ok(())
    }

    fn must_be_swift(&self, now: Time) -> Result<(), Refusal> {
        let oldest = self.commands.oldest();
        if oldest.is_some_and(|since| now.since(since) > QUEUE_AGE_LIMIT) {
            let what = "commands wait for too long already".to_owned();
            return Err(Refusal::Busy { what });
        }
        Ok(())
    }

    pub(crate) fn must_have_state(&self) -> Result<(), Refusal> {
        if self.has_state() {
            return Ok(());
        }
        Err(Refusal::Broken { why: "its state is being fetched from another node".into() })
    }

    /// A read of a range.
    pub(crate) fn read(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        (principal, query): (Option<Principal>, Query),
        consistency: Consistency,
    ) {
        let wanted = (principal, query);
        if let Err(refusal) = self.try_read(shared, now, ticket, wanted, consistency) {
            shared.refuse(ticket, refusal);
        }
    }

    fn try_read(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        (principal, query): (Option<Principal>, Query),
        consistency: Consistency,
    ) -> Result<(), Refusal> {
        if query.range.is_single() {
            check_key(&query.range.start)?;
        }
        self.must_have_state()?;
        #[cfg(feature = "planted")]
        if self.planted == Some(crate::config::Planted::RevokedRightStillRead) {
            self.state.auth.judge_read(principal.as_ref(), &query.range)?;
        }
        match consistency {
            Consistency::Linearizable => {
                self.must_lead(shared)?;
                self.reads.add(Waiting { ticket, principal, wanted: Wanted::Page(query) });
            }
            Consistency::Session(revision) if revision > self.state.revision => {
                let deadline = now + shared.config.tuning.session_wait;
                self.reads.await_revision(revision, deadline, ticket, (principal, query));
            }
            Consistency::Session(_) | Consistency::Eventual => {
                let waiting = Waiting { ticket, principal, wanted: Wanted::Page(query) };
                self.serve(shared, now, waiting);
            }
        }
        Ok(())
    }

    /// A watch: answered at once if there is something to look at, else parked.
    pub(crate) fn watch(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        mut watched: Watched,
        wait_ms: u32,
    ) {
        if let Err(refusal) = self.must_have_state().and_then(|()| self.judge_watch(&watched)) {
            return shared.refuse(ticket, refusal);
        }
        let next = self.state.revision.next();
        let from = if watched.from == Revision(0) { next } else { watched.from };
        #[cfg(feature = "planted")]
        let from = match shared.config.planted {
            Some(crate::config::Planted::WatchSkipsRevision) if from < next => from.next(),
            Some(crate::config::Planted::WatchForgetsRestart) => from.max(self.begun.next()),
            _ => from,
        };
        watched.from = from;
        if from < next || from <= self.state.compacted {
            return self.answer_watch(shared, ticket, watched);
        }
        let wait = Duration::from_millis(u64::from(wait_ms)).min(WATCH_WAIT_LIMIT);
        self.watches.park(ticket, watched, now + wait);
    }

    /// Reads a watch's changes, or says why there are none to read.
    pub(crate) fn answer_watch(&self, shared: &mut Shared, ticket: Ticket, watched: Watched) {
        if let Err(refusal) = self.judge_watch_again(&watched) {
            return shared.refuse(ticket, refusal);
        }
        let (from, compacted) = (watched.from, self.state.compacted);
        #[cfg(feature = "planted")]
        let (watched, from) = match shared.config.planted {
            Some(crate::config::Planted::WatchJumpsCompaction) => {
                let from = from.max(compacted.next());
                (Watched { from, ..watched }, from)
            }
            _ => (watched, from),
        };
        if from <= compacted {
            return shared.refuse(ticket, Refusal::Compacted { asked: from, compacted });
        }
        let header = self.header(shared);
        if from > self.state.revision {
            let batch = WatchBatch { events: Vec::new(), next: from };
            return shared.answer(ticket, header, Reply::Events(batch));
        }
        shared.read_changes(ticket, self.space, watched, compacted, header);
    }

    /// Answers all watches that wait: the history was replaced under them.
    pub(crate) fn answer_all_watches(&mut self, shared: &mut Shared) {
        for (ticket, watched) in self.watches.drain() {
            self.answer_watch(shared, ticket, watched);
        }
    }

    /// Answers the watches for which something has changed since the last time.
    pub(crate) fn wake_watches(&mut self, shared: &mut Shared) {
        for (ticket, watched) in self.watches.woken() {
            self.answer_watch(shared, ticket, watched);
        }
    }

    /// Answers what has waited too long. A watch that saw nothing moves on past all it has seen.
    pub(crate) fn expire_waiting(&mut self, shared: &mut Shared, now: Time) {
        // First those that have seen something, or will at once: better an answer with it than without.
        self.apply_committed(shared, now);
        for (ticket, parked) in self.watches.expired(now) {
            let next = self.state.revision.next().max(parked.from);
            #[cfg(feature = "planted")]
            let next = match shared.config.planted {
                Some(crate::config::Planted::WatchRepeatsRevision) => self.state.revision,
                _ => next,
            };
            let header = self.header(shared);
            let batch = WatchBatch { events: Vec::new(), next };
            shared.answer(ticket, header, Reply::Events(batch));
        }
        for (revision, ticket) in self.reads.expired(now) {
            let current = self.state.revision;
            let why = format!("this node is at revision {current} and waited for {revision}");
            shared.refuse(ticket, Refusal::Unavailable { why });
        }
    }

    /// Hands leadership over.
    pub(crate) fn transfer(
        &mut self,
        shared: &mut Shared,
        now: Time,
        ticket: Ticket,
        (principal, to): (Option<Principal>, NodeId),
    ) {
        let request = Request::Transfer { to };
        let (auth, leases) = (&self.state.auth, &self.state.leases);
        if let Err(denial) = auth.judge_request(principal.as_ref(), &request, leases) {
            return shared.refuse(ticket, denial.into());
        }
        if self.roll.is_witness(to) {
            let what = format!("{to} is a witness: it has no data, so it is not made to lead");
            return shared.refuse(ticket, Refusal::Invalid { what });
        }
        if !self.roll.is_voter(to) {
            let what = format!("{to} does not vote in this cluster, so it can't lead");
            return shared.refuse(ticket, Refusal::Invalid { what });
        }
        if let Err(refusal) = self.must_lead(shared) {
            return shared.refuse(ticket, refusal);
        }
        self.step(shared, now, Input::Transfer { to: replica_of(to) });
        let header = self.header(shared);
        shared.answer(ticket, header, Reply::Transferring);
    }

    /// Lets go of the oldest versions when there are too many. The leader's to propose.
    pub(crate) fn propose_compaction(&mut self, shared: &mut Shared, now: Time) {
        let retain = shared.config.tuning.retain_revisions;
        let step = (retain / COMPACTION_STEP).max(1);
        let kept = self.state.revision.0 - self.state.compacted.0;
        let due = kept > retain.saturating_add(step);
        if !self.ready || !due || self.state.revision < self.next_compaction {
            return;
        }
        let before = Revision(self.state.revision.0 - retain);
        self.next_compaction = Revision(self.state.revision.0 + step);
        self.propose_own(shared, now, Body::Compact { before });
    }

    /// A command of the cluster itself: nobody waits for it.
    pub(crate) fn propose_own(&mut self, shared: &mut Shared, now: Time, body: Body) {
        let id = RequestId { client: 0, number: 0 };
        let bytes = Command { id, done_below: 0, since: 0, principal: None, body }.encode();
        shared.inflight_bytes += bytes.len();
        self.commands.add(id, None, bytes, now);
        self.own_proposed();
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        self.watches.cancel(ticket)
            || self.reads.cancel(ticket)
            || self.renewals.cancel(ticket)
            || self.roll.cancel(ticket)
    }
}
