//! Locks: a key that hangs on a lease and is created by whoever takes the lock. What is written under it
//! bears the token of the lock, and is written on when the lock is lost, too: by somebody who has not
//! noticed.

use bytes::Bytes;
use wire::{Consistency, Revision};

use super::leases::{Held, name, some_ttl};
use super::{Situation, Workload, unique_value};
use crate::history::{Action, Hang, Outcome, Seen, Write};
use crate::rng::Rng;

const LOCKS: [(&str, &str); 2] = [("k/0", "f/0"), ("k/1", "f/1")];

/// What one client does about a lock.
#[derive(Default)]
pub(super) struct Locks {
    held: Option<Held>,
    lock: Option<Lock>,
    granted: u64,
    /// Turns that it still works under a lock of which it has heard that it is lost.
    stubborn: u64,
    asked: Option<Held>,
}

/// A lock that it took.
struct Lock {
    key: &'static str,
    guarded: &'static str,
    value: Bytes,
    /// The token; `None` while it does not know whether it has the lock.
    created: Option<Revision>,
}

impl Workload for Locks {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        let Some(held) = &self.held else {
            self.granted += 1;
            let ttl = some_ttl(rng, self.granted);
            let lease = name(situation);
            self.asked = Some(Held::new(lease, ttl, rng, situation.now));
            let ttl_ms = u64::try_from(ttl.as_millis()).expect("a short time");
            return Action::Grant { lease, ttl_ms };
        };
        let lease = held.lease;
        let taken = self.lock.as_ref().and_then(|lock| Some((lock, lock.created?)));
        let Some((lock, created)) = taken else { return self.take(rng, situation, lease) };
        match rng.below(100) {
            0..60 => {
                let guarded = Bytes::from_static(lock.guarded.as_bytes());
                let changes = vec![(guarded, Some(unique_value(rng, situation)))];
                let fence = Some((Bytes::from_static(lock.key.as_bytes()), created));
                let nested = rng.chance(200);
                Action::Write(Write { changes, fence, nested, ..Write::default() })
            }
            60..75 => {
                let key = Bytes::from_static(lock.guarded.as_bytes());
                Action::Read { key, level: Consistency::Linearizable }
            }
            75..85 => {
                let key = Bytes::from_static(lock.key.as_bytes());
                Action::Read { key, level: Consistency::Linearizable }
            }
            // It dies with the lock in its hand.
            85..88 => {
                self.held = None;
                self.lock = None;
                Action::Lease { lease }
            }
            88..92 => {
                self.held = None;
                // It may work on under the lock that it has just given away.
                Action::Revoke { lease }
            }
            _ => {
                let key = Bytes::from_static(lock.key.as_bytes());
                let expect = Some((key.clone(), Some(lock.value.clone())));
                let observe = Some(key.clone());
                self.lock = None;
                Action::Write(Write {
                    expect,
                    changes: vec![(key, None)],
                    observe,
                    ..Write::default()
                })
            }
        }
    }

    fn urgent(&mut self, situation: &Situation) -> Option<Action> {
        let held = self.held.as_mut().filter(|held| held.is_due(situation.now))?;
        held.kept = situation.now;
        Some(Action::KeepAlive { lease: held.lease })
    }

    fn replaced(&mut self, rng: &mut Rng) {
        if rng.chance(500) {
            self.held = None;
            self.lock = None;
        }
    }

    fn ended(&mut self, action: &Action, outcome: &Outcome) {
        match (action, outcome) {
            (Action::Grant { .. }, Outcome::Done(..) | Outcome::Unknown(_)) => {
                self.held = self.asked.take();
                self.stubborn = 3;
            }
            (Action::Write(write), outcome) if write.hang != Hang::Nowhere => {
                self.was_taken(write, outcome);
            }
            (
                Action::KeepAlive { .. } | Action::Write(_) | Action::Lease { .. },
                Outcome::NotDone(why),
            ) if why == "fenced" || why == "lease_not_found" => {
                if self.stubborn > 0 {
                    self.stubborn -= 1;
                    // Nor does it notice that its lease is gone.
                    if let Some(held) = &mut self.held {
                        held.diligence = 1_100;
                    }
                } else {
                    (self.held, self.lock) = (None, None);
                }
            }
            _ => {}
        }
    }
}

impl Locks {
    fn take(&mut self, rng: &mut Rng, situation: &Situation, lease: u64) -> Action {
        let (key, guarded) = *rng.pick(&LOCKS);
        let value = unique_value(rng, situation);
        self.lock = Some(Lock { key, guarded, value: value.clone(), created: None });
        let key = Bytes::from_static(key.as_bytes());
        Action::Write(Write {
            expect: Some((key.clone(), None)),
            changes: vec![(key.clone(), Some(value))],
            observe: Some(key),
            hang: Hang::On(lease),
            ..Write::default()
        })
    }

    fn was_taken(&mut self, write: &Write, outcome: &Outcome) {
        let Some(lock) = &mut self.lock else { return };
        if write.changes.first().is_none_or(|(_, value)| value.as_ref() != Some(&lock.value)) {
            return;
        }
        match outcome {
            Outcome::Done(_, Seen::Written { revision, succeeded: true, .. }) => {
                lock.created = Some(*revision);
            }
            Outcome::NotDone(why) if why == "lease_not_found" => {
                (self.held, self.lock) = (None, None);
            }
            _ => self.lock = None,
        }
    }
}
