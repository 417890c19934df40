//! Consensus protocols as pure state machines behind one contract.
//!
//! [`Replica`] is the contract: one replica of one replicated log, driven by inputs, answering
//! with an ordered list of outputs. [`raft`], [`paxos`] and [`zab`] fill it. Nothing in this crate knows bytes, disks,
//! sockets, clocks, threads or random sources: time and chance are arguments.

mod alone;
mod common;
mod config;
mod membership;
pub mod paxos;
mod protocol;
pub mod quorum;
pub mod raft;
mod replica;
pub mod zab;

pub use alone::Alone;
pub use common::lease::ClockDrift;
#[cfg(feature = "planted")]
pub use common::lease::Planted as PlantedLease;
pub use config::Config;
pub use membership::{MAX_LEARNERS, Membership};
pub use protocol::Protocol;
pub use replica::{
    Accepted, Durable, Entry, Epoch, HardState, Input, LogIndex, Message, News, Output, Payload,
    PeerProgress, PersistId, Position, ProposalId, ReadId, Replica, ReplicaId, Restored, Role,
    Status, Time,
};

/// A mistake that a replica can be told to make, so that a test may show that it would be found.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Planted {
    /// One of Raft's rules is broken.
    Raft(raft::Planted),
    /// One of Zab's rules is broken.
    Zab(zab::Planted),
    /// One of Paxos's rules is broken.
    Paxos(paxos::Planted),
    /// One of the rules of leases is broken, by whatever protocol.
    Lease(PlantedLease),
}
