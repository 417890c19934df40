//! Watches over a store in memory, without sockets.

mod rights;
mod store;
mod storm;
mod watches;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Guard};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::Status;
use tonic::codegen::tokio_stream::Stream;

use self::store::{Store, Wire};
use super::encode::Sizes;
use super::hub::Limits;
use super::session::{Answers, Watching};
use crate::auth::Asker;
use crate::header::signed;
use crate::pb::etcdserverpb::watch_request::RequestUnion;
use crate::pb::etcdserverpb::{
    ResponseHeader, WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest,
    WatchResponse,
};

struct World {
    store: Arc<Store>,
    client: Client,
    guard: Arc<dyn Guard>,
    watching: Arc<Watching>,
}

fn limits() -> Limits {
    Limits {
        streams: 100,
        watchers_per_stream: 100_000,
        reads: 4,
        stream_bytes: 64 << 10,
        total_bytes: 16 << 20,
        sizes: Sizes { response_bytes: 1000, fragment_bytes: 2000 },
    }
}

impl World {
    fn new() -> Self {
        Self::with(limits())
    }

    fn with(limits: Limits) -> Self {
        Self::guarded(limits, Arc::new(client::Unguarded))
    }

    fn guarded(limits: Limits, guard: Arc<dyn Guard>) -> Self {
        let store = Arc::new(Store::default());
        let client = Client::new(Arc::new(Wire(Arc::clone(&store))), client::Config::new(7, 1));
        let header = |revision: wire::Revision| ResponseHeader {
            cluster_id: 1,
            member_id: 2,
            revision: signed(revision.0),
            raft_term: 3,
        };
        let progress = Duration::from_mins(10);
        let watching =
            Watching::new(&client.clone(), Arc::clone(&guard), limits, progress, Arc::new(header));
        Self { store, client, guard, watching }
    }

    fn asker(&self) -> Asker {
        Asker::of(self.client.clone(), Arc::clone(&self.guard))
    }

    fn talk(&self) -> Talk {
        self.talk_of(self.asker())
    }

    fn talk_of(&self, asker: Asker) -> Talk {
        let (requests, received) = mpsc::unbounded_channel();
        let answers = self.watching.open(Requests(received), asker).unwrap();
        Talk { requests: Some(requests), answers: Some(answers) }
    }
}

/// One stream, from the client's side.
struct Talk {
    requests: Option<mpsc::UnboundedSender<WatchRequest>>,
    answers: Option<Answers>,
}

struct Requests(mpsc::UnboundedReceiver<WatchRequest>);

impl Stream for Requests {
    type Item = Result<WatchRequest, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|request| request.map(Ok))
    }
}

impl Talk {
    fn ask(&self, request: RequestUnion) {
        let request = WatchRequest { request_union: Some(request) };
        self.requests.as_ref().unwrap().send(request).unwrap();
    }

    fn create(&self, request: WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(request));
    }

    fn cancel(&self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(WatchCancelRequest { watch_id }));
    }

    fn progress(&self) {
        self.ask(RequestUnion::ProgressRequest(WatchProgressRequest {}));
    }

    /// The next answer; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Result<WatchResponse, Status>> {
        let answers = self.answers.as_mut().unwrap();
        let next = std::future::poll_fn(|context| Pin::new(&mut *answers).poll_next(context));
        next.await.map(|message| message.map(|message| message.decode()))
    }

    async fn hear(&mut self) -> WatchResponse {
        let heard = timeout(Duration::from_mins(1), self.next()).await;
        heard.expect("an answer comes").expect("the stream goes on").unwrap()
    }

    /// Nothing is said for a while.
    async fn silence(&mut self) {
        let heard = timeout(Duration::from_secs(30), self.next()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    /// Creates a watch, and hears that it is there.
    async fn begin(&mut self, request: WatchCreateRequest) -> WatchResponse {
        self.create(request);
        let created = self.hear().await;
        assert!(created.created && !created.canceled, "{created:?}");
        created
    }

    /// The next `count` changes of all watches, as (watch, revision, key).
    async fn changes(&mut self, count: usize) -> Vec<(i64, i64, Bytes)> {
        let mut changes = Vec::new();
        while changes.len() < count {
            let heard = self.hear().await;
            assert!(!heard.events.is_empty(), "{heard:?}");
            for event in heard.events {
                let kv = event.kv.unwrap();
                changes.push((heard.watch_id, kv.mod_revision, kv.key));
            }
        }
        assert_eq!(changes.len(), count, "{changes:?}");
        changes
    }
}

fn on(key: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..Default::default() }
}

fn under(prefix: &str) -> WatchCreateRequest {
    let mut end = prefix.as_bytes().to_vec();
    *end.last_mut().unwrap() += 1;
    WatchCreateRequest { range_end: end.into(), ..on(prefix) }
}

fn since(revision: i64, request: WatchCreateRequest) -> WatchCreateRequest {
    WatchCreateRequest { start_revision: revision, ..request }
}

/// Lets everything that can happen now happen.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}
