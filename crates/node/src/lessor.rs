//! The leader's clock of leases: until when each lives, when to say so in the log, and when it ends.
//!
//! Only a leader that knows what is committed counts. It begins with what the replicated state says is
//! left of each lease ([`crate::leases`]), counted from the moment it is ready; so a lease may live
//! longer than its holder can rely on, never shorter. Whenever half of what the state says has passed, it
//! writes down what is left, so that leaders who follow one another quickly do not keep a dead
//! holder's lease alive for ever, and a holder that keeps its lease alive costs the log nothing.
//!
//! # Invariants
//!
//! * A lease is ended through the log only, by a command that names the term and the lease's life.
//! * A lease whose end was proposed is not kept alive any more by this leader.
//! * A holder hears that its lease was kept alive only if a next leader would give it all of its time,
//!   whatever checkpoints are on their way through the log.
//! * `by_time` holds exactly the moments that stand in `all`.
//!
//! # Reference
//!
//! Gray and Cheriton, *Leases* (1989), §2: a new server honours the leases of the old one. etcd's issues
//! 9888 (checkpoints) and 15247 (a deposed leader's revoke) are what the rules above avoid.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consensus::Time;
use wire::{Body, Expiry, Granted, Remaining};

use crate::leases::{Lease, Leases};

/// Leases named by one command. Many end at the same time when a leader was chosen.
const BATCH: usize = 1000;

/// Keys that one command removes, more or less: a lease takes all of its own with it.
const BATCH_KEYS: usize = 10_000;

/// What is left is not written down more often than this.
const SHORTEST_CHECKPOINT: Duration = Duration::from_millis(500);

/// Nobody needs to know that more than this is left: it fits in all arithmetic.
const LONGEST: Duration = Duration::from_hours(24 * 365 * 100);

/// One lease's time.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// The life that this is about.
    index: u64,
    /// When it ends.
    until: Time,
    /// When something is next to be done about it: a checkpoint, or its end.
    next: Time,
    /// What a next leader would give it, once all that was proposed is applied.
    recorded_ms: u64,
    /// Its end was proposed.
    ending: bool,
}

/// All leases' time.
#[derive(Debug, Default)]
pub(crate) struct Lessor {
    /// This replica leads, and knows what is committed.
    counting: bool,
    all: BTreeMap<u64, Clock>,
    by_time: BTreeSet<(Time, u64)>,
}

/// What is to be proposed.
#[derive(Debug, Default)]
pub(crate) struct Due {
    ended: Vec<Granted>,
    checkpoints: Vec<Remaining>,
}

impl Due {
    /// The commands of a leader in term `epoch`.
    pub(crate) fn commands(self, epoch: u64) -> Vec<Body> {
        let Self { ended, checkpoints } = self;
        let mut commands = Vec::new();
        if !ended.is_empty() {
            commands.push(Body::Expire(Expiry { epoch, leases: ended }));
        }
        if !checkpoints.is_empty() {
            commands.push(Body::Checkpoint { epoch, leases: checkpoints });
        }
        commands
    }
}

impl Lessor {
    /// Begins to count: this node leads, and has applied all that is committed.
    pub(crate) fn begin(&mut self, now: Time, leases: &Leases) {
        self.stop();
        self.counting = true;
        for (id, lease) in leases.iter() {
            self.start(now, id, lease);
        }
    }

    /// Whether it counts.
    pub(crate) fn is_counting(&self) -> bool {
        self.counting
    }

    /// Counts no more.
    pub(crate) fn stop(&mut self) {
        *self = Self::default();
    }

    /// Counts no more, and forgets nothing: a mistake on purpose.
    #[cfg(feature = "planted")]
    pub(crate) fn pause(&mut self) {
        self.counting = false;
    }

    /// Goes on where it was paused, and tells whether there was anything to go on with.
    #[cfg(feature = "planted")]
    pub(crate) fn resume(&mut self, now: Time, leases: &Leases) -> bool {
        if self.all.is_empty() {
            return false;
        }
        self.counting = true;
        for (id, lease) in leases.iter() {
            if !self.counts(id, lease) {
                self.start(now, id, lease);
            }
        }
        true
    }

    /// Begins to count, with all of each lease's time: a mistake on purpose.
    #[cfg(feature = "planted")]
    pub(crate) fn begin_anew(&mut self, now: Time, leases: &Leases) {
        self.begin(now, leases);
        for (id, lease) in leases.iter() {
            self.renew(now, id, lease);
        }
    }

    /// Gives a lease what the replicated state says is left of it, from now on.
    pub(crate) fn start(&mut self, now: Time, id: u64, lease: &Lease) {
        self.count_from(now, id, lease, lease.remaining_ms);
    }

    /// Gives a lease all of its time, from now on. The log says so already, or will.
    pub(crate) fn renew(&mut self, now: Time, id: u64, lease: &Lease) {
        self.count_from(now, id, lease, lease.ttl_ms);
    }

    fn count_from(&mut self, now: Time, id: u64, lease: &Lease, recorded_ms: u64) {
        let left = Duration::from_millis(recorded_ms).min(LONGEST);
        let until = now + left;
        self.forget(id);
        let next = checkpoint_at(now, left).min(until);
        self.set(id, Clock { index: lease.granted, until, next, recorded_ms, ending: false });
    }

    /// What was proposed and has not been applied will never be: whatever it was to end lives on,
    /// and of no lease is it sure what the log says.
    pub(crate) fn recover(&mut self) {
        for (&id, clock) in &mut self.all {
            clock.recorded_ms = 0;
            if clock.ending {
                clock.ending = false;
                clock.next = clock.until;
                self.by_time.insert((clock.next, id));
            }
        }
    }

    /// Whether a next leader would give this life of the lease all of its time. If not, that must
    /// stand in the log before its holder hears that it has been kept alive.
    pub(crate) fn is_recorded_full(&self, id: u64, lease: &Lease) -> bool {
        let clock = self.all.get(&id).filter(|clock| clock.index == lease.granted);
        clock.is_some_and(|clock| clock.recorded_ms == lease.ttl_ms)
    }

    /// Whether this life of the lease is counted.
    pub(crate) fn counts(&self, id: u64, lease: &Lease) -> bool {
        self.all.get(&id).is_some_and(|clock| clock.index == lease.granted)
    }

    /// It has ended.
    pub(crate) fn forget(&mut self, id: u64) {
        if let Some(clock) = self.all.remove(&id) {
            self.by_time.remove(&(clock.next, id));
        }
    }

    /// How long it has left; `None` if its end is proposed already.
    pub(crate) fn left(&self, now: Time, id: u64) -> Option<Duration> {
        let clock = self.all.get(&id).filter(|clock| !clock.ending)?;
        Some(clock.until.since(now.min(clock.until)))
    }

    /// What has come due, a batch at most. What is named here counts as proposed.
    pub(crate) fn due(&mut self, now: Time, leases: &Leases) -> Due {
        let mut due = Due::default();
        let mut keys = 0;
        while let Some(&(next, id)) = self.by_time.first()
            && next <= now
            && due.ended.len() < BATCH
            && due.checkpoints.len() < BATCH
            && keys < BATCH_KEYS
        {
            let mut clock = self.all[&id];
            let granted = Granted { lease: id, index: clock.index };
            self.by_time.remove(&(next, id));
            if clock.until <= now {
                clock.ending = true;
                self.all.insert(id, clock);
                keys += leases.life(granted).map_or(0, |lease| lease.keys.len());
                due.ended.push(granted);
                continue;
            }
            let left = clock.until.since(now);
            clock.next = checkpoint_at(now, left).min(clock.until);
            let remaining_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            clock.recorded_ms = remaining_ms;
            self.set(id, clock);
            due.checkpoints.push(Remaining { granted, remaining_ms });
        }
        due
    }

    /// When something comes due.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.by_time.first().map(|(next, _)| *next)
    }

    fn set(&mut self, id: u64, clock: Clock) {
        self.by_time.insert((clock.next, id));
        self.all.insert(id, clock);
    }
}

/// When half of `left` has passed. The last bit is not worth a record.
fn checkpoint_at(now: Time, left: Duration) -> Time {
    let half = left / 2;
    if half < SHORTEST_CHECKPOINT { now + left } else { now + half }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::default() + Duration::from_millis(ms)
    }

    fn leases(ttl_ms: u64) -> Leases {
        let mut leases = Leases::default();
        leases.grant(7, ttl_ms, 3);
        leases
    }

    #[test]
    fn half_of_what_is_left_is_written_down_then_half_of_that_then_it_ends() {
        let leases = leases(8000);
        let mut lessor = Lessor::default();
        lessor.begin(at(0), &leases);
        let mut seen = Vec::new();
        while let Some(next) = lessor.deadline() {
            let due = lessor.due(next, &leases);
            let left = due.checkpoints.first().map(|left| left.remaining_ms);
            seen.push((next.as_nanos() / 1_000_000, left, due.ended.len()));
        }
        let half = |ms, left| (ms, Some(left), 0);
        let expected = [half(4000, 4000), half(6000, 2000), half(7000, 1000), half(7500, 500)];
        assert_eq!(seen[..4], expected);
        assert_eq!(seen[4..], [(8000, None, 1)]);
    }

    #[test]
    fn a_lease_that_is_kept_alive_costs_nothing_and_does_not_end() {
        let leases = leases(6000);
        let mut lessor = Lessor::default();
        lessor.begin(at(0), &leases);
        for second in (2..100).step_by(2) {
            let now = at(second * 1000);
            assert!(lessor.deadline() > Some(now), "nothing is due before");
            lessor.renew(now, 7, leases.find(7).expect("it lives"));
        }
        assert_eq!(lessor.left(at(98_500), 7), Some(Duration::from_millis(5500)));
    }

    #[test]
    fn a_checkpoint_under_way_is_known() {
        let leases = leases(8000);
        let lease = leases.find(7).expect("it lives");
        let mut lessor = Lessor::default();
        lessor.begin(at(0), &leases);
        assert!(lessor.is_recorded_full(7, lease));
        lessor.due(at(4000), &leases);
        assert!(!lessor.is_recorded_full(7, lease), "though it is not applied yet");
        lessor.renew(at(4100), 7, lease);
        assert!(lessor.is_recorded_full(7, lease));
    }

    #[test]
    fn what_was_proposed_to_end_has_nothing_left() {
        let leases = leases(600);
        let mut lessor = Lessor::default();
        lessor.begin(at(0), &leases);
        assert_eq!(lessor.left(at(600), 7), Some(Duration::ZERO));
        let due = lessor.due(at(600), &leases);
        assert_eq!(due.ended, [Granted { lease: 7, index: 3 }]);
        assert_eq!(lessor.left(at(601), 7), None);
        assert_eq!(lessor.deadline(), None, "it is proposed once");
        lessor.recover();
        assert_eq!(lessor.deadline(), Some(at(600)), "unless it never came into the log");
    }
}
