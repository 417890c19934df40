//! The gateway from outside, without sockets: generated clients and JSON in, answers out, over a store
//! in memory.

#![expect(clippy::unwrap_used, reason = "what a test takes for granted, it may unwrap")]

mod hostile;
mod json;
mod kv;
mod memory;
mod ops;
mod range;
mod snapshot;
mod txn;
mod world;
