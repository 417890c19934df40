//! `/v1/members`: the nodes of the cluster, which come and go while it runs.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use wire::{Member, MemberChange, Members, NewPart, NodeId, Part};

use crate::call::Call;
use crate::errors::{self, Fault};
use crate::params::brief;
use crate::reply::{self, Answer};

/// A node of the cluster.
#[derive(Serialize)]
pub(crate) struct MemberJson<'a> {
    node: u64,
    client_address: &'a str,
    peer_address: &'a str,
    part: &'static str,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    replaces: Option<u64>,
}

impl<'a> MemberJson<'a> {
    /// This one.
    pub(crate) fn of(member: &'a Member) -> Self {
        Self {
            node: member.node.0,
            client_address: &member.client_address,
            peer_address: &member.peer_address,
            part: member.part.word(),
            priority: member.priority,
            replaces: match member.part {
                Part::Joining { replaces, .. } => replaces.map(|node| node.0),
                Part::Voter | Part::Witness | Part::Learner | Part::Leaving => None,
            },
        }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    members: Vec<MemberJson<'a>>,
    next_node: u64,
}

fn listed(members: &Members) -> Answer {
    let next_node = members.next.0;
    let members = members.list.iter().map(MemberJson::of).collect();
    reply::json(StatusCode::OK, &Listed { members, next_node })
}

/// `GET /v1/members`: all of them.
pub(crate) async fn list(call: &Call<'_>) -> Result<Answer, Fault> {
    Ok(listed(&call.store.members().await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AddBody {
    peer_address: String,
    #[serde(default)]
    client_address: String,
    #[serde(default)]
    learner: bool,
    #[serde(default)]
    witness: bool,
    priority: Option<u8>,
    replaces: Option<u64>,
}

/// `POST /v1/members`: a new one, or one in the place of another.
pub(crate) async fn add(call: &Call<'_>) -> Result<Answer, Fault> {
    let AddBody { peer_address, client_address, learner, witness, priority, replaces } =
        serde_json::from_slice(&call.body).map_err(|error| errors::bad_json(&error))?;
    check(&peer_address)?;
    check_if_given(&client_address)?;
    check_priority(priority)?;
    let change = match replaces.map(NodeId) {
        Some(_) if learner || witness || priority.is_some() => {
            let what = "who replaces a node takes part like it, with its priority; leave out `replaces`, or \
                        `learner`, `witness` and `priority`";
            return Err(Fault::invalid(what.to_owned()));
        }
        None if learner && witness => {
            let what = "a witness votes, a learner does not; leave out `learner` or `witness`";
            return Err(Fault::invalid(what.to_owned()));
        }
        None => {
            let part = match (learner, witness) {
                (true, _) => NewPart::Learner,
                (_, true) => NewPart::Witness,
                _ => NewPart::Voter,
            };
            let priority = priority.unwrap_or(Member::DEFAULT_PRIORITY);
            MemberChange::Add { peer_address, client_address, part, priority }
        }
        Some(node) => MemberChange::Replace { node, peer_address, client_address },
    };
    changed(call, change, StatusCode::CREATED).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateBody {
    #[serde(default)]
    peer_address: String,
    #[serde(default)]
    client_address: String,
    #[serde(default)]
    promote: bool,
    priority: Option<u8>,
}

/// `POST /v1/members/{node}`: gives it a vote, or other addresses or another priority.
pub(crate) async fn update(call: &Call<'_>, node: &[u8]) -> Result<Answer, Fault> {
    let node = number(node)?;
    let UpdateBody { peer_address, client_address, promote, priority } =
        serde_json::from_slice(&call.body).map_err(|error| errors::bad_json(&error))?;
    let has_address = !(peer_address.is_empty() && client_address.is_empty());
    if promote == (has_address || priority.is_some()) {
        let what = "expected `promote`, or `peer_address`, `client_address` and `priority`, one of \
                    them at least";
        return Err(Fault::invalid(what.to_owned()));
    }
    check_if_given(&peer_address)?;
    check_if_given(&client_address)?;
    check_priority(priority)?;
    let change = if promote {
        MemberChange::Promote { node }
    } else {
        MemberChange::Update { node, peer_address, client_address, priority }
    };
    changed(call, change, StatusCode::OK).await
}

/// `DELETE /v1/members/{node}`: takes it out, for ever. With `?force=true` even if too few of the others
/// answer.
pub(crate) async fn remove(call: &Call<'_>, node: &[u8]) -> Result<Answer, Fault> {
    let (node, force) = (number(node)?, call.params.flag("force")?);
    let (members, _) = call.store.change_members(MemberChange::Remove { node, force }).await?;
    Ok(listed(&members))
}

/// Has it done, and tells how the member is that it was about.
async fn changed(
    call: &Call<'_>,
    change: MemberChange,
    status: StatusCode,
) -> Result<Answer, Fault> {
    let (members, node) = call.store.change_members(change).await?;
    Ok(match node.and_then(|node| members.find(node)) {
        Some(member) => reply::json(status, &MemberJson::of(member)),
        None => listed(&members),
    })
}

fn check_if_given(address: &str) -> Result<(), Fault> {
    if address.is_empty() { Ok(()) } else { check(address) }
}

fn check_priority(priority: Option<u8>) -> Result<(), Fault> {
    if priority.is_none_or(|priority| priority <= Member::HIGHEST_PRIORITY) {
        return Ok(());
    }
    Err(Fault::invalid(format!("expected a priority from 0 to {}", Member::HIGHEST_PRIORITY)))
}

fn check(address: &str) -> Result<(), Fault> {
    let fits = address.rsplit_once(':').is_some_and(|(host, port)| {
        let is_bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        is_port && !is_bare_v6 && !host.is_empty() && !host.contains(['/', '@', ' ', ',', '='])
    });
    if fits {
        return Ok(());
    }
    Err(Fault::invalid(format!("expected host:port as an address, not `{}`", brief(address))))
}

fn number(text: &[u8]) -> Result<NodeId, Fault> {
    let text = String::from_utf8_lossy(text);
    text.parse().ok().filter(|node| *node > 0).map(NodeId).ok_or_else(|| {
        Fault::invalid(format!("a node is a whole number from 1 on, not `{}`", brief(&text)))
    })
}
