//! The one place that reads the monotonic clock for the node.

use std::time::{Duration, Instant};

use consensus::Time;

/// Time since the process began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that stands at zero now.
    pub(crate) fn start() -> Self {
        Self { start: instant() }
    }

    /// Time since the start.
    pub(crate) fn now(self) -> Time {
        let nanos = u64::try_from(self.elapsed().as_nanos());
        Time::from_nanos(nanos.expect("a process runs for less than 584 years"))
    }

    /// The same, as a duration.
    pub(crate) fn elapsed(self) -> Duration {
        instant().duration_since(self.start)
    }
}

/// What the calendar says, in milliseconds of Unix time: for what must mean the same on other machines.
/// Nothing of the store's safety rests on it.
#[expect(clippy::disallowed_methods, reason = "this driver is where the process reads its clock")]
pub(crate) fn wall_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // Before 1970 nothing has expired.
    since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// The monotonic clock, for measuring.
#[expect(clippy::disallowed_methods, reason = "this driver is where the process reads its clock")]
pub(crate) fn instant() -> Instant {
    Instant::now()
}
