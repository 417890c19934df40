//! `cairn status`: how each node is.

use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use wire::{Member, NodeStatus, Part};

use super::connect::{Door, reach};
use super::member::{or_dash, part};
use super::output::{Ended, print, say};
use super::{Failure, Output, table};

const EXAMPLE: &str = "\
Examples:
  cairn status
  cairn status --output json | jq '.nodes[] | select(.ready | not)'
  cairn --endpoints localhost:8001 status

Exit code 3 if no node answers, or none leads.";

/// `cairn status`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct StatusArgs {}

/// How long a node may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(2);

/// One node, as far as it is known.
struct Row {
    member: Member,
    status: Result<NodeStatus, String>,
}

/// Carries out `cairn status`.
pub(crate) async fn status(door: Door, _: StatusArgs) -> Result<(), Ended> {
    let rows = rows(&gather(&door).await?);
    let leads = rows.iter().any(|row| row.status.as_ref().is_ok_and(|s| s.role == "leader"));
    match door.output {
        Output::Text => {
            print(&text(&rows))?;
            for row in &rows {
                let Ok(status) = &row.status else { continue };
                for words in [&status.trouble, &status.notice].into_iter().flatten() {
                    say(&format!("node {}: {words}", row.member.node.0));
                }
            }
        }
        Output::Json => print(&json(&rows).to_string())?,
    }
    if leads {
        return Ok(());
    }
    let failure = Failure::not_done("no_leader", "no node that answers leads the cluster");
    Err(failure.help("a majority of the nodes must run and reach one another").into())
}

/// How the nodes are that answer, each once; there is one at least.
pub(super) async fn gather(door: &Door) -> Result<Vec<NodeStatus>, Failure> {
    let patience = door.timeout.min(PATIENCE);
    let mut alive = alive(door.client.with_timeout(patience).statuses().await)?;
    // The endpoints may name some nodes only; those know of the others.
    let others: Vec<String> = missing(&alive).map(|m| m.client_address.clone()).collect();
    if !others.is_empty()
        && let Ok(client) = reach(&others, &door.via, patience)
    {
        let answers = client.statuses().await;
        let found = answers.into_iter().filter_map(|(_, answer)| answer.ok());
        let is_new = |status: &NodeStatus| alive.iter().all(|other| other.node != status.node);
        let found: Vec<NodeStatus> = found.filter(is_new).collect();
        alive.extend(found);
    }
    Ok(alive)
}

/// The nodes that answer, each once; there is one at least.
fn alive(
    answers: Vec<(String, Result<NodeStatus, client::Error>)>,
) -> Result<Vec<NodeStatus>, Failure> {
    let mut last_error = None;
    let mut alive: Vec<NodeStatus> = Vec::new();
    for (_, answer) in answers {
        match answer {
            Ok(status) if alive.iter().all(|other| other.node != status.node) => alive.push(status),
            Ok(_) => {}
            Err(error) => last_error = Some(error),
        }
    }
    if !alive.is_empty() {
        return Ok(alive);
    }
    let why = last_error.map_or("no address was given".to_owned(), |error| error.to_string());
    let failure = Failure::not_done("unavailable", format!("no node answers: {why}"));
    Err(failure.help("name the nodes with --endpoints or CAIRN_ENDPOINTS"))
}

/// Members that have not answered, and can be asked.
fn missing(alive: &[NodeStatus]) -> impl Iterator<Item = &Member> {
    let answered = |member: &Member| alive.iter().any(|status| status.node == member.node);
    let can_be_asked = |member: &&Member| !member.client_address.is_empty();
    newest(alive)
        .into_iter()
        .flat_map(|status| &status.members)
        .filter(move |m| !answered(m))
        .filter(can_be_asked)
}

/// Who knows best which nodes there are: the leader, or whoever is furthest.
fn newest(alive: &[NodeStatus]) -> Option<&NodeStatus> {
    alive.iter().max_by_key(|status| (status.role == "leader", status.commit))
}

/// Joins what the nodes say with the members they name, so that a dead node has a row too.
fn rows(alive: &[NodeStatus]) -> Vec<Row> {
    let members = newest(alive).into_iter().flat_map(|status| status.members.clone());
    let rows = members.map(|member| {
        let found = alive.iter().find(|status| status.node == member.node).cloned();
        let silent = || match member.part {
            Part::Voter => "does not answer".to_owned(),
            _ => format!("{}, does not answer", part(&member)),
        };
        let status = found.ok_or_else(silent);
        Row { member, status }
    });
    rows.collect()
}

const HEADER: [&str; 9] =
    ["NODE", "ROLE", "STANDING", "LEADER", "REVISION", "APPLIED", "LAG", "ADDRESS", "READY"];

/// Places of numbers in [`HEADER`].
const NUMBERS: [usize; 5] = [2, 3, 4, 5, 6];

/// Place of the protocol's own word in [`HEADER`].
const STANDING: usize = 2;

fn text(rows: &[Row]) -> String {
    let newest = rows.iter().filter_map(|row| row.status.as_ref().ok()).map(|s| s.commit).max();
    let cells = rows.iter().map(|row| cells(row, newest.unwrap_or(0)));
    let standings = rows.iter().filter_map(|row| row.status.as_ref().ok());
    let word = standings.map(|status| split(&status.standing).0.to_uppercase()).next();
    let mut header = HEADER;
    if let Some(word) = &word {
        header[STANDING] = word;
    }
    table(&header, &NUMBERS, cells)
}

/// `term 4` in its two words.
fn split(standing: &str) -> (&str, &str) {
    standing.split_once(' ').unwrap_or(("standing", standing))
}

fn cells(row: &Row, newest: u64) -> Vec<String> {
    let (node, address) =
        (row.member.node.0.to_string(), or_dash(&row.member.client_address).to_owned());
    let dash = || "-".to_owned();
    match &row.status {
        Ok(s) => vec![
            node,
            s.role.clone(),
            split(&s.standing).1.to_owned(),
            s.leader.map_or_else(dash, |leader| leader.0.to_string()),
            s.revision.to_string(),
            s.applied.to_string(),
            newest.saturating_sub(s.applied).to_string(),
            address,
            if s.ready { "yes" } else { "no" }.to_owned(),
        ],
        Err(why) => {
            let mut cells = vec![node, why.clone()];
            cells.extend(std::iter::repeat_with(dash).take(NUMBERS.len()));
            cells.extend([address, "no".to_owned()]);
            cells
        }
    }
}

fn json(rows: &[Row]) -> Value {
    let nodes: Vec<Value> = rows.iter().map(row_json).collect();
    let cluster = rows.iter().find_map(|row| row.status.as_ref().ok()).map(|s| s.cluster.as_str());
    json!({ "cluster": cluster, "nodes": nodes })
}

fn row_json(row: &Row) -> Value {
    let mut object = json!({
        "node": row.member.node.0,
        "client_address": row.member.client_address,
        "peer_address": row.member.peer_address,
        "part": row.member.part.word(),
        "answers": row.status.is_ok(),
        "ready": false,
    });
    let Ok(s) = &row.status else { return object };
    let peers: Vec<Value> = s.peers.iter().map(peer_json).collect();
    let fields = json!({
        "version": s.version, "role": s.role, "protocol": s.protocol, "standing": s.standing, "epoch": s.epoch, "leader": s.leader.map(|l| l.0),
        "revision": s.revision.0, "oldest_revision": s.compacted.0, "applied_index": s.applied,
        "commit_index": s.commit, "last_index": s.last, "durable_index": s.durable, "ready": s.ready,
        "trouble": s.trouble, "notice": s.notice, "peers": peers,
    });
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        object.extend(fields);
    }
    object
}

fn peer_json(peer: &wire::PeerStatus) -> Value {
    json!({
        "node": peer.node.0, "match_index": peer.matched, "state": peer.state, "active": peer.active,
    })
}
