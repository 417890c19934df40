//! The etcd gateway: translates etcd's version 3 API to [`client::Client`].
//!
//! gRPC and its JSON form come to [`Gateway::handle`] as HTTP requests, whichever connection brought
//! them: the binary accepts connections, and the gateway knows no sockets. The messages are our own
//! definitions of the public protocol (`proto/`), whose Rust code is committed, so that a build needs
//! no generator. What the API promises, and where it differs from etcd, is told in `docs/etcd.md`.
//!
//! Revisions need no translation: an empty store is at revision 1, as etcd's is, and every
//! transaction that changes something makes one more.
//!
//! # Invariants
//!
//! * It holds no state that the cluster needs: kill it at any moment and nothing is lost.
//! * Bytes from outside never panic. Codes and texts of errors are etcd's own wherever etcd has one,
//!   for clients match on them.
//! * A write that may have been done is never told as not done.
//! * Requests under way, the bytes of their bodies and the bytes of their answers are bounded; what
//!   lies beyond is refused at once, as not done.

mod auth;
mod budget;
mod cluster;
mod codec;
mod election;
mod errors;
mod fence;
mod gateway;
mod header;
mod json;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod metered;
pub mod pb;
mod range;
mod snapshot;
mod stream;
mod txn;
mod watch;

pub use gateway::{AnswerBody, Config, Gateway, Introspect, StorageUse};
pub use watch::WatchConfig;
