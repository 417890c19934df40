//! Watches: many on one stream, each from a revision on.
//!
//! The stream's bytes are our own: what a thousand watchers get alike is made once ([`encode`]). How the
//! watchers are fed stands in [`hub`]; what moves it in [`session`].

mod catchup;
mod encode;
mod fanout;
mod feed;
mod hub;
mod index;
mod judge;
mod outlet;
mod progress;
mod requests;
mod rights;
mod session;
mod standing;
#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use client::{Client, Guard};
use http::{Request, Response};
use hyper::body::Body;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::Stream;
use tonic::codegen::{BoxFuture, Service as Tower, StdError};
use tonic::server::Grpc;
use tonic::{Status, Streaming};

use self::encode::Sizes;
use self::hub::Limits;
use self::outlet::Message;
pub(crate) use self::session::{Answers, Watching};
use crate::codec::Reading;
use crate::gateway::{AnswerBody, Service};
use crate::header::HeaderOf;
use crate::pb::etcdserverpb::watch_server::Watch;
use crate::pb::etcdserverpb::{WatchRequest, WatchResponse};

/// The longest request of a client: a key and the end of a range.
const REQUEST_LIMIT_BYTES: usize = 64 << 10;

/// The limits of watches.
#[derive(Clone, Debug)]
pub struct WatchConfig {
    /// Streams open at once; more are refused. Each may have many watches.
    pub streams: usize,
    /// Watches on one stream; more are refused. Each costs a few hundred bytes.
    pub watches_per_stream: usize,
    /// What may be queued for one stream, in bytes. A client that reads more slowly than changes happen
    /// is served from the history of versions instead, and gets everything all the same.
    pub stream_buffer_bytes: usize,
    /// What may be queued for all streams together, in bytes.
    pub buffer_bytes: usize,
    /// Reads of the history under way at once, for those who began in the past or read slowly.
    pub reads: usize,
    /// How often a watch with `progress_notify` hears how far it is when nothing happens.
    pub progress_interval: Duration,
    /// Changes of several revisions share a response up to this size, in bytes.
    pub response_bytes: usize,
    /// A larger response goes in fragments of at most this, in bytes, to those who want that.
    pub fragment_bytes: usize,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            streams: 16 << 10,
            watches_per_stream: 128 << 10,
            stream_buffer_bytes: 1 << 20,
            buffer_bytes: 128 << 20,
            reads: 16,
            progress_interval: Duration::from_mins(10),
            response_bytes: 256 << 10,
            fragment_bytes: 2 << 20,
        }
    }
}

impl WatchConfig {
    /// Watches under these limits.
    pub(crate) fn start(
        &self,
        client: &Client,
        guard: &Arc<dyn Guard>,
        header: HeaderOf,
    ) -> Arc<Watching> {
        let sizes = Sizes {
            response_bytes: self.response_bytes,
            fragment_bytes: self.fragment_bytes.max(1),
        };
        let limits = Limits {
            streams: self.streams,
            watchers_per_stream: self.watches_per_stream,
            reads: self.reads.max(1),
            stream_bytes: self.stream_buffer_bytes,
            total_bytes: self.buffer_bytes,
            sizes,
        };
        // An interval of nothing would never end.
        let progress = self.progress_interval.max(Duration::from_millis(100));
        Watching::new(client, Arc::clone(guard), limits, progress, header)
    }
}

/// Serves one stream.
pub(crate) async fn serve<B>(service: Arc<Service>, request: Request<B>) -> Response<AnswerBody>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<StdError> + Send,
{
    let mut grpc = Grpc::new(Bytewise).max_decoding_message_size(REQUEST_LIMIT_BYTES);
    grpc.streaming(Open(service), request).await
}

/// The same in the form of messages, for whoever does not send bytes of gRPC.
#[tonic::async_trait]
impl Watch for Service {
    type WatchStream = Responses;

    async fn watch(
        &self,
        request: tonic::Request<Streaming<WatchRequest>>,
    ) -> Result<tonic::Response<Responses>, Status> {
        let answers = self.watching.open(request.into_inner(), self.asker())?;
        Ok(tonic::Response::new(Responses(answers)))
    }
}

/// Answers, as messages.
pub(crate) struct Responses(Answers);

impl Stream for Responses {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.0).poll_next(context);
        next.map(|message| message.map(|message| message.map(|message| message.decode())))
    }
}

/// Opens a stream: the shape in which tonic wants it.
struct Open(Arc<Service>);

impl Tower<tonic::Request<Streaming<WatchRequest>>> for Open {
    type Response = tonic::Response<Answers>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: tonic::Request<Streaming<WatchRequest>>) -> Self::Future {
        let opened = self.0.watching.open(request.into_inner(), self.0.asker());
        Box::pin(async move { opened.map(tonic::Response::new) })
    }
}

/// Responses that are bytes already.
struct Bytewise;

impl Codec for Bytewise {
    type Encode = Message;
    type Decode = WatchRequest;
    type Encoder = Self;
    type Decoder = Reading<WatchRequest>;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        Reading::new()
    }
}

impl Encoder for Bytewise {
    type Item = Message;
    type Error = Status;

    fn encode(&mut self, message: Message, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        message.encode(out);
        Ok(())
    }
}
