//! A replica's own chance: a small seeded generator, so that the same seed gives the same life.
//!
//! Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators* (2014), figure 16
//! (`SplitMix64`): a counter and a mixing function. Good enough to spread elections; no secret.

use std::time::Duration;

#[derive(Clone, Debug, Hash)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A time in `[0, limit)`; zero if `limit` is.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        let nanos = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(self.next() % nanos)
    }
}
