//! Who is let in, and who is spoken to.

use wire::Part;

use super::*;
use crate::drivers::test_dir::TestDir;
use crate::drivers::test_status::published;

const OWN: NodeId = NodeId(1);

fn member(node: u64) -> Member {
    Member {
        node: NodeId(node),
        client_address: format!("c{node}:1"),
        peer_address: format!("p{node}:1"),
        part: Part::Voter,
        priority: Member::DEFAULT_PRIORITY,
    }
}

/// These members, of whom `next` is the next.
fn list(nodes: &[u64], next: u64) -> Arc<Members> {
    let list = nodes.iter().map(|node| member(*node)).collect();
    Arc::new(Members { list, next: NodeId(next) })
}

fn roster(dir: &TestDir, configured: &[u64]) -> Roster {
    let configured: Vec<Member> = configured.iter().map(|node| member(*node)).collect();
    let journals = Arc::new(Journals::open(dir.path()).unwrap());
    Roster::new(OWN, &configured, journals, published(), None)
}

async fn meet(roster: &Roster, node: u64, journal: u64) -> Result<Visit<'_>, HelloError> {
    let node = NodeId(node);
    roster.judge(node, journal)?;
    roster.meet(node, journal, "told:1").await.unwrap()
}

fn numbers(roster: &Roster) -> Vec<u64> {
    roster.numbers().into_iter().map(|node| node.0).collect()
}

#[tokio::test]
async fn members_come_move_and_go() {
    let dir = TestDir::new();
    let roster = roster(&dir, &[1, 2]);
    assert_eq!(numbers(&roster), [2]);
    let before = roster.version();
    let outbox = roster.outbox(NodeId(2)).unwrap();
    roster.set(list(&[1, 2, 3], 4));
    assert!(roster.version() > before);
    assert_eq!(numbers(&roster), [2, 3]);
    let mut moved = Members::clone(&list(&[1, 2], 4));
    moved.list[1].peer_address = "elsewhere:1".into();
    roster.set(Arc::new(moved));
    assert_eq!(roster.address(NodeId(2)).as_deref(), Some("elsewhere:1"));
    assert!(Arc::ptr_eq(&outbox, &roster.outbox(NodeId(2)).unwrap()), "what waits goes along");
    assert!(roster.outbox(NodeId(3)).is_none());
}

#[tokio::test]
async fn a_member_is_looked_for_where_anybody_says_that_it_is() {
    let dir = TestDir::new();
    let roster = roster(&dir, &[1, 2]);
    let mut moved = Members::clone(&list(&[1, 2], 3));
    moved.list[1].peer_address = "listed:1".into();
    roster.set(Arc::new(moved));
    meet(&roster, 2, 7).await.unwrap();
    let places = roster.state().others[&NodeId(2)].places.borrow().clone().unwrap();
    assert_eq!(places, ["listed:1", "told:1", "p2:1"]);
    *roster.state().others[&NodeId(2)].found.lock().unwrap() = Some("told:1".into());
    assert_eq!(roster.address(NodeId(2)).as_deref(), Some("told:1"), "requests go there, too");
}

#[tokio::test]
async fn a_member_is_known_by_its_journal() {
    let dir = TestDir::new();
    let roster = roster(&dir, &[1, 2]);
    roster.set(list(&[1, 2], 3));
    meet(&roster, 2, 7).await.unwrap();
    meet(&roster, 2, 7).await.unwrap();
    let refused = meet(&roster, 2, 8).await.unwrap_err();
    assert_eq!(refused, HelloError::Forgetful { node: NodeId(2) });
}

#[tokio::test]
async fn who_has_left_stays_out() {
    let dir = TestDir::new();
    let roster = roster(&dir, &[1, 2]);
    roster.set(list(&[1, 3], 4));
    let refused = meet(&roster, 2, 7).await.unwrap_err();
    assert_eq!(refused, HelloError::Removed { node: NodeId(2) });
}

#[tokio::test]
async fn a_number_that_is_not_on_the_list_yet_is_a_guest_unless_this_node_leads() {
    let dir = TestDir::new();
    let roster = roster(&dir, &[1, 2]);
    roster.set(list(&[1, 2], 3));
    let visit = meet(&roster, 3, 7).await.unwrap();
    assert_eq!(roster.address(NodeId(3)).as_deref(), Some("told:1"));
    let again = meet(&roster, 3, 7).await.unwrap();
    drop(visit);
    assert_eq!(numbers(&roster), [2, 3], "it has called again");
    drop(again);
    assert_eq!(numbers(&roster), [2]);
    roster.published.set_leader(Some(OWN));
    let refused = meet(&roster, 3, 7).await.unwrap_err();
    assert_eq!(refused, HelloError::Stranger { node: NodeId(3) });
}

#[tokio::test]
async fn a_guest_who_becomes_a_member_stays() {
    let dir = TestDir::new();
    let roster = roster(&dir, &[1, 2]);
    roster.set(list(&[1, 2], 3));
    let visit = meet(&roster, 3, 7).await.unwrap();
    roster.set(list(&[1, 2, 3], 4));
    drop(visit);
    assert_eq!(numbers(&roster), [2, 3]);
    assert_eq!(roster.address(NodeId(3)).as_deref(), Some("p3:1"));
}

#[tokio::test]
async fn guests_are_bounded() {
    let dir = TestDir::new();
    let roster = roster(&dir, &[1]);
    let mut visits = Vec::new();
    for node in 0..GUESTS as u64 {
        visits.push(meet(&roster, 10 + node, 7).await.unwrap());
    }
    let refused = meet(&roster, 100, 7).await.unwrap_err();
    assert_eq!(refused, HelloError::Stranger { node: NodeId(100) });
    visits.pop();
    meet(&roster, 100, 7).await.unwrap();
}

#[tokio::test]
async fn who_joins_hears_everybody_until_it_knows_a_list() {
    let dir = TestDir::new();
    let roster = roster(&dir, &[1, 2]);
    roster.set(list(&[1, 2], 0));
    let visit = meet(&roster, 2, 7).await.unwrap();
    let other = meet(&roster, 3, 8).await.unwrap();
    assert_eq!(numbers(&roster), [2, 3]);
    drop((visit, other));
    assert_eq!(numbers(&roster), [2], "whom the configuration names is spoken to");
}
