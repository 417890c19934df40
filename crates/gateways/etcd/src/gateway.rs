//! The gateway: finds out which service a request is for, and has it answered.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Guard};
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use hyper::body::Body;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tonic::codegen::{Service as _, StdError};
use wire::NodeStatus;

use crate::auth;
use crate::budget::{self, Budget};
use crate::errors;
use crate::header::{HeaderOf, Ids, signed};
use crate::json;
use crate::lease::Names;
use crate::metered::{Metered, Taken};
use crate::pb::etcdserverpb::ResponseHeader;
use crate::pb::etcdserverpb::auth_server::AuthServer;
use crate::pb::etcdserverpb::cluster_server::ClusterServer;
use crate::pb::etcdserverpb::kv_server::KvServer;
use crate::pb::etcdserverpb::lease_server::LeaseServer;
use crate::pb::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::pb::v3electionpb::election_server::ElectionServer;
use crate::pb::v3lockpb::lock_server::LockServer;
use crate::watch::{self, WatchConfig, Watching};

/// The etcd whose API this is: clients match on it.
pub(crate) const ETCD_VERSION: &str = "3.6.0";

/// The calls whose requests are streams of messages.
const STREAMS: [&str; 2] = ["/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"];

/// Who may wait for locks and elections at once: more are refused. Each costs two parked questions to
/// the node and little memory.
const MOST_WAITING: usize = 16_384;

/// How tonic begins to say that a message is longer than we take.
const TOO_LONG: &str = "Error, decoded message length too large";

/// The body of every answer. It fails only where gRPC says so in its trailers.
pub type AnswerBody = tonic::body::Body;

/// What the binary knows of its own node.
pub trait Introspect: Send + Sync + 'static {
    /// How the node is, and which others there are.
    fn status(&self) -> NodeStatus;

    /// The node's current term: asked for with every answer, so it must cost nothing.
    fn epoch(&self) -> u64;

    /// What the store takes of the disk.
    fn storage(&self) -> StorageUse;
}

/// Bytes on the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageUse {
    /// Of the whole store.
    pub allocated: u64,
    /// Of them, those that hold what can be read.
    pub in_use: u64,
}

/// The gateway's limits.
#[derive(Clone, Debug)]
pub struct Config {
    /// The longest message of a client, in bytes: a value of the longest kind and its key fit in.
    pub request_limit_bytes: usize,
    /// Operations of one transaction on one side, those of transactions within it apart.
    pub txn_ops: usize,
    /// Requests under way at once; more are refused. Watches and other streams without an end count
    /// apart.
    pub requests: usize,
    /// Bytes of requests in memory at once, of all together; what does not fit is refused. At least as
    /// much as one may have.
    pub request_room_bytes: usize,
    /// Bytes of answers in memory at once, of all requests together: what does not fit is refused.
    pub answer_room_bytes: usize,
    /// Keys that a snapshot in etcd's form may have: 16 bytes are kept for each while it is made.
    pub snapshot_keys: usize,
    /// The time that an operation is given, unless the client gives less.
    pub timeout: Duration,
    /// Whether clients reach the nodes by TLS: how members' addresses are told.
    pub clients_have_tls: bool,
    /// Whether the nodes reach one another by TLS.
    pub peers_have_tls: bool,
    /// The limits of watches.
    pub watch: WatchConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_limit_bytes: (8 << 20) + (512 << 10),
            txn_ops: 128,
            requests: 4096,
            request_room_bytes: 256 << 20,
            answer_room_bytes: 64 << 20,
            snapshot_keys: 16 << 20,
            timeout: Duration::from_secs(7),
            clients_have_tls: false,
            peers_have_tls: false,
            watch: WatchConfig::default(),
        }
    }
}

/// All services: each file implements its own for it. Clones are cheap, for streams that outlive the
/// call.
#[derive(Clone)]
pub(crate) struct Service {
    /// In whose name the request is that is being answered.
    pub(crate) client: Client,
    pub(crate) guard: Arc<dyn Guard>,
    /// What proved it, if it was a token.
    pub(crate) token: Option<Arc<str>>,
    pub(crate) introspect: Arc<dyn Introspect>,
    pub(crate) config: Arc<Config>,
    pub(crate) ids: Ids,
    /// Memory for answers.
    pub(crate) budget: Arc<Budget>,
    /// Memory for requests.
    pub(crate) request_room: Arc<Semaphore>,
    /// Whose turn it is to have everything hashed.
    pub(crate) hashing: Arc<Semaphore>,
    /// Whose turn it is to have a snapshot made.
    pub(crate) snapshotting: Arc<Semaphore>,
    pub(crate) places: Arc<Semaphore>,
    /// Room for those who wait for a lock or an election, however long.
    pub(crate) waiting: Arc<Semaphore>,
    pub(crate) header_of: HeaderOf,
    pub(crate) watching: Arc<Watching>,
    pub(crate) lease_names: Arc<Names>,
}

impl Service {
    /// A place among the requests under way, or a refusal. Watches and other streams without an end
    /// count apart.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        place.map_err(|_| errors::too_many_requests())
    }

    /// A place among those who wait without an end in sight, for a lock or an election; or a refusal.
    pub(crate) fn waiting_place(&self) -> Result<OwnedSemaphorePermit, Status> {
        let place = Arc::clone(&self.waiting).try_acquire_owned();
        place.map_err(|_| errors::too_many_requests())
    }
}

/// The etcd gateway. One serves all connections of a process; clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {
    pub(crate) service: Arc<Service>,
}

impl Gateway {
    /// A gateway to the cluster behind `client`, whose callers `guard` knows.
    pub fn new(
        client: &Client,
        guard: Arc<dyn Guard>,
        introspect: Arc<dyn Introspect>,
        config: Config,
    ) -> Self {
        let status = introspect.status();
        let ids = Ids::new(&status.cluster);
        let request_room = config.request_room_bytes.max(config.request_limit_bytes * 2);
        let request_room = request_room.min(Semaphore::MAX_PERMITS);
        let client = client.with_timeout(config.timeout);
        let member_id = ids.member(status.node);
        let (cluster_id, node) = (ids.cluster(), Arc::clone(&introspect));
        let header_of: HeaderOf = Arc::new(move |revision| ResponseHeader {
            cluster_id,
            member_id,
            revision: signed(revision.0),
            raft_term: node.epoch(),
        });
        let watching = config.watch.start(&client, &guard, Arc::clone(&header_of));
        let lease_names = Arc::new(Names::default());
        let service = Service {
            header_of,
            lease_names,
            watching,
            client,
            guard,
            token: None,
            introspect,
            budget: Arc::new(Budget::new(config.answer_room_bytes)),
            request_room: Arc::new(Semaphore::new(request_room)),
            hashing: Arc::new(Semaphore::new(1)),
            snapshotting: Arc::new(Semaphore::new(1)),
            places: Arc::new(Semaphore::new(config.requests.min(Semaphore::MAX_PERMITS))),
            waiting: Arc::new(Semaphore::new(MOST_WAITING)),
            config: Arc::new(config),
            ids,
        };
        Self { service: Arc::new(service) }
    }

    /// Whether a request is for this gateway: gRPC of any service, for nothing else here speaks it,
    /// and the paths of its JSON form.
    pub fn handles<B>(request: &Request<B>) -> bool {
        let path = request.uri().path();
        is_grpc(request) || path.starts_with("/v3/") || path == "/version" || path == "/health"
    }

    /// Answers one request, whatever connection it came by. Never fails: faults are answers.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError> + Send,
    {
        let service = match auth::service_for(&self.service, auth::proof_of(&request)).await {
            Ok(service) => service,
            Err(status) if is_grpc(&request) => return budget::hold(status.into_http()),
            Err(status) => return budget::hold(json::failure(&status)),
        };
        budget::hold(if is_grpc(&request) {
            Self::call(&service, request).await
        } else {
            json::answer(&service, request).await
        })
    }

    /// Answers a call of gRPC.
    async fn call<B>(service: &Arc<Service>, request: Request<B>) -> Response<AnswerBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<StdError> + Send,
    {
        let path = request.uri().path();
        let one_message = !STREAMS.contains(&path);
        let taken = one_message.then(|| Taken::of(&service.request_room));
        let name = path.rsplit_once('/').map_or("", |(service, _)| service);
        macro_rules! serve {
            ($server:ident) => {{
                let limit = service.config.request_limit_bytes;
                let server = $server::from_arc(Arc::clone(service));
                let mut server = server.max_decoding_message_size(limit);
                let request = request.map(|body| Metered::new(body, taken.clone()));
                server.call(request).await.unwrap_or_else(|never: Infallible| match never {})
            }};
        }
        let answer = match name {
            "/etcdserverpb.KV" => serve!(KvServer),
            "/etcdserverpb.Watch" if request.uri().path().ends_with("/Watch") => {
                watch::serve(Arc::clone(service), request).await
            }
            "/etcdserverpb.Lease" => serve!(LeaseServer),
            "/etcdserverpb.Cluster" => serve!(ClusterServer),
            "/etcdserverpb.Maintenance" => serve!(MaintenanceServer),
            "/etcdserverpb.Auth" => serve!(AuthServer),
            "/v3lockpb.Lock" => serve!(LockServer),
            "/v3electionpb.Election" => serve!(ElectionServer),
            unknown => {
                let name = unknown.trim_start_matches('/');
                Status::unimplemented(format!("unknown service {name}")).into_http()
            }
        };
        in_etcds_words(answer)
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let media_type = request.headers().get(CONTENT_TYPE);
    media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"application/grpc"))
}

/// What was refused before it came to us is refused in the words that clients know.
fn in_etcds_words(answer: Response<AnswerBody>) -> Response<AnswerBody> {
    match answer.extensions().get::<Status>() {
        Some(status) if status.message().starts_with(TOO_LONG) => {
            errors::request_too_large().into_http()
        }
        Some(_) | None => answer,
    }
}
