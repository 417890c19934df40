//! A set of unique keys, each written once: every acknowledged one is there in the end.

use bytes::Bytes;

use super::{Situation, Workload, unique_value};
use crate::history::{Action, Write};
use crate::rng::Rng;

pub(super) struct Set;

impl Workload for Set {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        let key = Bytes::from(format!("s/{:02}-{:05}", situation.client, situation.turn));
        let value = Some(unique_value(rng, situation));
        // Half of them insist on being the first: a retry that is executed again would fail.
        let expect = rng.chance(500).then(|| (key.clone(), None));
        Action::Write(Write { expect, changes: vec![(key, value)], ..Write::default() })
    }
}
