//! Who could have been allowed what at a place in the log, as the changes of a history tell.
//!
//! What decides is taken apart: whether authentication is enabled, whether there is a user, whether he
//! has a role, what a role may do with a range. Each part was set by changes whose places are known as
//! spans, and some of which may not have been done at all. So at an index a part has a set of values that
//! it may have, and whoever judges takes of each what suits him best: nobody is accused wrongly, for
//! parts whose values go together are taken for more free than they are.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::Time;
use wire::{Access, AuthChange, KeyRange, Permission, Principal, ROOT};

use super::places::{Places, Span};
use crate::history::{Action, History, OpId, Outcome, Seen};

/// A part of what is known of users and roles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// Whether anybody is asked who he is.
    Enabled,
    /// Whether there is this user.
    User(String),
    /// Whether there is this role.
    Role(String),
    /// The user's password.
    Password(String),
    /// Whether the user has the role.
    Has(String, String),
    /// What the role may do with exactly this range.
    May(String, (Bytes, Option<Bytes>)),
}

/// What a part may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Is(bool),
    Password(Option<Bytes>),
    Access(Option<Access>),
}

/// A change that gave a part a value.
#[derive(Debug)]
struct Setting {
    value: Value,
    span: Span,
    /// Whether it was done for sure.
    sure: bool,
}

/// What somebody wants to do.
#[derive(Clone, Debug)]
pub(super) enum Need {
    Read(KeyRange),
    Write(KeyRange),
    /// What root alone may do.
    Everything,
    /// Root, or the user of this name.
    Himself(String),
    /// Root, or whoever has this role.
    Role(String),
}

/// Everything that a history tells of users and roles.
#[derive(Debug, Default)]
pub(super) struct Rights {
    settings: BTreeMap<Part, Vec<Setting>>,
    /// By user: changes that make earlier proofs of being him worthless.
    renewals: BTreeMap<String, Vec<Setting>>,
    /// Where somebody has proven to be the user, by what he may go on as.
    proofs: BTreeMap<(String, u64), Span>,
    /// All changes that may have been done.
    changes: Vec<(OpId, Time, Span)>,
    users: BTreeSet<String>,
    roles: BTreeSet<String>,
    ranges: BTreeSet<(String, (Bytes, Option<Bytes>))>,
}

impl Rights {
    pub(super) fn of(history: &History, places: &Places) -> Self {
        let mut rights = Self::default();
        let may_be_done = history.operations.iter().enumerate().filter_map(|(at, operation)| {
            let Action::Change(change) = &operation.action else { return None };
            let sure = match operation.outcome {
                Outcome::NotDone(_) => return None,
                Outcome::Done(..) => true,
                Outcome::Pending | Outcome::Unknown(_) => false,
            };
            Some((OpId(at), operation.began, change, places.of_command(operation), sure))
        });
        let may_be_done: Vec<_> = may_be_done.collect();
        for (id, began, change, span, _) in &may_be_done {
            rights.changes.push((*id, *began, *span));
            rights.meet(change);
        }
        for (_, _, change, span, sure) in may_be_done {
            rights.learn(change, span, sure);
        }
        for operation in &history.operations {
            let Outcome::Done(header, Seen::Proof(proof)) = &operation.outcome else { continue };
            let (key, at) = ((proof.user.clone(), proof.revision), header.applied);
            let span = rights.proofs.entry(key).or_insert(Span { first: at, last: at });
            *span = Span { first: span.first.min(at), last: span.last.max(at) };
        }
        rights
    }

    /// Whether nobody ever changed anything.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// All names that there may be: of users, of roles.
    pub(super) fn names(&self) -> (&BTreeSet<String>, &BTreeSet<String>) {
        (&self.users, &self.roles)
    }

    /// Ranges on which a role may have been given permissions.
    pub(super) fn ranges_of<'a>(
        &'a self,
        role: &'a str,
    ) -> impl Iterator<Item = &'a (Bytes, Option<Bytes>)> {
        self.ranges.iter().filter(move |(of, _)| of == role).map(|(_, range)| range)
    }

    /// Changes that may be done at or before this index, the last ones last.
    pub(super) fn changes_until(&self, at: u64) -> impl Iterator<Item = OpId> {
        self.changes.iter().filter(move |(.., span)| span.first <= at).map(|(id, ..)| *id)
    }

    /// The first index of this span, and each at which more may be possible than just before: what may
    /// be so anywhere in it may be so at one of these. What began behind `until` is not among them.
    pub(super) fn moments(&self, span: Span, until: Option<Time>) -> BTreeSet<u64> {
        let begun = |began: &Time| until.is_none_or(|until| *began <= until);
        let changes = self.changes.iter().filter(|(_, began, _)| begun(began));
        let firsts = changes.map(|(.., change)| change.first);
        firsts.filter(|at| (span.first..=span.last).contains(at)).chain([span.first]).collect()
    }

    fn meet(&mut self, change: &AuthChange) {
        match change {
            AuthChange::UserAdd { user, .. } => {
                self.users.insert(user.clone());
            }
            AuthChange::UserGrant { user, role } => {
                self.users.insert(user.clone());
                self.roles.insert(role.clone());
            }
            AuthChange::RoleAdd { role } => {
                self.roles.insert(role.clone());
            }
            AuthChange::RoleGrant { role, permission } => {
                self.roles.insert(role.clone());
                self.ranges.insert((role.clone(), place(&permission.range)));
            }
            AuthChange::Enable { .. }
            | AuthChange::Disable
            | AuthChange::UserDelete { .. }
            | AuthChange::UserPassword { .. }
            | AuthChange::UserRevoke { .. }
            | AuthChange::RoleDelete { .. }
            | AuthChange::RoleRevoke { .. } => {}
        }
    }

    fn learn(&mut self, change: &AuthChange, span: Span, sure: bool) {
        let mut set = |part: Part, value: Value| {
            self.settings.entry(part).or_default().push(Setting { value, span, sure });
        };
        match change {
            AuthChange::Enable { .. } => set(Part::Enabled, Value::Is(true)),
            AuthChange::Disable => set(Part::Enabled, Value::Is(false)),
            AuthChange::UserAdd { user, password } => {
                let password = password.as_ref().map(|password| password.0.clone());
                self.user_is(user, true, password, span, sure);
            }
            AuthChange::UserDelete { user } => self.user_is(user, false, None, span, sure),
            AuthChange::UserPassword { user, password } => {
                set(Part::Password(user.clone()), Value::Password(Some(password.0.clone())));
                self.renew(user, span, sure);
            }
            AuthChange::UserGrant { user, role } => {
                set(Part::Has(user.clone(), role.clone()), Value::Is(true));
            }
            AuthChange::UserRevoke { user, role } => {
                set(Part::Has(user.clone(), role.clone()), Value::Is(false));
            }
            AuthChange::RoleAdd { role } => set(Part::Role(role.clone()), Value::Is(true)),
            AuthChange::RoleDelete { role } => {
                set(Part::Role(role.clone()), Value::Is(false));
                for user in &self.users {
                    set(Part::Has(user.clone(), role.clone()), Value::Is(false));
                }
                for (of, range) in self.ranges.iter().filter(|(of, _)| of == role) {
                    set(Part::May(of.clone(), range.clone()), Value::Access(None));
                }
            }
            AuthChange::RoleGrant { role, permission: Permission { access, range } } => {
                set(Part::May(role.clone(), place(range)), Value::Access(Some(*access)));
            }
            AuthChange::RoleRevoke { role, range } => {
                set(Part::May(role.clone(), place(range)), Value::Access(None));
            }
        }
    }

    /// A user comes into being, or ceases to be: without roles both.
    fn user_is(&mut self, user: &str, is: bool, password: Option<Bytes>, span: Span, sure: bool) {
        let mut set = |part: Part, value: Value| {
            self.settings.entry(part).or_default().push(Setting { value, span, sure });
        };
        set(Part::User(user.to_owned()), Value::Is(is));
        set(Part::Password(user.to_owned()), Value::Password(password));
        for role in &self.roles {
            set(Part::Has(user.to_owned(), role.clone()), Value::Is(false));
        }
        self.renew(user, span, sure);
    }

    fn renew(&mut self, user: &str, span: Span, sure: bool) {
        let setting = Setting { value: Value::Is(true), span, sure };
        self.renewals.entry(user.to_owned()).or_default().push(setting);
    }

    /// Whether a part may have such a value when the log is applied up to `at`.
    pub(super) fn may_be(&self, part: &Part, at: u64, test: impl Fn(&Value) -> bool) -> bool {
        let settings = self.settings.get(part).map_or(&[][..], |settings| &settings[..]);
        // Overwritten by what was done behind `last`, and no later than `at`.
        let overwritten = |last: u64| {
            settings.iter().any(|by| by.sure && by.span.first > last && by.span.last <= at)
        };
        let set = settings.iter().any(|setting| {
            setting.span.first <= at && test(&setting.value) && !overwritten(setting.span.last)
        });
        set || (test(&first_value(part)) && !overwritten(0))
    }

    /// Whether a part that holds or not may be so.
    pub(super) fn may(&self, part: &Part, at: u64, is: bool) -> bool {
        self.may_be(part, at, |value| *value == Value::Is(is))
    }

    /// Whether somebody could be given all of this at this index.
    pub(super) fn could_allow(&self, who: Option<&Principal>, needs: &[Need], at: u64) -> bool {
        let allowed = |who: &Principal| {
            self.may(&Part::User(who.user.clone()), at, true)
                && !self.is_outdated(who, at)
                && needs.iter().all(|need| self.could_have(&who.user, need, at))
        };
        self.may(&Part::Enabled, at, false) || who.is_some_and(allowed)
    }

    /// Whether somebody could be refused for this reason.
    pub(super) fn could_deny(
        &self,
        who: Option<&Principal>,
        needs: &[Need],
        why: &str,
        at: u64,
    ) -> bool {
        let refused = match (why, who) {
            ("unauthenticated", None) => true,
            ("invalid_auth_token", Some(who)) => {
                !who.is_of_certificate() && self.could_be_outdated(who, at)
            }
            // Root has all rights wherever anybody is asked who he is.
            ("permission_denied", Some(who)) if *who == Principal::of_certificate(ROOT) => false,
            ("permission_denied", Some(who)) => {
                let stranger = self.may(&Part::User(who.user.clone()), at, false);
                (who.is_of_certificate() && stranger)
                    || needs.iter().any(|need| self.could_lack(&who.user, need, at))
            }
            _ => false,
        };
        refused && self.may(&Part::Enabled, at, true)
    }

    /// Whether a proof surely holds no more.
    fn is_outdated(&self, who: &Principal, at: u64) -> bool {
        let Some(proven) = self.proofs.get(&(who.user.clone(), who.revision)) else { return false };
        let mut renewals = self.renewals.get(&who.user).into_iter().flatten();
        renewals.any(|by| by.sure && by.span.first > proven.first && by.span.last <= at)
    }

    fn could_be_outdated(&self, who: &Principal, at: u64) -> bool {
        let Some(proven) = self.proofs.get(&(who.user.clone(), who.revision)) else { return true };
        let mut renewals = self.renewals.get(&who.user).into_iter().flatten();
        // A node that lags may not know the user yet.
        at < proven.last || renewals.any(|by| by.span.last > proven.last && by.span.first <= at)
    }

    fn could_have(&self, user: &str, need: &Need, at: u64) -> bool {
        let has = |role: &str| self.may(&Part::Has(user.to_owned(), role.to_owned()), at, true);
        if has(ROOT) {
            return true;
        }
        match need {
            Need::Everything => false,
            Need::Himself(name) => user == name,
            Need::Role(role) => has(role),
            Need::Read(range) => self.covered(range, has, |role, range| {
                self.could_do(role, range, at, Access::reads, true)
            }),
            Need::Write(range) => self.covered(range, has, |role, range| {
                self.could_do(role, range, at, Access::writes, true)
            }),
        }
    }

    fn could_lack(&self, user: &str, need: &Need, at: u64) -> bool {
        let has = |role: &str| !self.may(&Part::Has(user.to_owned(), role.to_owned()), at, false);
        if has(ROOT) {
            return false;
        }
        match need {
            Need::Everything => true,
            Need::Himself(name) => user != name,
            Need::Role(role) => !has(role),
            Need::Read(range) => !self.covered(range, has, |role, range| {
                !self.could_do(role, range, at, Access::reads, false)
            }),
            Need::Write(range) => !self.covered(range, has, |role, range| {
                !self.could_do(role, range, at, Access::writes, false)
            }),
        }
    }

    /// Whether a role may be able, or unable, to do something with a range that it was given.
    fn could_do(
        &self,
        role: &str,
        range: &(Bytes, Option<Bytes>),
        at: u64,
        does: fn(Access) -> bool,
        able: bool,
    ) -> bool {
        let part = Part::May(role.to_owned(), range.clone());
        self.may_be(
            &part,
            at,
            |value| matches!(value, Value::Access(access) if access.is_some_and(does) == able),
        )
    }

    /// Whether the ranges of these roles leave nothing of `range` out, taken from its start to its end.
    fn covered(
        &self,
        range: &KeyRange,
        has: impl Fn(&str) -> bool,
        holds: impl Fn(&str, &(Bytes, Option<Bytes>)) -> bool,
    ) -> bool {
        let ranges = self.ranges.iter().filter(|(role, range)| has(role) && holds(role, range));
        let ranges: Vec<_> = ranges.map(|(_, range)| range).collect();
        let mut reached = range.start.clone();
        while range.end.as_ref().is_none_or(|end| reached < *end) {
            let on = ranges.iter().filter(|(start, end)| {
                *start <= reached && end.as_ref().is_none_or(|end| *end > reached)
            });
            // `None` is the furthest end there is.
            let Some((_, end)) = on.max_by_key(|(_, end)| (end.is_none(), end.clone())) else {
                return false;
            };
            match end {
                Some(end) => reached = end.clone(),
                None => return true,
            }
        }
        true
    }
}

fn first_value(part: &Part) -> Value {
    match part {
        Part::Enabled | Part::User(_) | Part::Role(_) | Part::Has(..) => Value::Is(false),
        Part::Password(_) => Value::Password(None),
        Part::May(..) => Value::Access(None),
    }
}

pub(super) fn place(range: &KeyRange) -> (Bytes, Option<Bytes>) {
    (range.start.clone(), range.end.clone())
}
