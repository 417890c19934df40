//! One client's operations.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gateway_etcd::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use gateway_etcd::pb::etcdserverpb::{
    Compare, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest, LeaseKeepAliveResponse,
    PutRequest, PutResponse, RangeRequest, RangeResponse, RequestOp, ResponseOp, TxnRequest,
    TxnResponse, request_op, response_op,
};
use wire::{KeyRange, Revision};

use super::channel::Conversation;
use super::{Channel, Fault};
use crate::bench::args::{LEASE_TTL, Level, Plan, Workload};
use crate::bench::chance::Chance;
use crate::bench::ledger::{Kind, Verdict};
use crate::bench::operation::{Known, stamped};

type KeepAlives = Conversation<LeaseKeepAliveRequest, LeaseKeepAliveResponse>;

/// A client that does one thing after the other.
pub(in super::super) struct Worker {
    channel: Channel,
    plan: Arc<Plan>,
    known: Arc<Known>,
    /// The lease that it keeps alive, and the stream on which it does.
    kept: Option<(i64, KeepAlives)>,
}

impl Worker {
    /// One that uses this connection.
    pub(in super::super) fn new(channel: Channel, plan: Arc<Plan>, known: Arc<Known>) -> Self {
        Self { channel, plan, known, kept: None }
    }

    /// Does one thing to the key of this number.
    pub(in super::super) async fn operate(
        &mut self,
        kind: Kind,
        number: u64,
        chance: &mut Chance,
        stamp: Duration,
    ) -> Result<Verdict, Fault> {
        match kind {
            Kind::Put => self.put(number, chance, stamp).await,
            Kind::Get => self.get(number).await,
            Kind::Scan => self.scan(number).await,
            Kind::Cas => self.cas(number, chance).await,
            Kind::Grant => self.grant().await.map(|_| Verdict::Well),
            Kind::KeepAlive => self.keep_alive().await,
            Kind::Delivery => unreachable!("watchers deliver, workers do not"),
        }
    }

    async fn put(
        &self,
        number: u64,
        chance: &mut Chance,
        stamp: Duration,
    ) -> Result<Verdict, Fault> {
        let mut value = self.plan.values.draw(chance);
        if self.plan.workload == Workload::Watch {
            value = stamped(&value, stamp);
        }
        let put = PutRequest { key: self.plan.keys.key(number), value, ..PutRequest::default() };
        self.channel.call::<PutResponse>("/etcdserverpb.KV/Put", &put).await?;
        Ok(Verdict::Well)
    }

    async fn range(&self, mut range: RangeRequest) -> Result<usize, Fault> {
        range.serializable = match self.plan.level {
            Level::Linearizable => false,
            // etcd has no third.
            Level::Session | Level::Eventual => true,
        };
        let answer: RangeResponse = self.channel.call("/etcdserverpb.KV/Range", &range).await?;
        Ok(answer.kvs.len())
    }

    async fn get(&self, number: u64) -> Result<Verdict, Fault> {
        let key = self.plan.keys.key(number);
        let found = self.range(RangeRequest { key, ..RangeRequest::default() }).await?;
        Ok(if found == 1 { Verdict::Well } else { Verdict::Otherwise })
    }

    async fn scan(&self, number: u64) -> Result<Verdict, Fault> {
        let keys = &self.plan.keys;
        let wanted = u64::from(self.plan.scan_items).min(keys.count - number);
        let range = RangeRequest {
            key: keys.key(number),
            range_end: KeyRange::prefix(keys.prefix()).end.unwrap_or(Bytes::from_static(b"\0")),
            limit: i64::from(self.plan.scan_items),
            ..RangeRequest::default()
        };
        let found = self.range(range).await?;
        Ok(if found as u64 >= wanted { Verdict::Well } else { Verdict::Otherwise })
    }

    /// Writes the key if its last change is the one known here; else learns which it is.
    async fn cas(&self, number: u64, chance: &mut Chance) -> Result<Verdict, Fault> {
        let key = self.plan.keys.key(number);
        let known = i64::try_from(self.known.modified(number).0).unwrap_or(i64::MAX);
        let compare = Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.clone(),
            range_end: Bytes::new(),
            target_union: Some(TargetUnion::ModRevision(known)),
        };
        let value = self.plan.values.draw(chance);
        let put = PutRequest { key: key.clone(), value, ..PutRequest::default() };
        let read = RangeRequest { key, ..RangeRequest::default() };
        let op = |request| vec![RequestOp { request: Some(request) }];
        let txn = TxnRequest {
            compare: vec![compare],
            success: op(request_op::Request::RequestPut(put)),
            failure: op(request_op::Request::RequestRange(read)),
        };
        let answer: TxnResponse = self.channel.call("/etcdserverpb.KV/Txn", &txn).await?;
        self.known.learn(number, modified_by(&answer));
        Ok(if answer.succeeded { Verdict::Well } else { Verdict::Otherwise })
    }

    async fn grant(&self) -> Result<i64, Fault> {
        let ttl = i64::try_from(LEASE_TTL.as_secs()).expect("a few minutes");
        let grant = LeaseGrantRequest { ttl, id: 0 };
        let answer: LeaseGrantResponse =
            self.channel.call("/etcdserverpb.Lease/LeaseGrant", &grant).await?;
        Ok(answer.id)
    }

    async fn keep_alive(&mut self) -> Result<Verdict, Fault> {
        let mut kept = if let Some(mut kept) = self.kept.take() {
            kept.1.say(&LeaseKeepAliveRequest { id: kept.0 }).await?;
            kept
        } else {
            let id = self.grant().await?;
            let path = "/etcdserverpb.Lease/LeaseKeepAlive";
            (id, self.channel.open(path, &LeaseKeepAliveRequest { id }).await?)
        };
        // Whatever goes wrong, the next one begins anew, with another lease.
        let answer = kept.1.hear_soon().await?;
        self.kept = Some(kept);
        Ok(if answer.ttl > 0 { Verdict::Well } else { Verdict::Otherwise })
    }
}

/// The key's last change, as a conditional write tells it.
fn modified_by(answer: &TxnResponse) -> Revision {
    let number = |number: i64| Revision(u64::try_from(number).unwrap_or(0));
    if answer.succeeded {
        return answer.header.map_or(Revision(0), |header| number(header.revision));
    }
    match &answer.responses[..] {
        [ResponseOp { response: Some(response_op::Response::ResponseRange(range)) }] => {
            range.kvs.first().map_or(Revision(0), |item| number(item.mod_revision))
        }
        _ => Revision(0),
    }
}
