//! The world of one run: machines, clients, a network, and a heap of what is to happen.
//!
//! Time jumps from one happening to the next. Happenings at the same time come in the order in which
//! they were planned, so that a run depends on its seed alone.

mod asking;
mod audit;
mod driver;
mod life;
mod mail;
mod members;
#[cfg(test)]
mod stewardship;
mod threads;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use bytes::Bytes;
use client::CallError;
use consensus::Time;

use crate::check::Violation;
use crate::clients::SimClient;
use crate::fault::Fault;
use crate::history::History;
use crate::ledger::Ledger;
use crate::machine::{Machine, Standing};
use crate::net::{Endpoint, Fate, Net};
use crate::plan::Plan;
use crate::rng::Rng;
use crate::trace::Trace;

pub(crate) use asking::{MOST_RENEWALS, is_expired};
pub(crate) use life::Death;
use mail::OldMail;

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
    /// A node hears that a client waits no more for an answer.
    HungUp { machine: usize, client: usize, call: u64 },
    /// A stopped process goes on.
    Resume { machine: usize },
    /// A machine starts its process.
    Boot { machine: usize },
    /// The replicas' states are compared.
    Audit,
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
    /// How often each fault has really done harm.
    pub(crate) struck: BTreeMap<&'static str, u64>,
    /// Messages that were sent long ago.
    pub(crate) old_mail: OldMail,
    /// What links hold back that were stopped.
    held: BTreeMap<(Endpoint, Endpoint), Vec<Happening>>,
    /// Machines whose bytes may be damaged: a minority, for the whole run.
    victims: BTreeSet<usize>,
    /// When leases will end that somebody holds, if they are not kept alive once more.
    pub(crate) expiries: BTreeSet<Time>,
    /// Whether the crowd is there.
    pub(crate) crowded: bool,
    /// Whether faults strike.
    pub(crate) stormy: bool,
    pub(crate) happened: u64,
    heap: BinaryHeap<Planned>,
    planned: u64,
}

/// Messages that a stopped link holds back; the others are lost.
const MOST_HELD: usize = 1000;

/// Happenings after which a run is given up: something goes round in circles.
const MOST_HAPPENINGS: u64 = 3_000_000;

impl World {
    pub(crate) fn new(plan: Plan, seed: &Rng, keep_trace: bool) -> Self {
        // One more asks: the operator.
        let machines = plan.nodes + plan.spares;
        let endpoints = machines + plan.clients + plan.crowd + 1;
        let net = Net::new(endpoints, plan.latency, seed.fork("net"));
        let machines =
            (0..machines).map(|index| Machine::new(index, &plan, &seed.fork("machine"))).collect();
        let clients = (0..plan.clients + plan.crowd)
            .map(|index| SimClient::new(index, &plan, &seed.fork("client")));
        let clients = clients.collect();
        let faults = plan.faults.iter().map(|name| Some(crate::fault::named(name, seed))).collect();
        let mut world = Self {
            now: Time::default(),
            rng: seed.fork("world"),
            net,
            machines,
            clients,
            history: History { terms: plan.terms(), ..History::default() },
            ledger: Ledger::new(plan.protocol),
            trace: Trace::new(keep_trace),
            violations: Vec::new(),
            faults,
            struck: BTreeMap::new(),
            old_mail: OldMail::new(plan.faults.contains(&"replay"), seed.fork("mail")),
            held: BTreeMap::new(),
            victims: BTreeSet::new(),
            expiries: BTreeSet::new(),
            crowded: false,
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
        for machine in 0..self.plan.nodes {
            let after = self.rng.duration(Duration::ZERO, Duration::from_millis(50));
            self.plan_after(after, Happening::Boot { machine });
        }
        for client in 0..self.plan.clients {
            let after = self.rng.duration(Duration::ZERO, Duration::from_millis(500));
            self.plan_after(after, Happening::ClientWakes { client, turn: 0 });
        }
        for index in 0..self.faults.len() {
            let after = self.rng.duration(Duration::ZERO, self.plan.storm / 2);
            self.plan_after(after, Happening::Fault { index });
        }
        self.plan_after(audit::EVERY, Happening::Audit);
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
            Happening::HungUp { machine, client, call } => self.hung_up(machine, client, call),
            Happening::Resume { machine } => self.end_pause(machine),
            Happening::Boot { machine } => self.boot(machine),
            Happening::Audit => self.audit(),
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
            self.clock_changed(machine);
            self.resume(machine);
            if !self.machines[machine].is_up() && self.machines[machine].may_run() {
                self.plan_boot(machine, Duration::from_millis(10));
            }
        }
        self.net.heal();
    }

    /// A fault has done harm.
    pub(crate) fn struck(&mut self, fault: &'static str) {
        *self.struck.entry(fault).or_default() += 1;
    }

    /// Whether this machine's bytes may be damaged, so that it may lose what it holds: on a minority of
    /// the nodes at most, over the whole run. Beyond that no protocol can help.
    pub(crate) fn may_damage(&mut self, machine: usize) -> bool {
        // Where members come and go fewer may be left at times.
        let most = if self.plan.spares > 0 { 1 } else { usize::MAX };
        let most = most.min((self.plan.nodes - 1) / 2);
        let is_one_lost = self.machines.iter().any(|machine| machine.standing == Standing::Lost);
        if !self.victims.contains(&machine) && (self.victims.len() >= most || is_one_lost) {
            return false;
        }
        self.victims.insert(machine);
        self.machines[machine].damaged = true;
        true
    }

    /// Puts bytes on the network; they arrive as `arrival` says.
    pub(crate) fn send(
        &mut self,
        from: Endpoint,
        to: Endpoint,
        bytes: Bytes,
        arrival: impl Fn(Bytes) -> Happening,
    ) {
        match self.net.send(from, to, bytes.len(), self.now) {
            Fate::Lost => {}
            Fate::Held => {
                let held = self.held.entry((from, to)).or_default();
                if held.len() < MOST_HELD {
                    held.push(arrival(bytes));
                }
            }
            Fate::Arrives(at) => self.plan_at(at, arrival(bytes)),
            Fate::Twice(at, again) => {
                self.plan_at(at, arrival(bytes.clone()));
                self.plan_at(again, arrival(bytes));
            }
        }
    }

    /// A link that was stopped delivers what it has held back, in order.
    pub(crate) fn let_go(&mut self, from: Endpoint, to: Endpoint) {
        self.net.set_stopped(from, to, false);
        for what in self.held.remove(&(from, to)).unwrap_or_default() {
            self.plan_after(Duration::ZERO, what);
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
