//! The replicas' states, compared while the run goes on: what each holds at a revision, and what it
//! knows at a log index of requests, leases, users and roles, is the same on all, whenever they come
//! there.
//!
//! At the end of a run all is compared (see `check::finals`); but a replica that was wrong for a while
//! and then took a snapshot would look whole by then.

use std::time::Duration;

use engine::Visit;
use node::{Node, SPACE};
use wire::{Event, Item, KeyRange, Revision};

use super::{Happening, World};

/// How often the replicas are looked at.
pub(super) const EVERY: Duration = Duration::from_millis(400);

/// States are compared at revisions that are multiples of this: at those, replicas that are not at the
/// same place at the same time can be compared, too.
const STEP: u64 = 32;

/// A running sum over whatever is compared.
#[derive(Default)]
struct Sum(u64);

impl World {
    pub(super) fn audit(&mut self) {
        for machine in 0..self.machines.len() {
            self.audit_machine(machine);
        }
        if self.plan.spares > 0 {
            self.switch_off_removed();
            self.set_up_added();
        }
        self.plan_after(EVERY, Happening::Audit);
    }

    fn audit_machine(&mut self, machine: usize) {
        let Some(process) = &mut self.machines[machine].process else { return };
        // What it has while it is rebuilt is nobody's state.
        if !process.node.is_whole() {
            return;
        }
        let (revision, applied, digest) = process.node.digest();
        let mut memory = Sum::default();
        memory.add(&digest);
        let at = revision.0 / STEP * STEP;
        let status = process.node.status();
        let rows = if at > process.audited && at > status.compacted.0 {
            process.audited = at;
            // A disk that can't be read is no finding here; the node will find it, too.
            rows_at(&process.node, Revision(at), status.compacted)
        } else {
            None
        };
        let id = status.node;
        let heard = self.ledger.remembers(id, applied, memory.0);
        self.contradicted(heard);
        if let Some((rows, changes)) = rows {
            let heard = self.ledger.holds(id, at, rows, changes);
            self.contradicted(heard);
        }
    }
}

/// Every key at a revision, and the last changes that led there if none of them is compacted.
fn rows_at(node: &Node, at: Revision, compacted: Revision) -> Option<(u64, Option<u64>)> {
    let view = node.view();
    let mut sum = Sum::default();
    view.scan(SPACE, &KeyRange::all(), at, &mut |item| {
        sum.item(&item);
        Visit::Continue
    })
    .ok()?;
    let from = Revision(at.0 + 1 - STEP);
    if from <= compacted {
        return Some((sum.0, None));
    }
    let mut changes = Sum::default();
    view.history(SPACE, &KeyRange::all(), from, at, &mut |event: Event| {
        changes.number(event.revision.0);
        changes.add(event.key());
        Visit::Continue
    })
    .ok()?;
    Some((sum.0, Some(changes.0)))
}

impl Sum {
    fn number(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
    }

    fn add(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    fn item(&mut self, item: &Item) {
        self.add(&item.key);
        self.add(&item.value);
        for number in [item.created.0, item.modified.0, item.version, item.lease] {
            self.number(number);
        }
    }
}
