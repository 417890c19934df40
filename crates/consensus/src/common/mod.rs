//! What the protocols have in common: the bookkeeping of a replica, free of any protocol's rules.
//!
//! A protocol decides *what* may be promised, accepted and committed. How a promise gets to disk before
//! the message that reports it, what a write under way makes durable, how far a follower is and how
//! much may be sent ahead of its answers, how much of the log is kept, and how reads share one question
//! to a quorum is the same for all of them, and stands here.

pub(crate) mod asking;
pub(crate) mod durability;
pub(crate) mod inflight;
pub(crate) mod link;
pub(crate) mod log;
pub(crate) mod progress;
pub(crate) mod random;
pub(crate) mod reads;
pub(crate) mod retention;
mod writes;

use bytes::Bytes;

use crate::{Accepted, Entry, News, Output, Payload, Position, ProposalId, ReadId, ReplicaId};

/// The largest epoch and log index that are believed. It leaves room to count on.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// Whether a number from outside can be believed.
pub(crate) fn check_number(number: u64) -> Result<(), &'static str> {
    if number > MAX_NUMBER { Err("a number is impossibly high") } else { Ok(()) }
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
