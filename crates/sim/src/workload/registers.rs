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
        match rng.below(20) {
            0..9 => Action::Read { key, level: any_level(rng, situation) },
            9..14 => write(None, key, Some(unique_value(rng, situation)), false),
            14 => write(None, key, None, false),
            _ => {
                let expect = self.last.get(&key).cloned().unwrap_or(None);
                let value = Some(unique_value(rng, situation));
                // A failure that does not say what it saw tells too little to be checked cheaply.
                write(Some((key.clone(), expect)), key, value, true)
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

fn write(
    expect: Option<(Bytes, Option<Bytes>)>,
    key: Bytes,
    value: Option<Bytes>,
    observe: bool,
) -> Action {
    let observe = observe.then(|| key.clone());
    Action::Write(Write { expect, changes: vec![(key, value)], observe })
}
