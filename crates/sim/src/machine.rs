//! A machine: a disk that outlives its processes, and at most one process at a time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use consensus::Time;
use disk::mem::MemDisk;
use engine::{Job, Worker};
use journal::{Journal, Record};
use node::{ChunkTask, Effect, Event, Node, ReadTask, Ticket, WriteId};
use wire::NodeId;

use crate::plan::Plan;
use crate::rng::Rng;

/// Events that may wait for a node that does not run. What comes beyond is lost, as in a socket's
/// buffer.
pub(crate) const INBOX_LIMIT: usize = 4096;

/// Directory of the journal, and file of the engine.
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const ENGINE: &str = "engine/base";

/// One machine.
pub(crate) struct Machine {
    pub(crate) index: usize,
    pub(crate) disk: MemDisk,
    pub(crate) rng: Rng,
    /// Processes that were started here so far.
    pub(crate) life: u64,
    pub(crate) process: Option<Process>,
    pub(crate) paused_until: Time,
    /// How many times as long its disk takes.
    pub(crate) slowness: u32,
    /// Whether a boot is planned.
    pub(crate) boots: bool,
    /// It must not be started before.
    pub(crate) down_until: Time,
    /// What may make its storage fail: a process that ends without it is a violation.
    pub(crate) excuse: Option<Excuse>,
}

/// Why a process may end by itself, and what ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// A full disk.
    Full,
    /// A failing sync; the machine is switched off and on again.
    SyncThenPower,
    /// A failing sync; only the process ends.
    SyncThenProcess,
}

/// Who waits for an answer: a client, and to which of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) client: usize,
    pub(crate) call: u64,
}

/// A read that runs on another thread.
pub(crate) enum Task {
    Read(Ticket, ReadTask),
    Chunk(ChunkTask),
}

/// A running node with its threads.
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) inbox: VecDeque<Event>,
    /// A turn is planned.
    pub(crate) turns: bool,
    /// The deadline that is planned.
    pub(crate) deadline: Option<Time>,
    pub(crate) journal: JournalThread,
    pub(crate) worker: Box<dyn Worker>,
    /// Jobs in their order.
    pub(crate) jobs: VecDeque<Job>,
    /// Whether the worker is at the first of them.
    pub(crate) works: bool,
    pub(crate) tasks: BTreeMap<u64, Task>,
    pub(crate) next_task: u64,
    pub(crate) callers: BTreeMap<Ticket, Caller>,
    pub(crate) next_ticket: u64,
    /// Reused from turn to turn.
    pub(crate) effects: Vec<Effect>,
    pub(crate) rng: Rng,
}

/// The thread that writes the journal: all that is waiting goes out in one batch.
pub(crate) struct JournalThread {
    pub(crate) journal: Journal<MemDisk>,
    pub(crate) queue: VecDeque<(WriteId, Vec<Record>)>,
    /// What is being written: the last write's name, and its records while there is no room.
    pub(crate) writing: Option<(WriteId, Vec<Record>)>,
    pub(crate) full: bool,
}

impl Machine {
    pub(crate) fn new(index: usize, seed: &Rng) -> Self {
        let mut rng = seed.fork_number(index as u64);
        Self {
            index,
            disk: MemDisk::new(rng.draw()),
            rng,
            life: 0,
            process: None,
            paused_until: Time::default(),
            slowness: 1,
            boots: true,
            down_until: Time::default(),
            excuse: None,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        NodeId(self.index as u64 + 1)
    }

    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn is_paused(&self, now: Time) -> bool {
        self.paused_until > now
    }

    /// Everything that was wrong with it is over, but for what is already broken.
    pub(crate) fn heal(&mut self, now: Time) {
        self.disk.heal();
        self.slowness = 1;
        self.paused_until = self.paused_until.min(now);
        self.down_until = now;
    }

    /// A time that its disk takes.
    pub(crate) fn sync_time(&mut self, plan: &Plan) -> Duration {
        self.rng.duration(plan.sync.0, plan.sync.1) * self.slowness
    }

    pub(crate) fn work_time(&mut self, plan: &Plan) -> Duration {
        self.rng.duration(plan.work.0, plan.work.1) * self.slowness
    }
}

impl Process {
    /// Something for the node to take in; lost if too much is waiting.
    pub(crate) fn post(&mut self, event: Event) {
        if self.inbox.len() < INBOX_LIMIT {
            self.inbox.push_back(event);
        }
    }

    /// As [`Process::post`], but never lost: it comes from the node's own threads.
    pub(crate) fn report(&mut self, event: Event) {
        self.inbox.push_back(event);
    }
}
