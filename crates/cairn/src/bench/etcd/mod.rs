//! The same loads by etcd's protocol, so that any endpoint which speaks it can be measured: a real
//! etcd, too.
//!
//! The client is thin, for it runs on the machine that it measures: hyper's HTTP/2 and our own messages,
//! nothing between. A connection belongs to one node, as an etcd client's does; when it is lost, the
//! next node is connected to.

mod channel;
mod cluster;
mod frames;
mod watchers;
mod worker;

pub(super) use channel::{Channel, Fault};
pub(super) use cluster::Cluster;
pub(super) use watchers::{Following, follow};
pub(super) use worker::Worker;
