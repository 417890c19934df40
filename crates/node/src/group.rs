//! One group's replica on this node: consensus, the state machine under it, and all who wait for
//! either.
//!
//! # Invariants
//!
//! * Entries are applied in log order without a gap, each once.
//! * A message behind a barrier leaves only when the barrier's write is durable.
//! * While a snapshot replaces the state, or none has come yet that must, committed entries wait
//!   in `held`.

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::{
    Entry, Input, LogIndex, Membership, News as CoreNews, Output, Payload, PeerProgress, PersistId,
    Position, ReadId, Replica, ReplicaId, Restored, Role, Time,
};
use engine::Engine;
use wire::{GroupId, Header, NodeId, Query, Refusal, Reply, Revision, SpaceId, TxnResult};

use crate::admission::{Commands, Pending, Settled};
use crate::feed::Feeds;
use crate::fetch::Fetch;
use crate::lessor::Lessor;
use crate::members::{Roll, first_voters};
use crate::rare::Path;
use crate::reads::{Reads, Waiting, Wanted};
use crate::renewals::Renewals;
use crate::scrub::Scrub;
use crate::shared::Shared;
use crate::state::{Applied, LoadError, State};
use crate::steward::Steward;
use crate::watches::Watches;
use crate::witness::Witness;
use crate::{Config, Effect, News, PeerEnvelope, PeerMessage, StartError, Ticket};

/// One group's replica.
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) space: SpaceId,
    pub(crate) core: Box<dyn Replica>,
    pub(crate) state: State,
    pub(crate) role: Role,
    pub(crate) leader: Option<NodeId>,
    /// Leading, and knowing what is committed.
    pub(crate) ready: bool,
    pub(crate) in_doubt: bool,
    /// The engine lacks what the journal no longer has: a snapshot must come before anything else.
    pub(crate) state_missing: bool,
    /// What there is instead of a state, if this is a witness.
    pub(crate) witness: Option<Witness>,
    pub(crate) commands: Commands,
    pub(crate) reads: Reads,
    pub(crate) watches: Watches,
    pub(crate) roll: Roll,
    pub(crate) steward: Steward,
    pub(crate) lessor: Lessor,
    pub(crate) renewals: Renewals,
    pub(crate) feeds: Feeds,
    pub(crate) fetch: Option<Fetch>,
    /// The last one that was begun in this life.
    pub(crate) scrub: Option<Scrub>,
    pub(crate) last_fetch: u64,
    /// A missing state is not asked for again before this time.
    pub(crate) fetch_again: Time,
    /// Bytes of commands applied since the last flush began.
    pub(crate) log_bytes: usize,
    /// Another node waits until what is applied here is durable up to this index.
    pub(crate) durable_wanted: LogIndex,
    /// A compaction was proposed: the next one waits for this revision, in this leadership.
    pub(crate) next_compaction: Revision,
    /// The revision at the start of this life.
    #[cfg(feature = "planted")]
    pub(crate) begun: Revision,
    #[cfg(feature = "planted")]
    pub(crate) planted: Option<crate::config::Planted>,
    epoch: u64,
    /// Committed since the last time, not yet applied.
    committed: Vec<Entry>,
    held: Vec<Entry>,
    held_bytes: usize,
    gated: BTreeMap<PersistId, Vec<PeerEnvelope>>,
    persisted: PersistId,
    outputs: Vec<Output>,
}

/// A replica has the number of its node.
pub(crate) fn replica_of(node: NodeId) -> ReplicaId {
    ReplicaId(node.0)
}

pub(crate) fn node_of(replica: ReplicaId) -> NodeId {
    NodeId(replica.0)
}

impl Group {
    /// A replica that goes on where its disk left off.
    pub(crate) fn restore(
        id: GroupId,
        space: SpaceId,
        config: &Config,
        engine: &dyn Engine,
        log: journal::RecoveredLog,
        in_doubt: bool,
        now: Time,
    ) -> Result<Self, StartError> {
        let state = State::load(engine, id, space, config).map_err(|error| match error {
            LoadError::Read(source) => StartError::Engine { group: id, source },
            LoadError::Format(what) => StartError::Format { group: id, what },
        })?;
        // A lost state is fetched again; of the log nothing is lost, so consensus need not know.
        let (base, witness) = (log.base, config.witness);
        let state_missing = !witness && engine.applied(id).index < base.index;
        let restored = restored(config, log, engine, id, state.membership.clone(), in_doubt);
        let core = config.protocol.replica(consensus_config(config, id), restored, now);
        let status = core.status();
        Ok(Self {
            id,
            space,
            #[cfg(feature = "planted")]
            begun: state.revision,
            #[cfg(feature = "planted")]
            planted: config.planted,
            state,
            role: status.role,
            epoch: status.epoch.round,
            leader: None,
            ready: false,
            in_doubt,
            state_missing,
            witness: witness.then(|| Witness::new(base)),
            core,
            commands: Commands::default(),
            reads: Reads::default(),
            watches: Watches::default(),
            roll: Roll::new(config, status.membership),
            steward: Steward::new(config.tuning.steward),
            lessor: Lessor::default(),
            renewals: Renewals::default(),
            feeds: Feeds::default(),
            fetch: None,
            scrub: None,
            last_fetch: config.seed & 0xffff_ffff,
            fetch_again: now,
            log_bytes: 0,
            durable_wanted: LogIndex(0),
            next_compaction: Revision(0),
            committed: Vec::new(),
            held: Vec::new(),
            gated: BTreeMap::new(),
            held_bytes: 0,
            persisted: PersistId(0),
            outputs: Vec::new(),
        })
    }

    /// Feeds consensus one input and carries out what it asks for.
    pub(crate) fn step(&mut self, shared: &mut Shared, now: Time, input: Input) {
        let mut outputs = std::mem::take(&mut self.outputs);
        let is_read = matches!(input, Input::Read(_));
        self.core.step(now, input, &mut outputs);
        let mut barrier = PersistId(0);
        for output in outputs.drain(..) {
            match output {
                Output::Persist(durable) => {
                    barrier = durable.id;
                    self.steward.writes(durable.id, now);
                    shared.persist(self.id, durable);
                }
                Output::Await(write) => barrier = barrier.max(write),
                Output::Send { to, message } => {
                    if let Some(index) = message.proposes() {
                        self.steward.sends(node_of(to), index, now);
                    }
                    let message = PeerMessage::Consensus { group: self.id, message };
                    self.send(shared, barrier, shared.envelope(node_of(to), message));
                }
                Output::Accepted(accepted) => {
                    shared.metrics.proposals.inc_by(accepted.proposals.len() as u64);
                    if !self.change_accepted(&accepted) {
                        self.commands.accepted(&accepted);
                    }
                }
                Output::Refused { proposals, reads, leader } => {
                    self.refused(shared, &proposals, &reads, leader.map(node_of));
                }
                Output::Apply(entries) => self.committed.extend(entries),
                Output::Serve { reads, at } => {
                    if is_read && shared.config.tuning.lease.is_some() {
                        shared.metrics.leased_reads.inc_by(reads.len() as u64);
                    }
                    self.reads.allow(&reads, at);
                    self.serve_waiting(shared, now);
                }
                Output::FetchSnapshot { from, at_least } => {
                    self.begin_fetch(shared, now, node_of(from), at_least);
                }
                Output::Members(membership) => self.members_changed(shared, membership),
                Output::News(news) => self.news(shared, now, &news),
            }
        }
        self.outputs = outputs;
    }

    fn send(&mut self, shared: &mut Shared, barrier: PersistId, envelope: PeerEnvelope) {
        #[cfg(feature = "planted")]
        if shared.config.planted == Some(crate::config::Planted::IgnoreBarriers) {
            return shared.emit(Effect::Send(envelope));
        }
        if barrier > self.persisted {
            self.gated.entry(barrier).or_default().push(envelope);
        } else {
            shared.emit(Effect::Send(envelope));
        }
    }

    /// The write `id` and all before it are durable: what waited for them goes out.
    pub(crate) fn persisted(&mut self, shared: &mut Shared, now: Time, id: PersistId) {
        assert!(id > self.persisted, "journal writes become durable in order");
        self.persisted = id;
        self.steward.written(id, now);
        let later = self.gated.split_off(&PersistId(id.0 + 1));
        for envelope in std::mem::replace(&mut self.gated, later).into_values().flatten() {
            shared.emit(Effect::Send(envelope));
        }
        self.step(shared, now, Input::Persisted(id));
    }

    fn refused(
        &mut self,
        shared: &mut Shared,
        proposals: &[consensus::ProposalId],
        reads: &[ReadId],
        leader: Option<NodeId>,
    ) {
        let refusal = if leader == Some(shared.config.node) {
            Refusal::Busy { what: "leadership is being handed over".into() }
        } else {
            Refusal::NotLeader { leader }
        };
        for proposal in proposals {
            if self.change_refused(shared, *proposal, &refusal) {
                continue;
            }
            if let Some(pending) = self.commands.refused(*proposal) {
                if pending.tickets.is_empty() {
                    self.own_settled(shared, true);
                }
                refuse_pending(shared, pending, &refusal);
            }
        }
        for read in reads {
            if let Some(waiting) = self.reads.refused(*read) {
                refuse_waiting(shared, &waiting, refusal.clone());
            }
        }
    }

    /// Applies what was committed since the last time, and answers whoever waits for that.
    pub(crate) fn apply_committed(&mut self, shared: &mut Shared, now: Time) {
        if !self.committed.is_empty() {
            let committed = std::mem::take(&mut self.committed);
            self.apply_all(shared, now, committed);
        }
        self.count_leases(now);
        self.wake_watches(shared);
    }

    /// Applies committed entries, or holds them while a snapshot replaces the state under them.
    fn apply_all(&mut self, shared: &mut Shared, now: Time, entries: Vec<Entry>) {
        if self.witness.is_some() {
            return self.pass_over(&entries);
        }
        if self.is_ingesting() || self.state_missing {
            self.held_bytes += entries.iter().map(|entry| entry.payload.len()).sum::<usize>();
            self.held.extend(entries);
            return;
        }
        for entry in entries {
            if let Err(error) = self.apply(shared, now, &entry) {
                return shared.storage_failed(&error);
            }
        }
        self.serve_waiting(shared, now);
    }

    fn apply(
        &mut self,
        shared: &mut Shared,
        now: Time,
        entry: &Entry,
    ) -> Result<(), engine::ReadError> {
        let position = entry.position;
        let applied = shared.engine.applied(self.id);
        assert!(
            position.index == applied.index.next(),
            "{}: entry {position} came out of the log after {applied}",
            self.id
        );
        let bytes = match &entry.payload {
            Payload::Command(bytes) => bytes,
            Payload::Noop => {
                self.state.skip(&mut *shared.engine, position);
                self.change_applied(shared, position, None);
                self.answer(shared, position, None);
                return Ok(());
            }
            Payload::Membership(membership) => {
                self.state.set_membership(&mut *shared.engine, position, membership);
                self.change_applied(shared, position, Some(membership));
                self.answer(shared, position, None);
                return Ok(());
            }
        };
        self.log_bytes += bytes.len();
        shared.metrics.applied_commands.inc();
        let applied = self.state.apply(&mut *shared.engine, position, bytes)?;
        self.leases_changed(shared, now, &applied.leases);
        if let Some(id) = applied.scrub {
            self.begin_scrub(shared, now, position, id);
        }
        self.answer(shared, position, Some(applied));
        Ok(())
    }

    /// Tells whoever waits at `position` what was applied there.
    fn answer(&mut self, shared: &mut Shared, position: Position, applied: Option<Applied>) {
        let (answer, changed, restored) = match applied {
            None => (None, Vec::new(), false),
            Some(applied) => {
                if applied.auth {
                    self.bar_watches(shared);
                }
                (Some(applied.answer), applied.changed, applied.restored)
            }
        };
        self.watches.note(changed);
        if restored {
            self.answer_all_watches(shared);
        }
        match (self.commands.applied(position), answer) {
            (Settled::Nobody, _) => {}
            (Settled::Applied(pending), Some(answer)) => {
                if pending.tickets.is_empty() {
                    self.own_settled(shared, false);
                }
                self.answer_pending(shared, pending, answer.as_ref());
            }
            (Settled::Applied(pending) | Settled::Overwritten(pending), _) => {
                let leader = self.leader;
                refuse_pending(shared, pending, &Refusal::NotLeader { leader });
            }
        }
    }

    fn answer_pending(
        &self,
        shared: &mut Shared,
        pending: Pending,
        answer: Result<&TxnResult, &Refusal>,
    ) {
        shared.release_bytes(pending.bytes);
        for ticket in pending.tickets {
            match answer {
                Ok(result) => {
                    let mut header = self.header(shared);
                    header.revision = header.revision.max(result.revision);
                    shared.answer(ticket, header, Reply::Written(result.clone()));
                }
                Err(refusal) => shared.refuse(ticket, refusal.clone()),
            }
        }
    }

    /// What every answer of this group bears.
    pub(crate) fn header(&self, shared: &Shared) -> Header {
        Header {
            revision: self.state.revision,
            applied: self.applied(shared).0,
            node: shared.config.node,
            leader: self.leader,
        }
    }

    /// Serves what waited for the state to come this far.
    pub(crate) fn serve_waiting(&mut self, shared: &mut Shared, now: Time) {
        let applied = shared.engine.applied(self.id).index;
        for waiting in self.reads.ready(applied) {
            self.serve(shared, now, waiting);
        }
        for waiting in self.reads.arrived(self.state.revision) {
            self.serve(shared, now, waiting);
        }
    }

    pub(crate) fn serve(&mut self, shared: &mut Shared, now: Time, waiting: Waiting) {
        let Waiting { ticket, principal, wanted } = waiting;
        let judged = self.judge_wanted(principal.as_ref(), &wanted);
        #[cfg(feature = "planted")]
        let judged = match (self.planted, &wanted) {
            (Some(crate::config::Planted::RevokedRightStillRead), Wanted::Page(_)) => Ok(()),
            _ => judged,
        };
        if let Err(denial) = judged {
            return shared.refuse(ticket, denial.into());
        }
        match wanted {
            Wanted::Page(query) => self.serve_page(shared, ticket, query),
            Wanted::KeepAlive(lease) => self.keep_alive(shared, now, ticket, lease),
            Wanted::Lease { lease, keys } => self.show_lease(shared, now, ticket, lease, keys),
            Wanted::Leases => self.show_leases(shared, ticket),
            Wanted::Members => self.show_members(shared, ticket),
            Wanted::ChangeMembers(change) => self.roll.want(ticket, change),
            Wanted::Auth(question) => self.answer_auth(shared, ticket, &question),
            Wanted::Authenticate { user, password } => {
                self.authenticate(shared, ticket, &user, password);
            }
            Wanted::Command(bytes) => self.write_again(shared, now, ticket, bytes),
        }
    }

    /// Hands out a read of the state as it is now, or of the past that the query names.
    pub(crate) fn serve_page(&self, shared: &mut Shared, ticket: Ticket, query: Query) {
        let at = query.revision.unwrap_or(self.state.revision);
        match self.state.readable(at) {
            Ok(()) => {
                let header = self.header(shared);
                shared.read_page(ticket, self.space, query, header);
            }
            Err(refusal) => shared.refuse(ticket, refusal),
        }
    }

    fn news(&mut self, shared: &mut Shared, now: Time, news: &CoreNews) {
        let group = self.id;
        match *news {
            CoreNews::Role { role, epoch, leader } => {
                self.role_changed(shared, now, role, epoch.round, leader.map(node_of));
            }
            CoreNews::LeaderReady { epoch } => {
                // A witness serves nobody while it leads.
                self.ready = self.witness.is_none();
                shared.news(News::Ready { group, epoch: epoch.round });
            }
            CoreNews::Truncated { from } => {
                shared.news(News::Truncated { group, from: from.0 });
            }
            CoreNews::Dropped { from, reason } => {
                shared.metrics.dropped_messages.inc();
                shared.news(News::Dropped { from: node_of(from), why: reason.to_owned() });
            }
            CoreNews::DoubtResolved => {
                self.in_doubt = false;
                shared.news(News::DoubtResolved { group });
            }
        }
    }

    fn role_changed(
        &mut self,
        shared: &mut Shared,
        now: Time,
        role: Role,
        epoch: u64,
        leader: Option<NodeId>,
    ) {
        let (led, leads) = (self.role == Role::Leader, role == Role::Leader);
        (self.role, self.epoch, self.leader) = (role, epoch, leader);
        shared.metrics.role_changes.inc();
        if leads && !led {
            shared.metrics.elections_won.inc();
        }
        self.take_office(shared, now);
        if led && !leads {
            self.lost_leadership(shared, now, leader);
        }
        shared.news(News::Role { group: self.id, role, epoch, leader });
    }

    /// What is on its way may be done by the next leader or not: only a retry can tell.
    fn lost_leadership(&mut self, shared: &mut Shared, now: Time, leader: Option<NodeId>) {
        // What is committed is done, whoever leads next.
        self.apply_committed(shared, now);
        self.ready = false;
        self.stop_counting(shared, &Refusal::NotLeader { leader });
        self.next_compaction = Revision(0);
        self.change_unknown(shared, None);
        let (proposed, fresh) = self.commands.drain();
        for pending in proposed {
            let why = "the leader was deposed".to_owned();
            refuse_pending(shared, pending, &Refusal::Unanswered { why });
        }
        for pending in fresh {
            refuse_pending(shared, pending, &Refusal::NotLeader { leader });
        }
        for waiting in self.reads.drain() {
            refuse_waiting(shared, &waiting, Refusal::NotLeader { leader });
        }
    }

    /// Hands consensus what came in since the last time, as one batch of each kind.
    pub(crate) fn settle(&mut self, shared: &mut Shared, now: Time) {
        let proposals = self.commands.take_fresh();
        if !proposals.is_empty() {
            self.step(shared, now, Input::Propose(proposals));
        }
        let reads = self.reads.take_fresh();
        if !reads.is_empty() {
            self.step(shared, now, Input::Read(reads));
        }
        self.settle_members(shared, now);
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, shared: &mut Shared, now: Time) {
        if self.core.deadline().is_some_and(|deadline| deadline <= now) {
            self.step(shared, now, Input::Tick);
        }
        self.expire_waiting(shared, now);
        self.feeds.expire(now);
        self.push_fetch(shared, now);
        self.fetch_missing(shared, now);
        self.propose_leases(shared, now);
        self.tend_leadership(shared, now);
    }

    /// Whether this replica must let its leader's entries pass by, for its storage can't keep up. They
    /// come again; dropping them bounds memory, and the leader sees how far we are.
    pub(crate) fn is_swamped(&self, shared: &mut Shared, message: &consensus::Message) -> bool {
        let limit = shared.config.tuning.unflushed_limit_bytes.saturating_mul(2);
        let behind = shared.engine.unflushed_bytes() > limit
            || self.held_bytes > limit
            || shared.config.rare.opens(Path::DroppedAppend);
        behind && message.is_proposal()
    }

    /// When time next matters.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let fetch = match &self.fetch {
            Some(fetch) => fetch.deadline(),
            None => self.state_missing.then_some(self.fetch_again),
        };
        let all = [
            self.core.deadline(),
            self.reads.deadline(),
            self.watches.deadline(),
            self.feeds.deadline(),
            self.lessor.deadline(),
            self.steward.deadline(),
            fetch,
        ];
        all.into_iter().flatten().min()
    }

    /// The state has been replaced by a snapshot: goes on from there.
    pub(crate) fn reload(&mut self, shared: &mut Shared, now: Time, applied: Position) {
        #[cfg(feature = "planted")]
        let rights_before = std::mem::take(&mut self.state.auth);
        match State::load(&*shared.engine, self.id, self.space, &shared.config) {
            Ok(state) => self.state = state,
            Err(LoadError::Read(error)) => return shared.storage_failed(&error),
            Err(LoadError::Format(what)) => {
                return shared.stop(format!("a snapshot's state can't be understood: {what}"));
            }
        }
        shared.metrics.snapshots_installed.inc();
        shared.news(News::SnapshotInstalled { group: self.id, applied: applied.index.0 });
        #[cfg(feature = "planted")]
        {
            self.state.lose_requests();
            self.state.lose_leases();
            self.state.lose_members();
            self.state.keep_rights(rights_before);
        }
        self.state_missing = false;
        for pending in self.commands.covered(applied.index) {
            let why = "a snapshot brought what it came to".to_owned();
            refuse_pending(shared, pending, &Refusal::Unanswered { why });
        }
        self.change_unknown(shared, Some(applied.index));
        self.held_bytes = 0;
        let mut held = std::mem::take(&mut self.held);
        held.append(&mut self.committed);
        let later = held.into_iter().filter(|entry| entry.position.index > applied.index);
        self.apply_all(shared, now, later.collect());
        let first = || Arc::new(Membership::of(first_voters(&shared.config)));
        let membership = self.state.membership.clone().unwrap_or_else(first);
        self.step(shared, now, Input::SnapshotInstalled { position: applied, membership });
        self.answer_all_watches(shared);
        self.serve_waiting(shared, now);
    }

    /// The replica best able to lead instead of this one: one whose priority is not 0, the furthest, and
    /// of those the one with the highest priority.
    pub(crate) fn successor(&self) -> Option<NodeId> {
        let peers = self.core.status().peers;
        let may_lead =
            |peer: &&PeerProgress| peer.active && self.roll.may_be_handed(node_of(peer.peer));
        let able = peers.iter().filter(may_lead).map(|peer| (peer.matched, node_of(peer.peer)));
        let best = able.max_by_key(|(matched, node)| {
            let priority = self.priority_of(*node);
            (priority > 0, *matched, priority, std::cmp::Reverse(*node))
        });
        best.map(|(_, node)| node)
    }

    /// Term of the last news.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether reads find a state at all.
    pub(crate) fn has_state(&self) -> bool {
        !self.state_missing && self.witness.is_none()
    }

    /// Last index applied; a witness's, passed over.
    pub(crate) fn applied(&self, shared: &Shared) -> LogIndex {
        self.passed().unwrap_or_else(|| shared.engine.applied(self.id)).index
    }

    /// The same of what is durable: a witness needs no more than its log.
    pub(crate) fn durable(&self, shared: &Shared) -> LogIndex {
        self.passed().unwrap_or_else(|| shared.engine.durable(self.id)).index
    }

    fn passed(&self) -> Option<Position> {
        self.witness.as_ref().map(Witness::position)
    }
}

/// A command's tickets all get the same refusal.
pub(crate) fn refuse_pending(shared: &mut Shared, pending: Pending, refusal: &Refusal) {
    shared.release_bytes(pending.bytes);
    for ticket in pending.tickets {
        shared.refuse(ticket, refusal.clone());
    }
}

/// A read that consensus does not allow.
fn refuse_waiting(shared: &mut Shared, waiting: &Waiting, refusal: Refusal) {
    if let Wanted::Command(bytes) = &waiting.wanted {
        shared.release_bytes(bytes.len());
    }
    shared.refuse(waiting.ticket, refusal);
}

/// What consensus begins with: what the journal gave back, and what the engine has of the members.
pub(crate) fn restored(
    config: &Config,
    log: journal::RecoveredLog,
    engine: &dyn Engine,
    group: GroupId,
    image: Option<Arc<Membership>>,
    in_doubt: bool,
) -> Restored {
    Restored {
        hard_state: log.hard_state,
        base: log.base,
        membership: log.membership,
        entries: log.entries,
        applied: if config.witness { log.base } else { engine.applied(group).max(log.base) },
        image,
        in_doubt,
    }
}

pub(crate) fn consensus_config(config: &Config, group: GroupId) -> consensus::Config {
    let voters = first_voters(config);
    let seed = config.seed ^ group.0.rotate_left(32) ^ config.node.0;
    let tuning = &config.tuning;
    consensus::Config {
        witnesses: config.witness.then_some(replica_of(config.node)).into_iter().collect(),
        heartbeat_interval: tuning.heartbeat,
        commit_notice_delay: tuning.commit_notice_delay,
        election_timeout: tuning.election_timeout,
        lease: tuning.lease,
        max_append_bytes: tuning.append_limit_bytes,
        max_inflight_appends: tuning.appends_in_flight,
        log_retain_bytes: tuning.log_retain_bytes,
        #[cfg(feature = "planted")]
        planted: config.planted_consensus,
        ..consensus::Config::new(replica_of(config.node), voters, seed)
    }
}
