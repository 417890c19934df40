//! What the messages of all protocols are made of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use consensus::raft::Link;
use consensus::{Entry, Epoch, LogIndex, Membership, Payload, Position, ReplicaId};
use wire::{DecodeError, Reader, Writer};

pub(super) fn encode_epoch(epoch: Epoch, out: &mut Writer) {
    out.varint(epoch.round).varint(epoch.proposer);
}

pub(super) fn decode_epoch(input: &mut Reader) -> Result<Epoch, DecodeError> {
    Ok(Epoch { round: input.varint("round")?, proposer: input.varint("proposer")? })
}

pub(crate) fn encode_position(position: Position, out: &mut Writer) {
    out.varint(position.index.0);
    encode_epoch(position.epoch, out);
}

pub(crate) fn decode_position(input: &mut Reader) -> Result<Position, DecodeError> {
    Ok(Position { index: LogIndex(input.varint("index")?), epoch: decode_epoch(input)? })
}

pub(super) fn encode_link(link: Link, out: &mut Writer) {
    out.varint(link.session).varint(link.nonce);
}

pub(super) fn decode_link(input: &mut Reader) -> Result<Link, DecodeError> {
    Ok(Link { session: input.varint("session")?, nonce: input.varint("nonce")? })
}

/// An entry without its index.
pub(super) fn encode_entry(entry: &Entry, out: &mut Writer) {
    encode_epoch(entry.position.epoch, out);
    match &entry.payload {
        Payload::Noop => {
            out.u8(0);
        }
        Payload::Command(bytes) => {
            out.u8(1).bytes(bytes);
        }
        Payload::Membership(membership) => encode_membership(membership, out.u8(2)),
    }
}

pub(super) fn decode_entry(index: LogIndex, input: &mut Reader) -> Result<Entry, DecodeError> {
    let epoch = decode_epoch(input)?;
    let payload = match input.u8("payload")? {
        0 => Payload::Noop,
        1 => Payload::Command(input.bytes("command")?),
        2 => Payload::Membership(decode_membership(input)?),
        _ => return Err(input.malformed("payload")),
    };
    Ok(Entry { position: Position { index, epoch }, payload })
}

/// What a witness is told instead of fetching a snapshot.
pub(super) fn encode_skip(skip: Option<&Arc<Membership>>, out: &mut Writer) {
    out.option(skip, |out, membership| encode_membership(membership, out));
}

pub(super) fn decode_skip(input: &mut Reader) -> Result<Option<Arc<Membership>>, DecodeError> {
    input.option("skip", decode_membership)
}

/// Four sets of replicas, and the context.
pub(crate) fn encode_membership(membership: &Membership, out: &mut Writer) {
    let Membership { voters, outgoing, learners, witnesses, context } = membership;
    for set in [voters, outgoing, learners, witnesses] {
        let replicas: Vec<u64> = set.iter().map(|replica| replica.0).collect();
        out.list(&replicas, |out, replica| {
            out.varint(*replica);
        });
    }
    out.bytes(context);
}

pub(crate) fn decode_membership(input: &mut Reader) -> Result<Arc<Membership>, DecodeError> {
    let mut set = || -> Result<BTreeSet<ReplicaId>, DecodeError> {
        let replicas = input.list("members", |input| input.varint("member").map(ReplicaId))?;
        Ok(replicas.into_iter().collect())
    };
    let (voters, outgoing, learners, witnesses) = (set()?, set()?, set()?, set()?);
    let context = input.bytes("context")?;
    Ok(Arc::new(Membership { voters, outgoing, learners, witnesses, context }))
}

/// Indexes follow from what stands before the first entry, so only epochs and payloads are sent.
pub(super) fn encode_entries(entries: &[Entry], out: &mut Writer) {
    out.list(entries, |out, entry| encode_entry(entry, out));
}

pub(super) fn decode_entries(
    prev: LogIndex,
    input: &mut Reader,
) -> Result<Vec<Entry>, DecodeError> {
    let mut index = prev;
    input.list("entries", |input| {
        index = LogIndex(index.0.checked_add(1).ok_or_else(|| input.malformed("entry index"))?);
        decode_entry(index, input)
    })
}

/// The kind of an answer: of one that grants a lease, or of one that does not.
pub(super) fn kind_of_answer(grant: Duration, [granting, other]: [u8; 2]) -> u8 {
    if grant.as_micros() > 0 { granting } else { other }
}

/// For how long an answer grants a lease, if its kind says that it does.
pub(super) fn encode_grant(grant: Duration, out: &mut Writer) {
    let micros = u64::try_from(grant.as_micros()).unwrap_or(u64::MAX);
    if micros > 0 {
        out.varint(micros);
    }
}

pub(super) fn decode_grant(input: &mut Reader) -> Result<Duration, DecodeError> {
    match input.varint("grant")? {
        0 => Err(input.malformed("grant")),
        micros => Ok(Duration::from_micros(micros)),
    }
}

pub(super) fn flag(input: &mut Reader) -> Result<bool, DecodeError> {
    Ok(input.u8("flag")? != 0)
}
