//! Keys that are only ever written together: whoever sees one sees the other.

use bytes::Bytes;

use super::{Situation, Workload, any_level, unique_value};
use crate::history::{Action, Write};
use crate::rng::Rng;

const PREFIX: &[u8] = b"p/";

pub(super) struct Pairs;

impl Workload for Pairs {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        if rng.chance(400) {
            let prefix = Bytes::from_static(PREFIX);
            return Action::Scan { prefix, level: any_level(rng, situation) };
        }
        let value = unique_value(rng, situation);
        let pair = rng.below(3);
        let keys = [format!("p/{pair}/left"), format!("p/{pair}/right")];
        let changes = keys.map(|key| (Bytes::from(key), Some(value.clone()))).to_vec();
        let nested = rng.chance(200);
        Action::Write(Write { changes, nested, ..Write::default() })
    }
}
