//! Life and death of processes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use client::CallError;
use consensus::Time;
use disk::mem::MemDisk;
use engine::Worker;
use journal::Journal;
use node::{Event, Node};

use super::{Happening, World};
use crate::launch::{self, Opened};
use crate::machine::{Caller, Excuse, JournalThread, Process};
use crate::rng::Rng;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// The process alone: what it wrote stays in the page cache.
    Process,
    /// The whole machine: what was not synced is lost or torn.
    Power,
}

impl World {
    /// A process can't go on, or can't start. That must have a reason that we gave it.
    pub(super) fn fails(&mut self, machine: usize, why: &str) {
        self.line(&self.machines[machine].id(), format_args!("fails: {why}"));
        let this = &self.machines[machine];
        if this.disk.crashed() {
            return self.dies(machine, Death::Power);
        }
        let death = match this.excuse {
            Some(Excuse::SyncThenPower) => Death::Power,
            Some(Excuse::Full) if self.rng.chance(500) => Death::Power,
            Some(Excuse::SyncThenProcess | Excuse::Full) => Death::Process,
            None => {
                let what = format!("{} stopped without a fault: {why}", this.id());
                return self.violate("keeps running", what);
            }
        };
        self.dies(machine, death);
    }

    /// Ends whatever runs on a machine, and plans its return.
    pub(crate) fn dies(&mut self, machine: usize, death: Death) {
        self.line(&self.machines[machine].id(), format_args!("dies ({death:?})"));
        self.trace.mix(&[5, machine as u64, u64::from(death == Death::Power)]);
        let this = &mut self.machines[machine];
        this.paused_until = Time::default();
        if let Some(process) = this.process.take() {
            self.hang_up(machine, &process, death);
        }
        let this = &mut self.machines[machine];
        if death == Death::Power || this.disk.crashed() {
            this.disk.crash();
        }
        let away = self.rng.skewed(Duration::from_millis(5), Duration::from_secs(2));
        self.plan_boot(machine, away);
    }

    /// A process that ends closes its connections; a machine that loses power mostly does not.
    fn hang_up(&mut self, machine: usize, process: &Process, death: Death) {
        if death == Death::Power && self.rng.chance(700) {
            return;
        }
        for peer in 0..self.machines.len() {
            if peer != machine && self.net.passes(machine, peer) {
                self.plan_news(Happening::PeerLost { machine: peer, peer: machine });
            }
        }
        for &Caller { client, call } in process.callers.values() {
            if self.net.passes(machine, self.endpoint_of(client)) {
                let error = CallError::Lost { target: String::new(), why: "hung up".into() };
                self.plan_news(Happening::CallFails { client, call, error });
            }
        }
    }

    pub(crate) fn plan_boot(&mut self, machine: usize, after: Duration) {
        if !self.machines[machine].boots {
            self.machines[machine].boots = true;
            self.plan_after(after, Happening::Boot { machine });
        }
    }

    pub(super) fn boot(&mut self, machine: usize) {
        let now = self.now;
        let this = &mut self.machines[machine];
        this.boots = false;
        if this.is_up() {
            return;
        }
        if this.down_until > now {
            let wait = this.down_until.since(now);
            return self.plan_boot(machine, wait);
        }
        this.life += 1;
        match launch::open(this, &self.plan) {
            Ok(opened) => self.start(machine, opened),
            Err(why) => self.fails(machine, &why),
        }
    }

    fn start(&mut self, machine: usize, opened: Opened) {
        let Opened { journal, recovered, engine, worker } = opened;
        let this = &mut self.machines[machine];
        let (id, life) = (this.id(), this.life);
        let heard = self.ledger.starts(id, &recovered);
        let damage = recovered.damage.as_ref().map(ToString::to_string).unwrap_or_default();
        let config = launch::node_config(this, &self.plan);
        self.contradicted(heard);
        self.line(&id, format_args!("starts life {life} {damage}"));
        match Node::new(config, recovered, engine, self.now) {
            Ok(node) => {
                let this = &mut self.machines[machine];
                let rng = this.rng.fork_number(life);
                this.process = Some(new_process(node, journal, worker, rng));
                self.report(machine, Event::Tick);
            }
            Err(error) => self.fails(machine, &error.to_string()),
        }
    }
}

fn new_process(
    node: Node,
    journal: Journal<MemDisk>,
    worker: Box<dyn Worker>,
    rng: Rng,
) -> Process {
    let journal = JournalThread { journal, queue: VecDeque::new(), writing: None, full: false };
    Process {
        node,
        inbox: VecDeque::new(),
        turns: false,
        deadline: None,
        journal,
        worker,
        jobs: VecDeque::new(),
        works: false,
        tasks: BTreeMap::new(),
        next_task: 0,
        callers: BTreeMap::new(),
        next_ticket: 0,
        effects: Vec::new(),
        rng,
    }
}
