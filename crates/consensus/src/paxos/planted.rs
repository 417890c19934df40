//! Mistakes that a test may plant, to show that the simulation would find them.
//!
//! Each stands where the right line stands, as `if self.planted(Planted::…)`. Without the feature
//! `planted` that is the constant `false`, and nothing of it is left in the program.

/// A classic mistake in an implementation of Paxos.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(feature = "planted"),
    expect(unreachable_pub, reason = "the module is public with the feature only")
)]
pub enum Planted {
    /// A promise leaves before it is on disk, and so does a candidate's question.
    PromiseBeforeDurable,
    /// An acknowledgement leaves before its slots are on disk.
    AckBeforeDurable,
    /// An acceptor accepts below what it has promised (*Paxos Made Simple* §2.2, P1a).
    AcceptBelowPromise,
    /// A new leader proposes the first value that it hears of a slot, not that of the highest ballot
    /// (P2c).
    FirstValueHeard,
    /// A new leader proposes only what it has accepted itself.
    OwnValuesOnly,
    /// A promise ends at the first gap.
    PromiseStopsAtGap,
    /// An acceptor does not write a value anew that it has already accepted under an earlier ballot.
    SameValueNotWritten,
    /// A leader counts acknowledgements that were given to an earlier ballot.
    CountsOlderBallots,
    /// A learner takes what it accepted under an earlier ballot for what this leader had chosen.
    LearnsOlderBallots,
    /// A quorum of phase 1 is one acceptor too small to meet each quorum of phase 2.
    QuorumsDoNotMeet,
    /// A leader serves reads without asking whether it still leads.
    ReadWithoutQuorum,
    /// A new leader serves reads before it knows what is chosen.
    ReadBeforeReady,
    /// An acceptor whose base moves drops what it has accepted after it.
    BaseDropsAcceptances,
    /// What was accepted under any ballot counts as chosen where another's log has begun after it.
    AnyBallotBelowBase,
    /// After a restart all slots that the image covers are taken for chosen as they are.
    ImageProvesSlots,
    /// A new leader revives what an earlier leader had proved not to be chosen.
    RevivesTheDead,
    /// While the voters change, the new ones alone decide.
    NewVotersAlone,
    /// A change of the members begins before the one before it is chosen.
    ChangeBeforeChosen,
    /// A membership is proposed before a quorum holds all that comes before it.
    ChangeBeforeHeld,
    /// A candidate counts promises by the membership that it has accepted itself, whatever they reveal.
    PromisedMembersIgnored,
    /// The target of a hand-over is told to stand before it has all that the leader has (Ongaro's thesis §3.10).
    HandOverToLagging,
    /// A leader goes on to take proposals while it hands over (Ongaro's thesis §3.10).
    ProposesInHandOver,
    /// A witness stands for election, leads and serves.
    WitnessStands,
    /// A witness acknowledges before its slots are on disk.
    WitnessAckBeforeDurable,
}
