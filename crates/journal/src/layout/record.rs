//! Records: a kind, then fields, then for an entry its payload to the record's end.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use consensus::{Entry, Epoch, HardState, LogIndex, Membership, Payload, Position, ReplicaId};

use super::Reader;
use crate::LogId;

/// Bytes before a record's kind: its length and its checksum.
pub(super) const PREFIX_BYTES: usize = 8;
const POSITION_BYTES: usize = 24;
const HARD_STATE_BYTES: usize = 25;
const KIND_AND_LOG_BYTES: usize = 9;
/// Length of a [`Logged::Restated`] record, with its prefix.
pub(crate) const RESTATED_BYTES: usize =
    PREFIX_BYTES + KIND_AND_LOG_BYTES + HARD_STATE_BYTES + 2 * POSITION_BYTES;

const HARD_STATE: u8 = 2;
const BASE_KEEPS: u8 = 3;
const BASE_VOIDS: u8 = 4;
const ENTRY: u8 = 5;
const RESTATED: u8 = 6;
const FORGOTTEN: u8 = 7;
const MEMBERSHIP: u8 = 8;

const NOOP: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERS: u8 = 2;

/// A voter or a learner.
const REPLICA_BYTES: usize = 8;

/// What a new base does to the entries after it. It is decided when it is written, for a reader
/// that no longer has the released segments could not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// The log held this very position: what follows it stays.
    Keeps,
    /// It did not: all entries are void.
    Voids,
}

/// A record as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Logged {
    HardState {
        log: LogId,
        hard_state: HardState,
    },
    Base {
        log: LogId,
        base: Position,
        effect: Base,
    },
    Entry {
        log: LogId,
        entry: Entry,
    },
    /// At a segment's head: what earlier segments add up to, so that they may go.
    Restated {
        log: LogId,
        hard_state: HardState,
        base: Position,
        last: Position,
    },
    /// The membership in force at the base.
    Membership {
        log: LogId,
        membership: Arc<Membership>,
    },
    Forgotten {
        log: LogId,
    },
}

impl Logged {
    /// Whose record it is.
    pub(crate) fn log(&self) -> LogId {
        match self {
            Self::HardState { log, .. }
            | Self::Base { log, .. }
            | Self::Entry { log, .. }
            | Self::Restated { log, .. }
            | Self::Membership { log, .. }
            | Self::Forgotten { log } => *log,
        }
    }

    /// Length in the journal, prefix and all.
    pub(crate) fn encoded_bytes(&self) -> usize {
        let fields = match self {
            Self::HardState { .. } => HARD_STATE_BYTES,
            Self::Base { .. } => POSITION_BYTES,
            Self::Entry { entry, .. } => POSITION_BYTES + 1 + payload_bytes(&entry.payload),
            Self::Membership { membership, .. } => membership_bytes(membership),
            Self::Restated { .. } => HARD_STATE_BYTES + 2 * POSITION_BYTES,
            Self::Forgotten { .. } => 0,
        };
        PREFIX_BYTES + KIND_AND_LOG_BYTES + fields
    }

    /// Appends kind, fields and payload.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let kind = match self {
            Self::HardState { .. } => HARD_STATE,
            Self::Base { effect: Base::Keeps, .. } => BASE_KEEPS,
            Self::Base { effect: Base::Voids, .. } => BASE_VOIDS,
            Self::Entry { .. } => ENTRY,
            Self::Restated { .. } => RESTATED,
            Self::Membership { .. } => MEMBERSHIP,
            Self::Forgotten { .. } => FORGOTTEN,
        };
        out.push(kind);
        out.extend_from_slice(&self.log().0.to_le_bytes());
        match self {
            Self::HardState { hard_state, .. } => put_hard_state(out, hard_state),
            Self::Base { base, .. } => put_position(out, base),
            Self::Entry { entry, .. } => {
                put_position(out, &entry.position);
                match &entry.payload {
                    Payload::Noop => out.push(NOOP),
                    Payload::Command(bytes) => {
                        out.push(COMMAND);
                        out.extend_from_slice(bytes);
                    }
                    Payload::Membership(membership) => {
                        out.push(MEMBERS);
                        put_membership(out, membership);
                    }
                }
            }
            Self::Restated { hard_state, base, last, .. } => {
                put_hard_state(out, hard_state);
                put_position(out, base);
                put_position(out, last);
            }
            Self::Membership { membership, .. } => put_membership(out, membership),
            Self::Forgotten { .. } => {}
        }
    }

    /// Reads what [`Logged::encode`] wrote; `None` if it is nothing that this version writes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let kind = reader.u8()?;
        let log = LogId(reader.u64()?);
        let logged = match kind {
            HARD_STATE => Self::HardState { log, hard_state: hard_state(&mut reader)? },
            BASE_KEEPS => Self::Base { log, base: position(&mut reader)?, effect: Base::Keeps },
            BASE_VOIDS => Self::Base { log, base: position(&mut reader)?, effect: Base::Voids },
            ENTRY => Self::Entry { log, entry: entry(&mut reader)? },
            RESTATED => Self::Restated {
                log,
                hard_state: hard_state(&mut reader)?,
                base: position(&mut reader)?,
                last: position(&mut reader)?,
            },
            MEMBERSHIP => Self::Membership { log, membership: membership(&mut reader)? },
            FORGOTTEN => Self::Forgotten { log },
            _ => return None,
        };
        reader.end()?;
        Some(logged)
    }
}

fn put_position(out: &mut Vec<u8>, position: &Position) {
    out.extend_from_slice(&position.index.0.to_le_bytes());
    put_epoch(out, position.epoch);
}

fn put_epoch(out: &mut Vec<u8>, epoch: Epoch) {
    out.extend_from_slice(&epoch.round.to_le_bytes());
    out.extend_from_slice(&epoch.proposer.to_le_bytes());
}

fn put_hard_state(out: &mut Vec<u8>, hard_state: &HardState) {
    put_epoch(out, hard_state.epoch);
    out.push(u8::from(hard_state.vote.is_some()));
    out.extend_from_slice(&hard_state.vote.map_or(0, |replica| replica.0).to_le_bytes());
}

fn payload_bytes(payload: &Payload) -> usize {
    match payload {
        Payload::Noop => 0,
        Payload::Command(bytes) => bytes.len(),
        Payload::Membership(membership) => membership_bytes(membership),
    }
}

fn membership_bytes(membership: &Membership) -> usize {
    let Membership { voters, outgoing, learners, witnesses, context } = membership;
    let sets = [voters, outgoing, learners, witnesses];
    sets.map(|set| 1 + set.len() * REPLICA_BYTES).iter().sum::<usize>() + context.len()
}

/// Four sets, each with its length before it, and the context to the record's end.
fn put_membership(out: &mut Vec<u8>, membership: &Membership) {
    let Membership { voters, outgoing, learners, witnesses, context } = membership;
    for set in [voters, outgoing, learners, witnesses] {
        out.push(u8::try_from(set.len()).expect("a group has few members"));
        for replica in set {
            out.extend_from_slice(&replica.0.to_le_bytes());
        }
    }
    out.extend_from_slice(context);
}

fn membership(reader: &mut Reader<'_>) -> Option<Arc<Membership>> {
    let mut set = || {
        let count = reader.u8()?;
        (0..count).map(|_| reader.u64().map(ReplicaId)).collect::<Option<BTreeSet<_>>>()
    };
    let (voters, outgoing, learners, witnesses) = (set()?, set()?, set()?, set()?);
    let context = Bytes::copy_from_slice(reader.rest());
    Some(Arc::new(Membership { voters, outgoing, learners, witnesses, context }))
}

fn position(reader: &mut Reader<'_>) -> Option<Position> {
    Some(Position { index: LogIndex(reader.number()?), epoch: epoch(reader)? })
}

fn epoch(reader: &mut Reader<'_>) -> Option<Epoch> {
    Some(Epoch { round: reader.number()?, proposer: reader.u64()? })
}

fn hard_state(reader: &mut Reader<'_>) -> Option<HardState> {
    let epoch = epoch(reader)?;
    let voted = reader.u8()?;
    let replica = reader.u64()?;
    let vote = match voted {
        0 => None,
        1 => Some(ReplicaId(replica)),
        _ => return None,
    };
    Some(HardState { epoch, vote })
}

fn entry(reader: &mut Reader<'_>) -> Option<Entry> {
    let position = position(reader)?;
    let payload = match reader.u8()? {
        NOOP => Payload::Noop,
        // Copied out: a slice would keep the whole segment's buffer in memory for it.
        COMMAND => Payload::Command(Bytes::copy_from_slice(reader.rest())),
        MEMBERS => Payload::Membership(membership(reader)?),
        _ => return None,
    };
    Some(Entry { position, payload })
}
