//! `cairn compact` and `cairn leader`: what an operator asks for now and then.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use wire::{NodeId, Revision};

use super::connect::Door;
use super::output::{Ended, print};
use super::{Failure, Output};

/// `cairn compact`.
#[derive(Debug, Args)]
#[command(after_help = "\
Afterwards no read or watch can go back before that revision. The newest values stay.

Example:
  cairn compact 1000")]
pub(crate) struct CompactArgs {
    /// The oldest revision that shall stay readable
    before: u64,
}

/// `cairn leader`.
#[derive(Debug, Subcommand)]
pub(crate) enum LeaderCommand {
    /// Hand leadership to a node, without a gap for clients
    #[command(after_help = "Example:\n  cairn leader transfer 2")]
    Transfer {
        /// The node that shall lead
        node: u64,
    },
}

/// Carries out `cairn compact`.
pub(crate) async fn compact(door: Door, args: CompactArgs) -> Result<(), Ended> {
    door.client.compact(Revision(args.before)).await?;
    match door.output {
        Output::Text => print(&format!("revisions from {} on are readable", args.before)),
        Output::Json => print(&json!({ "oldest_revision": args.before }).to_string()),
    }
}

/// Carries out `cairn leader`.
pub(crate) async fn leader(door: Door, command: LeaderCommand) -> Result<(), Ended> {
    match command {
        LeaderCommand::Transfer { node } => transfer(&door, NodeId(node)).await,
    }
}

async fn transfer(door: &Door, to: NodeId) -> Result<(), Ended> {
    let (epoch, standing) = hand_over(door, to).await?;
    match door.output {
        Output::Text => print(&format!("node {} leads ({standing})", to.0)),
        Output::Json => print(&json!({ "leader": to.0, "epoch": epoch }).to_string()),
    }
}

/// Hands leadership over; in which term it has happened, and in its protocol's words. The node only says
/// that a transfer has begun; this waits until it is over.
pub(super) async fn hand_over(door: &Door, to: NodeId) -> Result<(u64, String), Ended> {
    door.client.transfer(to).await?;
    let seen = tokio::time::timeout(door.timeout, leads(door, to)).await;
    seen.map_err(|_| {
        let why = format!("node {} does not lead after {:?}", to.0, door.timeout);
        let failure = Failure::not_done("not_transferred", why);
        failure.help("`cairn status` shows who leads and how far the node is").into()
    })
}

/// Waits until some node knows that `to` leads; in which term, and in its protocol's words.
async fn leads(door: &Door, to: NodeId) -> (u64, String) {
    let client = door.client.with_timeout(Duration::from_secs(1));
    loop {
        if let Ok(status) = client.status(None).await
            && status.leader == Some(to)
        {
            return (status.epoch, status.standing);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
