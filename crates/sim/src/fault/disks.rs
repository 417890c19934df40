//! Disks that are slow, full, or can't sync.

use std::time::Duration;

use super::{Fault, any_machine, some_time};
use crate::machine::{Excuse, JOURNAL};
use crate::rng::Rng;
use crate::world::World;

/// A disk that takes many times as long, for a while.
pub(super) struct SlowDisk {
    rng: Rng,
}

impl SlowDisk {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

impl Fault for SlowDisk {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let machine = any_machine(&mut self.rng, world);
        world.machines[machine].slowness = *self.rng.pick(&[1, 1, 5, 20, 100]);
        Some(some_time(&mut self.rng))
    }
}

/// A disk that is full, for a while.
pub(super) struct FullDisk {
    full: Option<usize>,
    rng: Rng,
}

impl FullDisk {
    pub(super) fn new(rng: Rng) -> Self {
        Self { full: None, rng }
    }
}

impl Fault for FullDisk {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        if let Some(machine) = self.full.take() {
            world.machines[machine].disk.set_capacity(None);
        } else {
            let machine = any_machine(&mut self.rng, world);
            let room = *self.rng.pick(&[0, 1_000, 30_000, 100_000]);
            let this = &mut world.machines[machine];
            this.excuse = Some(Excuse::Full);
            this.disk.set_capacity(Some(this.disk.used() + room));
            let id = this.id();
            world.line(&id, format_args!("has {room} bytes of room left"));
            self.full = Some(machine);
        }
        Some(some_time(&mut self.rng))
    }
}

/// A disk whose next sync fails: what was to be synced is lost, and the next sync says nothing of it.
pub(super) struct FailingSync {
    then: Excuse,
    rng: Rng,
}

impl FailingSync {
    pub(super) fn new(then: Excuse, rng: Rng) -> Self {
        Self { then, rng }
    }
}

impl Fault for FailingSync {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let machine = any_machine(&mut self.rng, world);
        let this = &mut world.machines[machine];
        this.excuse = Some(self.then);
        this.disk.fail_next_sync(if self.rng.chance(700) { JOURNAL } else { "" });
        Some(some_time(&mut self.rng))
    }
}
