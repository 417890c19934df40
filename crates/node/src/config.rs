//! A node's configuration, already validated by whoever builds it.

use std::time::Duration;

use consensus::{ClockDrift, Protocol};
use wire::{Member, NodeId};

use crate::{Pace, Rare};

/// Who a node is and how it behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node; one of `members`.
    pub node: NodeId,
    /// The cluster's name: messages of other clusters are dropped.
    pub cluster: String,
    /// The program's version, for status.
    pub version: String,
    /// All nodes with which the cluster began, this one included: each hosts a voting replica. For a node
    /// that joins later: itself, and those where it may ask.
    pub members: Vec<Member>,
    /// Whether it joins a cluster that exists: it has no vote until the others give it one.
    pub joins: bool,
    /// Whether it keeps the log without the data: a witness. It is one from when it joins, for ever.
    pub witness: bool,
    /// How its groups keep their logs: the same on all nodes, for ever.
    pub protocol: Protocol,
    /// Seed of everything random in here: election timeouts.
    pub seed: u64,
    /// Limits and timings.
    pub tuning: Tuning,
    /// Paths that are opened without a need, in tests: [`Rare::closed`] in production.
    pub rare: Rare,
    /// A mistake to make on purpose, to see that the proof finds it.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
    /// A mistake of consensus to make on purpose.
    #[cfg(feature = "planted")]
    pub planted_consensus: Option<consensus::Planted>,
}

/// Limits and timings of a node. The defaults suit machines of one site.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// A leader's sign of life. Shorter notices failures sooner and costs messages.
    pub heartbeat: Duration,
    /// A follower that hears nothing for this long (and up to twice as long) asks for an election.
    pub election_timeout: Duration,
    /// How wrong clocks may be where leaders serve reads by a lease, without asking the others; none: they
    /// always ask, and nothing rests on clocks. See [`consensus::Config::lease`] before it is changed.
    pub lease: Option<ClockDrift>,
    /// How long a leader waits for an Append that tells idle followers what is committed, before it
    /// sends a message for that alone. Their own reads and watches lag that much behind.
    pub commit_notice_delay: Duration,
    /// The longest value that is taken, in bytes.
    pub value_limit_bytes: usize,
    /// The longest command that is taken, in bytes; also the journal's longest record.
    pub command_limit_bytes: usize,
    /// Commands taken but not yet answered, in bytes. Beyond it writes are refused as busy.
    pub inflight_limit_bytes: usize,
    /// Requests waiting for an answer, in number. Beyond it requests are refused as busy.
    pub waiting_limit: usize,
    /// State applied but not yet flushed, in bytes. Beyond it writes are refused as busy.
    pub unflushed_limit_bytes: usize,
    /// One page of a read, one batch of a watch, in bytes; the first item goes in any case.
    pub page_limit_bytes: usize,
    /// Log entries in one message to a follower, in bytes; one entry goes in any case.
    pub append_limit_bytes: usize,
    /// Messages with log entries that a follower has not answered yet, in number.
    pub appends_in_flight: usize,
    /// Log entries kept in memory for followers that lag, in bytes; who lags more gets a snapshot.
    pub log_retain_bytes: usize,
    /// A flush is begun when the log since the last one holds this many bytes.
    pub flush_log_bytes: usize,
    /// How many revisions stay readable before the newest. The cluster compacts the others away.
    pub retain_revisions: u64,
    /// How long a session read waits for its revision before it is refused.
    pub session_wait: Duration,
    /// How long a fetch of a snapshot waits for one chunk before it asks again.
    pub chunk_wait: Duration,
    /// Clients whose last answers are remembered, for retries. The same on every node, for ever:
    /// it decides what a retried command does.
    pub remembered_clients: usize,
    /// How a leader judges whether another node does better to lead, for its priority or because this one
    /// is slow, and hands over by itself. None never does.
    pub steward: Option<Pace>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(100),
            election_timeout: Duration::from_millis(600),
            lease: None,
            commit_notice_delay: Duration::from_millis(1),
            value_limit_bytes: 8 << 20,
            command_limit_bytes: 16 << 20,
            inflight_limit_bytes: 64 << 20,
            waiting_limit: 16_384,
            unflushed_limit_bytes: 96 << 20,
            page_limit_bytes: 256 << 10,
            append_limit_bytes: 1 << 20,
            appends_in_flight: 64,
            log_retain_bytes: 32 << 20,
            flush_log_bytes: 32 << 20,
            retain_revisions: 100_000,
            session_wait: Duration::from_secs(2),
            chunk_wait: Duration::from_secs(2),
            remembered_clients: 65_536,
            steward: Some(Pace::default()),
        }
    }
}

/// Classic mistakes of the rooms above consensus.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A write is answered when it is proposed, before any disk has it.
    AnswerBeforeCommit,
    /// A retried request is executed again.
    ForgetRequests,
    /// A snapshot does not carry the request memory.
    SnapshotLosesRequests,
    /// Messages of other clusters are taken in.
    BelieveOtherClusters,
    /// A watch begins one revision late.
    WatchSkipsRevision,
    /// A watch that is resumed after a restart begins behind what the node had at its start.
    WatchForgetsRestart,
    /// A watch is sent back to the last revision that it was told of.
    WatchRepeatsRevision,
    /// Requests beyond the limit of those that wait are taken in.
    UnboundedQueue,
    /// The durability barriers of consensus are ignored.
    IgnoreBarriers,
    /// A lease is kept alive though the log says that a next leader shall give it less.
    RenewalNotRecorded,
    /// A lease that is kept alive is not asked of the other nodes: a deposed leader answers.
    RenewalWithoutQuorum,
    /// A lease's end leaves its keys behind.
    ExpiryLeavesKeys,
    /// A key that was put again without its lease still vanishes with it.
    KeyStaysOnLease,
    /// The end of a lease, as a former leader counted it, is believed: one that leads again goes on
    /// with the count of its former term.
    StaleExpiryBelieved,
    /// A lease that is kept alive is counted as before.
    RenewalIgnored,
    /// Each new leader gives a lease all of its time, whatever the log says is left of it.
    LeaseBeginsAnew,
    /// A new leader counts before it has applied what its predecessors have committed.
    LessorBeginsEarly,
    /// A snapshot does not carry the leases.
    SnapshotLosesLeases,
    /// A lease's end removes its keys one revision after the other.
    ExpiryNotAtomic,
    /// A transaction is done whatever tokens it bears.
    FenceIgnored,
    /// What a key was before is taken from before the watch's answer, not from before the event.
    PreviousFromBatchStart,
    /// A watch that asks for what is compacted goes on behind it, and is not told.
    WatchJumpsCompaction,
    /// The comparisons of a nested transaction are those of the outer one.
    NestedAlwaysHolds,
    /// A command is judged when it is taken in, and not at its place in the log.
    JudgedBeforeTheLog,
    /// A read is judged when it comes, and not when it is served.
    RevokedRightStillRead,
    /// Who may read the first key of a range may read all of it.
    RangeEndNotJudged,
    /// Nobody asks whether a transaction within a transaction may be done.
    NestedNotJudged,
    /// Nobody asks whether the keys may be read that a transaction compares.
    ComparisonNotJudged,
    /// A proof of who somebody is outlives the password that it was given for, and the user.
    ProofOutlivesPassword,
    /// A watch is judged when it begins, and then no more.
    WatchNotRejudged,
    /// A snapshot brings no users and roles: those of before stay.
    SnapshotKeepsOldRights,
    /// What users may do is not known after a restart.
    RestartForgetsRights,
    /// A snapshot does not carry who belongs to the cluster.
    SnapshotLosesMembers,
}
