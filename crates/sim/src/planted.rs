//! Mistakes that a run may plant in its nodes, to show that the checkers find them.
//!
//! Without the feature `planted` there are none, and their names are refused.

use std::fmt;

/// One mistake, by the name that the command line knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted {
    name: &'static str,
    #[cfg(feature = "planted")]
    place: Place,
}

#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Raft(consensus::raft::Planted),
    Journal(journal::Planted),
    Engine(engine::Planted),
    Node(node::Planted),
}

impl fmt::Display for Planted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(not(feature = "planted"))]
impl Planted {
    /// All mistakes: none without the feature `planted`.
    pub fn all() -> Vec<Self> {
        Vec::new()
    }
}

#[cfg(feature = "planted")]
impl Planted {
    /// All mistakes.
    pub fn all() -> Vec<Self> {
        use consensus::raft::Planted as Raft;
        use engine::Planted as Engine;
        use journal::Planted as Journal;
        use node::Planted as Node;
        let raft = [
            ("commit-old-term-by-counting", Raft::CommitOldTermByCounting),
            ("vote-before-durable", Raft::VoteBeforeDurable),
            ("ack-before-durable", Raft::AckBeforeDurable),
            ("no-election-restriction", Raft::NoElectionRestriction),
            ("read-without-quorum", Raft::ReadWithoutQuorum),
            ("read-before-term-commit", Raft::ReadBeforeTermCommit),
            ("always-truncate", Raft::AlwaysTruncate),
            ("vote-counted-twice", Raft::VoteCountedTwice),
            ("match-from-other-term", Raft::MatchFromOtherTerm),
        ];
        let journal = [
            ("ignore-sync-failure", Journal::IgnoreSyncFailure),
            ("retry-sync-failure", Journal::RetrySyncFailure),
            ("torn-record-taken-whole", Journal::TornRecordTakenWhole),
            ("damaged-middle-as-torn-tail", Journal::DamagedMiddleAsTornTail),
            ("recycled-records-believed", Journal::RecycledRecordsBelieved),
        ];
        let engine = [
            ("applied-not-atomic", Engine::AppliedNotAtomic),
            ("compaction-drops-live", Engine::CompactionDropsLive),
        ];
        let node = [
            ("answer-before-commit", Node::AnswerBeforeCommit),
            ("forget-requests", Node::ForgetRequests),
            ("snapshot-loses-requests", Node::SnapshotLosesRequests),
            ("believe-other-clusters", Node::BelieveOtherClusters),
            ("watch-skips-revision", Node::WatchSkipsRevision),
            ("ignore-barriers", Node::IgnoreBarriers),
        ];
        let mut all = Vec::new();
        all.extend(raft.map(|(name, mistake)| Self { name, place: Place::Raft(mistake) }));
        all.extend(journal.map(|(name, mistake)| Self { name, place: Place::Journal(mistake) }));
        all.extend(engine.map(|(name, mistake)| Self { name, place: Place::Engine(mistake) }));
        all.extend(node.map(|(name, mistake)| Self { name, place: Place::Node(mistake) }));
        all
    }

    pub(crate) fn raft(self) -> Option<consensus::raft::Planted> {
        if let Place::Raft(mistake) = self.place { Some(mistake) } else { None }
    }

    pub(crate) fn journal(self) -> Option<journal::Planted> {
        if let Place::Journal(mistake) = self.place { Some(mistake) } else { None }
    }

    pub(crate) fn engine(self) -> Option<engine::Planted> {
        if let Place::Engine(mistake) = self.place { Some(mistake) } else { None }
    }

    pub(crate) fn node(self) -> Option<node::Planted> {
        if let Place::Node(mistake) = self.place { Some(mistake) } else { None }
    }
}

impl Planted {
    /// The mistake of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|planted| planted.name == name)
    }

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        self.name
    }
}
