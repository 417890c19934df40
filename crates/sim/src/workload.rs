//! Workloads: what clients do, composed freely. Each client mixes all workloads of the run.

mod admin;
mod auth;
mod leases;
mod locks;
mod pairs;
mod registers;
mod scans;
mod sets;
mod tally;
mod watching;

use std::time::Duration;

use bytes::Bytes;
use consensus::Time;
use wire::{Consistency, NodeId, Principal, ROOT, Revision};

use crate::history::{Action, Outcome};
use crate::rng::Rng;

/// What the command line calls them.
pub const NAMES: [&str; 10] =
    ["registers", "set", "tally", "pairs", "scans", "watches", "leases", "locks", "admin", AUTH];

/// The one that has users and roles: where it runs, everybody must be ready to say who he is.
pub(crate) const AUTH: &str = "auth";

/// What a client knows of itself when it thinks about what to do next.
#[derive(Debug)]
pub(crate) struct Situation {
    pub(crate) client: usize,
    /// Counts everything that any incarnation of this client wrote: makes values unique.
    pub(crate) turn: u64,
    /// What its own clock shows.
    pub(crate) now: Time,
    /// Counts new leaders of which it heard, and hurried to keep its leases alive.
    pub(crate) alarms: u64,
    /// The newest revision that it has seen.
    pub(crate) seen: Revision,
    /// Whether authentication may be enabled in this run.
    pub(crate) guarded: bool,
    pub(crate) nodes: usize,
    /// The longest value that it may write, in bytes.
    pub(crate) longest_value: usize,
}

impl Situation {
    /// Who may do everything, where anybody is asked who he is. A certificate says so: it is shown
    /// anew on every connection, and never grows old.
    pub(crate) fn root(&self) -> Option<Principal> {
        self.guarded.then(|| Principal::of_certificate(ROOT))
    }
}

/// One client's part in a workload.
pub(crate) trait Workload {
    /// What to do next.
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action;

    /// What it must do now, whatever it would like to do.
    fn urgent(&mut self, _situation: &Situation) -> Option<Action> {
        None
    }

    /// Somebody else is in the client's place: what the workload remembers may be lost.
    fn replaced(&mut self, _rng: &mut Rng) {}

    /// What came of it.
    fn ended(&mut self, _action: &Action, _outcome: &Outcome) {}

    /// As whom it does what it said last.
    fn principal(&self, situation: &Situation) -> Option<Principal> {
        situation.root()
    }

    /// How long an answer may be waited for by the node, for those who want to wait.
    fn wait(&self) -> Duration {
        Duration::ZERO
    }
}

/// The workload of this name.
pub(crate) fn named(name: &str) -> Box<dyn Workload> {
    match name {
        "registers" => Box::new(registers::Registers::default()),
        "set" => Box::new(sets::Set),
        "tally" => Box::new(tally::Tally),
        "pairs" => Box::new(pairs::Pairs),
        "scans" => Box::new(scans::Scans),
        "watches" => Box::new(watching::Watching::default()),
        "leases" => Box::new(leases::Leases::default()),
        "locks" => Box::new(locks::Locks::default()),
        "admin" => Box::new(admin::Admin),
        AUTH => Box::new(auth::Auth::default()),
        other => panic!("{other} is none of the workloads {NAMES:?}"),
    }
}

/// A value that no other write of the run writes.
fn unique_value(rng: &mut Rng, situation: &Situation) -> Bytes {
    let mut value = format!("c{}.{}", situation.client, situation.turn).into_bytes();
    // Some are long, so that batches, pages and segments end in all kinds of places.
    if rng.chance(300) {
        value.push(b'-');
        let room = situation.longest_value.saturating_sub(value.len());
        value.resize(value.len() + rng.index(room + 1), b'x');
    }
    Bytes::from(value)
}

/// Mostly the strongest; the others go to any node.
fn any_level(rng: &mut Rng, situation: &Situation) -> Consistency {
    match rng.below(10) {
        0 => Consistency::Eventual,
        1 | 2 => Consistency::Session(situation.seen),
        _ => Consistency::Linearizable,
    }
}

/// Any node.
fn any_node(rng: &mut Rng, situation: &Situation) -> NodeId {
    NodeId(rng.between(1, situation.nodes as u64))
}
