//! Life and death of processes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use client::CallError;
use consensus::Time;
use disk::Disk;
use disk::mem::MemDisk;
use engine::Worker;
use journal::Journal;
use node::{Event, GROUP, Node};

use super::{Happening, World};
use crate::inbox::Inbox;
use crate::launch::{self, Opened};
use crate::machine::{Caller, ENGINE_DIR, Excuse, JournalThread, Process};
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
        let death = match this.excuse(self.now) {
            Some(Excuse::SyncThenPower) => Death::Power,
            Some(Excuse::Full) if self.rng.chance(500) => Death::Power,
            Some(Excuse::SyncThenProcess | Excuse::Full | Excuse::Handles) => Death::Process,
            None if this.damaged && is_of_storage(why) => Death::Process,
            None => {
                let what = format!("{} stopped without a fault: {why}", this.id());
                return self.violate("keeps running", what);
            }
        };
        self.dies(machine, death);
        if self.machines[machine].damaged {
            self.tend(machine, why);
        }
    }

    /// What an operator does about a node that stops because its storage is damaged: starts it again,
    /// and if that does not help, what the message says: moves the engine away, so that it is rebuilt
    /// from the journal and the other nodes.
    fn tend(&mut self, machine: usize, why: &str) {
        let this = &mut self.machines[machine];
        this.ailments += 1;
        if !why.contains("engine") || (this.ailments < 2 && this.rng.chance(300)) {
            return;
        }
        this.ailments = 0;
        for (path, _) in this.disk.files(ENGINE_DIR) {
            // A disk that is switched off, or full, or out of handles: the next time, then.
            let Ok(()) = this.disk.remove(&path) else { return };
        }
        let _tried_again_after_the_next_failure = this.disk.sync_dir(ENGINE_DIR);
        let id = this.id();
        self.line(&id, format_args!("has its engine moved away"));
        self.struck("engine moved away");
    }

    /// A place where a process may end: before or after a node's effect, between a sync and the news
    /// of it. Tells whether it goes on.
    pub(super) fn survives(&mut self, machine: usize) -> bool {
        let this = &mut self.machines[machine];
        if !this.is_up() {
            return false;
        }
        match &mut this.ends_in {
            None => return true,
            Some((0, _)) => {}
            Some((steps, _)) => {
                *steps -= 1;
                return true;
            }
        }
        if let Some((_, death)) = this.ends_in.take() {
            self.struck("crash-at-step");
            self.dies(machine, death);
        }
        false
    }

    /// Stops a process, for so long.
    pub(crate) fn pause(&mut self, machine: usize, lasts: Duration) {
        let until = self.now + lasts;
        let this = &mut self.machines[machine];
        this.paused_until = this.paused_until.max(until);
        self.plan_at(until, Happening::Resume { machine });
    }

    /// Its time has come.
    pub(super) fn end_pause(&mut self, machine: usize) {
        if !self.machines[machine].is_paused(self.now) {
            self.resume(machine);
        }
    }

    /// A stopped process goes on, with all that it would have done meanwhile.
    pub(crate) fn resume(&mut self, machine: usize) {
        let now = self.now;
        let this = &mut self.machines[machine];
        this.paused_until = this.paused_until.min(now);
        let Some(process) = &mut this.process else { return };
        for step in std::mem::take(&mut process.postponed) {
            self.plan_step(machine, Duration::ZERO, step);
        }
    }

    /// Ends whatever runs on a machine, and plans its return.
    pub(crate) fn dies(&mut self, machine: usize, death: Death) {
        if !self.machines[machine].may_run() {
            return;
        }
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
            this.clock.restart(self.now);
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
        if this.is_up() || !this.may_run() {
            return;
        }
        if this.life == 0 && self.plan.witnesses && !self.is_as_printed(machine) {
            return;
        }
        let this = &mut self.machines[machine];
        if this.down_until > now {
            let wait = this.down_until.since(now);
            return self.plan_boot(machine, wait);
        }
        this.life += 1;
        if this.failing_starts > 0 && self.stormy {
            // The power goes while it starts, or soon after.
            this.failing_starts -= 1;
            let operations = this.rng.between(1, 40);
            this.disk.crash_after(operations);
            self.struck("crash-at-start");
        }
        let this = &mut self.machines[machine];
        match launch::open(this, &self.plan) {
            Ok(opened) => self.start(machine, opened),
            Err(why) => self.fails(machine, &why),
        }
    }

    fn start(&mut self, machine: usize, opened: Opened) {
        let Opened { journal, recovered, engine, worker } = opened;
        let this = &mut self.machines[machine];
        let (id, life) = (this.id(), this.life);
        let heard = self.ledger.starts(id, &recovered, engine.applied(GROUP).index.0);
        let damage = recovered.damage.as_ref().map(ToString::to_string).unwrap_or_default();
        let config = launch::node_config(this, &self.plan);
        self.contradicted(heard);
        self.line(&id, format_args!("starts life {life} {damage}"));
        match Node::new(config, recovered, engine, self.local_time(machine)) {
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

/// Whether a node that stops with these words blames its disk.
fn is_of_storage(why: &str) -> bool {
    ["engine", "journal", "the state of"].iter().any(|word| why.contains(word))
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
        inbox: Inbox::default(),
        turns: false,
        busy_until: Time::default(),
        deadline: None,
        journal,
        worker,
        jobs: VecDeque::new(),
        works: false,
        tasks: BTreeMap::new(),
        next_task: 0,
        callers: BTreeMap::new(),
        cancelled: BTreeSet::new(),
        audited: 0,
        postponed: Vec::new(),
        next_ticket: 0,
        effects: Vec::new(),
        rng,
    }
}
