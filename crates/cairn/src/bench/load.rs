//! One run: so many clients at work for so long, in a closed or in an open loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::args::{Plan, Workload};
use super::chance::Chance;
use super::ledger::{Ledger, Window};
use super::meter::{Meter, Reading};
use super::operation::{Known, Worker};
use super::pacer::Pacer;
use super::report::Run;
use super::target::Target;
use super::watchers::Watchers;
use crate::cli::{Ended, Failure};
use crate::drivers::{clock, random};

/// Time for all clients to get ready.
const START: Duration = Duration::from_millis(50);

/// After an error a client waits this long, so that refusals are not hammered out.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// What the clients of a run share.
struct Shared {
    ledger: Ledger,
    /// What stamps count from.
    epoch: Instant,
    /// The schedule of an open loop.
    pacer: Option<Pacer>,
}

/// Measures once.
pub(super) async fn run(target: &Target, plan: &Arc<Plan>, clients: u32) -> Result<Run, Ended> {
    let connections = target.connect(plan.connections(clients)).await?;
    let epoch = clock::instant();
    let window = window(epoch + START, plan);
    let shared = Arc::new(Shared {
        ledger: Ledger::new(window),
        epoch,
        pacer: pacer(target, plan, epoch + START)?,
    });
    let watchers = match plan.workload {
        Workload::Watch => Some(Watchers::start(&connections, plan, epoch, window).await?),
        Workload::Put
        | Workload::Get
        | Workload::Mixed
        | Workload::Scan
        | Workload::Cas
        | Workload::LeaseGrant
        | Workload::LeaseKeepAlive => None,
    };
    let known = Arc::new(Known::new(plan));
    let mut tasks = JoinSet::new();
    for place in 0..clients as usize {
        let connection = connections[place % connections.len()].clone();
        let chance = Chance::new(random::draw_u64());
        let worker = Worker::new(connection, Arc::clone(plan), Arc::clone(&known), chance);
        tasks.spawn(work(worker, Arc::clone(&shared)));
    }
    let reading = read_window(target, plan, window).await;
    while let Some(done) = tasks.join_next().await {
        done.map_err(|error| Failure::refused("bug", format!("a client broke down: {error}")))?;
    }
    if let Some(pacer) = &shared.pacer {
        let why = "the schedule could not be kept: the operations before them took too long";
        shared.ledger.missed("never_started", pacer.left(window.begin), why);
    }
    if let Some(watchers) = watchers {
        watchers.finish(&connections[0], &shared.ledger).await;
    }
    let connections = u32::try_from(connections.len()).expect("they are at most 1024");
    Ok(Run { clients, connections, window, tally: shared.ledger.total(), reading })
}

fn window(start: Instant, plan: &Plan) -> Window {
    let begin = start + plan.warmup;
    Window { begin, end: begin + plan.duration }
}

/// The schedule of an open loop begins with the warm-up.
fn pacer(target: &Target, plan: &Plan, start: Instant) -> Result<Option<Pacer>, Ended> {
    let Some(rate) = plan.rate else { return Ok(None) };
    let end = window(start, plan).end;
    let pacer = Pacer::start(start, end, rate, end + target.timeout());
    let failed = |fault| Failure::not_done("system", format!("keep a schedule: {fault}"));
    Ok(Some(pacer.map_err(failed)?))
}

/// Reads the meters at the window's two ends.
async fn read_window(target: &Target, plan: &Plan, window: Window) -> Reading {
    tokio::time::sleep_until(window.begin.into()).await;
    let before = Meter::read(target, &plan.server_pids).await;
    tokio::time::sleep_until(window.end.into()).await;
    let after = Meter::read(target, &plan.server_pids).await;
    after.since(&before)
}

async fn work(mut worker: Worker, shared: Arc<Shared>) {
    let ledger = &shared.ledger;
    while let Some(start) = shared.next_start().await {
        let kind = worker.draw();
        match worker.operate(kind, start.saturating_duration_since(shared.epoch)).await {
            Ok(ended) => {
                let latency = clock::instant().saturating_duration_since(start);
                ledger.answered(kind, start, latency, ended);
            }
            Err(error) => {
                ledger.failed(start, &error);
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }
}

impl Shared {
    /// When the next operation of a client that is free starts; `None` when the run is over.
    async fn next_start(&self) -> Option<Instant> {
        if let Some(pacer) = &self.pacer {
            return pacer.next().await;
        }
        let now = clock::instant();
        (now < self.ledger.window.end).then_some(now)
    }
}
