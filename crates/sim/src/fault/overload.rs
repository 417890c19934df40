//! A crowd of clients that asks for some three times what the cluster can do, gives up early, asks
//! again at once; then goes home. Afterwards the cluster must do its work again without anybody's help.
//!
//! # Reference
//!
//! Huang et al., *Metastable Failures in the Wild* (OSDI 2022): overload that outlives its cause,
//! fed by retries and by queues of requests that nobody waits for any more.

use std::time::Duration;

use super::{Fault, some_time};
use crate::rng::Rng;
use crate::world::World;

/// How many times what can be done is asked for.
const TIMES: u32 = 3;

/// Events of a node that one request costs, some: itself, a message from each follower, a sync.
const EVENTS: u32 = 3;

pub(super) struct Overload {
    rng: Rng,
}

impl Overload {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }

    fn set(world: &mut World, on: bool) {
        world.crowded = on;
        let crowd = u32::try_from(world.plan.crowd.max(1)).unwrap_or(u32::MAX);
        // Each of the crowd asks once in its patience, when nothing is done.
        let cost = world.plan.crowd_patience * TIMES / (crowd * EVENTS);
        for machine in &mut world.machines {
            machine.event_cost = if on { cost } else { Duration::ZERO };
        }
    }
}

impl Fault for Overload {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let on = !world.crowded;
        Self::set(world, on);
        if !on {
            return Some(some_time(&mut self.rng));
        }
        world.struck("overload");
        let clients = world.plan.clients;
        for client in clients..clients + world.plan.crowd {
            world.wake(client);
        }
        Some(self.rng.duration(Duration::from_millis(500), Duration::from_secs(3)))
    }

    fn heal(&mut self, world: &mut World) {
        Self::set(world, false);
    }
}
