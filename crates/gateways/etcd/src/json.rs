//! The API as JSON over HTTP, in the manner of grpc-gateway: `POST /v3/kv/range` and so on.
//!
//! Fields have the names of the protocol, 64-bit numbers are strings, bytes are base64, what is zero or
//! empty is left out. Streams are a JSON value a line, each in `{"result":…}`. Headers of the request
//! are the metadata of the call. Errors are `{"error":…,"code":…,"message":…}` with gRPC's code.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::codec::Codec;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Extensions, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame};
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::codec::Codec as _;
use tonic::codegen::StdError;
use tonic::codegen::tokio_stream::Stream;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};
use wire::{Consistency, Projection, Query};

use crate::errors;
use crate::gateway::{AnswerBody, ETCD_VERSION, Service};
use crate::metered::{Metered, Taken};
use crate::pb::etcdserverpb::auth_server::Auth;
use crate::pb::etcdserverpb::cluster_server::Cluster;
use crate::pb::etcdserverpb::kv_server::Kv;
use crate::pb::etcdserverpb::lease_server::Lease;
use crate::pb::etcdserverpb::maintenance_server::Maintenance;
use crate::pb::etcdserverpb::watch_server::Watch;
use crate::pb::v3electionpb::election_server::Election;
use crate::pb::v3lockpb::lock_server::Lock;

/// An answer.
type Answer = http::Response<AnswerBody>;

/// Bytes of JSON for three bytes of a message, in base64, and room for names.
const BASE64: usize = 4;
const SLACK_BYTES: usize = 64 << 10;

/// Answers a request to one of our paths.
pub(crate) async fn answer<B>(service: &Service, request: http::Request<B>) -> Answer
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<StdError> + Send,
{
    let (parts, body) = request.into_parts();
    match parts.uri.path() {
        "/version" => return version(),
        "/health" => return health(service, parts.uri.query()).await,
        _ if parts.method != Method::POST => {
            let refusal = Status::unimplemented("Method Not Allowed");
            return failure_as(StatusCode::METHOD_NOT_ALLOWED, &refusal);
        }
        _ => {}
    }
    let taken = Taken::of(&service.request_room);
    let limit = service.config.request_limit_bytes / 3 * BASE64 + SLACK_BYTES;
    match collect(Metered::new(body, Some(taken.clone())), limit).await {
        Ok(body) => route(service, parts, &body).await,
        Err(refusal) => failure(&refusal),
    }
}

async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes, Error = StdError> + Unpin,
{
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers say nothing to us.
        let Ok(data) = frame.map_err(Status::from_error)?.into_data() else { continue };
        if whole.len() + data.len() > limit {
            return Err(errors::request_too_large());
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

async fn route(service: &Service, parts: Parts, body: &[u8]) -> Answer {
    macro_rules! unary {
        ($service:ident, $method:ident) => {
            unary(&parts, body, |request| $service::$method(service, request)).await
        };
    }
    match parts.uri.path() {
        "/v3/kv/range" => unary!(Kv, range),
        "/v3/kv/put" => unary!(Kv, put),
        "/v3/kv/deleterange" => unary!(Kv, delete_range),
        "/v3/kv/txn" => unary!(Kv, txn),
        "/v3/kv/compaction" => unary!(Kv, compact),
        "/v3/watch" => match stream(service, &parts, body, Ending::Never) {
            Ok(request) => told(Watch::watch(service, request).await),
            Err(refusal) => failure(&refusal),
        },
        "/v3/lease/grant" => unary!(Lease, lease_grant),
        "/v3/lease/revoke" | "/v3/kv/lease/revoke" => unary!(Lease, lease_revoke),
        "/v3/lease/keepalive" => match stream(service, &parts, body, Ending::AtOnce) {
            Ok(request) => told(Lease::lease_keep_alive(service, request).await),
            Err(refusal) => failure(&refusal),
        },
        "/v3/lease/timetolive" | "/v3/kv/lease/timetolive" => unary!(Lease, lease_time_to_live),
        "/v3/lease/leases" | "/v3/kv/lease/leases" => unary!(Lease, lease_leases),
        "/v3/cluster/member/add" => unary!(Cluster, member_add),
        "/v3/cluster/member/remove" => unary!(Cluster, member_remove),
        "/v3/cluster/member/update" => unary!(Cluster, member_update),
        "/v3/cluster/member/list" => unary!(Cluster, member_list),
        "/v3/cluster/member/promote" => unary!(Cluster, member_promote),
        "/v3/maintenance/alarm" => unary!(Maintenance, alarm),
        "/v3/maintenance/status" => unary!(Maintenance, status),
        "/v3/maintenance/defragment" => unary!(Maintenance, defragment),
        "/v3/maintenance/hash" => unary!(Maintenance, hash),
        "/v3/maintenance/hashkv" => unary!(Maintenance, hash_kv),
        "/v3/maintenance/snapshot" => match message(&parts, body) {
            Ok(request) => told(Maintenance::snapshot(service, request).await),
            Err(refusal) => failure(&refusal),
        },
        "/v3/maintenance/transfer-leadership" => unary!(Maintenance, move_leader),
        "/v3/maintenance/downgrade" => unary!(Maintenance, downgrade),
        "/v3/auth/enable" => unary!(Auth, auth_enable),
        "/v3/auth/disable" => unary!(Auth, auth_disable),
        "/v3/auth/status" => unary!(Auth, auth_status),
        "/v3/auth/authenticate" => unary!(Auth, authenticate),
        "/v3/auth/user/add" => unary!(Auth, user_add),
        "/v3/auth/user/get" => unary!(Auth, user_get),
        "/v3/auth/user/list" => unary!(Auth, user_list),
        "/v3/auth/user/delete" => unary!(Auth, user_delete),
        "/v3/auth/user/changepw" => unary!(Auth, user_change_password),
        "/v3/auth/user/grant" => unary!(Auth, user_grant_role),
        "/v3/auth/user/revoke" => unary!(Auth, user_revoke_role),
        "/v3/auth/role/add" => unary!(Auth, role_add),
        "/v3/auth/role/get" => unary!(Auth, role_get),
        "/v3/auth/role/list" => unary!(Auth, role_list),
        "/v3/auth/role/delete" => unary!(Auth, role_delete),
        "/v3/auth/role/grant" => unary!(Auth, role_grant_permission),
        "/v3/auth/role/revoke" => unary!(Auth, role_revoke_permission),
        "/v3/lock/lock" => unary!(Lock, lock),
        "/v3/lock/unlock" => unary!(Lock, unlock),
        "/v3/election/campaign" => unary!(Election, campaign),
        "/v3/election/proclaim" => unary!(Election, proclaim),
        "/v3/election/leader" => unary!(Election, leader),
        "/v3/election/resign" => unary!(Election, resign),
        "/v3/election/observe" => match message(&parts, body) {
            Ok(request) => told(Election::observe(service, request).await),
            Err(refusal) => failure(&refusal),
        },
        _ => failure(&Status::not_found("Not Found")),
    }
}

/// One message in, one message out.
async fn unary<Q, A, F>(parts: &Parts, body: &[u8], call: impl FnOnce(Request<Q>) -> F) -> Answer
where
    Q: DeserializeOwned + Default,
    A: Serialize,
    F: Future<Output = Result<Response<A>, Status>>,
{
    let answered = match message(parts, body) {
        Ok(request) => call(request).await,
        Err(refusal) => Err(refusal),
    };
    match answered {
        Ok(answer) => {
            let (_, message, extensions) = answer.into_parts();
            let mut answer = json(StatusCode::OK, &message);
            *answer.extensions_mut() = extensions;
            answer
        }
        Err(refusal) => failure(&refusal),
    }
}

/// The call's metadata are the request's headers.
fn metadata(parts: &Parts) -> MetadataMap {
    MetadataMap::from_headers(parts.headers.clone())
}

/// The one message of a call. No body is an empty message.
fn message<Q: DeserializeOwned + Default>(
    parts: &Parts,
    body: &[u8],
) -> Result<Request<Q>, Status> {
    let message = if body.trim_ascii().is_empty() {
        Q::default()
    } else {
        serde_json::from_slice(body).map_err(|error| bad_json(&error))?
    };
    Ok(Request::from_parts(metadata(parts), Extensions::new(), message))
}

fn bad_json(error: &serde_json::Error) -> Status {
    Status::invalid_argument(format!("the body is not the JSON that is taken here: {error}"))
}

/// When a stream of requests ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// When the caller goes away.
    Never,
    /// With the last message.
    AtOnce,
}

/// Some messages, as the stream that a call takes.
fn stream<Q>(
    service: &Service,
    parts: &Parts,
    body: &[u8],
    ending: Ending,
) -> Result<Request<Streaming<Q>>, Status>
where
    Q: DeserializeOwned + Message + Default + 'static,
{
    let mut frames = BytesMut::new();
    for message in serde_json::Deserializer::from_slice(body).into_iter::<Q>() {
        let message = message.map_err(|error| bad_json(&error))?;
        // The frame of gRPC: not compressed, so long.
        frames.put_u8(0);
        let len = u32::try_from(message.encoded_len()).map_err(|_| errors::request_too_large())?;
        frames.put_u32(len);
        frames.extend_from_slice(&message.encode_to_vec());
    }
    let sent = Sent { frames: Some(frames.freeze()), ending };
    let decoder = Codec::<Q, Q>::default().decoder();
    let limit = Some(service.config.request_limit_bytes);
    let messages = Streaming::new_request(decoder, sent, None, limit);
    Ok(Request::from_parts(metadata(parts), Extensions::new(), messages))
}

/// What a caller has sent.
struct Sent {
    frames: Option<Bytes>,
    ending: Ending,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match (self.frames.take(), self.ending) {
            (Some(frames), _) => Poll::Ready(Some(Ok(Frame::data(frames)))),
            (None, Ending::AtOnce) => Poll::Ready(None),
            // Whoever polls is dropped with the answer.
            (None, Ending::Never) => Poll::Pending,
        }
    }
}

/// A stream of answers, a line each.
fn told<T, S>(answered: Result<Response<S>, Status>) -> Answer
where
    T: Serialize + 'static,
    S: Stream<Item = Result<T, Status>> + Send + 'static,
{
    match answered {
        Ok(answer) => {
            let lines = Lines { answers: Some(Box::pin(answer.into_inner())) };
            of_type(StatusCode::OK, AnswerBody::new(lines))
        }
        Err(refusal) => failure(&refusal),
    }
}

struct Lines<S> {
    /// `None` after the last one.
    answers: Option<Pin<Box<S>>>,
}

#[derive(Serialize)]
struct ResultLine<'a, T> {
    result: &'a T,
}

#[derive(Serialize)]
struct ErrorLine<'a> {
    error: StreamError<'a>,
}

#[derive(Serialize)]
struct StreamError<'a> {
    grpc_code: i32,
    http_code: u16,
    message: &'a str,
    http_status: &'a str,
}

impl<T, S> Body for Lines<S>
where
    T: Serialize,
    S: Stream<Item = Result<T, Status>>,
{
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(answers) = &mut self.answers else { return Poll::Ready(None) };
        let line = match std::task::ready!(answers.as_mut().poll_next(context)) {
            Some(Ok(result)) => serde_json::to_vec(&ResultLine { result: &result }),
            Some(Err(status)) => {
                self.answers = None;
                let code = http_status(status.code());
                let error = StreamError {
                    grpc_code: status.code() as i32,
                    http_code: code.as_u16(),
                    message: status.message(),
                    http_status: code.canonical_reason().unwrap_or_default(),
                };
                serde_json::to_vec(&ErrorLine { error })
            }
            None => {
                self.answers = None;
                return Poll::Ready(None);
            }
        };
        let mut line = line.expect("our answers have string keys and no maps that fail");
        line.push(b'\n');
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(line)))))
    }
}

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
    code: i32,
    message: &'a str,
}

pub(crate) fn failure(status: &Status) -> Answer {
    failure_as(http_status(status.code()), status)
}

fn failure_as(code: StatusCode, status: &Status) -> Answer {
    let message = status.message();
    json(code, &Failure { error: message, code: status.code() as i32, message })
}

/// The table of grpc-gateway.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        // 499, as nginx invented it: the client has gone.
        Code::Cancelled => StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let bytes =
        serde_json::to_vec(value).expect("our answers have string keys and no maps that fail");
    of_type(status, AnswerBody::new(Full::new(Bytes::from(bytes))))
}

fn of_type(status: StatusCode, body: AnswerBody) -> Answer {
    let mut answer = http::Response::new(body);
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

#[derive(Serialize)]
struct Version {
    etcdserver: &'static str,
    etcdcluster: &'static str,
}

fn version() -> Answer {
    json(StatusCode::OK, &Version { etcdserver: ETCD_VERSION, etcdcluster: ETCD_VERSION })
}

#[derive(Serialize)]
struct Health {
    health: &'static str,
    reason: String,
}

/// Healthy is who can serve: for a linearizable read, or from what the node itself has.
async fn health(service: &Service, query: Option<&str>) -> Answer {
    let serializable =
        query.is_some_and(|query| query.split('&').any(|q| q == "serializable=true"));
    let consistency = if serializable { Consistency::Eventual } else { Consistency::Linearizable };
    let any_key = Query::key(Bytes::from_static(b"health"));
    let query = Query { projection: Projection::CountOnly, ..any_key };
    let trouble = match service.introspect.status() {
        status if status.leader.is_none() && !serializable => Some("RAFT NO LEADER".to_owned()),
        _ => service.client.read(query, consistency).await.err().map(|error| error.to_string()),
    };
    match trouble {
        None => json(StatusCode::OK, &Health { health: "true", reason: String::new() }),
        Some(reason) => json(StatusCode::SERVICE_UNAVAILABLE, &Health { health: "false", reason }),
    }
}
