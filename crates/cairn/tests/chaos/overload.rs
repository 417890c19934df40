//! Three times as much as the cluster can do, for a while; then as before.
//!
//! A cluster that is overloaded refuses, promptly and truthfully, and holds no more memory than its
//! limits allow. When the load is gone it is as fast as before, by itself and within seconds: what
//! retries and queues could keep alive beyond their cause would show here.
//!
//! Every write is a new key. So in the end each that was acknowledged must be there, and none of those
//! that were refused.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use client::tcp::Tcp;
use client::{Client, Config};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use wire::{KeyRange, Outcome};

use crate::chance::Chance;
use crate::cluster::Cluster;

/// How long it is measured what the cluster can do, and by how many clients.
const MEASURED: Duration = Duration::from_secs(2);
const CLOSED_CLIENTS: u64 = 64;

/// How much more is offered, and for how long.
const FACTOR: u64 = 3;
const OFFERED: Duration = Duration::from_secs(5);

/// How long a client waits: then it gives up, for its own client has given up, too.
const PATIENCE: Duration = Duration::from_secs(1);

/// Writes under way at once: those that wait for an answer are not offered again.
const MOST_WAITING: usize = 50_000;

/// Writes are offered in small heaps, this often.
const TURN: Duration = Duration::from_millis(2);

/// All is as before when so many writes in a row took no longer than this.
const STREAK: u32 = 20;
const USUAL: Duration = Duration::from_millis(250);

/// How long that may take.
const RECOVERY: Duration = Duration::from_secs(5);

/// Connections that share the load.
const CONNECTIONS: u64 = 8;

/// Keys of a load begin so.
const PREFIX: &str = "over/";

/// A load under way.
pub(crate) struct Overload {
    shared: Arc<Shared>,
    network: Network,
    load: tokio::task::JoinHandle<()>,
    /// Who finds out when all is as before.
    probe: Client,
    /// Writes a second that the cluster could do.
    usual_rate: u64,
    /// Since when more is offered, and how many writes had been acknowledged before.
    begun: Instant,
    before: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// Writes a second that the cluster could do,
    pub(crate) usual_rate: u64,
    /// that were offered,
    pub(crate) offered_rate: u64,
    /// and that it did while they were.
    pub(crate) done_rate: u64,
    /// How many were checked.
    pub(crate) checked: u64,
    /// How long until all was as before.
    pub(crate) recovery: Duration,
}

struct Shared {
    clients: Vec<Client>,
    stop: AtomicBool,
    next: AtomicU64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    acknowledged: Vec<u64>,
    refused: Vec<u64>,
    unknown: u64,
}

impl Seen {
    /// How many outcomes were known; or which of them was not true.
    fn judge(&self, found: &BTreeSet<u64>) -> Result<u64, String> {
        if let Some(number) = self.acknowledged.iter().find(|number| !found.contains(number)) {
            return Err(format!("{PREFIX}{number} was acknowledged, and is not there"));
        }
        if let Some(number) = self.refused.iter().find(|number| found.contains(number)) {
            return Err(format!("{PREFIX}{number} was refused as not done, and is there"));
        }
        Ok((self.acknowledged.len() + self.refused.len()) as u64)
    }
}

impl Overload {
    /// Measures what the cluster can do, then offers more.
    pub(crate) fn start(cluster: &Cluster, chance: &mut Chance) -> Self {
        let clients = (0..CONNECTIONS).map(|_| client(&cluster.addresses(), chance)).collect();
        let shared = Arc::new(Shared {
            clients,
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
            seen: Mutex::default(),
        });
        let network = Network::start();
        network.run(Arc::clone(&shared).measure());
        let before = shared.seen.lock().unwrap().acknowledged.len() as u64;
        let usual_rate = (before / MEASURED.as_secs()).max(100);
        let load = network.handle.spawn(Arc::clone(&shared).offer(usual_rate * FACTOR));
        let probe = client(&cluster.addresses(), chance);
        Self { shared, network, load, probe, usual_rate, begun: Instant::now(), before }
    }

    /// Ends the load when its time is over, and checks what came of it.
    pub(crate) fn finish(self, cluster: &mut Cluster) -> Result<Summary, String> {
        let Self { shared, network, load, probe, usual_rate, begun, before } = self;
        while begun.elapsed() < OFFERED {
            cluster.bury()?;
            sleep(Duration::from_millis(50));
        }
        let length = begun.elapsed();
        let done = shared.seen.lock().unwrap().acknowledged.len() as u64 - before;
        shared.stop.store(true, Ordering::Release);
        // A client of its own, so that what the others still have to do is not what it waits for.
        let recovery = Network::start().run(recovered(probe))?;
        cluster.bury()?;
        network.run(load).expect("the load does not fail");
        let checked = network.run(Arc::clone(&shared).check())?;
        let done_rate = done * 1000 / u64::try_from(length.as_millis()).unwrap();
        Ok(Summary { usual_rate, offered_rate: usual_rate * FACTOR, done_rate, checked, recovery })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { usual_rate, offered_rate, done_rate, checked, recovery } = self;
        write!(
            f,
            "{usual_rate} writes a second were usual, {offered_rate} were offered, {done_rate} done; \
             {checked} outcomes checked; as before after {} ms",
            recovery.as_millis()
        )
    }
}

impl Shared {
    /// Writes what clients get done who wait for their answers.
    async fn measure(self: Arc<Self>) {
        let begun = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..CLOSED_CLIENTS {
            let shared = Arc::clone(&self);
            tasks.spawn(async move {
                while begun.elapsed() < MEASURED {
                    shared.write(number).await;
                }
            });
        }
        tasks.join_all().await;
    }

    /// Starts so many writes a second, whatever comes of them.
    async fn offer(self: Arc<Self>, rate: u64) {
        let begun = Instant::now();
        let mut tasks: JoinSet<()> = JoinSet::new();
        let mut offered = 0;
        while !self.stop.load(Ordering::Acquire) {
            let due = u64::try_from(begun.elapsed().as_micros()).unwrap() * rate / 1_000_000;
            while offered < due {
                offered += 1;
                if tasks.len() < MOST_WAITING {
                    let shared = Arc::clone(&self);
                    tasks.spawn(async move { shared.write(offered).await });
                }
            }
            while tasks.try_join_next().is_some() {}
            tokio::time::sleep(TURN).await;
        }
        tasks.join_all().await;
    }

    async fn write(&self, place: u64) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let client = &self.clients[usize::try_from(place % CONNECTIONS).unwrap()];
        let answer = client.put(key(number), "").await;
        let mut seen = self.seen.lock().unwrap();
        match answer {
            Ok(_) => seen.acknowledged.push(number),
            Err(error) if error.outcome() == Outcome::NotDone => seen.refused.push(number),
            Err(_) => seen.unknown += 1,
        }
    }

    /// Looks for all keys, and removes them: a little at a time, for old revisions go fast here.
    async fn check(self: Arc<Self>) -> Result<u64, String> {
        let client = self.clients[0].with_timeout(Duration::from_secs(30));
        let wrong = |error: client::Error| format!("read back what was written: {error}");
        let mut found = BTreeSet::new();
        for from in (0..self.next.load(Ordering::Relaxed)).step_by(1000) {
            let range = KeyRange { start: key(from).into(), end: Some(key(from + 1000).into()) };
            let mut scan = client.scan(range.clone()).keys_only();
            while let Some(page) = scan.next().await.map_err(wrong)? {
                found.extend(page.value.items.into_iter().map(|item| number_of(&item.key)));
            }
            client.delete(range).await.map_err(wrong)?;
        }
        self.seen.lock().unwrap().judge(&found)
    }
}

/// A thread that does the clients' networking, until this is dropped.
struct Network {
    handle: Handle,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Network {
    fn start() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            // An end without a word is one as well.
            let _ = runtime.block_on(ended);
        });
        Self { handle, end: Some(end), thread: Some(thread) }
    }

    /// Waits for what the other thread does.
    fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (done, result) = std::sync::mpsc::channel();
        self.handle.spawn(async move { done.send(work.await) });
        result.recv().expect("the work does not fail")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // Its own panic was printed.
            let _ = thread.join();
        }
    }
}

/// Waits until writes are as fast as usual.
async fn recovered(client: Client) -> Result<Duration, String> {
    let begun = Instant::now();
    let (mut streak, mut since) = (0, begun);
    while streak < STREAK {
        let started = Instant::now();
        let answer = client.put("probe", "").await;
        if answer.is_ok() && started.elapsed() < USUAL {
            streak += 1;
            continue;
        }
        (streak, since) = (0, Instant::now());
        if begun.elapsed() > RECOVERY {
            return Err(format!(
                "{:?} after an overload a write took {:?} and ended with {:?}",
                begun.elapsed(),
                started.elapsed(),
                answer.map(|_| "an answer").map_err(|error| error.to_string()),
            ));
        }
    }
    Ok(since - begun)
}

fn key(number: u64) -> String {
    format!("{PREFIX}{number:08}")
}

fn number_of(key: &[u8]) -> u64 {
    let digits = key.strip_prefix(PREFIX.as_bytes()).expect("it was asked for by its prefix");
    std::str::from_utf8(digits).unwrap().parse().expect("we wrote a number")
}

fn client(addresses: &[String], chance: &mut Chance) -> Client {
    let transport = Tcp::new(addresses, None).unwrap();
    let (high, seed) = (chance.below(u64::MAX), chance.below(u64::MAX));
    let id = (u128::from(high) << 64) | u128::from(seed) | 1;
    Client::new(Arc::new(transport), Config { timeout: PATIENCE, ..Config::new(id, seed) })
}
