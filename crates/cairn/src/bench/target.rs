//! The cluster under load, and the connections to it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::Client;
use client::tcp::Connector;
use gateway_etcd::pb::etcdserverpb::{PutRequest, PutResponse};
use tokio::task::JoinSet;
use wire::{Op, Txn};

use super::args::{Api, Order, Plan};
use super::chance::Chance;
use super::etcd;
use super::fault::Fault;
use crate::cli::{Door, Ended, Failure, Via, reach};
use crate::drivers::{clock, random};

/// Keys written by one transaction when a run's keys are prepared, at most,
const FILL_KEYS: u64 = 64;

/// and bytes.
const FILL_BYTES: usize = 256 << 10;

/// Such transactions under way at once.
const FILL_TASKS: u64 = 16;

/// The cluster under load.
#[derive(Clone)]
pub(super) struct Target {
    /// Addresses that answer, each of another node.
    pub(super) endpoints: Vec<String>,
    /// What encrypts connections to them, if they are to be.
    pub(super) connector: Option<Arc<dyn Connector>>,
    /// How its own connections are made.
    via: Via,
    timeout: Duration,
    way: Way,
}

/// How its nodes are spoken to.
#[derive(Clone)]
enum Way {
    Native(Client),
    Etcd(etcd::Cluster),
}

/// A connection to it.
#[derive(Clone)]
pub(super) enum Connection {
    /// By Cairn's own protocol.
    Native(Client),
    /// By etcd's.
    Etcd(etcd::Channel),
}

impl Connection {
    /// Gives a key a value.
    pub(super) async fn put(&self, key: Bytes, value: Bytes) -> Result<(), Fault> {
        match self {
            Self::Native(client) => drop(client.put(key, value).await?),
            Self::Etcd(channel) => {
                let put = PutRequest { key, value, ..PutRequest::default() };
                channel.call::<PutResponse>("/etcdserverpb.KV/Put", &put).await?;
            }
        }
        Ok(())
    }
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
    pub(super) async fn find(door: &Door, endpoints: &[String], api: Api) -> Result<Self, Ended> {
        let (via, timeout) = (door.via.clone(), door.timeout);
        let connector = via.connector.clone();
        if api == Api::Etcd {
            let cluster = etcd::Cluster::find(endpoints, connector.clone(), timeout).await?;
            let endpoints = cluster.endpoints.clone();
            return Ok(Self { endpoints, connector, via, timeout, way: Way::Etcd(cluster) });
        }
        let patience = door.timeout.min(Duration::from_secs(2));
        let answers = reach(endpoints, &via, patience)?.statuses().await;
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
        let client = reach(&alive, &via, door.timeout)?;
        Ok(Self { endpoints: alive, connector, via, timeout, way: Way::Native(client) })
    }

    /// How long an operation may take.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// So many connections, spread over the nodes: each is a client of its own, that begins with
    /// another endpoint, and is connected before anything is measured.
    pub(super) async fn connect(&self, count: u32) -> Result<Vec<Connection>, Ended> {
        if let Way::Etcd(cluster) = &self.way {
            let channels = cluster.connect(count).await.map_err(failed)?;
            return Ok(channels.into_iter().map(Connection::Etcd).collect());
        }
        let mut clients = Vec::new();
        for place in 0..count as usize {
            let mut endpoints = self.endpoints.clone();
            endpoints.rotate_left(place % self.endpoints.len());
            let client = reach(&endpoints, &self.via, self.timeout)?;
            // It learns where the leader is.
            client.statuses().await;
            clients.push(Connection::Native(client));
        }
        Ok(clients)
    }

    /// Writes every key of the plan once, in this order.
    pub(super) async fn fill(&self, plan: &Arc<Plan>, order: Order) -> Result<Filled, Ended> {
        let begun = clock::instant();
        match &self.way {
            Way::Native(client) => fill(client, plan, order).await?,
            Way::Etcd(cluster) => cluster.fill(plan, order).await.map_err(failed)?,
        }
        Ok(Filled { keys: plan.keys.count, order, time: begun.elapsed() })
    }
}

/// What stands in the way before anything is measured.
pub(super) fn failed(fault: impl Into<Fault>) -> Failure {
    match fault.into() {
        Fault::Native(error) => error.into(),
        Fault::Etcd(fault) => Failure::refused(fault.code(), fault.to_string()),
    }
}

async fn fill(client: &Client, plan: &Arc<Plan>, order: Order) -> Result<(), client::Error> {
    let item_bytes = plan.keys.key(0).len() + plan.value_bytes;
    let room = FILL_BYTES.checked_div(item_bytes).unwrap_or(FILL_BYTES) as u64;
    let step = room.clamp(1, FILL_KEYS);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..FILL_TASKS {
        let (client, plan, next) = (client.clone(), Arc::clone(plan), Arc::clone(&next));
        tasks.spawn(async move { fill_steps(&client, &plan, order, &next, step).await });
    }
    tasks.join_all().await.into_iter().collect()
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
