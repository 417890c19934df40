//! Cairn's consensus cores beside those of others: three replicas on one thread, in memory.
//!
//! Nothing is encoded, sent over a network or written to a disk: messages move from one replica's
//! mailbox into another's, and every write is durable at once. What is left is what a core itself
//! costs for an entry. All contenders get the same load (see [`work`]) and are driven alike (see
//! [`hosted`]), but for openraft, which brings tasks of its own.

pub mod cairn;
pub mod contenders;
pub mod hosted;
pub mod omni;
pub mod open;
pub mod raft_rs;
pub mod work;
