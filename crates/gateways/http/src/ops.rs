//! What operators ask for: compaction, leadership, status.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use wire::{Body, NodeId, NodeStatus, PeerStatus, Revision};

use crate::call::Call;
use crate::errors::{self, Fault, Inner};
use crate::members::MemberJson;
use crate::reply::{self, Answer};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CompactBody {
    before: u64,
}

#[derive(Serialize)]
struct Compacted {
    revision: u64,
    oldest: u64,
}

/// `POST /v1/compact`: versions that no read at or above a revision can see may go.
pub(crate) async fn compact(call: &Call<'_>) -> Result<Answer, Fault> {
    let body: CompactBody =
        serde_json::from_slice(&call.body).map_err(|error| errors::bad_json(&error))?;
    let before = Revision(body.before);
    let result = call.store.write(Body::Compact { before }).await?;
    let told = Compacted { revision: result.revision.0, oldest: before.0 };
    Ok(reply::json(StatusCode::OK, &told))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaderBody {
    node: u64,
}

#[derive(Serialize)]
struct Transferring {
    transferring: bool,
    node: u64,
}

/// `POST /v1/leader`: hands leadership to a node. Begun when answered, not completed.
pub(crate) async fn transfer(call: &Call<'_>) -> Result<Answer, Fault> {
    let body: LeaderBody =
        serde_json::from_slice(&call.body).map_err(|error| errors::bad_json(&error))?;
    if body.node == 0 {
        return Err(Fault::invalid("nodes are numbered from 1 on"));
    }
    call.store.transfer(NodeId(body.node)).await?;
    Ok(reply::json(StatusCode::ACCEPTED, &Transferring { transferring: true, node: body.node }))
}

/// `GET /v1/status`: this node, or all of them.
pub(crate) async fn status(call: &Call<'_>) -> Result<Answer, Fault> {
    if !call.params.flag("all")? {
        return Ok(reply::json(StatusCode::OK, &StatusJson::of(&call.store.status().await?)));
    }
    let told: Vec<_> = call
        .store
        .statuses()
        .await
        .into_iter()
        .map(|(name, s)| (name, s.map_err(Fault::from)))
        .collect();
    let nodes = told.iter().map(|(name, status)| OneOfAll::of(name, status)).collect();
    Ok(reply::json(StatusCode::OK, &AllJson { nodes }))
}

#[derive(Serialize)]
struct AllJson<'a> {
    nodes: Vec<OneOfAll<'a>>,
}

/// A node that does not answer is told as such: it is what the operator looks for.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOfAll<'a> {
    Status(StatusJson<'a>),
    Failed { name: &'a str, error: Inner<'a> },
}

impl<'a> OneOfAll<'a> {
    fn of(name: &'a str, status: &'a Result<NodeStatus, Fault>) -> Self {
        match status {
            Ok(status) => Self::Status(StatusJson::of(status)),
            Err(fault) => Self::Failed { name, error: Inner(fault) },
        }
    }
}

#[derive(Serialize)]
struct StatusJson<'a> {
    node: u64,
    cluster: &'a str,
    version: &'a str,
    role: &'a str,
    epoch: u64,
    leader: Option<u64>,
    revision: u64,
    oldest_revision: u64,
    applied_index: u64,
    commit_index: u64,
    last_index: u64,
    durable_index: u64,
    ready: bool,
    trouble: Option<&'a str>,
    notice: Option<&'a str>,
    members: Vec<MemberJson<'a>>,
    peers: Vec<PeerJson<'a>>,
}

#[derive(Serialize)]
struct PeerJson<'a> {
    node: u64,
    match_index: u64,
    state: &'a str,
    active: bool,
}

impl<'a> StatusJson<'a> {
    fn of(status: &'a NodeStatus) -> Self {
        Self {
            node: status.node.0,
            cluster: &status.cluster,
            version: &status.version,
            role: &status.role,
            epoch: status.epoch,
            leader: status.leader.map(|leader| leader.0),
            revision: status.revision.0,
            oldest_revision: status.compacted.0,
            applied_index: status.applied,
            commit_index: status.commit,
            last_index: status.last,
            durable_index: status.durable,
            ready: status.ready,
            trouble: status.trouble.as_deref(),
            notice: status.notice.as_deref(),
            members: status.members.iter().map(MemberJson::of).collect(),
            peers: status.peers.iter().map(PeerJson::of).collect(),
        }
    }
}

impl<'a> PeerJson<'a> {
    fn of(peer: &'a PeerStatus) -> Self {
        Self {
            node: peer.node.0,
            match_index: peer.matched,
            state: &peer.state,
            active: peer.active,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_does_not_answer_is_told_by_name() {
        let failed = Err(Fault::busy("it starts"));
        assert_eq!(
            serde_json::to_string(&OneOfAll::of("n2", &failed)).unwrap(),
            "{\"name\":\"n2\",\"error\":{\"code\":\"busy\",\"message\":\"the node is busy: it starts; \
             retry after a pause\",\"outcome\":\"not done\"}}"
        );
    }
}
