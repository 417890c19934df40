//! What an operator may do at any time: compact the history, move the leadership, scrub.

use wire::Revision;

use super::{Situation, Workload, any_node};
use crate::history::Action;
use crate::rng::Rng;

pub(super) struct Admin;

impl Workload for Admin {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        if rng.chance(500) {
            return Action::Transfer { to: any_node(rng, situation) };
        }
        // Now and then beyond what exists: that is to be refused.
        let back = rng.below(40);
        if back >= 30 {
            // Unique, for no client has two of the same turn.
            return Action::Scrub { id: (situation.client as u64) << 32 | situation.turn };
        }
        let before = Revision((situation.seen.0 + 2).saturating_sub(back));
        Action::Compact { before }
    }
}
