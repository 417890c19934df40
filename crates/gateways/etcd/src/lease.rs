//! Leases: their time lives in the nodes; here seconds become milliseconds, and back.

use std::collections::VecDeque;
use std::hash::Hasher as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Consistent, Error, WriteOptions};
use siphasher::sip::SipHasher13;
use tokio::task::JoinHandle;
use tonic::codegen::tokio_stream::Stream;
use tonic::{Request, Response, Status, Streaming};
use wire::{
    Body, Consistency, KeyRange, LeaseStatus, Projection, Query, Refusal, Revision, TxnResult,
};

use crate::errors;
use crate::gateway::Service;
use crate::header::{HeaderOf, signed};
use crate::pb::etcdserverpb::lease_server::Lease;
use crate::pb::etcdserverpb::{
    self as pb, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseLeasesRequest, LeaseLeasesResponse, LeaseRevokeRequest,
    LeaseRevokeResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse,
};
use crate::stream::Answers;

/// The shortest lease, in seconds; a shorter one is given as much.
const SHORTEST_TTL: u64 = 1;

/// The longest lease, in seconds.
const LONGEST_TTL: u64 = 9_000_000_000;

/// Keep-alives of one stream under way at once; the client's next ones wait.
const KEEP_ALIVES: usize = 256;

/// How often a name is drawn anew because there is a lease of that name already.
const DRAWS: u32 = 4;

/// Where no key is: asked for when only the answer's revision matters, since everybody may.
const NO_KEYS: Bytes = Bytes::from_static(b"\0");

/// Draws the names of leases that their clients do not name: no two alike, and none to be guessed from
/// another, since whoever knows a lease's name can end it.
#[derive(Debug, Default)]
pub(crate) struct Names(AtomicU64);

impl Names {
    /// `secret` is drawn at random for each process.
    fn draw(&self, secret: u128) -> u64 {
        let count = self.0.fetch_add(1, Ordering::Relaxed);
        let mut hasher = SipHasher13::new_with_key(&secret.to_le_bytes());
        hasher.write_u64(count.to_le());
        // Clients have it as a signed number, and print it best if it is positive.
        (hasher.finish() >> 1).max(1)
    }
}

#[tonic::async_trait]
impl Lease for Service {
    type LeaseKeepAliveStream = Answers<LeaseKeepAliveResponse>;

    async fn lease_grant(
        &self,
        request: Request<LeaseGrantRequest>,
    ) -> Result<Response<LeaseGrantResponse>, Status> {
        let LeaseGrantRequest { ttl, id } = request.into_inner();
        let seconds = u64::try_from(ttl).unwrap_or(0).max(SHORTEST_TTL);
        if seconds > LONGEST_TTL {
            return Err(ttl_too_large());
        }
        let (lease, done) = self.grant(id.cast_unsigned(), Duration::from_secs(seconds)).await?;
        Ok(Response::new(LeaseGrantResponse {
            header: Some(self.header(done.header.revision)),
            id: lease.cast_signed(),
            ttl: signed(seconds),
            error: String::new(),
        }))
    }

    async fn lease_revoke(
        &self,
        request: Request<LeaseRevokeRequest>,
    ) -> Result<Response<LeaseRevokeResponse>, Status> {
        let lease = request.into_inner().id.cast_unsigned();
        let done = self.client.execute(Body::Revoke { lease }, WriteOptions::default()).await;
        let done = done.map_err(|error| errors::of_client(&error))?;
        let header = Some(self.header(done.header.revision));
        Ok(Response::new(LeaseRevokeResponse { header }))
    }

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        let (client, header) = (self.client.clone(), self.header_of.clone());
        let answers = KeepAlives::new(client, header, request.into_inner());
        Ok(Response::new(Box::pin(answers)))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<LeaseTimeToLiveRequest>,
    ) -> Result<Response<LeaseTimeToLiveResponse>, Status> {
        let LeaseTimeToLiveRequest { id, keys } = request.into_inner();
        let known = found(&self.client, self.client.lease(id.cast_unsigned(), keys).await).await;
        let (status, revision) = known.map_err(|error| errors::of_client(&error))?;
        let header = Some(self.header(revision));
        Ok(Response::new(match status {
            Some(status) => LeaseTimeToLiveResponse {
                header,
                id,
                ttl: seconds(status.remaining_ms),
                granted_ttl: seconds(status.ttl_ms),
                keys: status.keys,
            },
            None => LeaseTimeToLiveResponse { header, id, ttl: -1, ..Default::default() },
        }))
    }

    async fn lease_leases(
        &self,
        _: Request<LeaseLeasesRequest>,
    ) -> Result<Response<LeaseLeasesResponse>, Status> {
        let known = self.client.leases().await.map_err(|error| errors::of_client(&error))?;
        let status = |lease: u64| pb::LeaseStatus { id: lease.cast_signed() };
        Ok(Response::new(LeaseLeasesResponse {
            header: Some(self.header(known.header.revision)),
            leases: known.value.into_iter().map(status).collect(),
        }))
    }
}

impl Service {
    /// A new lease, named by the client or, if that is 0, by us.
    pub(crate) async fn grant(
        &self,
        wish: u64,
        ttl: Duration,
    ) -> Result<(u64, Consistent<TxnResult>), Status> {
        for _ in 0..DRAWS {
            let drawn = || self.lease_names.draw(self.client.id());
            let lease = if wish == 0 { drawn() } else { wish };
            match self.client.grant_as(lease, ttl).await {
                Err(Error::Refused(Refusal::LeaseExists { .. })) if wish == 0 => {}
                Err(error) => return Err(errors::of_client(&error)),
                Ok(done) => return Ok((lease, done)),
            }
        }
        Err(errors::lease_exists())
    }
}

fn ttl_too_large() -> Status {
    Status::out_of_range("etcdserver: too large lease TTL")
}

/// Whole seconds: what is left is never told as more than it is.
fn seconds(ms: u64) -> i64 {
    signed(ms / 1000)
}

/// What is known of a lease, and the revision at which it is known; `None` if there is no such lease.
async fn found(
    client: &Client,
    answer: Result<Consistent<LeaseStatus>, Error>,
) -> Result<(Option<LeaseStatus>, Revision), Error> {
    match answer {
        Ok(known) => Ok((Some(known.value), known.header.revision)),
        Err(Error::Refused(Refusal::LeaseNotFound { .. })) => {
            let range = KeyRange { start: NO_KEYS, end: Some(NO_KEYS) };
            let query = Query { projection: Projection::CountOnly, ..Query::range(range) };
            let page = client.read(query, Consistency::Eventual).await?;
            Ok((None, page.header.revision))
        }
        Err(error) => Err(error),
    }
}

/// The answers to a stream of keep-alives, in the order of the requests, many of which are under way at
/// once: a client with a thousand leases on one stream does not wait a thousand times.
struct KeepAlives<S> {
    client: Client,
    header: HeaderOf,
    /// `None` when nothing more is asked.
    requests: Option<S>,
    under_way: VecDeque<JoinHandle<Result<LeaseKeepAliveResponse, Status>>>,
    /// How the requests ended, if not well.
    end: Option<Status>,
}

impl<S> KeepAlives<S> {
    fn new(client: Client, header: HeaderOf, requests: S) -> Self {
        Self { client, header, requests: Some(requests), under_way: VecDeque::new(), end: None }
    }

    fn begin(&mut self, id: i64) {
        let (client, header) = (self.client.clone(), self.header.clone());
        self.under_way.push_back(tokio::spawn(async move {
            let answer = client.keep_alive(id.cast_unsigned()).await;
            let known = found(&client, answer).await.map_err(|error| errors::of_client(&error))?;
            let (status, revision) = known;
            // Of a lease that has ended there is nothing left, which is not an error.
            let ttl = status.map_or(0, |status| seconds(status.ttl_ms));
            Ok(LeaseKeepAliveResponse { header: Some(header(revision)), id, ttl })
        }));
    }
}

impl<S> Stream for KeepAlives<S>
where
    S: Stream<Item = Result<LeaseKeepAliveRequest, Status>> + Unpin,
{
    type Item = Result<LeaseKeepAliveResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while this.under_way.len() < KEEP_ALIVES
            && let Some(requests) = &mut this.requests
            && let Poll::Ready(request) = Pin::new(requests).poll_next(context)
        {
            match request {
                Some(Ok(request)) => this.begin(request.id),
                Some(Err(status)) => (this.requests, this.end) = (None, Some(status)),
                None => this.requests = None,
            }
        }
        let Some(first) = this.under_way.front_mut() else {
            return match (&this.requests, this.end.take()) {
                (Some(_), _) => Poll::Pending,
                (None, end) => Poll::Ready(end.map(Err)),
            };
        };
        let answer = ready!(Pin::new(first).poll(context));
        this.under_way.pop_front();
        let answer = answer.unwrap_or_else(|error| Err(Status::internal(error.to_string())));
        if answer.is_err() {
            // The stream ends with it; the client asks anew on another one.
            (this.requests, this.end) = (None, None);
            this.abort();
        }
        Poll::Ready(Some(answer))
    }
}

impl<S> KeepAlives<S> {
    fn abort(&mut self) {
        for task in self.under_way.drain(..) {
            task.abort();
        }
    }
}

impl<S> Drop for KeepAlives<S> {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests;
