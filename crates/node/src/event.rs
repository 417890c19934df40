//! What can happen to a node, and what a node can ask for.

use std::sync::Arc;

use consensus::Role;
use engine::{Chunk, Done, Job, JobError, ReadError};
use journal::Record;
use wire::{GroupId, Header, Members, NodeId, Refusal, Reply, Request, ScrubStage};

use crate::{ChunkTask, PeerEnvelope, ReadTask, ScrubTask, VerifyTask, Why};

/// An answer to a request.
pub type Answer = Result<(Header, Reply), Refusal>;

/// The driver's name for one request. Never used twice in a node's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The node's name for one write to the journal: 1, 2, 3, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WriteId(pub u64);

/// Everything that can happen to a node.
#[derive(Debug)]
pub enum Event {
    /// [`crate::Node::deadline`] has come. Harmless at any other time.
    Tick,
    /// A message from another node.
    Peer(PeerEnvelope),
    /// The connection to this node broke: a hint, see `consensus::Input::Unreachable`.
    PeerLost(NodeId),
    /// A client's request.
    Request {
        /// To be answered under this name.
        ticket: Ticket,
        /// What it asks.
        request: Request,
    },
    /// Nobody waits for this answer any more. What was asked may be done all the same.
    Cancel(Ticket),
    /// This journal write, and all before it, are durable.
    Journaled(WriteId),
    /// The journal finds no room on the disk (`true`), or finds room again (`false`). The driver
    /// keeps the write and tries again; nothing is lost.
    JournalFull(bool),
    /// A job came to this. An error stops the node, but for one in another node's snapshot.
    Worked(Result<Done, JobError>),
    /// A [`ChunkTask`] came to this.
    ChunkRead {
        /// The node that wants it.
        to: NodeId,
        /// The group.
        group: GroupId,
        /// The fetch that it belongs to.
        fetch: u64,
        /// The chunk and the cursor behind it.
        result: Result<(Chunk, bytes::Bytes), ReadError>,
    },
    /// A [`ScrubTask`] came to this. What can't be read is told to whoever asks; the node goes on.
    Scrubbed {
        /// The group.
        group: GroupId,
        /// Which one: the log index whose state it read.
        index: u64,
        /// The checksum.
        result: Result<u32, ReadError>,
    },
    /// A [`ReadTask`] found the storage damaged or unreadable.
    ReadFailed(ReadError),
    /// Stop taking requests and hand over leadership: the process is about to end. The driver may
    /// end it as soon as [`crate::Node::is_quiet`], or when its patience ends.
    Retire,
}

/// Everything that a node can ask its driver for.
#[derive(Debug)]
pub enum Effect {
    /// Send this. It may be lost; it is never waited for.
    Send(PeerEnvelope),
    /// Answer this request.
    Reply {
        /// Which.
        ticket: Ticket,
        /// With what.
        answer: Answer,
    },
    /// Run this off the node's thread and answer the request with what it returns.
    Read {
        /// Which request.
        ticket: Ticket,
        /// What to run.
        task: ReadTask,
    },
    /// Compare a password off the node's thread, for that takes long on purpose, and answer the request
    /// with what [`VerifyTask::finish`] makes of it.
    Verify {
        /// Which request.
        ticket: Ticket,
        /// What to compare.
        task: VerifyTask,
    },
    /// Run this off the node's thread and report [`Event::ChunkRead`].
    ReadChunk(ChunkTask),
    /// Run this off the node's thread, when nobody else needs the disk, step by step until it ends, and
    /// report what it gives back. If there is one still, that one will end by itself.
    Scrub(ScrubTask),
    /// Append these to the journal, sync, and report [`Event::Journaled`]. Writes that have queued
    /// may go out together. Keep the order.
    Journal {
        /// Its name.
        write: WriteId,
        /// What to append.
        records: Vec<Record>,
    },
    /// Hand this to the storage worker and report [`Event::Worked`]. Keep the order.
    Work(Job),
    /// Other nodes may be spoken to than before: reach these, at these addresses, and no others. Comes once
    /// at the start, and whenever they change. Who calls from outside the list may still be heard:
    /// see [`wire::Members::has_left`].
    Members(Arc<Members>),
    /// What the journal's damage had put in doubt is repaired: clear the journal's mark.
    DamageRepaired,
    /// For logs, metrics and the operator's eyes. Nothing depends on it.
    News(News),
    /// This node can't go on: end the process with this message. Nothing that was not durable has
    /// been said to anybody.
    Stop {
        /// Why, and what the operator should do.
        why: String,
    },
}

/// What an operator may want to see happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A group's role, epoch or leader changed on this node.
    Role {
        /// The group.
        group: GroupId,
        /// The role now.
        role: Role,
        /// The term.
        epoch: u64,
        /// Who leads.
        leader: Option<NodeId>,
    },
    /// The group's leader, which is this node, serves.
    Ready {
        /// The group.
        group: GroupId,
        /// The term.
        epoch: u64,
    },
    /// The group is being rebuilt from a snapshot of another node.
    SnapshotBegun {
        /// The group.
        group: GroupId,
        /// From where.
        from: NodeId,
    },
    /// The snapshot is installed.
    SnapshotInstalled {
        /// The group.
        group: GroupId,
        /// The log index it reaches.
        applied: u64,
    },
    /// The snapshot could not be had; it will be tried again.
    SnapshotFailed {
        /// The group.
        group: GroupId,
        /// Why.
        why: String,
    },
    /// A message was dropped: wrong cluster, wrong address, or against the protocol's rules.
    Dropped {
        /// From whom.
        from: NodeId,
        /// Why.
        why: String,
    },
    /// A group's log was cut back: uncommitted entries of a former leader went.
    Truncated {
        /// The group.
        group: GroupId,
        /// The first index that went.
        from: u64,
    },
    /// The group's leader, which is this node, hands over by itself.
    HandOver {
        /// The group.
        group: GroupId,
        /// To whom.
        to: NodeId,
        /// Why.
        why: Why,
    },
    /// This node belongs to the group no more.
    Removed {
        /// The group.
        group: GroupId,
    },
    /// The journal's damage is repaired from the other nodes.
    DoubtResolved {
        /// The group.
        group: GroupId,
    },
    /// A scrub is over.
    Scrubbed {
        /// The group.
        group: GroupId,
        /// The log index whose state was read.
        index: u64,
        /// What it came to.
        stage: ScrubStage,
    },
    /// The journal has no room (`true`), or has room again.
    DiskFull(bool),
    /// The storage engine has no room (`true`), or has room again.
    EngineFull(bool),
}

/// A node can't start from what its disk holds.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A damaged journal, and nobody to repair it from.
    #[error(
        "the journal is damaged ({what}), and this node is the cluster's only one: acknowledged writes may be missing. Restore a backup into a new directory, or accept the loss by moving `journal/damage` away"
    )]
    DamagedAlone {
        /// What was found.
        what: String,
    },
    /// The journal begins later than the storage engine ends, and nobody has what lies between.
    #[error(
        "the storage engine lacks what the journal no longer has, and this node is the cluster's only one. Put the `engine` directory back, or restore a backup into a new directory"
    )]
    StateMissing,
    /// The storage engine could not be read.
    #[error("read the state of {group}: {source}")]
    Engine {
        /// Whose state.
        group: GroupId,
        /// What it said.
        source: ReadError,
    },
    /// The state has an unknown form.
    #[error("the state of {group} can't be understood ({what}): it was written by another release")]
    Format {
        /// Whose state.
        group: GroupId,
        /// What.
        what: wire::DecodeError,
    },
    /// The configuration can't hold.
    #[error("{what}")]
    Config {
        /// What is wrong and what to do.
        what: String,
    },
}
