//! This node's own entry in the list of members: where it says that the node is found, and that the node
//! is there at all.
//!
//! Where a node is found its configuration says, which its operator has before his eyes when it starts. If
//! the list says otherwise, or nothing (a node that was added by etcd's API has no address for clients),
//! the node asks the leader to correct it. It does so until list and configuration have agreed once in
//! this life: who changes the list later, while the node runs, means what he does.

use std::sync::Arc;
use std::time::Duration;

use client::Client;
use tokio::time::sleep;
use tracing::{debug, info};
use wire::{Member, MemberChange, Members, NodeId, Principal};

use super::random::{Backoff, draw_u64};
use super::refusals::REMOVED;
use super::roster::Roster;
use crate::errors::Fault;

const FIRST_PAUSE_MS: u64 = 1_000;
const LONGEST_PAUSE_MS: u64 = 30_000;

/// An election must have had its time before anybody is asked.
const HEAD_START: Duration = Duration::from_millis(500);

/// Sees to it that the list has this node where `own` says, once.
pub(crate) async fn keep_addresses(roster: Arc<Roster>, client: Client, own: Member) {
    let client = client.in_name_of(Some(Principal::node_itself()));
    let mut backoff = Backoff::new(draw_u64(), FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    roster.until(|list| list.find(own.node).is_some()).await;
    sleep(HEAD_START).await;
    loop {
        let list = roster.list().expect("one was there, and lists only follow one another");
        let Some(change) = correction(&list, &own) else { return };
        match client.change_members(change).await {
            Ok(_) => {
                info!(
                    node = own.node.0,
                    client = own.client_address,
                    peer = own.peer_address,
                    "the list of members says where this node is found now"
                );
                return;
            }
            // The leader may be one that does not know this node yet, or busy with another change.
            Err(error) => {
                debug!(node = own.node.0, %error, "the list of members can't be corrected");
            }
        }
        sleep(backoff.pause()).await;
    }
}

/// What is to be changed in the list, for `own` to be found where it is.
fn correction(list: &Members, own: &Member) -> Option<MemberChange> {
    let listed = list.find(own.node)?;
    let better = |listed: &str, own: &str| {
        if listed == own || !can_be_found(own) { String::new() } else { own.to_owned() }
    };
    let client_address = better(&listed.client_address, &own.client_address);
    let peer_address = better(&listed.peer_address, &own.peer_address);
    let node = own.node;
    let differs = !(client_address.is_empty() && peer_address.is_empty());
    let update = MemberChange::Update { node, peer_address, client_address, priority: None };
    differs.then_some(update)
}

/// Whether others can reach something there: it is a place, and not all of a machine's.
fn can_be_found(address: &str) -> bool {
    let Some((host, port)) = address.rsplit_once(':') else { return false };
    port != "0" && !["0.0.0.0", "[::]", "*", ""].contains(&host)
}

/// Ends the process when the members have agreed to do without this node.
pub(crate) async fn watch_removal(roster: Arc<Roster>, own: NodeId) {
    roster.until_gone(own).await;
    sleep(REMOVED).await;
    if roster.list().is_some_and(|list| list.has_left(own)) {
        Fault::Removed { node: own }.end_process();
    }
}

#[cfg(test)]
mod tests {
    use wire::Part;

    use super::*;

    fn member(client: &str, peer: &str) -> Member {
        Member {
            node: NodeId(4),
            client_address: client.into(),
            peer_address: peer.into(),
            part: Part::Voter,
            priority: Member::DEFAULT_PRIORITY,
        }
    }

    fn update(peer: &str, client: &str) -> MemberChange {
        let (peer_address, client_address) = (peer.into(), client.into());
        MemberChange::Update { node: NodeId(4), peer_address, client_address, priority: None }
    }

    #[test]
    fn the_list_is_corrected_where_it_differs() {
        let list = Members::first(&[member("c:1", "p:1")]);
        assert_eq!(correction(&list, &member("c:1", "p:1")), None);
        assert_eq!(correction(&list, &member("d:1", "p:1")), Some(update("", "d:1")));
        assert_eq!(correction(&list, &member("d:1", "q:1")), Some(update("q:1", "d:1")));
        let untold = Members::first(&[member("", "p:1")]);
        assert_eq!(correction(&untold, &member("c:1", "p:1")), Some(update("", "c:1")));
    }

    #[test]
    fn where_nobody_can_reach_it_is_no_address() {
        let list = Members::first(&[member("c:1", "p:1")]);
        for nowhere in ["", "0.0.0.0:8000", "[::]:8000", "c:0", "*:1"] {
            assert_eq!(correction(&list, &member(nowhere, nowhere)), None, "{nowhere}");
        }
    }

    #[test]
    fn who_is_not_listed_changes_nothing() {
        let list = Members { list: Vec::new(), next: NodeId(5) };
        assert_eq!(correction(&list, &member("c:1", "p:1")), None);
    }
}
