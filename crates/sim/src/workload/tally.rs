//! A key for each client that it alone writes, over and over: its version counts the writes, so a
//! write that was executed twice, or lost, shows.

use bytes::Bytes;
use wire::Consistency;

use super::{Situation, Workload, unique_value};
use crate::history::{Action, Write};
use crate::rng::Rng;

pub(super) struct Tally;

impl Workload for Tally {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        let key = Bytes::from(format!("t/{}", situation.client));
        if rng.chance(150) {
            return Action::Read { key, level: Consistency::Linearizable };
        }
        let value = Some(unique_value(rng, situation));
        let observe = Some(key.clone());
        Action::Write(Write { changes: vec![(key, value)], observe, ..Write::default() })
    }
}
