//! A few keys that everybody reads, writes, compares and removes: for linearizability.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Situation, Workload, any_level, unique_value};
use crate::history::{Action, Outcome, Seen, Write};
use crate::rng::Rng;

const KEYS: [&str; 4] = ["r/0", "r/1", "r/2", "r/3"];

/// Remembers what it saw last, so that comparisons sometimes hold.
#[derive(Default)]
pub(super) struct Registers {
    last: BTreeMap<Bytes, Option<Bytes>>,
}

impl Workload for Registers {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        let key = Bytes::from_static(rng.pick(&KEYS).as_bytes());
        let nested = rng.chance(200);
        match rng.below(20) {
            0..9 => Action::Read { key, level: any_level(rng, situation) },
            9..14 => write(key, Some(unique_value(rng, situation)), nested),
            14 => write(key, None, nested),
            _ => {
                let expect = self.last.get(&key).cloned().unwrap_or(None);
                let value = Some(unique_value(rng, situation));
                // A failure that does not say what it saw tells too little to be checked cheaply.
                let observe = Some(key.clone());
                let expect = Some((key.clone(), expect));
                let changes = vec![(key, value)];
                Action::Write(Write { expect, changes, observe, nested, ..Write::default() })
            }
        }
    }

    fn ended(&mut self, action: &Action, outcome: &Outcome) {
        match (action, outcome) {
            (Action::Read { key, .. }, Outcome::Done(_, Seen::Page { items, .. })) => {
                self.last.insert(key.clone(), items.first().map(|item| item.value.clone()));
            }
            (Action::Write(write), Outcome::Done(_, Seen::Written { succeeded: true, .. })) => {
                self.last.extend(write.changes.iter().cloned());
            }
            _ => {}
        }
    }
}

fn write(key: Bytes, value: Option<Bytes>, nested: bool) -> Action {
    Action::Write(Write { changes: vec![(key, value)], nested, ..Write::default() })
}
