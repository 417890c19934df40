//! A gateway over a store in memory, and clients of it without sockets.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use client::Client;
use gateway_etcd::pb::etcdserverpb::kv_client::KvClient;
use gateway_etcd::pb::etcdserverpb::maintenance_client::MaintenanceClient;
use gateway_etcd::pb::etcdserverpb::{PutRequest, RangeRequest, RangeResponse};
use gateway_etcd::{AnswerBody, Config, Gateway, Introspect, StorageUse};
use http_body_util::{BodyExt as _, Full};
use tonic::codegen::Service;
use tonic::{Code, Status};
use wire::NodeStatus;

use crate::memory::{Memory, Wire};

/// Small, so that the tests can go over it.
pub(crate) const VALUE_LIMIT_BYTES: usize = 10_000;

/// Small, so that the tests get several pages.
pub(crate) const PAGE_ITEMS: usize = 7;

pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) memory: Arc<Memory>,
}

struct Shown(Arc<Memory>);

impl Introspect for Shown {
    fn status(&self) -> NodeStatus {
        self.0.status()
    }

    fn epoch(&self) -> u64 {
        3
    }

    fn storage(&self) -> StorageUse {
        StorageUse { allocated: 1000, in_use: 600 }
    }
}

/// The gateway as what generated clients call.
#[derive(Clone)]
pub(crate) struct Direct(Gateway);

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

impl World {
    pub(crate) fn new() -> Self {
        Self::with(Config { request_limit_bytes: 20_000, ..Config::default() })
    }

    pub(crate) fn with(config: Config) -> Self {
        let memory = Memory::new(VALUE_LIMIT_BYTES, PAGE_ITEMS, 1);
        let wire = Arc::new(Wire(Arc::clone(&memory)));
        let client = Client::new(wire, client::Config::new(7, 1));
        let introspect = Arc::new(Shown(Arc::clone(&memory)));
        Self {
            gateway: Gateway::new(&client, Arc::new(client::Unguarded), introspect, config),
            memory,
        }
    }

    pub(crate) fn direct(&self) -> Direct {
        Direct(self.gateway.clone())
    }

    pub(crate) fn kv(&self) -> KvClient<Direct> {
        KvClient::new(self.direct())
    }

    pub(crate) fn maintenance(&self) -> MaintenanceClient<Direct> {
        MaintenanceClient::new(self.direct())
    }

    /// Puts it, and tells the revision.
    pub(crate) async fn put(&self, key: &str, value: &str) -> i64 {
        let answer = self.kv().put(put(key, value)).await.unwrap().into_inner();
        answer.header.unwrap().revision
    }

    /// Puts `a00`, `a01`, … with values that run the other way.
    pub(crate) async fn fill(&self, count: usize) {
        for n in 0..count {
            self.put(&format!("a{n:02}"), &format!("v{:02}", count - n)).await;
        }
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.kv().range(request).await.map(tonic::Response::into_inner)
    }

    /// Posts JSON; the status and the body.
    pub(crate) async fn post(&self, path: &str, body: &str) -> (u16, String) {
        self.send("POST", path, &[], body).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String) {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let (parts, body) = self.gateway.handle(request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (parts.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
    }
}

pub(crate) fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() }
}

/// The range from `key` to `end`; see the protocol for an empty end and one of a zero byte.
pub(crate) fn range(key: &str, end: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), range_end: bytes(end), ..RangeRequest::default() }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

pub(crate) fn keys(answer: &RangeResponse) -> Vec<&str> {
    answer.kvs.iter().map(|kv| std::str::from_utf8(&kv.key).unwrap()).collect()
}

/// Code and text of a refusal.
pub(crate) fn told<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status.message().to_owned())
}
