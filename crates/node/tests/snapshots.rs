//! A cluster of three nodes, driven by hand over disks in memory: what happens to a node that has
//! fallen behind, or that has lost its state.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use consensus::Time;
use disk::Disk;
use disk::mem::MemDisk;
use engine::{Job, Worker};
use journal::Journal;
use node::{Answer, Config, Effect, Event, Node, PeerEnvelope, PeerMessage, Ticket, Tuning};
use wire::{
    Body, Command, Consistency, KeyRange, Member, MemberChange, NewPart, NodeId, Op, Part, Query,
    Refusal, Reply, Request, RequestId, Revision, Txn,
};

/// The one that joins as a witness.
const WITNESS: NodeId = NodeId(4);

const STAGED: &str = "engine.staging-g1";

/// A node with its journal and its storage.
struct Machine {
    node: Node,
    journal: Journal<MemDisk>,
    worker: Box<dyn Worker>,
}

/// All that the nodes have to do is done at once, but time passes only when it is told to.
struct Cluster {
    tuning: BTreeMap<NodeId, Tuning>,
    disks: BTreeMap<NodeId, MemDisk>,
    machines: BTreeMap<NodeId, Machine>,
    now: Time,
    effects: VecDeque<(NodeId, Effect)>,
    answers: BTreeMap<Ticket, Answer>,
    /// Messages that get lost.
    lost: fn(&PeerEnvelope) -> bool,
    /// How many snapshots rot between their last chunk and their ingest.
    rot: usize,
    next: u64,
    /// Why nodes ended.
    stopped: Vec<String>,
}

fn is_fetch(envelope: &PeerEnvelope) -> bool {
    matches!(envelope.message, PeerMessage::FetchChunk { .. })
}

fn small() -> Tuning {
    Tuning { flush_log_bytes: 4096, log_retain_bytes: 1024, ..Tuning::default() }
}

impl Cluster {
    fn start(tuning: &Tuning) -> Self {
        let nodes = || (1..=3).map(NodeId);
        let mut cluster = Self {
            tuning: nodes().map(|node| (node, tuning.clone())).collect(),
            disks: nodes().map(|node| (node, MemDisk::new(node.0))).collect(),
            machines: BTreeMap::new(),
            now: Time::from_nanos(1),
            effects: VecDeque::new(),
            answers: BTreeMap::new(),
            lost: |_| false,
            rot: 0,
            next: 0,
            stopped: Vec::new(),
        };
        nodes().for_each(|node| cluster.boot(node));
        cluster.pass(5);
        cluster.hand_over(NodeId(1));
        cluster
    }

    fn boot(&mut self, node: NodeId) {
        let disk = self.disks[&node].clone();
        let (journal, recovered) =
            Journal::open(disk.clone(), "journal", journal::Config::new(1)).expect("journal");
        let (engine, worker) =
            engine::open_disk(disk, "engine", engine::Config::default()).expect("engine");
        let member = |node| Member {
            node,
            client_address: "localhost:8000".into(),
            peer_address: "localhost:9000".into(),
            part: Part::Voter,
            priority: Member::DEFAULT_PRIORITY,
        };
        let config = Config {
            node,
            cluster: "test".into(),
            version: "0".into(),
            members: (1..=node.0.max(3)).map(NodeId).map(member).collect(),
            joins: node > NodeId(3),
            witness: node == WITNESS,
            protocol: consensus::Protocol::Raft,
            seed: 7,
            tuning: self.tuning[&node].clone(),
            rare: node::Rare::closed(),
            #[cfg(feature = "planted")]
            planted: None,
            #[cfg(feature = "planted")]
            planted_consensus: None,
        };
        let node_itself = Node::new(config, recovered, engine, self.now).expect("node");
        self.machines.insert(node, Machine { node: node_itself, journal, worker });
        self.handle(node, Event::Tick);
    }

    fn stop(&mut self, node: NodeId) {
        self.machines.remove(&node);
        self.effects.retain(|(from, _)| *from != node);
        self.disks[&node].crash();
    }

    fn lose_state(&mut self, node: NodeId) {
        let disk = &self.disks[&node];
        let names = disk.list("").expect("the files are there");
        for name in names.iter().filter(|name| name.starts_with("engine")) {
            disk.remove(name).expect("the engine's file goes");
        }
    }

    fn handle(&mut self, node: NodeId, event: Event) {
        let Some(machine) = self.machines.get_mut(&node) else { return };
        machine.node.handle(self.now, event);
        let mut effects = Vec::new();
        machine.node.settle(self.now, &mut effects);
        self.effects.extend(effects.into_iter().map(|effect| (node, effect)));
    }

    fn carry_out(&mut self, node: NodeId, effect: Effect) {
        let machine = self.machines.get_mut(&node).expect("it runs");
        match effect {
            Effect::Send(envelope) if (self.lost)(&envelope) => {}
            Effect::Send(envelope) => self.handle(envelope.to, Event::Peer(envelope)),
            Effect::Reply { ticket, answer } => {
                assert!(self.answers.insert(ticket, answer).is_none(), "answered twice");
            }
            Effect::Read { ticket, task } => {
                let answer = task.run().expect("the disk is sound");
                assert!(self.answers.insert(ticket, answer).is_none(), "answered twice");
            }
            Effect::ReadChunk(task) => self.handle(node, task.run()),
            Effect::Journal { write, records } => {
                machine.journal.append(&records).expect("append");
                machine.journal.sync().expect("sync");
                self.handle(node, Event::Journaled(write));
            }
            Effect::Work(job) => self.work(node, job),
            Effect::News(_) | Effect::Members(_) => {}
            Effect::Stop { why } => self.stopped.push(why),
            other => panic!("{node} asked for {other:?}"),
        }
    }

    fn work(&mut self, node: NodeId, job: Job) {
        if self.rot > 0 && format!("{job:?}").contains("Ingest") {
            self.rot -= 1;
            self.disks[&node].flip_bits(STAGED, 20, 1);
            self.lost = is_fetch;
        }
        let done = self.machines.get_mut(&node).expect("it runs").worker.run(job);
        self.handle(node, Event::Worked(done));
    }

    /// Lets time pass. A node hears of it when its deadline has come, and at no other time.
    fn pass(&mut self, seconds: u64) {
        let end = self.now + Duration::from_secs(seconds);
        loop {
            while let Some((node, effect)) = self.effects.pop_front() {
                self.carry_out(node, effect);
            }
            let due =
                |(node, machine): (&NodeId, &Machine)| Some((machine.node.deadline()?, *node));
            let due = self.machines.iter().filter_map(due).min();
            let Some((deadline, node)) = due.filter(|(deadline, _)| *deadline <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(deadline);
            self.handle(node, Event::Tick);
        }
    }

    fn ask(&mut self, node: NodeId, request: Request) -> Ticket {
        self.next += 1;
        let ticket = Ticket(self.next);
        self.handle(node, Event::Request { ticket, request });
        ticket
    }

    fn put(&mut self, node: NodeId) -> Ticket {
        let number = self.next + 1;
        let key = Bytes::from(format!("key {}", number % 7));
        let op = Op::put(key, vec![b'x'; 512]);
        let id = RequestId { client: 9, number };
        let body = Body::Txn(Txn::always(vec![op]));
        let command = Command { id, done_below: 0, since: 0, principal: None, body };
        self.ask(node, Request::Write(command.encode()))
    }

    fn fill(&mut self, node: NodeId, puts: usize) {
        for _ in 0..puts {
            let ticket = self.put(node);
            self.pass(1);
            let answer = self.answers.remove(&ticket);
            assert!(matches!(answer, Some(Ok((_, Reply::Written(_))))), "{answer:?}");
        }
    }

    fn hand_over(&mut self, to: NodeId) {
        for _ in 0..5 {
            for node in (1..=3).map(NodeId) {
                self.ask(node, Request::Transfer { to });
            }
            self.pass(3);
            let leads = |machine: &Machine| machine.node.status().role == "leader";
            if self.machines.get(&to).is_some_and(leads) {
                return;
            }
        }
        panic!("{to} does not lead");
    }

    fn digest(&self, node: NodeId) -> (wire::Revision, u64, Bytes) {
        self.machines[&node].node.digest()
    }
}

#[test]
fn a_lost_state_is_asked_for_again_after_its_source_gave_no_answer() {
    let mut cluster = Cluster::start(&small());
    cluster.fill(NodeId(1), 50);
    cluster.stop(NodeId(3));
    cluster.lose_state(NodeId(3));
    // The first one that is asked.
    cluster.stop(NodeId(2));
    cluster.boot(NodeId(3));
    cluster.pass(60);
    cluster.fill(NodeId(1), 1);
    assert_eq!(cluster.digest(NodeId(3)), cluster.digest(NodeId(1)));
}

#[test]
fn a_lost_state_comes_back_also_from_nodes_that_had_flushed_less() {
    let mut cluster = Cluster::start(&Tuning::default());
    cluster.stop(NodeId(3));
    cluster.tuning.insert(NodeId(3), small());
    cluster.boot(NodeId(3));
    cluster.pass(5);
    cluster.hand_over(NodeId(1));
    cluster.fill(NodeId(1), 50);
    cluster.stop(NodeId(3));
    cluster.lose_state(NodeId(3));
    cluster.boot(NodeId(3));
    cluster.pass(60);
    assert_eq!(cluster.digest(NodeId(3)), cluster.digest(NodeId(1)));
}

#[test]
fn a_snapshot_that_rots_before_it_is_taken_over_is_fetched_again() {
    let mut cluster = Cluster::start(&small());
    cluster.stop(NodeId(2));
    cluster.tuning.insert(NodeId(2), Tuning { flush_log_bytes: 4096, ..Tuning::default() });
    cluster.boot(NodeId(2));
    cluster.pass(5);
    cluster.hand_over(NodeId(1));
    cluster.fill(NodeId(1), 10);
    cluster.stop(NodeId(3));
    cluster.fill(NodeId(1), 50);
    cluster.rot = 1;
    cluster.boot(NodeId(3));
    cluster.pass(5);
    assert_eq!(cluster.rot, 0, "it rotted");
    // The next leader has the whole log, and nobody answers a fetch for a while.
    cluster.stop(NodeId(1));
    cluster.pass(5);
    cluster.fill(NodeId(2), 5);
    cluster.handle(NodeId(3), Event::Retire);
    cluster.pass(5);
    cluster.lost = |_| false;
    cluster.pass(60);
    assert_eq!(cluster.digest(NodeId(3)), cluster.digest(NodeId(2)));
}

#[test]
fn who_waits_for_a_command_that_came_in_with_a_snapshot_is_answered() {
    let mut cluster = Cluster::start(&small());
    cluster.fill(NodeId(1), 50);
    cluster.stop(NodeId(3));
    cluster.lose_state(NodeId(3));
    cluster.lost = is_fetch;
    cluster.boot(NodeId(3));
    cluster.pass(5);
    cluster.hand_over(NodeId(3));
    let tickets: Vec<Ticket> = (0..30).map(|_| cluster.put(NodeId(3))).collect();
    cluster.pass(5);
    cluster.lost = |_| false;
    cluster.pass(60);
    assert_eq!(cluster.digest(NodeId(3)), cluster.digest(NodeId(1)));
    let unanswered = tickets.iter().filter(|ticket| !cluster.answers.contains_key(ticket));
    assert_eq!(unanswered.count(), 0);
    let metrics = cluster.machines[&NodeId(3)].node.metrics();
    assert_eq!(metrics.inflight_bytes.get(), 0, "the budget is given back");
    assert_eq!(metrics.waiting_requests.get(), 0);
}

impl Cluster {
    fn change(&mut self, change: MemberChange) {
        let ticket = self.ask(NodeId(1), Request::ChangeMembers(change));
        self.pass(2);
        let answer = self.answers.remove(&ticket);
        assert!(matches!(answer, Some(Ok((_, Reply::Members { .. })))), "{answer:?}");
    }

    /// Node 4 joins as a witness where the log's beginning is gone, and node 3 goes.
    fn with_a_witness() -> Self {
        let mut cluster = Self::start(&small());
        cluster.fill(NodeId(1), 50);
        let (peer_address, client_address) = ("witness:9000".to_owned(), String::new());
        let part = NewPart::Witness;
        cluster.change(MemberChange::Add { peer_address, client_address, part, priority: 5 });
        cluster.tuning.insert(WITNESS, Tuning::default());
        cluster.disks.insert(WITNESS, MemDisk::new(WITNESS.0));
        cluster.boot(WITNESS);
        cluster.pass(5);
        cluster.change(MemberChange::Remove { node: NodeId(3), force: false });
        cluster.stop(NodeId(3));
        cluster.fill(NodeId(1), 3);
        cluster
    }

    fn refusal(&mut self, node: NodeId, request: Request) -> Refusal {
        let ticket = self.ask(node, request);
        self.pass(0);
        self.answers.remove(&ticket).expect("answered at once").expect_err("refused")
    }
}

#[test]
fn a_witness_has_the_log_and_no_data_and_sends_on_whoever_asks() {
    let mut cluster = Cluster::with_a_witness();
    for life in 1..=2 {
        let [status, leader] = [WITNESS, NodeId(1)].map(|n| cluster.machines[&n].node.status());
        assert_eq!(status.role, "witness", "life {life}");
        assert_eq!((status.applied, status.last), (leader.applied, leader.last));
        let node = &cluster.machines[&WITNESS].node;
        let count = node.view().count(node::SPACE, &KeyRange::all(), leader.revision).unwrap();
        assert_eq!((count, node.digest().0, node.is_whole()), (0, Revision(1), false));
        let query = Query::range(KeyRange::all());
        let read = |consistency| Request::Read { query: query.clone(), consistency };
        let refusal = cluster.refusal(WITNESS, read(Consistency::Eventual));
        assert!(matches!(refusal, Refusal::Broken { why } if why.contains("witness")));
        let watch = Request::Watch {
            range: KeyRange::all(),
            from: Revision(0),
            wait_ms: 9,
            previous: false,
        };
        assert!(matches!(cluster.refusal(WITNESS, watch), Refusal::Broken { .. }));
        let leads = Refusal::NotLeader { leader: Some(NodeId(1)) };
        assert_eq!(cluster.refusal(WITNESS, read(Consistency::Linearizable)), leads);
        let transfer = cluster.refusal(NodeId(1), Request::Transfer { to: WITNESS });
        assert!(matches!(transfer, Refusal::Invalid { what } if what.contains("witness")));
        cluster.stop(WITNESS);
        cluster.boot(WITNESS);
        cluster.pass(5);
        cluster.fill(NodeId(1), 1);
    }
}

/// What the leader and the witness alone had is not lost with the leader.
#[test]
fn a_node_that_lags_goes_on_with_what_the_witness_has() {
    let mut cluster = Cluster::with_a_witness();
    cluster.lost = |envelope| envelope.to == NodeId(2);
    let acknowledged = cluster.put(NodeId(1));
    cluster.pass(0);
    let answer = cluster.answers.remove(&acknowledged).expect("committed without node 2");
    let (header, _) = answer.expect("it is done");
    cluster.stop(NodeId(1));
    cluster.lost = |_| false;
    cluster.pass(20);
    let status = cluster.machines[&NodeId(2)].node.status();
    assert_eq!((status.role.as_str(), status.revision), ("leader", header.revision));
    cluster.fill(NodeId(2), 3);
}

#[test]
fn who_is_started_as_what_the_cluster_does_not_have_it_as_ends() {
    let mut cluster = Cluster::start(&small());
    let (peer_address, client_address) = ("other:9000".to_owned(), String::new());
    let part = NewPart::Voter;
    cluster.change(MemberChange::Add { peer_address, client_address, part, priority: 5 });
    cluster.tuning.insert(WITNESS, small());
    cluster.disks.insert(WITNESS, MemDisk::new(WITNESS.0));
    cluster.boot(WITNESS);
    cluster.pass(5);
    assert!(cluster.stopped.iter().any(|why| why.contains("--witness")), "{:?}", cluster.stopped);
}
