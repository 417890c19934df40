//! Mistakes that a test may plant, to show that the simulation would find them.
//!
//! Each stands where the right line stands, as `if self.planted(Planted::…)`. Without the feature
//! `planted` that is the constant `false`, and nothing of it is left in the program.

/// A classic mistake in an implementation of Zab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(feature = "planted"),
    expect(unreachable_pub, reason = "the module is public with the feature only")
)]
pub enum Planted {
    /// An epoch is promised before that is on disk (phase 1).
    PromiseBeforeDurable,
    /// A follower accepts an epoch below one that it has promised.
    LowerEpochAccepted,
    /// A follower promises an epoch that it has promised to another.
    EpochPromisedTwice,
    /// A repeated promise is counted as another one.
    PromiseCountedTwice,
    /// Neither votes nor promises compare zxids: a leader may lack what is committed.
    ElectedWithoutComparing,
    /// A follower that is told to truncate its log goes on behind what it should have cut (phase 2).
    SyncWithoutTruncate,
    /// A leader commits what earlier leaders proposed before a quorum has acknowledged NEWLEADER.
    CommitBeforeNewLeader,
    /// A follower commits what its leader has committed before their logs are known to agree.
    CommitBeyondSync,
    /// An acknowledgement leaves before its entries are on disk.
    AckBeforeDurable,
    /// A leader counts its own entries before they are on disk.
    OwnAckBeforeDurable,
    /// A leader believes acknowledgements that were given in another epoch.
    AckOfOtherEpoch,
    /// A follower takes the proposals of a leader whose epoch is over.
    StaleProposalAccepted,
    /// A follower takes proposals without looking at what they follow.
    GapAccepted,
    /// A leader serves reads without asking whether it still leads.
    ReadWithoutQuorum,
    /// A new leader serves reads before it is established.
    ReadBeforeEstablished,
    /// Any answer in an epoch confirms a read round, also one that was given before the round began.
    OldAnswerConfirmsReads,
    /// A replica whose disk has lost promises gives new ones at once.
    PromiseInDoubt,
    /// While the voters change, the new ones alone decide.
    NewVotersAlone,
    /// A change of the members begins before the one before it is committed.
    ChangeBeforeCommit,
    /// A new leader with a joint membership in its history is established by the new voters alone.
    NewLeaderWithoutOutgoing,
    /// Votes and promises of learners count.
    LearnersCounted,
    /// The target of a hand-over is told to stand before it has all that the leader has (Ongaro's thesis §3.10).
    HandOverToLagging,
    /// A leader goes on to take proposals while it hands over (Ongaro's thesis §3.10).
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
