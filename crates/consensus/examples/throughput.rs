//! How many entries a second the state machine alone carries: three replicas in one thread,
//! messages moved between vectors, every write durable at once.
//!
//! `cargo run --release -p consensus --example throughput [raft|paxos|zab]`, or all without a name.

#![expect(clippy::print_stdout, reason = "an example speaks to its reader")]

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Config, Input, Output, ProposalId, Protocol, Replica, ReplicaId, Restored, Role, Time,
};

const ENTRIES: usize = 1 << 20;
/// Batches that a client keeps under way.
const DEPTH: usize = 16;

fn main() {
    let wanted = std::env::args().nth(1);
    let is_wanted =
        |protocol: &Protocol| wanted.as_ref().is_none_or(|wanted| wanted == protocol.name());
    for protocol in Protocol::ALL.into_iter().filter(is_wanted) {
        for batch in [1, 8, 64, 512] {
            let seconds = measure(protocol, batch).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "a million is exact")]
            let entries = ENTRIES as f64;
            let (rate, cost) = (entries / seconds, seconds / entries * 1e6);
            println!(
                "{protocol:>5} batch {batch:>4}: {rate:>10.0} entries/s, {cost:.3} us per entry"
            );
        }
    }
}

/// Time to commit all entries, in batches of this size, on all three replicas.
fn measure(protocol: Protocol, batch: usize) -> Duration {
    let mut cluster = Cluster::new(protocol);
    let command = Bytes::from_static(&[7; 100]);
    #[expect(clippy::disallowed_methods, reason = "an example may look at the clock")]
    let begin = std::time::Instant::now();
    let mut proposed = 0;
    while proposed < ENTRIES {
        for _ in 0..DEPTH {
            let commands = (0..batch).map(|n| (ProposalId(n as u64), command.clone())).collect();
            cluster.step(cluster.leader, Input::Propose(commands));
            proposed += batch;
        }
        cluster.settle();
        for replica in 0..3 {
            let through = cluster.replicas[replica].status().commit;
            cluster.step(replica, Input::Checkpointed { through });
        }
        cluster.settle();
    }
    let elapsed = begin.elapsed();
    assert!(cluster.applied.iter().all(|applied| *applied > ENTRIES), "all replicas applied all");
    elapsed
}

struct Cluster {
    replicas: Vec<Box<dyn Replica>>,
    queue: VecDeque<(usize, Input)>,
    applied: [usize; 3],
    out: Vec<Output>,
    leader: usize,
}

impl Cluster {
    /// Three replicas, one of which leads: under Zab the last, else the first.
    fn new(protocol: Protocol) -> Self {
        let voters: std::collections::BTreeSet<_> = (1..=3).map(ReplicaId).collect();
        let replica = |id| {
            let mut config = Config::new(ReplicaId(id), voters.clone(), id);
            config.log_retain_bytes = 1 << 20;
            protocol.replica(config, Restored::default(), Time::default())
        };
        let replicas = (1..=3).map(replica).collect();
        let queue = VecDeque::new();
        let mut cluster = Self { replicas, queue, applied: [0; 3], out: vec![], leader: 0 };
        for index in 0..3 {
            cluster.step_at(Time::default(), index, Input::Tick);
        }
        cluster.step(0, Input::Tick);
        cluster.settle();
        let mut roles = cluster.replicas.iter().map(|replica| replica.status().role);
        cluster.leader = roles.position(|role| role == Role::Leader).expect("one of them leads");
        cluster
    }

    fn step(&mut self, index: usize, input: Input) {
        self.step_at(Time::default() + Duration::from_secs(2), index, input);
    }

    fn step_at(&mut self, now: Time, index: usize, input: Input) {
        let mut out = std::mem::take(&mut self.out);
        self.replicas[index].step(now, input, &mut out);
        for output in out.drain(..) {
            self.carry_out(index, output);
        }
        self.out = out;
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Persist(durable) => self.queue.push_back((index, Input::Persisted(durable.id))),
            Output::Send { to, message } => {
                let from = ReplicaId(index as u64 + 1);
                let to = usize::try_from(to.0 - 1).expect("small");
                self.queue.push_back((to, Input::Receive { from, message }));
            }
            Output::Apply(entries) => self.applied[index] += entries.len(),
            Output::Refused { .. } => panic!("the leader takes all that is proposed"),
            _ => {}
        }
    }

    fn settle(&mut self) {
        while let Some((index, input)) = self.queue.pop_front() {
            self.step(index, input);
        }
    }
}
