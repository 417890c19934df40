//! What replicas say to one another. Plain data: the node encodes it.
//!
//! The papers assume a channel that keeps order and loses nothing while it lasts; ours may lose,
//! double and reorder. So each message repeats what is needed to tell what it belongs to: a proposal
//! names the one before it, an answer what it answers. [`Message::check`] holds what every message
//! from outside must satisfy before a rule of the protocol looks at it.

use std::sync::Arc;
use std::time::Duration;

use crate::common::link::Link;
use crate::common::{check_entries, check_number, check_position, check_skip};
use crate::{Entry, Epoch, LogIndex, Membership, Position, ReplicaId};

/// A message between two replicas of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Phase 0: whom I would follow, or whom I do follow.
    Notification(Notification),
    /// CEPOCH (FOLLOWERINFO): I would follow you, and this is the epoch that I have accepted. Says to a
    /// leader that proposed a lower one that it is too low.
    FollowerInfo {
        /// The sender's accepted epoch.
        epoch: Epoch,
        /// Whether the sender's disk has lost promises: it is none of a quorum then.
        in_doubt: bool,
    },
    /// NEWEPOCH: accept this epoch, and mine alone.
    NewEpoch {
        /// The proposed epoch, or that of an established leader.
        epoch: Epoch,
        /// Marks this proposal. A leader whose disk lost an epoch may propose it once more: promises
        /// to its former life must not count for it then, for their givers may have forgotten
        /// them too.
        nonce: u64,
    },
    /// ACK-E (ACKEPOCH): answers `NewEpoch`.
    AckEpoch(AckEpoch),
    /// TRUNC: your log ends with what I do not have. Cut it back.
    Truncate(Truncate),
    /// SNAP: you need entries that I no longer have. Fetch a snapshot.
    Snapshot {
        /// The leader's epoch.
        epoch: Epoch,
        /// The leader's log begins after this.
        position: Position,
        /// As in [`Propose`].
        round: u64,
        /// As in [`Propose`].
        last: LogIndex,
        /// As in [`Propose`].
        link: Link,
        /// For a witness, which keeps no data: the membership in force there. It needs nothing else, and lets its
        /// log begin there as well.
        skip: Option<Arc<Membership>>,
    },
    /// PROPOSE, DIFF, NEWLEADER or PING: entries, a heartbeat, or both.
    Propose(Propose),
    /// ACK and ACK-LD: answers `Propose`, `Truncate` and `Snapshot`.
    Ack(Ack),
    /// COMMIT, and UPTODATE (COMMIT-LD) if it is the first. Needs no answer: a lost one is made up for
    /// by the next `Propose`.
    Commit {
        /// The leader's epoch.
        epoch: Epoch,
        /// The highest committed entry that the follower is known to hold.
        position: Position,
    },
    /// Stand for election at once: leadership is handed to you.
    HandOver {
        /// The leader's epoch.
        epoch: Epoch,
    },
    /// Which epoch have you accepted? Asked by a replica whose disk has lost promises.
    EpochQuery {
        /// The sender's accepted epoch, as far as it remembers.
        epoch: Epoch,
        /// Marks this round of questions of this life of the sender.
        nonce: u64,
    },
    /// Answers `EpochQuery`.
    EpochReply {
        /// The sender's accepted epoch; it is on disk.
        epoch: Epoch,
        /// The nonce of the question.
        nonce: u64,
        /// Whether it is in doubt too: in this life it has neither promised nor led.
        in_doubt: bool,
        /// The membership in force in its log, without its context.
        membership: Arc<Membership>,
    },
}

/// A replica's word in an election. Nothing about safety rests on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Notification {
    /// The sender's round of elections (the logical clock).
    pub round: u64,
    /// The sender's accepted epoch.
    pub epoch: Epoch,
    /// Where it stands.
    pub standing: Standing,
}

/// Where a replica stands in an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// LOOKING: it votes so.
    Looking(Vote),
    /// It asks who leads, but has no vote: its disk has lost promises, or it is no voter, as far as it
    /// knows, and has heard of none.
    Watching,
    /// FOLLOWING this replica.
    Following(ReplicaId),
    /// LEADING, or about to.
    Leading,
}

/// A vote in an election. Of two, the greater in the order of the fields wins: the log that ends
/// later, then the one that the last leader named, then the one that is no witness's, then the higher id.
///
/// The epoch of the log's last entry is the current epoch (`f.a`), so it comes before the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Vote {
    /// The last entry of the log of the replica that is voted for.
    pub last: Position,
    /// Whether the leader of the epoch of `last` has asked it to stand.
    pub blessed: bool,
    /// Whether the replica that is voted for is a witness: others whose logs end alike lead before it.
    pub witness: bool,
    /// Who is voted for.
    pub leader: ReplicaId,
}

/// A follower's answer to a proposed epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AckEpoch {
    /// The epoch.
    pub epoch: Epoch,
    /// The nonce of the proposal.
    pub nonce: u64,
    /// Whether it is a promise. A follower that has promised this epoch to another, or is in doubt,
    /// follows its owner all the same.
    pub promised: bool,
    /// The last entry of its log: the epoch is its current epoch, both are its last zxid.
    pub last: Position,
    /// The last of these that may have needed its acknowledgement to be committed. It lies before `last` if
    /// its log takes its vote away.
    pub binding: Position,
    /// The nonce of its doubt; 0 without doubt.
    pub doubt: u64,
}

/// How far a follower's log is to be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Truncate {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// Where the follower's log ends, as it said. If it ends elsewhere now, this is out of date.
    pub from: Position,
    /// The leader's highest entry that may be in the follower's log.
    pub to: Position,
    /// As in [`Propose`].
    pub round: u64,
    /// As in [`Propose`].
    pub last: LogIndex,
    /// As in [`Propose`].
    pub link: Link,
}

/// A leader's entries for one follower; without entries, a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Propose {
    /// The leader's epoch.
    pub epoch: Epoch,
    /// The entry right before `entries`.
    pub prev: Position,
    /// Entries that follow `prev` without a gap.
    pub entries: Vec<Entry>,
    /// What the leader knows to be committed.
    pub commit: LogIndex,
    /// The leader's latest read round; its echo confirms that round.
    pub round: u64,
    /// The last index of the leader's log.
    pub last: LogIndex,
    /// To be echoed.
    pub link: Link,
}

impl Propose {
    /// The last index that this message speaks of.
    pub fn end(&self) -> LogIndex {
        LogIndex(self.prev.index.0 + self.entries.len() as u64)
    }
}

/// A follower's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ack {
    /// The follower's accepted epoch.
    pub epoch: Epoch,
    /// Echo of the request's round; 0 where it answers none.
    pub round: u64,
    /// Echo of the request's link.
    pub link: Link,
    /// What became of the request.
    pub outcome: Outcome,
    /// For how long the follower promises no epoch to anybody else, from when it had received the message; zero
    /// if it grants no lease.
    pub grant: Duration,
}

/// What became of a leader's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The follower's log agrees with what the request showed, and is on disk up to `matched`.
    Accepted {
        /// Durable, and equal to the leader's log.
        matched: LogIndex,
    },
    /// The follower can't put the request behind its log, or has cut it back as asked: go on from its
    /// end.
    Ends {
        /// The index of the request's `prev` or `from`.
        prev: LogIndex,
        /// The last entry of the follower's log.
        last: Position,
    },
    /// The follower is fetching the snapshot that it was told to fetch.
    Fetching,
    /// The follower's disk has lost what it acknowledged: count nothing of it, and put this nonce
    /// into the link.
    InDoubt {
        /// Marks this life of the follower.
        nonce: u64,
        /// The last entry of its log.
        last: Position,
    },
    /// The request was of a lower epoch than the follower has accepted.
    Stale,
}

impl Message {
    /// The sender's epoch.
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::FollowerInfo { epoch, .. }
            | Self::NewEpoch { epoch, .. }
            | Self::Snapshot { epoch, .. }
            | Self::Commit { epoch, .. }
            | Self::HandOver { epoch }
            | Self::EpochQuery { epoch, .. }
            | Self::EpochReply { epoch, .. } => *epoch,
            Self::Notification(notification) => notification.epoch,
            Self::AckEpoch(ack) => ack.epoch,
            Self::Truncate(truncate) => truncate.epoch,
            Self::Propose(propose) => propose.epoch,
            Self::Ack(ack) => ack.epoch,
        }
    }

    /// Whether it answers another message, or tells where its sender stands.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::Notification(_)
            | Self::FollowerInfo { .. }
            | Self::AckEpoch(_)
            | Self::Ack(_)
            | Self::EpochReply { .. } => true,
            Self::NewEpoch { .. }
            | Self::Truncate(_)
            | Self::Snapshot { .. }
            | Self::Propose(_)
            | Self::Commit { .. }
            | Self::HandOver { .. }
            | Self::EpochQuery { .. } => false,
        }
    }

    /// Whether a correct replica could have sent this, and if not, why.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        check_number(self.epoch().round)?;
        if self.epoch().proposer != 0 {
            return Err("an epoch has no proposer");
        }
        match self {
            Self::Notification(notification) => notification.check(),
            Self::AckEpoch(ack) => ack.check(),
            Self::Truncate(truncate) => truncate.check(),
            Self::Propose(propose) => propose.check(),
            Self::Ack(ack) => ack.check(),
            Self::Commit { epoch, position } => check_position(*position, *epoch),
            Self::Snapshot { epoch, position, last, skip, .. } => {
                check_skip(skip.as_deref())?;
                check_position(*position, *epoch)?;
                check_within(position.index, *last)
            }
            Self::FollowerInfo { .. }
            | Self::NewEpoch { .. }
            | Self::HandOver { .. }
            | Self::EpochQuery { .. } => Ok(()),
            Self::EpochReply { membership, .. } if membership.is_unknown() => Ok(()),
            Self::EpochReply { membership, .. } => membership.check(),
        }
    }
}

impl Notification {
    fn check(&self) -> Result<(), &'static str> {
        check_number(self.round)?;
        let Standing::Looking(vote) = self.standing else { return Ok(()) };
        // The log may be of another replica, which has accepted more than the sender.
        check_number(vote.last.epoch.round)?;
        check_position(vote.last, vote.last.epoch)
    }
}

impl AckEpoch {
    fn check(&self) -> Result<(), &'static str> {
        check_position(self.last, self.epoch)?;
        check_position(self.binding, self.epoch)?;
        if self.binding.index > self.last.index || self.binding.epoch > self.last.epoch {
            return Err("a log does not bind beyond its end");
        }
        Ok(())
    }
}

impl Truncate {
    fn check(&self) -> Result<(), &'static str> {
        check_position(self.from, self.epoch)?;
        check_position(self.to, self.epoch)?;
        if self.to.index > self.from.index || self.to.epoch > self.from.epoch {
            return Err("a log is not cut forwards");
        }
        check_within(self.to.index, self.last)
    }
}

impl Propose {
    fn check(&self) -> Result<(), &'static str> {
        check_position(self.prev, self.epoch)?;
        let end = check_entries(self.prev, &self.entries, self.epoch)?;
        check_within(end.max(self.commit), self.last)
    }
}

impl Ack {
    fn check(&self) -> Result<(), &'static str> {
        match self.outcome {
            Outcome::Accepted { matched } => check_number(matched.0),
            Outcome::Ends { prev, last } => {
                check_number(prev.0)?;
                check_position(last, self.epoch)
            }
            Outcome::InDoubt { last, .. } => check_position(last, self.epoch),
            Outcome::Fetching | Outcome::Stale => Ok(()),
        }
    }
}

fn check_within(index: LogIndex, last: LogIndex) -> Result<(), &'static str> {
    check_number(last.0)?;
    if index > last { Err("a leader spoke of more than its log") } else { Ok(()) }
}
