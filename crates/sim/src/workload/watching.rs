//! Watches that are resumed from answer to answer, on whichever node is asked next. Some watchers stop
//! asking for a long time, and then go on where they were: they get all of it, or hear that it is gone.

use std::time::Duration;

use bytes::Bytes;
use wire::{Consistency, KeyRange, Revision};

use super::{Situation, Workload};
use crate::history::{Action, Outcome, Seen};
use crate::rng::Rng;

const PREFIXES: [&str; 6] = ["", "r/", "p/", "l/", "k/", ""];

/// Follows one range for as long as its history can be had.
#[derive(Default)]
pub(super) struct Watching {
    range: Option<KeyRange>,
    next: Revision,
    previous: bool,
    /// So many of its turns it is at something else.
    asleep: u64,
}

impl Workload for Watching {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        if self.asleep > 0 {
            self.asleep -= 1;
            let key = Bytes::from_static(b"r/0");
            return Action::Read { key, level: Consistency::Eventual };
        }
        if rng.chance(40) {
            self.asleep = rng.between(5, 60);
        }
        let range = self.range.get_or_insert_with(|| {
            // Some begin in the past, some now.
            if rng.chance(300) {
                self.next = situation.seen;
            }
            self.previous = rng.chance(600);
            KeyRange::prefix(Bytes::from_static(rng.pick(&PREFIXES).as_bytes()))
        });
        Action::Watch { range: range.clone(), from: self.next, previous: self.previous }
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
