//! Reads that wait at a leader for a quorum's word that it still leads.
//!
//! One round of questions serves all reads that waited when it began; what comes meanwhile waits for
//! the next. A round is a number that the leader's messages carry and their answers echo, so under load
//! it costs nothing extra. Whether a round may begin, and who has confirmed it, the protocol says. A leader's
//! lease counts from the beginnings of rounds, so it is kept here: see `common::lease`.
//!
//! # Invariants
//!
//! * A read is in one round; it is served at the commit index of that round's beginning.

use std::time::Duration;

use crate::{Config, LogIndex, ReadId, Time};

use super::lease::Lease;

/// Most reads that wait at a leader; the next ones are refused.
const MAX_READS: usize = 1 << 16;

#[derive(Clone, Hash)]
pub(crate) struct Reads {
    /// The latest round that was begun.
    round: u64,
    /// Reads that wait for a round to begin.
    waiting: Vec<ReadId>,
    /// The round that reads wait for, their read index, and the reads.
    asked: Option<(u64, LogIndex, Vec<ReadId>)>,
    lease: Option<Lease>,
}

impl Reads {
    /// Those of a new leader.
    pub(crate) fn new(config: &Config) -> Self {
        Self { round: 0, waiting: Vec::new(), asked: None, lease: Lease::new(config) }
    }

    pub(crate) fn round(&self) -> u64 {
        self.round
    }

    /// Lets these wait for the next round, or gives them back if too many wait already.
    pub(crate) fn add(&mut self, reads: Vec<ReadId>) -> Result<(), Vec<ReadId>> {
        let asked = self.asked.as_ref().map_or(0, |(_, _, reads)| reads.len());
        if self.waiting.len() + asked + reads.len() > MAX_READS {
            return Err(reads);
        }
        self.waiting.extend(reads);
        Ok(())
    }

    /// Begins a round for the reads that wait, unless one is under way; tells whether it did.
    pub(crate) fn begin(&mut self, commit: LogIndex, now: Time) -> bool {
        if self.asked.is_some() || self.waiting.is_empty() {
            return false;
        }
        self.next_round(now);
        self.asked = Some((self.round, commit, std::mem::take(&mut self.waiting)));
        true
    }

    /// Begins a round though no read waits, if there is to be a lease.
    pub(crate) fn begin_for_lease(&mut self, now: Time) {
        if self.lease.is_some() {
            self.next_round(now);
        }
    }

    fn next_round(&mut self, now: Time) {
        self.round += 1;
        if let Some(lease) = &mut self.lease {
            lease.began(self.round, now);
        }
    }

    /// Until when one elects nobody else that has promised this in its answer to `round`, which came `now`.
    pub(crate) fn granted_until(&self, round: u64, promise: Duration, now: Time) -> Time {
        self.lease.as_ref().map_or(Time::default(), |lease| lease.until(round, promise, now))
    }

    /// Whether nobody else can have been elected by `now`: a quorum has promised so until `until` says.
    pub(crate) fn has_lease(&self, until: impl FnOnce() -> Time, now: Time) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.holds(until(), now))
    }

    /// See [`Lease::members_change`].
    pub(crate) fn members_change(&mut self) -> bool {
        self.lease.as_mut().is_some_and(Lease::members_change)
    }

    /// The leader is about to hand over: it has no lease again.
    pub(crate) fn give_up_lease(&mut self) {
        if let Some(lease) = &mut self.lease {
            lease.give_up();
        }
    }

    /// A quorum has confirmed all rounds up to `round`: the reads of the one under way, if it is among
    /// them, and their read index.
    pub(crate) fn confirmed(&mut self, round: u64) -> Option<(LogIndex, Vec<ReadId>)> {
        let (_, at, reads) = self.asked.take_if(|(asked, _, _)| *asked <= round)?;
        Some((at, reads))
    }

    /// All reads that have not been served; the leader is none any more.
    pub(crate) fn take_all(&mut self) -> Vec<ReadId> {
        let mut all = self.asked.take().map_or_else(Vec::new, |(_, _, reads)| reads);
        all.append(&mut self.waiting);
        all
    }
}
