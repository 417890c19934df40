//! Consensus protocols as pure state machines behind one contract.
//!
//! [`Replica`] is the contract: one replica of one replicated log, driven by inputs, answering
//! with an ordered list of outputs. [`raft`] fills it. Nothing in this crate knows bytes, disks,
//! sockets, clocks, threads or random sources: time and chance are arguments.

pub mod quorum;
pub mod raft;
mod replica;

pub use replica::{
    Accepted, Durable, Entry, Epoch, HardState, Input, LogIndex, Message, News, Output, Payload,
    PeerProgress, PersistId, Position, ProposalId, ReadId, Replica, ReplicaId, Restored, Role,
    Status, Time,
};
