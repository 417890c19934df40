//! Watches that wait for a change.
//!
//! A watch is a cursor, not a queue: it waits here only while there is nothing for it, and what it
//! then gets is read from the history of versions. A slow watcher asks late and costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use consensus::Time;
use wire::{KeyRange, Principal, Revision};

use crate::Ticket;

/// What a watch asks for.
#[derive(Debug)]
pub(crate) struct Watched {
    /// Which keys.
    pub(crate) range: KeyRange,
    /// First revision of interest.
    pub(crate) from: Revision,
    /// Whether it wants to know what was before.
    pub(crate) previous: bool,
    /// Who asks.
    pub(crate) principal: Option<Principal>,
}

/// A watch that waits.
#[derive(Debug)]
struct Parked {
    watched: Watched,
    deadline: Time,
}

/// All watches of one group that wait.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    parked: BTreeMap<Ticket, Parked>,
    deadlines: BTreeSet<(Time, Ticket)>,
    changed: BTreeSet<Bytes>,
}

impl Watches {
    /// Lets a watch wait until `deadline`.
    pub(crate) fn park(&mut self, ticket: Ticket, watched: Watched, deadline: Time) {
        self.deadlines.insert((deadline, ticket));
        self.parked.insert(ticket, Parked { watched, deadline });
    }

    /// Notes what a command has changed.
    pub(crate) fn note(&mut self, changed: Vec<Bytes>) {
        if !self.parked.is_empty() {
            self.changed.extend(changed);
        }
    }

    /// Those for which something was noted since the last call.
    pub(crate) fn woken(&mut self) -> Vec<(Ticket, Watched)> {
        let changed = std::mem::take(&mut self.changed);
        if changed.is_empty() {
            return Vec::new();
        }
        let touched = |range: &KeyRange| {
            changed.range(range.start.clone()..).next().is_some_and(|key| range.contains(key))
        };
        let woken = self.parked.iter().filter(|(_, parked)| touched(&parked.watched.range));
        let woken: Vec<Ticket> = woken.map(|(ticket, _)| *ticket).collect();
        woken.into_iter().filter_map(|ticket| self.remove(ticket)).collect()
    }

    /// Those that have waited long enough.
    pub(crate) fn expired(&mut self, now: Time) -> Vec<(Ticket, Watched)> {
        let mut expired = Vec::new();
        while let Some(&(deadline, ticket)) = self.deadlines.first()
            && deadline <= now
        {
            expired.extend(self.remove(ticket));
        }
        expired
    }

    /// All of them: the state they wait on was replaced.
    pub(crate) fn drain(&mut self) -> Vec<(Ticket, Watched)> {
        self.deadlines.clear();
        let parked = std::mem::take(&mut self.parked).into_iter();
        parked.map(|(ticket, parked)| (ticket, parked.watched)).collect()
    }

    /// Those that may not wait any more.
    pub(crate) fn barred(&mut self, may: impl Fn(&Watched) -> bool) -> Vec<(Ticket, Watched)> {
        let barred = self.parked.iter().filter(|(_, parked)| !may(&parked.watched));
        let barred: Vec<Ticket> = barred.map(|(ticket, _)| *ticket).collect();
        barred.into_iter().filter_map(|ticket| Some((ticket, self.remove(ticket)?.1))).collect()
    }

    /// Forgets a watch whose client has gone.
    pub(crate) fn cancel(&mut self, ticket: Ticket) -> bool {
        self.remove(ticket).is_some()
    }

    /// When the first of them will have waited long enough.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.parked.len()
    }

    fn remove(&mut self, ticket: Ticket) -> Option<(Ticket, Watched)> {
        let parked = self.parked.remove(&ticket)?;
        self.deadlines.remove(&(parked.deadline, ticket));
        Some((ticket, parked.watched))
    }
}
