//! What nodes say to each other, and its bytes (`docs/formats/wire.md`).
//!
//! Consensus knows no bytes, so its messages are encoded here. Every envelope names the cluster and
//! both ends: a node drops what was meant for another cluster or another node, however it came.

mod parts;
mod paxos;
mod raft;
mod zab;

use consensus::{Message, Position};
use engine::Chunk;
use wire::{DecodeError, GroupId, NodeId, Reader, Writer};

pub(crate) use parts::{decode_membership, decode_position, encode_membership, encode_position};

/// A message with its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerEnvelope {
    /// [`fingerprint`] of the cluster's name.
    pub cluster: u64,
    /// Who sent it.
    pub from: NodeId,
    /// For whom it is.
    pub to: NodeId,
    /// What it says.
    pub message: PeerMessage,
}

/// What one node says to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// Between two replicas of a group.
    Consensus {
        /// The group.
        group: GroupId,
        /// The message.
        message: Message,
    },
    /// Asks for one chunk of a snapshot. The receiver of a snapshot sets the pace.
    FetchChunk {
        /// The group.
        group: GroupId,
        /// The asker's name for the whole fetch.
        fetch: u64,
        /// Which chunk, from 0.
        sequence: u64,
        /// How far the snapshot must reach.
        at_least: Position,
    },
    /// One chunk.
    Chunk {
        /// The group.
        group: GroupId,
        /// The fetch.
        fetch: u64,
        /// How far the snapshot reaches.
        applied: Position,
        /// The chunk.
        chunk: Chunk,
    },
    /// The chunk can't be had; begin a new fetch.
    NoChunk {
        /// The group.
        group: GroupId,
        /// The fetch.
        fetch: u64,
    },
}

/// A cluster's name as a number: FNV-1a, 64 bits. It guards against mistakes, not against malice.
pub fn fingerprint(cluster: &str) -> u64 {
    cluster.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

impl PeerEnvelope {
    /// Appends its encoding.
    pub fn encode(&self, out: &mut Writer) {
        out.raw(&self.cluster.to_le_bytes()).varint(self.from.0).varint(self.to.0);
        match &self.message {
            PeerMessage::Consensus { group, message } => {
                out.u8(1).varint(group.0);
                match message {
                    Message::Raft(message) => {
                        out.u8(1);
                        raft::encode(message, out);
                    }
                    Message::Paxos(message) => {
                        out.u8(2);
                        paxos::encode(message, out);
                    }
                    Message::Zab(message) => {
                        out.u8(3);
                        zab::encode(message, out);
                    }
                }
            }
            PeerMessage::FetchChunk { group, fetch, sequence, at_least } => {
                out.u8(2).varint(group.0).varint(*fetch).varint(*sequence);
                encode_position(*at_least, out);
            }
            PeerMessage::Chunk { group, fetch, applied, chunk } => {
                out.u8(3).varint(group.0).varint(*fetch);
                encode_position(*applied, out);
                out.varint(chunk.sequence).u8(u8::from(chunk.last)).bytes(&chunk.bytes);
            }
            PeerMessage::NoChunk { group, fetch } => {
                out.u8(4).varint(group.0).varint(*fetch);
            }
        }
    }

    /// Reads an envelope; entries' bytes are slices of the input.
    pub fn decode(input: &mut Reader) -> Result<Self, DecodeError> {
        let cluster = u64::from(input.u32("cluster")?) | u64::from(input.u32("cluster")?) << 32;
        let from = NodeId(input.varint("sender")?);
        let to = NodeId(input.varint("receiver")?);
        let message = match input.u8("peer message")? {
            1 => {
                let group = GroupId(input.varint("group")?);
                let message = match input.u8("protocol")? {
                    1 => Message::Raft(raft::decode(input)?),
                    2 => Message::Paxos(paxos::decode(input)?),
                    3 => Message::Zab(zab::decode(input)?),
                    _ => return Err(input.malformed("protocol")),
                };
                PeerMessage::Consensus { group, message }
            }
            2 => PeerMessage::FetchChunk {
                group: GroupId(input.varint("group")?),
                fetch: input.varint("fetch")?,
                sequence: input.varint("sequence")?,
                at_least: decode_position(input)?,
            },
            3 => PeerMessage::Chunk {
                group: GroupId(input.varint("group")?),
                fetch: input.varint("fetch")?,
                applied: decode_position(input)?,
                chunk: Chunk {
                    sequence: input.varint("sequence")?,
                    last: input.u8("last")? != 0,
                    bytes: input.bytes("chunk")?,
                },
            },
            4 => PeerMessage::NoChunk {
                group: GroupId(input.varint("group")?),
                fetch: input.varint("fetch")?,
            },
            _ => return Err(input.malformed("peer message")),
        };
        input.end("peer message")?;
        Ok(Self { cluster, from, to, message })
    }
}

#[cfg(test)]
mod tests;
