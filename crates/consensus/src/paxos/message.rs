//! What replicas say to one another. Plain data: the node encodes it.
//!
//! A reply repeats what is needed to tell which request it answers, because any message may be
//! late, doubled or out of order. [`Message::check`] holds what every message from outside must
//! satisfy before a rule of the protocol looks at it.

use std::sync::Arc;
use std::time::Duration;

use crate::common::link::Link;
use crate::common::{check_number, check_skip};
use crate::{Entry, Epoch, LogIndex, Membership, Payload, Position, ReplicaId};

use super::stamp::{MAX_PROPOSER, MAX_ROUND};

/// The most slots beyond its last one that an acceptor leaves open before one that it accepts. Each is
/// written to its disk as a gap; what lies further ahead it does not take yet.
pub const MAX_GAP: u64 = 4096;

/// A message between two replicas of one group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Could I lead? Changes nothing.
    PrePrepare {
        /// What the sender has promised.
        ballot: Epoch,
    },
    /// Answers `PrePrepare`.
    PrePromise {
        /// What the sender has promised.
        ballot: Epoch,
        /// The `ballot` of the question.
        asked: Epoch,
        /// Whether it would promise a higher ballot now.
        granted: bool,
        /// Who lacks slots before this can't learn them from the sender.
        base: Base,
    },
    /// Phase 1a: promise me this ballot, and tell what you have accepted.
    Prepare {
        /// The sender's new ballot.
        ballot: Epoch,
        /// It knows all slots before this one.
        from: LogIndex,
        /// Why it stands.
        cause: Cause,
        /// Marks this candidacy. A candidate whose disk lost a ballot may open it once more: promises
        /// to its former life must not count then.
        nonce: u64,
    },
    /// Phase 1b: a promise, with a part of what was accepted.
    Promise(Promise),
    /// Answers a `Prepare` of a ballot below what the sender has promised.
    Nack {
        /// What it has promised.
        ballot: Epoch,
        /// The ballot that it refuses.
        asked: Epoch,
    },
    /// Phase 2a: a run of slots, a heartbeat, or both.
    Accept(Accept),
    /// Answers `Accept` (phase 2b) and `Snapshot`.
    AcceptReply(AcceptReply),
    /// More is chosen. Needs no answer: a lost one is made up for by the next Accept.
    Commit {
        /// The leader's ballot.
        ballot: Epoch,
        /// All slots up to this one are chosen.
        index: LogIndex,
    },
    /// The follower needs slots that the leader no longer has: let it fetch a snapshot.
    Snapshot {
        /// The leader's ballot.
        ballot: Epoch,
        /// Where the leader's slots begin.
        base: Base,
        /// As in [`Accept`].
        round: u64,
        /// As in [`Accept`].
        last: LogIndex,
        /// As in [`Accept`].
        link: Link,
        /// For a witness, which keeps no data: the membership in force there. It needs nothing else, and lets its
        /// log begin there as well.
        skip: Option<Arc<Membership>>,
    },
    /// Stand at once: leadership is handed to you.
    TakeOver {
        /// The leader's ballot.
        ballot: Epoch,
    },
    /// What have you promised? Asked by a replica whose disk has lost promises.
    BallotQuery {
        /// What the sender has promised, as far as it remembers.
        ballot: Epoch,
        /// Marks this round of questions of this life of the sender.
        nonce: u64,
    },
    /// Answers `BallotQuery`.
    BallotReply {
        /// What the sender has promised; it is on disk.
        ballot: Epoch,
        /// The nonce of the question.
        nonce: u64,
        /// Whether it is in doubt too: in this life it has neither promised nor stood nor led.
        in_doubt: bool,
        /// The membership in force in its slots, without its context.
        membership: Arc<Membership>,
    },
}

/// Where a replica's slots begin: all up to here are chosen, and it no longer has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Base {
    /// The last of them.
    pub position: Position,
    /// Each of them was chosen under this ballot or a lower one. So whoever has accepted values for
    /// them under this ballot or higher ones has those that were chosen. The default: that is not known.
    pub under: Epoch,
}

/// Why a candidate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It has not heard from a leader: an acceptor that has refuses it.
    Silence,
    /// The leader of this ballot itself asked it to.
    Transfer {
        /// What it has promised that leader.
        of: Epoch,
    },
}

/// One accepted proposal: ballot, slot and value (*Paxos Made Simple* §2.2; the `pvalue` of PMMC §2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Acceptance {
    /// Under which ballot it was accepted.
    pub ballot: Epoch,
    /// Slot and value. The position's epoch is the value's origin.
    pub entry: Entry,
}

/// A page of an acceptor's promise.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Promise {
    /// The ballot that it has promised.
    pub ballot: Epoch,
    /// The nonce of the request.
    pub nonce: u64,
    /// The `from` of the request: the page begins there.
    pub from: LogIndex,
    /// Where the acceptor's slots begin.
    pub base: Base,
    /// All slots up to this one are chosen, and the acceptor holds the values that were.
    pub chosen: LogIndex,
    /// What it has accepted, by ascending slots.
    pub accepted: Vec<Acceptance>,
    /// Whether there is more after the last of `accepted`.
    pub more: bool,
}

/// A leader's proposals for one acceptor; without entries, a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Accept {
    /// The leader's ballot.
    pub ballot: Epoch,
    /// The slot of the first of `entries`; all slots before it have been sent.
    pub first: LogIndex,
    /// Values of consecutive slots. The epoch of each position is the value's origin.
    pub entries: Vec<Entry>,
    /// All slots up to this one are chosen.
    pub commit: LogIndex,
    /// The leader's latest read round; its echo confirms that round.
    pub round: u64,
    /// The last slot for which the leader has proposed.
    pub last: LogIndex,
    /// To be echoed.
    pub link: Link,
}

impl Accept {
    /// The last slot that this Accept speaks of.
    pub fn end(&self) -> LogIndex {
        LogIndex(self.first.0 + self.entries.len() as u64 - 1)
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.first == LogIndex(0) {
            return Err("there is no slot 0");
        }
        let mut next = self.first;
        for entry in &self.entries {
            if entry.position.index != next {
                return Err("slots are not consecutive");
            }
            check_origin(entry.position.epoch, self.ballot)?;
            check_payload(entry)?;
            next = next.next();
        }
        if self.end() > self.last || self.commit > self.last {
            return Err("a leader spoke of more than it has proposed");
        }
        Ok(())
    }
}

/// A follower's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AcceptReply {
    /// What the follower has promised.
    pub ballot: Epoch,
    /// Echo of the request's round; 0 where it answers none.
    pub round: u64,
    /// Echo of the request's link.
    pub link: Link,
    /// What became of the request.
    pub outcome: Outcome,
    /// For how long the acceptor elects nobody else, from when it had received the request; zero if it grants no
    /// lease.
    pub grant: Duration,
}

/// What became of an Accept. To hold a slot means here: to have accepted it in the leader's ballot,
/// durably, or to know that the value held was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It holds all slots up to `matched`.
    Accepted {
        /// The last of them.
        matched: LogIndex,
    },
    /// It holds all slots up to `matched`, and those from `first` through `last`, if there are any;
    /// but between them it lacks some, which were sent earlier.
    Gap {
        /// The last slot of those at the beginning that are held, and durably so.
        matched: LogIndex,
        /// The first slot that is lacking.
        missing: LogIndex,
        /// The request's first slot.
        first: LogIndex,
        /// The request's last slot, or the one before `first` if nothing was accepted.
        last: LogIndex,
    },
    /// The follower is fetching the snapshot that it was told to fetch.
    Fetching,
    /// The follower's disk has lost what it acknowledged: count nothing of it, and put this nonce
    /// into the link.
    InDoubt {
        /// Marks this life of the follower.
        nonce: u64,
    },
    /// The request was of a lower ballot than the follower has promised.
    Stale,
}

impl Message {
    /// What the sender has promised.
    pub fn ballot(&self) -> Epoch {
        match self {
            Self::PrePrepare { ballot }
            | Self::PrePromise { ballot, .. }
            | Self::Prepare { ballot, .. }
            | Self::Nack { ballot, .. }
            | Self::Commit { ballot, .. }
            | Self::Snapshot { ballot, .. }
            | Self::TakeOver { ballot }
            | Self::BallotQuery { ballot, .. }
            | Self::BallotReply { ballot, .. } => *ballot,
            Self::Promise(promise) => promise.ballot,
            Self::Accept(accept) => accept.ballot,
            Self::AcceptReply(reply) => reply.ballot,
        }
    }

    /// Whether it answers another message.
    pub(crate) fn is_answer(&self) -> bool {
        match self {
            Self::PrePromise { .. }
            | Self::Promise(_)
            | Self::Nack { .. }
            | Self::AcceptReply(_)
            | Self::BallotReply { .. } => true,
            Self::PrePrepare { .. }
            | Self::Prepare { .. }
            | Self::Accept(_)
            | Self::Commit { .. }
            | Self::Snapshot { .. }
            | Self::TakeOver { .. }
            | Self::BallotQuery { .. } => false,
        }
    }

    /// Whether a correct replica could have sent this, and if not, why.
    pub(super) fn check(&self, from: ReplicaId) -> Result<(), &'static str> {
        check_ballot(self.ballot())?;
        match self {
            Self::Prepare { ballot, from: slot, cause, .. } => {
                check_owner(*ballot, from)?;
                if let Cause::Transfer { of } = cause {
                    check_ballot(*of)?;
                    if of >= ballot {
                        return Err("a leader hands over to a higher ballot");
                    }
                }
                check_slot(*slot)
            }
            Self::Commit { ballot, index } => {
                check_owner(*ballot, from)?;
                check_number(index.0)
            }
            Self::TakeOver { ballot } => check_owner(*ballot, from),
            Self::Accept(accept) => {
                check_owner(accept.ballot, from)?;
                check_number(accept.last.0)?;
                check_number(accept.first.0)?;
                accept.check()
            }
            Self::Snapshot { ballot, base, last, skip, .. } => {
                check_skip(skip.as_deref())?;
                check_owner(*ballot, from)?;
                check_number(last.0)?;
                base.check()?;
                if base.position.index > *last {
                    return Err("a snapshot position is beyond its leader's slots");
                }
                Ok(())
            }
            Self::PrePromise { base, asked, .. } => {
                check_ballot(*asked)?;
                base.check()
            }
            Self::Promise(promise) => promise.check(),
            Self::AcceptReply(reply) => reply.outcome.check(),
            Self::Nack { asked, .. } => check_ballot(*asked),
            Self::PrePrepare { .. } | Self::BallotQuery { .. } => Ok(()),
            Self::BallotReply { membership, .. } if membership.is_unknown() => Ok(()),
            Self::BallotReply { membership, .. } => membership.check(),
        }
    }
}

impl Promise {
    /// The last slot that this page speaks of.
    pub(super) fn end(&self) -> LogIndex {
        let last = self.accepted.last().map(|acceptance| acceptance.entry.position.index);
        last.unwrap_or(self.from.prev()).max(self.base.position.index)
    }

    fn check(&self) -> Result<(), &'static str> {
        check_slot(self.from)?;
        self.base.check()?;
        check_number(self.chosen.0)?;
        let mut before = self.from.prev().max(self.base.position.index);
        for acceptance in &self.accepted {
            let Position { index, epoch } = acceptance.entry.position;
            check_slot(index)?;
            if index <= before || index.0 - before.0 > MAX_GAP + 1 {
                return Err("slots do not ascend, or leave too wide a gap");
            }
            if acceptance.ballot > self.ballot || acceptance.ballot.round == 0 {
                return Err("an acceptor accepted above its promise");
            }
            check_ballot(acceptance.ballot)?;
            check_origin(epoch, acceptance.ballot)?;
            check_payload(&acceptance.entry)?;
            before = index;
        }
        if self.more && self.accepted.is_empty() {
            return Err("a page with more to come is empty");
        }
        Ok(())
    }
}

impl Base {
    fn check(self) -> Result<(), &'static str> {
        let Position { index, epoch } = self.position;
        check_number(index.0)?;
        if epoch.round > MAX_ROUND || epoch.proposer > MAX_PROPOSER {
            return Err("a value's origin is impossibly high");
        }
        check_ballot(self.under)
    }
}

impl Outcome {
    fn check(self) -> Result<(), &'static str> {
        match self {
            Self::Accepted { matched } => check_number(matched.0),
            Self::Gap { matched, missing, first, last } => {
                check_number(last.0)?;
                if matched >= missing || missing >= first || first > last.next() {
                    return Err("a gap is none");
                }
                Ok(())
            }
            Self::Fetching | Self::InDoubt { .. } | Self::Stale => Ok(()),
        }
    }
}

fn check_ballot(ballot: Epoch) -> Result<(), &'static str> {
    if ballot.round > MAX_ROUND || ballot.proposer > MAX_PROPOSER {
        return Err("a ballot is impossibly high");
    }
    if (ballot.round == 0) != (ballot.proposer == 0) {
        return Err("a ballot has a round and a proposer");
    }
    Ok(())
}

/// What only the owner of a ballot says.
fn check_owner(ballot: Epoch, from: ReplicaId) -> Result<(), &'static str> {
    if ballot.proposer == from.0 { Ok(()) } else { Err("a ballot is used by its proposer only") }
}

fn check_slot(slot: LogIndex) -> Result<(), &'static str> {
    check_number(slot.0)?;
    if slot == LogIndex(0) { Err("there is no slot 0") } else { Ok(()) }
}

/// The origin of a value that was proposed under `ballot`.
fn check_origin(origin: Epoch, ballot: Epoch) -> Result<(), &'static str> {
    if origin > ballot || origin.proposer > MAX_PROPOSER {
        return Err("a value is younger than its proposal");
    }
    Ok(())
}

/// Members that could not decide anything would stop whoever counts them.
fn check_payload(entry: &Entry) -> Result<(), &'static str> {
    match &entry.payload {
        Payload::Membership(membership) => membership.check(),
        Payload::Noop | Payload::Command(_) => Ok(()),
    }
}
