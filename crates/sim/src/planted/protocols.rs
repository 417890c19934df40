//! Mistakes in the rules of the consensus protocols: name, what it is named after, mistake. Those that whole
//! clusters meet too rarely are found by the crate's own storms and tests alone.

use consensus::Planted;
use consensus::paxos::Planted as Paxos;
use consensus::raft::Planted as Raft;
use consensus::zab::Planted as Zab;

type Row<M> = (&'static str, &'static str, M);

const RAFT: [Row<Raft>; 12] = [
    ("commit-old-term-by-counting", "Raft §5.4.2, figure 8", Raft::CommitOldTermByCounting),
    ("vote-before-durable", "Raft figure 2, persistent state", Raft::VoteBeforeDurable),
    ("ack-before-durable", "Raft figure 2; NATS 2.12.1 by Jepsen", Raft::AckBeforeDurable),
    ("no-election-restriction", "Raft §5.4.1", Raft::NoElectionRestriction),
    ("read-without-quorum", "Raft §8; Redis-Raft by Jepsen", Raft::ReadWithoutQuorum),
    ("read-before-term-commit", "thesis §6.4, step 1", Raft::ReadBeforeTermCommit),
    ("old-answer-confirms-reads", "thesis §6.4, step 3", Raft::OldAnswerConfirmsReads),
    ("always-truncate", "Raft figure 2, AppendEntries 3", Raft::AlwaysTruncate),
    ("commit-beyond-match", "Raft figure 2, AppendEntries 5", Raft::CommitBeyondMatch),
    ("stale-append-accepted", "Raft figure 2, AppendEntries 1", Raft::StaleAppendAccepted),
    ("vote-counted-twice", "Raft §5.2", Raft::VoteCountedTwice),
    ("match-from-other-term", "Raft §5.3, matchIndex", Raft::MatchFromOtherTerm),
];

const PAXOS: [Row<Paxos>; 12] = [
    ("paxos-promise-before-durable", "Paxos Made Simple §2.5", Paxos::PromiseBeforeDurable),
    ("paxos-ack-before-durable", "Paxos Made Simple §2.5", Paxos::AckBeforeDurable),
    ("paxos-accept-below-promise", "Paxos Made Simple §2.2, P1a", Paxos::AcceptBelowPromise),
    ("paxos-first-value-heard", "Paxos Made Simple §2.2, P2c", Paxos::FirstValueHeard),
    ("paxos-own-values-only", "Paxos Made Simple §2.2, P2c", Paxos::OwnValuesOnly),
    ("paxos-promise-stops-at-gap", "PMMC §2.2, acceptors", Paxos::PromiseStopsAtGap),
    ("paxos-same-value-not-written", "Paxos Made Simple §2.2, P2b", Paxos::SameValueNotWritten),
    ("paxos-learns-older-ballots", "PMMC §4.4, colocation", Paxos::LearnsOlderBallots),
    ("paxos-quorums-do-not-meet", "Flexible Paxos §3", Paxos::QuorumsDoNotMeet),
    ("paxos-read-without-quorum", "Redis-Raft by Jepsen", Paxos::ReadWithoutQuorum),
    ("paxos-read-before-ready", "Ongaro's thesis §6.4, step 1", Paxos::ReadBeforeReady),
    ("paxos-base-drops-acceptances", "PMMC §4.2, state transfer", Paxos::BaseDropsAcceptances),
];

const ZAB: [Row<Zab>; 11] = [
    ("zab-promise-before-durable", "Zab §IV.A, phase 1", Zab::PromiseBeforeDurable),
    ("zab-lower-epoch-accepted", "Zab §IV.A, phase 1", Zab::LowerEpochAccepted),
    ("zab-elected-without-comparing", "Medeiros §4.2", Zab::ElectedWithoutComparing),
    ("zab-sync-without-truncate", "Medeiros §4.3, TRUNC", Zab::SyncWithoutTruncate),
    ("zab-commit-before-new-leader", "Zab §IV.A, phase 2", Zab::CommitBeforeNewLeader),
    ("zab-ack-before-durable", "Zab §IV.A, phase 3", Zab::AckBeforeDurable),
    ("zab-own-ack-before-durable", "Zab §IV.A, phase 3", Zab::OwnAckBeforeDurable),
    ("zab-stale-proposal-accepted", "Zab §IV.A, phase 3", Zab::StaleProposalAccepted),
    ("zab-gap-accepted", "Zab §III, local primary order", Zab::GapAccepted),
    ("zab-read-before-established", "Zab §III, primary integrity", Zab::ReadBeforeEstablished),
    ("zab-promise-in-doubt", "Alagappan et al., FAST 2018", Zab::PromiseInDoubt),
];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Row<Planted>> {
    let raft = RAFT.map(|(name, after, mistake)| (name, after, Planted::Raft(mistake)));
    let paxos = PAXOS.map(|(name, after, mistake)| (name, after, Planted::Paxos(mistake)));
    let zab = ZAB.map(|(name, after, mistake)| (name, after, Planted::Zab(mistake)));
    raft.into_iter().chain(paxos).chain(zab)
}
