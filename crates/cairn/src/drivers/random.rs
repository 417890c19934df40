//! Chance from the system: what a process needs once, to be unlike all others.

use rustix::rand::{GetRandomFlags, getrandom};

/// 128 random bits, never 0.
pub(crate) fn draw() -> u128 {
    let mut bytes = [0; 16];
    let mut filled = 0;
    while filled < bytes.len() {
        // Only an interruption can fail here, and only before the system has seeded its generator.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    u128::from_le_bytes(bytes).max(1)
}

/// 64 random bits.
pub(crate) fn draw_u64() -> u64 {
    (draw() >> 64) as u64
}

/// Pauses between tries: growing, and different for each caller.
#[derive(Debug)]
pub(crate) struct Backoff {
    state: u64,
    next_ms: u64,
    first_ms: u64,
    longest_ms: u64,
}

impl Backoff {
    /// Pauses from `first_ms` on, doubled up to `longest_ms`.
    pub(crate) fn new(seed: u64, first_ms: u64, longest_ms: u64) -> Self {
        Self { state: seed | 1, next_ms: first_ms, first_ms, longest_ms }
    }

    /// The next pause, jittered down by up to a half.
    pub(crate) fn pause(&mut self) -> std::time::Duration {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let ms = self.next_ms - self.state % (self.next_ms / 2 + 1);
        self.next_ms = (self.next_ms * 2).min(self.longest_ms);
        std::time::Duration::from_millis(ms)
    }

    /// It worked: the next failure begins with the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.next_ms = self.first_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_begin_anew() {
        let mut backoff = Backoff::new(7, 50, 1000);
        let pauses: Vec<u128> = (0..20).map(|_| backoff.pause().as_millis()).collect();
        assert!((25..=50).contains(&pauses[0]), "{pauses:?}");
        assert!(pauses[10..].iter().all(|ms| (500..=1000).contains(ms)), "{pauses:?}");
        backoff.reset();
        assert!(backoff.pause().as_millis() <= 50);
    }
}
