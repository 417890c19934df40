//! Clients that read, write and swap a few keys through all nodes at once, and remember what they
//! saw; one that appends ever new keys; and one that writes bulk, so that logs and disks have
//! something to do.
//!
//! A write whose outcome is unknown is sent once more under its first id half of the time: it must
//! get the first one's answer, and not be done twice.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::tcp::Tcp;
use client::{Client, Config, Error, WriteOptions};
use sim::check::{Call, RegisterOp};
use tokio::task::JoinSet;
use tokio::time::sleep;
use wire::{Body, Compare, Consistency, Op, Operand, Operator, Outcome, Txn, TxnResult};

use crate::chance::Chance;
use crate::record::{Pause, Record};

/// Keys that are in use at the same time.
const KEYS: u64 = 3;

/// Keys change their names now and then: short histories are checked fast.
const KEY_AGE: Duration = Duration::from_millis(1500);

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Between two operations of a client.
const PAUSE: Duration = Duration::from_millis(5);

/// Between two appends, and between two writes of bulk.
const SLOW_PAUSE: Duration = Duration::from_millis(20);

/// Length of a value in bulk, and how many keys share it.
const BULK_BYTES: usize = 32 << 10;
const BULK_KEYS: u64 = 64;

/// Keys of appends begin so.
pub(crate) const APPENDS: &str = "acked/";

/// Clients that run until told to finish.
pub(crate) struct Workload {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

struct Shared {
    addresses: Vec<String>,
    seed: u64,
    begun: Instant,
    stop: AtomicBool,
    values: AtomicU32,
    record: Mutex<Record>,
}

impl Workload {
    /// Starts the clients, on a thread of their own.
    pub(crate) fn start(addresses: Vec<String>, seed: u64) -> Self {
        let shared = Arc::new(Shared {
            addresses,
            seed,
            begun: Instant::now(),
            stop: AtomicBool::new(false),
            values: AtomicU32::new(0),
            record: Mutex::default(),
        });
        let clients = Arc::clone(&shared);
        let thread = std::thread::spawn(move || runtime().block_on(clients.run()));
        Self { shared, thread }
    }

    /// Time since the start.
    pub(crate) fn now(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// Whether an append was acknowledged that had begun after `moment`.
    pub(crate) fn acknowledged_since(&self, moment: Duration) -> bool {
        self.shared.record.lock().unwrap().last_begun() > moment
    }

    /// The longest times without an acknowledged write that ended since `moment`.
    pub(crate) fn longest_pause(&self, since: Duration) -> Pause {
        self.shared.record.lock().unwrap().longest_pause(since, self.now())
    }

    /// Ends the clients, reads every key once more, and hands out what was seen.
    pub(crate) fn finish(self) -> Record {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.join().expect("no client fails");
        runtime().block_on(self.shared.read_all());
        let shared = Arc::into_inner(self.shared).expect("the clients are gone");
        shared.record.into_inner().unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Shared {
    /// A client that knows these nodes only.
    fn client(&self, number: u64, addresses: &[String]) -> Client {
        let transport = Tcp::new(addresses, None).unwrap();
        let seed = self.seed.wrapping_add(number);
        let id = (u128::from(seed) << 64) | u128::from(number + 1);
        Client::new(Arc::new(transport), Config { timeout: PATIENCE, ..Config::new(id, seed) })
    }

    /// One client knows each node alone, and is cut off with it; three know all.
    async fn run(self: Arc<Self>) {
        let mut clients = JoinSet::new();
        for (number, address) in (0..).zip(&self.addresses) {
            let client = self.client(number, std::slice::from_ref(address));
            clients.spawn(Arc::clone(&self).change_registers(number, client));
        }
        for number in [10, 11, 12] {
            let client = self.client(number, &self.addresses);
            clients.spawn(Arc::clone(&self).change_registers(number, client));
        }
        let (appender, bulk) = (self.client(20, &self.addresses), self.client(21, &self.addresses));
        clients.spawn(Arc::clone(&self).append(appender));
        clients.spawn(Arc::clone(&self).write_bulk(bulk));
        clients.join_all().await;
    }

    fn running(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).expect("runs end within centuries")
    }

    async fn change_registers(self: Arc<Self>, number: u64, client: Client) {
        let mut chance = Chance::new(self.seed ^ (number + 1).rotate_left(40));
        // The key that was last used, and what it holds as far as is known.
        let mut known: Option<(String, u32)> = None;
        while self.running() {
            let age = self.begun.elapsed().as_millis() / KEY_AGE.as_millis();
            let key = format!("r{age}-{}", chance.below(KEYS));
            let held = known.take().filter(|(of, _)| *of == key).map(|(_, value)| value);
            let value = self.values.fetch_add(1, Ordering::Relaxed);
            let after = match (chance.below(10), held) {
                (0..4, _) => self.read(&client, &key).await,
                (4..9, Some(held)) => self.swap(&client, &key, held, value, &mut chance).await,
                _ => self.write(&client, &key, value, &mut chance).await,
            };
            known = after.map(|value| (key, value));
            sleep(PAUSE).await;
        }
    }

    /// Every key once more: what the clients did not look at after the storm counts as well.
    async fn read_all(&self) {
        let client = self.client(30, &self.addresses);
        let keys = self.record.lock().unwrap().keys();
        for key in keys {
            self.read(&client, &key).await;
        }
    }

    async fn read(&self, client: &Client, key: &str) -> Option<u32> {
        let began = self.now();
        let answer = client.get(key.to_owned(), Consistency::Linearizable).await;
        let ended = Some(self.now());
        let mut record = self.record.lock().unwrap();
        let Ok(found) = answer else {
            record.refused();
            return None;
        };
        let value = found.value.map(|item| number_in(&item.value));
        record.called(key, Call { began, ended, op: RegisterOp::Read(value) });
        value
    }

    async fn write(
        &self,
        client: &Client,
        key: &str,
        value: u32,
        chance: &mut Chance,
    ) -> Option<u32> {
        let txn = Txn::always(vec![put(key, value)]);
        let op = RegisterOp::Write(Some(value));
        self.change(client, key, txn, op, |_| op, chance).await?;
        Some(value)
    }

    async fn swap(
        &self,
        client: &Client,
        key: &str,
        held: u32,
        value: u32,
        chance: &mut Chance,
    ) -> Option<u32> {
        let operand = Operand::Value(held.to_string().into());
        let compare = Compare::key(key.to_owned().into(), Operator::Equal, operand);
        let then = vec![put(key, value)];
        let txn = Txn { compares: vec![compare], then, ..Txn::default() };
        let (swapped, failed) =
            (RegisterOp::Swap(Some(held), Some(value)), RegisterOp::SwapFailed(Some(held)));
        let op_of = |result: &TxnResult| if result.succeeded { swapped } else { failed };
        let op = self.change(client, key, txn, swapped, op_of, chance).await?;
        (op == swapped).then_some(value)
    }

    /// Has a change done and remembers it: `op_of` its answer, or `maybe` if there is none.
    async fn change(
        &self,
        client: &Client,
        key: &str,
        txn: Txn,
        maybe: RegisterOp,
        op_of: impl Fn(&TxnResult) -> RegisterOp,
        chance: &mut Chance,
    ) -> Option<RegisterOp> {
        let began = self.now();
        let mut answer = client.execute(Body::Txn(txn.clone()), WriteOptions::default()).await;
        if let Err(Error::Unknown { request: Some(id), .. }) = answer
            && chance.one_in(2)
        {
            self.record.lock().unwrap().repeated();
            let options = WriteOptions { request_id: Some(id), timeout: None };
            answer = match client.execute(Body::Txn(txn), options).await {
                Ok(answer) => Ok(answer),
                // The first try was sent: that this one was refused says nothing of it.
                Err(error) => Err(Error::Unknown { request: Some(id), why: error.to_string() }),
            };
        }
        let ended = self.now();
        let mut record = self.record.lock().unwrap();
        match answer {
            Ok(answer) => {
                let op = op_of(&answer.value);
                record.wrote(Duration::from_nanos(ended));
                record.called(key, Call { began, ended: Some(ended), op });
                Some(op)
            }
            Err(error) if error.outcome() == Outcome::NotDone => {
                record.refused();
                None
            }
            Err(_) => {
                record.called(key, Call { began, ended: None, op: maybe });
                None
            }
        }
    }

    /// Writes ever new keys, each of which holds its own name.
    async fn append(self: Arc<Self>, client: Client) {
        let mut number = 0_u64;
        while self.running() {
            number += 1;
            let begun = self.begun.elapsed();
            let key = format!("{APPENDS}{number}");
            if client.put(key.clone(), key.clone()).await.is_ok() {
                let now = self.begun.elapsed();
                self.record.lock().unwrap().appended(key, begun, now);
            }
            sleep(SLOW_PAUSE).await;
        }
    }

    /// Nobody looks at these; what comes of them is told by the others.
    async fn write_bulk(self: Arc<Self>, client: Client) {
        let value = Bytes::from(vec![0xb7; BULK_BYTES]);
        let mut number = 0_u64;
        while self.running() {
            number += 1;
            let _ = client.put(format!("bulk/{}", number % BULK_KEYS), value.clone()).await;
            sleep(SLOW_PAUSE).await;
        }
    }
}

fn put(key: &str, value: u32) -> Op {
    Op::put(key.to_owned(), value.to_string())
}

fn number_in(value: &[u8]) -> u32 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("we wrote a number")
}
