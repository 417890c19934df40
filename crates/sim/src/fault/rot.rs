//! Bits that flip at rest in a journal, while its machine is off.
//!
//! Never on more than a minority of the nodes of one run: beyond that no protocol can help. And
//! only where the journal can tell rot from a torn tail: before a batch that proves that the rotten
//! one had been synced. The journal's header says why nobody can tell behind that.

use std::collections::BTreeSet;
use std::time::Duration;

use disk::mem::MemDisk;
use journal::Seen;

use super::{Fault, any_machine, some_time};
use crate::machine::JOURNAL;
use crate::rng::Rng;
use crate::world::{Death, World};

pub(super) struct Rot {
    victims: BTreeSet<usize>,
    rng: Rng,
}

impl Rot {
    pub(super) fn new(rng: Rng) -> Self {
        Self { victims: BTreeSet::new(), rng }
    }

    fn choose(&mut self, world: &World) -> Option<usize> {
        let most = (world.machines.len() - 1) / 2;
        let machine = any_machine(&mut self.rng, world);
        if self.victims.contains(&machine) || self.victims.len() < most {
            self.victims.insert(machine);
            return Some(machine);
        }
        None
    }
}

impl Fault for Rot {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        if let Some(machine) = self.choose(world) {
            // Off, so that all that stands on the disk is durable.
            let away = self.rng.skewed(Duration::from_millis(10), Duration::from_secs(2));
            world.machines[machine].down_until = world.now + away;
            world.dies(machine, Death::Power);
            let disk = world.machines[machine].disk.clone();
            let batches = proven(&disk);
            if !batches.is_empty() {
                let (file, from, to) = self.rng.pick(&batches);
                let offset = self.rng.between(*from, *to - 1);
                let mask = 1 << self.rng.below(8);
                disk.flip_bits(&format!("{JOURNAL}/{file}"), offset, mask);
                let id = world.machines[machine].id();
                world.line(&id, format_args!("rots at {offset} of {file}"));
            }
        }
        Some(some_time(&mut self.rng))
    }
}

/// Places of batches that a later one proves to have been synced: file, first byte, byte behind.
fn proven(disk: &MemDisk) -> Vec<(String, u64, u64)> {
    let mut found: Vec<(u64, (String, u64, u64))> = Vec::new();
    let mut through = 0;
    let read = journal::inspect(disk.clone(), JOURNAL, &mut |line| {
        if line.file.contains(".damaged") {
            return;
        }
        match (line.seen, line.batch) {
            (Seen::Batch { durable_through, .. }, Some(batch)) => {
                through = through.max(durable_through);
                found.push((batch, (line.file, line.offset, line.offset + 1)));
            }
            (Seen::Record { bytes, .. }, Some(batch)) => {
                if let Some((of, (_, _, end))) = found.last_mut()
                    && *of == batch
                {
                    *end = (*end).max(line.offset + bytes);
                }
            }
            (Seen::Segment { .. } | Seen::Invalid { .. }, _)
            | (Seen::Batch { .. } | Seen::Record { .. }, None) => {}
        }
    });
    if read.is_err() {
        return Vec::new();
    }
    found.into_iter().filter(|(batch, _)| *batch <= through).map(|(_, place)| place).collect()
}
