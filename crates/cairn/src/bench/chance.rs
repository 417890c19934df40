//! Random keys and values, cheap enough not to be what is measured.

use bytes::Bytes;

/// Values are windows into one pool of random bytes of this length: no two alike, none compressible,
/// none copied.
const POOL_BYTES: usize = 1 << 20;

/// A prime above any count of keys, and so without a common factor: steps of this length meet every key
/// once. Near the golden ratio of 2^32, so that neighbours lie far apart.
const STRIDE: u64 = 2_654_435_761;

/// Chance of one client (Vigna's xorshift64*); the seed comes from outside.
#[derive(Clone, Debug)]
pub(super) struct Chance(u64);

impl Chance {
    /// A generator; each seed has its own sequence.
    pub(super) fn new(seed: u64) -> Self {
        // Neighbouring seeds must not begin alike, and 0 would stay 0.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// 64 random bits.
    pub(super) fn draw(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `limit`, which is not 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.draw()) * u128::from(limit);
        u64::try_from(wide >> 64).expect("the upper half of a product of two 64-bit numbers")
    }
}

/// The keys of a run: a prefix and a number.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    digits: usize,
    /// How many there are.
    pub(super) count: u64,
}

impl Keys {
    /// `count` keys of `key_bytes` each; or why there can't be.
    pub(super) fn new(prefix: &str, key_bytes: usize, count: u64) -> Result<Self, String> {
        let digits = key_bytes.saturating_sub(prefix.len());
        let needed = (count - 1).to_string().len();
        if digits < needed {
            let shortest = prefix.len() + needed;
            return Err(format!("keys of {key_bytes} bytes are too short: {shortest} are needed"));
        }
        if key_bytes > wire::MAX_KEY_BYTES {
            return Err(format!("a key has {} bytes at most", wire::MAX_KEY_BYTES));
        }
        Ok(Self { prefix: prefix.to_owned(), digits, count })
    }

    /// The key of this number.
    pub(super) fn key(&self, number: u64) -> Bytes {
        let (prefix, digits) = (&self.prefix, self.digits);
        Bytes::from(format!("{prefix}{number:0digits$}"))
    }

    /// Where number `place` comes in an order without an order: each place has another number.
    pub(super) fn shuffled(&self, place: u64) -> u64 {
        let wide = u128::from(place) * u128::from(STRIDE) % u128::from(self.count);
        u64::try_from(wide).expect("it is less than the count")
    }

    /// What all of them begin with.
    pub(super) fn prefix(&self) -> Bytes {
        Bytes::copy_from_slice(self.prefix.as_bytes())
    }
}

/// The values of a run.
#[derive(Clone, Debug)]
pub(super) struct Values {
    pool: Bytes,
    bytes: usize,
}

impl Values {
    /// Values of this length.
    pub(super) fn new(bytes: usize) -> Self {
        let mut chance = Chance::new(1);
        let words = (POOL_BYTES + bytes).div_ceil(8);
        let pool: Vec<u8> = (0..words).flat_map(|_| chance.draw().to_le_bytes()).collect();
        Self { pool: Bytes::from(pool), bytes }
    }

    /// One of them.
    pub(super) fn draw(&self, chance: &mut Chance) -> Bytes {
        let start = chance.below(POOL_BYTES as u64);
        let start = usize::try_from(start).expect("it is below the pool's length");
        self.pool.slice(start..start + self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_length_and_values_too() {
        let keys = Keys::new("bench/", 10, 10_000).unwrap();
        assert_eq!(keys.key(7), "bench/0007");
        assert_eq!(keys.key(9999), "bench/9999");
        assert!(Keys::new("bench/", 9, 10_000).is_err());
        let values = Values::new(100);
        let mut chance = Chance::new(3);
        let (one, two) = (values.draw(&mut chance), values.draw(&mut chance));
        assert_eq!((one.len(), two.len()), (100, 100));
        assert_ne!(one, two);
        assert!(Values::new(0).draw(&mut chance).is_empty());
    }

    #[test]
    fn an_order_without_an_order_has_every_key_once() {
        for count in [1, 2, 10, 999, 4096, 20_000] {
            let keys = Keys::new("bench/", 23, count).unwrap();
            let mut met: Vec<u64> = (0..count).map(|place| keys.shuffled(place)).collect();
            assert!(count < 999 || met[..3] != [0, 1, 2]);
            met.sort_unstable();
            assert!(met.into_iter().eq(0..count));
        }
    }

    #[test]
    fn chance_reaches_everything_below_its_limit() {
        let mut chance = Chance::new(9);
        let mut seen = [0_u32; 10];
        for _ in 0..10_000 {
            seen[usize::try_from(chance.below(10)).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
