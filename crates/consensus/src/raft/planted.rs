//! Mistakes that a test may plant, to show that the simulation would find them.
//!
//! Each stands where the right line stands, as `if self.planted(Planted::…)`. Without the feature
//! `planted` that is the constant `false`, and nothing of it is left in the program.

/// A classic mistake in an implementation of Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(feature = "planted"),
    expect(unreachable_pub, reason = "the module is public with the feature only")
)]
pub enum Planted {
    /// A leader commits entries of earlier terms by counting replicas (§5.4.2, figure 8).
    CommitOldTermByCounting,
    /// A vote leaves before it is on disk.
    VoteBeforeDurable,
    /// An acknowledgement leaves before its entries are on disk.
    AckBeforeDurable,
    /// A vote is given without comparing logs (§5.4.1).
    NoElectionRestriction,
    /// A leader serves reads without asking whether it still leads.
    ReadWithoutQuorum,
    /// A new leader serves reads before it knows what is committed.
    ReadBeforeTermCommit,
    /// An Append cuts the log after its last entry, though nothing there conflicts (§5.3).
    AlwaysTruncate,
    /// A repeated grant is counted as another vote.
    VoteCountedTwice,
    /// A leader believes acknowledgements that were given to an earlier leader.
    MatchFromOtherTerm,
    /// A follower takes the entries of a leader whose term is over (§5.1).
    StaleAppendAccepted,
    /// A follower commits what its leader has committed, beyond what their logs were seen to have in
    /// common (figure 2, step 5 of the receiver).
    CommitBeyondMatch,
    /// Any answer in a term confirms a read round, also one that was given before the round began
    /// (thesis §6.4, step 3).
    OldAnswerConfirmsReads,
    /// While the voters change, the new ones alone decide (thesis §4.3).
    NewVotersAlone,
    /// A change of the members begins before the one before it is committed.
    ChangeBeforeCommit,
    /// The target of a hand-over is told to stand before it has all that the leader has (thesis §3.10).
    HandOverToLagging,
    /// A leader goes on to take proposals while it hands over (thesis §3.10).
    ProposesInHandOver,
    /// A witness that leads takes proposals and serves reads.
    WitnessServes,
    /// A witness does not stand, though it may be the only one with all that is committed.
    WitnessNeverStands,
    /// A witness that leads hands over to one that lacks what it has.
    WitnessHandsOverEarly,
    /// A witness acknowledges before its entries are on disk.
    WitnessAckBeforeDurable,
}
