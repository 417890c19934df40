//! `cairn member` and `cairn drain`: who belongs to the cluster.

use clap::builder::RangedU64ValueParser;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use wire::{Member, MemberChange, Members, NewPart, NodeId, NodeStatus, Part};

use super::connect::Door;
use super::output::{Ended, print, say};
use super::{Failure, Output, joining, ops, status, table};
use crate::config::check_address;

/// `cairn member`.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// List the nodes of the cluster, and how each takes part
    #[command(after_help = "\
Examples:
  cairn member list
  cairn member list --output json | jq '.members[] | select(.part == \"voter\").node'")]
    List,
    /// Add a node: it gets a number, and a vote as soon as it has caught up
    #[command(after_help = "\
Prints the number and the command that starts the new node. As long as it has not caught up, the cluster
neither needs nor counts it. One node at a time.

Examples:
  cairn member add 10.0.0.4:9000
  cairn member add 10.0.0.4:9000 --client-address 10.0.0.4:8000 --wait
  cairn member add 10.0.0.5:9000 --learner       keeps it without a vote until `cairn member promote`
  cairn member add 10.0.0.5:9000 --witness       votes and keeps the log, and has no data")]
    Add(AddArgs),
    /// Give a learner a vote, if it has caught up
    #[command(after_help = "Example:\n  cairn member promote 5")]
    Promote {
        /// The node
        node: u64,
    },
    /// Take a node out of the cluster, for ever: its number does not come back
    #[command(after_help = "\
The node's process ends by itself, with exit code 6. Refused if those that remain and answer would be no
majority: with --force it is done all the same, and nothing is written until enough of them are back.

Examples:
  cairn member remove 3
  cairn drain 3                hands its leadership away first, and says what it does")]
    Remove(RemoveArgs),
    /// Put a new node in the place of one that is lost, in one step
    #[command(after_help = "\
The new node gets a number of its own and catches up; then it gets its vote and the lost one goes.

Examples:
  cairn member replace 3 10.0.0.4:9000
  cairn member replace 3 10.0.0.3:9000 --wait    on the same machine, with an empty data directory")]
    Replace(ReplaceArgs),
    /// Change where a node is found, or its priority as leader
    #[command(after_help = "\
A node that starts corrects its own addresses by itself; those are for one that can't.

Leadership goes to the node with the highest priority that answers, has caught up and is not slow, half a
minute after an election. Where all have the same, 5, it stays where it is. A node with 0 leads only while no
other can.

Examples:
  cairn member update 2 --priority 9
  cairn member update 2 --peer-address 10.0.0.12:9000
  cairn member update 2 --client-address cairn-2.example:8000")]
    Update(UpdateArgs),
}

/// `cairn member add`.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Where the other nodes will reach it, as host:port
    #[arg(value_parser = check_address)]
    peer_address: String,
    /// Where clients will reach it, as host:port; without it the node says so when it has started
    #[arg(long, value_name = "ADDRESS", value_parser = check_address)]
    client_address: Option<String>,
    /// Keep it without a vote
    #[arg(long)]
    learner: bool,
    /// How much it is preferred as leader, from 0 to 9
    #[arg(long, value_name = "N", default_value_t = Member::DEFAULT_PRIORITY, value_parser = priority_form())]
    priority: u8,
    /// Keep it without the data: it votes, and keeps the log
    #[arg(long, conflicts_with = "learner")]
    witness: bool,
    /// Wait until it votes, and show how far it is
    #[arg(long, conflicts_with = "learner")]
    wait: bool,
}

/// `cairn member remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The node
    node: u64,
    /// Even if too few of the others answer, or only one of them has the data
    #[arg(long)]
    force: bool,
}

/// `cairn member replace`.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The node that is lost
    node: u64,
    /// Where the other nodes will reach the new one, as host:port
    #[arg(value_parser = check_address)]
    peer_address: String,
    /// Where clients will reach the new one, as host:port
    #[arg(long, value_name = "ADDRESS", value_parser = check_address)]
    client_address: Option<String>,
    /// Wait until it votes, and show how far it is
    #[arg(long)]
    wait: bool,
}

/// `cairn member update`.
#[derive(Debug, Args)]
#[group(id = "addresses", required = true, multiple = true)]
pub(crate) struct UpdateArgs {
    /// The node
    #[arg(group = "which")]
    node: u64,
    /// Where the other nodes reach it, as host:port
    #[arg(long, value_name = "ADDRESS", value_parser = check_address, group = "addresses")]
    peer_address: Option<String>,
    /// Where clients reach it, as host:port
    #[arg(long, value_name = "ADDRESS", value_parser = check_address, group = "addresses")]
    client_address: Option<String>,
    /// How much it is preferred as leader, from 0 to 9
    #[arg(long, value_name = "N", value_parser = priority_form(), group = "addresses")]
    priority: Option<u8>,
}

fn priority_form() -> RangedU64ValueParser<u8> {
    RangedU64ValueParser::new().range(0..=u64::from(Member::HIGHEST_PRIORITY))
}

/// `cairn drain`.
#[derive(Debug, Args)]
#[command(after_help = "\
Hands leadership to another node if this one leads, then takes it out of the cluster. Its process ends by
itself, with exit code 6. Clients notice a pause of a few milliseconds.

Example:
  cairn drain 3")]
pub(crate) struct DrainArgs {
    /// The node
    node: u64,
}

/// Carries out `cairn member`.
pub(crate) async fn member(door: Door, command: MemberCommand) -> Result<(), Ended> {
    match command {
        MemberCommand::List => list(&door).await,
        MemberCommand::Add(args) => {
            let AddArgs { peer_address, client_address, learner, priority, witness, wait } = args;
            let client_address = client_address.unwrap_or_default();
            let part = match (learner, witness) {
                (true, _) => NewPart::Learner,
                (_, true) => NewPart::Witness,
                _ => NewPart::Voter,
            };
            let change = MemberChange::Add { peer_address, client_address, part, priority };
            joining::join(&door, change, wait).await
        }
        MemberCommand::Promote { node } => {
            let node = NodeId(node);
            let members = change(&door, MemberChange::Promote { node }).await?;
            told(&door, node, &members, &format!("node {} votes; {}", node.0, survives(&members)))
        }
        MemberCommand::Remove(RemoveArgs { node, force }) => {
            remove(&door, NodeId(node), force).await
        }
        MemberCommand::Replace(args) => {
            let ReplaceArgs { node, peer_address, client_address, wait } = args;
            let (node, client_address) = (NodeId(node), client_address.unwrap_or_default());
            let change = MemberChange::Replace { node, peer_address, client_address };
            joining::join(&door, change, wait).await
        }
        MemberCommand::Update(UpdateArgs { node, peer_address, client_address, priority }) => {
            let node = NodeId(node);
            let peer_address = peer_address.unwrap_or_default();
            let client_address = client_address.unwrap_or_default();
            let change = MemberChange::Update { node, peer_address, client_address, priority };
            let members = self::change(&door, change).await?;
            let words = members.find(node).map_or_else(String::new, |member| {
                format!(
                    "node {}: clients at {}, nodes at {}, priority {}",
                    node.0,
                    or_dash(&member.client_address),
                    or_dash(&member.peer_address),
                    member.priority
                )
            });
            told(&door, node, &members, &words)
        }
    }
}

/// Carries out `cairn drain`.
pub(crate) async fn drain(door: Door, DrainArgs { node }: DrainArgs) -> Result<(), Ended> {
    let node = NodeId(node);
    let members = door.client.members().await?;
    if members.value.find(node).is_some() && members.header.leader == Some(node) {
        let statuses = status::gather(&door).await?;
        let Some(heir) = heir(&members.value, &statuses, node) else {
            let why = format!("node {} leads, and no other node that votes answers it", node.0);
            let failure = Failure::not_done("no_heir", why);
            return Err(failure.help("`cairn status` shows who answers").into());
        };
        say(&format!("node {} leads; handing leadership to node {}", node.0, heir.0));
        ops::hand_over(&door, heir).await?;
    }
    say(&format!("taking node {} out of the cluster", node.0));
    remove(&door, node, false).await
}

/// Who is furthest of those that vote and answer the leader, and may lead while others can.
fn heir(members: &Members, statuses: &[NodeStatus], leader: NodeId) -> Option<NodeId> {
    let status = statuses.iter().find(|status| status.node == leader)?;
    let votes = |node: NodeId| members.find(node).is_some_and(|member| member.part == Part::Voter);
    let able = status.peers.iter().filter(|peer| peer.active && votes(peer.node));
    let may = |node: NodeId| members.find(node).is_some_and(|member| member.priority > 0);
    able.max_by_key(|peer| (may(peer.node), peer.matched)).map(|peer| peer.node)
}

async fn remove(door: &Door, node: NodeId, force: bool) -> Result<(), Ended> {
    let members = change(door, MemberChange::Remove { node, force }).await?;
    told(door, node, &members, &format!("node {} is removed; {}", node.0, survives(&members)))
}

/// Has the members changed.
async fn change(door: &Door, change: MemberChange) -> Result<Members, Ended> {
    Ok(door.client.change_members(change).await?.value.0)
}

fn told(door: &Door, node: NodeId, members: &Members, words: &str) -> Result<(), Ended> {
    match door.output {
        Output::Text => print(words),
        Output::Json => {
            let members: Vec<Value> = members.list.iter().map(member_json).collect();
            print(&json!({ "node": node.0, "members": members }).to_string())
        }
    }
}

/// What the cluster survives with these members.
pub(super) fn survives(members: &Members) -> String {
    let count = |wanted| members.list.iter().filter(|member| member.part == wanted).count();
    let witnesses = count(Part::Witness);
    let voters = count(Part::Voter) + witnesses;
    let lost = voters.saturating_sub(1) / 2;
    let plural = if voters == 1 { "" } else { "s" };
    let of_them = match witnesses {
        0 => String::new(),
        1 => ", 1 of them a witness".to_owned(),
        _ => format!(", {witnesses} of them witnesses"),
    };
    match lost {
        0 => format!("{voters} voter{plural}{of_them}: the cluster survives the loss of none"),
        _ => format!("{voters} voter{plural}{of_them}: the cluster survives the loss of {lost}"),
    }
}

async fn list(door: &Door) -> Result<(), Ended> {
    let members = door.client.members().await?.value;
    // That the members are known does not hang on who else answers.
    let statuses = status::gather(door).await.unwrap_or_default();
    let answers = |member: &Member| statuses.iter().any(|status| status.node == member.node);
    match door.output {
        Output::Text => {
            let rows = members.list.iter().map(|member| {
                vec![
                    member.node.0.to_string(),
                    part(member),
                    or_dash(&member.client_address).to_owned(),
                    or_dash(&member.peer_address).to_owned(),
                    member.priority.to_string(),
                    if answers(member) { "yes" } else { "no" }.to_owned(),
                ]
            });
            let header = ["NODE", "PART", "CLIENTS", "PEERS", "PRIORITY", "ANSWERS"];
            print(&table(&header, &[4], rows))
        }
        Output::Json => {
            let rows = members.list.iter().map(|member| {
                let mut row = member_json(member);
                row["answers"] = answers(member).into();
                row
            });
            let (rows, next) = (rows.collect::<Vec<_>>(), members.next.0);
            print(&json!({ "members": rows, "next_node": next }).to_string())
        }
    }
}

/// How a member takes part, in words.
pub(super) fn part(member: &Member) -> String {
    match member.part {
        Part::Joining { replaces: Some(node), .. } => format!("joining for {}", node.0),
        Part::Joining { replaces: None, witness: true } => "joining as witness".to_owned(),
        part => part.word().to_owned(),
    }
}

pub(super) fn member_json(member: &Member) -> Value {
    let mut object = json!({
        "node": member.node.0,
        "part": member.part.word(),
        "client_address": member.client_address,
        "peer_address": member.peer_address,
        "priority": member.priority,
    });
    if let Part::Joining { replaces: Some(node), .. } = member.part {
        object["replaces"] = node.0.into();
    }
    object
}

/// An address, or that there is none.
pub(super) fn or_dash(address: &str) -> &str {
    if address.is_empty() { "-" } else { address }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(parts: &[Part]) -> Members {
        let list = parts
            .iter()
            .zip(1..)
            .map(|(part, number)| Member { part: *part, ..Member::unknown(NodeId(number)) });
        Members { list: list.collect(), next: NodeId(9) }
    }

    #[test]
    fn what_a_cluster_survives_hangs_on_who_votes() {
        let said = |parts: &[Part]| survives(&members(parts));
        assert_eq!(said(&[Part::Voter]), "1 voter: the cluster survives the loss of none");
        assert_eq!(said(&[Part::Voter; 2]), "2 voters: the cluster survives the loss of none");
        assert_eq!(said(&[Part::Voter; 3]), "3 voters: the cluster survives the loss of 1");
        let learner = [Part::Voter, Part::Voter, Part::Voter, Part::Learner, Part::Voter];
        assert_eq!(said(&learner), "4 voters: the cluster survives the loss of 1");
        let witness = [Part::Voter, Part::Witness, Part::Voter];
        assert_eq!(
            said(&witness),
            "3 voters, 1 of them a witness: the cluster survives the loss of 1"
        );
    }

    #[test]
    fn who_replaces_whom_is_told() {
        let joins = |replaces, witness| Part::Joining { replaces, witness };
        let third = Some(NodeId(3));
        let all = members(&[Part::Learner, joins(third, false), joins(None, true)]);
        assert_eq!(part(&all.list[0]), "learner");
        assert_eq!(part(&all.list[1]), "joining for 3");
        assert_eq!(member_json(&all.list[1])["replaces"], 3);
        assert_eq!(part(&all.list[2]), "joining as witness");
    }
}
