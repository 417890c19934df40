//! The HTTP gateway: translates the storage-node API and the REST API to [`client::Client`].
//!
//! It holds no state that the cluster needs: kill it at any moment and nothing is lost. It knows no
//! sockets either: the binary accepts connections and hands each request to [`Gateway::handle`],
//! whichever version of HTTP brought it. What the API promises is told to humans in `docs/http.md`
//! and to programs in `openapi.json`, which the gateway serves; tests keep both true.
//!
//! # Invariants
//!
//! * Bytes from outside never panic: they are refused in a sentence that names what was wrong.
//! * A failed write says in words whether it is done, not done or unknown.
//! * A condition and the write that it guards are one transaction.
//! * Requests, watches and the bytes of bodies in memory are bounded; beyond that the answer is 503.

mod auth;
mod body;
mod call;
mod conditions;
mod errors;
mod fence;
mod gateway;
mod json;
mod kv;
mod lease;
mod list;
mod members;
mod ops;
mod params;
mod ranges;
mod reply;
mod router;
mod storage_node;
mod store;
mod txn;
mod watch;

pub use gateway::{Config, Gateway, Introspect};
pub use reply::AnswerBody;
pub use router::{ROUTES, Route, Verb};
pub use txn::read_txn;
