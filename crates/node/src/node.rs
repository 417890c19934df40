//! The node: takes events in, hands them to its groups, lets effects out.

use std::collections::BTreeMap;
use std::sync::Arc;

use consensus::{ClockDrift, Input, Payload, PersistId, Role, Time};
use engine::{Done, Engine, JobError, Progress};
use journal::{LogId, Recovered, RecoveredLog};
use wire::{
    GroupId, Members, NodeId, NodeStatus, PeerStatus, Refusal, Reply, Request, Revision, SpaceId,
    Writer,
};

use crate::auth::Guarding;
use crate::group::{Group, replica_of};
use crate::maintenance::Maintenance;
use crate::members::members_of;
use crate::metrics::Metrics;
use crate::rare::Path;
use crate::reads::Wanted;
use crate::shared::{REBUILD, Shared};
use crate::watches::Watched;
use crate::{Config, Effect, Event, News, PeerEnvelope, PeerMessage, StartError, Ticket, WriteId};

/// The group that holds the whole keyspace, as long as there is one range.
pub const GROUP: GroupId = GroupId(1);

/// The keyspace of the clients.
pub const SPACE: SpaceId = SpaceId(1);

/// One node. See the crate's header for the contract.
pub struct Node {
    shared: Shared,
    groups: BTreeMap<GroupId, Group>,
    maintenance: Maintenance,
    doubt_reported: bool,
}

impl Node {
    /// A node that goes on where its disk left off, or begins on an empty one.
    pub fn new(
        config: Config,
        mut recovered: Recovered,
        engine: Box<dyn Engine>,
        now: Time,
    ) -> Result<Self, StartError> {
        check(&config)?;
        let in_doubt = recovered.damage.is_some();
        let log = recovered.logs.remove(&LogId(GROUP.0)).unwrap_or_default();
        let alone = is_alone(&config, &log);
        if let Some(damage) = recovered.damage.as_ref().filter(|_| alone) {
            return Err(StartError::DamagedAlone { what: damage.to_string() });
        }
        if alone && engine.applied(GROUP).index < log.base.index {
            return Err(StartError::StateMissing);
        }
        let group = Group::restore(GROUP, SPACE, &config, &*engine, log, in_doubt, now)?;
        let maintenance = Maintenance::default();
        let groups = BTreeMap::from([(GROUP, group)]);
        let shared = Shared::new(config, engine);
        Ok(Self { shared, groups, maintenance, doubt_reported: !in_doubt })
    }

    /// Takes one event in. What follows from it comes out of [`Node::settle`].
    pub fn handle(&mut self, now: Time, event: Event) {
        if self.shared.is_stopped() {
            return;
        }
        match event {
            Event::Tick => self.each(|group, shared| group.tick(shared, now)),
            Event::Peer(envelope) => self.peer(now, envelope),
            Event::PeerLost(node) => {
                let peer = replica_of(node);
                self.each(|group, shared| group.step(shared, now, Input::Unreachable { peer }));
            }
            Event::Request { ticket, request } => self.request(now, ticket, request),
            Event::Cancel(ticket) => self.cancel(ticket),
            Event::Journaled(write) => self.journaled(now, write),
            Event::JournalFull(full) => self.journal_full(now, full),
            Event::Worked(Ok(done)) => self.worked(now, done),
            Event::Worked(Err(error)) => self.work_failed(now, &error),
            Event::ChunkRead { to, group, fetch, result } => match result {
                Ok(read) => self.with(group, |group, shared| {
                    group.chunk_read(shared, to, fetch, read);
                }),
                Err(error) => self.shared.storage_failed(&error),
            },
            Event::Scrubbed { group, index, result } => self.with(group, |group, shared| {
                group.scrubbed(shared, now, index, result);
            }),
            Event::ReadFailed(error) => self.shared.storage_failed(&error),
            Event::Retire => self.retire(now),
        }
    }

    /// Lets out what all events since the last call led to.
    pub fn settle(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.hand_on(now, out);
        self.apply(now, out);
    }

    /// The first half of [`Node::settle`]: what others wait for, the disk and the other nodes. A driver
    /// carries it out before the second half, [`Node::apply`], so that they work meanwhile.
    pub fn hand_on(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.shared.config.rare.opens(Path::HandOver) {
            self.hand_over(now);
        }
        self.each(|group, shared| {
            group.propose_compaction(shared, now);
            group.settle(shared, now);
        });
        self.shared.write_journal();
        self.report_doubt();
        self.shared.take_effects(out);
    }

    /// The second half: what was committed is applied, and who waits for it is answered.
    pub fn apply(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.each(|group, shared| {
            group.apply_committed(shared, now);
            group.let_go(shared, now);
            // What is applied may call for a command of our own, which nothing else would let out.
            if group.commands.has_fresh() || group.roll.has_wanted() {
                group.settle(shared, now);
            }
        });
        self.shared.write_journal();
        self.maintain(now);
        self.show();
        self.shared.take_effects(out);
    }

    /// When to call [`Node::handle`] with [`Event::Tick`].
    pub fn deadline(&self) -> Option<Time> {
        let groups = self.groups.values().filter_map(Group::deadline);
        groups.chain(self.maintenance.deadline()).min()
    }

    /// How the node is.
    pub fn status(&self) -> NodeStatus {
        self.status_of(&self.groups[&GROUP])
    }

    /// Whether nothing is under way, so that the process may end without making anyone wait.
    pub fn is_quiet(&self) -> bool {
        let quiet = |group: &Group| {
            group.commands.is_empty()
                && (group.role != Role::Leader || group.roll.is_alone(self.shared.config.node))
        };
        self.groups.values().all(quiet)
            && self.shared.journal_is_idle()
            && !self.maintenance.flushing
    }

    /// What the node counts.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// The replicated state beside the rows, in a canonical form, with the revision and the log index
    /// it belongs to: equal on nodes that have applied the same. For checkers.
    pub fn digest(&self) -> (Revision, u64, bytes::Bytes) {
        let group = &self.groups[&GROUP];
        let mut out = Writer::new();
        group.state.digest(&mut out);
        (group.state.revision, group.applied(&self.shared).0, out.finish())
    }

    /// Who belongs to the cluster, as far as it has applied that. For checkers.
    pub fn members(&self) -> Members {
        self.groups[&GROUP].members_applied()
    }

    /// Whether it holds a state of its own, and none that is just being replaced by another node's. For
    /// checkers.
    pub fn is_whole(&self) -> bool {
        let whole = |group: &Group| group.has_state() && !group.is_ingesting();
        self.groups.values().all(whole) && !self.shared.is_stopped()
    }

    /// A look at the rows, for checkers.
    pub fn view(&self) -> std::sync::Arc<dyn engine::View> {
        self.shared.engine.view()
    }

    fn each(&mut self, mut act: impl FnMut(&mut Group, &mut Shared)) {
        for group in self.groups.values_mut() {
            act(group, &mut self.shared);
        }
    }

    fn with(&mut self, id: GroupId, act: impl FnOnce(&mut Group, &mut Shared)) {
        if let Some(group) = self.groups.get_mut(&id) {
            act(group, &mut self.shared);
        }
    }

    fn peer(&mut self, now: Time, envelope: PeerEnvelope) {
        if let Err(why) = self.check_envelope(&envelope) {
            self.shared.metrics.dropped_messages.inc();
            let news = News::Dropped { from: envelope.from, why: why.to_owned() };
            return self.shared.news(news);
        }
        let from = envelope.from;
        match envelope.message {
            PeerMessage::Consensus { group, message } => self.with(group, |group, shared| {
                if !group.is_swamped(shared, &message) {
                    let from = replica_of(from);
                    group.hear_progress(from, &message, now);
                    group.step(shared, now, Input::Receive { from, message });
                }
            }),
            PeerMessage::FetchChunk { group, fetch, sequence, at_least } => {
                self.with(group, |group, shared| {
                    group.feed(shared, now, from, (fetch, sequence), at_least);
                });
            }
            PeerMessage::Chunk { group, fetch, applied, chunk } => {
                self.with(group, |group, shared| {
                    group.chunk_came(shared, now, fetch, applied, chunk);
                });
            }
            PeerMessage::NoChunk { group, fetch } => {
                self.with(group, |group, shared| group.no_chunk(shared, now, fetch));
            }
        }
    }

    fn check_envelope(&self, envelope: &PeerEnvelope) -> Result<(), &'static str> {
        let config = &self.shared.config;
        #[cfg(feature = "planted")]
        if config.planted == Some(crate::config::Planted::BelieveOtherClusters) {
            return Ok(());
        }
        if envelope.cluster != self.shared.cluster {
            return Err("it belongs to another cluster");
        }
        if envelope.to != config.node {
            return Err("it is for another node");
        }
        // A number that was never given may be a member of which we have yet to hear.
        let has_left = |group: &Group| group.roll.members.has_left(envelope.from);
        if envelope.from == config.node || self.groups.values().all(has_left) {
            return Err("its sender is not another member");
        }
        if let PeerMessage::Consensus { message, .. } = &envelope.message
            && message.memberships().into_iter().any(|membership| members_of(membership).is_err())
        {
            return Err("it names members in a way that makes no sense");
        }
        Ok(())
    }

    fn request(&mut self, now: Time, ticket: Ticket, request: Request) {
        let shared = &mut self.shared;
        shared.waiting += 1;
        if shared.is_crowded() {
            let what = "too many requests are waiting".to_owned();
            return shared.refuse(ticket, Refusal::Busy { what });
        }
        let (principal, request) = match request {
            Request::As { principal, request } => (Some(principal), *request),
            request => (None, request),
        };
        if self.groups[&GROUP].witness.is_some() && !matches!(request, Request::Status) {
            let refusal = self.groups[&GROUP].refusal_of_witness(&self.shared, &request);
            return self.shared.refuse(ticket, refusal);
        }
        let mut ask_leader = |principal, wanted| {
            self.with(GROUP, |group, shared| {
                group.ask_leader(shared, now, ticket, principal, wanted);
            });
        };
        match request {
            Request::Read { query, consistency } => self.with(GROUP, |group, shared| {
                group.read(shared, now, ticket, (principal, query), consistency);
            }),
            Request::Write(command) => {
                self.with(GROUP, |group, shared| group.write(shared, now, ticket, command));
            }
            Request::Watch { range, from, wait_ms, previous } => {
                let watched = Watched { range, from, previous, principal };
                self.with(GROUP, |group, shared| {
                    group.watch(shared, now, ticket, watched, wait_ms);
                });
            }
            Request::KeepAlive { lease } => ask_leader(principal, Wanted::KeepAlive(lease)),
            Request::Lease { lease, keys } => {
                ask_leader(principal, Wanted::Lease { lease, keys });
            }
            Request::Leases => ask_leader(principal, Wanted::Leases),
            Request::Members => ask_leader(principal, Wanted::Members),
            Request::ChangeMembers(change) => {
                ask_leader(principal, Wanted::ChangeMembers(change));
            }
            Request::Auth(question) => ask_leader(principal, Wanted::Auth(question)),
            Request::Authenticate { user, password } => {
                ask_leader(principal, Wanted::Authenticate { user, password });
            }
            Request::Transfer { to } => self.with(GROUP, |group, shared| {
                group.transfer(shared, now, ticket, (principal, to));
            }),
            Request::Status => self.answer_status(ticket),
            Request::Scrub => self.with(GROUP, |group, shared| {
                group.answer_scrub(shared, now, ticket, principal.as_ref());
            }),
            Request::As { .. } => {
                let what = "a request has one principal".to_owned();
                self.shared.refuse(ticket, Refusal::Invalid { what });
            }
        }
    }

    /// What the driver must know to find out who somebody is. It is the same value as long as nothing
    /// of it has changed.
    pub fn guarding(&self) -> &Arc<Guarding> {
        self.groups[&GROUP].state.auth.guarding()
    }

    fn answer_status(&mut self, ticket: Ticket) {
        let status = Reply::Status(Box::new(self.status()));
        let header = self.groups[&GROUP].header(&self.shared);
        self.shared.answer(ticket, header, status);
    }

    fn cancel(&mut self, ticket: Ticket) {
        let mut found = false;
        self.each(|group, _| found |= group.cancel(ticket));
        if found {
            self.shared.waiting -= 1;
        }
    }

    fn journaled(&mut self, now: Time, write: WriteId) {
        let mut latest: BTreeMap<GroupId, PersistId> = BTreeMap::new();
        for (group, persist) in self.shared.journaled(write) {
            latest.insert(group, persist);
        }
        for (group, persist) in latest {
            self.with(group, |group, shared| group.persisted(shared, now, persist));
        }
    }

    /// A leader that can't write does better to follow.
    fn journal_full(&mut self, now: Time, full: bool) {
        if self.shared.disk_full != full {
            self.shared.disk_full = full;
            self.shared.news(News::DiskFull(full));
        }
        if full {
            self.hand_over(now);
        }
    }

    fn hand_over(&mut self, now: Time) {
        self.each(|group, shared| {
            if group.role == Role::Leader
                && let Some(successor) = group.successor()
            {
                group.step(shared, now, Input::Transfer { to: replica_of(successor) });
            }
        });
    }

    fn retire(&mut self, now: Time) {
        self.shared.retiring = true;
        self.hand_over(now);
        self.flush();
    }

    fn worked(&mut self, now: Time, done: Done) {
        match self.shared.engine.done(done) {
            Progress::Flushed => {
                self.maintenance.flushing = false;
                self.found_room();
                self.shared.metrics.flushes.inc();
                self.each(|group, shared| {
                    let through = shared.engine.durable(group.id).index;
                    group.step(shared, now, Input::Checkpointed { through });
                });
            }
            Progress::KeptUp => self.found_room(),
            Progress::NoRoom => {
                if self.maintenance.no_room(now) {
                    self.shared.news(News::EngineFull(true));
                }
            }
            Progress::Staged { group, sequence } => {
                self.with(group, |group, shared| group.chunk_staged(shared, now, sequence));
            }
            Progress::Ingested { group, applied } => {
                self.with(group, |group, shared| group.ingested(shared, now, applied));
            }
        }
    }

    fn found_room(&mut self) {
        if self.maintenance.found_room() {
            self.shared.news(News::EngineFull(false));
        }
    }

    fn work_failed(&mut self, now: Time, error: &JobError) {
        match error {
            JobError::DiskFull { .. }
            | JobError::DamagedChunk { .. }
            | JobError::MissingChunk { .. } => {
                let why = error.to_string();
                self.each(|group, shared| group.fail_fetch(shared, now, &why));
            }
            JobError::Storage { .. } | JobError::Damaged { .. } => {
                let why = format!("the storage engine failed: {error}. {REBUILD}");
                self.shared.stop(why);
            }
        }
    }

    fn maintain(&mut self, now: Time) {
        if !self.maintenance.may_work(now) {
            return;
        }
        let tuning = &self.shared.config.tuning;
        let (log_limit, limit) = (tuning.flush_log_bytes, tuning.unflushed_limit_bytes);
        let engine = &self.shared.engine;
        let due = |group: &Group| {
            let wanted = engine.durable(group.id).index < group.durable_wanted;
            wanted || group.log_bytes >= log_limit
        };
        let due = self.groups.values().any(due);
        // Before writes are refused for it, whatever the engine itself thinks is enough.
        let much = self.shared.engine.unflushed_bytes() > limit / 2;
        let rarely = self.shared.config.rare.opens(Path::EarlyFlush);
        if self.shared.engine.wants_flush() || due || much || rarely {
            self.flush();
        }
        if !self.shared.retiring
            && let Some(job) = self.shared.engine.upkeep()
        {
            self.shared.emit(Effect::Work(job));
        }
    }

    /// What is small goes with it, so that the flush holds each group's whole state. So does the
    /// command that allowed a compaction: a node that crashes must not come back to a state which
    /// promises versions that are gone.
    fn flush(&mut self) {
        let whole = |group: &Group| group.has_state() && !group.is_ingesting();
        if self.maintenance.flushing || !self.groups.values().all(whole) {
            return;
        }
        self.each(|group, shared| {
            group.log_bytes = 0;
            group.state.checkpoint(&mut *shared.engine);
        });
        if let Some(job) = self.shared.engine.flush() {
            self.maintenance.flushing = true;
            self.shared.emit(Effect::Work(job));
        }
    }

    fn report_doubt(&mut self) {
        if !self.doubt_reported && self.groups.values().all(|group| !group.in_doubt) {
            self.doubt_reported = true;
            self.shared.emit(Effect::DamageRepaired);
        }
    }

    fn show(&self) {
        let (group, shared) = (&self.groups[&GROUP], &self.shared);
        let metrics = &shared.metrics;
        metrics.leading.set(u64::from(group.role == Role::Leader));
        metrics.revision.set(group.state.revision.0);
        metrics.applied_index.set(group.applied(shared).0);
        metrics.unflushed_bytes.set(shared.engine.unflushed_bytes() as u64);
        metrics.count_engine(&shared.engine.stats());
        metrics.inflight_bytes.set(shared.inflight_bytes as u64);
        metrics.waiting_requests.set(shared.waiting as u64);
        metrics.parked_watches.set(group.watches.len() as u64);
    }

    fn status_of(&self, group: &Group) -> NodeStatus {
        let core = group.core.status();
        let config = &self.shared.config;
        let peers = core.peers.iter().map(|peer| PeerStatus {
            node: NodeId(peer.peer.0),
            matched: peer.matched.0,
            state: peer.state.to_owned(),
            active: peer.active,
        });
        let trouble = self.trouble(group);
        self.shared.metrics.log_bytes.set(core.log_bytes as u64);
        NodeStatus {
            node: config.node,
            cluster: config.cluster.clone(),
            version: config.version.clone(),
            role: role_word(group, core.role),
            protocol: config.protocol.to_string(),
            standing: config.protocol.standing(&core),
            epoch: group.epoch().max(core.epoch.round),
            leader: group.leader,
            revision: group.state.revision,
            compacted: group.state.compacted,
            applied: group.applied(&self.shared).0,
            commit: core.commit.0,
            last: core.last.index.0,
            durable: group.durable(&self.shared).0,
            ready: trouble.is_none(),
            trouble,
            notice: group.steward.notice(),
            members: group.roll.members.list.clone(),
            peers: peers.collect(),
        }
    }

    fn trouble(&self, group: &Group) -> Option<String> {
        if group.in_doubt {
            return Some(
                "its journal was damaged; it is repaired from the other nodes, all of which must \
                 be reachable. Until then it does not vote"
                    .into(),
            );
        }
        if self.shared.disk_full {
            return Some("the journal finds no room on the disk; make room".into());
        }
        if self.maintenance.is_full() {
            return Some("the storage engine finds no room on the disk; make room".into());
        }
        if self.shared.retiring {
            return Some("it is stopping".into());
        }
        if group.roll.members.has_left(self.shared.config.node) {
            return Some(
                "it was removed from the cluster: stop it. To come back it must begin anew, with an \
                 empty data directory and a new number: `cairn member add`"
                    .into(),
            );
        }
        if group.state_missing || group.fetch.is_some() {
            return Some("it is being rebuilt from another node's snapshot".into());
        }
        if group.witness.is_some() && group.role == Role::Leader {
            return Some(
                "it is a witness and has no data; it leads until a node that has it has caught up: start the others"
                    .into(),
            );
        }
        if group.leader.is_none() {
            return Some("no leader is known: a majority of the nodes must be up".into());
        }
        (group.role == Role::Leader && !group.ready)
            .then(|| "it leads but does not yet know what is committed".into())
    }
}

/// What a replica is, in a word; a witness that follows is called that.
fn role_word(group: &Group, role: Role) -> String {
    match role {
        Role::Follower if group.witness.is_some() => "witness".to_owned(),
        role => role.to_string(),
    }
}

/// Whether nobody else could give this node back what it lost, as far as its journal knows.
fn is_alone(config: &Config, log: &RecoveredLog) -> bool {
    let last = log.entries.iter().rev().find_map(|entry| match &entry.payload {
        Payload::Membership(membership) => Some(membership),
        Payload::Noop | Payload::Command(_) => None,
    });
    match last.or(log.membership.as_ref()) {
        Some(membership) => membership.is_alone(replica_of(config.node)),
        None => !config.joins && config.members.len() == 1,
    }
}

fn check(config: &Config) -> Result<(), StartError> {
    let refuse = |what: String| Err(StartError::Config { what });
    let mut nodes: Vec<NodeId> = config.members.iter().map(|member| member.node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    if nodes.len() != config.members.len() {
        return refuse("a node number stands twice in `members`".into());
    }
    if !nodes.contains(&config.node) {
        return refuse(format!("`members` must name this node, {}", config.node));
    }
    if config.tuning.heartbeat * 3 > config.tuning.election_timeout {
        return refuse("`election_timeout` must be at least three times `heartbeat`".into());
    }
    let lease = |drift: ClockDrift| drift.surely_within(config.tuning.election_timeout);
    if config.tuning.lease.is_some_and(|drift| lease(drift) <= config.tuning.heartbeat) {
        return refuse(
            "with clocks as wrong as `lease` says no lease outlasts a `heartbeat`".into(),
        );
    }
    if config.tuning.value_limit_bytes + (64 << 10) > config.tuning.command_limit_bytes {
        return refuse("the limit of a value must leave 64 KiB of a command's limit".into());
    }
    Ok(())
}
