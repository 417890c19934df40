//! The disk's own source of chance: small, seeded, the same on every machine.
//!
//! Steele, Lea and Flood, *Fast Splittable Pseudorandom Number Generators* (2014): the mixing
//! function of `SplitMix64`, over a counter.

/// A seeded generator.
#[derive(Debug)]
pub(super) struct Rng(u64);

impl Rng {
    /// Starts from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is not 0. The bias is far below what any test could see.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing lies below 0");
        self.next() % bound
    }

    /// Heads or tails.
    pub(super) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}
