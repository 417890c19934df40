//! Watches that are resumed from answer to answer, on whichever node is asked next.

use std::time::Duration;

use bytes::Bytes;
use wire::{KeyRange, Revision};

use super::{Situation, Workload};
use crate::history::{Action, Outcome, Seen};
use crate::rng::Rng;

const PREFIXES: [&str; 3] = ["", "r/", "p/"];

/// Follows one range for as long as its history can be had.
#[derive(Default)]
pub(super) struct Watching {
    range: Option<KeyRange>,
    next: Revision,
}

impl Workload for Watching {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        let range = self.range.get_or_insert_with(|| {
            // Some begin in the past, some now.
            if rng.chance(300) {
                self.next = situation.seen;
            }
            KeyRange::prefix(Bytes::from_static(rng.pick(&PREFIXES).as_bytes()))
        });
        Action::Watch { range: range.clone(), from: self.next }
    }

    fn ended(&mut self, _action: &Action, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_, Seen::Events { next, .. }) => self.next = *next,
            Outcome::NotDone(why) if why == "compacted" => {
                self.range = None;
                self.next = Revision(0);
            }
            Outcome::Done(..) | Outcome::NotDone(_) | Outcome::Pending | Outcome::Unknown(_) => {}
        }
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(300)
    }
}
