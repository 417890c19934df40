//! Another node's message: between replicas, or about a snapshot.
//!
//! It is encoded again to the same. A node drops what is meant for others. One message, whatever it
//! says, stops no node that has not seen its sender contradict itself: it is taken in, dropped, or
//! answered, and the node lives on through its next deadlines.
//!
//! A second leader of one term is evidence that the cluster broke its promises, and there a node must
//! stop. So are other entries than those that a majority has acknowledged. Such messages are left out
//! here: the follower hears its own leader alone, and knows none of its entries to be committed.

use consensus::raft::Message;
use node::{Event, PeerEnvelope, PeerMessage, peer};
use wire::{NodeId, Writer};

use super::round_trip;
use crate::input::Input;
use crate::seeds;
use crate::solo::{CLUSTER, Solo};

/// Deadlines that a node must live through afterwards.
const DEADLINES: usize = 8;

/// Input: what the node was before, whether to put the address right, the message.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (before, addressed) = (input.u8(), input.u8() & 1 == 1);
    let encode = |envelope: &PeerEnvelope, out: &mut Writer| envelope.encode(out);
    let Some(mut envelope) = round_trip(input.rest(), PeerEnvelope::decode, encode) else { return };
    if addressed {
        envelope.cluster = peer::fingerprint(CLUSTER);
        envelope.to = NodeId(1);
        envelope.from = NodeId(2 + (envelope.from.0 & 1));
    }
    // A number that nobody gave yet may be a member of which the node has yet to hear.
    let is_ours = envelope.cluster == peer::fingerprint(CLUSTER)
        && envelope.to == NodeId(1)
        && envelope.from.0 >= 2;
    let mut solo = before_it(before);
    if is_second_leader(&solo, &envelope) {
        return;
    }
    let (digest, status) = (solo.node.digest(), solo.node.status());
    solo.sent.clear();
    solo.tell(Event::Peer(envelope));
    if !is_ours {
        assert_eq!((solo.node.digest(), solo.node.status()), (digest, status), "it was not for us");
        assert!(solo.sent.is_empty(), "what is not for us has no answer");
    }
    for _ in 0..DEADLINES {
        assert_eq!(solo.stopped, None, "one message stops no node");
        solo.pass_time();
    }
}

/// Whether it leads the node's own term, whose leader the node knows to be another.
fn is_second_leader(solo: &Solo, envelope: &PeerEnvelope) -> bool {
    let PeerMessage::Consensus { message: consensus::Message::Raft(message), .. } =
        &envelope.message
    else {
        return false;
    };
    let status = solo.node.status();
    let leads = matches!(
        message,
        Message::Append(_)
            | Message::Commit { .. }
            | Message::Snapshot { .. }
            | Message::TimeoutNow { .. }
    );
    let of_same_term = message.term().round == status.epoch;
    leads && of_same_term && status.leader.is_some_and(|leader| leader != envelope.from)
}

/// A follower that knows nothing, one with a leader and a log, a candidate, a leader.
fn before_it(kind: u8) -> Solo {
    let mut solo = Solo::new(3);
    match kind % 4 {
        0 => {}
        1 => seeds::follow(&mut solo),
        2 => seeds::stand(&mut solo),
        _ => seeds::lead(&mut solo),
    }
    solo
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let messages = seeds::peers();
    let seed = |before: u8| move |bytes: &Vec<u8>| [&[before, 1][..], bytes].concat();
    (0..4).flat_map(|before| messages.iter().map(seed(before)).collect::<Vec<_>>()).collect()
}
