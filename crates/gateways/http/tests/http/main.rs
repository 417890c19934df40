//! The gateway from outside, without sockets: requests in, answers out, over a store in memory.

#![expect(clippy::unwrap_used, reason = "what a test takes for granted, it may unwrap")]

mod bodies;
mod book;
mod hostile;
mod kv;
mod lease;
mod list;
mod members;
#[expect(dead_code, reason = "another gateway's tests use the rest")]
#[path = "../../../testing/memory.rs"]
mod memory;
mod openapi;
mod ops;
mod storage_node;
mod txn;
mod watch;
mod world;
