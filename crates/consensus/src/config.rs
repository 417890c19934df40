//! What a replica is told at its start.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::common::lease::ClockDrift;
use crate::quorum::{MAX_VOTERS, Quorums};
use crate::{Membership, ReplicaId};

#[cfg(feature = "planted")]
use crate::Planted;

/// How one replica behaves. All sizes count payload bytes and a small constant for each entry.
#[derive(Clone, Debug, Hash)]
pub struct Config {
    /// This replica.
    pub id: ReplicaId,
    /// Those who vote when the group begins. Empty for a replica that joins a group: its log tells it.
    pub voters: BTreeSet<ReplicaId>,
    /// Those of them that keep the log without the data; fewer than a majority. Of a replica that joins as one:
    /// itself.
    pub witnesses: BTreeSet<ReplicaId>,
    /// How often a leader makes itself heard. Shorter finds lost messages sooner and costs an idle
    /// group more. At most a third of `election_timeout`.
    pub heartbeat_interval: Duration,
    /// The least silence after which a replica stands for election; each time it waits a random
    /// time in `[t, 2t)`. Well above the longest pause of a healthy leader, or leadership wanders.
    pub election_timeout: Duration,
    /// How long a leader waits for an Append that tells its followers what is committed, before it
    /// tells them so in a message of its own. Longer saves two messages for each lone write; followers
    /// apply, and serve reads and watches of their own, that much later. Zero: it never waits.
    pub commit_notice_delay: Duration,
    /// Most bytes of entries in one Append. One entry always goes, however large it is.
    pub max_append_bytes: usize,
    /// Most unanswered Appends with entries for each follower.
    pub max_inflight_appends: usize,
    /// Most unanswered bytes of entries for each follower.
    pub max_inflight_bytes: usize,
    /// Most bytes that a leader takes in before they are committed; beyond that it refuses
    /// proposals, so that a lost quorum does not fill its memory.
    pub max_uncommitted_bytes: usize,
    /// Bytes of entries kept behind the checkpoint for followers that lag. A follower that lags
    /// further has to fetch a snapshot.
    pub log_retain_bytes: usize,
    /// How many must promise and how many must accept, where the protocol can tell these apart: in
    /// Paxos alone. None is a majority for each. A smaller quorum for accepting makes writes wait for
    /// fewer disks, and leaves a group that has lost few voters without a new leader. Such a group
    /// keeps its voters: it refuses to change them.
    pub quorums: Option<Quorums>,
    /// How wrong clocks may be where leaders serve reads by a lease, without asking a quorum. None: there are
    /// no leases, and nothing rests on clocks. A voter with leases does not vote for others within
    /// `election_timeout` of hearing a leader, or of its start, also when the leader's process is gone. Before
    /// it is started with none, or with a shorter timeout, it has to be down for the former timeout.
    pub lease: Option<ClockDrift>,
    /// Where this life's chance begins. It must differ from life to life of a replica: a nonce that
    /// tells answers to this life from answers to an earlier one is drawn from it.
    pub seed: u64,
    /// A mistake to make, so that a test may show that it would be found.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

impl Config {
    /// The defaults for replica `id` of a group with these voters.
    pub fn new(id: ReplicaId, voters: BTreeSet<ReplicaId>, seed: u64) -> Self {
        Self {
            id,
            voters,
            witnesses: BTreeSet::new(),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(600),
            commit_notice_delay: Duration::ZERO,
            max_append_bytes: 1 << 20,
            max_inflight_appends: 64,
            max_inflight_bytes: 16 << 20,
            max_uncommitted_bytes: 256 << 20,
            log_retain_bytes: 32 << 20,
            quorums: None,
            lease: None,
            seed,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }

    /// The membership with which the group begins.
    pub fn first_membership(&self) -> Membership {
        let witnesses = self.witnesses.intersection(&self.voters).copied().collect();
        Membership { witnesses, ..Membership::of(self.voters.clone()) }
    }

    /// A configuration is the host's, which has checked what came from its operator.
    pub(crate) fn check(&self) {
        assert!(
            self.voters.is_empty() || self.voters.contains(&self.id),
            "a group that begins has this replica among its voters"
        );
        assert!(
            self.witnesses.iter().all(|id| self.voters.contains(id) || *id == self.id),
            "who begins as a witness is a voter, or joins"
        );
        assert!(self.voters.len() <= MAX_VOTERS, "a group has at most {MAX_VOTERS} voters");
        assert!(
            self.voters.is_empty() || self.first_membership().check().is_ok(),
            "each quorum of a group that begins has a voter that holds the data"
        );
        assert!(!self.heartbeat_interval.is_zero(), "a heartbeat interval is a time");
        assert!(
            self.heartbeat_interval * 3 <= self.election_timeout,
            "an election timeout outlasts three heartbeats"
        );
        assert!(self.max_inflight_appends > 0, "one Append may always be under way");
        if let Some(quorums) = self.quorums {
            quorums.check(self.voters.len());
            assert!(
                quorums.phase2 > self.witnesses.len(),
                "each quorum that accepts has a voter that holds the data"
            );
        }
    }
}
