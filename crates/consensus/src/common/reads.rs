//! Reads that wait at a leader for a quorum's word that it still leads.
//!
//! One round of questions serves all reads that waited when it began; what comes meanwhile waits for
//! the next. A round is a number that the leader's messages carry and their answers echo, so under load
//! it costs nothing extra. Whether a round may begin, and who has confirmed it, the protocol says.
//!
//! # Invariants
//!
//! * A read is in one round; it is served at the commit index of that round's beginning.

use crate::{LogIndex, ReadId};

/// Most reads that wait at a leader; the next ones are refused.
const MAX_READS: usize = 1 << 16;

#[derive(Clone, Default, Hash)]
pub(crate) struct Reads {
    /// The latest round that was begun.
    round: u64,
    /// Reads that wait for a round to begin.
    waiting: Vec<ReadId>,
    /// The round that reads wait for, their read index, and the reads.
    asked: Option<(u64, LogIndex, Vec<ReadId>)>,
}

impl Reads {
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
    pub(crate) fn begin(&mut self, commit: LogIndex) -> bool {
        if self.asked.is_some() || self.waiting.is_empty() {
            return false;
        }
        self.round += 1;
        self.asked = Some((self.round, commit, std::mem::take(&mut self.waiting)));
        true
    }

    /// Begins a round though no read waits, for a lease.
    pub(crate) fn begin_empty(&mut self) {
        self.round += 1;
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
