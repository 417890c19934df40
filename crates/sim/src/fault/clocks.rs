//! Monotonic clocks that run at a wrong rate, stand still, or jump ahead.
//!
//! A rate between a half and two is worse than any crystal; a clock that stands still, or jumps by
//! minutes, is that of a virtual machine that its host has suspended. No promise of a node may rest on
//! any of it: only how soon things happen. Leases for reads are the exception; where leaders have them clocks
//! drift no more than the plan says that they may.

use std::time::Duration;

use super::{Fault, any_machine, some_time};
use crate::clock::TRUE_RATE;
use crate::rng::Rng;
use crate::world::World;

/// What is wrong with a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Drifts,
    Stands,
    Jumps,
}

pub(super) struct Clocks {
    kind: Kind,
    rng: Rng,
}

impl Clocks {
    pub(super) fn new(kind: Kind, rng: Rng) -> Self {
        Self { kind, rng }
    }
}

impl Fault for Clocks {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let machine = any_machine(&mut self.rng, world);
        let (now, slowest, fastest) = (world.now, world.plan.slowest, world.plan.fastest);
        let clock = &mut world.machines[machine].clock;
        match self.kind {
            Kind::Drifts => {
                clock.set_rate(now, self.rng.between(slowest, fastest));
                world.struck("drift");
            }
            Kind::Stands if self.rng.chance(400) => {
                clock.set_rate(now, 0);
                world.struck("frozen-clock");
            }
            Kind::Stands => clock.set_rate(now, TRUE_RATE),
            Kind::Jumps => {
                let by = self.rng.skewed(Duration::from_millis(10), Duration::from_mins(5));
                clock.jump(now, by);
                world.struck("clock-jump");
            }
        }
        world.clock_changed(machine);
        Some(some_time(&mut self.rng))
    }
}
