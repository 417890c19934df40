//! Processes that are stopped for longer than anybody waits for them, and then go on as if nothing
//! had happened.

use std::time::Duration;

use super::{Fault, any_machine, leader, some_time};
use crate::rng::Rng;
use crate::world::{Death, World};

pub(super) struct Pause {
    rng: Rng,
}

impl Pause {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

impl Fault for Pause {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let any = any_machine(&mut self.rng, world);
        let machine = if self.rng.chance(500) { leader(world).unwrap_or(any) } else { any };
        let lasts = self.rng.skewed(Duration::from_millis(20), Duration::from_secs(4));
        world.pause(machine, lasts);
        world.struck("pause");
        let id = world.machines[machine].id();
        world.line(&id, format_args!("is stopped for {lasts:?}"));
        Some(some_time(&mut self.rng))
    }
}

/// Some are paused, the others are killed; the paused ones go on, and may form a quorum with what they
/// knew; then they are killed, and the others come back.
///
/// # Reference
///
/// So a message queue came to elect a leader that lacked what had been acknowledged: nats-server's
/// issue 7567, found by Jepsen.
pub(super) struct PauseThenKill {
    act: u32,
    paused: Vec<usize>,
    rng: Rng,
}

impl PauseThenKill {
    pub(super) fn new(rng: Rng) -> Self {
        Self { act: 0, paused: Vec::new(), rng }
    }

    fn kill(&mut self, world: &mut World, machine: usize, away: Duration) {
        world.machines[machine].down_until = world.now + away;
        let death = if self.rng.chance(500) { Death::Process } else { Death::Power };
        world.dies(machine, death);
    }
}

impl Fault for PauseThenKill {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let away = Duration::from_secs(3);
        self.act = (self.act + 1) % 4;
        match self.act {
            // A minority stops, and the others go on without it.
            1 => {
                let mut machines: Vec<usize> = (0..world.machines.len()).collect();
                self.rng.shuffle(&mut machines);
                let few = self.rng.between(1, (machines.len() as u64 / 2).max(1));
                machines.truncate(usize::try_from(few).expect("few"));
                for &machine in &machines {
                    world.pause(machine, Duration::from_secs(20));
                }
                self.paused = machines;
            }
            // Of those who know what happened meanwhile some die, as many as were stopped.
            2 => {
                let paused = self.paused.clone();
                let awake = (0..world.machines.len()).filter(|other| !paused.contains(other));
                let mut awake: Vec<usize> = awake.collect();
                self.rng.shuffle(&mut awake);
                awake.truncate(paused.len());
                for machine in awake {
                    self.kill(world, machine, away);
                    world.struck("pause-then-kill");
                }
            }
            // The stopped ones go on.
            3 => {
                for &machine in &self.paused {
                    world.resume(machine);
                }
            }
            // And die, perhaps, while the others come back.
            _ => {
                for machine in std::mem::take(&mut self.paused) {
                    if self.rng.chance(500) {
                        self.kill(world, machine, Duration::from_secs(1));
                    }
                }
            }
        }
        Some(self.rng.skewed(Duration::from_millis(50), Duration::from_secs(2)))
    }
}
