//! What the protocols have in common: the bookkeeping of a replica, free of any protocol's rules.
//!
//! A protocol decides *what* may be promised, accepted and committed. How a promise gets to disk before
//! the message that reports it, what a write under way makes durable, how far a follower is and how
//! much may be sent ahead of its answers, how much of the log is kept, and how reads share one question
//! to a quorum is the same for all of them, and stands here.

pub(crate) mod asking;
pub(crate) mod change;
pub(crate) mod durability;
pub(crate) mod inflight;
pub(crate) mod lease;
pub(crate) mod link;
pub(crate) mod log;
pub(crate) mod progress;
pub(crate) mod random;
pub(crate) mod reads;
pub(crate) mod restart;
pub(crate) mod retention;
pub(crate) mod transfer;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{
    Accepted, Config, Entry, Epoch, LogIndex, Membership, News, Output, Payload, Position,
    ProposalId, ReadId, ReplicaId,
};

/// The largest epoch and log index that are believed. It leaves room to count on.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// Whether a number from outside can be believed.
pub(crate) fn check_number(number: u64) -> Result<(), &'static str> {
    if number > MAX_NUMBER { Err("a number is impossibly high") } else { Ok(()) }
}

/// Whether a replica that is in `epoch` may speak of this position in its log, where epochs have no
/// proposer.
pub(crate) fn check_position(position: Position, epoch: Epoch) -> Result<(), &'static str> {
    check_number(position.index.0)?;
    if position.epoch > epoch || position.epoch.proposer != 0 {
        return Err("an entry's epoch is above its sender's");
    }
    if (position.index == LogIndex(0)) != (position.epoch.round == 0) {
        return Err("only the place before the log has no epoch");
    }
    Ok(())
}

/// Whether a leader of `epoch` may send these entries after `prev`; tells where they end.
pub(crate) fn check_entries(
    prev: Position,
    entries: &[Entry],
    epoch: Epoch,
) -> Result<LogIndex, &'static str> {
    let mut before = prev;
    for entry in entries {
        let position = entry.position;
        if position.index != before.index.next() {
            return Err("entries are not consecutive");
        }
        if position.epoch < before.epoch || position.epoch.round == 0 {
            return Err("an entry's epoch is lower than that of the one before it");
        }
        if let Payload::Membership(membership) = &entry.payload {
            membership.check()?;
        }
        before = position;
    }
    if before.epoch > epoch || before.epoch.proposer != 0 {
        return Err("an entry's epoch is above its leader's");
    }
    Ok(before.index)
}

/// Whether a witness may be sent on to a place where this membership is in force. Who joined later need
/// not know that with which the group began.
pub(crate) fn check_skip(membership: Option<&Membership>) -> Result<(), &'static str> {
    membership.filter(|membership| !membership.is_unknown()).map_or(Ok(()), Membership::check)
}

/// The membership in force where a witness is sent on to: that with which the group began, if the leader does
/// not know that.
pub(crate) fn skipped_to(membership: Arc<Membership>, config: &Config) -> Arc<Membership> {
    if membership.is_unknown() { Arc::new(config.first_membership()) } else { membership }
}

/// Gives proposals their places in the log, from `first` on.
pub(crate) fn place(
    first: Position,
    proposals: Vec<(ProposalId, Bytes)>,
) -> (Accepted, Vec<Entry>) {
    let mut ids = Vec::with_capacity(proposals.len());
    let mut entries = Vec::with_capacity(proposals.len());
    let mut position = first;
    for (id, command) in proposals {
        ids.push(id);
        entries.push(Entry { position, payload: Payload::Command(command) });
        position.index = position.index.next();
    }
    (Accepted { first, proposals: ids }, entries)
}

/// Says that a peer's message broke the protocol's rules.
pub(crate) fn dropped(from: ReplicaId, reason: &'static str, out: &mut Vec<Output>) {
    out.push(Output::News(News::Dropped { from, reason }));
}

/// How long a replica waits after its start before it asks whether it could lead: where a leader lives it is
/// heard within a heartbeat, and if not, that question disturbs nobody. So a group that starts as a
/// whole need not sit out an election timeout.
pub(crate) fn first_wait(config: &Config, random: &mut random::Random) -> Duration {
    let beat = config.heartbeat_interval;
    beat + random.below(beat * 2)
}

/// Refuses proposals and reads, if there are any.
pub(crate) fn refuse(
    proposals: Vec<ProposalId>,
    reads: Vec<ReadId>,
    leader: Option<ReplicaId>,
    out: &mut Vec<Output>,
) {
    if !proposals.is_empty() || !reads.is_empty() {
        out.push(Output::Refused { proposals, reads, leader });
    }
}
