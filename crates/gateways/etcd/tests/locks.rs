//! The services of locks and elections, as generated clients call them, over a real node in memory.

#![expect(clippy::unwrap_used, reason = "what a test takes for granted, it may unwrap")]

#[path = "../../../layers/lock/tests/lock/store.rs"]
#[expect(dead_code, reason = "the layer's own tests use the rest")]
mod store;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use client::Client;
use gateway_etcd::pb::v3electionpb::election_client::ElectionClient;
use gateway_etcd::pb::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, ProclaimRequest, ResignRequest,
};
use gateway_etcd::pb::v3lockpb::lock_client::LockClient;
use gateway_etcd::pb::v3lockpb::{LockRequest, LockResponse, UnlockRequest};
use gateway_etcd::{AnswerBody, Config, Gateway, Introspect, StorageUse};
use tokio::task::JoinHandle;
use tonic::codegen::Service;
use tonic::{Code, Response, Status};
use wire::{Fence, NodeStatus};

use store::{Store, fenced_put};

const TTL: Duration = Duration::from_mins(10);

struct Shown(NodeStatus);

impl Introspect for Shown {
    fn status(&self) -> NodeStatus {
        self.0.clone()
    }

    fn epoch(&self) -> u64 {
        3
    }

    fn storage(&self) -> StorageUse {
        StorageUse::default()
    }
}

/// The gateway as what generated clients call.
#[derive(Clone)]
struct Direct(Gateway);

impl Service<http::Request<AnswerBody>> for Direct {
    type Response = http::Response<AnswerBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<AnswerBody>) -> Self::Future {
        let gateway = self.0.clone();
        Box::pin(async move { Ok(gateway.handle(request).await) })
    }
}

struct World {
    store: Store,
    client: Client,
    direct: Direct,
}

impl World {
    async fn new() -> Self {
        let store = Store::start();
        let (client, _) = store.client();
        let shown = Arc::new(Shown(client.status(None).await.unwrap()));
        let direct =
            Direct(Gateway::new(&client, Arc::new(client::Unguarded), shown, Config::default()));
        Self { store, client, direct }
    }

    async fn lease(&self) -> i64 {
        self.client.grant(TTL).await.unwrap().cast_signed()
    }

    /// Locks, as a task of its own that can be aborted.
    fn lock(&self, lease: i64) -> JoinHandle<Result<LockResponse, Status>> {
        let mut client = LockClient::new(self.direct.clone());
        let request = LockRequest { name: Bytes::from_static(b"l"), lease };
        tokio::spawn(async move { client.lock(request).await.map(Response::into_inner) })
    }

    async fn unlock(&self, key: Bytes) -> Result<i64, Status> {
        let mut client = LockClient::new(self.direct.clone());
        let answer = client.unlock(UnlockRequest { key }).await?.into_inner();
        Ok(answer.header.unwrap().revision)
    }

    fn elections(&self) -> ElectionClient<Direct> {
        ElectionClient::new(self.direct.clone())
    }

    fn campaign(
        &self,
        lease: i64,
        value: &'static str,
    ) -> JoinHandle<Result<CampaignResponse, Status>> {
        let mut client = self.elections();
        let request = CampaignRequest { name: "e".into(), lease, value: value.into() };
        tokio::spawn(async move { client.campaign(request).await.map(Response::into_inner) })
    }
}

fn pause() -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_secs(1))
}

#[tokio::test(start_paused = true)]
async fn one_holds_and_the_next_waits() {
    let world = World::new().await;
    let (first, second) = (world.lease().await, world.lease().await);
    let held = world.lock(first).await.unwrap().unwrap();
    assert_eq!(held.key, format!("l/{first:x}"));
    let item = world.store.get(held.key.clone()).await.unwrap();
    assert_eq!(held.header.unwrap().revision, i64::try_from(item.created.0).unwrap());
    let again = world.lock(first).await.unwrap().unwrap();
    assert_eq!(again.key, held.key, "who holds it holds it");

    let waiting = world.lock(second);
    pause().await;
    assert!(!waiting.is_finished());
    let released = world.unlock(held.key.clone()).await.unwrap();
    let next = waiting.await.unwrap().unwrap();
    assert!(next.header.unwrap().revision >= released);
    assert_eq!(next.key, format!("l/{second:x}"));

    // The key and its create revision are a fencing token.
    let stale = Fence { key: held.key, created: item.created };
    assert!(fenced_put(&world.client, stale, "state", "x").await.is_err());
    let created = world.store.get(next.key.clone()).await.unwrap().created;
    let good = Fence { key: next.key, created };
    fenced_put(&world.client, good, "state", "x").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_waiting_client_that_goes_away_leaves_no_key_behind() {
    let world = World::new().await;
    let (first, second) = (world.lease().await, world.lease().await);
    world.lock(first).await.unwrap().unwrap();
    let leases = world.client.leases().await.unwrap().value;
    for lease in [second, 0] {
        let waiting = world.lock(lease);
        world.store.until_queued("l/", 2).await;
        waiting.abort();
        world.store.until_queued("l/", 1).await;
        pause().await;
        assert_eq!(world.client.leases().await.unwrap().value, leases, "nor a lent lease");
    }
    world.campaign(first, "a").await.unwrap().unwrap();
    let waiting = world.campaign(second, "b");
    world.store.until_queued("e/", 2).await;
    waiting.abort();
    world.store.until_queued("e/", 1).await;
}

#[tokio::test(start_paused = true)]
async fn who_names_no_lease_is_lent_one() {
    let world = World::new().await;
    let held = world.lock(0).await.unwrap().unwrap();
    let waiting = world.lock(0);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(!waiting.is_finished());
    // The first one's lease is not kept alive once it has the lock; the waiting one's was, while it
    // waited, and has all its time now.
    let next = waiting.await.unwrap().unwrap();
    assert!(world.store.get(held.key).await.is_none());
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(world.store.get(next.key.clone()).await.is_some());
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(world.store.get(next.key).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn locks_are_refused_in_etcds_words() {
    let world = World::new().await;
    let told = |refused: Status| (refused.code(), refused.message().to_owned());
    for lease in [77, -1] {
        let refused = told(world.lock(lease).await.unwrap().unwrap_err());
        assert_eq!(refused, (Code::Unknown, "etcdserver: requested lease not found".into()));
    }
    assert_eq!(world.store.queue("l/").await, []);
    let refused = told(world.unlock(Bytes::new()).await.unwrap_err());
    assert_eq!(refused, (Code::Unknown, "etcdserver: key is not provided".into()));
    world.unlock("nothing".into()).await.unwrap();

    world.lock(world.lease().await).await.unwrap().unwrap();
    let lease = world.lease().await;
    let waiting = world.lock(lease);
    world.store.until_queued("l/", 2).await;
    world.client.revoke(lease.cast_unsigned()).await.unwrap();
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(told(refused), (Code::Unknown, "mutex: session is expired".into()));
}

#[tokio::test(start_paused = true)]
async fn an_election_from_end_to_end() {
    let world = World::new().await;
    let mut elections = world.elections();
    let name = LeaderRequest { name: "e".into() };
    let nobody = elections.leader(name.clone()).await.unwrap_err();
    assert_eq!((nobody.code(), nobody.message()), (Code::Unknown, "election: no leader"));
    let mut observed = elections.observe(name.clone()).await.unwrap().into_inner();

    let (first, second) = (world.lease().await, world.lease().await);
    let won = world.campaign(first, "a").await.unwrap().unwrap();
    let leader = won.leader.unwrap();
    let item = world.store.get(leader.key.clone()).await.unwrap();
    let rev = i64::try_from(item.created.0).unwrap();
    let key = Bytes::from(format!("e/{first:x}"));
    assert_eq!(leader, LeaderKey { name: "e".into(), key, rev, lease: first });
    assert_eq!(observed.message().await.unwrap().unwrap().kv.unwrap().value, "a");

    let standing = world.campaign(second, "c");
    world.store.until_queued("e/", 2).await;
    let proclaim = ProclaimRequest { leader: Some(leader.clone()), value: "b".into() };
    elections.proclaim(proclaim.clone()).await.unwrap();
    let kv = elections.leader(name).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((&kv.value[..], kv.lease), (&b"b"[..], first));
    assert_eq!(observed.message().await.unwrap().unwrap().kv.unwrap().value, "b");

    elections.resign(ResignRequest { leader: Some(leader) }).await.unwrap();
    let won = standing.await.unwrap().unwrap().leader.unwrap();
    assert_eq!(won.lease, second);
    assert_eq!(observed.message().await.unwrap().unwrap().kv.unwrap().value, "c");
    let late = elections.proclaim(proclaim).await.unwrap_err();
    assert_eq!((late.code(), late.message()), (Code::Unknown, "election: not leader"));
}

#[tokio::test(start_paused = true)]
async fn a_leadership_that_is_none_is_refused() {
    let world = World::new().await;
    let mut elections = world.elections();
    let value = Bytes::new();
    let missing = "\"leader\" field must be provided";
    let proclaim = ProclaimRequest { leader: None, value: value.clone() };
    assert_eq!(elections.proclaim(proclaim).await.unwrap_err().message(), missing);
    let resign = ResignRequest { leader: None };
    assert_eq!(elections.resign(resign).await.unwrap_err().message(), missing);
    // No revision below 1 created anything: such a one must not mean "if the key is absent".
    for rev in [0, -1, i64::MIN] {
        let leader = LeaderKey { name: "e".into(), key: "e/1".into(), rev, lease: 1 };
        // To give up what one has not is no fault.
        elections.resign(ResignRequest { leader: Some(leader.clone()) }).await.unwrap();
        let proclaim = ProclaimRequest { leader: Some(leader), value: value.clone() };
        let refused = elections.proclaim(proclaim).await.unwrap_err();
        assert_eq!(refused.message(), "election: not leader", "{rev}");
    }
    assert_eq!(world.store.queue("e/").await, []);
}
