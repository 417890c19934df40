//! The store as one sequence of revisions.
//!
//! Every answer bears a revision. That makes a stronger statement than linearizability checkable,
//! and cheaply: what one client saw at revision 7 must agree with what another wrote at revision 5.
//!
//! # What is checked
//!
//! * A revision has one author, and a key at a revision one value.
//! * A value is written once: a retry is not executed again.
//! * A read at revision *r* shows the newest version at or below *r* of every key that it covers.
//! * Revisions respect real time: what begins after another operation ended is not before it.
//! * A session never goes back, and a page shows nothing from its future.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use wire::{Change, Consistency, Event, Item, Revision};

use super::register::covers;
use super::{Final, Violation};
use crate::history::{Action, Hang, History, OpId, Operation, Outcome, Seen, Text, Write};

const CHECK: &str = "revisions";

/// One version of a key, and an operation that knows of it (`None`: a replica's final state).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// `None` is a removal.
    pub(super) value: Option<Bytes>,
    pub(super) facts: Facts,
    pub(super) witness: Option<OpId>,
}

/// What is known of a version beside its value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) created: Option<Revision>,
    pub(super) version: Option<u64>,
    /// 0 is none.
    pub(super) lease: Option<u64>,
}

impl Facts {
    fn of(item: &Item) -> Self {
        let (created, version) = (Some(item.created), Some(item.version));
        Self { created, version, lease: Some(item.lease) }
    }

    /// Takes in what others know. Tells whether they agree.
    fn join(&mut self, other: Self) -> bool {
        fn one<T: Copy + PartialEq>(mine: &mut Option<T>, other: Option<T>) -> bool {
            let agrees = mine.is_none() || other.is_none() || *mine == other;
            *mine = mine.or(other);
            agrees
        }
        one(&mut self.created, other.created)
            & one(&mut self.version, other.version)
            & one(&mut self.lease, other.lease)
    }
}

/// Every version of every key that the history and the final states tell of.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    keys: BTreeMap<Bytes, BTreeMap<Revision, Version>>,
    pub(super) authors: BTreeMap<Revision, OpId>,
    /// Keys that may have been removed at a revision that nobody knows.
    pub(super) perhaps_removed: BTreeSet<Bytes>,
    /// Keys that may have been hung on a lease at a revision that nobody knows, and then vanished with it.
    perhaps_mortal: BTreeSet<Bytes>,
}

impl Versions {
    /// Known changes with `from <= revision < to`: revision, key, an operation that knows.
    pub(super) fn between(
        &self,
        from: Revision,
        to: Revision,
    ) -> impl Iterator<Item = (Revision, &Bytes, Option<&Bytes>, Option<OpId>)> {
        self.keys.iter().flat_map(move |(key, versions)| {
            let range = if from < to { from..to } else { to..to };
            versions.range(range).map(move |(revision, version)| {
                (*revision, key, version.value.as_ref(), version.witness)
            })
        })
    }

    fn learn(
        &mut self,
        key: &Bytes,
        revision: Revision,
        (value, facts): (Option<&Bytes>, Facts),
        witness: Option<OpId>,
        violations: &mut Vec<Violation>,
    ) {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.clone(), BTreeMap::new());
        }
        let versions = self.keys.get_mut(key).expect("it was inserted just now");
        let Some(known) = versions.get_mut(&revision) else {
            versions.insert(revision, Version { value: value.cloned(), facts, witness });
            return;
        };
        let before = known.facts;
        if !known.facts.join(facts) {
            let what = format!(
                "key {} at revision {revision} is {before:?} to one and {facts:?} to another",
                Text(key)
            );
            let slice: Vec<OpId> = known.witness.into_iter().chain(witness).collect();
            violations.push(Violation::new(CHECK, what, &slice));
        }
        if known.value.as_ref() != value {
            let what = format!(
                "key {} at revision {revision} is {} to one and {} to another",
                Text(key),
                text(known.value.as_ref()),
                text(value)
            );
            let slice: Vec<OpId> = known.witness.into_iter().chain(witness).collect();
            violations.push(Violation::new(CHECK, what, &slice));
        }
    }

    /// All keys that anybody tells of.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.keys.keys()
    }

    /// All known versions of a key, in order.
    pub(super) fn of(&self, key: &Bytes) -> impl Iterator<Item = (Revision, &Version)> {
        let versions = self.keys.get(key).into_iter().flatten();
        versions.map(|(revision, version)| (*revision, version))
    }

    /// The newest known version at or below `at`.
    pub(super) fn newest(&self, key: &Bytes, at: Revision) -> Option<(Revision, &Version)> {
        let (revision, version) = self.keys.get(key)?.range(..=at).next_back()?;
        Some((*revision, version))
    }
}

fn text(value: Option<&Bytes>) -> String {
    value.map_or_else(|| "absent".to_owned(), |value| Text(value).to_string())
}

/// Checks a history, and returns what it tells of the store's versions.
pub fn check_versions(
    history: &History,
    finals: &[Final],
    violations: &mut Vec<Violation>,
) -> Versions {
    let mut versions = Versions::default();
    for (at, operation) in history.operations.iter().enumerate() {
        match &operation.outcome {
            Outcome::Done(_, seen) => {
                learn_operation(&mut versions, OpId(at), operation, seen, violations);
            }
            Outcome::Pending | Outcome::Unknown(_) => learn_doubt(&mut versions, operation),
            Outcome::NotDone(_) => {}
        }
    }
    for last in finals {
        learn_items(&mut versions, &last.items, None, violations);
        learn_events(&mut versions, &last.events, None, violations);
    }
    check_written_once(&versions, violations);
    check_pages(history, finals, &versions, violations);
    check_times(history, violations);
    versions
}

fn learn_doubt(versions: &mut Versions, operation: &Operation) {
    if let Action::Write(write) = &operation.action {
        let removed = write.changes.iter().filter(|(_, value)| value.is_none());
        versions.perhaps_removed.extend(removed.map(|(key, _)| key.clone()));
        if write.hang != Hang::Nowhere {
            let put = write.changes.iter().filter(|(_, value)| value.is_some());
            versions.perhaps_mortal.extend(put.map(|(key, _)| key.clone()));
        }
    }
}

fn learn_operation(
    versions: &mut Versions,
    id: OpId,
    operation: &Operation,
    seen: &Seen,
    violations: &mut Vec<Violation>,
) {
    match (seen, &operation.action) {
        (Seen::Page { items, .. }, _) => learn_items(versions, items, Some(id), violations),
        (Seen::Written { revision, succeeded, changed, observed }, Action::Write(write)) => {
            learn_items(versions, observed.as_deref().unwrap_or(&[]), Some(id), violations);
            if *succeeded && *changed {
                learn_write(versions, id, write, *revision, violations);
            }
        }
        (Seen::Events { events, .. }, _) => learn_events(versions, events, Some(id), violations),
        (
            Seen::Written { .. }
            | Seen::Lease(_)
            | Seen::Leases(_)
            | Seen::Proof(_)
            | Seen::Auth(_)
            | Seen::Nothing,
            _,
        ) => {}
    }
}

fn learn_events(
    versions: &mut Versions,
    events: &[Event],
    witness: Option<OpId>,
    violations: &mut Vec<Violation>,
) {
    for event in events {
        let (key, version) = match &event.change {
            Change::Put(item) => (&item.key, (Some(&item.value), Facts::of(item))),
            Change::Delete { key } => (key, (None, Facts::default())),
        };
        versions.learn(key, event.revision, version, witness, violations);
        learn_items(versions, event.previous.as_slice(), witness, violations);
    }
}

fn learn_items(
    versions: &mut Versions,
    items: &[Item],
    witness: Option<OpId>,
    violations: &mut Vec<Violation>,
) {
    for item in items {
        let version = (Some(&item.value), Facts::of(item));
        versions.learn(&item.key, item.modified, version, witness, violations);
    }
}

fn learn_write(
    versions: &mut Versions,
    id: OpId,
    write: &Write,
    revision: Revision,
    violations: &mut Vec<Violation>,
) {
    if let Some(other) = versions.authors.insert(revision, id) {
        let what = format!("two writes were both told that they made revision {revision}");
        violations.push(Violation::new(CHECK, what, &[other, id]));
    }
    for (key, value) in &write.changes {
        // A removal of what was absent changes nothing: with other changes beside it, it can't be
        // told from one that did, so only values count.
        if value.is_some() || write.changes.len() == 1 {
            let lease = match write.hang {
                _ if value.is_none() => None,
                Hang::Nowhere => Some(0),
                Hang::On(lease) => Some(lease),
                Hang::AsBefore => None,
            };
            let is_new = write.expect.as_ref() == Some(&(key.clone(), None));
            let facts = Facts { created: is_new.then_some(revision), version: None, lease };
            versions.learn(key, revision, (value.as_ref(), facts), Some(id), violations);
        }
    }
}

fn check_written_once(versions: &Versions, violations: &mut Vec<Violation>) {
    for (key, known) in &versions.keys {
        let mut places: BTreeMap<&Bytes, (Revision, Option<OpId>)> = BTreeMap::new();
        for (revision, version) in known {
            let Some(value) = &version.value else { continue };
            if let Some((first, witness)) = places.insert(value, (*revision, version.witness)) {
                let what = format!(
                    "one write was executed twice: key {} became {} at revision {first} and again \
                     at {revision}",
                    Text(key),
                    Text(value)
                );
                let slice: Vec<OpId> = witness.into_iter().chain(version.witness).collect();
                violations.push(Violation::new("exactly once", what, &slice));
            }
        }
    }
}

fn check_pages(
    history: &History,
    finals: &[Final],
    versions: &Versions,
    violations: &mut Vec<Violation>,
) {
    for (at, operation) in history.operations.iter().enumerate() {
        let Outcome::Done(header, Seen::Page { items, more }) = &operation.outcome else {
            continue;
        };
        let covers = |key: &Bytes| covers(&operation.action, items, *more, key);
        check_page(versions, items, header.revision, &covers, Some(OpId(at)), violations);
        if let Action::Read { level: Consistency::Session(seen), .. }
        | Action::Scan { level: Consistency::Session(seen), .. } = &operation.action
            && header.revision < *seen
        {
            let what =
                format!("a session that had seen revision {seen} was shown {}", header.revision);
            violations.push(Violation::new("session", what, &[OpId(at)]));
        }
    }
    for last in finals {
        check_page(versions, &last.items, last.revision, &|_| true, None, violations);
    }
}

/// A page at revision `at` must show the newest known version of all that it covers.
fn check_page(
    versions: &Versions,
    items: &[Item],
    at: Revision,
    covers: &dyn Fn(&Bytes) -> bool,
    reader: Option<OpId>,
    violations: &mut Vec<Violation>,
) {
    let shown: BTreeMap<&Bytes, &Item> = items.iter().map(|item| (&item.key, item)).collect();
    if shown.len() != items.len() {
        let what = "a page shows a key twice".to_owned();
        violations.push(Violation::new(CHECK, what, &reader.into_iter().collect::<Vec<_>>()));
    }
    for item in items.iter().filter(|item| item.modified > at || item.created > item.modified) {
        let key = Text(&item.key);
        let what = format!("a read at revision {at} shows {key} as of {}", item.modified);
        violations.push(Violation::new(CHECK, what, &reader.into_iter().collect::<Vec<_>>()));
    }
    for key in versions.keys.keys().filter(|key| covers(key)) {
        let Some((revision, newest)) = versions.newest(key, at) else { continue };
        let item = shown.get(key);
        let right = match (&newest.value, item) {
            (Some(_), Some(item)) => item.modified == revision,
            (None, None) => true,
            // A removal that is known only by its author, of a key that somebody saw later.
            (None, Some(item)) => item.modified > revision,
            // It may have vanished with the lease that it hung on: whether in time is judged there.
            (Some(_), None) => {
                newest.facts.lease != Some(0)
                    || versions.perhaps_removed.contains(key)
                    || versions.perhaps_mortal.contains(key)
            }
        };
        if !right {
            let saw = item.map_or_else(
                || "nothing".to_owned(),
                |item| format!("{} of revision {}", Text(&item.value), item.modified),
            );
            let reader_name = if reader.is_some() { "a read" } else { "a replica's final state" };
            let what = format!(
                "{reader_name} at revision {at} shows {saw} for key {}, which had become {} at \
                 revision {revision}",
                Text(key),
                text(newest.value.as_ref())
            );
            let slice: Vec<OpId> = newest.witness.into_iter().chain(reader).collect();
            violations.push(Violation::new("durability", what, &slice));
        }
    }
}

/// The revision at which an operation took effect, if it was linearizable, and whether it made it.
fn linearized_at(operation: &Operation) -> Option<(Revision, bool)> {
    let Outcome::Done(header, seen) = &operation.outcome else { return None };
    match (&operation.action, seen) {
        (
            Action::Read { level: Consistency::Linearizable, .. }
            | Action::Scan { level: Consistency::Linearizable, .. },
            Seen::Page { .. },
        )
        | (_, Seen::Lease(_) | Seen::Leases(_) | Seen::Proof(_) | Seen::Auth(_)) => {
            Some((header.revision, false))
        }
        (Action::Write(_), Seen::Written { revision, succeeded, changed, .. }) => {
            Some((*revision, *succeeded && *changed))
        }
        (
            Action::Grant { .. } | Action::Revoke { .. } | Action::Change(_),
            Seen::Written { revision, .. },
        ) => Some((*revision, false)),
        _ => None,
    }
}

fn check_times(history: &History, violations: &mut Vec<Violation>) {
    let mut ends: Vec<(consensus::Time, Revision, OpId)> = Vec::new();
    for (at, operation) in history.operations.iter().enumerate() {
        if let (Some(ended), Some((revision, _))) = (operation.ended, linearized_at(operation)) {
            ends.push((ended, revision, OpId(at)));
        }
    }
    ends.sort_unstable();
    let mut ended = ends.into_iter().peekable();
    let mut newest: Option<(Revision, OpId)> = None;
    for (at, operation) in history.operations.iter().enumerate() {
        while let Some((_, revision, id)) = ended.next_if(|(end, ..)| *end < operation.began) {
            if newest.is_none_or(|(known, _)| revision > known) {
                newest = Some((revision, id));
            }
        }
        let (Some((before, other)), Some((revision, made))) = (newest, linearized_at(operation))
        else {
            continue;
        };
        if revision < before || (made && revision == before) {
            let what = format!(
                "an operation took effect at revision {revision}, though revision {before} was \
                 known before it began"
            );
            violations.push(Violation::new("real time", what, &[other, OpId(at)]));
        }
    }
}
