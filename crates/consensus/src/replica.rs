//! The contract: one replica of one replicated log, as a function from inputs to outputs.
//!
//! A host (the node) feeds [`Input`]s and carries out [`Output`]s **in order**. All protocols fill
//! this contract, and a host cannot tell which of them it hosts. Commands are opaque bytes.
//!
//! # The order is the durability contract
//!
//! One call of [`Replica::step`] yields one list. Within that list [`Output::Persist`] and
//! [`Output::Await`] are barriers: what stands after a barrier may not leave the node before the
//! named write is on disk; what stands before it may. So a leader puts its `Send`s before its
//! `Persist`, and its disk works while its followers' disks do; a vote stands after its `Persist`.
//! `Await` is the same barrier for a write that an earlier list asked for. Lists are independent:
//! a list without a barrier waits for nothing, even while an earlier write is still on its way.
//!
//! Writes of one replica reach the disk in the order in which they were asked for, and
//! [`Input::Persisted`] is reported in that order; reporting write *n* reports all before it.
//!
//! # Reference
//!
//! Ongaro, *Consensus: Bridging Theory and Practice* (2014), §10.2.1 for the leader's disk in
//! parallel with its followers'. The form is that of a sans-IO state machine.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{Membership, paxos, raft, zab};

/// Names a replica within its group.
///
/// It equals the number of the node that hosts it. A number is given once: a replica that is removed and
/// added again gets a new one, so that messages and votes of its former life cannot count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(pub u64);

impl fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

/// A place in the log. The first entry is 1; 0 is "before the log".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(pub u64);

impl LogIndex {
    /// The index after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The index before this one; "before the log" stays where it is.
    #[must_use]
    pub fn prev(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for LogIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Shared word for Raft's term, the Paxos ballot and the Zab epoch: totally ordered, and never
/// held by two leaders. A ballot needs its proposer for that; a term has one leader by election,
/// so Raft leaves `proposer` at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Term, ballot round or Zab epoch.
    pub round: u64,
    /// The proposer that owns the ballot; 0 where the round alone is unique.
    pub proposer: u64,
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.proposer == 0 {
            write!(f, "{}", self.round)
        } else {
            write!(f, "{}.{}", self.round, self.proposer)
        }
    }
}

/// An entry's identity: two logs that hold the same position hold the same entry there.
///
/// In what a core writes to its own disk and gets back from it, the epoch may say more than that (see
/// [`paxos::Stamp`]). To a host those are opaque: it compares them with one another only, and what
/// comes out for applying with what was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Where in the log.
    pub index: LogIndex,
    /// Under which leadership the entry was written.
    pub epoch: Epoch,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.epoch)
    }
}

/// What a log entry carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Payload {
    /// The protocol's own: a new leader's first entry, or a place that it had to fill. The state
    /// machine skips it.
    Noop,
    /// The host's: opaque here, a reference-counted slice of the bytes that came from the socket.
    Command(Bytes),
    /// Who belongs to the group from here on. The state machine keeps it in its image.
    Membership(Arc<Membership>),
}

impl Payload {
    /// Bytes that count towards batch and memory limits.
    pub fn len(&self) -> usize {
        match self {
            Self::Noop => 0,
            Self::Command(bytes) => bytes.len(),
            Self::Membership(membership) => membership.context.len(),
        }
    }

    /// Whether it carries no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// Its identity.
    pub position: Position,
    /// What it carries.
    pub payload: Payload,
}

/// What a replica must never forget besides its log: the highest epoch it has promised itself
/// to, and to whom it gave its vote in it. Forgetting either elects two leaders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HardState {
    /// Current term, promised ballot or accepted epoch.
    pub epoch: Epoch,
    /// Whom it voted for in `epoch`, where the protocol votes.
    pub vote: Option<ReplicaId>,
}

/// Time since some fixed moment of the driver's choice. It never goes backwards within a process.
/// Nothing about safety rests on it, but that reads are not stale where leaders have leases
/// ([`crate::Config::lease`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The time that is `nanos` nanoseconds after the driver's start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Later than any other.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Nanoseconds since the driver's start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`, or zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl std::ops::Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// The host's name for a proposal; the core only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProposalId(pub u64);

/// The host's name for a read; the core only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// The core's name for one write to disk: 1, 2, 3, … within one life of a replica. 0 is "no
/// write", and is durable from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PersistId(pub u64);

/// One write to disk. Its parts belong together: after a crash either all of them count or none
/// that was relied upon. Fields are to be applied in the order in which they stand here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Durable {
    /// Which write this is.
    pub id: PersistId,
    /// A new promise or vote.
    pub hard_state: Option<HardState>,
    /// The log now begins after this position: all entries up to it may be forgotten. If the log
    /// held another entry at this index, or none, *all* its entries are void.
    pub base: Option<Position>,
    /// The membership in force at that base, if it is another one than at the base before.
    pub membership: Option<Arc<Membership>>,
    /// Entries to append. The first one may lie at or before the log's end: it then replaces
    /// the log from there on.
    pub entries: Vec<Entry>,
}

/// A message between two replicas of one group. Each protocol has its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Raft's.
    Raft(raft::Message),
    /// Multi-Paxos's.
    Paxos(paxos::Message),
    /// Zab's.
    Zab(zab::Message),
}

impl Message {
    /// How many log entries it carries, and the bytes of their payloads.
    pub fn load(&self) -> (usize, usize) {
        let of = |entries: &[Entry]| {
            (entries.len(), entries.iter().map(|entry| entry.payload.len()).sum())
        };
        match self {
            Self::Raft(raft::Message::Append(append)) => of(&append.entries),
            Self::Paxos(paxos::Message::Accept(accept)) => of(&accept.entries),
            Self::Paxos(paxos::Message::Promise(promise)) => {
                let bytes = promise.accepted.iter().map(|accepted| accepted.entry.payload.len());
                (promise.accepted.len(), bytes.sum())
            }
            Self::Zab(zab::Message::Propose(propose)) => of(&propose.entries),
            Self::Raft(_) | Self::Paxos(_) | Self::Zab(_) => (0, 0),
        }
    }

    /// The memberships that its entries bring, for a host to see whether it understands their contexts before
    /// it hands the message in.
    pub fn memberships(&self) -> Vec<&Membership> {
        fn of(entry: &Entry) -> Option<&Membership> {
            match &entry.payload {
                Payload::Membership(membership) => Some(membership),
                Payload::Noop | Payload::Command(_) => None,
            }
        }
        match self {
            Self::Raft(raft::Message::Append(append)) => {
                append.entries.iter().filter_map(of).collect()
            }
            Self::Paxos(paxos::Message::Accept(accept)) => {
                accept.entries.iter().filter_map(of).collect()
            }
            Self::Paxos(paxos::Message::Promise(promise)) => {
                promise.accepted.iter().filter_map(|accepted| of(&accepted.entry)).collect()
            }
            Self::Zab(zab::Message::Propose(propose)) => {
                propose.entries.iter().filter_map(of).collect()
            }
            Self::Raft(raft::Message::Snapshot { skip, .. })
            | Self::Paxos(paxos::Message::Snapshot { skip, .. })
            | Self::Zab(zab::Message::Snapshot { skip, .. }) => {
                // That with which the group began has no context.
                let told = skip.iter().map(|membership| &**membership);
                told.filter(|membership| !membership.context.is_empty()).collect()
            }
            Self::Raft(_) | Self::Paxos(_) | Self::Zab(_) => Vec::new(),
        }
    }

    /// Whether it brings log entries that come again if it is lost: what a replica may let pass by that
    /// can't keep up.
    pub fn is_proposal(&self) -> bool {
        match self {
            Self::Raft(raft::Message::Append(append)) => !append.entries.is_empty(),
            Self::Paxos(paxos::Message::Accept(accept)) => !accept.entries.is_empty(),
            Self::Zab(zab::Message::Propose(propose)) => !propose.entries.is_empty(),
            Self::Raft(_) | Self::Paxos(_) | Self::Zab(_) => false,
        }
    }

    /// The last of the log entries that it asks a follower to write. For a host that measures how long its
    /// followers take: the answer that [`Message::acknowledges`] as much says that they are on disk.
    pub fn proposes(&self) -> Option<LogIndex> {
        let of = |entries: &[Entry]| entries.last().map(|entry| entry.position.index);
        match self {
            Self::Raft(raft::Message::Append(append)) => of(&append.entries),
            Self::Paxos(paxos::Message::Accept(accept)) => of(&accept.entries),
            Self::Zab(zab::Message::Propose(propose)) => of(&propose.entries),
            Self::Raft(_) | Self::Paxos(_) | Self::Zab(_) => None,
        }
    }

    /// Up to where its sender has the log of the receiver on disk, as it says.
    pub fn acknowledges(&self) -> Option<LogIndex> {
        match self {
            Self::Raft(raft::Message::AppendReply(reply)) => match reply.outcome {
                raft::Outcome::Accepted { matched } => Some(matched),
                _ => None,
            },
            Self::Paxos(paxos::Message::AcceptReply(reply)) => match reply.outcome {
                paxos::Outcome::Accepted { matched } | paxos::Outcome::Gap { matched, .. } => {
                    Some(matched)
                }
                _ => None,
            },
            Self::Zab(zab::Message::Ack(ack)) => match ack.outcome {
                zab::Outcome::Accepted { matched } => Some(matched),
                _ => None,
            },
            Self::Raft(_) | Self::Paxos(_) | Self::Zab(_) => None,
        }
    }

    /// The message without what its entries carry: for traces.
    #[must_use]
    pub fn head(&self) -> Self {
        let mut head = self.clone();
        let strip = |entry: &mut Entry| entry.payload = Payload::Noop;
        match &mut head {
            Self::Raft(raft::Message::Append(append)) => append.entries.iter_mut().for_each(strip),
            Self::Paxos(paxos::Message::Accept(accept)) => {
                accept.entries.iter_mut().for_each(strip);
            }
            Self::Paxos(paxos::Message::Promise(promise)) => {
                promise.accepted.iter_mut().for_each(|accepted| strip(&mut accepted.entry));
            }
            Self::Zab(zab::Message::Propose(propose)) => {
                propose.entries.iter_mut().for_each(strip);
            }
            Self::Raft(_) | Self::Paxos(_) | Self::Zab(_) => {}
        }
        head
    }

    /// Whether it answers another message: the kind that must not be believed too late.
    pub fn is_answer(&self) -> bool {
        match self {
            Self::Raft(message) => message.is_answer(),
            Self::Paxos(message) => message.is_answer(),
            Self::Zab(message) => message.is_answer(),
        }
    }
}

/// Everything that can happen to a replica.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed: `now` has reached [`Replica::deadline`]. Harmless at any other time.
    Tick,
    /// A message from another replica of this group. It may be late, doubled or out of order.
    Receive {
        /// Who sent it, as the transport knows it.
        from: ReplicaId,
        /// What it says.
        message: Message,
    },
    /// Commands to append to the log, in this order. Answered at once by [`Output::Accepted`] or
    /// [`Output::Refused`]; that they are *committed* shows when they come out of
    /// [`Output::Apply`] at their positions.
    Propose(Vec<(ProposalId, Bytes)>),
    /// Change who belongs to the group: see [`Membership`]. Answered at once like a proposal:
    /// accepted, the change stands in the log, in one entry or as the first of two; it will come
    /// to its end, whoever leads, if that entry is committed. Refused unless this replica leads and has
    /// committed an entry of its epoch, while another change is under way, and if `target` can't be
    /// one: see [`Membership::check`]; its `outgoing` must be empty, its voters voters or learners now, and no
    /// witness of both may be turned into a data replica or back. A leader that is no voter in `target`
    /// refuses too, and hands over to one that is: let that one remove it.
    Reconfigure {
        /// The host's name for it.
        id: ProposalId,
        /// The members when the change is over.
        target: Membership,
    },
    /// Linearizable reads that want to begin. Answered by [`Output::Serve`] or
    /// [`Output::Refused`], perhaps much later.
    Read(Vec<ReadId>),
    /// This write, and all before it, are on disk.
    Persisted(PersistId),
    /// The state machine's image up to `through` is on disk, so that the log up to there is no
    /// longer needed for recovery. The core decides how much it keeps for slow followers. A witness has no
    /// image, and needs none: its host says so of whatever was handed out.
    Checkpointed {
        /// The last entry whose effect is in the durable image.
        through: LogIndex,
    },
    /// The host has replaced the state machine by a snapshot at `position`, durably, as
    /// [`Output::FetchSnapshot`] asked.
    SnapshotInstalled {
        /// The last entry whose effect is in the snapshot.
        position: Position,
        /// The membership in force there, as the image has it.
        membership: Arc<Membership>,
    },
    /// The snapshot that [`Output::FetchSnapshot`] asked for could not be had. The core will ask
    /// again when it still needs one.
    SnapshotFailed,
    /// Hand leadership to this replica, if it can take it: a voter, and no witness. Ignored unless we lead.
    Transfer {
        /// Who shall lead.
        to: ReplicaId,
    },
    /// The transport has lost its connection to this peer. A hint, never evidence: it may make
    /// an election begin sooner or a follower be probed, and nothing more.
    Unreachable {
        /// The peer that hung up.
        peer: ReplicaId,
    },
}

/// Everything a replica can ask of its host. The order is the contract: see the module's header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A barrier, and a write to make.
    Persist(Durable),
    /// A barrier: what follows waits for a write that was asked for earlier.
    Await(PersistId),
    /// A message to another replica. May be lost.
    Send {
        /// To whom.
        to: ReplicaId,
        /// What.
        message: Message,
    },
    /// These commands stand in the log now, not yet committed.
    Accepted(Accepted),
    /// These were not taken: *not done*. Ask `leader`, or wait until one is known. If `leader` is this
    /// replica itself, it is handing over or has too much under way: wait a little.
    Refused {
        /// Proposals not taken.
        proposals: Vec<ProposalId>,
        /// Reads not allowed.
        reads: Vec<ReadId>,
        /// Who is believed to lead.
        leader: Option<ReplicaId>,
    },
    /// These entries are committed: apply them, in this order. Indexes follow one another without
    /// a gap within and across lists, except after a snapshot was installed, and at a witness that was
    /// further behind than its leader's log reaches: it is sent on, for it would fetch nothing. Never waits for a
    /// barrier: committed means durable on a quorum, which may not include this replica.
    Apply(Vec<Entry>),
    /// These reads may be served from any state that has applied `at`. Never waits for a barrier.
    Serve {
        /// Which reads.
        reads: Vec<ReadId>,
        /// The read index.
        at: LogIndex,
    },
    /// This replica has fallen behind the leader's log: fetch a snapshot at `at_least` or later
    /// from `from`, install it durably, and report [`Input::SnapshotInstalled`] or
    /// [`Input::SnapshotFailed`]. A second request replaces the first, of which nothing is reported
    /// any more. An image older than what was applied is never installed: it has failed.
    FetchSnapshot {
        /// Who has one.
        from: ReplicaId,
        /// How far it must reach.
        at_least: Position,
    },
    /// Another membership is in force in this replica's log, at its first step the one that it begins
    /// with. It is not committed yet, and may be taken back. The host must be able to reach all its
    /// members; those whom it leaves out may still ask and be answered.
    Members(Arc<Membership>),
    /// Something that an operator or a test wants to know. Nothing depends on it.
    News(News),
}

/// Consecutive proposals were appended at consecutive indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Position of the first; the others follow it, in the same epoch.
    pub first: Position,
    /// Which proposals, in order.
    pub proposals: Vec<ProposalId>,
}

/// What a replica is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Takes proposals and reads.
    Leader,
    /// Follows a leader, or waits for one.
    Follower,
    /// Is sent the log but has no vote, or has not been told yet that it has one.
    Learner,
    /// Asks whether it could win an election, without disturbing anybody (`PreVote`).
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Its disk lost part of what it had promised or acknowledged: it neither votes nor leads nor
    /// acknowledges until its peers have told it enough. See each protocol's `doubt`.
    InDoubt,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Learner => "learner",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::InDoubt => "in-doubt",
        })
    }
}

/// What changed, for spans, metrics and traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The role, epoch or known leader changed.
    Role {
        /// The new role.
        role: Role,
        /// The epoch in which it holds.
        epoch: Epoch,
        /// Who is believed to lead.
        leader: Option<ReplicaId>,
    },
    /// A leader has committed an entry of its own epoch: it now knows what is committed.
    LeaderReady {
        /// Its epoch.
        epoch: Epoch,
    },
    /// The log was cut back because a new leader's log differs. Uncommitted entries only.
    Truncated {
        /// First index that was dropped.
        from: LogIndex,
    },
    /// A peer sent something that the protocol's rules exclude; it was dropped.
    Dropped {
        /// Who.
        from: ReplicaId,
        /// Why, in words.
        reason: &'static str,
    },
    /// The replica is no longer in doubt: its peers have given it back what its disk lost.
    DoubtResolved,
}

/// How far a peer is, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerProgress {
    /// The peer.
    pub peer: ReplicaId,
    /// Highest index known equal to ours.
    pub matched: LogIndex,
    /// Next index to send.
    pub next: LogIndex,
    /// What it is being sent, in a word: `probe`, `replicate` or `snapshot`, or the protocol's own.
    pub state: &'static str,
    /// Whether it has answered within the last election timeout.
    pub active: bool,
}

/// A replica's state, for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This replica.
    pub id: ReplicaId,
    /// What it is now.
    pub role: Role,
    /// Current epoch.
    pub epoch: Epoch,
    /// Who is believed to lead.
    pub leader: Option<ReplicaId>,
    /// The log begins after this position.
    pub base: Position,
    /// Last entry of the log.
    pub last: Position,
    /// Highest index known committed.
    pub commit: LogIndex,
    /// Bytes of entries held in memory.
    pub log_bytes: usize,
    /// The membership in force.
    pub membership: Arc<Membership>,
    /// Whether that is committed.
    pub is_settled: bool,
    /// Leader only: how far the others are.
    pub peers: Vec<PeerProgress>,
}

/// What the disk gives back at start: all that the last life's [`Durable`]s add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Last promise.
    pub hard_state: HardState,
    /// The log begins after this position.
    pub base: Position,
    /// The membership in force at `base`: the last that a [`Durable`] bore. None if none ever did; then it
    /// is that with which the group began, [`crate::Config::voters`].
    pub membership: Option<Arc<Membership>>,
    /// The log, without gaps, beginning right after `base`.
    pub entries: Vec<Entry>,
    /// What the state machine's durable image has applied; for a witness, `base`. It may lie beyond the log, for an image
    /// may be flushed before the log under it is (its entries are committed, so others have them).
    pub applied: Position,
    /// The membership in that image, if it has one. It counts where the image lies beyond the log.
    pub image: Option<Arc<Membership>>,
    /// The journal was damaged before its end: promises and acknowledgements may be missing.
    pub in_doubt: bool,
}

/// One replica of one replicated log.
pub trait Replica: Send {
    /// Takes in one input at time `now` and appends what it asks for to `out`.
    ///
    /// `now` never decreases from call to call. For a read it was taken after the read had come: where
    /// leaders have leases, an earlier time may lie in a lease that has ended since. Deterministic: the
    /// same inputs at the same times give the same outputs.
    ///
    /// # Panics
    ///
    /// When an invariant of the protocol is broken. A replica that finds its own state impossible
    /// stops rather than lies.
    fn step(&mut self, now: Time, input: Input, out: &mut Vec<Output>);

    /// When time next matters: call [`Replica::step`] with [`Input::Tick`] then. `None` means that
    /// only an input can make something happen.
    fn deadline(&self) -> Option<Time>;

    /// A view for operators; costs a little, so not for every step.
    fn status(&self) -> Status;
}
