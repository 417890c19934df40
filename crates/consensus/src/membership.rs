//! Who belongs to a group, and how one set of voters gives way to another.
//!
//! A membership is a log entry like a command, and is in force at a replica as soon as it stands in its
//! log, committed or not. Voters change in two entries: first a *joint* membership, in which each quorum
//! is one of the old voters and one of the new; once that is committed, the new voters alone. So there
//! is never a moment with two quorums that do not share a voter, and once the second entry is committed
//! the old voters are needed no more. Learners come and go in one entry: they count for nothing.
//!
//! A *witness* is a voter, or a learner that is to be one, that keeps the log and no data: its vote and its
//! acknowledgements count like any other's, its host applies nothing. So a group of two data replicas and
//! a witness goes on without any one of them, for the price of two copies of the data.
//!
//! # Invariants
//!
//! * A leader begins a change only when the membership in force is committed and not joint, and an
//!   entry of its own epoch is committed. So at most one change is under way, whoever leads next.
//! * Who becomes a voter was a learner in the membership before: so whoever may stand for election stands in
//!   one that is committed, and a replica that lost its promises finds it there.
//! * No replica is voter and learner at once. A group has at least one voter and at most
//!   [`MAX_VOTERS`]; the empty membership is that of a replica which has not been told yet.
//! * Each quorum has a voter that holds the data: witnesses are fewer than a majority, of the old voters and
//!   of the new. Otherwise witnesses alone could commit what no data replica has, drop it from their logs as
//!   committed, and nobody would have it.
//! * A replica is a witness from the first membership that names it to the last, or in none of them. So
//!   whoever knows it in any of them knows what it is, and no data is believed where there is none.
//!
//! # Reference
//!
//! Ongaro, *Consensus: Bridging Theory and Practice* (2014), §4.3 (joint consensus), §4.2.1 (learners,
//! there "non-voting servers"). What Multi-Paxos and Zab need beyond it is argued in their modules.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::quorum::{MAX_VOTERS, majority, reached};
use crate::{Entry, LogIndex, Payload, ReplicaId};

/// Most members that are no voters. Each is sent the whole log.
pub const MAX_LEARNERS: usize = 16;

/// Who belongs to a group, and as what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Who votes.
    pub voters: BTreeSet<ReplicaId>,
    /// While the voters change: who voted before, and must agree still. Otherwise empty.
    pub outgoing: BTreeSet<ReplicaId>,
    /// Who is sent the log without a vote: to catch up before it gets one, or to serve reads.
    pub learners: BTreeSet<ReplicaId>,
    /// Which of all these keep the log without the data.
    pub witnesses: BTreeSet<ReplicaId>,
    /// The host's: opaque here. Where the members are to be found, for one.
    pub context: Bytes,
}

impl Membership {
    /// These voters, and nobody else.
    pub fn of(voters: BTreeSet<ReplicaId>) -> Self {
        Self { voters, ..Self::default() }
    }

    /// Whether this replica keeps the log without the data.
    pub fn is_witness(&self, id: ReplicaId) -> bool {
        self.witnesses.contains(&id)
    }

    /// Whether leadership may be handed to this replica: a voter that holds the data.
    pub fn may_be_handed(&self, id: ReplicaId) -> bool {
        self.voters.contains(&id) && !self.is_witness(id)
    }

    /// Whether the voters are changing.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether nobody is known to belong to the group: a replica that joins has yet to be told.
    pub fn is_unknown(&self) -> bool {
        self.voters.is_empty()
    }

    /// Whether this replica's vote counts, among the old voters or the new.
    pub fn is_voter(&self, id: ReplicaId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// Whether this replica belongs to the group.
    pub fn contains(&self, id: ReplicaId) -> bool {
        self.is_voter(id) || self.learners.contains(&id)
    }

    /// Whose votes count, in order.
    pub fn all_voters(&self) -> BTreeSet<ReplicaId> {
        self.voters.union(&self.outgoing).copied().collect()
    }

    /// All members but this one, in order.
    pub fn others(&self, id: ReplicaId) -> Vec<ReplicaId> {
        let mut all = self.all_voters();
        all.extend(&self.learners);
        all.into_iter().filter(|member| *member != id).collect()
    }

    /// Whether this replica is the only voter, so that nobody else could decide anything.
    pub fn is_alone(&self, id: ReplicaId) -> bool {
        self.all_voters() == BTreeSet::from([id])
    }

    /// Whether those for whom `has` holds are a quorum: a majority of the voters, and while these change
    /// of the outgoing too. Nobody is a quorum of an unknown membership.
    pub fn is_quorum(&self, has: impl Fn(ReplicaId) -> bool) -> bool {
        let of = |set: &BTreeSet<ReplicaId>| {
            set.iter().filter(|id| has(**id)).count() >= majority(set.len())
        };
        !self.is_unknown() && of(&self.voters) && (self.outgoing.is_empty() || of(&self.outgoing))
    }

    /// The highest value that a quorum has reached, given what each voter has reached. Nothing is
    /// reached in an unknown membership.
    pub fn reached<T: Copy + Ord + Default>(&self, value: impl Fn(ReplicaId) -> T) -> T {
        if self.is_unknown() {
            return T::default();
        }
        let of = |set: &BTreeSet<ReplicaId>| reached(set.iter().map(|id| value(*id)));
        let new = of(&self.voters);
        if self.outgoing.is_empty() { new } else { new.min(of(&self.outgoing)) }
    }

    /// Whether this replica may be a voter of the next one.
    pub fn may_vote_next(&self, id: ReplicaId) -> bool {
        self.voters.contains(&id) || self.learners.contains(&id)
    }

    /// Whether no member of both would be turned into a witness, or from one into a data replica.
    pub fn keeps_natures(&self, next: &Self) -> bool {
        let mut both = self.witnesses.symmetric_difference(&next.witnesses);
        both.all(|id| !self.contains(*id) || !next.contains(*id))
    }

    /// What a leader appends to go from here to `target`: a joint membership if the voters differ.
    #[must_use]
    pub fn towards(&self, target: Self) -> Self {
        let outgoing =
            if self.voters == target.voters { BTreeSet::new() } else { self.voters.clone() };
        // Who votes still does not learn yet.
        let learners = target.learners.difference(&outgoing).copied().collect();
        let leaving = self.witnesses.intersection(&outgoing);
        let witnesses = target.witnesses.union(&leaving.copied().collect()).copied().collect();
        Self { outgoing, learners, witnesses, ..target }
    }

    /// The membership that ends a change: the new voters alone.
    #[must_use]
    pub fn settled(&self) -> Self {
        let mut settled = Self { outgoing: BTreeSet::new(), ..self.clone() };
        let gone = |id: &ReplicaId| !self.voters.contains(id) && !self.learners.contains(id);
        settled.witnesses.retain(|id| !gone(id));
        settled
    }

    /// The same without the host's context: who decides.
    #[must_use]
    pub fn without_context(&self) -> Self {
        Self { context: Bytes::new(), ..self.clone() }
    }

    /// Whether it can be one, as it comes from outside.
    pub fn check(&self) -> Result<(), &'static str> {
        if self.voters.is_empty() {
            return Err("a group has at least one voter");
        }
        if self.voters.len() > MAX_VOTERS || self.outgoing.len() > MAX_VOTERS {
            return Err("a group has at most nine voters");
        }
        if self.learners.len() > MAX_LEARNERS {
            return Err("a group has at most sixteen learners");
        }
        if self.learners.iter().any(|id| self.is_voter(*id)) {
            return Err("a voter is no learner");
        }
        if self.witnesses.iter().any(|id| !self.contains(*id)) {
            return Err("a witness is a member");
        }
        if !self.outweighs_witnesses(&self.voters) || !self.outweighs_witnesses(&self.outgoing) {
            return Err("witnesses are fewer than a majority of the voters");
        }
        Ok(())
    }

    /// Whether each majority of these voters has one that holds the data.
    fn outweighs_witnesses(&self, voters: &BTreeSet<ReplicaId>) -> bool {
        let witnesses = voters.intersection(&self.witnesses).count();
        witnesses == 0 || witnesses < majority(voters.len())
    }
}

/// The memberships that a log holds: the one in force at its base, and those of its entries.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Memberships {
    base: Arc<Membership>,
    later: Vec<(LogIndex, Arc<Membership>)>,
}

impl Memberships {
    pub(crate) fn new(base: Arc<Membership>) -> Self {
        Self { base, later: Vec::new() }
    }

    /// The one in force: the last.
    pub(crate) fn latest(&self) -> &Arc<Membership> {
        self.later.last().map_or(&self.base, |(_, membership)| membership)
    }

    /// The one that was in force before it; the same if the log does not hold that any more.
    pub(crate) fn before_latest(&self) -> &Arc<Membership> {
        let before = self.later.len().checked_sub(2).map(|at| &self.later[at].1);
        before.unwrap_or(&self.base)
    }

    /// Where the one in force stands; 0 if that is not after the log's base.
    pub(crate) fn latest_index(&self) -> LogIndex {
        self.later.last().map_or(LogIndex(0), |(index, _)| *index)
    }

    /// Where the first of those memberships stands that do not want this replica's vote any more, if the ones
    /// up to now agree on that; 0 if that is not after the log's base. None if its vote is wanted, or never was
    /// as far as is known.
    pub(crate) fn leaves_at(&self, id: ReplicaId) -> Option<LogIndex> {
        let leaves = |membership: &Membership| !membership.voters.contains(&id);
        let staying = self.later.iter().rposition(|(_, membership)| !leaves(membership));
        let first = staying.map_or(0, |last| last + 1);
        if staying.is_none() && leaves(&self.base) {
            return self.base.outgoing.contains(&id).then_some(LogIndex(0));
        }
        self.later.get(first).map(|(index, _)| *index)
    }

    /// Whether any of them knows this replica as a witness.
    pub(crate) fn is_witness(&self, id: ReplicaId) -> bool {
        let later = self.later.iter().map(|(_, membership)| membership);
        later.chain([&self.base]).any(|membership| membership.is_witness(id))
    }

    /// The one in force at the log's base.
    pub(crate) fn base(&self) -> &Arc<Membership> {
        &self.base
    }

    /// Takes note of an entry that was appended.
    pub(crate) fn append(&mut self, entry: &Entry) {
        if let Payload::Membership(membership) = &entry.payload {
            self.later.push((entry.position.index, Arc::clone(membership)));
        }
    }

    /// Takes note of entries that were put at consecutive places, over whatever was there.
    pub(crate) fn put(&mut self, entries: &[Entry]) {
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { return };
        let (first, last) = (first.position.index, last.position.index);
        let begin = self.later.partition_point(|(index, _)| *index < first);
        let end = self.later.partition_point(|(index, _)| *index <= last);
        let new = entries.iter().filter_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some((entry.position.index, Arc::clone(membership))),
            Payload::Noop | Payload::Command(_) => None,
        });
        self.later.splice(begin..end, new);
    }

    /// Where those after the base stand, in order.
    pub(crate) fn places(&self) -> impl DoubleEndedIterator<Item = LogIndex> {
        self.later.iter().map(|(index, _)| *index)
    }

    /// `from` and all that follows it is gone.
    pub(crate) fn truncate(&mut self, from: LogIndex) {
        self.later.retain(|(index, _)| *index < from);
    }

    /// The log begins after `through` now.
    pub(crate) fn compact(&mut self, through: LogIndex) {
        let passed = self.later.partition_point(|(index, _)| *index <= through);
        if let Some((_, membership)) = self.later.drain(..passed).next_back() {
            self.base = membership;
        }
    }

    /// The log begins after `through` now, where this membership is in force, whatever it held up to there.
    pub(crate) fn rebase(&mut self, through: LogIndex, membership: Arc<Membership>) {
        self.later.retain(|(index, _)| *index > through);
        self.base = membership;
    }

    /// The log is empty, and this membership is in force.
    pub(crate) fn reset(&mut self, base: Arc<Membership>) {
        *self = Self::new(base);
    }
}

#[cfg(test)]
mod tests;
