//! The gateway: takes a request, finds what it means, and has it done.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Guard};
use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Body;
use tokio::sync::Semaphore;
use wire::MAX_KEY_BYTES;

use crate::body::{self, Limit, Received};
use crate::call::Call;
use crate::errors::Fault;
use crate::params::{self, Params};
use crate::reply::{self, Answer, AnswerBody};
use crate::router::{self, Action, BodyKind, Found};
use crate::store::Store;
use crate::{auth, kv, lease, list, members, ops, storage_node, txn, watch};

/// JSON writes one byte with at most this many: `\u0000`.
const JSON_BYTES_PER_BYTE: usize = 6;

/// Room in a JSON body for what is neither key nor value.
const JSON_SLACK_BYTES: usize = 64 * 1024;

const ABOUT: &str = include_str!("about.txt");
const OPENAPI: &str = include_str!("openapi.json");

/// What the binary knows of its own state.
pub trait Introspect: Send + Sync + 'static {
    /// All metrics in the text format of Prometheus (or `OpenMetrics`, which it reads as well).
    fn metrics(&self) -> String;

    /// Whether the process works; if not, why. A supervisor restarts it then.
    fn healthy(&self) -> Result<(), String>;

    /// Whether the node can serve; if not, why. A balancer sends nothing here then.
    fn ready(&self) -> Result<(), String>;
}

/// The gateway's limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest value in bytes. Must be the nodes' own limit (`--max-value`). A JSON body may be
    /// six times as long, which is what escapes can cost, and a little more.
    pub value_limit_bytes: usize,
    /// Requests under way at once; more are refused with 503. Watches count apart.
    pub requests: usize,
    /// Watches open at once; more are refused with 503. Each costs a batch of changes of memory.
    pub watches: usize,
    /// Bytes of request bodies in memory at once, of all requests together; what does not fit is
    /// refused with 503. At least as much as one body may have.
    pub body_room_bytes: usize,
    /// The longest pause within a body; then 408.
    pub body_pause: Duration,
    /// The longest time for a whole body; then 408.
    pub body_timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            value_limit_bytes: 8 << 20,
            requests: 4096,
            watches: 4096,
            body_room_bytes: 256 << 20,
            body_pause: Duration::from_secs(10),
            body_timeout: Duration::from_mins(2),
        }
    }
}

impl Config {
    fn json_limit_bytes(&self) -> usize {
        (self.value_limit_bytes + MAX_KEY_BYTES) * JSON_BYTES_PER_BYTE + JSON_SLACK_BYTES
    }
}

/// The HTTP gateway. One serves all connections of a process.
pub struct Gateway {
    client: Client,
    guard: Arc<dyn Guard>,
    introspect: Arc<dyn Introspect>,
    config: Config,
    requests: Semaphore,
    watches: Arc<Semaphore>,
    body_room: Semaphore,
}

impl Gateway {
    /// A gateway to the cluster behind `client`, whose callers `guard` knows.
    pub fn new(
        client: Client,
        guard: Arc<dyn Guard>,
        introspect: Arc<dyn Introspect>,
        config: Config,
    ) -> Self {
        let room = config.body_room_bytes.max(config.json_limit_bytes());
        Self {
            client,
            guard,
            introspect,
            requests: Semaphore::new(config.requests.min(Semaphore::MAX_PERMITS)),
            watches: Arc::new(Semaphore::new(config.watches.min(Semaphore::MAX_PERMITS))),
            body_room: Semaphore::new(room.min(Semaphore::MAX_PERMITS)),
            config,
        }
    }

    /// Answers one request, whatever connection it came by. Never fails: faults are answers.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<AnswerBody>
    where
        B: Body,
        B::Error: Display,
    {
        let (parts, body) = request.into_parts();
        match self.answer(&parts, body).await {
            Ok(answer) if parts.method == Method::HEAD => reply::without_body(answer),
            Ok(answer) => answer,
            Err(fault) if parts.method == Method::HEAD => reply::without_body(fault.into_rest()),
            Err(fault) if parts.method == Method::POST && parts.uri.path() == "/" => {
                fault.into_storage_node()
            }
            Err(fault) => fault.into_rest(),
        }
    }

    async fn answer<B>(&self, parts: &Parts, body: B) -> Result<Answer, Fault>
    where
        B: Body,
        B::Error: Display,
    {
        let found = router::find(&parts.method, parts.uri.path())?;
        let params = Params::parse(parts.uri.query(), found.verb.params)?;
        if let Some(answer) = self.about_itself(found.verb.action, &parts.headers) {
            return Ok(answer);
        }
        let _place = self
            .requests
            .try_acquire()
            .map_err(|_| Fault::busy(format!("{} requests are under way", self.config.requests)))?;
        let client = self.client.in_name_of(auth::who(parts, &*self.guard).await?);
        let timeout = params::timeout(&parts.headers)?;
        let request_id = params::request_id(&parts.headers)?;
        let received = self.receive(body, &parts.headers, found.verb.body).await?;
        let call = Call {
            params,
            headers: &parts.headers,
            body: received.bytes.clone(),
            store: Store::new(&client, timeout, request_id),
            value_limit_bytes: self.config.value_limit_bytes,
        };
        self.act(&call, found).await
    }

    async fn receive<B>(
        &self,
        body: B,
        headers: &HeaderMap,
        kind: BodyKind,
    ) -> Result<Received<'_>, Fault>
    where
        B: Body,
        B::Error: Display,
    {
        let limit = match kind {
            BodyKind::Ignored => return Ok(Received::nothing()),
            BodyKind::Value => Limit { what: "value", bytes: self.config.value_limit_bytes },
            BodyKind::Json => Limit { what: "body", bytes: self.config.json_limit_bytes() },
        };
        body::receive(body, headers, limit, &self.body_room, &self.config).await
    }

    /// What needs no cluster, and so is answered even when requests are refused.
    fn about_itself(&self, action: Action, headers: &HeaderMap) -> Option<Answer> {
        Some(match action {
            Action::About => reply::text(StatusCode::OK, ABOUT),
            Action::Healthy => told(self.introspect.healthy()),
            Action::Ready => told(self.introspect.ready()),
            Action::Metrics => metrics(self.introspect.metrics(), headers),
            Action::OpenApi => reply::of_type(
                StatusCode::OK,
                "application/json",
                Bytes::from_static(OPENAPI.as_bytes()),
            ),
            Action::StorageNode
            | Action::ReadKey
            | Action::PutKey
            | Action::DeleteKey
            | Action::List
            | Action::Txn
            | Action::Watch
            | Action::Compact
            | Action::Leader
            | Action::Status
            | Action::GrantLease
            | Action::Leases
            | Action::ShowLease
            | Action::KeepLeaseAlive
            | Action::RevokeLease
            | Action::Members
            | Action::AddMember
            | Action::UpdateMember
            | Action::RemoveMember => return None,
        })
    }

    async fn act(&self, call: &Call<'_>, found: Found) -> Result<Answer, Fault> {
        match found.verb.action {
            Action::StorageNode => storage_node::execute(call).await,
            Action::ReadKey => kv::read(call, found.key).await,
            Action::PutKey => kv::put(call, found.key).await,
            Action::DeleteKey => kv::delete(call, found.key).await,
            Action::List => list::list(call).await,
            Action::Txn => txn::execute(call).await,
            Action::Watch => watch::watch(call, &self.watches).await,
            Action::Compact => ops::compact(call).await,
            Action::Leader => ops::transfer(call).await,
            Action::Status => ops::status(call).await,
            Action::GrantLease => lease::grant(call).await,
            Action::Leases => lease::list(call).await,
            Action::ShowLease => lease::show(call, &found.key).await,
            Action::KeepLeaseAlive => lease::keep_alive(call, &found.key).await,
            Action::RevokeLease => lease::revoke(call, &found.key).await,
            Action::Members => members::list(call).await,
            Action::AddMember => members::add(call).await,
            Action::UpdateMember => members::update(call, &found.key).await,
            Action::RemoveMember => members::remove(call, &found.key).await,
            Action::About | Action::Healthy | Action::Ready | Action::Metrics | Action::OpenApi => {
                unreachable!("answered without the cluster")
            }
        }
    }
}

fn told(state: Result<(), String>) -> Answer {
    match state {
        Ok(()) => reply::text(StatusCode::OK, "ok"),
        Err(why) => reply::text(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

/// Our text is both formats at once; Prometheus asks for the one that it prefers.
fn metrics(text: String, headers: &HeaderMap) -> Answer {
    const OPEN_METRICS: &str = "application/openmetrics-text";
    let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let media_type = if accepts.into_iter().any(|accept| accept.contains(OPEN_METRICS)) {
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    } else {
        "text/plain; version=0.0.4; charset=utf-8"
    };
    reply::of_type(StatusCode::OK, media_type, Bytes::from(text))
}
