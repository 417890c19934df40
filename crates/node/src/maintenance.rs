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
    /// There was no room the last time.
    full: bool,
    /// Not before this is it tried again.
    paused_until: Option<Time>,
}

impl Maintenance {
    /// Whether this is a time to give the worker something to do. Once it is, nothing is waited for any
    /// more: perhaps there is nothing to do by now.
    pub(crate) fn may_work(&mut self, now: Time) -> bool {
        if self.paused_until.is_some_and(|until| now < until) {
            return false;
        }
        self.paused_until = None;
        true
    }

    /// There was no room. Whether that is news.
    pub(crate) fn no_room(&mut self, now: Time) -> bool {
        self.flushing = false;
        self.paused_until = Some(now + FULL_PAUSE);
        !std::mem::replace(&mut self.full, true)
    }

    /// Something was written. Whether there was no room before.
    pub(crate) fn found_room(&mut self) -> bool {
        self.paused_until = None;
        std::mem::take(&mut self.full)
    }

    /// Whether there was no room the last time.
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// When to try again.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.paused_until
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
        assert_eq!(
            maintenance.deadline(),
            None,
            "a past deadline would keep the node's thread busy"
        );
        assert!(!maintenance.no_room(later), "no news");
        assert!(maintenance.found_room() && !maintenance.is_full());
        assert!(!maintenance.found_room(), "no news");
    }
}
