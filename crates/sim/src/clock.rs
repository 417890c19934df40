//! A machine's monotonic clock. It never goes back, and that is all that is promised: it may run at
//! half the rate or at twice, stand still, or jump ahead as that of a machine that was suspended.
//!
//! Nodes hear of no other time. They read no wall clock, so there is none here.

use std::time::Duration;

use consensus::Time;

/// A rate that is right.
pub(crate) const TRUE_RATE: u64 = 1000;

/// A clock that runs at some rate since it was last touched.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// When it was last touched, in the world's time.
    touched: Time,
    /// What it showed then.
    showed: Time,
    /// How many milliseconds it counts in a second.
    rate: u64,
}

impl Clock {
    /// One that begins with the world and runs true.
    pub(crate) fn new() -> Self {
        Self { touched: Time::default(), showed: Time::default(), rate: TRUE_RATE }
    }

    /// What it shows.
    pub(crate) fn at(&self, world: Time) -> Time {
        let passed = world.since(self.touched).as_nanos() * u128::from(self.rate) / 1000;
        self.showed + Duration::from_nanos(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// When it will show `deadline`; never, if it stands still.
    pub(crate) fn when(&self, world: Time, deadline: Time) -> Option<Time> {
        let left = deadline.since(self.at(world)).as_nanos() * 1000;
        if left == 0 {
            return Some(world);
        }
        let rate = u128::from(self.rate);
        let wait = left.checked_div(rate)? + 1;
        Some(world + Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// From now on it runs at this rate; 0 stops it.
    pub(crate) fn set_rate(&mut self, world: Time, rate: u64) {
        self.jump(world, Duration::ZERO);
        self.rate = rate;
    }

    /// It is so much later now.
    pub(crate) fn jump(&mut self, world: Time, by: Duration) {
        self.showed = self.at(world) + by;
        self.touched = world;
    }

    /// The machine was switched off: it counts from the beginning again.
    pub(crate) fn restart(&mut self, world: Time) {
        self.showed = Time::default();
        self.touched = world;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_comes_when_the_clock_shows_it_and_not_before() {
        let second = Duration::from_secs(1);
        let mut clock = Clock::new();
        let mut world = Time::default() + second;
        for rate in [500, 1000, 1999, 3] {
            clock.set_rate(world, rate);
            let deadline = clock.at(world) + Duration::from_nanos(1_234_567);
            let due = clock.when(world, deadline).expect("it runs");
            assert!(clock.at(due) >= deadline, "at rate {rate}");
            world = world + second;
            assert!(clock.at(world) > deadline);
        }
        clock.set_rate(world, 0);
        let stands = clock.at(world);
        assert_eq!(clock.when(world, stands + second), None);
        assert_eq!(clock.when(world, stands), Some(world));
        assert_eq!(clock.at(world + second), stands);
        clock.jump(world, 5 * second);
        assert_eq!(clock.at(world), stands + 5 * second);
    }
}
