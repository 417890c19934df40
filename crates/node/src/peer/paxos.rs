//! Multi-Paxos's messages.

use std::time::Duration;

use consensus::LogIndex;
use consensus::paxos::{Accept, AcceptReply, Acceptance, Base, Cause, Message, Outcome, Promise};
use wire::{DecodeError, Reader, Writer};

use super::parts::{
    decode_entries, decode_entry, decode_epoch, decode_grant, decode_link, decode_membership,
    decode_position, decode_skip, encode_entries, encode_entry, encode_epoch, encode_grant,
    encode_link, encode_membership, encode_position, encode_skip, flag, kind_of_answer,
};

/// Kinds of an answer to the leader: with a grant, and without.
const GRANTING: [u8; 2] = [13, 7];

pub(super) fn encode(message: &Message, out: &mut Writer) {
    use Message as M;
    match message {
        M::PrePrepare { ballot } => {
            out.u8(1);
            encode_epoch(*ballot, out);
        }
        M::PrePromise { ballot, asked, granted, base } => {
            out.u8(2);
            encode_epoch(*ballot, out);
            encode_epoch(*asked, out);
            out.u8(u8::from(*granted));
            encode_base(*base, out);
        }
        M::Prepare { ballot, from, cause, nonce } => {
            out.u8(3);
            encode_epoch(*ballot, out);
            out.varint(from.0);
            match cause {
                Cause::Silence => {
                    out.u8(0);
                }
                Cause::Transfer { of } => {
                    out.u8(1);
                    encode_epoch(*of, out);
                }
            }
            out.varint(*nonce);
        }
        M::Promise(promise) => {
            out.u8(4);
            encode_promise(promise, out);
        }
        M::Nack { ballot, asked } => {
            out.u8(5);
            encode_epoch(*ballot, out);
            encode_epoch(*asked, out);
        }
        M::Accept(accept) => {
            out.u8(6);
            encode_accept(accept, out);
        }
        M::AcceptReply(reply) => {
            out.u8(kind_of_answer(reply.grant, GRANTING));
            encode_epoch(reply.ballot, out);
            out.varint(reply.round);
            encode_link(reply.link, out);
            encode_outcome(reply.outcome, out);
            encode_grant(reply.grant, out);
        }
        M::Commit { ballot, index } => {
            out.u8(8);
            encode_epoch(*ballot, out);
            out.varint(index.0);
        }
        M::Snapshot { ballot, base, round, last, link, skip } => {
            out.u8(9);
            encode_epoch(*ballot, out);
            encode_base(*base, out);
            out.varint(*round).varint(last.0);
            encode_link(*link, out);
            encode_skip(skip.as_ref(), out);
        }
        M::TakeOver { ballot } => {
            out.u8(10);
            encode_epoch(*ballot, out);
        }
        M::BallotQuery { ballot, nonce } => {
            out.u8(11);
            encode_epoch(*ballot, out);
            out.varint(*nonce);
        }
        M::BallotReply { ballot, nonce, in_doubt, membership } => {
            out.u8(12);
            encode_epoch(*ballot, out);
            out.varint(*nonce).u8(u8::from(*in_doubt));
            encode_membership(membership, out);
        }
    }
}

pub(super) fn decode(input: &mut Reader) -> Result<Message, DecodeError> {
    use Message as M;
    Ok(match input.u8("paxos message")? {
        1 => M::PrePrepare { ballot: decode_epoch(input)? },
        2 => M::PrePromise {
            ballot: decode_epoch(input)?,
            asked: decode_epoch(input)?,
            granted: flag(input)?,
            base: decode_base(input)?,
        },
        3 => M::Prepare {
            ballot: decode_epoch(input)?,
            from: LogIndex(input.varint("first slot")?),
            cause: match input.u8("cause")? {
                0 => Cause::Silence,
                1 => Cause::Transfer { of: decode_epoch(input)? },
                _ => return Err(input.malformed("cause")),
            },
            nonce: input.varint("nonce")?,
        },
        4 => M::Promise(decode_promise(input)?),
        5 => M::Nack { ballot: decode_epoch(input)?, asked: decode_epoch(input)? },
        6 => M::Accept(decode_accept(input)?),
        kind if GRANTING.contains(&kind) => M::AcceptReply(AcceptReply {
            ballot: decode_epoch(input)?,
            round: input.varint("round")?,
            link: decode_link(input)?,
            outcome: decode_outcome(input)?,
            grant: if kind == GRANTING[0] { decode_grant(input)? } else { Duration::ZERO },
        }),
        8 => M::Commit { ballot: decode_epoch(input)?, index: LogIndex(input.varint("commit")?) },
        9 => M::Snapshot {
            ballot: decode_epoch(input)?,
            base: decode_base(input)?,
            round: input.varint("round")?,
            last: LogIndex(input.varint("last")?),
            link: decode_link(input)?,
            skip: decode_skip(input)?,
        },
        10 => M::TakeOver { ballot: decode_epoch(input)? },
        11 => M::BallotQuery { ballot: decode_epoch(input)?, nonce: input.varint("nonce")? },
        12 => M::BallotReply {
            ballot: decode_epoch(input)?,
            nonce: input.varint("nonce")?,
            in_doubt: flag(input)?,
            membership: decode_membership(input)?,
        },
        _ => return Err(input.malformed("paxos message")),
    })
}

fn encode_base(base: Base, out: &mut Writer) {
    encode_position(base.position, out);
    encode_epoch(base.under, out);
}

fn decode_base(input: &mut Reader) -> Result<Base, DecodeError> {
    Ok(Base { position: decode_position(input)?, under: decode_epoch(input)? })
}

/// Slots may be lacking between two acceptances, so each names its own.
fn encode_promise(promise: &Promise, out: &mut Writer) {
    encode_epoch(promise.ballot, out);
    out.varint(promise.nonce).varint(promise.from.0);
    encode_base(promise.base, out);
    out.varint(promise.chosen.0).u8(u8::from(promise.more));
    out.list(&promise.accepted, |out, accepted| {
        encode_epoch(accepted.ballot, out);
        out.varint(accepted.entry.position.index.0);
        encode_entry(&accepted.entry, out);
    });
}

fn decode_promise(input: &mut Reader) -> Result<Promise, DecodeError> {
    Ok(Promise {
        ballot: decode_epoch(input)?,
        nonce: input.varint("nonce")?,
        from: LogIndex(input.varint("first slot")?),
        base: decode_base(input)?,
        chosen: LogIndex(input.varint("chosen")?),
        more: flag(input)?,
        accepted: input.list("acceptances", |input| {
            let ballot = decode_epoch(input)?;
            let index = LogIndex(input.varint("slot")?);
            Ok(Acceptance { ballot, entry: decode_entry(index, input)? })
        })?,
    })
}

fn encode_accept(accept: &Accept, out: &mut Writer) {
    encode_epoch(accept.ballot, out);
    out.varint(accept.first.0).varint(accept.commit.0);
    out.varint(accept.round).varint(accept.last.0);
    encode_link(accept.link, out);
    encode_entries(&accept.entries, out);
}

fn decode_accept(input: &mut Reader) -> Result<Accept, DecodeError> {
    let ballot = decode_epoch(input)?;
    let first = LogIndex(input.varint("first slot")?);
    Ok(Accept {
        ballot,
        first,
        commit: LogIndex(input.varint("commit")?),
        round: input.varint("round")?,
        last: LogIndex(input.varint("last")?),
        link: decode_link(input)?,
        entries: decode_entries(first.prev(), input)?,
    })
}

fn encode_outcome(outcome: Outcome, out: &mut Writer) {
    match outcome {
        Outcome::Accepted { matched } => {
            out.u8(0).varint(matched.0);
        }
        Outcome::Gap { matched, first, last, missing } => {
            out.u8(1).varint(matched.0).varint(first.0).varint(last.0).varint(missing.0);
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
    let index = |what, input: &mut Reader| Ok(LogIndex(input.varint(what)?));
    Ok(match input.u8("outcome")? {
        0 => Outcome::Accepted { matched: index("matched", input)? },
        1 => Outcome::Gap {
            matched: index("matched", input)?,
            first: index("first slot", input)?,
            last: index("last slot", input)?,
            missing: index("missing slot", input)?,
        },
        2 => Outcome::Fetching,
        3 => Outcome::InDoubt { nonce: input.varint("nonce")? },
        4 => Outcome::Stale,
        _ => return Err(input.malformed("outcome")),
    })
}
