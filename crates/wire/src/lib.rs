//! What a node and its clients say to each other: identifiers, requests, replies, errors, and
//! their bytes.
//!
//! Types that only one crate uses do not live here. The encoding is our own: little-endian, with
//! varints and length prefixes, described in `docs/formats/wire.md` and pinned by golden bytes.
//! Decoding never panics and never allocates more than the bytes at hand justify.

mod auth;
mod codec;
mod command;
mod error;
mod frame;
mod hello;
mod ids;
mod members;
mod model;
mod request;
mod scrub;
mod status;

pub use auth::{
    Access, AuthAnswer, AuthChange, AuthQuestion, Denial, Hidden, MAX_NAME_BYTES,
    MAX_PASSWORD_BYTES, Permission, Principal, ROOT,
};
pub use codec::{DecodeError, Reader, Writer};
pub use command::{
    Body, Command, Compare, Expiry, Fence, Granted, MAX_TXN_DEPTH, Op, OpResult, Operand, Operator,
    Put, Remaining, RestoreChunk, Txn, TxnResult,
};
pub use error::{Outcome, Refusal};
pub use frame::{FRAME_HEADER_BYTES, Frame, FrameError, FrameKind, MAX_FRAME_BYTES, split_frame};
pub use hello::{Hello, HelloError, MAGIC, PROTOCOL_VERSION, Purpose, Welcome};
pub use ids::{GroupId, NodeId, RequestId, Revision, SpaceId};
pub use members::{Member, MemberChange, MemberDenial, Members, NewPart, Part};
pub use model::{Change, Event, Item, KeyRange, MAX_KEY_BYTES, Page, Projection, Query, check_key};
pub use request::{Consistency, Header, LeaseStatus, Reply, Request, WatchBatch};
pub use scrub::{ScrubStage, ScrubStatus};
pub use status::{NodeStatus, PeerStatus};
