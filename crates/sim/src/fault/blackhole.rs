//! A follower that hears nothing until its leader has dropped the log that it would need, and then again
//! at once: two snapshots in quick succession.
//!
//! # Reference
//!
//! etcd's robustness tests call it *blackhole until snapshot*; their issue 18055 is a panic on two
//! snapshots that follow each other quickly.

use std::time::Duration;

use super::{Fault, any_machine, leader, some_time};
use crate::rng::Rng;
use crate::world::World;

/// How often it is looked whether it is so far.
const LOOK: Duration = Duration::from_millis(50);

/// A follower is given back after so many looks, whatever it needs.
const PATIENCE: u32 = 200;

pub(super) struct Blackhole {
    victim: Option<usize>,
    looks: u32,
    /// How many more snapshots it shall need right after this one.
    again: u64,
    /// Who is cut off next, if that is known.
    next: Option<usize>,
    rng: Rng,
}

impl Blackhole {
    pub(super) fn new(rng: Rng) -> Self {
        Self { victim: None, looks: 0, again: 0, next: None, rng }
    }

    fn set(&mut self, world: &mut World, machine: usize, cut: bool) {
        for other in (0..world.machines.len()).filter(|other| *other != machine) {
            world.net.set_cut(machine, other, cut);
            world.net.set_cut(other, machine, cut);
        }
        self.victim = cut.then_some(machine);
        self.looks = 0;
    }
}

impl Fault for Blackhole {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let Some(victim) = self.victim else {
            let any = any_machine(&mut self.rng, world);
            let machine = self.next.unwrap_or(any);
            if leader(world) != Some(machine) && world.machines.len() > 1 {
                if self.next.take().is_none() {
                    self.again = self.rng.below(3);
                }
                self.set(world, machine, true);
            }
            return Some(LOOK);
        };
        self.looks += 1;
        if !needs_snapshot(world, victim) && self.looks < PATIENCE {
            return Some(LOOK);
        }
        if self.looks < PATIENCE {
            world.struck("blackhole");
            let id = world.machines[victim].id();
            world.line(&id, format_args!("needs a snapshot, and hears again"));
        }
        self.set(world, victim, false);
        if self.again == 0 {
            return Some(some_time(&mut self.rng));
        }
        // Soon enough to find it in the middle of the first one, or just behind it.
        self.again -= 1;
        self.next = Some(victim);
        Some(self.rng.skewed(Duration::from_millis(1), Duration::from_secs(1)))
    }

    fn heal(&mut self, _world: &mut World) {
        self.victim = None;
    }
}

/// Whether a leader knows that this node lacks what the leader's log no longer has.
fn needs_snapshot(world: &World, machine: usize) -> bool {
    let id = world.machines[machine].id();
    world.machines.iter().filter_map(|other| other.process.as_ref()).any(|process| {
        let peers = process.node.status().peers;
        peers.iter().any(|peer| peer.node == id && peer.state == "snapshot")
    })
}
