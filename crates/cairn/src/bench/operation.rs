//! One client's operations.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Session};
use wire::{
    Compare, Consistency, KeyRange, Op, OpResult, Operand, Operator, Query, Revision, Txn,
    TxnResult,
};

use super::args::{LEASE_TTL, Level, Plan, STAMP_BYTES, Workload};
use super::chance::Chance;
use super::etcd;
use super::fault::Fault;
use super::ledger::{Kind, Verdict};
use super::target::Connection;

/// What the last change of each key was, as far as this process knows: what `cas` compares with.
#[derive(Debug, Default)]
pub(super) struct Known(Vec<AtomicU64>);

impl Known {
    /// Nothing is known yet. Empty, if the workload has no use for it.
    pub(super) fn new(plan: &Plan) -> Self {
        let count = if plan.workload == Workload::Cas { plan.keys.count } else { 0 };
        Self((0..count).map(|_| AtomicU64::new(0)).collect())
    }

    /// The last change of a key that is known.
    pub(super) fn modified(&self, number: u64) -> Revision {
        Revision(self.of(number).load(Ordering::Relaxed))
    }

    /// A key was changed at this revision, and perhaps again.
    pub(super) fn learn(&self, number: u64, modified: Revision) {
        self.of(number).fetch_max(modified.0, Ordering::Relaxed);
    }

    fn of(&self, number: u64) -> &AtomicU64 {
        &self.0[usize::try_from(number).expect("as many as fit into memory")]
    }
}

/// A client that does one thing after the other.
pub(super) struct Worker {
    way: Way,
    plan: Arc<Plan>,
    chance: Chance,
}

enum Way {
    Native(Native),
    Etcd(etcd::Worker),
}

/// One that speaks Cairn's own protocol.
struct Native {
    client: Client,
    session: Session,
    plan: Arc<Plan>,
    known: Arc<Known>,
    /// The lease that it keeps alive.
    lease: Option<u64>,
}

impl Worker {
    /// One that uses this connection.
    pub(super) fn new(
        connection: Connection,
        plan: Arc<Plan>,
        known: Arc<Known>,
        chance: Chance,
    ) -> Self {
        let way = match connection {
            Connection::Native(client) => {
                let session = client.session();
                Way::Native(Native { client, session, plan: Arc::clone(&plan), known, lease: None })
            }
            Connection::Etcd(channel) => {
                Way::Etcd(etcd::Worker::new(channel, Arc::clone(&plan), known))
            }
        };
        Self { way, plan, chance }
    }

    /// What it will do next. Drawn before, so that a failure is counted as what it was.
    pub(super) fn draw(&mut self) -> Kind {
        match self.plan.workload {
            Workload::Put | Workload::Watch => Kind::Put,
            Workload::Get => Kind::Get,
            Workload::Scan => Kind::Scan,
            Workload::Cas => Kind::Cas,
            Workload::LeaseGrant => Kind::Grant,
            Workload::LeaseKeepAlive => Kind::KeepAlive,
            Workload::Mixed => {
                let reads = u64::from(self.plan.read_percent);
                if self.chance.below(100) < reads { Kind::Get } else { Kind::Put }
            }
        }
    }

    /// Does it. `stamp` is the time at which it started, for whoever watches.
    pub(super) async fn operate(&mut self, kind: Kind, stamp: Duration) -> Result<Verdict, Fault> {
        let number = self.chance.below(self.plan.keys.count);
        Ok(match &mut self.way {
            Way::Native(native) => native.operate(kind, number, &mut self.chance, stamp).await?,
            Way::Etcd(worker) => worker.operate(kind, number, &mut self.chance, stamp).await?,
        })
    }
}

impl Native {
    async fn operate(
        &mut self,
        kind: Kind,
        number: u64,
        chance: &mut Chance,
        stamp: Duration,
    ) -> Result<Verdict, client::Error> {
        match kind {
            Kind::Put => self.put(number, chance, stamp).await,
            Kind::Get => self.get(number).await,
            Kind::Scan => self.scan(number).await,
            Kind::Cas => self.cas(number, chance).await,
            Kind::Grant => self.client.grant(LEASE_TTL).await.map(|_| Verdict::Well),
            Kind::KeepAlive => self.keep_alive().await,
            Kind::Delivery => unreachable!("watchers deliver, workers do not"),
        }
    }

    async fn keep_alive(&mut self) -> Result<Verdict, client::Error> {
        let lease = match self.lease {
            Some(lease) => lease,
            None => self.client.grant(LEASE_TTL).await?,
        };
        self.lease = Some(lease);
        self.client.keep_alive(lease).await?;
        Ok(Verdict::Well)
    }

    async fn put(
        &mut self,
        number: u64,
        chance: &mut Chance,
        stamp: Duration,
    ) -> Result<Verdict, client::Error> {
        let mut value = self.plan.values.draw(chance);
        if self.plan.workload == Workload::Watch {
            value = stamped(&value, stamp);
        }
        self.session.put(self.plan.keys.key(number), value).await?;
        Ok(Verdict::Well)
    }

    async fn get(&mut self, number: u64) -> Result<Verdict, client::Error> {
        let page = self.read(Query::key(self.plan.keys.key(number))).await?;
        Ok(if page == 1 { Verdict::Well } else { Verdict::Otherwise })
    }

    async fn scan(&mut self, number: u64) -> Result<Verdict, client::Error> {
        let keys = &self.plan.keys;
        let range = KeyRange { start: keys.key(number), end: KeyRange::prefix(keys.prefix()).end };
        let mut query = Query::range(range);
        query.limit = self.plan.scan_items;
        let wanted = u64::from(self.plan.scan_items).min(keys.count - number);
        let read = self.read(query).await?;
        Ok(if read as u64 >= wanted { Verdict::Well } else { Verdict::Otherwise })
    }

    /// How many items there were.
    async fn read(&self, query: Query) -> Result<usize, client::Error> {
        let page = match self.plan.level {
            Level::Session => self.session.read(query).await?,
            Level::Linearizable => self.client.read(query, Consistency::Linearizable).await?,
            Level::Eventual => self.client.read(query, Consistency::Eventual).await?,
        };
        Ok(page.value.items.len())
    }

    /// Writes the key if its last change is the one known here; else learns which it is.
    async fn cas(&mut self, number: u64, chance: &mut Chance) -> Result<Verdict, client::Error> {
        let key = self.plan.keys.key(number);
        let value = self.plan.values.draw(chance);
        let modified = self.known.modified(number);
        let compare = Compare::key(key.clone(), Operator::Equal, Operand::Modified(modified));
        let put = Op::put(key.clone(), value);
        let read = Op::Read(Query::key(key));
        let txn = Txn {
            compares: vec![compare],
            then: vec![put],
            otherwise: vec![read],
            ..Txn::default()
        };
        let result = self.client.txn(txn).await?;
        self.known.learn(number, modified_by(&result));
        Ok(if result.succeeded { Verdict::Well } else { Verdict::Otherwise })
    }
}

/// The key's last change, as a conditional write tells it.
fn modified_by(result: &TxnResult) -> Revision {
    if result.succeeded {
        return result.revision;
    }
    match &result.results[..] {
        [OpResult::Read(page)] => page.items.first().map_or(Revision(0), |item| item.modified),
        _ => Revision(0),
    }
}

/// The same value, beginning with a time.
pub(super) fn stamped(value: &Bytes, stamp: Duration) -> Bytes {
    let nanos = u64::try_from(stamp.as_nanos()).expect("a run takes less than 584 years");
    let mut bytes = value.to_vec();
    bytes[..STAMP_BYTES].copy_from_slice(&nanos.to_le_bytes());
    Bytes::from(bytes)
}

/// The time that a value begins with.
pub(super) fn stamp_of(value: &[u8]) -> Option<Duration> {
    let bytes = value.first_chunk::<STAMP_BYTES>()?;
    Some(Duration::from_nanos(u64::from_le_bytes(*bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_back_and_the_length_stays() {
        let stamp = Duration::from_micros(12_345);
        let value = stamped(&Bytes::from(vec![7; 20]), stamp);
        assert_eq!((stamp_of(&value), value.len()), (Some(stamp), 20));
        assert_eq!(stamp_of(&value[..7]), None);
    }

    #[test]
    fn a_lost_comparison_teaches_the_last_change() {
        let page = wire::Page {
            items: vec![wire::Item {
                key: Bytes::from_static(b"k"),
                value: Bytes::new(),
                created: Revision(2),
                modified: Revision(5),
                version: 2,
                lease: 0,
            }],
            more: false,
            count: 1,
        };
        let lost = TxnResult {
            revision: Revision(9),
            succeeded: false,
            results: vec![OpResult::Read(page)],
        };
        assert_eq!(modified_by(&lost), Revision(5));
        let won = TxnResult { revision: Revision(10), succeeded: true, results: Vec::new() };
        assert_eq!(modified_by(&won), Revision(10));
    }
}
