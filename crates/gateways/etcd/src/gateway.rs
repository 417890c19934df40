//! The gateway: finds out which service a request is for, and has it answered.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use client::Client;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use hyper::body::Body;
use tonic::Status;
use tonic::codegen::{Service as _, StdError};
use wire::{NodeId, NodeStatus};

use crate::header::Ids;
use crate::pb::etcdserverpb::auth_server::AuthServer;
use crate::pb::etcdserverpb::cluster_server::ClusterServer;
use crate::pb::etcdserverpb::kv_server::KvServer;
use crate::pb::etcdserverpb::lease_server::LeaseServer;
use crate::pb::etcdserverpb::maintenance_server::MaintenanceServer;
use crate::pb::etcdserverpb::watch_server::WatchServer;
use crate::pb::v3electionpb::election_server::ElectionServer;
use crate::pb::v3lockpb::lock_server::LockServer;

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
    /// The time that an operation is given, unless the client gives less.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            request_limit_bytes: (8 << 20) + (512 << 10),
            txn_ops: 128,
            timeout: Duration::from_secs(7),
        }
    }
}

/// All services: each file implements its own for it.
pub(crate) struct Service {
    pub(crate) client: Client,
    pub(crate) introspect: Arc<dyn Introspect>,
    pub(crate) config: Config,
    pub(crate) ids: Ids,
    pub(crate) node: NodeId,
    pub(crate) member_id: u64,
}

/// The etcd gateway. One serves all connections of a process; clones are the same gateway.
#[derive(Clone)]
pub struct Gateway {
    service: Arc<Service>,
}

impl Gateway {
    /// A gateway to the cluster behind `client`.
    pub fn new(client: &Client, introspect: Arc<dyn Introspect>, config: Config) -> Self {
        let status = introspect.status();
        let ids = Ids::new(&status.cluster);
        let service = Service {
            client: client.with_timeout(config.timeout),
            introspect,
            config,
            member_id: ids.member(status.node),
            node: status.node,
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
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<StdError> + Send,
    {
        let service = request.uri().path().rsplit_once('/').map_or("", |(service, _)| service);
        macro_rules! serve {
            ($server:ident) => {{
                let limit = self.service.config.request_limit_bytes;
                let server = $server::from_arc(Arc::clone(&self.service));
                let mut server = server.max_decoding_message_size(limit);
                server.call(request).await.unwrap_or_else(|never: Infallible| match never {})
            }};
        }
        match service {
            "/etcdserverpb.KV" => serve!(KvServer),
            "/etcdserverpb.Watch" => serve!(WatchServer),
            "/etcdserverpb.Lease" => serve!(LeaseServer),
            "/etcdserverpb.Cluster" => serve!(ClusterServer),
            "/etcdserverpb.Maintenance" => serve!(MaintenanceServer),
            "/etcdserverpb.Auth" => serve!(AuthServer),
            "/v3lockpb.Lock" => serve!(LockServer),
            "/v3electionpb.Election" => serve!(ElectionServer),
            _ => Status::unimplemented(format!(
                "unknown service {}",
                &service.trim_start_matches('/')
            ))
            .into_http(),
        }
    }
}

fn is_grpc<B>(request: &Request<B>) -> bool {
    let media_type = request.headers().get(CONTENT_TYPE);
    media_type.is_some_and(|media_type| media_type.as_bytes().starts_with(b"application/grpc"))
}
