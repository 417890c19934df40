//! Leases: none ends before its holder can know of it, none comes back, and what hangs on one lives
//! and dies with it.
//!
//! # What is checked
//!
//! * A lease whose keeping alive (or grant) was acknowledged lives until its time has passed since that
//!   was *sent*, by the holder's own clock, unless somebody revoked it. This rests on nodes' clocks, so
//!   it is left out where they are bent.
//! * Who hears that there is no such lease is right: it is never seen again.
//! * It has never more left than it lives, nor less than was promised.
//! * A key vanishes only by a removal or with its lease, and then with all other keys of that lease, in
//!   one revision.
//! * In the end no lease is left, and nothing that hung on one.
//!
//! # Which life it is
//!
//! A name may be granted again. No two grants of a name in a history ask for the same time, so whoever
//! tells a lease's time of life tells which life it is; who tells the name alone counts only
//! where there was but one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use consensus::Time;
use wire::{Change, Consistency, Event, LeaseStatus, Revision};

use super::register::covers;
use super::{Final, Versions, Violation};
use crate::history::{Action, Hang, History, OpId, Operation, Outcome, Seen, Text};

const CHECK: &str = "leases";

/// Something that somebody saw, some time between two moments.
#[derive(Clone, Copy, Debug)]
struct Sight {
    began: Time,
    ended: Time,
    id: OpId,
}

/// One life of a lease.
#[derive(Debug)]
struct Life {
    ttl_ms: u64,
    granted: Time,
    /// It was there.
    alive: Vec<Sight>,
    /// Until when it must live, and which operation's answer says so.
    promises: Vec<(Time, OpId)>,
}

/// What is known of one name.
#[derive(Debug, Default)]
struct Name {
    lives: Vec<Life>,
    /// There was no such lease.
    dead: Vec<Sight>,
    /// By whom, and when the first and the last moment was at which that may have happened.
    revoked: Vec<(Time, Option<Time>)>,
}

impl Name {
    fn only_life(&mut self) -> Option<&mut Life> {
        if let [life] = &mut self.lives[..] { Some(life) } else { None }
    }

    /// Whether somebody may have revoked this life by `until`.
    fn may_be_revoked(&self, life: &Life, until: Time) -> bool {
        self.revoked.iter().any(|(began, ended)| {
            *began <= until && ended.is_none_or(|ended| ended >= life.granted)
        })
    }
}

/// When leases that had but one life were surely gone.
pub(super) type Dead = BTreeMap<u64, Time>;

/// Checks everything about leases. Returns when which of them were known to be gone.
pub(super) fn check_leases(
    history: &History,
    versions: &Versions,
    finals: &[Final],
    violations: &mut Vec<Violation>,
) -> Dead {
    let mut book = Book { names: BTreeMap::new(), history, violations };
    book.collect();
    book.collect_pages(versions);
    if let Some(last) = finals.first() {
        book.check_changes(versions, last);
        book.check_nothing_left(last);
    }
    book.check_lives();
    book.dead()
}

struct Book<'a> {
    names: BTreeMap<u64, Name>,
    history: &'a History,
    violations: &'a mut Vec<Violation>,
}

impl Book<'_> {
    fn violate(&mut self, what: String, slice: &[OpId]) {
        self.violations.push(Violation::new(CHECK, what, slice));
    }

    /// Grants first, then whatever speaks of them.
    fn collect(&mut self) {
        let history = self.history;
        for (at, operation) in history.operations.iter().enumerate() {
            let Action::Grant { lease, ttl_ms } = operation.action else { continue };
            if matches!(operation.outcome, Outcome::NotDone(_)) {
                continue;
            }
            let (granted, ttl_ms) = (operation.began, ttl_ms);
            let mut life = Life { ttl_ms, granted, alive: Vec::new(), promises: Vec::new() };
            if let (Outcome::Done(..), Some(sight)) = (&operation.outcome, sight(at, operation)) {
                life.promises.push((operation.began + time(ttl_ms), OpId(at)));
                life.alive.push(sight);
            }
            self.names.entry(lease).or_default().lives.push(life);
        }
        for (at, operation) in history.operations.iter().enumerate() {
            match (&operation.action, &operation.outcome) {
                (Action::Revoke { lease }, Outcome::NotDone(_))
                | (Action::Grant { lease, .. }, _) => {
                    self.refused(*lease, at, operation);
                }
                (Action::Revoke { lease }, outcome) => {
                    let ended = operation.ended.filter(|_| matches!(outcome, Outcome::Done(..)));
                    let name = self.names.entry(*lease).or_default();
                    name.revoked.push((operation.began, ended));
                    name.dead.extend(ended.and_then(|_| sight(at, operation)));
                }
                (
                    Action::KeepAlive { lease } | Action::Lease { lease },
                    Outcome::Done(_, Seen::Lease(status)),
                ) => self.shown(*lease, at, operation, status),
                (Action::KeepAlive { lease } | Action::Lease { lease }, _) => {
                    self.refused(*lease, at, operation);
                }
                (Action::Leases, Outcome::Done(_, Seen::Leases(leases))) => {
                    self.listed(at, operation, leases);
                }
                (Action::Write(write), outcome) => {
                    let Hang::On(lease) = write.hang else { continue };
                    if let Outcome::Done(_, Seen::Written { succeeded: true, .. }) = outcome {
                        self.was_there(lease, at, operation);
                    }
                    self.refused(lease, at, operation);
                }
                _ => {}
            }
        }
    }

    /// A refusal says whether there is such a lease, if it is about that at all.
    fn refused(&mut self, lease: u64, at: usize, operation: &Operation) {
        let Outcome::NotDone(why) = &operation.outcome else { return };
        match why.as_str() {
            "lease_not_found" => {
                let name = self.names.entry(lease).or_default();
                name.dead.extend(sight(at, operation));
            }
            "lease_exists" => self.was_there(lease, at, operation),
            _ => {}
        }
    }

    fn was_there(&mut self, lease: u64, at: usize, operation: &Operation) {
        let name = self.names.entry(lease).or_default();
        if name.lives.is_empty() {
            self.violate(format!("lease {lease} is there, and nobody asked for it"), &[OpId(at)]);
        } else if let Some(life) = name.only_life() {
            life.alive.extend(sight(at, operation));
        }
    }

    fn shown(&mut self, lease: u64, at: usize, operation: &Operation, status: &LeaseStatus) {
        let Some(sight) = sight(at, operation) else { return };
        let name = self.names.entry(lease).or_default();
        let life = name.lives.iter_mut().find(|life| life.ttl_ms == status.ttl_ms);
        let Some(life) = life else {
            let what = format!("nobody granted {lease} for {} ms", status.ttl_ms);
            return self.violate(what, &[sight.id]);
        };
        life.alive.push(sight);
        let until = operation.began + time(life.ttl_ms);
        if matches!(operation.action, Action::KeepAlive { .. }) {
            life.promises.push((until, sight.id));
        }
        // What was promised before this was asked is still there.
        let before = life.promises.iter().filter(|(_, id)| {
            self.history.operation(*id).ended.is_some_and(|ended| ended < sight.began)
        });
        let promised = before.max().copied();
        if status.lease != lease || status.remaining_ms > status.ttl_ms {
            let what = format!("lease {lease} has more left than it lives");
            self.violate(what, &[sight.id]);
        } else if let Some((until, by)) = promised
            && self.history.terms.true_clocks
            // What it has left is told in whole milliseconds.
            && sight.ended + time(status.remaining_ms + 1) < until
        {
            let what = format!(
                "lease {lease} has {} ms left, though its holder may count on more",
                status.remaining_ms
            );
            self.violate(what, &[by, sight.id]);
        }
    }

    fn listed(&mut self, at: usize, operation: &Operation, leases: &[u64]) {
        let listed: BTreeSet<u64> = leases.iter().copied().collect();
        for lease in &listed {
            self.was_there(*lease, at, operation);
        }
        let missing = self.names.iter_mut().filter(|(lease, _)| !listed.contains(lease));
        for (_, name) in missing {
            name.dead.extend(sight(at, operation));
        }
    }

    /// What pages show hangs on leases that are there; what they do not show has vanished with its own.
    fn collect_pages(&mut self, versions: &Versions) {
        let doubtful = doubtful_keys(self.history);
        let history = self.history;
        let leased: Vec<&Bytes> = versions
            .keys()
            .filter(|key| versions.of(key).any(|(_, version)| version.facts.lease > Some(0)))
            .collect();
        for (at, operation) in history.operations.iter().enumerate() {
            let Outcome::Done(header, Seen::Page { items, more }) = &operation.outcome else {
                continue;
            };
            let (Action::Read { level, .. } | Action::Scan { level, .. }) = &operation.action
            else {
                continue;
            };
            for item in items.iter().filter(|item| item.lease != 0) {
                if *level == Consistency::Linearizable {
                    self.was_there(item.lease, at, operation);
                }
            }
            for key in leased.iter().filter(|key| covers(&operation.action, items, *more, key)) {
                let shown = items.iter().any(|item| item.key == **key);
                let Some((_, newest)) = versions.newest(key, header.revision) else { continue };
                let lease = newest.facts.lease.unwrap_or(0);
                if !shown && newest.value.is_some() && lease != 0 && !doubtful.contains(*key) {
                    self.vanished(lease, operation.ended, newest.witness, OpId(at));
                }
            }
        }
    }

    /// A key that hung on this lease was gone by then, and nobody had removed it.
    fn vanished(&mut self, lease: u64, by: Option<Time>, put: Option<OpId>, seen: OpId) {
        let Some(by) = by else { return };
        let true_clocks = self.history.terms.true_clocks;
        let Some(name) = self.names.get(&lease) else { return };
        let [life] = &name.lives[..] else { return };
        let broken = life.promises.iter().find(|(until, _)| *until > by);
        if let Some((until, promise)) = broken
            && true_clocks
            && !name.may_be_revoked(life, by)
        {
            let left = until.since(by);
            let what = format!("a key was gone {left:?} before the lease {lease} could have ended");
            let slice: Vec<OpId> = put.into_iter().chain([*promise, seen]).collect();
            return self.violate(what, &slice);
        }
        let sight = Sight { began: by, ended: by, id: seen };
        self.names.entry(lease).or_default().dead.push(sight);
    }

    /// Replays all changes that a replica can still tell of.
    fn check_changes(&mut self, versions: &Versions, last: &Final) {
        let known_by = known_by(self.history);
        let mut hangs: BTreeMap<Bytes, (u64, Revision)> = BTreeMap::new();
        for together in last.events.chunk_by(|one, next| one.revision == next.revision) {
            let revision = together[0].revision;
            let mut ended = BTreeSet::new();
            for event in together {
                let Change::Delete { key } = &event.change else { continue };
                if versions.perhaps_removed.contains(key) || self.removes(versions, revision, key) {
                    continue;
                }
                match hangs.get(key) {
                    Some((0, put)) => {
                        let what = format!(
                            "key {} vanished at revision {revision}: nobody removed it, and since \
                             revision {put} it hung on no lease",
                            Text(key)
                        );
                        let author = versions.authors.get(put).copied();
                        self.violate(what, &author.into_iter().collect::<Vec<_>>());
                    }
                    Some((lease, _)) => {
                        ended.insert(*lease);
                    }
                    None => {}
                }
            }
            for lease in ended {
                self.check_end(lease, revision, together, &hangs);
                if let Some((by, id)) = known_by.range(revision..).next().map(|(_, known)| *known) {
                    self.vanished(lease, Some(by), None, id);
                }
            }
            for event in together {
                match &event.change {
                    Change::Put(item) => hangs.insert(item.key.clone(), (item.lease, revision)),
                    Change::Delete { key } => hangs.remove(key),
                };
            }
        }
    }

    /// Whether the author of a revision has removed a key.
    fn removes(&self, versions: &Versions, revision: Revision, key: &Bytes) -> bool {
        let author = versions.authors.get(&revision).map(|id| self.history.operation(*id));
        author.is_some_and(|operation| {
            matches!(&operation.action, Action::Write(write)
                if write.changes.iter().any(|(changed, value)| changed == key && value.is_none()))
        })
    }

    /// All that hung on a lease ended with it, at the same revision.
    fn check_end(
        &mut self,
        lease: u64,
        revision: Revision,
        together: &[Event],
        hangs: &BTreeMap<Bytes, (u64, Revision)>,
    ) {
        let gone: BTreeSet<&[u8]> = together.iter().map(|event| &event.key()[..]).collect();
        let stays = hangs.iter().find(|(key, (on, _))| *on == lease && !gone.contains(&key[..]));
        if let Some((key, _)) = stays {
            let what = format!(
                "lease {lease} ended at revision {revision}, and {} that hung on it is still there",
                Text(key)
            );
            self.violate(what, &[]);
        }
    }

    fn check_nothing_left(&mut self, last: &Final) {
        for item in last.items.iter().filter(|item| item.lease != 0) {
            let what = format!(
                "in the end no lease is left, and {} still hangs on {}",
                Text(&item.key),
                item.lease
            );
            self.violate(what, &[]);
        }
    }

    fn check_lives(&mut self) {
        let mut found = Vec::new();
        for (lease, name) in &self.names {
            for life in &name.lives {
                // A grant under the same name shows that this life is over.
                let others = name.lives.iter().filter(|other| other.ttl_ms != life.ttl_ms);
                let grants = others.filter_map(|other| other.alive.first());
                for dead in name.dead.iter().chain(grants) {
                    if life.alive.iter().any(|alive| alive.ended < dead.began) {
                        found.extend(self.judge_death(*lease, name, life, dead));
                    }
                }
            }
        }
        for (what, slice) in found {
            self.violate(what, &slice);
        }
    }

    /// Somebody saw that a life which had begun was over.
    fn judge_death(
        &self,
        lease: u64,
        name: &Name,
        life: &Life,
        dead: &Sight,
    ) -> Option<(String, Vec<OpId>)> {
        if let Some(alive) = life.alive.iter().find(|alive| alive.began > dead.ended) {
            let what = format!("lease {lease} was gone, and then it was there again");
            return Some((what, vec![dead.id, alive.id]));
        }
        let broken = life.promises.iter().filter(|(until, _)| *until > dead.ended).max();
        let (until, promise) = broken?;
        if !self.history.terms.true_clocks || name.may_be_revoked(life, dead.ended) {
            return None;
        }
        let left = until.since(dead.ended);
        let what = format!("lease {lease} was gone {left:?} before its holder could expect that");
        Some((what, vec![*promise, dead.id]))
    }

    fn dead(&self) -> Dead {
        let single = self.names.iter().filter(|(_, name)| name.lives.len() == 1);
        let first = |(lease, name): (&u64, &Name)| {
            let begun = &name.lives[0].alive;
            let sights = name.dead.iter().filter(|dead| begun.iter().any(|a| a.ended < dead.began));
            Some((*lease, sights.map(|dead| dead.ended).min()?))
        };
        single.filter_map(first).collect()
    }
}

fn sight(at: usize, operation: &Operation) -> Option<Sight> {
    Some(Sight { began: operation.began, ended: operation.ended?, id: OpId(at) })
}

fn time(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Keys that may have been changed by a write of which nobody knows when, or whether, it was done.
fn doubtful_keys(history: &History) -> BTreeSet<Bytes> {
    let mut doubtful = BTreeSet::new();
    for operation in &history.operations {
        if let (Action::Write(write), Outcome::Pending | Outcome::Unknown(_)) =
            (&operation.action, &operation.outcome)
        {
            doubtful.extend(write.changes.iter().map(|(key, _)| key.clone()));
        }
    }
    doubtful
}

/// By revision: when it surely existed, and who knows that. Whoever has seen a later one knows it, too.
fn known_by(history: &History) -> BTreeMap<Revision, (Time, OpId)> {
    let mut known: BTreeMap<Revision, (Time, OpId)> = BTreeMap::new();
    for (at, operation) in history.operations.iter().enumerate() {
        if let (Outcome::Done(header, _), Some(ended)) = (&operation.outcome, operation.ended) {
            let first = known.entry(header.revision).or_insert((ended, OpId(at)));
            *first = (*first).min((ended, OpId(at)));
        }
    }
    let mut first = None;
    for known in known.values_mut().rev() {
        let earlier = first.map_or(*known, |first| (*known).min(first));
        *known = earlier;
        first = Some(earlier);
    }
    known
}
