//! Entries of the log: what a replica does with commands that another release may have logged.
//!
//! Whatever the bytes are, the replica applies them and goes on. What it does depends on the log
//! alone: a replica that was restarted in the middle, from its storage and its journal, ends in the
//! same state as one that was not.

use bytes::Bytes;
use consensus::raft::{Append, Link, Message};
use consensus::{Entry, Epoch, LogIndex, Payload, Position};
use node::{Event, PeerEnvelope, PeerMessage, peer};
use wire::NodeId;

use crate::input::{Input, push_piece};
use crate::seeds;
use crate::solo::{CLUSTER, Solo};

/// More are a long way to the same place.
const MOST_ENTRIES: usize = 64;

/// Input: where to restart, then commands, each behind its length.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let restart_at = usize::from(input.u8());
    let mut commands = Vec::new();
    while !input.is_empty() && commands.len() < MOST_ENTRIES {
        commands.push(Bytes::copy_from_slice(input.piece()));
    }
    let steady = replay(&commands, None);
    let restarted = replay(&commands, Some(restart_at));
    assert_eq!(steady.node.digest(), restarted.node.digest(), "a restart changed the state");
}

/// A follower that is fed these commands one by one by a leader of term 1.
fn replay(commands: &[Bytes], restart_at: Option<usize>) -> Solo {
    let mut solo = Solo::new(3);
    for (at, command) in commands.iter().enumerate() {
        if restart_at == Some(at) {
            // What is flushed comes back from the storage, the rest from the log.
            solo.tell(Event::Retire);
            solo = solo.restart();
        }
        append(&mut solo, at as u64, command);
        assert_eq!(solo.stopped, None, "what is in the log stops nobody");
        let status = solo.node.status();
        assert_eq!(status.applied, at as u64 + 1, "it was committed, and is applied");
    }
    solo
}

fn append(solo: &mut Solo, at: u64, command: &Bytes) {
    let term = Epoch { round: 1, proposer: 0 };
    let before = if at == 0 { Epoch::default() } else { term };
    let position = Position { index: LogIndex(at + 1), epoch: term };
    let entry = Entry { position, payload: Payload::Command(command.clone()) };
    let append = Append {
        term,
        prev: Position { index: LogIndex(at), epoch: before },
        entries: vec![entry],
        commit: LogIndex(at + 1),
        round: at + 1,
        last: LogIndex(at + 1),
        link: Link::default(),
    };
    let message = consensus::Message::Raft(Message::Append(append));
    let message = PeerMessage::Consensus { group: node::GROUP, message };
    let cluster = peer::fingerprint(CLUSTER);
    let envelope = PeerEnvelope { cluster, from: NodeId(2), to: NodeId(1), message };
    solo.tell(Event::Peer(envelope));
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let commands = seeds::commands();
    let seed = |restart_at: u8, commands: &[Bytes]| {
        let mut seed = vec![restart_at];
        for command in commands {
            push_piece(&mut seed, command);
        }
        seed
    };
    let mut seeds: Vec<Vec<u8>> =
        commands.iter().map(|command| seed(0, std::slice::from_ref(command))).collect();
    seeds.push(seed(3, &commands));
    seeds.push(seed(1, &seeds::restore()));
    seeds
}
