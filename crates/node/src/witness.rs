//! A witness: a replica that votes and keeps the log, and has no data.
//!
//! It has no state machine. Its engine stays empty; what it knows besides its log, who belongs to the group and
//! where the log begins, the journal has. Entries that are committed are passed over, and may be dropped at
//! once, as far as consensus does not retain them for others: there is no image that would have to come first.
//!
//! # Invariants
//!
//! * Nothing is read from it and nothing is taken in: who asks is sent to the leader, or on to another node.
//! * It gives no snapshot and fetches none. What its log lacks of the leader's it is told by consensus.
//!
//! # Durability
//!
//! That of its log alone: see [`consensus::Membership`].

use consensus::{Entry, Input, LogIndex, Position, Time};
use wire::{Refusal, Request};

use crate::group::Group;
use crate::shared::Shared;

/// What a witness has instead of a state.
#[derive(Debug)]
pub(crate) struct Witness {
    /// The last entry that was passed over.
    position: Position,
    /// What consensus was told that it may drop.
    let_go: LogIndex,
}

impl Witness {
    /// One whose log begins after this position.
    pub(crate) fn new(base: Position) -> Self {
        Self { position: base, let_go: base.index }
    }

    /// The last entry that was passed over.
    pub(crate) fn position(&self) -> Position {
        self.position
    }
}

impl Group {
    /// Committed entries: a witness has nothing to apply them to.
    pub(crate) fn pass_over(&mut self, entries: &[Entry]) {
        if let (Some(witness), Some(last)) = (&mut self.witness, entries.last()) {
            witness.position = last.position;
        }
    }

    /// Lets consensus drop what was passed over since the last time.
    pub(crate) fn let_go(&mut self, shared: &mut Shared, now: Time) {
        let Some(witness) = &mut self.witness else { return };
        let through = witness.position.index;
        if through > witness.let_go {
            witness.let_go = through;
            self.step(shared, now, Input::Checkpointed { through });
        }
    }

    /// Why a witness does not do this, and whom to ask instead.
    pub(crate) fn refusal_of_witness(&self, shared: &Shared, request: &Request) -> Refusal {
        let any_node = match request {
            Request::Read { consistency, .. } => *consistency != wire::Consistency::Linearizable,
            Request::Watch { .. } | Request::Scrub => true,
            _ => false,
        };
        if any_node {
            let why =
                "it is a witness: it keeps the log and has no data; ask another node".to_owned();
            return Refusal::Broken { why };
        }
        // While it leads itself it looks for another that may.
        Refusal::NotLeader { leader: self.leader.filter(|leader| *leader != shared.config.node) }
    }
}
