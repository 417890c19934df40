//! The nodes under load, and the keys that are written before a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::tcp::Connector;
use gateway_etcd::pb::etcdserverpb::{
    PutRequest, RequestOp, StatusRequest, StatusResponse, TxnRequest, TxnResponse, request_op,
};
use tokio::task::JoinSet;

use super::{Channel, Fault};
use crate::bench::args::{Order, Plan};
use crate::bench::chance::Chance;
use crate::cli::Failure;
use crate::drivers::random;

/// Keys written by one transaction when a run's keys are prepared, at most; etcd takes 128,
const FILL_KEYS: u64 = 64;

/// and bytes; etcd takes one and a half mebibytes.
const FILL_BYTES: usize = 256 << 10;

/// Such transactions under way at once.
const FILL_TASKS: usize = 16;

/// A cluster that speaks etcd's API.
#[derive(Clone)]
pub(in super::super) struct Cluster {
    pub(in super::super) endpoints: Vec<String>,
    connector: Option<Arc<dyn Connector>>,
    timeout: Duration,
}

impl Cluster {
    /// Asks all endpoints; those that do not answer are left out.
    pub(in super::super) async fn find(
        endpoints: &[String],
        connector: Option<Arc<dyn Connector>>,
        timeout: Duration,
    ) -> Result<Self, Failure> {
        let (mut alive, mut last) = (Vec::new(), "no address was given".to_owned());
        for endpoint in endpoints {
            let patience = timeout.min(Duration::from_secs(2));
            let channel = Channel::new(vec![endpoint.clone()], connector.clone(), patience);
            match status(&channel).await {
                Ok(_) => alive.push(endpoint.clone()),
                Err(fault) => last = format!("{endpoint}: {fault}"),
            }
        }
        if alive.is_empty() {
            let failure = Failure::not_done("unavailable", format!("no node answers: {last}"));
            return Err(failure.help("name nodes that speak etcd's API with --endpoints"));
        }
        Ok(Self { endpoints: alive, connector, timeout })
    }

    /// So many connections, spread over the nodes, each made before anything is measured.
    pub(in super::super) async fn connect(&self, count: u32) -> Result<Vec<Channel>, Fault> {
        let mut channels = Vec::new();
        for place in 0..count as usize {
            let mut endpoints = self.endpoints.clone();
            endpoints.rotate_left(place % self.endpoints.len());
            let channel = Channel::new(endpoints, self.connector.clone(), self.timeout);
            status(&channel).await?;
            channels.push(channel);
        }
        Ok(channels)
    }

    /// Writes every key of the plan once.
    pub(in super::super) async fn fill(&self, plan: &Arc<Plan>, order: Order) -> Result<(), Fault> {
        let item_bytes = plan.keys.key(0).len() + plan.value_bytes;
        let room = FILL_BYTES.checked_div(item_bytes).unwrap_or(FILL_BYTES) as u64;
        let step = room.clamp(1, FILL_KEYS);
        let next = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let connections = u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX);
        let channels = self.connect(connections).await?;
        for place in 0..FILL_TASKS {
            let channel = channels[place % channels.len()].clone();
            let (plan, next) = (Arc::clone(plan), Arc::clone(&next));
            tasks.spawn(async move { fill_steps(&channel, &plan, order, &next, step).await });
        }
        tasks.join_all().await.into_iter().collect()
    }
}

async fn status(channel: &Channel) -> Result<StatusResponse, Fault> {
    channel.call("/etcdserverpb.Maintenance/Status", &StatusRequest {}).await
}

async fn fill_steps(
    channel: &Channel,
    plan: &Plan,
    order: Order,
    next: &AtomicU64,
    step: u64,
) -> Result<(), Fault> {
    let mut chance = Chance::new(random::draw_u64());
    loop {
        let from = next.fetch_add(step, Ordering::Relaxed);
        if from >= plan.keys.count {
            return Ok(());
        }
        let put = |number| {
            let number = match order {
                Order::Sequential => number,
                Order::Random => plan.keys.shuffled(number),
            };
            let (key, value) = (plan.keys.key(number), plan.values.draw(&mut chance));
            let put = PutRequest { key, value, ..PutRequest::default() };
            RequestOp { request: Some(request_op::Request::RequestPut(put)) }
        };
        let success = (from..(from + step).min(plan.keys.count)).map(put).collect();
        let txn = TxnRequest { compare: Vec::new(), success, failure: Vec::new() };
        channel.call::<TxnResponse>("/etcdserverpb.KV/Txn", &txn).await?;
    }
}
