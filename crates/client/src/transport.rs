//! What carries requests to nodes.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use wire::{Header, NodeId, Refusal, Reply, Request};

/// A node's answer.
pub type Answer = Result<(Header, Reply), Refusal>;

/// An answer on its way.
pub type CallFuture = Pin<Box<dyn Future<Output = Result<Answer, CallError>> + Send>>;

/// No answer came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not done: the request never left.
    #[error("{target}: {why}")]
    NotSent {
        /// Which node, or which address.
        target: String,
        /// Why.
        why: String,
    },
    /// Unknown: the request left, and no answer came.
    #[error("{target}: {why}")]
    Lost {
        /// Which node, or which address.
        target: String,
        /// Why.
        why: String,
    },
    /// Not done, and no retry will help: for example the address belongs to another cluster.
    #[error("{target}: {why}")]
    Fatal {
        /// Which node, or which address.
        target: String,
        /// Why.
        why: String,
    },
}

/// Carries one request to one node and brings the answer back. Never retries.
pub trait Transport: Send + Sync + 'static {
    /// The nodes that can be asked, the nearest first. May change as the transport learns. A node
    /// whose number is not yet known (an address not yet connected) is listed by a number that the
    /// transport understands in [`Transport::call`].
    fn nodes(&self) -> Vec<NodeId>;

    /// Which node of [`Transport::nodes`] is the one that calls itself `node` in its answers: the
    /// same number, unless the transport named addresses by numbers of its own.
    fn locate(&self, node: NodeId) -> Option<NodeId> {
        self.nodes().contains(&node).then_some(node)
    }

    /// What to call `node` before people: its address, where the transport knows nodes by address.
    fn name(&self, node: NodeId) -> String {
        node.to_string()
    }

    /// A log index that some node had applied when we first met the cluster; grows. See
    /// [`wire::Command::since`]. 0 as long as no node was met.
    fn since(&self) -> u64;

    /// Sends `request` to `to`, and waits at most `timeout` for the answer.
    fn call(&self, to: NodeId, request: Request, timeout: Duration) -> CallFuture;
}
