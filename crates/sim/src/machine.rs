//! A machine: a disk that outlives its processes, and at most one process at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use consensus::Time;
use disk::mem::MemDisk;
use engine::{Job, Worker};
use journal::{Journal, Record};
use node::{ChunkTask, Effect, Event, Node, ReadTask, ScrubTask, Ticket, WriteId};
use wire::NodeId;

use crate::clock::{Clock, TRUE_RATE};
use crate::inbox::Inbox;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::world::{Death, ProcessStep};

/// Directory of the journal, and file of the engine.
pub(crate) const JOURNAL: &str = "journal";
pub(crate) const ENGINE_DIR: &str = "engine";
pub(crate) const ENGINE: &str = "engine/base";

/// What failed before all was healed may be noticed so much later: a slow job was at it.
const LATE_FAILURES: Duration = Duration::from_secs(10);

/// One machine.
pub(crate) struct Machine {
    pub(crate) index: usize,
    pub(crate) disk: MemDisk,
    pub(crate) rng: Rng,
    pub(crate) standing: Standing,
    /// What it joined as.
    pub(crate) nature: Nature,
    /// Processes that were started here so far.
    pub(crate) life: u64,
    pub(crate) process: Option<Process>,
    pub(crate) paused_until: Time,
    /// How many times as long its disk takes.
    pub(crate) slowness: u32,
    /// How many times as long its processor takes.
    pub(crate) sloth: u32,
    /// What its processor needs for one event, before that.
    pub(crate) event_cost: Duration,
    pub(crate) clock: Clock,
    /// Its process ends after so many steps more: see `World::survives`.
    pub(crate) ends_in: Option<(u64, Death)>,
    /// So many of its next starts are cut short.
    pub(crate) failing_starts: u32,
    /// Its disk fills up when the storage worker begins its next job.
    pub(crate) full_at_job: bool,
    /// Whether a boot is planned.
    pub(crate) boots: bool,
    /// It must not be started before.
    pub(crate) down_until: Time,
    /// What may make its storage fail: a process that ends without it is a violation.
    pub(crate) excuse: Option<Excuse>,
    /// From when on that is no reason any more.
    pub(crate) excused_until: Option<Time>,
    /// Bytes of it were damaged: it may stop for that, or be rebuilt. Never on more than a minority.
    pub(crate) damaged: bool,
    /// How often it has stopped for that since it was last whole.
    pub(crate) ailments: u32,
}

/// What a node keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// The log, and the data.
    Data,
    /// The log alone.
    Witness,
}

/// What a machine is to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The cluster began with it.
    First,
    /// It stands ready, and has never run.
    Spare,
    /// It has joined.
    Joined,
    /// It was taken out, and is switched off.
    Gone,
    /// It is lost, with all that it held.
    Lost,
}

/// Why a process may end by itself, and what ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excuse {
    /// A full disk.
    Full,
    /// Too many open files.
    Handles,
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
    Scrub(ScrubTask),
}

/// A running node with its threads.
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) inbox: Inbox,
    /// A turn is planned.
    pub(crate) turns: bool,
    /// Its thread is at the events of its last turn until then.
    pub(crate) busy_until: Time,
    /// The deadline that is planned, by the machine's clock.
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
    /// Nobody waits for these any more; they may be answered all the same.
    pub(crate) cancelled: BTreeSet<Ticket>,
    /// The newest revision at which its state was compared with the others'.
    pub(crate) audited: u64,
    pub(crate) next_ticket: u64,
    /// What it would have done while it was stopped.
    pub(crate) postponed: Vec<ProcessStep>,
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
    pub(crate) fn new(index: usize, plan: &Plan, seed: &Rng) -> Self {
        let mut rng = seed.fork_number(index as u64);
        Self {
            index,
            standing: if index < plan.nodes { Standing::First } else { Standing::Spare },
            nature: Nature::Data,
            disk: MemDisk::new(rng.draw()),
            rng,
            life: 0,
            process: None,
            paused_until: Time::default(),
            slowness: 1,
            sloth: 1,
            event_cost: Duration::ZERO,
            clock: Clock::new(),
            ends_in: None,
            failing_starts: 0,
            full_at_job: false,
            boots: index < plan.nodes,
            down_until: Time::default(),
            excuse: None,
            excused_until: None,
            damaged: false,
            ailments: 0,
        }
    }

    pub(crate) fn id(&self) -> NodeId {
        NodeId(self.index as u64 + 1)
    }

    /// Why its process may end by itself now.
    pub(crate) fn excuse(&self, now: Time) -> Option<Excuse> {
        self.excuse.filter(|_| self.excused_until.is_none_or(|until| now <= until))
    }

    /// Whether a process may be started on it.
    pub(crate) fn may_run(&self) -> bool {
        matches!(self.standing, Standing::First | Standing::Joined)
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
        self.sloth = 1;
        self.event_cost = Duration::ZERO;
        self.clock.set_rate(now, TRUE_RATE);
        self.ends_in = None;
        self.failing_starts = 0;
        self.full_at_job = false;
        self.excused_until = Some(now + LATE_FAILURES);
        self.paused_until = self.paused_until.min(now);
        self.down_until = now;
    }

    /// A time that its disk takes.
    pub(crate) fn sync_time(&mut self, plan: &Plan) -> Duration {
        self.rng.duration(plan.sync.0, plan.sync.1) * self.slowness
    }

    /// How long its processor takes for so many events.
    pub(crate) fn turn_time(&self, events: usize) -> Duration {
        const SLOWEST_EVENT: Duration = Duration::from_millis(20);
        const LONGEST_TURN: Duration = Duration::from_secs(3);
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        let each = self.event_cost.saturating_mul(self.sloth).min(SLOWEST_EVENT);
        each.saturating_mul(events).min(LONGEST_TURN)
    }

    pub(crate) fn work_time(&mut self, plan: &Plan) -> Duration {
        self.rng.duration(plan.work.0, plan.work.1) * self.slowness
    }
}

impl Process {
    /// Something from the node's own threads.
    pub(crate) fn report(&mut self, event: Event) {
        self.inbox.completion(event);
    }
}
