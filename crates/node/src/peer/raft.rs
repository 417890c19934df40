//! Raft's messages.

use std::time::Duration;

use consensus::LogIndex;
use consensus::raft::{Append, AppendReply, Cause, Message, Outcome};
use wire::{DecodeError, Reader, Writer};

use super::parts::{
    decode_entries, decode_epoch, decode_grant, decode_link, decode_membership, decode_position,
    decode_skip, encode_entries, encode_epoch, encode_grant, encode_link, encode_membership,
    encode_position, encode_skip, flag, kind_of_answer,
};

/// Kinds of an answer to the leader: with a grant, and without.
const GRANTING: [u8; 2] = [12, 6];

pub(super) fn encode(message: &Message, out: &mut Writer) {
    use Message as M;
    match message {
        M::PreVote { term, last } => {
            out.u8(1);
            encode_epoch(*term, out);
            encode_position(*last, out);
        }
        M::PreVoteReply { term, asked, granted } => {
            out.u8(2);
            encode_epoch(*term, out);
            encode_epoch(*asked, out);
            out.u8(u8::from(*granted));
        }
        M::Vote { term, last, cause, nonce } => {
            out.u8(3);
            encode_epoch(*term, out);
            encode_position(*last, out);
            out.u8(match cause {
                Cause::Silence => 0,
                Cause::Transfer => 1,
            });
            out.varint(*nonce);
        }
        M::VoteReply { term, granted, nonce } => {
            out.u8(4);
            encode_epoch(*term, out);
            out.u8(u8::from(*granted));
            out.varint(*nonce);
        }
        M::Append(append) => {
            out.u8(5);
            encode_append(append, out);
        }
        M::AppendReply(reply) => {
            out.u8(kind_of_answer(reply.grant, GRANTING));
            encode_epoch(reply.term, out);
            out.varint(reply.round);
            encode_link(reply.link, out);
            encode_outcome(reply.outcome, out);
            encode_grant(reply.grant, out);
        }
        M::Commit { term, position } => {
            out.u8(7);
            encode_epoch(*term, out);
            encode_position(*position, out);
        }
        M::Snapshot { term, position, round, last, link, skip } => {
            out.u8(8);
            encode_epoch(*term, out);
            encode_position(*position, out);
            out.varint(*round).varint(last.0);
            encode_link(*link, out);
            encode_skip(skip.as_ref(), out);
        }
        M::TimeoutNow { term } => {
            out.u8(9);
            encode_epoch(*term, out);
        }
        M::TermQuery { term, nonce } => {
            out.u8(10);
            encode_epoch(*term, out);
            out.varint(*nonce);
        }
        M::TermReply { term, nonce, in_doubt, membership } => {
            out.u8(11);
            encode_epoch(*term, out);
            out.varint(*nonce);
            out.u8(u8::from(*in_doubt));
            encode_membership(membership, out);
        }
    }
}

pub(super) fn decode(input: &mut Reader) -> Result<Message, DecodeError> {
    use Message as M;
    Ok(match input.u8("raft message")? {
        1 => M::PreVote { term: decode_epoch(input)?, last: decode_position(input)? },
        2 => M::PreVoteReply {
            term: decode_epoch(input)?,
            asked: decode_epoch(input)?,
            granted: flag(input)?,
        },
        3 => M::Vote {
            term: decode_epoch(input)?,
            last: decode_position(input)?,
            cause: match input.u8("cause")? {
                0 => Cause::Silence,
                1 => Cause::Transfer,
                _ => return Err(input.malformed("cause")),
            },
            nonce: input.varint("nonce")?,
        },
        4 => M::VoteReply {
            term: decode_epoch(input)?,
            granted: flag(input)?,
            nonce: input.varint("nonce")?,
        },
        5 => M::Append(decode_append(input)?),
        kind if GRANTING.contains(&kind) => M::AppendReply(AppendReply {
            term: decode_epoch(input)?,
            round: input.varint("round")?,
            link: decode_link(input)?,
            outcome: decode_outcome(input)?,
            grant: if kind == GRANTING[0] { decode_grant(input)? } else { Duration::ZERO },
        }),
        7 => M::Commit { term: decode_epoch(input)?, position: decode_position(input)? },
        8 => M::Snapshot {
            term: decode_epoch(input)?,
            position: decode_position(input)?,
            round: input.varint("round")?,
            last: LogIndex(input.varint("last")?),
            link: decode_link(input)?,
            skip: decode_skip(input)?,
        },
        9 => M::TimeoutNow { term: decode_epoch(input)? },
        10 => M::TermQuery { term: decode_epoch(input)?, nonce: input.varint("nonce")? },
        11 => M::TermReply {
            term: decode_epoch(input)?,
            nonce: input.varint("nonce")?,
            in_doubt: flag(input)?,
            membership: decode_membership(input)?,
        },
        _ => return Err(input.malformed("raft message")),
    })
}

fn encode_append(append: &Append, out: &mut Writer) {
    encode_epoch(append.term, out);
    encode_position(append.prev, out);
    out.varint(append.commit.0).varint(append.round).varint(append.last.0);
    encode_link(append.link, out);
    encode_entries(&append.entries, out);
}

fn decode_append(input: &mut Reader) -> Result<Append, DecodeError> {
    let term = decode_epoch(input)?;
    let prev = decode_position(input)?;
    Ok(Append {
        term,
        prev,
        commit: LogIndex(input.varint("commit")?),
        round: input.varint("round")?,
        last: LogIndex(input.varint("last")?),
        link: decode_link(input)?,
        entries: decode_entries(prev.index, input)?,
    })
}

fn encode_outcome(outcome: Outcome, out: &mut Writer) {
    match outcome {
        Outcome::Accepted { matched } => {
            out.u8(0).varint(matched.0);
        }
        Outcome::Rejected { prev, hint } => {
            out.u8(1).varint(prev.0);
            encode_position(hint, out);
        }
        Outcome::Fetching => {
            out.u8(2);
        }
        Outcome::InDoubt { nonce } => {
            out.u8(3).varint(nonce);
        }
        Outcome::Stale => {
            out.u8(4);
        }
    }
}

fn decode_outcome(input: &mut Reader) -> Result<Outcome, DecodeError> {
    Ok(match input.u8("outcome")? {
        0 => Outcome::Accepted { matched: LogIndex(input.varint("matched")?) },
        1 => Outcome::Rejected {
            prev: LogIndex(input.varint("rejected index")?),
            hint: decode_position(input)?,
        },
        2 => Outcome::Fetching,
        3 => Outcome::InDoubt { nonce: input.varint("nonce")? },
        4 => Outcome::Stale,
        _ => return Err(input.malformed("outcome")),
    })
}
