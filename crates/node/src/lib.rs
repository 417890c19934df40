//! One node, as a function of events: it hosts groups, applies their commands, and serves reads,
//! writes and watches.
//!
//! [`Node::handle`] takes in one [`Event`]; [`Node::settle`] lets out what a number of events led
//! to, as [`Effect`]s. A driver takes in all that is waiting, settles once, and carries the effects
//! out: that is how proposals become batches and reads share a quorum round. The same code runs under
//! the production driver and in the simulation: no clock, no thread, no socket, no file, no ambient
//! chance in here.
//!
//! # Durability
//!
//! The node keeps consensus' order contract: a message that stands behind a barrier stays in here until
//! the driver reports the journal write that it waits for. So effects can be carried out as they
//! come; only [`Effect::Journal`] and [`Effect::Work`] must keep their order among themselves.
//!
//! # Invariants
//!
//! * Every request gets exactly one answer, unless it was cancelled or the node stopped.
//! * Every queue in here has a named bound; a request beyond it is refused at once as busy.
//! * What is applied depends on the log alone: no time, no chance, no local limit.

mod admission;
mod alone;
mod auth;
mod config;
mod event;
mod feed;
mod fetch;
mod group;
mod intervals;
mod judging;
mod leases;
mod lessor;
mod maintenance;
mod members;
mod memory;
pub mod metrics;
mod node;
pub mod peer;
mod rare;
mod reads;
mod renewals;
mod requests;
mod scrub;
mod serve;
mod shared;
mod snapshots;
mod state;
mod steward;
mod txn;
mod watches;
mod witness;

pub use alone::Survivor;
pub use auth::Guarding;
#[cfg(feature = "planted")]
pub use config::Planted;
pub use config::{Config, Tuning};
pub use consensus::Protocol;
pub use event::{Answer, Effect, Event, News, StartError, Ticket, WriteId};
pub use judging::VerifyTask;
pub use node::{GROUP, Node, SPACE};
pub use peer::{PeerEnvelope, PeerMessage};
pub use rare::Rare;
pub use scrub::{ScrubStep, ScrubTask};
pub use serve::{ChunkTask, ReadTask};
pub use steward::{Pace, Why};
