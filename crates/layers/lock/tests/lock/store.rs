//! A store in memory: a real node, alone, over a disk in memory, on the tests' own clock. So what is
//! said of leases, fences and watches here is what production does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use client::{Answer, CallError, CallFuture, Client, Transport};
use consensus::Time;
use disk::mem::MemDisk;
use engine::Worker;
use journal::Journal;
use node::{Config, Effect, Event, Node, Ticket, Tuning};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wire::{Consistency, Fence, Item, Member, NodeId, Op, Part, Query, Request, Revision, Txn};

/// How long a request takes to reach the node.
const WAY: Duration = Duration::from_millis(2);

/// How often the node is told the time, if it wants to know.
const TICK: Duration = Duration::from_millis(10);

struct Machine {
    node: Node,
    journal: Journal<MemDisk>,
    worker: Box<dyn Worker>,
    waiting: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    next: u64,
    begun: Instant,
    reads: u64,
}

impl Machine {
    fn now(&self) -> Time {
        let nanos = self.begun.elapsed().as_nanos();
        Time::from_nanos(1 + u64::try_from(nanos).expect("tests are short"))
    }

    fn tick(&mut self) {
        let now = self.now();
        if self.node.deadline().is_some_and(|deadline| deadline <= now) {
            self.node.handle(now, Event::Tick);
            self.settle();
        }
    }

    fn ask(&mut self, request: Request) -> oneshot::Receiver<Answer> {
        self.next += 1;
        self.reads += u64::from(matches!(request, Request::Read { .. }));
        let (answer, answered) = oneshot::channel();
        let ticket = Ticket(self.next);
        self.waiting.insert(ticket, answer);
        let now = self.now();
        self.node.handle(now, Event::Request { ticket, request });
        self.settle();
        answered
    }

    fn settle(&mut self) {
        loop {
            let mut effects = Vec::new();
            self.node.settle(self.now(), &mut effects);
            if effects.is_empty() {
                return;
            }
            for effect in effects {
                self.carry_out(effect);
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        let now = self.now();
        match effect {
            Effect::Reply { ticket, answer } => self.reply(ticket, answer),
            Effect::Read { ticket, task } => {
                let answer = task.run().expect("the disk is sound");
                self.reply(ticket, answer);
            }
            Effect::Journal { write, records } => {
                self.journal.append(&records).expect("append");
                self.journal.sync().expect("sync");
                self.node.handle(now, Event::Journaled(write));
            }
            Effect::Work(job) => {
                let done = self.worker.run(job);
                self.node.handle(now, Event::Worked(done));
            }
            Effect::News(_) | Effect::Members(_) => {}
            other => panic!("a node alone asked for {other:?}"),
        }
    }

    fn reply(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            // Whoever asked may have gone away.
            let _ = waiting.send(answer);
        }
    }
}

/// The store.
#[derive(Clone)]
pub(crate) struct Store {
    machine: Arc<Mutex<Machine>>,
    clients: Arc<AtomicU64>,
}

/// One client's way to it, which can be cut.
#[derive(Clone)]
pub(crate) struct Way {
    store: Store,
    length: Duration,
    cut: Arc<AtomicBool>,
}

impl Store {
    /// A new one; it lives as long as the test's runtime.
    pub(crate) fn start() -> Self {
        let disk = MemDisk::new(1);
        let (journal, recovered) =
            Journal::open(disk.clone(), "journal", journal::Config::new(1)).expect("journal");
        let (engine, worker) =
            engine::open_disk(disk, "engine", engine::Config::default()).expect("engine");
        let node = Node::new(config(), recovered, engine, Time::from_nanos(1)).expect("node");
        let begun = Instant::now();
        let waiting = BTreeMap::new();
        let mut machine = Machine { node, journal, worker, waiting, next: 0, begun, reads: 0 };
        machine.node.handle(Time::from_nanos(1), Event::Tick);
        machine.settle();
        let machine = Arc::new(Mutex::new(machine));
        let ticking = Arc::clone(&machine);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                ticking.lock().unwrap().tick();
            }
        });
        Self { machine, clients: Arc::new(AtomicU64::new(0)) }
    }

    /// A client with a way of its own.
    pub(crate) fn client(&self) -> (Client, Way) {
        self.client_behind(WAY)
    }

    fn client_behind(&self, length: Duration) -> (Client, Way) {
        let number = self.clients.fetch_add(1, Ordering::Relaxed) + 1;
        let way = Way { store: self.clone(), length, cut: Arc::new(AtomicBool::new(false)) };
        // Names that are drawn from one must not meet those drawn from the next.
        let id = u128::from(number << 40);
        let client = Client::new(Arc::new(way.clone()), client::Config::new(id, number));
        (client, way)
    }

    /// How many reads were asked for.
    pub(crate) fn reads(&self) -> u64 {
        self.machine.lock().unwrap().reads
    }

    /// A key as it is at this moment.
    pub(crate) async fn get(&self, key: impl Into<Bytes>) -> Option<Item> {
        let (client, _) = self.client_behind(Duration::ZERO);
        client.get(key, Consistency::Linearizable).await.unwrap().value
    }

    /// The keys below a prefix, in the order of their creation.
    pub(crate) async fn queue(&self, prefix: &'static str) -> Vec<Item> {
        let range = wire::KeyRange::prefix(Bytes::from_static(prefix.as_bytes()));
        let (client, _) = self.client_behind(Duration::ZERO);
        let page = client.read(Query::range(range), Consistency::Linearizable).await.unwrap();
        let mut items = page.value.items;
        items.sort_by_key(|item| item.created);
        items
    }

    /// Waits until so many keys stand below a prefix.
    pub(crate) async fn until_queued(&self, prefix: &'static str, count: usize) {
        while self.queue(prefix).await.len() != count {
            tokio::time::sleep(TICK).await;
        }
    }
}

impl Way {
    /// Nothing gets through any more, or again: what is sent is lost without a word.
    pub(crate) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }
}

impl Transport for Way {
    fn nodes(&self) -> Vec<NodeId> {
        vec![NodeId(1)]
    }

    fn since(&self) -> u64 {
        1
    }

    fn call(&self, _to: NodeId, request: Request, timeout: Duration) -> CallFuture {
        let this = self.clone();
        Box::pin(async move {
            let lost = |why: &str| CallError::Lost { target: "n1".into(), why: why.into() };
            if this.cut.load(Ordering::Relaxed) {
                tokio::time::sleep(timeout).await;
                return Err(lost("the way is cut"));
            }
            tokio::time::sleep(this.length).await;
            let answered = this.store.machine.lock().unwrap().ask(request);
            match tokio::time::timeout(timeout, answered).await {
                _ if this.cut.load(Ordering::Relaxed) => Err(lost("the way was cut")),
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(_)) | Err(_) => Err(lost("no answer came")),
            }
        })
    }
}

fn config() -> Config {
    let member = Member {
        node: NodeId(1),
        client_address: "localhost:8000".into(),
        peer_address: "localhost:9000".into(),
        part: Part::Voter,
        priority: Member::DEFAULT_PRIORITY,
    };
    Config {
        node: NodeId(1),
        cluster: "test".into(),
        version: "0".into(),
        members: vec![member],
        joins: false,
        witness: false,
        protocol: node::Protocol::Raft,
        seed: 7,
        tuning: Tuning::default(),
        rare: node::Rare::closed(),
    }
}

/// Puts a key, if the lock behind the token is still held.
pub(crate) async fn fenced_put(
    client: &Client,
    fence: Fence,
    key: &'static str,
    value: &'static str,
) -> Result<Revision, client::Error> {
    let txn = Txn { fences: vec![fence], ..Txn::always(vec![Op::put(key, value)]) };
    Ok(client.txn(txn).await?.revision)
}
