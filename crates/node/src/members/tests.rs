//! What may be changed, and what comes of it.

use super::*;

fn member(node: u64, part: Part) -> Member {
    let (client_address, peer_address) = (format!("c{node}"), format!("p{node}"));
    let priority = Member::DEFAULT_PRIORITY;
    Member { node: NodeId(node), client_address, peer_address, part, priority }
}

fn three() -> Members {
    Members::first(&[1, 2, 3].map(|node| member(node, Part::Voter)))
}

/// Node 1 leads, its log ends at 10,000; these answer, and have so much of it.
fn status(peers: &[(u64, u64)]) -> Status {
    let position = Position { index: LogIndex(10_000), ..Position::default() };
    let progress = |(peer, matched): &(u64, u64)| consensus::PeerProgress {
        peer: ReplicaId(*peer),
        matched: LogIndex(*matched),
        next: LogIndex(*matched + 1),
        state: "replicate",
        active: true,
    };
    Status {
        id: ReplicaId(1),
        role: Role::Leader,
        epoch: consensus::Epoch::default(),
        leader: Some(ReplicaId(1)),
        base: Position::default(),
        last: position,
        commit: position.index,
        log_bytes: 0,
        membership: Arc::default(),
        is_settled: true,
        peers: peers.iter().map(progress).collect(),
    }
}

fn change(
    members: &Members,
    peers: &[(u64, u64)],
    change: &MemberChange,
) -> Result<(Members, u64), MemberDenial> {
    let status = status(peers);
    let planned = plan(members, change, &Sight { own: NodeId(1), status: &status });
    planned.map(|(members, node)| (members, node.0))
}

fn add_as(address: &str, part: NewPart) -> MemberChange {
    let (peer_address, client_address) = (address.to_owned(), String::new());
    let priority = Member::DEFAULT_PRIORITY;
    MemberChange::Add { peer_address, client_address, part, priority }
}

fn add(address: &str, learner: bool) -> MemberChange {
    add_as(address, if learner { NewPart::Learner } else { NewPart::Voter })
}

fn remove(node: u64, force: bool) -> MemberChange {
    MemberChange::Remove { node: NodeId(node), force }
}

fn ids(set: &std::collections::BTreeSet<ReplicaId>) -> Vec<u64> {
    set.iter().map(|replica| replica.0).collect()
}

#[test]
fn a_node_that_is_added_learns_and_votes_when_it_has_caught_up() {
    let up = [(2, 10_000), (3, 10_000)];
    let (members, node) = change(&three(), &up, &add("p4", false)).unwrap();
    assert_eq!((node, members.next), (4, NodeId(5)));
    let wanted = target(&members);
    assert_eq!((ids(&wanted.voters), ids(&wanted.learners)), (vec![1, 2, 3], vec![4]));
    let promote = MemberChange::Promote { node: NodeId(4) };
    let far = [(2, 10_000), (3, 10_000), (4, 5_000)];
    let behind = MemberDenial::NotCaughtUp { node: NodeId(4), matched: 5_000, last: 10_000 };
    assert_eq!(change(&members, &far, &promote), Err(behind));
    let near = [(2, 10_000), (3, 10_000), (4, 9_000)];
    let (members, _) = change(&members, &near, &promote).unwrap();
    assert_eq!(ids(&target(&members).voters), [1, 2, 3, 4]);
    let again = change(&members, &near, &promote);
    assert_eq!(again, Err(MemberDenial::NotLearner { node: NodeId(4) }));
}

#[test]
fn a_lost_node_goes_in_the_step_that_gives_its_successor_a_vote() {
    let replace = MemberChange::Replace {
        node: NodeId(3),
        peer_address: "p3".to_owned(),
        client_address: "c3".to_owned(),
    };
    let (members, node) = change(&three(), &[(2, 10_000)], &replace).unwrap();
    assert_eq!((node, ids(&target(&members).voters)), (4, vec![1, 2, 3]));
    let promote = MemberChange::Promote { node: NodeId(4) };
    let (members, _) = change(&members, &[(2, 10_000), (4, 10_000)], &promote).unwrap();
    assert_eq!(ids(&target(&members).voters), [1, 2, 4]);
    assert_eq!(members.find(NodeId(3)).unwrap().part, Part::Leaving, "it is reachable still");
}

#[test]
fn what_would_leave_too_few_that_answer_is_refused_unless_it_is_forced() {
    let alone = change(&three(), &[], &remove(3, false));
    let denial = MemberDenial::NoQuorum { voters: 2, active: 1, needed: 2 };
    assert_eq!(alone, Err(denial));
    assert!(change(&three(), &[], &remove(3, true)).is_ok());
    let (two, _) = change(&three(), &[(2, 9_999)], &remove(3, false)).unwrap();
    assert_eq!(ids(&target(&two).voters), [1, 2]);
    let one = Members::first(&[member(1, Part::Voter)]);
    let last = change(&one, &[], &remove(1, true));
    assert_eq!(last, Err(MemberDenial::LastVoter { node: NodeId(1) }));
    let unknown = change(&three(), &[], &remove(9, true));
    assert_eq!(unknown, Err(MemberDenial::NotFound { node: NodeId(9) }));
}

#[test]
fn an_address_has_one_node() {
    let taken = change(&three(), &[], &add("p2", true));
    let denial = MemberDenial::AddressTaken { node: NodeId(2), address: "p2".to_owned() };
    assert_eq!(taken, Err(denial));
    let (node, client_address) = (NodeId(2), String::new());
    let peer_address = "q2".to_owned();
    let update = MemberChange::Update { node, peer_address, client_address, priority: None };
    let (members, _) = change(&three(), &[], &update).unwrap();
    let found = members.find(NodeId(2)).unwrap();
    assert_eq!((found.peer_address.as_str(), found.client_address.as_str()), ("q2", "c2"));
}

#[test]
fn a_priority_is_given_and_goes_over_to_who_replaces_its_node() {
    let (node, priority) = (NodeId(2), Some(9));
    let (peer_address, client_address) = (String::new(), String::new());
    let update = MemberChange::Update { node, peer_address, client_address, priority };
    let (members, _) = change(&three(), &[], &update).unwrap();
    let found = members.find(node).unwrap();
    assert_eq!(
        (found.priority, found.peer_address.as_str()),
        (9, "p2"),
        "and nothing else changes"
    );
    let (peer_address, client_address) = ("p4".to_owned(), String::new());
    let replace = MemberChange::Replace { node, peer_address, client_address };
    let (members, new) = change(&members, &[], &replace).unwrap();
    assert_eq!(members.find(NodeId(new)).unwrap().priority, 9);
    assert_eq!(members.find(NodeId(1)).unwrap().priority, Member::DEFAULT_PRIORITY);
}

#[test]
fn who_was_leaving_is_gone_when_the_change_is_over() {
    let (members, _) = change(&three(), &[(2, 1), (3, 1)], &remove(3, false)).unwrap();
    let joint = target(&three()).towards(target(&members));
    assert!(members_of(&joint).unwrap().find(NodeId(3)).is_some());
    let settled = members_of(&joint.settled()).unwrap();
    assert!(settled.has_left(NodeId(3)) && !settled.has_left(NodeId(4)));
}

#[test]
fn a_context_that_makes_no_sense_is_an_error() {
    for context in [&b""[..], b"\x02", b"\x01", b"\x01\x05\x01\x07\x00\x00\x09"] {
        let context = bytes::Bytes::copy_from_slice(context);
        assert!(members_of(&Membership { context, ..Membership::default() }).is_err());
    }
}

/// Nodes 1 and 2 have the data, node 3 is a witness.
fn two_and_a_witness() -> Members {
    let parts = [(1, Part::Voter), (2, Part::Voter), (3, Part::Witness)];
    Members::first(&parts.map(|(node, part)| member(node, part)))
}

#[test]
fn a_witness_joins_as_one_and_stays_one() {
    let two = Members::first(&[1, 2].map(|node| member(node, Part::Voter)));
    let up = [(2, 10_000), (3, 10_000)];
    let (members, node) = change(&two, &up, &add_as("p3", NewPart::Witness)).unwrap();
    let wanted = target(&members);
    assert_eq!((ids(&wanted.learners), ids(&wanted.witnesses)), (vec![3], vec![3]));
    let promote = MemberChange::Promote { node: NodeId(node) };
    let (members, _) = change(&members, &up, &promote).unwrap();
    let parts = |members: &Members| members.list.iter().map(|m| m.part).collect::<Vec<_>>();
    assert_eq!(parts(&members), parts(&two_and_a_witness()));
    let wanted = target(&members);
    assert_eq!((ids(&wanted.voters), ids(&wanted.witnesses)), (vec![1, 2, 3], vec![3]));
    assert!(wanted.check().is_ok());
    let again = change(&members, &up, &promote);
    assert_eq!(again, Err(MemberDenial::NotLearner { node: NodeId(3) }));
}

#[test]
fn in_a_witness_place_comes_a_witness() {
    let replace = |node| MemberChange::Replace {
        node: NodeId(node),
        peer_address: "p9".to_owned(),
        client_address: String::new(),
    };
    for (lost, witness) in [(3, true), (2, false)] {
        let up = [(2, 10_000), (3, 10_000), (4, 10_000)];
        let (members, node) = change(&two_and_a_witness(), &up, &replace(lost)).unwrap();
        let joins = Part::Joining { replaces: Some(NodeId(lost)), witness };
        assert_eq!(members.find(NodeId(node)).unwrap().part, joins);
        let promote = MemberChange::Promote { node: NodeId(node) };
        let (members, _) = change(&members, &up, &promote).unwrap();
        let part = if witness { Part::Witness } else { Part::Voter };
        assert_eq!(members.find(NodeId(node)).unwrap().part, part);
        assert_eq!(target(&members).witnesses.len(), 1);
    }
}

#[test]
fn witnesses_never_outweigh_the_data() {
    let up = [(2, 10_000), (3, 10_000), (4, 10_000)];
    let witness = |node| add_as(&format!("p{node}"), NewPart::Witness);
    let alone = Members::first(&[member(1, Part::Voter)]);
    let denial = MemberDenial::TooFewData { data: 1, forcible: false };
    assert_eq!(change(&alone, &[], &witness(2)), Err(denial));
    // Two of four would still be fewer than a majority, three of five are not.
    let (members, _) = change(&two_and_a_witness(), &up, &witness(4)).unwrap();
    let promote = |node| MemberChange::Promote { node: NodeId(node) };
    let (members, _) = change(&members, &up, &promote(4)).unwrap();
    let (members, _) = change(&members, &up, &witness(5)).unwrap();
    let up = [(2, 10_000), (3, 10_000), (4, 10_000), (5, 10_000)];
    let denial = MemberDenial::TooManyWitnesses { voters: 5, witnesses: 3 };
    assert_eq!(change(&members, &up, &promote(5)), Err(denial));
}

#[test]
fn the_last_copy_but_one_is_kept_unless_it_is_forced() {
    let up = [(2, 10_000), (3, 10_000)];
    let denial = MemberDenial::TooFewData { data: 1, forcible: true };
    assert_eq!(change(&two_and_a_witness(), &up, &remove(2, false)), Err(denial));
    let (members, _) = change(&two_and_a_witness(), &up, &remove(2, true)).unwrap();
    assert_eq!(ids(&target(&members).voters), [1, 3]);
    let denial = MemberDenial::TooManyWitnesses { voters: 1, witnesses: 1 };
    assert_eq!(change(&members, &up, &remove(1, true)), Err(denial), "nobody would have the data");
    assert!(change(&two_and_a_witness(), &up, &remove(3, false)).is_ok(), "the witness may go");
    // Where there is no witness, how few there may be is asked of nobody.
    let two = Members::first(&[1, 2].map(|node| member(node, Part::Voter)));
    assert!(change(&two, &up, &remove(2, false)).is_ok());
}
