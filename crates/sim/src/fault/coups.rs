//! Leaders that are cut off at one of their first messages, one after the other, while the one
//! before comes back: what a term began is left to a later one.
//!
//! # Reference
//!
//! Ongaro and Ousterhout, *In Search of an Understandable Consensus Algorithm* (2014), figure 8.

use std::time::Duration;

use super::{Fault, some_time};
use crate::rng::Rng;
use crate::world::World;

pub(super) struct Coups {
    on: bool,
    rng: Rng,
}

impl Coups {
    pub(super) fn new(rng: Rng) -> Self {
        Self { on: false, rng }
    }
}

impl Fault for Coups {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        self.on = !self.on;
        if !self.on {
            world.net.end_coups();
            return Some(some_time(&mut self.rng));
        }
        if let Some(leader) = super::leader(world) {
            self.leads(world, leader);
        }
        // Figure 8 is four terms long.
        let elections = u32::try_from(self.rng.between(8, 32)).expect("few");
        Some(world.plan.tuning.election_timeout * elections)
    }

    /// Counted in messages, not in time: as likely to hit the moment on a fast network as on a slow
    /// one.
    fn leads(&mut self, world: &mut World, machine: usize) {
        if !self.on {
            return;
        }
        let each = world.machines.len() as u64 - 1;
        let most = *self.rng.pick(&[0, 3, 8, 30]) * each;
        let messages = self.rng.between(0, most);
        world.line(&"net", format_args!("cuts node {} off in {messages} messages", machine + 1));
        world.net.cut_off_after(machine, messages, world.machines.len());
        world.struck("coups");
    }

    fn heal(&mut self, world: &mut World) {
        self.on = false;
        world.net.end_coups();
    }
}
