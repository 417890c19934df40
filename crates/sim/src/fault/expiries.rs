//! Leaders that fall just when a lease ends: whose end it is to propose, and what a leader that was
//! stopped meanwhile still believes of it, is decided then.
//!
//! # Reference
//!
//! etcd's issues 15247 (a deposed leader revoked what the next one had kept alive) and 9888 (leases
//! that lived for ever where leaders changed often).

use std::time::Duration;

use super::{Fault, leader, some_time};
use crate::rng::Rng;
use crate::world::{Death, World};

pub(super) struct ExpiryCoups {
    /// A leader that was cut off from the other nodes.
    apart: Option<usize>,
    rng: Rng,
}

impl ExpiryCoups {
    pub(super) fn new(rng: Rng) -> Self {
        Self { apart: None, rng }
    }

    fn set_apart(world: &mut World, machine: usize, cut: bool) {
        for other in (0..world.machines.len()).filter(|other| *other != machine) {
            world.net.set_cut(machine, other, cut);
            world.net.set_cut(other, machine, cut);
        }
    }

    /// The leader falls, in one way or another.
    fn topple(&mut self, world: &mut World, machine: usize) {
        match self.rng.below(10) {
            0..4 => {
                let lasts = self.rng.skewed(Duration::from_millis(50), Duration::from_secs(3));
                world.pause(machine, lasts);
            }
            // It does not notice at once, and its clients still reach it.
            4..8 => {
                Self::set_apart(world, machine, true);
                self.apart = Some(machine);
            }
            8 => {
                let messages = self.rng.below(4);
                world.net.cut_off_after(machine, messages, world.machines.len());
            }
            _ => {
                let away = self.rng.duration(Duration::from_millis(20), Duration::from_secs(1));
                world.machines[machine].down_until = world.now + away;
                world.dies(machine, Death::Process);
            }
        }
        world.struck("expiry-coups");
    }
}

impl Fault for ExpiryCoups {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        if let Some(machine) = self.apart.take() {
            Self::set_apart(world, machine, false);
            world.net.end_coups();
        }
        world.expiries = world.expiries.split_off(&world.now);
        let Some(next) = world.expiries.first() else { return Some(some_time(&mut self.rng)) };
        let before = next.since(world.now);
        let near = world.plan.tuning.heartbeat * 3;
        if before > near {
            // Not all the way: some fall before the end of the lease, some after it.
            return Some(before.saturating_sub(self.rng.duration(Duration::ZERO, near)));
        }
        if let Some(machine) = leader(world) {
            self.topple(world, machine);
        }
        let elections = u32::try_from(self.rng.between(1, 6)).expect("few");
        Some(before + world.plan.tuning.election_timeout * elections)
    }

    /// All holders hear of a new leader, and keep all of their leases alive at once.
    fn leads(&mut self, world: &mut World, _machine: usize) {
        if !world.stormy || self.rng.chance(500) {
            return;
        }
        for client in 0..world.plan.clients {
            world.clients[client].situation.alarms += 1;
            world.wake(client);
        }
    }

    fn heal(&mut self, world: &mut World) {
        if let Some(machine) = self.apart.take() {
            Self::set_apart(world, machine, false);
        }
        world.net.end_coups();
    }
}
