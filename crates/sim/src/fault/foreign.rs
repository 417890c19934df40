//! Messages that are none of ours: of another cluster that reached the wrong address, and garbage.

use std::time::Duration;

use bytes::Bytes;
use consensus::raft::Message;
use consensus::{Epoch, LogIndex, Position};
use node::{GROUP, PeerEnvelope, PeerMessage, peer};
use wire::{Frame, FrameKind, NodeId};

use super::{Fault, any_machine};
use crate::rng::Rng;
use crate::world::{Happening, World};

pub(super) struct Foreign {
    rng: Rng,
}

impl Foreign {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }

    /// A message of another cluster: its term is far ahead of ours.
    fn stranger(&mut self, world: &World, to: NodeId) -> Bytes {
        let term = Epoch { round: self.rng.between(1_000, 1_000_000), proposer: 0 };
        let last = Position { index: LogIndex(1_000_000), epoch: term };
        let message = if self.rng.chance(500) {
            Message::PreVote { term, last }
        } else {
            Message::VoteReply { term, granted: true }
        };
        let from = NodeId(self.rng.between(1, world.machines.len() as u64));
        let message = consensus::Message::Raft(message);
        let envelope = PeerEnvelope {
            cluster: peer::fingerprint("another"),
            from,
            to,
            message: PeerMessage::Consensus { group: GROUP, message },
        };
        Frame::encode(FrameKind::Peer, 0, |out| envelope.encode(out)).into()
    }

    /// Bytes of no meaning, in a frame that is whole.
    fn garbage(&mut self) -> Bytes {
        let len = self.rng.index(60);
        let bytes: Vec<u8> = (0..len).map(|_| self.rng.next().to_le_bytes()[0]).collect();
        Frame::encode(FrameKind::Peer, 0, |out| {
            // A right beginning takes the decoder further.
            out.raw(&peer::fingerprint(crate::world::CLUSTER).to_le_bytes()).varint(2).varint(1);
            out.raw(&bytes);
        })
        .into()
    }
}

impl Fault for Foreign {
    fn strike(&mut self, world: &mut World) -> Option<Duration> {
        let to = any_machine(&mut self.rng, world);
        let id = world.machines[to].id();
        let bytes = if self.rng.chance(600) {
            self.stranger(world, id)
        } else {
            self.garbage()
        };
        world.plan_after(Duration::ZERO, Happening::Peer { to, bytes });
        Some(self.rng.duration(Duration::from_millis(10), Duration::from_millis(500)))
    }
}
