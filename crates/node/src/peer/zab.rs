//! Zab's messages.

use std::time::Duration;

use consensus::zab::{
    Ack, AckEpoch, Message, Notification, Outcome, Propose, Standing, Truncate, Vote,
};
use consensus::{LogIndex, ReplicaId};
use wire::{DecodeError, Reader, Writer};

use super::parts::{
    decode_entries, decode_epoch, decode_grant, decode_link, decode_membership, decode_position,
    decode_skip, encode_entries, encode_epoch, encode_grant, encode_link, encode_membership,
    encode_position, encode_skip, flag, kind_of_answer,
};

/// Kinds of an answer to the leader: with a grant, and without.
const GRANTING: [u8; 2] = [13, 8];

pub(super) fn encode(message: &Message, out: &mut Writer) {
    use Message as M;
    match message {
        M::Notification(notification) => {
            out.u8(1).varint(notification.round);
            encode_epoch(notification.epoch, out);
            encode_standing(notification.standing, out);
        }
        M::FollowerInfo { epoch, in_doubt } => {
            out.u8(2);
            encode_epoch(*epoch, out);
            out.u8(u8::from(*in_doubt));
        }
        M::NewEpoch { epoch, nonce } => {
            out.u8(3);
            encode_epoch(*epoch, out);
            out.varint(*nonce);
        }
        M::AckEpoch(ack) => {
            out.u8(4);
            encode_epoch(ack.epoch, out);
            out.varint(ack.nonce).u8(u8::from(ack.promised));
            encode_position(ack.last, out);
            encode_position(ack.binding, out);
            out.varint(ack.doubt);
        }
        M::Truncate(truncate) => {
            out.u8(5);
            encode_epoch(truncate.epoch, out);
            encode_position(truncate.from, out);
            encode_position(truncate.to, out);
            out.varint(truncate.round).varint(truncate.last.0);
            encode_link(truncate.link, out);
        }
        M::Snapshot { epoch, position, round, last, link, skip } => {
            out.u8(6);
            encode_epoch(*epoch, out);
            encode_position(*position, out);
            out.varint(*round).varint(last.0);
            encode_link(*link, out);
            encode_skip(skip.as_ref(), out);
        }
        M::Propose(propose) => {
            out.u8(7);
            encode_propose(propose, out);
        }
        M::Ack(ack) => {
            out.u8(kind_of_answer(ack.grant, GRANTING));
            encode_epoch(ack.epoch, out);
            out.varint(ack.round);
            encode_link(ack.link, out);
            encode_outcome(ack.outcome, out);
            encode_grant(ack.grant, out);
        }
        M::Commit { epoch, position } => {
            out.u8(9);
            encode_epoch(*epoch, out);
            encode_position(*position, out);
        }
        M::HandOver { epoch } => {
            out.u8(10);
            encode_epoch(*epoch, out);
        }
        M::EpochQuery { epoch, nonce } => {
            out.u8(11);
            encode_epoch(*epoch, out);
            out.varint(*nonce);
        }
        M::EpochReply { epoch, nonce, in_doubt, membership } => {
            out.u8(12);
            encode_epoch(*epoch, out);
            out.varint(*nonce).u8(u8::from(*in_doubt));
            encode_membership(membership, out);
        }
    }
}

pub(super) fn decode(input: &mut Reader) -> Result<Message, DecodeError> {
    use Message as M;
    Ok(match input.u8("zab message")? {
        1 => M::Notification(Notification {
            round: input.varint("round")?,
            epoch: decode_epoch(input)?,
            standing: decode_standing(input)?,
        }),
        2 => M::FollowerInfo { epoch: decode_epoch(input)?, in_doubt: flag(input)? },
        3 => M::NewEpoch { epoch: decode_epoch(input)?, nonce: input.varint("nonce")? },
        4 => M::AckEpoch(AckEpoch {
            epoch: decode_epoch(input)?,
            nonce: input.varint("nonce")?,
            promised: flag(input)?,
            last: decode_position(input)?,
            binding: decode_position(input)?,
            doubt: input.varint("doubt")?,
        }),
        5 => M::Truncate(Truncate {
            epoch: decode_epoch(input)?,
            from: decode_position(input)?,
            to: decode_position(input)?,
            round: input.varint("round")?,
            last: LogIndex(input.varint("last")?),
            link: decode_link(input)?,
        }),
        6 => M::Snapshot {
            epoch: decode_epoch(input)?,
            position: decode_position(input)?,
            round: input.varint("round")?,
            last: LogIndex(input.varint("last")?),
            link: decode_link(input)?,
            skip: decode_skip(input)?,
        },
        7 => M::Propose(decode_propose(input)?),
        kind if GRANTING.contains(&kind) => M::Ack(Ack {
            epoch: decode_epoch(input)?,
            round: input.varint("round")?,
            link: decode_link(input)?,
            outcome: decode_outcome(input)?,
            grant: if kind == GRANTING[0] { decode_grant(input)? } else { Duration::ZERO },
        }),
        9 => M::Commit { epoch: decode_epoch(input)?, position: decode_position(input)? },
        10 => M::HandOver { epoch: decode_epoch(input)? },
        11 => M::EpochQuery { epoch: decode_epoch(input)?, nonce: input.varint("nonce")? },
        12 => M::EpochReply {
            epoch: decode_epoch(input)?,
            nonce: input.varint("nonce")?,
            in_doubt: flag(input)?,
            membership: decode_membership(input)?,
        },
        _ => return Err(input.malformed("zab message")),
    })
}

fn encode_standing(standing: Standing, out: &mut Writer) {
    match standing {
        Standing::Looking(Vote { last, blessed, witness, leader }) => {
            out.u8(0);
            encode_position(last, out);
            out.u8(u8::from(blessed)).u8(u8::from(witness)).varint(leader.0);
        }
        Standing::Watching => {
            out.u8(1);
        }
        Standing::Following(leader) => {
            out.u8(2).varint(leader.0);
        }
        Standing::Leading => {
            out.u8(3);
        }
    }
}

fn decode_standing(input: &mut Reader) -> Result<Standing, DecodeError> {
    Ok(match input.u8("standing")? {
        0 => Standing::Looking(Vote {
            last: decode_position(input)?,
            blessed: flag(input)?,
            witness: flag(input)?,
            leader: ReplicaId(input.varint("leader")?),
        }),
        1 => Standing::Watching,
        2 => Standing::Following(ReplicaId(input.varint("leader")?)),
        3 => Standing::Leading,
        _ => return Err(input.malformed("standing")),
    })
}

fn encode_propose(propose: &Propose, out: &mut Writer) {
    encode_epoch(propose.epoch, out);
    encode_position(propose.prev, out);
    out.varint(propose.commit.0).varint(propose.round).varint(propose.last.0);
    encode_link(propose.link, out);
    encode_entries(&propose.entries, out);
}

fn decode_propose(input: &mut Reader) -> Result<Propose, DecodeError> {
    let epoch = decode_epoch(input)?;
    let prev = decode_position(input)?;
    Ok(Propose {
        epoch,
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
        Outcome::Ends { prev, last } => {
            out.u8(1).varint(prev.0);
            encode_position(last, out);
        }
        Outcome::Fetching => {
            out.u8(2);
        }
        Outcome::InDoubt { nonce, last } => {
            out.u8(3).varint(nonce);
            encode_position(last, out);
        }
        Outcome::Stale => {
            out.u8(4);
        }
    }
}

fn decode_outcome(input: &mut Reader) -> Result<Outcome, DecodeError> {
    Ok(match input.u8("outcome")? {
        0 => Outcome::Accepted { matched: LogIndex(input.varint("matched")?) },
        1 => Outcome::Ends {
            prev: LogIndex(input.varint("asked index")?),
            last: decode_position(input)?,
        },
        2 => Outcome::Fetching,
        3 => Outcome::InDoubt { nonce: input.varint("nonce")?, last: decode_position(input)? },
        4 => Outcome::Stale,
        _ => return Err(input.malformed("outcome")),
    })
}
