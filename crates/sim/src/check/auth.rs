//! Users and roles: nobody does, reads or is told of what he may not, at the place in the log at which
//! that is judged, and nobody is refused who may.
//!
//! # What is checked
//!
//! * A write that is done, as its author was told or as anybody has seen, was allowed to him at its own
//!   place in the log, whatever he was allowed when he asked; so was a change of users and roles.
//! * An answer to a read, a watch, a question bears the log index up to which its node had applied the
//!   log, and was allowed at that index. For a linearizable read, and for a question, that is not before
//!   what was acknowledged when it began. Any other read, and a watch, may be answered by a node that
//!   lags: it goes by the rights that it knows, which fit the keys that it shows.
//! * Who is refused could have been refused: a write, a linearizable read, a question by what was
//!   acknowledged when it began, or done since; the others by what was ever so. Root never is.
//! * A proof of who somebody is holds until his password changes or he ceases to be; who gets one has
//!   given the password of then.
//! * What is told of users and roles is what they were made, and the auth revision never goes back.

use std::collections::BTreeMap;

use wire::{AuthAnswer, AuthQuestion, Consistency, KeyRange, Principal};

use super::fences::done_at;
use super::places::{Places, Span, index_of};
use super::rights::{Need, Part, Rights, Value, place};
use super::{Versions, Violation};
use crate::history::{Action, History, OpId, Operation, Outcome, Seen};

const CHECK: &str = "auth";

/// So many changes are shown with what they should have forbidden, or allowed.
const MOST_SHOWN: usize = 16;

/// Reasons for a refusal that are about who somebody is and what he may.
const DENIALS: [&str; 3] = ["unauthenticated", "invalid_auth_token", "permission_denied"];

/// Checks everything about users and roles.
pub(super) fn check_auth(history: &History, versions: &Versions, violations: &mut Vec<Violation>) {
    let places = Places::of(history);
    let rights = Rights::of(history, &places);
    let mut judge = Judge { places, rights, revisions: BTreeMap::new(), violations };
    for (at, operation) in history.operations.iter().enumerate() {
        let id = OpId(at);
        if let Outcome::NotDone(why) = &operation.outcome {
            judge.refused(id, operation, why);
        }
        // Where nobody is a user yet, nobody is asked who he is.
        if !judge.rights.is_empty() {
            judge.done(id, operation, versions);
        }
    }
    judge.check_revisions();
}

struct Judge<'a> {
    places: Places,
    rights: Rights,
    /// By log index: the auth revision there, and who was told of it.
    revisions: BTreeMap<u64, (u64, OpId)>,
    violations: &'a mut Vec<Violation>,
}

impl Judge<'_> {
    fn violate(&mut self, what: String, at: u64, id: OpId) {
        let changes: Vec<OpId> = self.rights.changes_until(at).collect();
        let last = changes.len().saturating_sub(MOST_SHOWN);
        let slice: Vec<OpId> = changes[last..].iter().copied().chain([id]).collect();
        self.violations.push(Violation::new(CHECK, what, &slice));
    }

    fn done(&mut self, id: OpId, operation: &Operation, versions: &Versions) {
        match (&operation.action, &operation.outcome) {
            (Action::Write(write), outcome) => {
                let made = done_at(write, outcome, versions);
                let is_done = made.is_some() || matches!(outcome, Outcome::Done(..));
                if is_done {
                    let place = self.places.of_command(operation);
                    let made = made.map(|revision| self.places.of_revision(revision));
                    let place = made.map_or(place, |made| place.and(made));
                    self.must_be_allowed(id, operation, place.before());
                }
            }
            (
                Action::Change(_) | Action::Compact { .. } | Action::Scrub { .. },
                Outcome::Done(..),
            ) => {
                let place = self.places.of_command(operation);
                self.must_be_allowed(id, operation, place.before());
            }
            (_, Outcome::Done(_, seen)) => {
                let Some(at) = index_of(operation) else { return };
                let known = self.places.before(operation.began);
                if is_linearizable(&operation.action) && at < known {
                    let what = format!(
                        "what began when log index {known} was known was answered by what held at {at}"
                    );
                    self.violate(what, known, id);
                }
                self.must_be_allowed(id, operation, Span { first: at, last: at });
                self.told(id, operation, seen, at);
            }
            (_, Outcome::NotDone(_) | Outcome::Pending | Outcome::Unknown(_)) => {}
        }
    }

    fn must_be_allowed(&mut self, id: OpId, operation: &Operation, place: Span) {
        let Some(needs) = needs(&operation.action) else { return };
        let who = operation.principal.as_ref();
        let mut moments = self.rights.moments(place, None).into_iter();
        if moments.any(|at| self.rights.could_allow(who, &needs, at)) {
            return;
        }
        let (who, Span { first, last }) = (name(who), place);
        let what = if first == last {
            format!("{who} was not allowed this at log index {first}, and it was done")
        } else {
            format!(
                "{who} was not allowed this at any log index from {first} to {last}, and it was done"
            )
        };
        self.violate(what, last, id);
    }

    fn refused(&mut self, id: OpId, operation: &Operation, why: &str) {
        // Who waits for a node that lags may be judged by any past.
        let known = self.places.before(operation.began);
        let first = if is_linearizable(&operation.action) { known } else { 0 };
        let span = Span { first, last: u64::MAX };
        let mut moments = self.rights.moments(span, operation.ended).into_iter();
        let who = operation.principal.as_ref();
        let rights = &self.rights;
        let right = match &operation.action {
            Action::Login { user, password } => {
                let other = |value: &Value| *value != Value::Password(Some(password.clone()));
                let enabled = why == "auth_failed";
                (why != "auth_failed" && why != "auth_not_enabled")
                    || moments.any(|at| {
                        let mistaken = rights.may_be(&Part::Password(user.clone()), at, other);
                        rights.may(&Part::Enabled, at, enabled) && (mistaken || !enabled)
                    })
            }
            action => {
                let needs = needs(action).unwrap_or_default();
                !DENIALS.contains(&why) || moments.any(|at| rights.could_deny(who, &needs, why, at))
            }
        };
        if !right {
            let what = format!("{} was refused with {why}, and could not have been", name(who));
            self.violate(what, u64::MAX, id);
        }
    }

    /// What an answer says of users and roles as they were at an index.
    fn told(&mut self, id: OpId, operation: &Operation, seen: &Seen, at: u64) {
        let rights = &self.rights;
        let (users, roles) = rights.names();
        let lists = |all: &[String], name: &String| all.contains(name);
        let right = match (&operation.action, seen) {
            (Action::Login { user, password }, Seen::Proof(proof)) => {
                let given = Value::Password(Some(password.clone()));
                proof.user == *user
                    && rights.may(&Part::Enabled, at, true)
                    && rights.may_be(&Part::Password(user.clone()), at, |value| *value == given)
            }
            (Action::Ask(question), Seen::Auth(answer)) => match (question, answer) {
                (AuthQuestion::Status, AuthAnswer::Status { enabled, .. }) => {
                    rights.may(&Part::Enabled, at, *enabled)
                }
                (AuthQuestion::Users, AuthAnswer::Names(names)) => {
                    let mut all = users.iter().chain(names);
                    all.all(|name| rights.may(&Part::User(name.clone()), at, lists(names, name)))
                }
                (AuthQuestion::Roles, AuthAnswer::Names(names)) => {
                    // That of root is there without being made.
                    let mut all = roles.iter().filter(|role| *role != wire::ROOT).chain(names);
                    all.all(|name| rights.may(&Part::Role(name.clone()), at, lists(names, name)))
                }
                (AuthQuestion::User(user), AuthAnswer::Names(names)) => {
                    let part = |role: &String| Part::Has(user.clone(), role.clone());
                    rights.may(&Part::User(user.clone()), at, true)
                        && roles
                            .iter()
                            .chain(names)
                            .all(|role| rights.may(&part(role), at, lists(names, role)))
                }
                (AuthQuestion::Role(role), AuthAnswer::Permissions(permissions)) => {
                    let told: BTreeMap<_, _> = permissions
                        .iter()
                        .map(|permission| (place(&permission.range), permission.access))
                        .collect();
                    rights.may(&Part::Role(role.clone()), at, true)
                        && rights.ranges_of(role).chain(told.keys()).all(|range| {
                            let is = Value::Access(told.get(range).copied());
                            let part = Part::May(role.clone(), range.clone());
                            rights.may_be(&part, at, |value| *value == is)
                        })
                }
                _ => false,
            },
            _ => true,
        };
        if !right {
            let what = format!("at log index {at} users and roles were not as this says");
            self.violate(what, at, id);
        }
        let revision = match seen {
            Seen::Proof(proof) => Some(proof.revision),
            Seen::Auth(AuthAnswer::Status { revision, .. }) => Some(*revision),
            _ => None,
        };
        if let Some(revision) = revision {
            let (known, by) = *self.revisions.entry(at).or_insert((revision, id));
            if known != revision {
                let what = format!(
                    "log index {at} is auth revision {known} to one, {revision} to another"
                );
                self.violations.push(Violation::new(CHECK, what, &[by, id]));
            }
        }
    }

    fn check_revisions(&mut self) {
        let revisions: Vec<(u64, OpId)> = self.revisions.values().copied().collect();
        for pair in revisions.windows(2) {
            if pair[1].0 < pair[0].0 {
                let what =
                    format!("the auth revision went back from {} to {}", pair[0].0, pair[1].0);
                self.violations.push(Violation::new(CHECK, what, &[pair[0].1, pair[1].1]));
            }
        }
    }
}

/// Whether it is judged by what holds after all that was acknowledged before it began.
fn is_linearizable(action: &Action) -> bool {
    !matches!(
        action,
        Action::Watch { .. }
            | Action::Read { level: Consistency::Session(_) | Consistency::Eventual, .. }
            | Action::Scan { level: Consistency::Session(_) | Consistency::Eventual, .. }
            // Every node answers it by what it knows.
            | Action::Transfer { .. }
    )
}

/// What somebody must be allowed for this; `None` where that depends on more than is known here.
fn needs(action: &Action) -> Option<Vec<Need>> {
    let single = |key: &bytes::Bytes| KeyRange::single(key.clone());
    Some(match action {
        Action::Read { key, .. } => vec![Need::Read(single(key))],
        Action::Scan { prefix, .. } => vec![Need::Read(KeyRange::prefix(prefix.clone()))],
        Action::Watch { range, .. } => vec![Need::Read(range.clone())],
        Action::Write(write) => {
            let expected = write.expect.iter().map(|(key, _)| key);
            let fenced = write.fence.iter().map(|(key, _)| key);
            let read = expected.chain(fenced).chain(&write.observe);
            let written = write.changes.iter().map(|(key, _)| Need::Write(single(key)));
            read.map(|key| Need::Read(single(key))).chain(written).collect()
        }
        Action::Ask(AuthQuestion::User(user)) => vec![Need::Himself(user.clone())],
        Action::Ask(AuthQuestion::Role(role)) => vec![Need::Role(role.clone())],
        Action::Compact { .. }
        | Action::Scrub { .. }
        | Action::Transfer { .. }
        | Action::Change(_)
        | Action::Ask(AuthQuestion::Status | AuthQuestion::Users | AuthQuestion::Roles) => {
            vec![Need::Everything]
        }
        // What hangs on the lease decides, and only root has any here; and who logs in is nobody yet.
        Action::Grant { .. }
        | Action::Revoke { .. }
        | Action::KeepAlive { .. }
        | Action::Lease { .. }
        | Action::Leases
        | Action::Login { .. } => return None,
    })
}

fn name(who: Option<&Principal>) -> String {
    match who {
        None => "somebody who did not say who he is".to_owned(),
        Some(who) if who.is_of_certificate() => format!("{} by certificate", who.user),
        Some(who) => format!("{} as of auth revision {}", who.user, who.revision),
    }
}
