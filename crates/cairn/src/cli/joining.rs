//! A node that joins: asked for, told how to start, and waited for.

use std::time::Duration;

use serde_json::{Value, json};
use wire::{Member, MemberChange, Members, NodeId, NodeStatus, Part};

use super::connect::Door;
use super::member::{member_json, survives};
use super::output::{Ended, Stdout, print, say};
use super::{Failure, Output};

/// How often to look how far it is.
const PAUSE: Duration = Duration::from_millis(300);

/// How long one look may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The port of clients in a suggested address.
const CLIENT_PORT: &str = "8000";

/// Has a node added, says how to start it, and waits for its vote if that is wanted.
pub(super) async fn join(door: &Door, change: MemberChange, wait: bool) -> Result<(), Ended> {
    let before = door.client.members().await?.value;
    must_be_reachable(&before)?;
    let status = door.client.status(None).await?;
    let changed = door.client.change_members(change).await?.value;
    let (members, Some(node)) = changed else {
        let why = "the cluster did not tell which number the new node has";
        let failure = Failure::unknown("no_number", why);
        return Err(failure.help("`cairn member list` shows it").into());
    };
    let command = start(&members, node, &status.cluster, &status.protocol);
    match door.output {
        Output::Text => {
            let mut out = Stdout::new();
            for line in words(&members, node, &command) {
                out.line(&line)?;
            }
            out.flush()?;
        }
        Output::Json => print(&document(&members, node, &command).to_string())?,
    }
    if wait {
        let members = until_it_votes(door, node).await?;
        say(&format!("node {} votes; {}", node.0, survives(&members)));
    }
    Ok(())
}

/// The new node must be able to ask somebody, and to be heard by all.
fn must_be_reachable(members: &Members) -> Result<(), Failure> {
    let Some(member) = members.list.iter().find(|member| member.peer_address.is_empty()) else {
        return Ok(());
    };
    let node = member.node.0;
    let why = format!("node {node} has no address for other nodes, so none can join it");
    let failure = Failure::not_done("no_peer_address", why);
    Err(failure.help(format!(
        "restart it with its data and --cluster NAME --member {node}=HOST:{CLIENT_PORT}@HOST:9000, where \
         HOST is its address for the others; `cairn status --output json` tells the cluster's name"
    )))
}

/// The arguments that start the new node. Where clients are to reach it, if nobody has said, is a
/// suggestion.
fn start(members: &Members, node: NodeId, cluster: &str, protocol: &str) -> Vec<String> {
    let number = node.0.to_string();
    let mut command: Vec<String> =
        ["cairn", "serve", "--join", "--cluster", cluster, "--node", &number]
            .map(Into::into)
            .into();
    if protocol != consensus::Protocol::default().name() {
        command.extend(["--protocol".to_owned(), protocol.to_owned()]);
    }
    let lost = members.find(node).and_then(|member| match member.part {
        Part::Joining { replaces, .. } => replaces,
        Part::Voter | Part::Witness | Part::Learner | Part::Leaving => None,
    });
    if members.find(node).is_some_and(Member::is_witness) {
        command.push("--witness".to_owned());
    }
    let named = members.list.iter().filter(|member| {
        let is_known = !member.client_address.is_empty() && !member.peer_address.is_empty();
        let can_be_asked = member.part == Part::Voter && Some(member.node) != lost;
        member.node == node || (can_be_asked && is_known)
    });
    for member in named {
        let Member { node, peer_address, .. } = member;
        let client_address = client_address(member);
        command
            .extend(["--member".to_owned(), format!("{}={client_address}@{peer_address}", node.0)]);
    }
    command
}

/// Where clients reach a node, or might.
fn client_address(member: &Member) -> String {
    if !member.client_address.is_empty() {
        return member.client_address.clone();
    }
    let host = member.peer_address.rsplit_once(':').map_or("HOST", |(host, _)| host);
    format!("{host}:{CLIENT_PORT}")
}

fn words(members: &Members, node: NodeId, command: &[String]) -> Vec<String> {
    let part = members.find(node).map_or(Part::Learner, |member| member.part);
    let first = match part {
        Part::Joining { replaces: None, witness: false } => {
            format!("node {} is added; it gets a vote when it has caught up", node.0)
        }
        Part::Joining { replaces: None, witness: true } => {
            format!("node {} is added as a witness; it gets a vote when it has the log", node.0)
        }
        Part::Joining { replaces: Some(lost), .. } => {
            format!(
                "node {} is added; when it has caught up it votes, and node {} goes",
                node.0, lost.0
            )
        }
        Part::Learner | Part::Voter | Part::Witness | Part::Leaving => {
            format!(
                "node {} is added, without a vote; `cairn member promote {0}` gives it one",
                node.0
            )
        }
    };
    vec![
        first,
        "start it on its machine, with an empty data directory and the settings of the other nodes:"
            .to_owned(),
        String::new(),
        format!("  {}", command.join(" ")),
    ]
}

fn document(members: &Members, node: NodeId, command: &[String]) -> Value {
    let mut object = members.find(node).map_or_else(|| json!({ "node": node.0 }), member_json);
    object["start"] = json!(command);
    object
}

/// Waits until a node votes, and says how far it is.
async fn until_it_votes(door: &Door, node: NodeId) -> Result<Members, Ended> {
    let client = door.client.with_timeout(PATIENCE);
    let mut said = String::new();
    loop {
        // Nobody may lead for a moment, and the change goes on all the same.
        if let Ok(members) = client.members().await {
            let members = members.value;
            match members.find(node).map(|member| member.part) {
                None => {
                    let why = format!("node {} was removed before it had a vote", node.0);
                    return Err(Failure::not_done("member_removed", why).into());
                }
                Some(part) if part.votes() => return Ok(members),
                Some(_) => {}
            }
            let statuses = client.statuses().await;
            let alive = statuses.into_iter().filter_map(|(_, answer)| answer.ok());
            let words = progress(&alive.collect::<Vec<_>>(), node);
            if words != said {
                say(&words);
                said = words;
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How far a node is, as the leader sees it.
fn progress(alive: &[NodeStatus], node: NodeId) -> String {
    let leader = alive.iter().find(|status| status.role == "leader");
    let found = leader.and_then(|status| status.peers.iter().find(|peer| peer.node == node));
    match (leader, found) {
        (Some(status), Some(peer)) if peer.active => match peer.state.as_str() {
            "snapshot" => format!("node {} fetches a snapshot", node.0),
            _ => format!("node {} has {} of {} log entries", node.0, peer.matched, status.last),
        },
        _ => format!("node {} does not answer yet", node.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(node: u64, client: &str, part: Part) -> Member {
        Member {
            node: NodeId(node),
            client_address: client.into(),
            peer_address: format!("10.0.0.{node}:9000"),
            part,
            priority: Member::DEFAULT_PRIORITY,
        }
    }

    #[test]
    fn the_command_names_who_votes_and_the_new_node() {
        let list = vec![
            member(1, "10.0.0.1:8000", Part::Voter),
            member(2, "", Part::Voter),
            member(3, "10.0.0.3:8000", Part::Learner),
            member(4, "", Part::Joining { replaces: Some(NodeId(5)), witness: false }),
            member(5, "10.0.0.5:8000", Part::Voter),
        ];
        let members = Members { list, next: NodeId(6) };
        let command = start(&members, NodeId(4), "blue", "zab").join(" ");
        assert_eq!(
            command,
            "cairn serve --join --cluster blue --node 4 --protocol zab --member \
             1=10.0.0.1:8000@10.0.0.1:9000 --member 4=10.0.0.4:8000@10.0.0.4:9000"
        );
        assert!(words(&members, NodeId(4), &[])[0].ends_with("it votes, and node 5 goes"));
        assert!(words(&members, NodeId(3), &[])[0].contains("`cairn member promote 3`"));
    }

    #[test]
    fn nobody_joins_who_could_not_be_heard() {
        let mut alone = member(1, "10.0.0.1:8000", Part::Voter);
        alone.peer_address.clear();
        let members = Members { list: vec![alone], next: NodeId(2) };
        let failure = must_be_reachable(&members).unwrap_err();
        assert_eq!(failure.code, "no_peer_address");
        assert!(failure.help.unwrap().contains("--member 1=HOST:8000@HOST:9000"));
    }
}
