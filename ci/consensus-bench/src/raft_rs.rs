//! `TiKV`'s raft-rs, with its `MemStorage`.
//!
//! Commands go in as it takes them with the least copying: all of a batch in one proposal, whose
//! entries hold slices of the buffer. A replica steps all its mail, and then handles one `Ready`, in
//! the order that the crate's documentation gives. Limits are those of `TiKV`; as there, followers
//! hear what is committed with the next entries, or with a heartbeat when it is quiet.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, Message, MessageType};
use raft::storage::MemStorage;
use raft::{Config, RawNode};

use crate::hosted::{Hosted, Post, Replicas};
use crate::work::{Applied, Cluster, Commands, Load, REPLICAS};

/// A cluster of three, led by the first.
pub fn cluster(load: Load) -> Box<dyn Cluster> {
    let logger = slog::Logger::root(slog::Discard, slog::o!());
    let node = |at: usize| {
        let config = Config {
            id: at as u64 + 1,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            batch_append: true,
            skip_bcast_commit: true,
            ..Config::default()
        };
        let storage = MemStorage::new_with_conf_state((vec![1, 2, 3], vec![]));
        RawNode::new(&config, storage, &logger).expect("a valid configuration")
    };
    let nodes = std::array::from_fn(node);
    let mut replicas = RaftRs { nodes, applied: [Applied::default(); REPLICAS] };
    replicas.nodes[0].campaign().expect("it may stand for election");
    let mut post = Post::default();
    replicas.handle_ready(0, &mut post);
    Box::new(Hosted::new(replicas, load, post))
}

struct RaftRs {
    nodes: [RawNode<MemStorage>; REPLICAS],
    applied: [Applied; REPLICAS],
}

impl RaftRs {
    fn handle_ready(&mut self, at: usize, post: &mut Post<Message>) {
        while self.nodes[at].has_ready() {
            let mut ready = self.nodes[at].ready();
            send(ready.take_messages(), post);
            self.apply(at, ready.take_committed_entries());
            {
                let mut store = self.nodes[at].mut_store().wl();
                store.append(ready.entries()).expect("entries that follow the log");
                if let Some(hard_state) = ready.hs() {
                    store.set_hardstate(hard_state.clone());
                }
            }
            send(ready.take_persisted_messages(), post);
            let mut light = self.nodes[at].advance(ready);
            if let Some(commit) = light.commit_index() {
                self.nodes[at].mut_store().wl().mut_hard_state().set_commit(commit);
            }
            send(light.take_messages(), post);
            self.apply(at, light.take_committed_entries());
            self.nodes[at].advance_apply();
        }
    }

    fn apply(&mut self, at: usize, entries: Vec<Entry>) {
        for entry in entries {
            // A new leader's first entry carries nothing.
            if !entry.data.is_empty() {
                self.applied[at].apply(&entry.data);
            }
        }
    }
}

fn send(messages: Vec<Message>, post: &mut Post<Message>) {
    for message in messages {
        let to = usize::try_from(message.to - 1).expect("small");
        post.send(to, message);
    }
}

impl Replicas for RaftRs {
    type Message = Message;

    fn propose(&mut self, commands: &mut Commands, count: usize, post: &mut Post<Message>) {
        let entry = |_| Entry { data: commands.take(), ..Entry::default() };
        let mut proposal = Message::default();
        proposal.set_msg_type(MessageType::MsgPropose);
        proposal.set_from(1);
        proposal.set_entries((0..count).map(entry).collect::<Vec<_>>().into());
        self.nodes[0].step(proposal).expect("the leader takes all that is proposed");
        self.handle_ready(0, post);
    }

    fn turn(&mut self, at: usize, mail: &mut VecDeque<Message>, post: &mut Post<Message>) {
        for message in mail.drain(..) {
            self.nodes[at].step(message).expect("a message of this cluster");
        }
        self.handle_ready(at, post);
    }

    fn quiet(&mut self, post: &mut Post<Message>) {
        self.nodes[0].ping();
        self.handle_ready(0, post);
    }

    fn checkpoint(&mut self, _: &mut Post<Message>) {
        for node in &mut self.nodes {
            let applied = node.raft.raft_log.applied;
            node.mut_store().wl().compact(applied).expect("a prefix of the log");
        }
    }

    fn applied(&self) -> [Applied; REPLICAS] {
        self.applied
    }
}
