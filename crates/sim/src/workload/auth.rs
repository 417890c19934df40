//! Users, roles and permissions that change while requests and watches are under way. One client keeps
//! them; the others are guests, who do what they may and what they may not, with proofs of who they are
//! that have grown old, and with none.

mod guest;
mod keeper;

use std::time::Duration;

use bytes::Bytes;
use wire::{KeyRange, Principal};

use super::{Situation, Workload};
use crate::history::{Action, Outcome};
use crate::rng::Rng;

/// The client that keeps users and roles.
const KEEPER: usize = 0;

const USERS: [&str; 3] = ["u0", "u1", "u2"];
const ROLES: [&str; 2] = ["r0", "r1"];
const PASSWORDS: [&str; 3] = ["p0", "p1", "p2"];

/// Where all their keys are.
const PREFIX: &str = "a/";

const KEYS: [&str; 6] = ["a/00", "a/01", "a/10", "a/11", "a/20", "a/21"];

/// Where ranges begin and end: they overlap, touch, and leave gaps.
const BOUNDS: [&str; 8] = ["a/", "a/0", "a/01", "a/1", "a/11", "a/2", "a/21", "a0"];

/// One client's part: it knows only at its first turn which.
#[derive(Default)]
pub(super) struct Auth {
    keeper: keeper::Keeper,
    guest: guest::Guest,
    is_guest: bool,
}

impl Workload for Auth {
    fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        self.is_guest = situation.client != KEEPER;
        if self.is_guest {
            self.guest.next(rng, situation)
        } else {
            self.keeper.next(rng, situation)
        }
    }

    fn urgent(&mut self, situation: &Situation) -> Option<Action> {
        if situation.client == KEEPER { self.keeper.urgent() } else { None }
    }

    fn replaced(&mut self, rng: &mut Rng) {
        if self.is_guest && rng.chance(500) {
            self.guest = guest::Guest::default();
        }
    }

    fn ended(&mut self, action: &Action, outcome: &Outcome) {
        if self.is_guest {
            self.guest.ended(action, outcome);
        } else {
            self.keeper.ended(action, outcome);
        }
    }

    fn principal(&self, situation: &Situation) -> Option<Principal> {
        if self.is_guest { self.guest.principal() } else { situation.root() }
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(300)
    }
}

fn some_key(rng: &mut Rng) -> Bytes {
    Bytes::from_static(rng.pick(&KEYS).as_bytes())
}

fn some_range(rng: &mut Rng) -> KeyRange {
    if rng.chance(250) {
        return KeyRange::prefix(Bytes::from_static(PREFIX.as_bytes()));
    }
    if rng.chance(250) {
        return KeyRange::single(some_key(rng));
    }
    let start = rng.index(BOUNDS.len() - 1);
    let end = start + 1 + rng.index(BOUNDS.len() - start - 1);
    let [start, end] = [start, end].map(|at| Bytes::from_static(BOUNDS[at].as_bytes()));
    KeyRange { start, end: Some(end) }
}
