//! What the protocols have in common: the bookkeeping of a replica, free of any protocol's rules.
//!
//! A protocol decides *what* may be promised, accepted and committed. How a promise gets to disk before
//! the message that reports it, what a write under way makes durable, how much may be sent ahead of its
//! answers, and how reads share one question to a quorum is the same for all of them, and stands here.

pub(crate) mod asking;
pub(crate) mod durability;
pub(crate) mod inflight;
pub(crate) mod log;
pub(crate) mod random;
pub(crate) mod reads;
mod writes;

use crate::{News, Output, ProposalId, ReadId, ReplicaId};

/// The largest epoch and log index that are believed. It leaves room to count on.
pub(crate) const MAX_NUMBER: u64 = 1 << 62;

/// Whether a number from outside can be believed.
pub(crate) fn check_number(number: u64) -> Result<(), &'static str> {
    if number > MAX_NUMBER { Err("a number is impossibly high") } else { Ok(()) }
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
