//! The gateway from outside, without sockets: generated clients and JSON in, answers out, over a store
//! in memory.

#![expect(clippy::unwrap_used, reason = "what a test takes for granted, it may unwrap")]

mod hostile;
mod json;
mod kv;
#[expect(dead_code, reason = "another gateway's tests use the rest")]
#[path = "../../../testing/memory.rs"]
mod memory;
mod ops;
mod range;
mod snapshot;
mod txn;
mod world;
