//! Processes that are stopped for longer than anybody waits for them, and then go on as if nothing
//! had happened.

use std::time::Duration;

use super::{Fault, any_machine, leader, some_time};
use crate::rng::Rng;
use crate::world::World;

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
        let until = world.now + lasts;
        let this = &mut world.machines[machine];
        this.paused_until = this.paused_until.max(until);
        let id = this.id();
        world.line(&id, format_args!("is stopped for {lasts:?}"));
        Some(some_time(&mut self.rng))
    }
}
