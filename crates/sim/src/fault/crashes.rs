//! Processes and machines that die, at any moment and in the middle of a write.

use std::time::Duration;

use super::{Fault, any_machine, leader, some_time};
use crate::rng::Rng;
use crate::world::{Death, World};

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    Any,
    Leader,
    All,
}

pub(super) struct Crash {
    victim: Victim,
    rng: Rng,
}

impl Crash {
    pub(super) fn new(victim: Victim, rng: Rng) -> Self {
        Self { victim, rng }
    }

    fn kill(&mut self, world: &mut World, machine: usize) {
        let death = if self.rng.chance(400) { Death::Process } else { Death::Power };
        let away = self.rng.skewed(Duration::from_millis(1), Duration::from_secs(5));
        world.machines[machine].down_until = world.now + away;
        world.dies(machine, death);
        world.struck(match self.victim {
            Victim::Any => "crash",
            Victim::Leader => "crash-leader",
            Victim::All => "crash-all",
        });
    }
}

impl Fault for Crash {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        match self.victim {
            Victim::Any => {
                let machine = any_machine(&mut self.rng, world);
                self.kill(world, machine);
            }
            Victim::Leader => {
                if let Some(machine) = leader(world) {
                    self.kill(world, machine);
                }
            }
            Victim::All => {
                for machine in 0..world.machines.len() {
                    self.kill(world, machine);
                }
            }
        }
        Some(some_time(&mut self.rng))
    }
}

/// The power goes at one of a machine's next operations on its disk.
pub(super) struct CrashInWrite {
    rng: Rng,
}

impl CrashInWrite {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

impl Fault for CrashInWrite {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let machine = any_machine(&mut self.rng, world);
        let operations = *self.rng.pick(&[5, 30, 200]);
        let at = self.rng.between(1, operations);
        world.machines[machine].disk.crash_after(at);
        Some(some_time(&mut self.rng))
    }
}

/// A process ends at one of its next steps: before or after it sends, persists, answers or begins a job,
/// between a sync and the news of it, between a job and its report.
pub(super) struct CrashAtStep {
    rng: Rng,
}

impl CrashAtStep {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }

    fn arm(&mut self, world: &mut World, machine: usize, most: u64) {
        let steps = self.rng.below(most);
        let death = if self.rng.chance(500) { Death::Process } else { Death::Power };
        world.machines[machine].ends_in = Some((steps, death));
    }
}

impl Fault for CrashAtStep {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let machine = any_machine(&mut self.rng, world);
        let most = *self.rng.pick(&[4, 30, 300]);
        self.arm(world, machine, most);
        Some(some_time(&mut self.rng))
    }

    /// A new leader's first steps are the rarest; and what its voters promised must be on their disks by
    /// now.
    fn leads(&mut self, world: &mut World, machine: usize) {
        let other = any_machine(&mut self.rng, world);
        match self.rng.below(5) {
            0 => self.arm(world, machine, 12),
            1 if other != machine => {
                world.dies(other, Death::Power);
                world.struck("crash-at-step");
            }
            _ => {}
        }
    }
}

/// A machine that loses its power while it starts, again and again.
pub(super) struct CrashAtStart {
    rng: Rng,
}

impl CrashAtStart {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

impl Fault for CrashAtStart {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let machine = any_machine(&mut self.rng, world);
        let times = self.rng.between(1, 5);
        world.machines[machine].failing_starts = u32::try_from(times).expect("few");
        world.dies(machine, Death::Power);
        Some(some_time(&mut self.rng))
    }
}
