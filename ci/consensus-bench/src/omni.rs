//! `OmniPaxos`, with its memory storage.
//!
//! Its log batching is told the size of a proposal, so that it writes and sends one as a whole. A
//! replica handles all its mail before its outgoing messages are taken, so that it merges what it can.

use std::collections::VecDeque;

use bytes::Bytes;
use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot};
use omnipaxos::util::LogEntry;
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

use crate::hosted::{Hosted, Post, Replicas};
use crate::work::{Applied, Cluster, Commands, Load, Manner, REPLICAS};

/// A cluster of three, led by the first.
pub fn cluster(load: Load) -> Box<dyn Cluster> {
    let batch_size = match load.manner {
        Manner::Alone => load.batch,
        Manner::Gathered => load.window(),
    };
    let node = |at: usize| {
        let server_config =
            ServerConfig { pid: at as u64 + 1, batch_size, ..ServerConfig::default() };
        let nodes = (1..=REPLICAS as u64).collect();
        let cluster_config =
            ClusterConfig { configuration_id: 1, nodes, ..ClusterConfig::default() };
        let config = OmniPaxosConfig { cluster_config, server_config };
        config.build(MemoryStorage::default()).expect("a valid configuration")
    };
    let mut replicas = Omni {
        nodes: std::array::from_fn(node),
        applied: [Applied::default(); REPLICAS],
        outgoing: vec![],
    };
    replicas.nodes[0].try_become_leader();
    let mut post = Post::default();
    replicas.carry_out(0, &mut post);
    Box::new(Hosted::new(replicas, load, post))
}

#[derive(Clone, Debug)]
struct Command(Bytes);

impl Entry for Command {
    type Snapshot = NoSnapshot;
}

struct Omni {
    nodes: [OmniPaxos<Command, MemoryStorage<Command>>; REPLICAS],
    applied: [Applied; REPLICAS],
    outgoing: Vec<Message<Command>>,
}

impl Omni {
    fn carry_out(&mut self, at: usize, post: &mut Post<Message<Command>>) {
        let (node, applied) = (&mut self.nodes[at], &mut self.applied[at]);
        node.take_outgoing_messages(&mut self.outgoing);
        for message in self.outgoing.drain(..) {
            let to = usize::try_from(message.get_receiver() - 1).expect("small");
            post.send(to, message);
        }
        let from = usize::try_from(applied.count).expect("it was counted here");
        if node.get_decided_idx() > from {
            for entry in node.read_decided_suffix(from).expect("it is decided") {
                match entry {
                    LogEntry::Decided(command) => applied.apply(&command.0),
                    other => panic!("not an entry: {other:?}"),
                }
            }
        }
    }
}

impl Replicas for Omni {
    type Message = Message<Command>;

    fn propose(&mut self, commands: &mut Commands, count: usize, post: &mut Post<Self::Message>) {
        for _ in 0..count {
            let command = Command(commands.take());
            self.nodes[0].append(command).expect("the leader takes all that is proposed");
        }
        self.carry_out(0, post);
    }

    fn turn(
        &mut self,
        at: usize,
        mail: &mut VecDeque<Self::Message>,
        post: &mut Post<Self::Message>,
    ) {
        for message in mail.drain(..) {
            self.nodes[at].handle_incoming(message);
        }
        self.carry_out(at, post);
    }

    fn checkpoint(&mut self, post: &mut Post<Self::Message>) {
        self.nodes[0].trim(None).expect("the leader trims what all have");
        self.carry_out(0, post);
    }

    fn applied(&self) -> [Applied; REPLICAS] {
        self.applied
    }
}
