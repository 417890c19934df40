//! What nodes say to each other, and nodes in the middle of that.

use std::sync::Arc;

use bytes::Bytes;
use consensus::raft::{Append, AppendReply, Cause, Link, Message, Outcome};
use consensus::{Entry, Epoch, LogIndex, Membership, Payload, Position, ReplicaId};
use engine::Chunk;
use node::{Event, PeerEnvelope, PeerMessage, peer};
use wire::{NodeId, Writer};

use crate::solo::{CLUSTER, Solo};

/// Deadlines within which a node stands for election.
const PATIENCE: usize = 16;

fn term(round: u64) -> Epoch {
    Epoch { round, proposer: 0 }
}

fn at(index: u64, round: u64) -> Position {
    Position { index: LogIndex(index), epoch: term(round) }
}

fn envelope(message: PeerMessage) -> PeerEnvelope {
    let cluster = peer::fingerprint(CLUSTER);
    PeerEnvelope { cluster, from: NodeId(2), to: NodeId(1), message }
}

fn raft(message: Message) -> PeerEnvelope {
    let message = consensus::Message::Raft(message);
    envelope(PeerMessage::Consensus { group: node::GROUP, message })
}

fn append(prev: Position, entries: Vec<Entry>, commit: u64) -> Message {
    let last = LogIndex(prev.index.0 + entries.len() as u64);
    let (round, link, commit) = (1, Link::default(), LogIndex(commit));
    Message::Append(Append { term: term(2), prev, entries, commit, round, last, link })
}

/// Node 3 is to go.
fn membership() -> Arc<Membership> {
    let before = Membership::of([1, 2, 3].map(ReplicaId).into());
    Arc::new(before.towards(Membership::of([1, 2].map(ReplicaId).into())))
}

fn entries() -> Vec<Entry> {
    let command = super::commands().swap_remove(0);
    let payloads = [Payload::Noop, Payload::Command(command)];
    (1..).zip(payloads).map(|(index, payload)| Entry { position: at(index, 2), payload }).collect()
}

/// One of each kind, of node 2 for node 1.
pub(crate) fn peers() -> Vec<Vec<u8>> {
    let (link, round) = (Link::default(), 1);
    let grant = std::time::Duration::from_millis(600);
    let reply =
        |outcome| Message::AppendReply(AppendReply { term: term(2), round, link, outcome, grant });
    let snapshot = Message::Snapshot {
        term: term(3),
        position: at(9, 2),
        round,
        last: LogIndex(12),
        link,
        skip: None,
    };
    let members = Entry { position: at(3, 2), payload: Payload::Membership(membership()) };
    let messages = [
        Message::PreVote { term: term(2), last: at(3, 2) },
        Message::PreVoteReply { term: term(1), asked: term(1), granted: true },
        Message::Vote { term: term(4), last: at(9, 3), cause: Cause::Silence, nonce: 5 },
        Message::Vote { term: term(4), last: at(9, 3), cause: Cause::Transfer, nonce: 5 },
        Message::VoteReply { term: term(1), granted: true, nonce: 5 },
        append(at(0, 0), entries(), 0),
        append(at(2, 2), Vec::new(), 1),
        reply(Outcome::Accepted { matched: LogIndex(1) }),
        reply(Outcome::Rejected { prev: LogIndex(2), hint: at(1, 1) }),
        reply(Outcome::Fetching),
        reply(Outcome::InDoubt { nonce: 8 }),
        reply(Outcome::Stale),
        Message::Commit { term: term(2), position: at(2, 2) },
        snapshot,
        Message::TimeoutNow { term: term(2) },
        Message::TermQuery { term: term(2), nonce: 9 },
        Message::TermReply { term: term(2), nonce: 9, in_doubt: true, membership: membership() },
        append(at(2, 2), vec![members], 2),
    ];
    let chunk = Chunk { sequence: 0, bytes: Bytes::from_static(b"CRNK"), last: false };
    let (group, fetch) = (node::GROUP, 1);
    let others = [
        PeerMessage::FetchChunk { group, fetch, sequence: 0, at_least: at(0, 0) },
        PeerMessage::Chunk { group, fetch, applied: at(12, 3), chunk },
        PeerMessage::NoChunk { group, fetch },
    ];
    let all = messages.into_iter().map(raft).chain(others.into_iter().map(envelope));
    let encode = |envelope: PeerEnvelope| {
        let mut out = Writer::new();
        envelope.encode(&mut out);
        out.into_vec()
    };
    all.map(encode).collect()
}

/// Node 2 leads term 2; this node has its entries, and knows none to be committed.
pub(crate) fn follow(solo: &mut Solo) {
    solo.tell(Event::Peer(raft(append(at(0, 0), entries(), 0))));
    assert_eq!(solo.node.status().last, 2, "it follows");
}

/// It stands for election.
pub(crate) fn stand(solo: &mut Solo) {
    // Whoever would vote says so.
    await_role(solo, "pre-candidate");
    let asked = term(solo.node.status().epoch);
    solo.tell(Event::Peer(raft(Message::PreVoteReply { term: asked, asked, granted: true })));
    assert_eq!(solo.node.status().role, "candidate");
}

/// It leads, and has proposed something.
pub(crate) fn lead(solo: &mut Solo) {
    stand(solo);
    let nonce = solo.sent.iter().rev().find_map(|envelope| match &envelope.message {
        PeerMessage::Consensus {
            message: consensus::Message::Raft(Message::Vote { nonce, .. }),
            ..
        } => Some(*nonce),
        _ => None,
    });
    let nonce = nonce.expect("a candidate asks for votes");
    let own = term(solo.node.status().epoch);
    solo.tell(Event::Peer(raft(Message::VoteReply { term: own, granted: true, nonce })));
    assert_eq!(solo.node.status().role, "leader");
}

fn await_role(solo: &mut Solo, role: &str) {
    for _ in 0..PATIENCE {
        if solo.node.status().role == role {
            return;
        }
        solo.pass_time();
    }
    panic!("it is {}, and not {role}", solo.node.status().role);
}
