//! A node in memory whose driver does everything at once, in the order in which it was asked for.
//!
//! Its journal is a list of what was appended, which survives a restart: segments have targets of
//! their own.

use std::collections::BTreeMap;

use consensus::{Position, Time};
use disk::mem::MemDisk;
use engine::Worker;
use journal::{LogId, Record, Recovered, RecoveredLog};
use node::{
    Answer, Config, Effect, Event, Node, PeerEnvelope, ScrubStep, StartError, Ticket, Tuning,
};
use wire::{Member, NodeId, Part, Request};

/// The cluster's name.
pub(crate) const CLUSTER: &str = "fuzz";

/// Small, so that inputs can go over it.
pub(crate) const VALUE_LIMIT_BYTES: usize = 1024;

/// Rounds of effects that follow from one event; a node that asks for more goes round in circles.
const MOST_ROUNDS: usize = 10_000;

/// A node with its storage.
pub(crate) struct Solo {
    pub(crate) node: Node,
    pub(crate) now: Time,
    /// What it wanted to tell other nodes.
    pub(crate) sent: Vec<PeerEnvelope>,
    /// Why it stopped, if it did.
    pub(crate) stopped: Option<String>,
    members: u64,
    worker: Box<dyn Worker>,
    disk: MemDisk,
    log: RecoveredLog,
    answers: BTreeMap<Ticket, Answer>,
    next: u64,
}

fn config(members: u64) -> Config {
    let member = |node| Member {
        node: NodeId(node),
        client_address: format!("n{node}:8000"),
        peer_address: format!("n{node}:9000"),
        part: Part::Voter,
        priority: Member::DEFAULT_PRIORITY,
    };
    let tuning = Tuning {
        value_limit_bytes: VALUE_LIMIT_BYTES,
        command_limit_bytes: VALUE_LIMIT_BYTES + (64 << 10),
        page_limit_bytes: 4096,
        remembered_clients: 4,
        retain_revisions: 16,
        ..Tuning::default()
    };
    Config {
        node: NodeId(1),
        cluster: CLUSTER.into(),
        version: "0".into(),
        members: (1..=members).map(member).collect(),
        joins: false,
        witness: false,
        protocol: node::Protocol::Raft,
        seed: 7,
        tuning,
        rare: node::Rare::closed(),
    }
}

/// What the node's engine is opened with.
pub(crate) fn engine_config() -> engine::Config {
    engine::Config { cache_bytes: 1 << 20, chunk_bytes: 512, ..engine::Config::default() }
}

impl Solo {
    /// Node 1 of so many, on an empty disk. Alone, it leads at once.
    pub(crate) fn new(members: u64) -> Self {
        Self::start(members, MemDisk::new(1), RecoveredLog::default())
            .expect("an empty disk is sound")
    }

    /// Node 1 of so many, on what a disk holds.
    pub(crate) fn start(
        members: u64,
        disk: MemDisk,
        log: RecoveredLog,
    ) -> Result<Self, StartError> {
        let opened = engine::open_memory(disk.clone(), "engine", engine_config());
        let (engine, worker) = opened.expect("the engine's file is its own");
        let logs = BTreeMap::from([(LogId(node::GROUP.0), log.clone())]);
        let recovered = Recovered { logs, ..Recovered::default() };
        let now = Time::from_nanos(1);
        let node = Node::new(config(members), recovered, engine, now)?;
        let (sent, answers) = (Vec::new(), BTreeMap::new());
        let mut solo =
            Self { node, now, sent, stopped: None, members, worker, disk, log, answers, next: 0 };
        solo.tell(Event::Tick);
        Ok(solo)
    }

    /// The process ends and comes again; what was journaled is there.
    pub(crate) fn restart(self) -> Self {
        let Self { members, disk, log, node, worker, .. } = self;
        drop((node, worker));
        Self::start(members, disk, log).expect("its own log is sound")
    }

    /// One event, and all that follows from it.
    pub(crate) fn tell(&mut self, event: Event) {
        self.node.handle(self.now, event);
        for _ in 0..MOST_ROUNDS {
            let mut effects = Vec::new();
            self.node.settle(self.now, &mut effects);
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
        panic!("the node asks for ever more");
    }

    /// Asks, and gives the answer: at once, or when the node's own deadlines have passed.
    pub(crate) fn ask(&mut self, request: Request) -> Answer {
        self.next += 1;
        let ticket = Ticket(self.next);
        self.tell(Event::Request { ticket, request });
        for _ in 0..MOST_ROUNDS {
            if let Some(answer) = self.answers.remove(&ticket) {
                assert!(self.answers.is_empty(), "an answer to no request");
                return answer;
            }
            assert_eq!(self.stopped, None, "a request stops no node");
            self.pass_time();
        }
        panic!("a request is never answered");
    }

    /// On to the node's next deadline.
    pub(crate) fn pass_time(&mut self) {
        if let Some(deadline) = self.node.deadline() {
            self.now = self.now.max(deadline);
        }
        self.tell(Event::Tick);
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Reply { ticket, answer } => self.answered(ticket, answer),
            Effect::Read { ticket, task } => {
                let answer = task.run().expect("the storage is sound");
                self.answered(ticket, answer);
            }
            Effect::Verify { ticket, task } => {
                let is_right = task.stored() == Some(task.password());
                self.answered(ticket, task.finish(is_right));
            }
            Effect::Journal { write, records } => {
                for record in records {
                    keep(&mut self.log, record);
                }
                self.node.handle(self.now, Event::Journaled(write));
            }
            Effect::Work(job) => {
                let done = self.worker.run(job);
                self.node.handle(self.now, Event::Worked(done));
            }
            Effect::ReadChunk(task) => {
                let read = task.run();
                self.node.handle(self.now, read);
            }
            Effect::Scrub(mut task) => loop {
                match task.step(usize::MAX) {
                    ScrubStep::More { .. } => {}
                    ScrubStep::Ended(event) => break self.node.handle(self.now, event),
                    ScrubStep::Unwanted => break,
                }
            },
            Effect::Send(envelope) => self.sent.push(envelope),
            Effect::DamageRepaired | Effect::News(_) | Effect::Members(_) => {}
            Effect::Stop { why } => self.stopped = Some(why),
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: Answer) {
        let before = self.answers.insert(ticket, answer);
        assert!(before.is_none(), "a request was answered twice");
    }
}

/// What a journal would give back.
fn keep(log: &mut RecoveredLog, record: Record) {
    match record {
        Record::HardState { hard_state, .. } => log.hard_state = hard_state,
        Record::Membership { membership, .. } => log.membership = Some(membership),
        Record::Base { base, .. } => rebase(log, base),
        Record::Entry { entry, .. } => {
            let before = |held: &consensus::Entry| held.position.index < entry.position.index;
            log.entries.truncate(log.entries.partition_point(before));
            log.entries.push(entry);
        }
        Record::Forget { .. } => *log = RecoveredLog::default(),
    }
}

fn rebase(log: &mut RecoveredLog, base: Position) {
    let holds = log.base == base || log.entries.iter().any(|entry| entry.position == base);
    if holds {
        log.entries.retain(|entry| entry.position.index > base.index);
    } else {
        log.entries.clear();
    }
    log.base = base;
}
