//! Branches of the nodes' code that healthy days never take are opened: see `node::Rare`. The plan hands
//! them to the nodes; there is nothing left to strike.

use std::time::Duration;

use super::Fault;
use crate::world::World;

pub(super) struct RarePaths;

impl Fault for RarePaths {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        world.struck("rare");
        None
    }
}
