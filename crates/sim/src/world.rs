//! The world of one run: machines, clients, a network, and a heap of what is to happen.
//!
//! Time jumps from one happening to the next. Happenings at the same time come in the order in which
//! they were planned, so that a run depends on its seed alone.

mod asking;
mod driver;
mod life;
mod threads;

use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use client::CallError;
use consensus::Time;

use crate::check::Violation;
use crate::clients::SimClient;
use crate::fault::Fault;
use crate::history::History;
use crate::ledger::Ledger;
use crate::machine::Machine;
use crate::net::{Endpoint, Fate, Net};
use crate::plan::Plan;
use crate::rng::Rng;
use crate::trace::Trace;

pub(crate) use life::Death;

/// The name that all nodes of a run bear.
pub(crate) const CLUSTER: &str = "sim";

/// Something that is to happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// A message from another node, or from who knows where.
    Peer { to: usize, bytes: Bytes },
    /// A client's request.
    Request { to: usize, client: usize, call: u64, bytes: Bytes },
    /// The answer to it.
    Answer { client: usize, call: u64, bytes: Bytes },
    /// A client learns that no answer will come, or tires of waiting.
    CallFails { client: usize, call: u64, error: CallError },
    /// A client has thought, or paused, long enough.
    ClientWakes { client: usize, turn: u64 },
    /// Something within the process that was running on a machine when this was planned.
    Process { machine: usize, life: u64, step: ProcessStep },
    /// A node's connection to another one breaks.
    PeerLost { machine: usize, peer: usize },
    /// A machine starts its process.
    Boot { machine: usize },
    /// A fault strikes.
    Fault { index: usize },
}

/// What happens within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProcessStep {
    /// The node's thread takes in what is waiting.
    Turn,
    /// The node's deadline has come.
    Deadline,
    /// The journal's thread has written, and syncs.
    Sync,
    /// The journal's thread tries again after a full disk.
    AppendAgain,
    /// The storage worker's job has taken its time.
    Work,
    /// A read on some other thread has taken its time.
    Task(u64),
}

struct Planned {
    at: Time,
    number: u64,
    what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The heap gives the greatest: the first to happen.
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) net: Net,
    pub(crate) machines: Vec<Machine>,
    pub(crate) clients: Vec<SimClient>,
    pub(crate) history: History,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    pub(crate) violations: Vec<Violation>,
    pub(crate) faults: Vec<Option<Box<dyn Fault>>>,
    /// Whether faults strike.
    pub(crate) stormy: bool,
    pub(crate) happened: u64,
    heap: BinaryHeap<Planned>,
    planned: u64,
}

/// Happenings after which a run is given up: something goes round in circles.
const MOST_HAPPENINGS: u64 = 3_000_000;

impl World {
    pub(crate) fn new(plan: Plan, seed: &Rng, keep_trace: bool) -> Self {
        let endpoints = plan.nodes + plan.clients;
        let net = Net::new(endpoints, plan.latency, seed.fork("net"));
        let machines =
            (0..plan.nodes).map(|index| Machine::new(index, &seed.fork("machine"))).collect();
        let clients =
            (0..plan.clients).map(|index| SimClient::new(index, &plan, &seed.fork("client")));
        let clients = clients.collect();
        let faults = plan.faults.iter().map(|name| Some(crate::fault::named(name, seed))).collect();
        let mut world = Self {
            now: Time::default(),
            rng: seed.fork("world"),
            net,
            machines,
            clients,
            history: History::default(),
            ledger: Ledger::default(),
            trace: Trace::new(keep_trace),
            violations: Vec::new(),
            faults,
            stormy: true,
            happened: 0,
            heap: BinaryHeap::new(),
            planned: 0,
            plan,
        };
        world.plan_beginning();
        world
    }

    fn plan_beginning(&mut self) {
        for machine in 0..self.machines.len() {
            let after = self.rng.duration(Duration::ZERO, Duration::from_millis(50));
            self.plan_after(after, Happening::Boot { machine });
        }
        for client in 0..self.clients.len() {
            let after = self.rng.duration(Duration::ZERO, Duration::from_millis(500));
            self.plan_after(after, Happening::ClientWakes { client, turn: 0 });
        }
        for index in 0..self.faults.len() {
            let after = self.rng.duration(Duration::ZERO, self.plan.storm / 2);
            self.plan_after(after, Happening::Fault { index });
        }
    }

    /// Plans something.
    pub(crate) fn plan_at(&mut self, at: Time, what: Happening) {
        assert!(at >= self.now, "nothing is planned for the past");
        self.planned += 1;
        self.heap.push(Planned { at, number: self.planned, what });
    }

    pub(crate) fn plan_after(&mut self, after: Duration, what: Happening) {
        self.plan_at(self.now + after, what);
    }

    /// Lets things happen until `until`, or until `enough`, or until something is violated.
    /// Tells whether it was enough.
    pub(crate) fn run(&mut self, until: Time, mut enough: impl FnMut(&Self) -> bool) -> bool {
        while self.violations.is_empty() {
            if enough(self) {
                return true;
            }
            let Some(next) = self.heap.peek() else { return false };
            if next.at > until {
                self.now = until;
                return false;
            }
            let next = self.heap.pop().expect("it was looked at just now");
            assert!(next.at >= self.now, "time does not go back");
            self.now = next.at;
            self.happened += 1;
            if self.happened > MOST_HAPPENINGS {
                let what = "the cluster never comes to rest".to_owned();
                self.violations.push(Violation::new("liveness", what, &[]));
            }
            self.happen(next.what);
        }
        false
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Peer { to, bytes } => self.receive_peer(to, bytes),
            Happening::Request { to, client, call, bytes } => {
                self.receive_request(to, client, call, bytes);
            }
            Happening::Answer { client, call, bytes } => self.receive_answer(client, call, bytes),
            Happening::CallFails { client, call, error } => self.call_fails(client, call, error),
            Happening::ClientWakes { client, turn } => self.client_wakes(client, turn),
            Happening::Process { machine, life, step } => self.step_process(machine, life, step),
            Happening::PeerLost { machine, peer } => self.lose_peer(machine, peer),
            Happening::Boot { machine } => self.boot(machine),
            Happening::Fault { index } => self.strike(index),
        }
    }

    fn strike(&mut self, index: usize) {
        if !self.stormy {
            return;
        }
        let mut fault = self.faults[index].take().expect("a fault strikes once at a time");
        self.trace.mix(&[4, index as u64, self.now.as_nanos()]);
        let again = fault.strike(self);
        self.faults[index] = Some(fault);
        if let Some(after) = again {
            self.plan_after(after, Happening::Fault { index });
        }
    }

    /// Faults may wait for a leader.
    fn tell_faults_of_leader(&mut self, machine: usize) {
        for index in 0..self.faults.len() {
            if let Some(mut fault) = self.faults[index].take() {
                fault.leads(self, machine);
                self.faults[index] = Some(fault);
            }
        }
    }

    /// Ends the storm: every fault is over, every machine runs.
    pub(crate) fn heal(&mut self) {
        self.stormy = false;
        self.line(&"all", format_args!("heals"));
        for index in 0..self.faults.len() {
            if let Some(mut fault) = self.faults[index].take() {
                fault.heal(self);
            }
        }
        for machine in 0..self.machines.len() {
            self.machines[machine].heal(self.now);
            if !self.machines[machine].is_up() {
                self.plan_boot(machine, Duration::from_millis(10));
            }
        }
        self.net.mend_cuts();
        self.net.unclog();
    }

    /// Puts bytes on the network; they arrive as `arrival` says.
    pub(crate) fn send(
        &mut self,
        from: Endpoint,
        to: Endpoint,
        bytes: Bytes,
        arrival: impl Fn(Bytes) -> Happening,
    ) {
        match self.net.send(from, to, self.now) {
            Fate::Lost => {}
            Fate::Arrives(at) => self.plan_at(at, arrival(bytes)),
            Fate::Twice(at, again) => {
                self.plan_at(at, arrival(bytes.clone()));
                self.plan_at(again, arrival(bytes));
            }
        }
    }

    /// The endpoint of a client.
    pub(crate) fn endpoint_of(&self, client: usize) -> Endpoint {
        self.machines.len() + client
    }

    pub(crate) fn line(&mut self, who: &dyn std::fmt::Display, what: std::fmt::Arguments<'_>) {
        if self.trace.keeps_lines() {
            self.trace.line(self.now, who, what);
        }
    }

    pub(crate) fn violate(&mut self, check: &'static str, what: String) {
        self.violations.push(Violation::new(check, what, &[]));
    }
}
