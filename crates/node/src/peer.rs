//! What nodes say to each other, and its bytes (`docs/formats/wire.md`).
//!
//! Consensus knows no bytes, so its messages are encoded here. Every envelope names the cluster and
//! both ends: a node drops what was meant for another cluster or another node, however it came.

use bytes::Bytes;
use consensus::raft::{self, Append, AppendReply, Cause, Link, Outcome};
use consensus::{Entry, Epoch, LogIndex, Message, Payload, Position};
use engine::Chunk;
use wire::{DecodeError, GroupId, NodeId, Reader, Writer};

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
                        encode_raft(message, out);
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
                match input.u8("protocol")? {
                    1 => {}
                    _ => return Err(input.malformed("protocol")),
                }
                let message = Message::Raft(decode_raft(input)?);
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

fn encode_epoch(epoch: Epoch, out: &mut Writer) {
    out.varint(epoch.round).varint(epoch.proposer);
}

fn decode_epoch(input: &mut Reader) -> Result<Epoch, DecodeError> {
    Ok(Epoch { round: input.varint("round")?, proposer: input.varint("proposer")? })
}

pub(crate) fn encode_position(position: Position, out: &mut Writer) {
    out.varint(position.index.0);
    encode_epoch(position.epoch, out);
}

pub(crate) fn decode_position(input: &mut Reader) -> Result<Position, DecodeError> {
    Ok(Position { index: LogIndex(input.varint("index")?), epoch: decode_epoch(input)? })
}

fn encode_link(link: Link, out: &mut Writer) {
    out.varint(link.session).varint(link.nonce);
}

fn decode_link(input: &mut Reader) -> Result<Link, DecodeError> {
    Ok(Link { session: input.varint("session")?, nonce: input.varint("nonce")? })
}

/// Indexes follow from `prev`, so only epochs and payloads are sent.
fn encode_entries(entries: &[Entry], out: &mut Writer) {
    out.list(entries, |out, entry| {
        encode_epoch(entry.position.epoch, out);
        match &entry.payload {
            Payload::Noop => {
                out.u8(0);
            }
            Payload::Command(bytes) => {
                out.u8(1).bytes(bytes);
            }
        }
    });
}

fn decode_entries(prev: LogIndex, input: &mut Reader) -> Result<Vec<Entry>, DecodeError> {
    let mut index = prev;
    input.list("entries", |input| {
        index = LogIndex(index.0.checked_add(1).ok_or_else(|| input.malformed("entry index"))?);
        let epoch = decode_epoch(input)?;
        let payload = match input.u8("payload")? {
            0 => Payload::Noop,
            1 => Payload::Command(input.bytes("command")?),
            _ => return Err(input.malformed("payload")),
        };
        Ok(Entry { position: Position { index, epoch }, payload })
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

fn encode_raft(message: &raft::Message, out: &mut Writer) {
    use raft::Message as M;
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
            out.u8(6);
            encode_epoch(reply.term, out);
            out.varint(reply.round);
            encode_link(reply.link, out);
            encode_outcome(reply.outcome, out);
        }
        M::Commit { term, position } => {
            out.u8(7);
            encode_epoch(*term, out);
            encode_position(*position, out);
        }
        M::Snapshot { term, position, round, last, link } => {
            out.u8(8);
            encode_epoch(*term, out);
            encode_position(*position, out);
            out.varint(*round).varint(last.0);
            encode_link(*link, out);
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
        M::TermReply { term, nonce, in_doubt } => {
            out.u8(11);
            encode_epoch(*term, out);
            out.varint(*nonce);
            out.u8(u8::from(*in_doubt));
        }
    }
}

fn decode_raft(input: &mut Reader) -> Result<raft::Message, DecodeError> {
    use raft::Message as M;
    let flag = |input: &mut Reader| Ok(input.u8("flag")? != 0);
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
        6 => M::AppendReply(AppendReply {
            term: decode_epoch(input)?,
            round: input.varint("round")?,
            link: decode_link(input)?,
            outcome: decode_outcome(input)?,
        }),
        7 => M::Commit { term: decode_epoch(input)?, position: decode_position(input)? },
        8 => M::Snapshot {
            term: decode_epoch(input)?,
            position: decode_position(input)?,
            round: input.varint("round")?,
            last: LogIndex(input.varint("last")?),
            link: decode_link(input)?,
        },
        9 => M::TimeoutNow { term: decode_epoch(input)? },
        10 => M::TermQuery { term: decode_epoch(input)?, nonce: input.varint("nonce")? },
        11 => M::TermReply {
            term: decode_epoch(input)?,
            nonce: input.varint("nonce")?,
            in_doubt: flag(input)?,
        },
        _ => return Err(input.malformed("raft message")),
    })
}

/// A command's bytes as a log entry holds them.
pub(crate) fn command_of(entry: &Entry) -> Option<&Bytes> {
    match &entry.payload {
        Payload::Noop => None,
        Payload::Command(bytes) => Some(bytes),
    }
}

#[cfg(test)]
mod tests;
