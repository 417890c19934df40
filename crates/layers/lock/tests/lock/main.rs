//! Locks, elections and sessions over a real node, on a clock that jumps.

#![expect(clippy::unwrap_used, reason = "what a test takes for granted, it may unwrap")]

mod elections;
mod locks;
mod sessions;
mod store;
