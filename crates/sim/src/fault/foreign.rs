//! Messages that are none of ours: of another cluster that reached the wrong address, and garbage.

use std::time::Duration;

use bytes::Bytes;
use consensus::raft::{Append, Link, Message};
use consensus::{Entry, Epoch, LogIndex, Payload, Position};
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

    /// A message of another cluster's leader: its term is ahead of ours, its log is another one.
    fn stranger(&mut self, world: &World, to: NodeId) -> Option<Bytes> {
        let nodes = world.machines.len() as u64;
        let from = NodeId((to.0 + self.rng.below(nodes)) % nodes + 1);
        if from == to {
            return None;
        }
        let term = Epoch { round: self.rng.between(2, 1_000), proposer: 0 };
        let log = self.rng.between(1, 100);
        let prev = Position::default();
        let entries = (1..=log).map(|index| {
            let position = Position { index: LogIndex(index), epoch: term };
            Entry { position, payload: Payload::Noop }
        });
        let (last, link) = (LogIndex(log), Link::default());
        let entries = entries.collect();
        let append = Append { term, prev, entries, commit: last, round: 1, last, link };
        let message = consensus::Message::Raft(Message::Append(append));
        let envelope = PeerEnvelope {
            cluster: peer::fingerprint("another"),
            from,
            to,
            message: PeerMessage::Consensus { group: GROUP, message },
        };
        Some(Frame::encode(FrameKind::Peer, 0, |out| envelope.encode(out)).into())
    }

    /// Bytes of no meaning, in a frame that is whole.
    fn garbage(&mut self) -> Bytes {
        let len = self.rng.index(60);
        let bytes: Vec<u8> = (0..len).map(|_| self.rng.draw().to_le_bytes()[0]).collect();
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
        let stranger = self.rng.chance(600).then(|| self.stranger(world, id)).flatten();
        let bytes = stranger.unwrap_or_else(|| self.garbage());
        world.plan_after(Duration::ZERO, Happening::Peer { to, bytes });
        world.struck("foreign");
        Some(self.rng.duration(Duration::from_millis(10), Duration::from_millis(500)))
    }
}
