//! One run: setup, storm, healing, rest, judgement.

mod leases;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use consensus::Time;
use engine::ReadError;
use node::{Node, SPACE};
use wire::{Consistency, KeyRange, Revision};

use crate::check::{Final, Violation, judge, show};
use crate::clients::SimClient;
use crate::history::{Action, Operation, Outcome, Write};
use crate::panics;
use crate::plan::{Options, Plan};
use crate::rng::Rng;
use crate::world::{MOST_RENEWALS, World, is_expired};

/// What must be possible after healing must be possible within this time.
pub(crate) const QUIESCE: Duration = Duration::from_secs(15);

/// After an overload, and nothing worse, within this time: what waits then is not old.
const AFTER_OVERLOAD: Duration = Duration::from_secs(3);

/// All replicas must have caught up within this time. A replica may need a whole snapshot, in small
/// chunks, over a slow disk.
const REST: Duration = Duration::from_mins(2);

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// What does not hold; empty if all is well.
    pub violations: Vec<Violation>,
    /// Sum of everything that happened.
    pub hash: u64,
    /// The trace, if it was asked for.
    pub trace: String,
    /// The run's shape in one line.
    pub shape: String,
    /// The operations that the violations speak of.
    pub slice: String,
    /// What the run was made of.
    pub counts: Counts,
    /// How often each fault has done harm.
    pub struck: BTreeMap<&'static str, u64>,
}

/// What a run was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Things that happened.
    pub happenings: u64,
    /// Operations of clients.
    pub operations: u64,
    /// Of these, done.
    pub done: u64,
    /// Of these, unknown.
    pub unknown: u64,
    /// Terms that had a leader.
    pub elections: u64,
    /// Processes that were started.
    pub lives: u64,
    /// States of a replica that were compared with those of others while the run went on.
    pub audits: u64,
    /// Scrubs that came to an end on a node.
    pub scrubs: u64,
    /// Keys whose linearizability could not be decided.
    pub undecided: u64,
    /// Simulated time, in milliseconds.
    pub simulated_ms: u64,
}

impl Report {
    /// What was violated, in words, the slice of the history that shows it, and how to see it again.
    pub fn text(&self, replay: &str) -> String {
        const SHOWN: usize = 3;
        let line = |violation: &Violation| format!("{}: {}\n", violation.check, violation.what);
        let words: String = self.violations.iter().take(SHOWN).map(line).collect();
        let more = match self.violations.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("… and {more} more violations\n"),
        };
        let (shape, slice) = (&self.shape, &self.slice);
        format!("{words}{more}{slice}run: {shape}\nreplay: {replay}\n")
    }
}

/// Runs one seed.
pub fn run(options: &Options) -> Report {
    let seed = Rng::new(options.seed);
    let plan = Plan::draw(options, &seed);
    let shape = shape_of(&plan);
    let mut world = World::new(plan, &seed, options.trace);
    let mut counts = Counts::default();
    // A node that finds its own state impossible panics: that is a finding like any other.
    let panicked = panics::quietly(|| {
        catch_unwind(AssertUnwindSafe(|| counts.undecided = course(&mut world))).is_err()
    });
    if let Some(what) = panicked {
        world.violations.push(Violation::new("assertion", what, &[]));
    }
    report(options.seed, shape, world, counts)
}

fn report(seed: u64, shape: String, world: World, counts: Counts) -> Report {
    let operations = &world.history.operations;
    let count = |of: fn(&Outcome) -> bool| {
        operations.iter().filter(|operation| of(&operation.outcome)).count() as u64
    };
    let counts = Counts {
        happenings: world.happened,
        operations: operations.len() as u64,
        done: count(|outcome| matches!(outcome, Outcome::Done(..))),
        unknown: count(|outcome| matches!(outcome, Outcome::Unknown(_) | Outcome::Pending)),
        elections: world.ledger.elections() as u64,
        audits: world.ledger.audits(),
        scrubs: world.ledger.scrubs_ended(),
        lives: world.machines.iter().map(|machine| machine.life).sum(),
        simulated_ms: world.now.as_nanos() / 1_000_000,
        ..counts
    };
    let on_disks = world.machines.iter().map(|machine| machine.disk.strikes()).sum();
    let mut struck = world.struck;
    struck.insert("on disks", on_disks);
    let slice = world.violations.first().map(|first| show(&world.history, first));
    Report {
        seed,
        violations: world.violations,
        hash: world.trace.hash(),
        trace: world.trace.into_lines(),
        shape,
        slice: slice.unwrap_or_default(),
        counts,
        struck,
    }
}

fn shape_of(plan: &Plan) -> String {
    format!(
        "{} nodes, {} clients, {} engine, storm of {:.1} s, faults [{}], workloads [{}]",
        plan.nodes,
        plan.clients,
        if plan.in_memory { "in-memory" } else { "on-disk" },
        plan.storm.as_secs_f64(),
        plan.faults.join(" "),
        plan.workloads.join(" "),
    )
}

/// All phases. Returns how many keys could not be decided.
fn course(world: &mut World) -> u64 {
    let storm = Time::default() + world.plan.storm;
    world.run(storm, |_| false);
    if world.violations.is_empty() {
        world.heal();
        require_progress(world);
    }
    if world.violations.is_empty() && world.plan.has_leases() {
        leases::require_end(world);
    }
    let finals = if world.violations.is_empty() { rest(world) } else { Vec::new() };
    let mut judgement = judge(&world.history, &finals);
    world.violations.append(&mut judgement.violations);
    judgement.undecided as u64
}

/// After healing every client must be able to write and to read.
fn require_progress(world: &mut World) {
    // A crowd may still be at its last questions; it is asked nothing more.
    for client in 0..world.plan.clients {
        let this = &mut world.clients[client];
        let key = Bytes::from(format!("q/{client}"));
        let value = Some(Bytes::from(format!("c{client}.last")));
        let write = Write { changes: vec![(key, value)], ..Write::default() };
        this.orders.push_back(Action::Write(write));
        let (prefix, level) = (Bytes::new(), Consistency::Linearizable);
        this.orders.push_back(Action::Scan { prefix, level });
        this.obedient = true;
        world.wake(client);
    }
    let patience = patience(&world.plan);
    let deadline = world.now + 2 * QUIESCE;
    let first_order = world.history.operations.len();
    world.run(deadline, |world| {
        let done = |client: &SimClient| client.orders.is_empty() && client.current.is_none();
        world.clients.iter().all(done)
    });
    let is_late = |operation: &Operation| {
        let client = &world.clients[operation.client as usize];
        if !client.obedient || !matches!(operation.action, Action::Write(_) | Action::Scan { .. }) {
            return false;
        }
        let Some(ended) = operation.ended else { return true };
        let renewed = is_expired(&operation.outcome) && client.renewals < MOST_RENEWALS;
        let done = matches!(operation.outcome, Outcome::Done(..)) || renewed;
        !done || ended.since(operation.began) > patience
    };
    let mut ordered = world.history.operations.iter().enumerate().skip(first_order);
    if let Some((at, operation)) = ordered.find(|(_, operation)| is_late(operation)) {
        let what = format!("after healing this found no answer in {patience:?}: {operation}");
        let slice = [crate::history::OpId(at)];
        world.violations.push(Violation::new("liveness", what, &slice));
    }
}

/// How long an operation may take after healing. An overload alone leaves nothing behind that would
/// have to be healed: the cluster is up and knows its leader.
fn patience(plan: &Plan) -> Duration {
    if plan.faults == ["overload"] { AFTER_OVERLOAD } else { QUIESCE }
}

/// Waits until all replicas have applied the same, and looks at what they hold.
fn rest(world: &mut World) -> Vec<Final> {
    let deadline = world.now + REST;
    let step = Duration::from_millis(100);
    while world.now < deadline && world.violations.is_empty() {
        let until = world.now + step;
        world.run(until, |_| false);
        if at_rest(world) {
            return finals(world);
        }
    }
    if world.violations.is_empty() {
        let states: Vec<String> = world
            .machines
            .iter()
            .map(|machine| match &machine.process {
                None => format!("{} is down", machine.id()),
                Some(process) => {
                    let status = process.node.status();
                    format!(
                        "{} is {} in term {}, applied {} of {}",
                        machine.id(),
                        status.role,
                        status.epoch,
                        status.applied,
                        status.last
                    )
                }
            })
            .collect();
        world.violate("liveness", format!("replicas do not catch up: {}", states.join("; ")));
    }
    Vec::new()
}

/// What all replicas hold. One whose bytes were damaged may find that out only now, when all of them are
/// read, and says so: then it has no say.
fn finals(world: &mut World) -> Vec<Final> {
    let mut finals = Vec::new();
    let mut unreadable = Vec::new();
    for index in 0..world.machines.len() {
        let machine = &world.machines[index];
        if !world.must_be_whole(index) || world.is_witness(index) {
            continue;
        }
        let Some(process) = &machine.process else { continue };
        match final_of(&process.node) {
            Ok(held) => finals.push(held),
            Err(_) if machine.damaged => {}
            Err(error) => unreadable.push(format!("{} can't be read: {error}", machine.id())),
        }
    }
    for what in unreadable {
        world.violate("keeps running", what);
    }
    finals
}

fn at_rest(world: &World) -> bool {
    let mut applied = None;
    let all = 0..world.machines.len();
    all.into_iter().filter(|machine| world.must_be_whole(*machine)).all(|machine| {
        let Some(process) = &world.machines[machine].process else { return false };
        let status = process.node.status();
        let same = *applied.get_or_insert(status.applied) == status.applied;
        // What a follower holds beyond its leader's log was never committed: Paxos lets it lie there until
        // another value takes its slot.
        let is_whole = status.role != "leader" || status.commit == status.last;
        same && is_whole && status.applied == status.commit
    })
}

fn final_of(node: &Node) -> Result<Final, ReadError> {
    let status = node.status();
    let view = node.view();
    let (revision, applied, digest) = node.digest();
    let mut items = Vec::new();
    view.scan(SPACE, &KeyRange::all(), revision, &mut |item| {
        items.push(item);
        engine::Visit::Continue
    })?;
    let mut events = Vec::new();
    let from = status.compacted.max(Revision(1));
    view.history(SPACE, &KeyRange::all(), from, revision, &mut |event| {
        // What the compaction took away meanwhile differs from node to node.
        if event.revision > status.compacted {
            events.push(event);
        }
        engine::Visit::Continue
    })?;
    let (node, compacted) = (status.node, status.compacted);
    Ok(Final { node, revision, applied, compacted, digest, items, events })
}
