//! Leases over a transport that keeps them in a map.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use client::{Answer, CallFuture, Transport};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tonic::Code;
use wire::{Command, Header, NodeId, NodeStatus, Page, Reply, Request as Ask};

use super::*;
use crate::gateway::{Config, Gateway, Introspect, StorageUse};

#[derive(Default)]
struct Store {
    /// What each lease lives, in milliseconds.
    leases: Mutex<BTreeMap<u64, u64>>,
    asked: Mutex<usize>,
    most: Mutex<usize>,
}

struct Wire(Arc<Store>);

impl Transport for Wire {
    fn nodes(&self) -> Vec<NodeId> {
        vec![NodeId(1)]
    }

    fn since(&self) -> u64 {
        1
    }

    fn call(&self, _: NodeId, request: Ask, _: Duration) -> CallFuture {
        let store = Arc::clone(&self.0);
        Box::pin(async move {
            if let Ask::KeepAlive { lease } = request {
                let now = {
                    let mut asked = store.asked.lock().unwrap();
                    *asked += 1;
                    *asked
                };
                let mut most = store.most.lock().unwrap().max(now);
                std::mem::swap(&mut *store.most.lock().unwrap(), &mut most);
                // The later ones are quicker.
                sleep(Duration::from_millis(1000 - lease % 500)).await;
                *store.asked.lock().unwrap() -= 1;
            }
            Ok(store.answer(request))
        })
    }
}

impl Store {
    fn answer(&self, request: Ask) -> Answer {
        let mut leases = self.leases.lock().unwrap();
        let status = |lease: u64, leases: &BTreeMap<u64, u64>| {
            let ttl_ms = *leases.get(&lease).ok_or(Refusal::LeaseNotFound { lease })?;
            let keys = vec![Bytes::from_static(b"k")];
            Ok::<_, Refusal>(LeaseStatus { lease, ttl_ms, remaining_ms: ttl_ms - 1, keys })
        };
        let reply = match request {
            Ask::Write(bytes) => {
                match Command::decode(bytes).unwrap().body {
                    Body::Grant { lease, .. } if leases.contains_key(&lease) => {
                        return Err(Refusal::LeaseExists { lease });
                    }
                    Body::Grant { lease, ttl_ms } => drop(leases.insert(lease, ttl_ms)),
                    Body::Revoke { lease } => {
                        leases.remove(&lease).ok_or(Refusal::LeaseNotFound { lease })?;
                    }
                    other => panic!("{other:?}"),
                }
                let revision = Revision(5);
                Reply::Written(TxnResult { revision, succeeded: true, results: Vec::new() })
            }
            Ask::KeepAlive { lease } => Reply::Lease(status(lease, &leases)?),
            Ask::Lease { lease, keys } => {
                let mut status = status(lease, &leases)?;
                status.keys.retain(|_| keys);
                Reply::Lease(status)
            }
            Ask::Leases => Reply::Leases(leases.keys().copied().collect()),
            Ask::Read { .. } => Reply::Page(Page::default()),
            other => panic!("{other:?}"),
        };
        let node = NodeId(1);
        Ok((Header { revision: Revision(5), applied: 1, node, leader: Some(node) }, reply))
    }
}

struct Node;

impl Introspect for Node {
    fn status(&self) -> NodeStatus {
        NodeStatus {
            node: NodeId(1),
            cluster: "test".into(),
            version: String::new(),
            role: String::new(),
            protocol: "raft".into(),
            standing: "term 4".into(),
            epoch: 3,
            leader: None,
            revision: Revision(5),
            compacted: Revision(0),
            applied: 1,
            commit: 1,
            last: 1,
            durable: 1,
            ready: true,
            trouble: None,
            notice: None,
            members: Vec::new(),
            peers: Vec::new(),
        }
    }

    fn epoch(&self) -> u64 {
        3
    }

    fn storage(&self) -> StorageUse {
        StorageUse::default()
    }
}

fn world() -> (Arc<Store>, Arc<Service>) {
    let store = Arc::new(Store::default());
    let client = Client::new(Arc::new(Wire(Arc::clone(&store))), client::Config::new(7, 1));
    let gateway =
        Gateway::new(&client, Arc::new(client::Unguarded), Arc::new(Node), Config::default());
    (store, gateway.service)
}

async fn grant(service: &Service, id: i64, ttl: i64) -> Result<LeaseGrantResponse, Status> {
    let granted = service.lease_grant(Request::new(LeaseGrantRequest { ttl, id })).await;
    granted.map(Response::into_inner)
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_granted_looked_at_and_revoked() {
    let (store, service) = world();
    let granted = grant(&service, -5, 100).await.unwrap();
    assert_eq!((granted.id, granted.ttl, granted.header.unwrap().revision), (-5, 100, 5));
    assert_eq!(store.leases.lock().unwrap().get(&(-5_i64).cast_unsigned()), Some(&100_000));
    let exists = grant(&service, -5, 100).await.unwrap_err();
    assert_eq!(exists.code(), Code::FailedPrecondition);
    assert_eq!(exists.message(), "etcdserver: lease already exists");
    for (ttl, given) in [(0, 1), (-7, 1), (9_000_000_000, 9_000_000_000)] {
        let granted = grant(&service, 0, ttl).await.unwrap();
        assert!(granted.id > 0 && granted.ttl == given);
    }
    let refused = grant(&service, 0, 9_000_000_001).await.unwrap_err();
    assert_eq!(refused.message(), "etcdserver: too large lease TTL");

    let ask =
        |id, keys| service.lease_time_to_live(Request::new(LeaseTimeToLiveRequest { id, keys }));
    let known = ask(-5, true).await.unwrap().into_inner();
    assert_eq!((known.id, known.ttl, known.granted_ttl, known.keys.len()), (-5, 99, 100, 1));
    assert_eq!(ask(-5, false).await.unwrap().into_inner().keys.len(), 0);
    let unknown = ask(77, true).await.unwrap().into_inner();
    assert_eq!((unknown.id, unknown.ttl, unknown.granted_ttl), (77, -1, 0));
    assert_eq!(unknown.header.unwrap().revision, 5);

    let leases = service.lease_leases(Request::new(LeaseLeasesRequest {})).await.unwrap();
    assert_eq!(leases.into_inner().leases.len(), 4);
    let revoke = |id| service.lease_revoke(Request::new(LeaseRevokeRequest { id }));
    assert_eq!(revoke(-5).await.unwrap().into_inner().header.unwrap().raft_term, 3);
    let gone = revoke(-5).await.unwrap_err();
    assert_eq!(
        (gone.code(), gone.message()),
        (Code::NotFound, "etcdserver: requested lease not found")
    );
}

#[test]
fn names_do_not_repeat() {
    let names = Names::default();
    let drawn: std::collections::BTreeSet<u64> = (0..1000).map(|_| names.draw(7)).collect();
    assert_eq!(drawn.len(), 1000);
    assert!(drawn.iter().all(|name| i64::try_from(*name).unwrap() > 0));
    assert!(!drawn.contains(&Names::default().draw(8)));
}

struct Requests(mpsc::UnboundedReceiver<Result<LeaseKeepAliveRequest, Status>>);

impl Stream for Requests {
    type Item = Result<LeaseKeepAliveRequest, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

async fn next(
    answers: &mut KeepAlives<Requests>,
) -> Option<Result<LeaseKeepAliveResponse, Status>> {
    std::future::poll_fn(|context| Pin::new(&mut *answers).poll_next(context)).await
}

#[tokio::test(start_paused = true)]
async fn keep_alives_overlap_and_are_answered_in_order() {
    let (store, service) = world();
    for id in 1..=500 {
        grant(&service, id, 10 + id).await.unwrap();
    }
    let (ask, received) = mpsc::unbounded_channel();
    let (client, header) = (service.client.clone(), service.header_of.clone());
    let mut answers = KeepAlives::new(client, header, Requests(received));
    for id in 1..=501 {
        ask.send(Ok(LeaseKeepAliveRequest { id })).unwrap();
    }
    let begun = Instant::now();
    for id in 1..=500 {
        let answer = next(&mut answers).await.unwrap().unwrap();
        assert_eq!((answer.id, answer.ttl, answer.header.unwrap().revision), (id, 10 + id, 5));
    }
    let ended = next(&mut answers).await.unwrap().unwrap();
    assert_eq!((ended.id, ended.ttl), (501, 0), "a lease that has ended");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(*store.most.lock().unwrap(), KEEP_ALIVES);
    drop(ask);
    assert!(next(&mut answers).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn keep_alives_end_with_their_client() {
    let (store, service) = world();
    grant(&service, 1, 10).await.unwrap();
    let (ask, received) = mpsc::unbounded_channel();
    let (client, header) = (service.client.clone(), service.header_of.clone());
    let mut answers = KeepAlives::new(client, header, Requests(received));
    ask.send(Ok(LeaseKeepAliveRequest { id: 1 })).unwrap();
    ask.send(Err(Status::cancelled("gone"))).unwrap();
    assert_eq!(next(&mut answers).await.unwrap().unwrap().ttl, 10, "what was asked is answered");
    assert_eq!(next(&mut answers).await.unwrap().unwrap_err().message(), "gone");
    assert!(next(&mut answers).await.is_none());
    assert_eq!(*store.asked.lock().unwrap(), 0);
}
