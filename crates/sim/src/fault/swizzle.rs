//! Links that are stopped one by one and come back in another order, and single links that are cut while
//! everybody else hears each other: what one node can reach another one can not.
//!
//! # Reference
//!
//! `FoundationDB`'s simulation calls the first swizzle-clogging, and says that it finds what nothing
//! else does. For the second: Alfatafta et al., *Toward a Generic Fault Tolerance Technique for Partial
//! Network Partitioning* (OSDI 2020).

use std::time::Duration;

use super::{Fault, some_time};
use crate::rng::Rng;
use crate::world::World;

/// A link that is stopped, one way.
type Link = (usize, usize);

/// Stops links one by one, then lets them go in any order.
pub(super) struct Swizzle {
    stopped: Vec<Link>,
    releases: bool,
    rng: Rng,
}

impl Swizzle {
    pub(super) fn new(rng: Rng) -> Self {
        Self { stopped: Vec::new(), releases: false, rng }
    }

    fn stop_one(&mut self, world: &mut World) {
        let nodes = world.machines.len();
        if nodes < 2 {
            return;
        }
        let from = self.rng.index(nodes);
        let to = (from + 1 + self.rng.index(nodes - 1)) % nodes;
        if self.stopped.contains(&(from, to)) {
            return;
        }
        world.net.set_stopped(from, to, true);
        self.stopped.push((from, to));
        world.struck("swizzle");
    }
}

impl Fault for Swizzle {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let links = world.machines.len() * (world.machines.len() - 1);
        if self.releases {
            if self.stopped.is_empty() {
                self.releases = false;
                return Some(some_time(&mut self.rng));
            }
            let (from, to) = self.stopped.swap_remove(self.rng.index(self.stopped.len()));
            world.let_go(from, to);
        } else {
            self.stop_one(world);
            self.releases = self.stopped.len() >= links || self.rng.chance(200);
        }
        Some(self.rng.skewed(Duration::from_millis(5), Duration::from_millis(500)))
    }

    fn heal(&mut self, world: &mut World) {
        for (from, to) in std::mem::take(&mut self.stopped) {
            world.let_go(from, to);
        }
    }
}

/// Cuts one to all but one of a node's links, while all others carry: no two sides, only two nodes that
/// do not hear each other and a third that hears both.
pub(super) struct NonTransitive {
    on: bool,
    rng: Rng,
}

impl NonTransitive {
    pub(super) fn new(rng: Rng) -> Self {
        Self { on: false, rng }
    }
}

impl Fault for NonTransitive {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        self.on = !self.on;
        world.net.mend_cuts();
        let nodes = world.machines.len();
        if self.on && nodes > 2 {
            let mut others: Vec<usize> = (0..nodes).collect();
            self.rng.shuffle(&mut others);
            let (lonely, others) = others.split_first()?;
            let most = others.len() as u64 - 1;
            let cut = usize::try_from(self.rng.between(1, most)).unwrap_or(1);
            for other in &others[..cut] {
                world.net.set_cut(*lonely, *other, true);
                world.net.set_cut(*other, *lonely, true);
            }
            world.line(
                &"net",
                format_args!("{lonely} and {:?} do not hear each other", &others[..cut]),
            );
            world.struck("non-transitive");
        }
        Some(some_time(&mut self.rng))
    }
}
