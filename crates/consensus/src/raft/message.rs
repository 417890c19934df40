//! What replicas say to one another. Plain data: the node encodes it.
//!
//! A reply repeats what is needed to tell which request it answers, because any message may be
//! late, doubled or out of order. [`Message::check`] holds what every message from outside must
//! satisfy before a rule of the protocol looks at it.

use std::sync::Arc;
use std::time::Duration;

use crate::common::link::Link;
use crate::common::{check_entries, check_number, check_position, check_skip};
use crate::{Entry, Epoch, LogIndex, Membership, Position};

/// A message between two replicas of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Could I win an election in the term after `term`? Changes nothing (thesis §9.6).
    PreVote {
        /// The sender's current term.
        term: Epoch,
        /// The last entry of its log.
        last: Position,
    },
    /// Answers `PreVote`.
    PreVoteReply {
        /// The sender's current term.
        term: Epoch,
        /// The `term` of the question.
        asked: Epoch,
        /// Whether it would vote so.
        granted: bool,
    },
    /// Vote for me in `term` (§5.2).
    Vote {
        /// The candidate's term.
        term: Epoch,
        /// The last entry of its log.
        last: Position,
        /// Why it stands.
        cause: Cause,
        /// Marks this candidacy. A candidate whose disk lost a term may stand in it once more: votes
        /// for its former life must not count for it then, for their givers may have forgotten them
        /// too.
        nonce: u64,
    },
    /// Answers `Vote`.
    VoteReply {
        /// The sender's current term.
        term: Epoch,
        /// Whether it has given its vote.
        granted: bool,
        /// The nonce of the request.
        nonce: u64,
    },
    /// Entries, a heartbeat, or both.
    Append(Append),
    /// Answers `Append` and `Snapshot`.
    AppendReply(AppendReply),
    /// What is committed has advanced. Needs no answer: a lost one is made up for by the next
    /// Append.
    Commit {
        /// The leader's term.
        term: Epoch,
        /// The highest committed entry that the follower is known to hold.
        position: Position,
    },
    /// The follower needs entries that the leader no longer has: let it fetch a snapshot.
    Snapshot {
        /// The leader's term.
        term: Epoch,
        /// The leader's log begins after this.
        position: Position,
        /// As in [`Append`].
        round: u64,
        /// As in [`Append`].
        last: LogIndex,
        /// As in [`Append`].
        link: Link,
        /// For a witness, which keeps no data: the membership in force there. It needs nothing else, and lets its
        /// log begin there as well.
        skip: Option<Arc<Membership>>,
    },
    /// Stand for election at once: leadership is handed to you (thesis §3.10).
    TimeoutNow {
        /// The leader's term.
        term: Epoch,
    },
    /// Which term are you in? Asked by a replica whose disk has lost promises.
    TermQuery {
        /// The sender's current term, as far as it remembers.
        term: Epoch,
        /// Marks this round of questions of this life of the sender.
        nonce: u64,
    },
    /// Answers `TermQuery`.
    TermReply {
        /// The sender's current term; it is on disk.
        term: Epoch,
        /// The nonce of the question.
        nonce: u64,
        /// Whether it is in doubt too: in this life it has neither voted nor stood nor led.
        in_doubt: bool,
        /// The membership in force in its log, without its context.
        membership: Arc<Membership>,
    },
}

/// Why a candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It has not heard from a leader: a voter that has refuses it.
    Silence,
    /// The leader itself asked it to.
    Transfer,
}

/// A leader's entries for one follower; without entries, a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Append {
    /// The leader's term.
    pub term: Epoch,
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

impl Append {
    /// The last index that this Append speaks of.
    pub fn end(&self) -> LogIndex {
        LogIndex(self.prev.index.0 + self.entries.len() as u64)
    }

    fn check(&self) -> Result<(), &'static str> {
        let end = check_entries(self.prev, &self.entries, self.term)?;
        if end > self.last || self.commit > self.last {
            return Err("a leader spoke of more than its log");
        }
        Ok(())
    }
}

/// A follower's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AppendReply {
    /// The follower's current term.
    pub term: Epoch,
    /// Echo of the request's round; 0 where it answers none.
    pub round: u64,
    /// Echo of the request's link.
    pub link: Link,
    /// What became of the request.
    pub outcome: Outcome,
    /// For how long the follower elects nobody else, from when it had received the request; zero if it grants no
    /// lease.
    pub grant: Duration,
}

/// What became of an Append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The follower's log agrees with what the request showed, and is on disk up to `matched`.
    Accepted {
        /// Durable, and equal to the leader's log.
        matched: LogIndex,
    },
    /// The follower does not hold the request's `prev`.
    Rejected {
        /// The index of the request's `prev`.
        prev: LogIndex,
        /// The follower's highest entry before it whose term is not above `prev`'s: nothing that
        /// comes after it can match.
        hint: Position,
    },
    /// The follower is fetching the snapshot that it was told to fetch.
    Fetching,
    /// The follower's disk has lost what it acknowledged: count nothing of it, and put this nonce
    /// into the link.
    InDoubt {
        /// Marks this life of the follower.
        nonce: u64,
    },
    /// The request was of an older term than the follower's.
    Stale,
}

impl Message {
    /// The sender's term.
    pub fn term(&self) -> Epoch {
        match self {
            Self::PreVote { term, .. }
            | Self::PreVoteReply { term, .. }
            | Self::Vote { term, .. }
            | Self::VoteReply { term, .. }
            | Self::Commit { term, .. }
            | Self::Snapshot { term, .. }
            | Self::TimeoutNow { term }
            | Self::TermQuery { term, .. }
            | Self::TermReply { term, .. } => *term,
            Self::Append(append) => append.term,
            Self::AppendReply(reply) => reply.term,
        }
    }

    /// Whether it answers another message.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::PreVoteReply { .. }
            | Self::VoteReply { .. }
            | Self::AppendReply(_)
            | Self::TermReply { .. } => true,
            Self::PreVote { .. }
            | Self::Vote { .. }
            | Self::Append(_)
            | Self::Commit { .. }
            | Self::Snapshot { .. }
            | Self::TimeoutNow { .. }
            | Self::TermQuery { .. } => false,
        }
    }

    /// Whether a correct replica could have sent this, and if not, why.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        check_number(self.term().round)?;
        if self.term().proposer != 0 {
            return Err("a term has no proposer");
        }
        match self {
            Self::PreVote { term, last } | Self::Vote { term, last, .. } => {
                check_position(*last, *term)
            }
            Self::Commit { term, position } => check_position(*position, *term),
            Self::Append(append) => {
                check_position(append.prev, append.term)?;
                check_number(append.last.0)?;
                append.check()
            }
            Self::Snapshot { term, position, last, skip, .. } => {
                check_skip(skip.as_deref())?;
                check_position(*position, *term)?;
                check_number(last.0)?;
                if position.index > *last {
                    return Err("a snapshot position is beyond its leader's log");
                }
                Ok(())
            }
            Self::AppendReply(reply) => match reply.outcome {
                Outcome::Accepted { matched } => check_number(matched.0),
                Outcome::Rejected { prev, hint } if hint.index >= prev => {
                    Err("a hint does not lead back")
                }
                Outcome::Rejected { .. }
                | Outcome::Fetching
                | Outcome::InDoubt { .. }
                | Outcome::Stale => Ok(()),
            },
            Self::PreVoteReply { .. }
            | Self::VoteReply { .. }
            | Self::TimeoutNow { .. }
            | Self::TermQuery { .. } => Ok(()),
            Self::TermReply { membership, .. } if membership.is_unknown() => Ok(()),
            Self::TermReply { membership, .. } => membership.check(),
        }
    }
}
