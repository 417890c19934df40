//! A cluster moved by hand: messages wait in the mail until they are delivered or lost, and a
//! manual disk writes only when it is told to. Everything that comes out is traced.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::Config;
use consensus::raft;
use consensus::{
    Durable, Entry, Epoch, HardState, Input, LogIndex, Membership, Message, Output, Payload,
    PersistId, Position, ProposalId, Protocol, ReadId, Replica, ReplicaId, Restored, Role, Status,
    Time,
};

use crate::{paxos, print};

/// A message under way.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) from: ReplicaId,
    pub(crate) to: ReplicaId,
    pub(crate) message: Message,
}

impl Mail {
    /// A message of Raft's.
    pub(crate) fn raft(from: ReplicaId, to: ReplicaId, message: raft::Message) -> Self {
        Self { from, to, message: Message::Raft(message) }
    }

    pub(crate) fn as_raft(&self) -> &raft::Message {
        let Message::Raft(message) = &self.message else { panic!("they speak Raft") };
        message
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskMode {
    /// Every write is durable as soon as it is asked for.
    Auto,
    /// Writes wait for [`Cluster::flush`].
    Manual,
}

#[derive(Default)]
struct Disk {
    hard_state: HardState,
    base: Position,
    membership: Option<Arc<Membership>>,
    entries: Vec<Entry>,
    applied: Position,
    queue: VecDeque<Durable>,
    durable: PersistId,
    held: Vec<(PersistId, Mail)>,
}

struct Node {
    config: Config,
    replica: Option<Box<dyn Replica>>,
    disk: Disk,
    mode: DiskMode,
    applied: Vec<Entry>,
    /// Its membership at its start says nothing new.
    is_told: bool,
}

impl Node {
    fn new(config: Config) -> Self {
        Self {
            config,
            replica: None,
            disk: Disk::default(),
            mode: DiskMode::Auto,
            applied: Vec::new(),
            is_told: false,
        }
    }
}

pub(crate) struct Cluster {
    protocol: Protocol,
    nodes: BTreeMap<ReplicaId, Node>,
    pub(crate) mail: VecDeque<Mail>,
    pub(crate) now: Time,
    pub(crate) trace: Vec<String>,
    proposals: u64,
}

/// More than any settling needs: a loop without end is a bug.
const MAX_DELIVERIES: usize = 2000;

impl Cluster {
    /// Replicas 1 to `size` of Raft, each after its first step.
    pub(crate) fn new(size: u64, adjust: impl Fn(&mut Config)) -> Self {
        Self::of(Protocol::Raft, size, adjust)
    }

    /// The same for another protocol.
    pub(crate) fn of(protocol: Protocol, size: u64, adjust: impl Fn(&mut Config)) -> Self {
        let mut cluster = Self::unstarted(protocol, size, adjust);
        cluster.start();
        cluster
    }

    /// A cluster whose logs hold entries of these terms, one list for each replica.
    pub(crate) fn with_logs(logs: &[&[u64]]) -> Self {
        Self::of_logs(Protocol::Raft, logs)
    }

    /// The same for another protocol whose entries bear plain epochs: Paxos's bear stamps.
    pub(crate) fn of_logs(protocol: Protocol, logs: &[&[u64]]) -> Self {
        let mut cluster = Self::unstarted(protocol, logs.len() as u64, |_| {});
        for (node, terms) in cluster.nodes.values_mut().zip(logs) {
            let epoch = |round: &u64| Epoch { round: *round, proposer: 0 };
            let position = |(index, term)| Position { index: LogIndex(index), epoch: epoch(term) };
            let positions = (1..).zip(terms.iter()).map(position);
            node.disk.entries =
                positions.map(|position| Entry { position, payload: Payload::Noop }).collect();
            let epoch = terms.last().map(epoch).unwrap_or_default();
            node.disk.hard_state = HardState { epoch, vote: None };
        }
        cluster.start();
        cluster
    }

    fn start(&mut self) {
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.restart(id, false);
        }
    }

    fn unstarted(protocol: Protocol, size: u64, adjust: impl Fn(&mut Config)) -> Self {
        let voters: BTreeSet<_> = (1..=size).map(ReplicaId).collect();
        let mut cluster = Self {
            protocol,
            nodes: BTreeMap::new(),
            mail: VecDeque::new(),
            now: Time::default(),
            trace: Vec::new(),
            proposals: 0,
        };
        for id in voters.iter().copied() {
            let mut config = Config::new(id, voters.clone(), id.0);
            adjust(&mut config);
            cluster.nodes.insert(id, Node::new(config));
        }
        cluster
    }

    /// Starts a replica that knows of nobody.
    pub(crate) fn join(&mut self, id: ReplicaId) {
        let like = self.nodes.values().next().expect("somebody to join").config.clone();
        let (voters, witnesses) = (BTreeSet::new(), BTreeSet::new());
        let config = Config { id, seed: id.0, voters, witnesses, ..like };
        self.nodes.insert(id, Node::new(config));
        self.restart(id, false);
    }

    /// Asks this replica to change who belongs to the group.
    pub(crate) fn change(&mut self, id: ReplicaId, target: Membership) {
        self.proposals += 1;
        let proposal = ProposalId(self.proposals);
        self.input(id, Input::Reconfigure { id: proposal, target });
    }

    /// A cluster of three in which replica 1 leads and all is quiet.
    pub(crate) fn led() -> Self {
        let mut cluster = Self::new(3, |_| {});
        cluster.elect(ReplicaId(1));
        cluster
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn elect(&mut self, id: ReplicaId) {
        self.timeout(id);
        self.settle();
        assert_eq!(self.status(id).role, Role::Leader);
    }

    pub(crate) fn status(&self, id: ReplicaId) -> Status {
        self.nodes[&id].replica.as_ref().expect("it runs").status()
    }

    pub(crate) fn deadline(&self, id: ReplicaId) -> Option<Time> {
        self.nodes[&id].replica.as_ref().expect("it runs").deadline()
    }

    /// What is on a replica's disk: its term and vote, and the terms of its log.
    pub(crate) fn disk(&self, id: ReplicaId) -> (HardState, Vec<u64>) {
        let disk = &self.nodes[&id].disk;
        let terms = disk.entries.iter().map(|entry| entry.position.epoch.round);
        (disk.hard_state, terms.collect())
    }

    pub(crate) fn applied(&self, id: ReplicaId) -> &[Entry] {
        &self.nodes[&id].applied
    }

    pub(crate) fn set_disk(&mut self, id: ReplicaId, mode: DiskMode) {
        self.node(id).mode = mode;
        if mode == DiskMode::Auto {
            self.flush(id);
        }
    }

    pub(crate) fn advance(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// Lets time pass until this replica's deadline, for this replica alone.
    pub(crate) fn timeout(&mut self, id: ReplicaId) {
        let deadline = self.nodes[&id].replica.as_ref().expect("it runs").deadline();
        self.now = self.now.max(deadline.expect("it waits for something"));
        self.input(id, Input::Tick);
    }

    /// Lets time pass as it does, while what concerns these replicas is lost.
    pub(crate) fn pass(&mut self, duration: Duration, cut_off: &[ReplicaId]) {
        let (end, step) = (self.now + duration, Duration::from_millis(20));
        while self.now < end {
            self.advance(step);
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                let deadline = self.nodes[&id].replica.as_ref().and_then(|r| r.deadline());
                if deadline.is_some_and(|deadline| deadline <= self.now) {
                    self.input(id, Input::Tick);
                }
            }
            self.settle_without(cut_off);
        }
    }

    pub(crate) fn propose(&mut self, id: ReplicaId, commands: &[&str]) {
        let mut proposals = Vec::new();
        for command in commands {
            self.proposals += 1;
            let bytes = Bytes::copy_from_slice(command.as_bytes());
            proposals.push((ProposalId(self.proposals), bytes));
        }
        self.input(id, Input::Propose(proposals));
    }

    pub(crate) fn read(&mut self, id: ReplicaId, read: u64) {
        self.input(id, Input::Read(vec![ReadId(read)]));
    }

    /// Steps one replica; gives what came out.
    pub(crate) fn input(&mut self, id: ReplicaId, input: Input) {
        let (now, protocol) = (self.now, self.protocol);
        let node = self.node(id);
        let Some(replica) = &mut node.replica else { return };
        let mut out = Vec::new();
        replica.step(now, input, &mut out);
        let is_told = std::mem::replace(&mut node.is_told, true);
        let told = |output: &&Output| is_told || !matches!(output, Output::Members(_));
        let printed = |output| print::output(protocol, id, output);
        self.trace.extend(out.iter().filter(told).map(printed));
        let mut barrier = PersistId(0);
        for output in out {
            self.carry_out(id, output, &mut barrier);
        }
        if self.nodes[&id].mode == DiskMode::Auto && !self.nodes[&id].disk.queue.is_empty() {
            self.flush(id);
        }
    }

    fn carry_out(&mut self, id: ReplicaId, output: Output, barrier: &mut PersistId) {
        let node = self.node(id);
        match output {
            Output::Persist(durable) => {
                *barrier = durable.id;
                node.disk.queue.push_back(durable);
            }
            Output::Await(write) => *barrier = write.max(*barrier),
            Output::Send { to, message } => {
                let mail = Mail { from: id, to, message };
                if *barrier <= node.disk.durable {
                    self.mail.push_back(mail);
                } else {
                    node.disk.held.push((*barrier, mail));
                }
            }
            Output::Apply(entries) => node.applied.extend(entries),
            Output::Accepted(_)
            | Output::Refused { .. }
            | Output::Serve { .. }
            | Output::FetchSnapshot { .. }
            | Output::Members(_)
            | Output::News(_) => {}
        }
    }

    /// Makes all writes of a replica durable, and reports them.
    pub(crate) fn flush(&mut self, id: ReplicaId) {
        let disk = &mut self.node(id).disk;
        while let Some(durable) = disk.queue.pop_front() {
            disk.durable = durable.id;
            disk.write(durable);
        }
        let durable = disk.durable;
        let (ready, held) = disk.held.drain(..).partition(|(barrier, _)| *barrier <= durable);
        disk.held = held;
        let ready: Vec<_> = ready;
        self.mail.extend(ready.into_iter().map(|(_, mail)| mail));
        self.input(id, Input::Persisted(durable));
    }

    /// Delivers the mail that is under way now and that `wanted` picks.
    pub(crate) fn deliver(&mut self, wanted: impl Fn(&Mail) -> bool) {
        for mail in self.take(wanted) {
            self.hand_in(mail);
        }
    }

    /// Takes mail out of the network.
    pub(crate) fn take(&mut self, wanted: impl Fn(&Mail) -> bool) -> Vec<Mail> {
        let (taken, left) = self.mail.drain(..).partition(wanted);
        self.mail = left;
        taken.into()
    }

    pub(crate) fn hand_in(&mut self, mail: Mail) {
        self.input(mail.to, Input::Receive { from: mail.from, message: mail.message });
    }

    /// Delivers until nothing is under way.
    pub(crate) fn settle(&mut self) {
        self.settle_without(&[]);
    }

    /// Delivers until nothing is under way; what concerns these replicas is lost.
    pub(crate) fn settle_without(&mut self, cut_off: &[ReplicaId]) {
        for _ in 0..MAX_DELIVERIES {
            let Some(mail) = self.mail.pop_front() else { return };
            if !cut_off.contains(&mail.from) && !cut_off.contains(&mail.to) {
                self.hand_in(mail);
            }
        }
        panic!("the cluster does not come to rest");
    }

    /// The state machine's image now is what has been applied.
    pub(crate) fn checkpoint(&mut self, id: ReplicaId) {
        let node = self.node(id);
        let last = node.applied.last().map_or(node.disk.applied, |entry| entry.position);
        node.disk.applied = last;
        self.input(id, Input::Checkpointed { through: last.index });
    }

    pub(crate) fn install(&mut self, id: ReplicaId, position: Position) {
        let node = self.node(id);
        node.disk.applied = position;
        node.applied.clear();
        let membership = Arc::new(Membership::of(node.config.voters.clone()));
        self.input(id, Input::SnapshotInstalled { position, membership });
    }

    /// Stops a replica; what was not written is lost.
    pub(crate) fn crash(&mut self, id: ReplicaId) {
        let node = self.node(id);
        node.replica = None;
        node.disk.queue.clear();
        node.disk.held.clear();
        node.applied.clear();
    }

    /// Forgets the end of a crashed replica's journal: its term, vote, and last entries.
    pub(crate) fn damage(&mut self, id: ReplicaId, lost_entries: usize) {
        let protocol = self.protocol;
        let disk = &mut self.node(id).disk;
        disk.entries.truncate(disk.entries.len().saturating_sub(lost_entries));
        let written = disk.entries.last().map_or(disk.base.epoch, |entry| entry.position.epoch);
        let epoch = match protocol {
            Protocol::Raft | Protocol::Zab => written,
            Protocol::Paxos => paxos::promise_of(written),
        };
        disk.hard_state = HardState { epoch, vote: None };
    }

    pub(crate) fn restart(&mut self, id: ReplicaId, in_doubt: bool) {
        let (now, protocol) = (self.now, self.protocol);
        let node = self.node(id);
        node.disk.durable = PersistId(0);
        let Disk { hard_state, base, membership, entries, applied, .. } = &node.disk;
        let restored = Restored {
            hard_state: *hard_state,
            base: *base,
            membership: membership.clone(),
            entries: entries.clone(),
            applied: *applied,
            image: None,
            in_doubt,
        };
        node.is_told = false;
        node.config.seed += 1000;
        node.replica = Some(protocol.replica(node.config.clone(), restored, now));
        self.input(id, Input::Tick);
    }

    fn node(&mut self, id: ReplicaId) -> &mut Node {
        self.nodes.get_mut(&id).expect("a replica of this cluster")
    }
}

impl Disk {
    fn write(&mut self, durable: Durable) {
        self.hard_state = durable.hard_state.unwrap_or(self.hard_state);
        if let Some(base) = durable.base {
            let holds = self.entries.iter().any(|entry| entry.position == base);
            self.entries.retain(|entry| holds && entry.position.index > base.index);
            self.base = base;
        }
        if durable.membership.is_some() {
            self.membership = durable.membership;
        }
        if let Some(first) = durable.entries.first() {
            self.entries.retain(|entry| entry.position.index < first.position.index);
            self.entries.extend(durable.entries);
        }
    }
}
