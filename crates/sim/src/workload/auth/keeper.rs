//! Who keeps users and roles: makes some as soon as it can, and then changes them for ever.

use std::collections::BTreeSet;

use bytes::Bytes;
use wire::{Access, AuthChange, AuthQuestion, Hidden, KeyRange, Permission, ROOT};

use super::super::{Situation, unique_value};
use super::{PASSWORDS, PREFIX, ROLES, USERS, some_key, some_range};
use crate::history::{Action, Outcome, Write};
use crate::rng::Rng;

/// What it believes of users and roles: what was never answered may have been done all the same.
#[derive(Default)]
pub(super) struct Keeper {
    /// So many of the first steps are done.
    begun: usize,
    enabled: bool,
    granted: Vec<(&'static str, KeyRange)>,
    /// Users and roles that it has deleted.
    missing: BTreeSet<&'static str>,
}

impl Keeper {
    /// What must be there before anything else makes sense.
    pub(super) fn urgent(&mut self) -> Option<Action> {
        first_steps().into_iter().nth(self.begun).map(Action::Change)
    }

    pub(super) fn next(&mut self, rng: &mut Rng, situation: &Situation) -> Action {
        if rng.chance(200) {
            let value = (!rng.chance(200)).then(|| unique_value(rng, situation));
            let changes = vec![(some_key(rng), value)];
            return Action::Write(Write { changes, ..Write::default() });
        }
        if !self.enabled && rng.chance(400) {
            let secret = Hidden(unique_value(rng, situation));
            return Action::Change(AuthChange::Enable { secret });
        }
        if let Some(name) = self.missing.first().filter(|_| rng.chance(500)) {
            return Action::Change(add(name, rng));
        }
        if rng.chance(200) {
            return Action::Ask(some_question(rng));
        }
        Action::Change(self.some_change(rng))
    }

    fn some_change(&mut self, rng: &mut Rng) -> AuthChange {
        let role = *rng.pick(&ROLES);
        let user = rng.pick(&USERS).to_string();
        match rng.below(100) {
            0..30 => {
                let access = *rng.pick(&[Access::Read, Access::Write, Access::ReadWrite]);
                let range = some_range(rng);
                self.granted.push((role, range.clone()));
                let permission = Permission { access, range };
                AuthChange::RoleGrant { role: role.to_owned(), permission }
            }
            30..60 if !self.granted.is_empty() => {
                let (role, range) = self.granted.swap_remove(rng.index(self.granted.len()));
                AuthChange::RoleRevoke { role: role.to_owned(), range }
            }
            30..72 => AuthChange::UserGrant { user, role: role.to_owned() },
            72..84 => AuthChange::UserRevoke { user, role: role.to_owned() },
            84..89 => AuthChange::UserPassword { user, password: some_password(rng) },
            89..94 => AuthChange::UserDelete { user },
            94..98 => AuthChange::RoleDelete { role: role.to_owned() },
            _ => AuthChange::Disable,
        }
    }

    pub(super) fn ended(&mut self, action: &Action, outcome: &Outcome) {
        let Action::Change(change) = action else { return };
        let is_there = |why: &String| why == "user_exists" || why == "role_exists";
        let done = match outcome {
            Outcome::Done(..) => true,
            Outcome::NotDone(why) => is_there(why),
            Outcome::Pending | Outcome::Unknown(_) => false,
        };
        if !done {
            return;
        }
        if first_steps().get(self.begun) == Some(change) {
            self.begun += 1;
        }
        match change {
            AuthChange::Enable { .. } => self.enabled = true,
            AuthChange::Disable => self.enabled = false,
            AuthChange::UserDelete { user: name } | AuthChange::RoleDelete { role: name } => {
                let mut known = USERS.iter().chain(&ROLES);
                self.missing.extend(known.find(|known| *known == name));
            }
            AuthChange::UserAdd { user: name, .. } | AuthChange::RoleAdd { role: name } => {
                self.missing.retain(|missing| missing != name);
            }
            AuthChange::UserPassword { .. }
            | AuthChange::UserGrant { .. }
            | AuthChange::UserRevoke { .. }
            | AuthChange::RoleGrant { .. }
            | AuthChange::RoleRevoke { .. } => {}
        }
    }
}

/// Root, so that authentication can be enabled; a role that may do all, one that may read some; and users.
fn first_steps() -> Vec<AuthChange> {
    let grant = |user: &str, role: &str| {
        let (user, role) = (user.to_owned(), role.to_owned());
        AuthChange::UserGrant { user, role }
    };
    let permit = |role: &str, access, range| {
        let permission = Permission { access, range };
        AuthChange::RoleGrant { role: role.to_owned(), permission }
    };
    let add = |user: &str| AuthChange::UserAdd {
        user: user.to_owned(),
        password: Some(first_password()),
    };
    let all = KeyRange::prefix(Bytes::from_static(PREFIX.as_bytes()));
    let some = KeyRange { end: Some(Bytes::from_static(b"a/1")), ..all.clone() };
    let mut steps = vec![add(ROOT), grant(ROOT, ROOT)];
    steps.extend(ROLES.map(|role| AuthChange::RoleAdd { role: role.to_owned() }));
    steps.extend([permit(ROLES[0], Access::ReadWrite, all), permit(ROLES[1], Access::Read, some)]);
    steps.extend(USERS.map(add));
    steps.extend([grant(USERS[0], ROLES[0]), grant(USERS[1], ROLES[1])]);
    steps
}

fn first_password() -> Hidden {
    Hidden(Bytes::from_static(PASSWORDS[0].as_bytes()))
}

fn some_password(rng: &mut Rng) -> Hidden {
    Hidden(Bytes::from_static(rng.pick(&PASSWORDS).as_bytes()))
}

fn add(name: &str, rng: &mut Rng) -> AuthChange {
    let name = name.to_owned();
    if ROLES.contains(&&name[..]) {
        return AuthChange::RoleAdd { role: name };
    }
    AuthChange::UserAdd { user: name, password: Some(some_password(rng)) }
}

fn some_question(rng: &mut Rng) -> AuthQuestion {
    match rng.below(5) {
        0 => AuthQuestion::Status,
        1 => AuthQuestion::Users,
        2 => AuthQuestion::Roles,
        3 => AuthQuestion::User(rng.pick(&USERS).to_string()),
        _ => AuthQuestion::Role(rng.pick(&ROLES).to_string()),
    }
}
