//! What is written before what: every write and every reply of a replica goes through here.
//!
//! # Durability
//!
//! A reply reports a term, and with it what was promised in it. It leaves only when the write that
//! carries the current term and vote is on disk; an acknowledgement names one more write to wait
//! for. Where that write was asked for in an earlier list, an [`Output::Await`] stands for it.

use crate::{Durable, Entry, Output, PersistId, ReplicaId};

use super::message::Message;
use super::{Raft, Unsaved, send};

impl Raft {
    /// Writes `entries` and all that is unsaved.
    pub(super) fn persist(&mut self, entries: Vec<Entry>, out: &mut Vec<Output>) {
        let id = self.writes.issue();
        let Unsaved { hard_state, base } = std::mem::take(&mut self.unsaved);
        if hard_state {
            self.writes.carries_hard_state();
        }
        if let Some(last) = entries.last() {
            self.writes.carries_log(last.position.index);
        }
        self.barrier = id;
        out.push(Output::Persist(Durable {
            id,
            hard_state: hard_state.then_some(self.hard_state),
            base: base.then_some(self.log.base()),
            entries,
        }));
    }

    pub(super) fn save_hard_state(&mut self, out: &mut Vec<Output>) {
        if self.unsaved.hard_state {
            self.persist(Vec::new(), out);
        }
    }

    /// Sends a reply once the term and vote, and the write `after`, are on disk.
    pub(super) fn reply(
        &mut self,
        to: ReplicaId,
        message: Message,
        after: PersistId,
        out: &mut Vec<Output>,
    ) {
        self.save_hard_state(out);
        let after = after.max(self.writes.of_hard_state());
        if !self.writes.is_durable(after) && self.barrier < after {
            // Writes are ordered, so the one barrier covers all before it.
            self.barrier = after;
            out.push(Output::Await(after));
        }
        send(to, message, out);
    }
}
