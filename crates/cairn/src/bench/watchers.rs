//! Those who watch what a run writes, and when they see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::Watch;
use tokio::task::JoinSet;
use wire::{Change, KeyRange};

use super::args::Plan;
use super::etcd;
use super::fault::Fault;
use super::ledger::{Kind, Ledger, Series, Verdict, Window};
use super::operation::stamp_of;
use super::target::{Connection, failed};
use crate::cli::Ended;
use crate::drivers::clock;

/// How long watchers may take to catch up after the last write.
const GRACE: Duration = Duration::from_secs(5);

/// After an error a watcher waits this long.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Watchers under way.
pub(super) struct Watchers {
    tasks: JoinSet<()>,
    board: Arc<Board>,
    count: u32,
    /// The key whose change says that all is over.
    last: Bytes,
}

/// What they share.
struct Board {
    ledger: Ledger,
    epoch: Instant,
    over: AtomicBool,
    last: Bytes,
}

impl Watchers {
    /// Starts them; each sees what is written after this.
    pub(super) async fn start(
        connections: &[Connection],
        plan: &Plan,
        epoch: Instant,
        window: Window,
    ) -> Result<Self, Ended> {
        // Behind all numbers, and of the same prefix.
        let last = Bytes::from([&plan.keys.prefix()[..], b"~end"].concat());
        let ledger = Ledger::new(window);
        let over = AtomicBool::new(false);
        let board = Arc::new(Board { ledger, epoch, over, last: last.clone() });
        let mut tasks = JoinSet::new();
        for place in 0..plan.watchers as usize {
            let prefix = plan.keys.prefix();
            let following = match &connections[place % connections.len()] {
                Connection::Native(client) => {
                    let mut watch = client.watch(KeyRange::prefix(prefix), wire::Revision(0));
                    watch.begin().await?;
                    Following::Native(watch)
                }
                Connection::Etcd(channel) => {
                    let following = etcd::follow(channel.clone(), prefix).await;
                    Following::Etcd(following.map_err(failed)?)
                }
            };
            tasks.spawn(Arc::clone(&board).follow(following));
        }
        Ok(Self { tasks, board, count: plan.watchers, last })
    }

    /// Waits until they have seen all that was written, and adds what they saw to the run's ledger.
    pub(super) async fn finish(mut self, connection: &Connection, into: &Ledger) {
        let written = into.total().writes();
        self.board.over.store(true, Ordering::Release);
        // If this fails, the grace ends it.
        let _ = connection.put(self.last.clone(), Bytes::new()).await;
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(GRACE, all).await;
        self.tasks.abort_all();
        into.absorb(&self.board.ledger);
        let seen = into.total().series.get(&Kind::Delivery).map_or(0, Series::count);
        let lost = (written * u64::from(self.count)).saturating_sub(seen);
        into.missed("not_delivered", lost, "a watcher has not seen an acknowledged write");
    }
}

impl Board {
    async fn follow(self: Arc<Self>, mut following: Following) {
        loop {
            match following.next().await {
                Ok(puts) => {
                    let now = clock::instant();
                    self.note(&puts, now);
                    if puts.iter().any(|(key, _)| self.is_last(key)) {
                        return;
                    }
                }
                Err(fault) => {
                    self.ledger.failed(clock::instant(), &fault);
                    tokio::time::sleep(ERROR_PAUSE).await;
                    following.resume().await;
                }
            }
        }
    }

    fn is_last(&self, key: &Bytes) -> bool {
        self.over.load(Ordering::Acquire) && *key == self.last
    }

    fn note(&self, puts: &[(Bytes, Bytes)], now: Instant) {
        for (_, value) in puts {
            if let Some(stamp) = stamp_of(value) {
                let start = self.epoch + stamp;
                let delay = now.saturating_duration_since(start);
                self.ledger.answered(Kind::Delivery, start, delay, Verdict::Well);
            }
        }
    }
}

/// One watch.
enum Following {
    Native(Watch),
    Etcd(etcd::Following),
}

impl Following {
    /// Waits for changes: of each the key and the new value.
    async fn next(&mut self) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        match self {
            Self::Native(watch) => {
                let batch = watch.next().await?;
                let put = |event: wire::Event| match event.change {
                    Change::Put(item) => Some((item.key, item.value)),
                    Change::Delete { .. } => None,
                };
                Ok(batch.events.into_iter().filter_map(put).collect())
            }
            Self::Etcd(following) => Ok(following.next().await?),
        }
    }

    /// Goes on after an error, if it can; the next one tells if it could not.
    async fn resume(&mut self) {
        if let Self::Etcd(following) = self {
            let _ = following.resume().await;
        }
    }
}
