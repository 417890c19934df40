//! Damage to files: bits that flip, files that are cut, pieces that come back from an older backup,
//! writes that were acknowledged and are not there, or stand somewhere else.
//!
//! Never on more than a minority of the nodes of one run: what a majority has acknowledged must stay
//! whole somewhere. What is expected of a damaged node: it notices, and repairs itself from the others,
//! or stops and says so (then its operator does what it says, see `World::tend`). It must never answer
//! wrongly.
//!
//! A journal can tell damage from a torn tail only before a batch that proves that the damaged one had
//! been synced; its header says why. So its damage is done there, to machines that are off. What a
//! lost or misdirected write leaves behind looks the same, whenever it happened: nobody reads a
//! journal before the next start. Engines are damaged at any time, for they read all the time.

use std::collections::BTreeMap;
use std::time::Duration;

use disk::mem::MemDisk;
use journal::Seen;

use super::{Fault, any_machine, some_time};
use crate::machine::{ENGINE_DIR, JOURNAL};
use crate::rng::Rng;
use crate::world::{Death, World};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A bit flips.
    Rot,
    /// A file ends too early.
    Cut,
    /// A piece is as it was some time ago.
    Stale,
    /// A write never arrived.
    Lost,
    /// A write arrived in another place.
    Astray,
}

/// Where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Journal,
    /// The engine's files, snapshots that are coming in among them.
    Engine,
}

/// Bytes of a piece that comes back from an older backup.
const PIECE: u64 = 4096;

pub(super) struct Damage {
    name: &'static str,
    kind: Kind,
    place: Place,
    /// Files as they were at an earlier strike.
    backup: BTreeMap<(usize, String), Vec<u8>>,
    /// The machine that is struck.
    victim: usize,
    rng: Rng,
}

impl Damage {
    pub(super) fn new(name: &'static str, kind: Kind, place: Place, rng: Rng) -> Self {
        Self { name, kind, place, backup: BTreeMap::new(), victim: 0, rng }
    }

    /// What was done, in words; nothing if there was nothing to do it to.
    fn damage(&mut self, world: &mut World, machine: usize) -> Option<String> {
        match self.place {
            Place::Journal => {
                // Off, so that all that stands on the disk is durable.
                let away = self.rng.skewed(Duration::from_millis(10), Duration::from_secs(2));
                world.machines[machine].down_until = world.now + away;
                world.dies(machine, Death::Power);
                let disk = world.machines[machine].disk.clone();
                if self.kind == Kind::Cut { self.cut_segment(&disk) } else { self.in_batch(&disk) }
            }
            Place::Engine => {
                if self.rng.chance(500) {
                    world.dies(machine, Death::Power);
                }
                let disk = world.machines[machine].disk.clone();
                self.in_engine(&disk)
            }
        }
    }

    /// Something within batches that a later one proves to have been synced.
    fn in_batch(&mut self, disk: &MemDisk) -> Option<String> {
        let batches = proven(disk);
        if batches.is_empty() {
            return self.beside_the_log(disk);
        }
        let (path, from, to) = self.rng.pick(&batches).clone();
        let bytes = disk.bytes(&path)?;
        let (start, end) = (usize::try_from(from).ok()?, usize::try_from(to).ok()?);
        match self.kind {
            Kind::Rot | Kind::Cut => {
                let offset = self.rng.between(from, to - 1);
                disk.flip_bits(&path, offset, 1 << self.rng.below(8));
                Some(format!("a bit flips at {offset} of {path}"))
            }
            Kind::Stale => {
                let old = self.backup.get(&(self.victim, path.clone()))?.get(start..end)?;
                disk.patch(&path, from, old);
                Some(format!("{from} to {to} of {path} is as it was before"))
            }
            Kind::Lost => {
                disk.patch(&path, from, &vec![0; end - start]);
                Some(format!("{from} to {to} of {path} was never written"))
            }
            Kind::Astray => {
                // It took the place of another that is proven, too.
                let (other, at, _) = self.rng.pick(&batches).clone();
                disk.patch(&path, from, &vec![0; end - start]);
                disk.patch(&other, at, bytes.get(start..end)?);
                Some(format!("{from} to {to} of {path} went to {at} of {other}"))
            }
        }
    }

    /// The marker of damage, segments set aside, spares: nothing of that is anybody's promise.
    fn beside_the_log(&mut self, disk: &MemDisk) -> Option<String> {
        let files = disk.files(JOURNAL).into_iter();
        let files: Vec<_> = files.filter(|(path, len)| !is_segment(path) && *len > 0).collect();
        if files.is_empty() {
            return None;
        }
        let (path, len) = self.rng.pick(&files);
        let offset = self.rng.below(*len);
        disk.flip_bits(path, offset, 1 << self.rng.below(8));
        Some(format!("a bit flips at {offset} of {path}"))
    }

    /// Cuts a segment that a later one proves to have been synced, or a file beside the log.
    fn cut_segment(&mut self, disk: &MemDisk) -> Option<String> {
        let mut segments = segments(disk);
        let _proof = segments.pop();
        let may_be_cut = |path: &String| !is_segment(path) || segments.contains(path);
        let files = disk.files(JOURNAL).into_iter();
        let files: Vec<_> = files.filter(|(path, len)| *len > 0 && may_be_cut(path)).collect();
        if files.is_empty() {
            return None;
        }
        let (path, len) = self.rng.pick(&files);
        let kept = self.rng.below(*len);
        disk.truncate(path, kept);
        Some(format!("{path} ends after {kept} of {len} bytes"))
    }

    fn in_engine(&mut self, disk: &MemDisk) -> Option<String> {
        let files = disk.files(ENGINE_DIR);
        let files: Vec<_> = files.into_iter().filter(|(_, len)| *len > 0).collect();
        if files.is_empty() {
            return None;
        }
        let (path, len) = self.rng.pick(&files).clone();
        match self.kind {
            Kind::Rot => {
                let (path, offset) = disk.flip_random_bit(ENGINE_DIR)?;
                Some(format!("a bit flips at {offset} of {path}"))
            }
            Kind::Cut => {
                let kept = self.rng.below(len);
                disk.truncate(&path, kept);
                Some(format!("{path} ends after {kept} of {len} bytes"))
            }
            Kind::Stale => {
                let old = self.backup.get(&(self.victim, path.clone()))?;
                let from = self.rng.below(len) / PIECE * PIECE;
                let start = usize::try_from(from).ok()?;
                let piece = old.get(start..old.len().min(start + 4096))?;
                disk.patch(&path, from, piece);
                Some(format!("a piece at {from} of {path} is as it was before"))
            }
            // These strike later: the disk counts them.
            Kind::Lost => {
                disk.lose_next_write(ENGINE_DIR);
                None
            }
            Kind::Astray => {
                disk.misdirect_next_write(ENGINE_DIR);
                None
            }
        }
    }

    fn back_up(&mut self, world: &World, machine: usize) {
        if self.kind == Kind::Stale {
            let disk = &world.machines[machine].disk;
            let dir = if self.place == Place::Journal { JOURNAL } else { ENGINE_DIR };
            self.backup.retain(|(whose, _), _| *whose != machine);
            for (path, _) in disk.files(dir) {
                if let Some(bytes) = disk.bytes(&path) {
                    self.backup.insert((machine, path), bytes);
                }
            }
        }
    }
}

impl Fault for Damage {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let machine = any_machine(&mut self.rng, world);
        if !world.may_damage(machine) {
            return Some(some_time(&mut self.rng));
        }
        self.victim = machine;
        if let Some(what) = self.damage(world, machine) {
            let id = world.machines[machine].id();
            world.line(&id, format_args!("is damaged: {what}"));
            world.struck(self.name);
        }
        self.back_up(world, machine);
        Some(some_time(&mut self.rng))
    }
}

/// A read that brings back one bit flipped, while the disk is whole.
pub(super) struct CorruptRead {
    rng: Rng,
}

impl CorruptRead {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }
}

impl Fault for CorruptRead {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let machine = any_machine(&mut self.rng, world);
        if world.may_damage(machine) {
            let place = *self.rng.pick(&[ENGINE_DIR, ENGINE_DIR, JOURNAL]);
            world.machines[machine].disk.corrupt_next_read(place);
            if place == JOURNAL {
                // It is read at a start alone.
                world.dies(machine, Death::Process);
            }
        }
        Some(some_time(&mut self.rng))
    }
}

fn is_segment(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, kind)| kind == "seg")
}

/// Segments with a header, in their order.
fn segments(disk: &MemDisk) -> Vec<String> {
    let mut found = Vec::new();
    let read = journal::inspect(disk.clone(), JOURNAL, &mut |line| {
        if matches!(line.seen, Seen::Segment { .. }) && !line.file.contains(".damaged") {
            found.push(format!("{JOURNAL}/{}", line.file));
        }
    });
    if read.is_ok() { found } else { Vec::new() }
}

/// Places of batches that a later one proves to have been synced: path, first byte, byte behind.
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
                let path = format!("{JOURNAL}/{}", line.file);
                found.push((batch, (path, line.offset, line.offset + 1)));
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
