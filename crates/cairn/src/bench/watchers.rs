//! Those who watch what a run writes, and when they see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use client::{Client, Watch};
use tokio::task::JoinSet;
use wire::{Change, KeyRange};

use super::args::Plan;
use super::ledger::{Kind, Ledger, Series, Verdict, Window};
use super::operation::stamp_of;
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
        connections: &[Client],
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
            let client = &connections[place % connections.len()];
            let mut watch = client.watch(KeyRange::prefix(plan.keys.prefix()), wire::Revision(0));
            watch.begin().await?;
            tasks.spawn(Arc::clone(&board).follow(watch));
        }
        Ok(Self { tasks, board, count: plan.watchers, last })
    }

    /// Waits until they have seen all that was written, and adds what they saw to the run's ledger.
    pub(super) async fn finish(mut self, client: &Client, into: &Ledger) {
        let written = into.total().writes();
        self.board.over.store(true, Ordering::Release);
        // If this fails, the grace ends it.
        let _ = client.put(self.last.clone(), "").await;
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
    async fn follow(self: Arc<Self>, mut watch: Watch) {
        loop {
            match watch.next().await {
                Ok(batch) => {
                    let now = clock::instant();
                    self.note(&batch.events, now);
                    if batch.events.iter().any(|event| self.is_last(event)) {
                        return;
                    }
                }
                Err(error) => {
                    self.ledger.failed(clock::instant(), &error);
                    tokio::time::sleep(ERROR_PAUSE).await;
                }
            }
        }
    }

    fn is_last(&self, event: &wire::Event) -> bool {
        self.over.load(Ordering::Acquire) && *event.key() == self.last
    }

    fn note(&self, events: &[wire::Event], now: Instant) {
        for event in events {
            let Change::Put(item) = &event.change else { continue };
            if let Some(stamp) = stamp_of(&item.value) {
                let start = self.epoch + stamp;
                let delay = now.saturating_duration_since(start);
                self.ledger.answered(Kind::Delivery, start, delay, Verdict::Well);
            }
        }
    }
}
