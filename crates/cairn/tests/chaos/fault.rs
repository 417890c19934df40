//! Faults that last for a while, and their mending. Each is mended for itself, so that two can
//! overlap in time as they like.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use rustix::process::Signal;

use crate::chance::Chance;
use crate::cluster::{Cluster, NODES};
use crate::hosts::Rule;
use crate::queue::{Manner, Queue};
use crate::tracer::{Meddling, Tracer};

/// A processor that is taken away runs for one part, and then stands still for the other.
const RUNS: Duration = Duration::from_millis(4);
const STANDS: Duration = Duration::from_millis(60);

/// What may be done to a cluster for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A host's plug is pulled.
    Unplugged,
    /// A host does not hear one other host.
    Deaf,
    /// Two hosts don't hear each other; both hear the third (a partition that is not transitive).
    Apart,
    /// A host does not hear what one other node has to say, while it is heard there.
    OneWay,
    /// A host hears neither of the others.
    DeafToAll,
    /// A host loses many of the packets that it gets.
    Lossy,
    /// Packets reach a host late and in another order.
    Late,
    /// Packets to a host pile up, then come all at once.
    Clogged,
    /// A host's wire carries little.
    Narrow,
    /// `kill -9`.
    Killed,
    /// `kill -9` for two of three.
    MostKilled,
    /// `kill -9` for all at once.
    AllKilled,
    /// A node stands still, and goes on in what it believes to be the next moment.
    Stopped,
    /// A node gets a small part of a processor.
    Starved,
    /// Each sync of a node takes long.
    SlowDisk,
    /// A sync of a node fails: the node must end.
    FailedSync,
    /// A host's disk is full.
    Full,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 17] = [
        Self::Unplugged,
        Self::Deaf,
        Self::Apart,
        Self::OneWay,
        Self::DeafToAll,
        Self::Lossy,
        Self::Late,
        Self::Clogged,
        Self::Narrow,
        Self::Killed,
        Self::MostKilled,
        Self::AllKilled,
        Self::Stopped,
        Self::Starved,
        Self::SlowDisk,
        Self::FailedSync,
        Self::Full,
    ];

    /// As it is told.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unplugged => "unplugged",
            Self::Deaf => "deaf to one",
            Self::Apart => "apart from one",
            Self::OneWay => "cut one-way",
            Self::DeafToAll => "deaf to all",
            Self::Lossy => "loses packets",
            Self::Late => "hears late",
            Self::Clogged => "clogged",
            Self::Narrow => "narrow wire",
            Self::Killed => "killed",
            Self::MostKilled => "two killed",
            Self::AllKilled => "all killed",
            Self::Stopped => "stopped",
            Self::Starved => "starved",
            Self::SlowDisk => "slow disk",
            Self::FailedSync => "failed sync",
            Self::Full => "disk full",
        }
    }

    /// Whether the kernel and the tools of this machine can do it. `cluster` is undisturbed.
    pub(crate) fn is_possible(self, cluster: &Cluster) -> bool {
        match self {
            Self::SlowDisk | Self::FailedSync => Tracer::is_there(),
            Self::Late | Self::Clogged => {
                let each = Duration::from_millis(1);
                cluster.host(1).open_queue(Manner::Clogged { each }, Chance::new(0)).is_ok()
            }
            Self::Unplugged
            | Self::Deaf
            | Self::Apart
            | Self::OneWay
            | Self::DeafToAll
            | Self::Lossy
            | Self::Narrow
            | Self::Killed
            | Self::MostKilled
            | Self::AllKilled
            | Self::Stopped
            | Self::Starved
            | Self::Full => true,
        }
    }

    /// How long it lasts. A disk needs time to be missed.
    pub(crate) fn time(self, chance: &mut Chance) -> Duration {
        match self {
            Self::Full => chance.time_ms(4000, 8000),
            Self::AllKilled => chance.time_ms(1, 1000),
            Self::Unplugged
            | Self::Deaf
            | Self::Apart
            | Self::OneWay
            | Self::DeafToAll
            | Self::Lossy
            | Self::Late
            | Self::Clogged
            | Self::Narrow
            | Self::Killed
            | Self::MostKilled
            | Self::Stopped
            | Self::Starved
            | Self::SlowDisk
            | Self::FailedSync => chance.time_ms(500, 4000),
        }
    }

    /// Whether the node that it strikes may end by itself, with the code of failed storage.
    fn excuses(self) -> bool {
        matches!(self, Self::Full | Self::FailedSync)
    }
}

/// A fault that lasts.
#[derive(Debug)]
pub(crate) struct Strike {
    /// Which.
    pub(crate) fault: Fault,
    /// Whom it meets.
    pub(crate) victim: u16,
    other: u16,
    third: u16,
    held: Held,
}

/// What keeps it up.
#[derive(Debug)]
enum Held {
    Nothing,
    Rules(Vec<(u16, Rule)>),
    Queue(Queue),
    Starver(Starver),
    Tracer(Tracer),
}

impl Strike {
    /// Makes the fault, from now until [`Strike::mend`].
    pub(crate) fn new(
        fault: Fault,
        victim: u16,
        cluster: &mut Cluster,
        chance: &mut Chance,
    ) -> Self {
        let mut others: Vec<u16> = (1..=NODES).filter(|&number| number != victim).collect();
        if chance.one_in(2) {
            others.reverse();
        }
        let (other, third) = (others[0], others[1]);
        if fault.excuses() {
            cluster.excuse(victim);
        }
        let mut strike = Self { fault, victim, other, third, held: Held::Nothing };
        strike.held = strike.inflict(cluster, chance);
        strike
    }

    fn inflict(&self, cluster: &mut Cluster, chance: &mut Chance) -> Held {
        let Self { victim, other, third, .. } = *self;
        match self.fault {
            Fault::Unplugged => cluster.host(victim).unplug(),
            Fault::Deaf => return rules(cluster, vec![(victim, deaf(cluster, other))]),
            Fault::Apart => {
                let both = vec![(victim, deaf(cluster, other)), (other, deaf(cluster, victim))];
                return rules(cluster, both);
            }
            Fault::OneWay => {
                let rule = Rule::deaf_to_messages_of(cluster.host(other));
                return rules(cluster, vec![(victim, rule)]);
            }
            Fault::DeafToAll => {
                let both = vec![(victim, deaf(cluster, other)), (victim, deaf(cluster, third))];
                return rules(cluster, both);
            }
            Fault::Lossy => return rules(cluster, vec![(victim, Rule::lossy())]),
            Fault::Late => {
                let least = chance.time_ms(1, 60);
                let manner = Manner::Late { least, spread: chance.time_ms(1, 60) };
                return queue(cluster, victim, manner, chance);
            }
            Fault::Clogged => {
                let each = chance.time_ms(200, 1500);
                return queue(cluster, victim, Manner::Clogged { each }, chance);
            }
            Fault::Narrow => cluster.host(victim).limit_rate(500 << chance.below(6)),
            Fault::Killed => cluster.node(victim).kill(),
            Fault::MostKilled => kill(cluster, &[victim, other]),
            Fault::AllKilled => kill(cluster, &[victim, other, third]),
            Fault::Stopped => cluster.node(victim).signal(Signal::STOP),
            Fault::Starved => {
                return cluster.node(victim).process().map_or(Held::Nothing, Starver::start);
            }
            Fault::SlowDisk => {
                let slow = Meddling::Slow(chance.time_ms(5, 400));
                return trace(cluster, victim, slow, chance);
            }
            Fault::FailedSync => return trace(cluster, victim, Meddling::FailOnce, chance),
            Fault::Full => cluster.host(victim).fill_disk(),
        }
        Held::Nothing
    }

    /// How many packets or syncs it has held up, as a proof that it did.
    pub(crate) fn held_up(&self) -> u64 {
        match &self.held {
            Held::Queue(queue) => queue.count(),
            Held::Tracer(tracer) => tracer.meddled(),
            Held::Nothing | Held::Rules(_) | Held::Starver(_) => 0,
        }
    }

    /// Ends it. Says which process must end by itself, if one must.
    pub(crate) fn mend(self, cluster: &mut Cluster) -> Option<Doomed> {
        let Self { victim, other, third, .. } = self;
        match self.held {
            Held::Nothing => {}
            Held::Rules(rules) => {
                for (number, rule) in &rules {
                    cluster.host(*number).remove(rule);
                }
            }
            Held::Queue(queue) => {
                cluster.host(victim).remove(&Rule::held());
                drop(queue);
            }
            Held::Starver(starver) => starver.stop(),
            Held::Tracer(tracer) => {
                let failed = self.fault == Fault::FailedSync && tracer.meddled() > 0;
                if failed {
                    return Some(Doomed { node: victim, process: tracer.process });
                }
            }
        }
        match self.fault {
            Fault::Unplugged => cluster.host(victim).plug(),
            Fault::Narrow => cluster.host(victim).lift_limit(),
            Fault::Killed => cluster.launch(&[victim]),
            Fault::MostKilled => cluster.launch(&[victim, other]),
            Fault::AllKilled => cluster.launch(&[victim, other, third]),
            Fault::Stopped => cluster.node(victim).signal(Signal::CONT),
            Fault::Full => cluster.host(victim).clear_disk(),
            Fault::Deaf
            | Fault::Apart
            | Fault::OneWay
            | Fault::DeafToAll
            | Fault::Lossy
            | Fault::Late
            | Fault::Clogged
            | Fault::Starved
            | Fault::SlowDisk
            | Fault::FailedSync => {}
        }
        None
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, victim, other, .. } = self;
        match fault {
            Fault::AllKilled => f.write_str(fault.name()),
            Fault::Deaf | Fault::Apart | Fault::OneWay | Fault::MostKilled => {
                write!(f, "node {victim}: {} (node {other})", fault.name())
            }
            Fault::Unplugged
            | Fault::DeafToAll
            | Fault::Lossy
            | Fault::Late
            | Fault::Clogged
            | Fault::Narrow
            | Fault::Killed
            | Fault::Stopped
            | Fault::Starved
            | Fault::SlowDisk
            | Fault::FailedSync
            | Fault::Full => write!(f, "node {victim}: {}", fault.name()),
        }
    }
}

/// A process whose sync has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doomed {
    /// Which node's.
    pub(crate) node: u16,
    /// Its number.
    pub(crate) process: u32,
}

fn deaf(cluster: &Cluster, other: u16) -> Rule {
    Rule::deaf_to(cluster.host(other))
}

fn rules(cluster: &Cluster, rules: Vec<(u16, Rule)>) -> Held {
    for (number, rule) in &rules {
        cluster.host(*number).add(rule);
    }
    Held::Rules(rules)
}

/// The same host may have only one queue: a second one changes nothing.
fn queue(cluster: &Cluster, victim: u16, manner: Manner, chance: &mut Chance) -> Held {
    let Ok(queue) = cluster.host(victim).open_queue(manner, chance.child()) else {
        return Held::Nothing;
    };
    cluster.host(victim).add(&Rule::held());
    Held::Queue(queue)
}

/// The signals first: none must notice that another is gone.
fn kill(cluster: &mut Cluster, victims: &[u16]) {
    for &number in victims {
        cluster.node(number).signal(Signal::KILL);
    }
    for &number in victims {
        cluster.node(number).kill();
    }
}

/// The thread that syncs the journal, or the engine's.
fn trace(cluster: &mut Cluster, victim: u16, meddling: Meddling, chance: &mut Chance) -> Held {
    let output: PathBuf = cluster.scratch("strace");
    let thread = chance.pick(&["journal", "journal", "storage"]);
    let Some(process) = cluster.node(victim).process() else { return Held::Nothing };
    Tracer::attach(process, thread, meddling, &output).map_or(Held::Nothing, Held::Tracer)
}

/// Stops a process and lets it go on, many times a second.
#[derive(Debug)]
struct Starver {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Starver {
    fn start(process: u32) -> Held {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                crate::cluster::send(process, Signal::STOP);
                sleep(STANDS);
                crate::cluster::send(process, Signal::CONT);
                sleep(RUNS);
            }
        });
        Held::Starver(Self { stop, thread })
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        // Its own panic was printed.
        let _ = self.thread.join();
    }
}
