//! When two worlds are alike: a digest of all that their futures depend on, and of nothing else.
//!
//! Hashing a world yields a sequence of numbers. They are told apart by their size, for a world keeps its
//! clock near [`CLOCK_START`], and what a replica draws by chance is nearly always larger than anything
//! that it counts:
//!
//! * a time says only whether it is to come, and in which order with the same replica's others, or
//!   whether it passed within the last election timeout;
//! * a nonce, or the state of a generator, says only to which others it is equal;
//! * all else is itself.
//!
//! A drawn number that looks like a count or a time keeps two like worlds apart: that costs a little, and
//! hides nothing.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use consensus::Time;

/// Where the clock of a world begins.
pub(super) const CLOCK_START: u64 = 1 << 62;

/// No run lasts longer.
const CLOCK_RANGE: u64 = 1 << 40;

/// Nothing that is counted, or packed into an epoch, reaches this.
const LEAST_DRAWN: u64 = 1 << 48;

/// What a number became; no plain number is so large.
const TO_COME: u64 = 1 << 60;
const RECENT: u64 = 2 << 60;
const LONG_AGO: u64 = 3 << 60;
const DRAWN: u64 = 4 << 60;

/// Odd, and otherwise arbitrary.
const FACTORS: [(u64, u64); 2] = [
    (0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb),
    (0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53),
];

/// A sequence of numbers under way to a digest.
pub(super) struct Digest {
    now: u64,
    timeout: u64,
    numbers: Numbers,
    /// What was drawn, in the order of its first appearance.
    drawn: Vec<u64>,
    lanes: [u64; 2],
}

impl Digest {
    pub(super) fn new(now: Time, timeout: Duration) -> Self {
        let timeout = u64::try_from(timeout.as_nanos()).expect("short");
        Self {
            now: now.as_nanos(),
            timeout,
            numbers: Numbers(Vec::with_capacity(512)),
            drawn: Vec::new(),
            lanes: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344],
        }
    }

    /// Takes in one part of the world, whose times are ordered among each other.
    pub(super) fn add(&mut self, part: &impl Hash) {
        part.hash(&mut self.numbers);
        let numbers = std::mem::take(&mut self.numbers.0);
        let is_time = |number: u64| (CLOCK_START..CLOCK_START + CLOCK_RANGE).contains(&number);
        let mut to_come: Vec<u64> =
            numbers.iter().copied().filter(|time| is_time(*time) && *time > self.now).collect();
        to_come.sort_unstable();
        to_come.dedup();
        for number in &numbers {
            let number = *number;
            let said = if is_time(number) {
                match to_come.binary_search(&number) {
                    Ok(rank) => TO_COME | rank as u64,
                    Err(_) if self.now - number < self.timeout => RECENT,
                    Err(_) => LONG_AGO,
                }
            } else if number >= LEAST_DRAWN {
                DRAWN | self.name(number)
            } else {
                number
            };
            self.mix(said);
        }
        self.numbers.0 = numbers;
        self.numbers.0.clear();
    }

    fn name(&mut self, drawn: u64) -> u64 {
        let known = self.drawn.iter().position(|other| *other == drawn);
        let name = known.unwrap_or_else(|| {
            self.drawn.push(drawn);
            self.drawn.len() - 1
        });
        name as u64
    }

    /// `SplitMix64`'s mixing function with other constants in each lane (see `consensus`'s generator).
    fn mix(&mut self, number: u64) {
        for (lane, (first, second)) in self.lanes.iter_mut().zip(FACTORS) {
            let mixed = lane.wrapping_add(second) ^ number;
            let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(first);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(second);
            *lane = mixed ^ (mixed >> 31);
        }
    }

    pub(super) fn finish(self) -> u128 {
        u128::from(self.lanes[0]) << 64 | u128::from(self.lanes[1])
    }
}

/// A hasher that only writes down what it is given.
struct Numbers(Vec<u64>);

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        self.0.extend(bytes.iter().map(|byte| u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        self.0.push(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.0.push(number as u64);
    }

    fn write_isize(&mut self, number: isize) {
        self.0.push(number.unsigned_abs() as u64);
    }

    fn write_u32(&mut self, number: u32) {
        self.0.push(u64::from(number));
    }

    fn finish(&self) -> u64 {
        unreachable!("the digest is made of the numbers")
    }
}
