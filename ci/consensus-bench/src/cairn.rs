//! Ours: all that this benchmark needs to know of the crate `consensus`.
//!
//! It is hosted as the node does it: writes that were asked for in one turn are reported together, as
//! by group commit, and followers hear what is committed with the next entries, or a millisecond later.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use consensus::{
    Config, Input, LogIndex, Output, Payload, PersistId, ProposalId, Protocol, Replica, ReplicaId,
    Restored, Role, Time,
};

use crate::hosted::{Hosted, Post, Replicas};
use crate::work::{Applied, Cluster, Commands, Load, REPLICAS};

/// As the node has it.
const NOTICE_DELAY: Duration = Duration::from_millis(1);

/// A cluster of three replicas that keep their log by this protocol.
pub fn cluster(protocol: Protocol, load: Load) -> Box<dyn Cluster> {
    let voters: BTreeSet<_> = (1..=REPLICAS as u64).map(ReplicaId).collect();
    let replica = |at: usize| {
        let id = ReplicaId(at as u64 + 1);
        let mut config = Config::new(id, voters.clone(), id.0);
        // Like the peers', its log ends where all have applied it.
        config.log_retain_bytes = 0;
        config.commit_notice_delay = NOTICE_DELAY;
        protocol.replica(config, Restored::default(), Time::default())
    };
    let mut cairn = Cairn {
        replicas: std::array::from_fn(replica),
        applied: [Applied::default(); REPLICAS],
        through: [LogIndex::default(); REPLICAS],
        unreported: [None; REPLICAS],
        leader: 0,
        now: Time::default(),
        out: vec![],
    };
    let mut post = Post::default();
    for at in 0..REPLICAS {
        cairn.step(at, Input::Tick, &mut post);
    }
    // The first one has heard of no leader for long.
    cairn.now = Time::default() + Duration::from_secs(2);
    cairn.step(0, Input::Tick, &mut post);
    Box::new(Hosted::new(cairn, load, post))
}

enum Mail {
    Input(Input),
    /// All that was to be written is.
    Written,
}

struct Cairn {
    replicas: [Box<dyn Replica>; REPLICAS],
    applied: [Applied; REPLICAS],
    through: [LogIndex; REPLICAS],
    /// The last write of each that it has not been told of.
    unreported: [Option<PersistId>; REPLICAS],
    leader: usize,
    now: Time,
    out: Vec<Output>,
}

impl Cairn {
    fn step(&mut self, at: usize, input: Input, post: &mut Post<Mail>) {
        self.replicas[at].step(self.now, input, &mut self.out);
        for output in self.out.drain(..) {
            match output {
                Output::Persist(durable) => {
                    let unreported = self.unreported[at].replace(durable.id);
                    if unreported.is_none() {
                        post.send(at, Mail::Written);
                    }
                }
                Output::Send { to, message } => {
                    let from = ReplicaId(at as u64 + 1);
                    let to = usize::try_from(to.0 - 1).expect("small");
                    post.send(to, Mail::Input(Input::Receive { from, message }));
                }
                Output::Apply(entries) => {
                    for entry in &entries {
                        self.through[at] = entry.position.index;
                        if let Payload::Command(command) = &entry.payload {
                            self.applied[at].apply(command);
                        }
                    }
                }
                Output::Refused { .. } => panic!("the leader takes all that is proposed"),
                // What is awaited has been written already; nobody reads here, and nobody lags.
                _ => {}
            }
        }
    }
}

impl Replicas for Cairn {
    type Message = Mail;

    fn propose(&mut self, commands: &mut Commands, count: usize, post: &mut Post<Mail>) {
        if self.applied[0].count == 0 {
            let mut roles = self.replicas.iter().map(|replica| replica.status().role);
            self.leader = roles.position(|role| role == Role::Leader).expect("one of them leads");
        }
        let commands = (0..count).map(|n| (ProposalId(n as u64), commands.take())).collect();
        self.step(self.leader, Input::Propose(commands), post);
    }

    fn turn(&mut self, at: usize, mail: &mut VecDeque<Mail>, post: &mut Post<Mail>) {
        for mail in mail.drain(..) {
            let input = match mail {
                Mail::Input(input) => input,
                Mail::Written => {
                    Input::Persisted(self.unreported[at].take().expect("there is one"))
                }
            };
            self.step(at, input, post);
        }
    }

    fn quiet(&mut self, post: &mut Post<Mail>) {
        self.now = self.now + NOTICE_DELAY;
        if self.replicas[self.leader].deadline().is_some_and(|deadline| deadline <= self.now) {
            self.step(self.leader, Input::Tick, post);
        }
    }

    fn checkpoint(&mut self, post: &mut Post<Mail>) {
        for at in 0..REPLICAS {
            self.step(at, Input::Checkpointed { through: self.through[at] }, post);
        }
    }

    fn applied(&self) -> [Applied; REPLICAS] {
        self.applied
    }
}
