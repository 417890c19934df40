//! The cluster under load, and the connections to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::Client;
use client::tcp::Connector;
use tokio::task::JoinSet;
use wire::{Op, Txn};

use super::args::{Order, Plan};
use super::chance::Chance;
use crate::cli::{Door, Ended, Failure, reach};
use crate::drivers::{clock, random};

/// Keys written by one transaction when a run's keys are prepared, at most,
const FILL_KEYS: u64 = 64;

/// and bytes.
const FILL_BYTES: usize = 256 << 10;

/// Such transactions under way at once.
const FILL_TASKS: u64 = 16;

/// The cluster under load.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Addresses that answer, each of another node.
    pub(super) endpoints: Vec<String>,
    /// What encrypts connections to them, if they are to be.
    pub(super) connector: Option<Arc<dyn Connector>>,
    timeout: Duration,
    client: Client,
}

/// Keys that were written before a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filled {
    /// How many.
    pub(super) keys: u64,
    /// In which order.
    pub(super) order: Order,
    /// How long it took.
    pub(super) time: Duration,
}

impl Target {
    /// Asks all endpoints; those that do not answer are left out, for a dead one would be measured
    /// by every connection that begins with it.
    pub(super) async fn find(door: &Door, endpoints: &[String]) -> Result<Self, Ended> {
        let patience = door.timeout.min(Duration::from_secs(2));
        let answers = reach(endpoints, door.connector.as_ref(), patience)?.statuses().await;
        let (mut met, mut alive, mut last_error) = (BTreeSet::new(), Vec::new(), None);
        for (address, answer) in answers {
            match answer {
                Ok(status) if met.insert(status.node) => alive.push(address),
                Ok(_) => {}
                Err(error) => last_error = Some(error),
            }
        }
        if alive.is_empty() {
            let why = last_error.map_or("no address was given".to_owned(), |e| e.to_string());
            let failure = Failure::not_done("unavailable", format!("no node answers: {why}"));
            return Err(failure.help("start a cluster with `cairn up`, or name its nodes").into());
        }
        let client = reach(&alive, door.connector.as_ref(), door.timeout)?;
        let connector = door.connector.clone();
        Ok(Self { endpoints: alive, connector, timeout: door.timeout, client })
    }

    /// How long an operation may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// So many connections, spread over the nodes: each is a client of its own, that begins with
    /// another endpoint, and is connected before anything is measured.
    pub(super) async fn connect(&self, count: u32) -> Result<Vec<Client>, Ended> {
        let mut clients = Vec::new();
        for place in 0..count as usize {
            let mut endpoints = self.endpoints.clone();
            endpoints.rotate_left(place % self.endpoints.len());
            let client = reach(&endpoints, self.connector.as_ref(), self.timeout)?;
            // It learns where the leader is.
            client.statuses().await;
            clients.push(client);
        }
        Ok(clients)
    }

    /// Writes every key of the plan once, in this order.
    pub(super) async fn fill(
        &self,
        plan: &Arc<Plan>,
        order: Order,
    ) -> Result<Filled, client::Error> {
        let begun = clock::instant();
        let item_bytes = plan.keys.key(0).len() + plan.value_bytes;
        let room = FILL_BYTES.checked_div(item_bytes).unwrap_or(FILL_BYTES) as u64;
        let step = room.clamp(1, FILL_KEYS);
        let next = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        for _ in 0..FILL_TASKS {
            let (client, plan, next) = (self.client.clone(), Arc::clone(plan), Arc::clone(&next));
            tasks.spawn(async move { fill_steps(&client, &plan, order, &next, step).await });
        }
        tasks.join_all().await.into_iter().collect::<Result<(), _>>()?;
        Ok(Filled { keys: plan.keys.count, order, time: begun.elapsed() })
    }
}

async fn fill_steps(
    client: &Client,
    plan: &Plan,
    order: Order,
    next: &AtomicU64,
    step: u64,
) -> Result<(), client::Error> {
    let mut chance = Chance::new(random::draw_u64());
    loop {
        let from = next.fetch_add(step, Ordering::Relaxed);
        if from >= plan.keys.count {
            return Ok(());
        }
        let numbers = from..(from + step).min(plan.keys.count);
        let place = |number| match order {
            Order::Sequential => number,
            Order::Random => plan.keys.shuffled(number),
        };
        let put = |number| Op::put(plan.keys.key(place(number)), plan.values.draw(&mut chance));
        client.txn(Txn::always(numbers.map(put).collect())).await?;
    }
}
