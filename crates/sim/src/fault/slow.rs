//! Machines that work, and work slowly: a slow processor, a slow network card. Nobody notices, and
//! everybody waits.
//!
//! # Reference
//!
//! Huang et al., *Gray Failure: The Achilles' Heel of Cloud-Scale Systems* (`HotOS` 2017).

use std::time::Duration;

use super::{Fault, any_machine, some_time};
use crate::rng::Rng;
use crate::world::World;

/// A processor that takes many times as long for everything, for a while.
pub(super) struct SlowCpu {
    rng: Rng,
}

impl SlowCpu {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

impl Fault for SlowCpu {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let machine = any_machine(&mut self.rng, world);
        let sloth = *self.rng.pick(&[1, 5, 20, 100]);
        let cost = if sloth == 1 { Duration::ZERO } else { Duration::from_micros(20) };
        let this = &mut world.machines[machine];
        (this.sloth, this.event_cost) = (sloth, cost);
        if sloth > 1 {
            world.struck("slow-cpu");
        }
        Some(some_time(&mut self.rng))
    }
}

/// A network card that carries little, for a while; what does not fit its buffer is dropped.
pub(super) struct SlowCard {
    victim: Option<usize>,
    rng: Rng,
}

impl SlowCard {
    pub(super) fn new(rng: Rng) -> Self {
        Self { victim: None, rng }
    }
}

impl Fault for SlowCard {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        if let Some(machine) = self.victim.take() {
            world.net.limit(machine, None);
        } else {
            let machine = any_machine(&mut self.rng, world);
            let rate = *self.rng.pick(&[2_000, 20_000, 200_000]);
            world.net.limit(machine, Some(rate));
            self.victim = Some(machine);
            world.struck("slow-nic");
        }
        Some(some_time(&mut self.rng))
    }

    fn heal(&mut self, _world: &mut World) {
        self.victim = None;
    }
}
