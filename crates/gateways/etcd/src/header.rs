//! What stands in every answer: which cluster and member gave it, at which revision and term.
//!
//! etcd's clients know clusters and members by numbers of 64 bits. Ours are hashes of the cluster's
//! name, and of it and the node's number: the same on every node, and after every restart.

use std::hash::Hasher as _;
use std::sync::Arc;

use siphasher::sip::SipHasher13;
use wire::{NodeId, Revision};

use crate::gateway::Service;
use crate::pb::etcdserverpb::ResponseHeader;

/// The numbers of a cluster and its members.
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    cluster: Arc<str>,
    cluster_id: u64,
}

impl Ids {
    /// Those of the cluster with this name.
    pub(crate) fn new(cluster: &str) -> Self {
        Self { cluster: cluster.into(), cluster_id: hash(cluster, 0) }
    }

    /// The cluster's.
    pub(crate) fn cluster(&self) -> u64 {
        self.cluster_id
    }

    /// A member's.
    pub(crate) fn member(&self, node: NodeId) -> u64 {
        hash(&self.cluster, node.0)
    }
}

/// Makes headers, wherever a service is not at hand.
pub(crate) type HeaderOf = Arc<dyn Fn(Revision) -> ResponseHeader + Send + Sync>;

/// Never 0, which stands for "none" in the protocol. Nodes are counted from 1.
fn hash(cluster: &str, node: u64) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(cluster.as_bytes());
    hasher.write_u64(node.to_le());
    hasher.finish().max(1)
}

/// A revision or another counter as the protocol has it. Ours never come near the limit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Service {
    /// The header of an answer that holds at this revision.
    pub(crate) fn header(&self, revision: Revision) -> ResponseHeader {
        (self.header_of)(revision)
    }

    /// The header of an answer that has nothing to do with keys.
    pub(crate) fn header_without_revision(&self) -> ResponseHeader {
        self.header(Revision(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_for_ever_and_none_is_another() {
        let blue = Ids::new("blue");
        let ids = [
            blue.cluster(),
            blue.member(NodeId(1)),
            blue.member(NodeId(2)),
            Ids::new("green").cluster(),
            Ids::new("green").member(NodeId(1)),
        ];
        let distinct: std::collections::BTreeSet<u64> = ids.into_iter().collect();
        assert_eq!(distinct.len(), ids.len());
        assert_eq!(blue.member(NodeId(1)), Ids::new("blue").member(NodeId(1)));
    }
}
