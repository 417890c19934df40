//! A connection to one node, made anew at the next one when it is lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use client::tcp::{Connector, Scheme, Stream, host_of, parse};
use http::{HeaderMap, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use prost::Message;
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::frames::{Sent, frame, take};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How much may be under way to us, for each stream and for all.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const WINDOW_BYTES: u32 = 16 << 20;

/// Messages that wait to be sent on one stream.
const WAITING: usize = 16;

/// An operation got no answer, or not the one it wants.
#[derive(Debug, thiserror::Error)]
pub(in super::super) enum Fault {
    /// The server's own refusal.
    #[error("{message} (code {code})")]
    Status {
        /// gRPC's number for its kind.
        code: u32,
        /// What it said.
        message: String,
    },
    /// The connection is gone, or could not be made.
    #[error("{0}")]
    Lost(String),
    /// There was no answer in time.
    #[error("there was no answer in {0:?}")]
    Late(Duration),
    /// What came is not what was agreed upon.
    #[error("what came is no answer: {0}")]
    Garbage(String),
}

impl Fault {
    /// A short stable word.
    pub(in super::super) fn code(&self) -> &'static str {
        match self {
            Self::Status { code: 3, .. } => "invalid_argument",
            Self::Status { code: 4, .. } => "deadline_exceeded",
            Self::Status { code: 8, .. } => "resource_exhausted",
            Self::Status { code: 14, .. } => "unavailable",
            Self::Status { .. } => "refused",
            Self::Lost(_) => "lost",
            Self::Late(_) => "late",
            Self::Garbage(_) => "garbage",
        }
    }

    pub(super) fn garbage(what: &str) -> Self {
        Self::Garbage(what.to_owned())
    }
}

/// A connection. Clones are the same one.
#[derive(Clone)]
pub(in super::super) struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    /// The first one is where it begins.
    endpoints: Vec<String>,
    connector: Option<Arc<dyn Connector>>,
    timeout: Duration,
    made: Mutex<Made>,
}

/// The connection, while there is one.
#[derive(Default)]
struct Made {
    sender: Option<SendRequest<Sent>>,
    /// The next endpoint to try.
    next: usize,
    /// The address of whom it leads to.
    authority: String,
}

impl Channel {
    /// One that begins at the first of these endpoints.
    pub(super) fn new(
        endpoints: Vec<String>,
        connector: Option<Arc<dyn Connector>>,
        timeout: Duration,
    ) -> Self {
        let made = Mutex::default();
        Self { shared: Arc::new(Shared { endpoints, connector, timeout, made }) }
    }

    /// One request, one answer.
    pub(in super::super) async fn call<A: Message + Default>(
        &self,
        path: &'static str,
        message: &impl Message,
    ) -> Result<A, Fault> {
        let limit = self.shared.timeout;
        let call = async {
            let sent = Sent::One(Some(frame(message)));
            let answer = self.send(path, sent).await?;
            refused(answer.headers())?;
            let whole = answer.into_body().collect().await;
            let whole = whole.map_err(|error| Fault::Lost(error.to_string()))?;
            if let Some(trailers) = whole.trailers() {
                refused(trailers)?;
            }
            let mut buffer = BytesMut::from(whole.to_bytes());
            take(&mut buffer)?.ok_or_else(|| Fault::garbage("it is empty"))
        };
        timeout(limit, call).await.unwrap_or(Err(Fault::Late(limit)))
    }

    /// A stream in both directions, begun with this message: a server may answer with nothing before
    /// the first one.
    pub(super) async fn open<Q: Message, A: Message + Default>(
        &self,
        path: &'static str,
        first: &Q,
    ) -> Result<Conversation<Q, A>, Fault> {
        let limit = self.shared.timeout;
        let (sender, frames) = mpsc::channel(WAITING);
        sender.try_send(frame(first)).expect("nothing else waits yet");
        let answer = timeout(limit, self.send(path, Sent::Many(frames))).await;
        let answer = answer.unwrap_or(Err(Fault::Late(limit)))?;
        refused(answer.headers())?;
        Ok(Conversation {
            sender,
            body: answer.into_body(),
            buffer: BytesMut::new(),
            limit,
            kinds: std::marker::PhantomData,
        })
    }

    async fn send(&self, path: &'static str, sent: Sent) -> Result<Response<Incoming>, Fault> {
        let (mut sender, authority) = self.sender().await?;
        let request = Request::post(format!("http://{authority}{path}"))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(sent)
            .map_err(|error| Fault::Lost(error.to_string()))?;
        sender.send_request(request).await.map_err(|error| Fault::Lost(error.to_string()))
    }

    /// The connection; a new one if there is none or it is lost. All who need it wait for one attempt.
    async fn sender(&self) -> Result<(SendRequest<Sent>, String), Fault> {
        let mut made = self.shared.made.lock().await;
        if let Some(sender) = made.sender.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok((sender.clone(), made.authority.clone()));
        }
        made.sender = None;
        let mut last = Fault::Lost("there is no endpoint".into());
        for _ in 0..self.shared.endpoints.len() {
            let endpoint = &self.shared.endpoints[made.next % self.shared.endpoints.len()];
            made.next += 1;
            match timeout(CONNECT_TIMEOUT, self.connect(endpoint)).await {
                Ok(Ok((sender, authority))) => {
                    made.sender = Some(sender.clone());
                    made.authority.clone_from(&authority);
                    return Ok((sender, authority));
                }
                Ok(Err(fault)) => last = fault,
                Err(_) => last = Fault::Late(CONNECT_TIMEOUT),
            }
        }
        Err(last)
    }

    async fn connect(&self, endpoint: &str) -> Result<(SendRequest<Sent>, String), Fault> {
        let lost = |error: String| Fault::Lost(format!("{endpoint}: {error}"));
        let parsed = parse(endpoint).map_err(|error| lost(error.to_string()))?;
        let stream = TcpStream::connect(&parsed.address).await;
        let stream = stream.map_err(|error| lost(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| lost(error.to_string()))?;
        let stream = match &self.shared.connector {
            Some(connector) if parsed.scheme != Scheme::Plain => {
                let secured = connector.secure(stream, host_of(&parsed.address)).await;
                Stream::Secure(secured.map_err(|error| lost(error.to_string()))?)
            }
            Some(_) | None => Stream::Plain(stream),
        };
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| lost(error.to_string()))?;
        // What is under way when it ends learns so from its own stream.
        tokio::spawn(async move { drop(connection.await) });
        Ok((sender, parsed.address))
    }
}

/// The refusal that headers or trailers tell of.
fn refused(headers: &HeaderMap) -> Result<(), Fault> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status").map(str::parse) {
        None | Some(Ok(0)) => Ok(()),
        Some(Ok(code)) => {
            let message = text("grpc-message").unwrap_or_default().replace("%20", " ");
            Err(Fault::Status { code, message })
        }
        Some(Err(_)) => Err(Fault::garbage("its status is no number")),
    }
}

/// A stream in both directions.
pub(super) struct Conversation<Q, A> {
    sender: mpsc::Sender<Bytes>,
    body: Incoming,
    buffer: BytesMut,
    limit: Duration,
    kinds: std::marker::PhantomData<fn(Q) -> A>,
}

impl<Q: Message, A: Message + Default> Conversation<Q, A> {
    /// Says something.
    pub(super) async fn say(&mut self, message: &Q) -> Result<(), Fault> {
        let sent = self.sender.send(frame(message)).await;
        sent.map_err(|_| Fault::Lost("the stream has ended".into()))
    }

    /// Waits for the next answer, for as long as it takes.
    pub(super) async fn hear(&mut self) -> Result<A, Fault> {
        loop {
            if let Some(message) = take(&mut self.buffer)? {
                return Ok(message);
            }
            let next = self.body.frame().await;
            let next = next.ok_or_else(|| Fault::Lost("the stream has ended".into()))?;
            match next.map_err(|error| Fault::Lost(error.to_string()))?.into_data() {
                Ok(bytes) => self.buffer.extend_from_slice(&bytes),
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        refused(&trailers)?;
                    }
                }
            }
        }
    }

    /// The same, but not for longer than an operation may take.
    pub(super) async fn hear_soon(&mut self) -> Result<A, Fault> {
        let limit = self.limit;
        timeout(limit, self.hear()).await.unwrap_or(Err(Fault::Late(limit)))
    }
}
