//! Reads of whole ranges: each shows one consistent past of the store.

use bytes::Bytes;

use super::{Situation, Workload, any_level};
use crate::history::Action;
use crate::rng::Rng;

const PREFIXES: [&str; 5] = ["", "r/", "s/", "t/", "p/"];

pub(super) struct Scans;

impl Workload for Scans {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        let prefix = Bytes::from_static(rng.pick(&PREFIXES).as_bytes());
        Action::Scan { prefix, level: any_level(rng, situation) }
    }
}
