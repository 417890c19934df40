//! The one door to a cluster: routing, retries, sessions, transactions.
//!
//! Layers, gateways and outside programs are written against [`Client`]. It finds the leader, repeats
//! what is safe to repeat, and says of every failure whether the operation is *done*, *not done* or
//! *unknown*. Each write carries a request id, and the cluster remembers the answer, so a retry after
//! a lost answer never does a thing twice.
//!
//! What carries the requests is a [`Transport`]: inside a node's process the binary hands one that
//! goes straight to the node; outside it is [`tcp::Tcp`].
//!
//! # Invariants
//!
//! * A write is repeated with its own id only. After [`Error::Unknown`] the caller must not repeat it
//!   with a new one.
//! * A client holds no state that the cluster needs: kill it at any moment and nothing is lost.

mod attempt;
pub mod backup;
mod caller;
mod client;
mod error;
mod guard;
mod numbers;
mod scan;
mod session;
pub mod tcp;
mod transport;
mod watch;

pub use attempt::{Attempt, Kind, Next, PATIENCE, Plan, Target};
pub use caller::{Caller, Channel};
pub use client::{Client, Config, Consistent, WriteOptions, lease_name};
pub use error::Error;
pub use guard::{Guard, Guarded, Unguarded};
pub use scan::Scan;
pub use session::Session;
pub use transport::{Answer, CallError, CallFuture, Transport};
pub use watch::Watch;
