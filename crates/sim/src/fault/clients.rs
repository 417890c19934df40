//! Clients that die in the middle of what they do. Nobody ever learns what came of it.

use std::time::Duration;

use super::{Fault, some_time};
use crate::rng::Rng;
use crate::world::World;

pub(super) struct DyingClients {
    rng: Rng,
}

impl DyingClients {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

impl Fault for DyingClients {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let client = self.rng.index(world.plan.clients);
        world.replace_client(client);
        world.struck("dying-clients");
        Some(some_time(&mut self.rng))
    }
}
