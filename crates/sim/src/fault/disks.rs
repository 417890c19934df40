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
        let slowness = *self.rng.pick(&[1, 1, 5, 20, 100]);
        world.machines[machine].slowness = slowness;
        if slowness > 1 {
            world.struck("slow-disk");
        }
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

/// A disk that fills up in the middle of a job of the storage worker: a flush, a compaction, a snapshot
/// that comes in.
pub(super) struct FullAtJob {
    full: Option<usize>,
    rng: Rng,
}

impl FullAtJob {
    pub(super) fn new(rng: Rng) -> Self {
        Self { full: None, rng }
    }
}

impl Fault for FullAtJob {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        if let Some(machine) = self.full.take() {
            world.machines[machine].full_at_job = false;
            world.machines[machine].disk.set_capacity(None);
        } else {
            let machine = any_machine(&mut self.rng, world);
            let this = &mut world.machines[machine];
            this.excuse = Some(Excuse::Full);
            this.full_at_job = true;
            self.full = Some(machine);
        }
        Some(some_time(&mut self.rng))
    }
}

/// A process that can open no more files, for a while.
pub(super) struct FewHandles {
    victim: Option<usize>,
    rng: Rng,
}

impl FewHandles {
    pub(super) fn new(rng: Rng) -> Self {
        Self { victim: None, rng }
    }
}

impl Fault for FewHandles {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        if let Some(machine) = self.victim.take() {
            world.machines[machine].disk.heal_opens();
        } else {
            let machine = any_machine(&mut self.rng, world);
            let this = &mut world.machines[machine];
            this.excuse = Some(Excuse::Handles);
            this.disk.fail_opens();
            self.victim = Some(machine);
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
