//! Who is a user, and tries what he may and what he may not.

use bytes::Bytes;
use wire::{AuthChange, AuthQuestion, KeyRange, Principal, ROOT, Revision};

use super::super::{Situation, any_level, unique_value};
use super::{PASSWORDS, ROLES, USERS, some_key, some_range};
use crate::history::{Action, Outcome, Seen, Write};
use crate::rng::Rng;

/// So many proofs that hold no more are kept.
const MOST_OLD: usize = 4;

/// After so many refusals in a row he becomes another user.
const PATIENCE: u64 = 8;

/// One guest.
#[derive(Default)]
pub(super) struct Guest {
    /// Which of the users, counted from the one that his client's number gives.
    user: usize,
    /// Which password he tries next.
    password: usize,
    proof: Option<Principal>,
    old: Vec<Principal>,
    refused: u64,
    /// As whom he does what he does now.
    acts_as: Option<Principal>,
    watched: Option<KeyRange>,
    next: Revision,
}

impl Guest {
    pub(super) fn principal(&self) -> Option<Principal> {
        self.acts_as.clone()
    }

    pub(super) fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        let user = USERS[(self.user + situation.client) % USERS.len()];
        self.acts_as = match rng.below(20) {
            0 => None,
            1 | 2 => Some(Principal::of_certificate(user)),
            3 | 4 if !self.old.is_empty() => Some(rng.pick(&self.old).clone()),
            _ => self.proof.clone(),
        };
        if (self.acts_as.is_none() && rng.chance(700)) || rng.chance(20) {
            self.acts_as = None;
            let password = PASSWORDS[self.password % PASSWORDS.len()];
            let password = Bytes::from_static(password.as_bytes());
            return Action::Login { user: user.to_owned(), password };
        }
        match rng.below(100) {
            0..36 => write(rng, situation),
            36..56 => Action::Read { key: some_key(rng), level: any_level(rng, situation) },
            56..70 => {
                let prefix = Bytes::from_static(rng.pick(&["a/", "a/0", "a/1", "a/2"]).as_bytes());
                Action::Scan { prefix, level: any_level(rng, situation) }
            }
            70..92 => {
                if rng.chance(50) {
                    self.watched = None;
                }
                let range = self.watched.get_or_insert_with(|| {
                    self.next = if rng.chance(500) { situation.seen } else { Revision(0) };
                    some_range(rng)
                });
                let previous = rng.chance(500);
                Action::Watch { range: range.clone(), from: self.next, previous }
            }
            92..96 => Action::Ask(match rng.below(3) {
                0 => AuthQuestion::User(rng.pick(&USERS).to_string()),
                1 => AuthQuestion::Role(rng.pick(&ROLES).to_string()),
                _ => AuthQuestion::Users,
            }),
            _ if self.acts_as.is_none() => Action::Ask(AuthQuestion::Status),
            // Were nobody asked who he is, this would be done.
            _ => {
                let (user, role) = (user.to_owned(), ROOT.to_owned());
                Action::Change(if rng.chance(500) {
                    AuthChange::UserGrant { user, role }
                } else {
                    AuthChange::UserRevoke { user, role }
                })
            }
        }
    }

    pub(super) fn ended(&mut self, action: &Action, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_, seen) => {
                self.refused = 0;
                match (action, seen) {
                    (_, Seen::Proof(principal)) => self.proof = Some(principal.clone()),
                    (_, Seen::Events { next, .. }) => self.next = *next,
                    _ => {}
                }
            }
            Outcome::NotDone(why) if why == "auth_failed" => self.password += 1,
            Outcome::NotDone(why) if why == "invalid_auth_token" => self.sheds_proof(),
            Outcome::NotDone(why) if why == "permission_denied" => {
                self.refused += 1;
                if self.refused > PATIENCE {
                    (self.refused, self.user) = (0, self.user + 1);
                    self.sheds_proof();
                }
            }
            Outcome::NotDone(why) if why == "compacted" => self.watched = None,
            Outcome::NotDone(_) | Outcome::Pending | Outcome::Unknown(_) => {}
        }
    }

    /// He needs another proof, and may come back to this one.
    fn sheds_proof(&mut self) {
        self.old.extend(self.proof.take());
        if self.old.len() > MOST_OLD {
            self.old.remove(0);
        }
    }
}

fn write(rng: &mut Rng, situation: &Situation) -> Action {
    let key = some_key(rng);
    let value = (!rng.chance(150)).then(|| unique_value(rng, situation));
    // Beside other changes nobody can tell whether a removal has found anything.
    let is_removal = value.is_none();
    let mut changes = vec![(key.clone(), value)];
    if !is_removal && rng.chance(200) {
        let other = some_key(rng);
        if other != key {
            changes.push((other, Some(unique_value(rng, situation))));
        }
    }
    let nested = rng.chance(300);
    let (expect, observe) = match rng.below(20) {
        0..12 => (None, None),
        12..16 => (None, Some(some_key(rng))),
        16..19 => (Some((key.clone(), None)), Some(key)),
        // A failure that does not say what it saw can be checked, but not cheaply; and it tells
        // something of a key all the same.
        _ => (Some((some_key(rng), None)), None),
    };
    Action::Write(Write { expect, changes, observe, nested, ..Write::default() })
}
