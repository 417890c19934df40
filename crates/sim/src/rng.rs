//! The one source of chance of a run: small, seeded, the same on every machine.
//!
//! Each part of a run draws from its own generator, forked from the seed by name, so that one part
//! that draws more or less does not change what the others draw: a fault that is switched off
//! leaves the rest of the run recognisable.
//!
//! # Reference
//!
//! Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators* (2014).

use std::time::Duration;

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// Starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(mix(seed ^ 0x5851_F42D_4C95_7F2D))
    }

    /// A generator for the part of the run that is called `name`. Draws nothing from this one.
    #[must_use]
    pub fn fork(&self, name: &str) -> Self {
        let label = name.bytes().fold(self.0, |label, byte| mix(label ^ u64::from(byte)));
        Self(label)
    }

    /// As [`Rng::fork`], for the part with this number.
    #[must_use]
    pub fn fork_number(&self, number: u64) -> Self {
        Self(mix(self.0 ^ mix(number)))
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing lies below 0");
        // The high half of the product: no division, and a bias that no run is long enough to show.
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "a range has a low and a high end");
        low + self.below(high - low + 1)
    }

    /// An index into something of this length, which is not 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("below a length in memory")
    }

    /// Whether something happens whose chance is this many in a thousand.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.index(choices.len())]
    }

    /// A time from `low` to `high`.
    pub fn duration(&mut self, low: Duration, high: Duration) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.between(nanos(low), nanos(high).max(nanos(low))))
    }

    /// A time from `low` to `high`, short ones far more often than long ones: each tenfold is as
    /// likely as the next.
    pub fn skewed(&mut self, low: Duration, high: Duration) -> Duration {
        let mut top = low.saturating_mul(10).min(high);
        while top < high && self.chance(500) {
            top = top.saturating_mul(10).min(high);
        }
        self.duration(low, top)
    }

    /// Brings these into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
