//! Clients that write all the time and remember when they were answered.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::tcp::Tcp;
use client::{Client, Config};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use crate::cluster::Cluster;

/// How many there are: they begin at different nodes.
const CLIENTS: u64 = 6;

/// How long one waits for an answer. It asks again and again meanwhile.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two writes of a client.
const PAUSE: Duration = Duration::from_millis(2);

/// Clients, until they are told to end.
#[derive(Debug)]
pub(crate) struct Prober {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    /// When acknowledged writes began and ended.
    writes: Mutex<Vec<(Instant, Instant)>>,
}

impl Prober {
    /// Starts them.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), writes: Mutex::default() });
        let clients: Vec<Client> = (0..CLIENTS).map(|number| client(cluster, number)).collect();
        let prober = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for (number, client) in clients.into_iter().enumerate() {
                    tasks.spawn(Arc::clone(&prober).write(number, client));
                }
                tasks.join_all().await;
            });
        });
        Self { shared, thread: Some(thread) }
    }

    /// When the first acknowledged write ended that began after `moment`.
    pub(crate) fn first_after(&self, moment: Instant) -> Option<Instant> {
        let writes = self.shared.writes.lock().unwrap();
        let late = writes.iter().filter(|(began, _)| *began > moment);
        late.map(|(_, ended)| *ended).min()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its own panic was printed.
            let _ = thread.join();
        }
    }
}

impl Shared {
    async fn write(self: Arc<Self>, number: usize, client: Client) {
        while !self.stop.load(Ordering::Acquire) {
            let began = Instant::now();
            if client.put(format!("probe/{number}"), "x").await.is_ok() {
                self.writes.lock().unwrap().push((began, Instant::now()));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn client(cluster: &Cluster, number: u64) -> Client {
    let mut addresses: Vec<String> = cluster.endpoints().split(',').map(str::to_owned).collect();
    let nodes = addresses.len();
    addresses.rotate_left(usize::try_from(number).unwrap() % nodes);
    let id = u128::from(std::process::id()) << 64 | u128::from(number + 1);
    let transport = Tcp::new(&addresses, None).unwrap();
    Client::new(Arc::new(transport), Config { timeout: PATIENCE, ..Config::new(id, number) })
}
