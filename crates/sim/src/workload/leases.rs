//! Leases: granted for all kinds of times, kept alive in time or late, revoked, left to die, granted
//! anew under an old name; and keys that hang on them, or move from one to another.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use consensus::Time;
use wire::Consistency;

use super::{Situation, Workload, any_level, unique_value};
use crate::history::{Action, Hang, Outcome, Seen, Write};
use crate::rng::Rng;

/// Keys that everybody hangs on leases. They are few, so that they move from one to another.
const KEYS: [&str; 6] = ["l/0", "l/1", "l/2", "l/3", "l/4", "l/5"];

/// Leases that one client cares about at a time.
const MOST_HELD: usize = 3;

/// Names that it remembers, of leases that it cares about no more.
const MOST_OLD: usize = 8;

/// A lease that its holder means to keep.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) lease: u64,
    pub(super) ttl: Duration,
    /// When it was last kept alive, as the holder counts: when that was sent.
    pub(super) kept: Time,
    /// When it is kept alive again: this many thousandths of its time later.
    pub(super) diligence: u32,
}

impl Held {
    /// A lease that is granted now, to a diligent holder or a careless one.
    pub(super) fn new(lease: u64, ttl: Duration, rng: &mut Rng, now: Time) -> Self {
        let careless = u32::try_from(rng.between(450, 1_100)).expect("few");
        let diligence = if rng.chance(600) { 333 } else { careless };
        Self { lease, ttl, kept: now, diligence }
    }

    /// Whether it is time to keep it alive.
    pub(super) fn is_due(&self, now: Time) -> bool {
        self.kept + self.ttl * self.diligence / 1_000 <= now
    }
}

#[derive(Default)]
pub(super) struct Leases {
    held: Vec<Held>,
    /// It was asked for; whether it is there is not known.
    asked: Option<Held>,
    old: VecDeque<u64>,
    /// Times of life so far: no two are the same.
    granted: u64,
    /// Alarms so far, and the leases to keep alive for the last one.
    alarms: u64,
    hurried: Vec<u64>,
}

impl Workload for Leases {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        if self.held.is_empty() {
            return self.grant(rng, situation);
        }
        let at = rng.index(self.held.len());
        let lease = self.held[at].lease;
        let known = rng.index(self.held.len() + self.old.len());
        let any = self
            .held
            .get(known)
            .map_or_else(|| self.old[known - self.held.len()], |held| held.lease);
        let key = Bytes::from_static(rng.pick(&KEYS).as_bytes());
        match rng.below(100) {
            0..8 if self.held.len() < MOST_HELD => self.grant(rng, situation),
            0..38 => put(rng, situation, key, Hang::On(lease)),
            38..42 => put(rng, situation, key, Hang::On(any)),
            42..50 => put(rng, situation, key, Hang::Nowhere),
            50..54 => put(rng, situation, key, Hang::AsBefore),
            54..56 => {
                let changes = vec![(key, None)];
                Action::Write(Write { changes, ..Write::default() })
            }
            56..62 => Action::Lease { lease: any },
            62..65 => Action::Leases,
            65..70 => Action::KeepAlive { lease: any },
            70..74 => {
                self.leave(at);
                Action::Revoke { lease }
            }
            // It is left to die.
            74..78 => {
                self.leave(at);
                Action::Lease { lease }
            }
            78..88 => Action::Read { key, level: any_level(rng, situation) },
            _ => {
                let prefix = Bytes::from_static(b"l/");
                Action::Scan { prefix, level: Consistency::Linearizable }
            }
        }
    }

    fn urgent(&mut self, situation: &Situation) -> Option<Action> {
        if self.alarms != situation.alarms {
            self.alarms = situation.alarms;
            self.hurried = self.held.iter().map(|held| held.lease).collect();
        }
        if let Some(lease) = self.hurried.pop() {
            return Some(Action::KeepAlive { lease });
        }
        let due = self.held.iter_mut().find(|held| held.is_due(situation.now))?;
        due.kept = situation.now;
        Some(Action::KeepAlive { lease: due.lease })
    }

    fn replaced(&mut self, rng: &mut Rng) {
        // Half of them come back, and go on with what they had.
        if rng.chance(500) {
            for at in (0..self.held.len()).rev() {
                self.leave(at);
            }
        }
    }

    fn ended(&mut self, action: &Action, outcome: &Outcome) {
        match (action, outcome) {
            (Action::Grant { .. }, Outcome::Done(..) | Outcome::Unknown(_)) => {
                self.held.extend(self.asked.take());
            }
            (Action::KeepAlive { lease } | Action::Lease { lease }, Outcome::NotDone(why))
                if why == "lease_not_found" =>
            {
                if let Some(at) = self.held.iter().position(|held| held.lease == *lease) {
                    self.leave(at);
                }
            }
            (Action::KeepAlive { lease }, Outcome::Done(_, Seen::Lease(status))) => {
                // One that was granted under an old name lives as long as that grant said.
                let held = self.held.iter_mut().find(|held| held.lease == *lease);
                if let Some(held) = held {
                    held.ttl = Duration::from_millis(status.ttl_ms);
                }
            }
            _ => {}
        }
    }
}

impl Leases {
    fn grant(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        self.granted += 1;
        let again = !self.old.is_empty() && rng.chance(300);
        let lease = if again { self.old[rng.index(self.old.len())] } else { name(situation) };
        let ttl = some_ttl(rng, self.granted);
        self.asked = Some(Held::new(lease, ttl, rng, situation.now));
        Action::Grant { lease, ttl_ms: u64::try_from(ttl.as_millis()).expect("a short time") }
    }

    fn leave(&mut self, at: usize) {
        let held = self.held.swap_remove(at);
        self.old.push_back(held.lease);
        if self.old.len() > MOST_OLD {
            self.old.pop_front();
        }
    }
}

/// A name that nobody else uses.
pub(super) fn name(situation: &Situation) -> u64 {
    (situation.client as u64 + 1) << 32 | situation.turn
}

/// Some time of life, mostly short. `number` makes it differ from all others of its client.
pub(super) fn some_ttl(rng: &mut Rng, number: u64) -> Duration {
    let ttl = rng.skewed(Duration::from_millis(300), Duration::from_secs(12));
    let unique = u64::try_from(ttl.as_millis()).expect("a short time") / 1_000 * 1_000 + 300;
    Duration::from_millis(unique + number % 1_000)
}

fn put(rng: &mut Rng, situation: &Situation, key: Bytes, hang: Hang) -> Action {
    let changes = vec![(key, Some(unique_value(rng, situation)))];
    let nested = rng.chance(200);
    Action::Write(Write { changes, hang, nested, ..Write::default() })
}
