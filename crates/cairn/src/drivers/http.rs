//! HTTP of both versions on one connection after the other: gRPC and JSON for etcd's clients, and our
//! own API beside it. Which gateway a request is for, its path and media type say.
//!
//! # Bounds
//!
//! * A head has a size and a time; a connection of HTTP/2 has a number of streams, and windows for what
//!   arrives on them. What leaves is made when there is room for it.
//! * A peer that does not answer to a ping is gone.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use client::{Caller, Client, Guard};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use wire::MAX_KEY_BYTES;

use super::clients::until_true;

/// What a connection of HTTP/2 begins with, as far as it needs to be seen: no method of HTTP/1.1 does.
pub(super) const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n";

/// How long a client may take for a request's head, and how long it may idle between two.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// The largest head of a request; keys stand in it, percent-encoded.
const HEAD_BYTES: u32 = 64 << 10;

/// Requests on one connection of HTTP/2 at once. Some clients open a stream for each watch.
const STREAMS: u32 = 16_384;

/// Streams that were reset before we took them up: who has more of them is up to no good.
const RESET_STREAMS: usize = 256;

/// What may arrive before it is read: on one stream, and on all of a connection.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// The longest frame that is taken.
const FRAME_BYTES: u32 = 64 << 10;

/// What may wait on one stream for the socket.
const SEND_BYTES: usize = 64 << 10;

/// A connection of HTTP/2 that is silent for so long is pinged, …
const PING_AFTER: Duration = Duration::from_secs(30);

/// … and closed if there is no answer for so long.
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// What a message of an etcd client may have beyond a value and a key.
const MESSAGE_SLACK_BYTES: usize = 512 << 10;

/// The versions of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1, and what is older.
    One,
    /// HTTP/2, known beforehand: the only way that gRPC knows without TLS.
    Two,
}

/// Where TLS is spoken: how the addresses of members are told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tls {
    /// On the client port.
    pub(crate) clients: bool,
    /// Among the nodes.
    pub(crate) peers: bool,
}

/// What answers HTTP requests.
pub(crate) struct Web {
    http: gateway_http::Gateway,
    etcd: gateway_etcd::Gateway,
}

type AnswerBody = Either<gateway_etcd::AnswerBody, gateway_http::AnswerBody>;

impl Web {
    /// Gateways to the cluster behind `client`, whose callers `guard` knows, for values of at most `value_limit_bytes`.
    pub(crate) fn new<I>(
        client: &Client,
        guard: &Arc<dyn Guard>,
        introspect: Arc<I>,
        value_limit_bytes: usize,
        tls: Tls,
    ) -> Self
    where
        I: gateway_http::Introspect + gateway_etcd::Introspect,
    {
        let etcd = gateway_etcd::Config {
            request_limit_bytes: value_limit_bytes + MAX_KEY_BYTES + MESSAGE_SLACK_BYTES,
            clients_have_tls: tls.clients,
            peers_have_tls: tls.peers,
            ..gateway_etcd::Config::default()
        };
        let http = gateway_http::Config { value_limit_bytes, ..gateway_http::Config::default() };
        Self {
            etcd: gateway_etcd::Gateway::new(
                client,
                Arc::clone(guard),
                Arc::clone(&introspect) as _,
                etcd,
            ),
            http: gateway_http::Gateway::new(client.clone(), Arc::clone(guard), introspect, http),
        }
    }

    async fn answer(
        &self,
        mut request: Request<Incoming>,
        caller: Option<&Arc<Caller>>,
    ) -> Response<AnswerBody> {
        if let Some(caller) = caller {
            request.extensions_mut().insert(Arc::clone(caller));
        }
        if gateway_etcd::Gateway::handles(&request) {
            self.etcd.handle(request).await.map(Either::Left)
        } else {
            self.http.handle(request).await.map(Either::Right)
        }
    }

    /// Serves one connection until it ends, or the end is near and what is under way is done. Its
    /// requests bear `caller` among their extensions. Fails if what came is not HTTP.
    pub(super) async fn serve<S>(
        self: &Arc<Self>,
        version: Version,
        stream: S,
        caller: Option<Arc<Caller>>,
        ending: watch::Receiver<bool>,
    ) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let result = match version {
            Version::One => self.serve_1(stream, caller, ending).await,
            Version::Two => self.serve_2(stream, caller, ending).await,
        };
        match result {
            Err(error) if error.is_parse() => Err(error.to_string()),
            // It went away, or was too slow.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    async fn serve_1<S>(
        &self,
        stream: S,
        caller: Option<Arc<Caller>>,
        mut ending: watch::Receiver<bool>,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(async |request| {
            Ok::<_, Infallible>(self.answer(request, caller.as_ref()).await)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_BYTES as usize)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => result,
            () = until_true(&mut ending) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }

    async fn serve_2<S>(
        self: &Arc<Self>,
        stream: S,
        caller: Option<Arc<Caller>>,
        mut ending: watch::Receiver<bool>,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let web = Arc::clone(self);
        let service = service_fn(move |request| {
            let (web, caller) = (Arc::clone(&web), caller.clone());
            async move { Ok::<_, Infallible>(web.answer(request, caller.as_ref()).await) }
        });
        let connection = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_PATIENCE)
            .max_concurrent_streams(STREAMS)
            .max_pending_accept_reset_streams(RESET_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES)
            .max_send_buf_size(SEND_BYTES)
            .max_header_list_size(HEAD_BYTES)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            result = connection.as_mut() => result,
            () = until_true(&mut ending) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    }
}
