//! Links that are cut, in both directions or in one, and links that hold everything back.

use std::time::Duration;

use super::{Fault, any_machine, leader, some_time};
use crate::rng::Rng;
use crate::world::World;

/// Which directions of a link are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ways {
    Both,
    One,
}

pub(super) struct Partition {
    ways: Ways,
    on: bool,
    rng: Rng,
}

impl Partition {
    pub(super) fn new(ways: Ways, rng: Rng) -> Self {
        Self { ways, on: false, rng }
    }

    /// Which pairs of endpoints are to be parted.
    fn draw(&mut self, world: &World) -> Vec<(usize, usize)> {
        let nodes = world.machines.len();
        match self.rng.below(5) {
            0 => self.halves(world),
            1 => isolate(any_machine(&mut self.rng, world), nodes),
            2 => {
                let machine = leader(world).unwrap_or(0);
                isolate(machine, nodes)
            }
            3 => self.ring(nodes),
            _ => self.bridge(nodes),
        }
    }

    /// Two sides, clients too.
    fn halves(&mut self, world: &World) -> Vec<(usize, usize)> {
        let endpoints = world.machines.len() + world.clients.len();
        let sides: Vec<bool> = (0..endpoints).map(|_| self.rng.chance(500)).collect();
        pairs(endpoints).filter(|(one, two)| sides[*one] != sides[*two]).collect()
    }

    /// Each node hears only its neighbours in a ring.
    fn ring(&mut self, nodes: usize) -> Vec<(usize, usize)> {
        let mut order: Vec<usize> = (0..nodes).collect();
        self.rng.shuffle(&mut order);
        let apart =
            |one: usize, two: usize| (two - one) % nodes != 1 && (one + nodes - two) % nodes != 1;
        pairs(nodes).filter(|(a, b)| apart(*a, *b)).map(|(a, b)| (order[a], order[b])).collect()
    }

    /// Two sides that one node alone can reach both of.
    fn bridge(&mut self, nodes: usize) -> Vec<(usize, usize)> {
        let middle = self.rng.index(nodes);
        let side = |node: usize| node < middle;
        pairs(nodes).filter(|(a, b)| *a != middle && *b != middle && side(*a) != side(*b)).collect()
    }
}

impl Fault for Partition {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        self.on = !self.on;
        // Two partitions at once mend each other's cuts: that only makes for more shapes.
        world.net.mend_cuts();
        if self.on {
            let parted = self.draw(world);
            world.line(&"net", format_args!("parts {parted:?} ({:?})", self.ways));
            if !parted.is_empty() {
                world.struck(if self.ways == Ways::Both { "partition" } else { "one-way" });
            }
            for (one, two) in parted {
                let back = self.ways == Ways::Both || self.rng.chance(500);
                let forth = self.ways == Ways::Both || !back;
                if forth {
                    world.net.set_cut(one, two, true);
                }
                if back {
                    world.net.set_cut(two, one, true);
                }
            }
        } else {
            world.line(&"net", format_args!("mends all cuts"));
        }
        Some(some_time(&mut self.rng))
    }
}

fn pairs(endpoints: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..endpoints).flat_map(move |one| (one + 1..endpoints).map(move |two| (one, two)))
}

fn isolate(machine: usize, nodes: usize) -> Vec<(usize, usize)> {
    (0..nodes).filter(|other| *other != machine).map(|other| (machine, other)).collect()
}

/// Links that deliver nothing for a while, and then everything at once.
pub(super) struct Clog {
    rng: Rng,
}

impl Clog {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

impl Fault for Clog {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let endpoints = world.machines.len() + world.clients.len();
        world.struck("clog");
        for _ in 0..self.rng.between(1, 3) {
            let (from, to) = (any_machine(&mut self.rng, world), self.rng.index(endpoints));
            let lasts = self.rng.skewed(Duration::from_millis(50), Duration::from_secs(3));
            world.net.clog(from, to, world.now + lasts);
        }
        Some(some_time(&mut self.rng))
    }
}
