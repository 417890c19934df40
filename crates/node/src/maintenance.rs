//! When to flush and to keep the storage engine up: the storage worker's work.
//!
//! The disk may have no room for it. Then nothing is lost: what was applied stays in memory, writes
//! are refused when that has grown to its limit, and after a pause the work is tried again.

use std::time::Duration;

use consensus::Time;

/// How long a full disk is left alone.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// What is under way.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    /// A flush is under way.
    pub(crate) flushing: bool,
    /// There was no room; not before this is it tried again.
    full_until: Option<Time>,
}

impl Maintenance {
    /// Whether this is a time to give the worker something to do.
    pub(crate) fn may_work(&self, now: Time) -> bool {
        self.full_until.is_none_or(|until| until <= now)
    }

    /// There was no room. Whether that is news.
    pub(crate) fn no_room(&mut self, now: Time) -> bool {
        self.flushing = false;
        self.full_until.replace(now + FULL_PAUSE).is_none()
    }

    /// Something was written. Whether there was no room before.
    pub(crate) fn found_room(&mut self) -> bool {
        self.full_until.take().is_some()
    }

    /// Whether there was no room the last time.
    pub(crate) fn is_full(&self) -> bool {
        self.full_until.is_some()
    }

    /// When to try again.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.full_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_left_alone_for_a_while() {
        let mut maintenance = Maintenance::default();
        let now = Time::from_nanos(1);
        assert!(maintenance.may_work(now) && maintenance.deadline().is_none());
        maintenance.flushing = true;
        assert!(maintenance.no_room(now), "news");
        assert!(!maintenance.flushing && !maintenance.may_work(now));
        let later = maintenance.deadline().unwrap();
        assert!(maintenance.may_work(later) && maintenance.is_full());
        assert!(!maintenance.no_room(later), "no news");
        assert!(maintenance.found_room() && !maintenance.is_full());
        assert!(!maintenance.found_room(), "no news");
    }
}
