//! Faults: each strikes, rests and strikes again, on its own clock and by its own chance. Any of
//! them may be at work together.
//!
//! To add one: a type with `Fault`, a name in [`NAMES`], a line in `named`.

mod clients;
mod coups;
mod crashes;
mod disks;
mod foreign;
mod messages;
mod partitions;
mod pauses;
mod rot;

use std::time::Duration;

use crate::machine::Excuse;
use crate::rng::Rng;
use crate::world::World;

/// Faults that a seed may draw, as the command line calls them.
pub const NAMES: [&str; 21] = [
    "loss",
    "delay",
    "doubling",
    "reordering",
    "partition",
    "one-way",
    "clog",
    "coups",
    "crash",
    "crash-in-write",
    "crash-leader",
    "crash-all",
    "pause",
    "slow-disk",
    "full-disk",
    "failing-sync",
    "lying-sync",
    "rot",
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
        "clog" => Box::new(partitions::Clog::new(rng)),
        "coups" => Box::new(coups::Coups::new(rng)),
        "crash" => Box::new(crashes::Crash::new(crashes::Victim::Any, rng)),
        "crash-leader" => Box::new(crashes::Crash::new(crashes::Victim::Leader, rng)),
        "crash-all" => Box::new(crashes::Crash::new(crashes::Victim::All, rng)),
        "crash-in-write" => Box::new(crashes::CrashInWrite::new(rng)),
        "pause" => Box::new(pauses::Pause::new(rng)),
        "slow-disk" => Box::new(disks::SlowDisk::new(rng)),
        "full-disk" => Box::new(disks::FullDisk::new(rng)),
        "failing-sync" => Box::new(disks::FailingSync::new(Excuse::SyncThenPower, rng)),
        "lying-sync" => Box::new(disks::FailingSync::new(Excuse::SyncThenProcess, rng)),
        "rot" => Box::new(rot::Rot::new(rng)),
        "foreign" => Box::new(foreign::Foreign::new(rng)),
        "dying-clients" => Box::new(clients::DyingClients::new(rng)),
        other => panic!("{other} is none of the faults {NAMES:?}"),
    }
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
fn leader(world: &World) -> Option<usize> {
    let leads = |process: &crate::machine::Process| process.node.status().role == "leader";
    world.machines.iter().position(|machine| machine.process.as_ref().is_some_and(leads))
}
