//! What an operator may do at any time: compact the history, move the leadership.

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
        let before = Revision((situation.seen.0 + 2).saturating_sub(back));
        Action::Compact { before }
    }
}
