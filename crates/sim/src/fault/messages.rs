//! Messages that are lost, late, doubled or out of order, for some time, then not.

use std::time::Duration;

use super::{Fault, some_time};
use crate::net::Net;
use crate::rng::Rng;
use crate::world::World;

/// What is done to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Loss,
    Delay,
    Doubling,
    Reordering,
    AskingTwice,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Delay => "delay",
            Self::Doubling => "doubling",
            Self::Reordering => "reordering",
            Self::AskingTwice => "asking-twice",
        }
    }
}

pub(super) struct Nuisance {
    kind: Kind,
    on: bool,
    rng: Rng,
}

impl Nuisance {
    pub(super) fn new(kind: Kind, rng: Rng) -> Self {
        Self { kind, on: false, rng }
    }

    fn set(&mut self, net: &mut Net) {
        let per_mille = if self.on { *self.rng.pick(&[10, 50, 200, 500]) } else { 0 };
        match self.kind {
            Kind::Loss => net.loss = per_mille,
            Kind::Doubling => net.doubling = per_mille,
            Kind::AskingTwice => net.asking_twice = per_mille,
            Kind::Reordering => net.reordering = self.on,
            Kind::Delay => {
                let most = self.rng.skewed(Duration::from_millis(10), Duration::from_secs(2));
                net.delay = (per_mille, most);
            }
        }
    }
}

impl Fault for Nuisance {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        self.on = !self.on;
        self.set(&mut world.net);
        if self.on {
            world.struck(self.kind.name());
        }
        Some(some_time(&mut self.rng))
    }

    fn heal(&mut self, world: &mut World) {
        self.on = false;
        self.set(&mut world.net);
    }
}
