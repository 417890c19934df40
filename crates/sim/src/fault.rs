//! Faults: each strikes, rests and strikes again, on its own clock and by its own chance. Any of
//! them may be at work together.
//!
//! To add one: a type with `Fault`, a name in [`NAMES`], a line in `named`.

mod blackhole;
mod clients;
mod clocks;
mod coups;
mod crashes;
mod damage;
mod disks;
mod expiries;
mod foreign;
mod members;
mod messages;
mod overload;
mod partitions;
mod pauses;
mod rare;
mod replays;
mod slow;
mod swizzle;
mod transfers;

use std::time::Duration;

use damage::{Kind as Harm, Place};

use crate::machine::Excuse;
use crate::rng::Rng;
use crate::world::World;

/// Faults that a seed may draw, as the command line calls them.
pub const NAMES: [&str; 50] = [
    // The network.
    "loss",
    "delay",
    "doubling",
    "reordering",
    "replay",
    "partition",
    "one-way",
    "non-transitive",
    "clog",
    "swizzle",
    "coups",
    "expiry-coups",
    "blackhole",
    "slow-nic",
    // Processes.
    "crash",
    "crash-in-write",
    "crash-at-step",
    "crash-at-start",
    "crash-leader",
    "crash-all",
    "pause",
    "pause-then-kill",
    "slow-cpu",
    "rare",
    // Disks.
    "slow-disk",
    "full-disk",
    "full-at-job",
    "few-handles",
    "failing-sync",
    "lying-sync",
    "corrupt-read",
    "rot",
    "cut-journal",
    "stale-journal",
    "lost-journal-write",
    "astray-journal-write",
    "rot-engine",
    "cut-engine",
    "stale-engine",
    "lost-engine-write",
    "astray-engine-write",
    // Clocks.
    "drift",
    "frozen-clock",
    "clock-jump",
    // The operator.
    "members",
    "transfers",
    // Clients, and strangers.
    "overload",
    "foreign",
    "asking-twice",
    "dying-clients",
];

/// Something that goes wrong, again and again.
pub(crate) trait Fault {
    /// Does harm, or ends the harm done before. Returns when to be called again.
    fn strike(&mut self, world: &mut World) -> Option<Duration>;

    /// A node is about to say that it leads.
    fn leads(&mut self, _world: &mut World, _machine: usize) {}

    /// The storm is over: ends what lasts. What the world heals by itself (machines that are down,
    /// disks, cut links) need not be cared for here.
    fn heal(&mut self, _world: &mut World) {}
}

/// The fault of this name.
pub(crate) fn named(name: &str, seed: &Rng) -> Box<dyn Fault> {
    let rng = seed.fork("fault").fork(name);
    match name {
        "loss" => Box::new(messages::Nuisance::new(messages::Kind::Loss, rng)),
        "delay" => Box::new(messages::Nuisance::new(messages::Kind::Delay, rng)),
        "doubling" => Box::new(messages::Nuisance::new(messages::Kind::Doubling, rng)),
        "reordering" => Box::new(messages::Nuisance::new(messages::Kind::Reordering, rng)),
        "asking-twice" => Box::new(messages::Nuisance::new(messages::Kind::AskingTwice, rng)),
        "partition" => Box::new(partitions::Partition::new(partitions::Ways::Both, rng)),
        "one-way" => Box::new(partitions::Partition::new(partitions::Ways::One, rng)),
        "non-transitive" => Box::new(swizzle::NonTransitive::new(rng)),
        "clog" => Box::new(partitions::Clog::new(rng)),
        "swizzle" => Box::new(swizzle::Swizzle::new(rng)),
        "replay" => Box::new(replays::Replay::new(rng)),
        "blackhole" => Box::new(blackhole::Blackhole::new(rng)),
        "coups" => Box::new(coups::Coups::new(rng)),
        "expiry-coups" => Box::new(expiries::ExpiryCoups::new(rng)),
        "crash" => Box::new(crashes::Crash::new(crashes::Victim::Any, rng)),
        "crash-leader" => Box::new(crashes::Crash::new(crashes::Victim::Leader, rng)),
        "crash-all" => Box::new(crashes::Crash::new(crashes::Victim::All, rng)),
        "crash-in-write" => Box::new(crashes::CrashInWrite::new(rng)),
        "crash-at-step" => Box::new(crashes::CrashAtStep::new(rng)),
        "crash-at-start" => Box::new(crashes::CrashAtStart::new(rng)),
        "pause" => Box::new(pauses::Pause::new(rng)),
        "pause-then-kill" => Box::new(pauses::PauseThenKill::new(rng)),
        "slow-cpu" => Box::new(slow::SlowCpu::new(rng)),
        "slow-nic" => Box::new(slow::SlowCard::new(rng)),
        "rare" => Box::new(rare::RarePaths),
        "slow-disk" => Box::new(disks::SlowDisk::new(rng)),
        "full-disk" => Box::new(disks::FullDisk::new(rng)),
        "full-at-job" => Box::new(disks::FullAtJob::new(rng)),
        "few-handles" => Box::new(disks::FewHandles::new(rng)),
        "failing-sync" => Box::new(disks::FailingSync::new(Excuse::SyncThenPower, rng)),
        "lying-sync" => Box::new(disks::FailingSync::new(Excuse::SyncThenProcess, rng)),
        "corrupt-read" => Box::new(damage::CorruptRead::new(rng)),
        "drift" => Box::new(clocks::Clocks::new(clocks::Kind::Drifts, rng)),
        "frozen-clock" => Box::new(clocks::Clocks::new(clocks::Kind::Stands, rng)),
        "clock-jump" => Box::new(clocks::Clocks::new(clocks::Kind::Jumps, rng)),
        "overload" => Box::new(overload::Overload::new(rng)),
        "members" => Box::new(members::Members::new(rng)),
        "transfers" => Box::new(transfers::Transfers::new(rng)),
        "foreign" => Box::new(foreign::Foreign::new(rng)),
        "dying-clients" => Box::new(clients::DyingClients::new(rng)),
        other => damage(other, rng),
    }
}

/// The damage of this name.
fn damage(name: &str, rng: Rng) -> Box<dyn Fault> {
    let (name, harm, place) = match name {
        "rot" => ("rot", Harm::Rot, Place::Journal),
        "cut-journal" => ("cut-journal", Harm::Cut, Place::Journal),
        "stale-journal" => ("stale-journal", Harm::Stale, Place::Journal),
        "lost-journal-write" => ("lost-journal-write", Harm::Lost, Place::Journal),
        "astray-journal-write" => ("astray-journal-write", Harm::Astray, Place::Journal),
        "rot-engine" => ("rot-engine", Harm::Rot, Place::Engine),
        "cut-engine" => ("cut-engine", Harm::Cut, Place::Engine),
        "stale-engine" => ("stale-engine", Harm::Stale, Place::Engine),
        "lost-engine-write" => ("lost-engine-write", Harm::Lost, Place::Engine),
        "astray-engine-write" => ("astray-engine-write", Harm::Astray, Place::Engine),
        other => panic!("{other} is none of the faults {NAMES:?}"),
    };
    Box::new(damage::Damage::new(name, harm, place, rng))
}

/// Some time until the next strike: mostly short, at times long.
fn some_time(rng: &mut Rng) -> Duration {
    rng.skewed(Duration::from_millis(100), Duration::from_secs(4))
}

/// Any machine.
fn any_machine(rng: &mut Rng, world: &World) -> usize {
    rng.index(world.machines.len())
}

/// The machine whose node leads, as it says itself.
pub(crate) fn leader(world: &World) -> Option<usize> {
    let leads = |process: &crate::machine::Process| process.node.status().role == "leader";
    world.machines.iter().position(|machine| machine.process.as_ref().is_some_and(leads))
}
