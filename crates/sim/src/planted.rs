//! Mistakes that a run may plant in its nodes, to show that the checkers find them.
//!
//! Without the feature `planted` there are none, and their names are refused.

#[cfg(feature = "planted")]
mod protocols;

use std::fmt;

/// One mistake, by the name that the command line knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planted {
    name: &'static str,
    after: &'static str,
    #[cfg(feature = "planted")]
    place: Place,
}

#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Consensus(consensus::Planted),
    Journal(journal::Planted),
    Engine(engine::Planted),
    Node(node::Planted),
    /// What the nodes are told of their clocks.
    Clocks,
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

    /// The protocol whose rule is broken.
    pub fn protocol(self) -> Option<consensus::Protocol> {
        None
    }

    #[expect(clippy::unused_self, reason = "without the feature no mistake has a place")]
    pub(crate) fn bends_clocks(self) -> bool {
        false
    }
}

#[cfg(feature = "planted")]
impl Planted {
    /// All mistakes.
    pub fn all() -> Vec<Self> {
        use engine::Planted as Engine;
        use journal::Planted as Journal;
        use node::Planted as Node;
        // Each with what it is named after.
        let journal = [
            ("ignore-sync-failure", "Rebello et al., ATC 2020", Journal::IgnoreSyncFailure),
            ("retry-sync-failure", "fsyncgate; ATC 2020", Journal::RetrySyncFailure),
            ("torn-record-taken-whole", "Pillai et al., OSDI 2014", Journal::TornRecordTakenWhole),
            (
                "damaged-middle-as-torn-tail",
                "Alagappan et al., FAST 2018",
                Journal::DamagedMiddleAsTornTail,
            ),
            ("recycled-records-believed", "recycled log files", Journal::RecycledRecordsBelieved),
        ];
        let engine = [
            ("applied-not-atomic", "etcd 3.5, issue 13766", Engine::AppliedNotAtomic),
            (
                "compaction-drops-live",
                "etcd, compaction and revisions",
                Engine::CompactionDropsLive,
            ),
        ];
        let node = [
            ("answer-before-commit", "Raft §5.3; etcd, issue 14370", Node::AnswerBeforeCommit),
            ("forget-requests", "thesis §6.3", Node::ForgetRequests),
            ("snapshot-loses-requests", "thesis §6.3; Raft §7", Node::SnapshotLosesRequests),
            (
                "believe-other-clusters",
                "etcd and ZooKeeper, cluster ids",
                Node::BelieveOtherClusters,
            ),
            ("watch-skips-revision", "etcd, watch: reliable", Node::WatchSkipsRevision),
            ("watch-forgets-restart", "etcd, watch: resumable", Node::WatchForgetsRestart),
            ("watch-repeats-revision", "etcd, watch: unique", Node::WatchRepeatsRevision),
            ("unbounded-queue", "Huang et al., OSDI 2022", Node::UnboundedQueue),
            ("ignore-barriers", "thesis §10.2.1", Node::IgnoreBarriers),
            ("stale-expiry-believed", "etcd, issue 15247", Node::StaleExpiryBelieved),
            ("renewal-not-recorded", "etcd, issues 17132 and 9888", Node::RenewalNotRecorded),
            (
                "renewal-without-quorum",
                "Gray and Cheriton 1989, §2; Raft §8",
                Node::RenewalWithoutQuorum,
            ),
            ("renewal-ignored", "Gray and Cheriton 1989, §2", Node::RenewalIgnored),
            ("lease-begins-anew", "etcd, issue 9888", Node::LeaseBeginsAnew),
            ("lessor-begins-early", "thesis §6.4, step 1", Node::LessorBeginsEarly),
            ("snapshot-loses-leases", "Raft §7", Node::SnapshotLosesLeases),
            ("expiry-leaves-keys", "etcd, issue 9935", Node::ExpiryLeavesKeys),
            ("expiry-not-atomic", "etcd, lease: revoke", Node::ExpiryNotAtomic),
            ("key-stays-on-lease", "etcd, lease: attach and detach", Node::KeyStaysOnLease),
            ("fence-ignored", "Chubby §2.4; jepsen-io/etcd, lock", Node::FenceIgnored),
            ("previous-from-batch-start", "etcd, watch: prev_kv", Node::PreviousFromBatchStart),
            ("watch-jumps-compaction", "etcd, watch: compacted", Node::WatchJumpsCompaction),
            ("nested-always-holds", "etcd, nested transactions", Node::NestedAlwaysHolds),
            ("judged-before-the-log", "etcd, auth: apply", Node::JudgedBeforeTheLog),
            ("revoked-right-still-read", "thesis §6.4, step 4", Node::RevokedRightStillRead),
            ("range-end-not-judged", "etcd, range permissions", Node::RangeEndNotJudged),
            ("nested-not-judged", "etcd, GHSA-rfx7-8w68-q57q", Node::NestedNotJudged),
            ("comparison-not-judged", "etcd, pull request 5666", Node::ComparisonNotJudged),
            ("proof-outlives-password", "etcd, auth revision", Node::ProofOutlivesPassword),
            ("watch-not-rejudged", "etcd, issue 7789", Node::WatchNotRejudged),
            (
                "snapshot-keeps-old-rights",
                "etcd, issues 13883 and 14571",
                Node::SnapshotKeepsOldRights,
            ),
            ("restart-forgets-rights", "etcd, issue 14355", Node::RestartForgetsRights),
            ("snapshot-loses-members", "Raft §7; thesis §5.1", Node::SnapshotLosesMembers),
        ];
        let mut all = Vec::new();
        all.extend(protocols::all().map(|(name, after, mistake)| Self {
            name,
            after,
            place: Place::Consensus(mistake),
        }));
        all.push(Self {
            name: "lease-under-wild-clocks",
            after: "Gray and Cheriton 1989, §5",
            place: Place::Clocks,
        });
        all.extend(journal.map(|(name, after, mistake)| Self {
            name,
            after,
            place: Place::Journal(mistake),
        }));
        all.extend(engine.map(|(name, after, mistake)| Self {
            name,
            after,
            place: Place::Engine(mistake),
        }));
        all.extend(node.map(|(name, after, mistake)| Self {
            name,
            after,
            place: Place::Node(mistake),
        }));
        all
    }

    /// The protocol whose rule is broken, if it is one of consensus.
    pub fn protocol(self) -> Option<consensus::Protocol> {
        match self.consensus()? {
            consensus::Planted::Raft(_) => Some(consensus::Protocol::Raft),
            consensus::Planted::Paxos(_) => Some(consensus::Protocol::Paxos),
            consensus::Planted::Zab(_) => Some(consensus::Protocol::Zab),
            consensus::Planted::Lease(_) => None,
        }
    }

    /// Whether leaders serve reads by leases, and clocks are more wrong than the nodes are told.
    pub(crate) fn bends_clocks(self) -> bool {
        self.place == Place::Clocks
    }

    pub(crate) fn consensus(self) -> Option<consensus::Planted> {
        if let Place::Consensus(mistake) = self.place { Some(mistake) } else { None }
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

    /// The rule that it breaks, or the bug of somebody else that it is named after.
    pub fn after(self) -> &'static str {
        self.after
    }

    /// What the command line calls it.
    pub fn name(self) -> &'static str {
        self.name
    }
}
