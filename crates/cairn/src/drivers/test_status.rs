//! What a node that has just started publishes, for the tests of drivers.

use std::sync::Arc;

use wire::{NodeId, NodeStatus, Revision};

use super::clock::Clock;
use super::published::Published;

/// Of node 1.
pub(crate) fn published() -> Arc<Published> {
    Arc::new(Published::new(Clock::start(), status(), guarding()))
}

fn status() -> NodeStatus {
    NodeStatus {
        node: NodeId(1),
        cluster: "blue".into(),
        version: "0".into(),
        role: "follower".into(),
        protocol: "raft".into(),
        standing: "term 4".into(),
        epoch: 0,
        leader: None,
        revision: Revision(0),
        compacted: Revision(0),
        applied: 0,
        commit: 0,
        last: 0,
        durable: 0,
        ready: false,
        trouble: None,
        notice: None,
        members: Vec::new(),
        peers: Vec::new(),
    }
}

fn guarding() -> Arc<node::Guarding> {
    let secret = wire::Hidden::default();
    Arc::new(node::Guarding { enabled: false, revision: 1, secret })
}
