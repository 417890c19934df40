//! What generated clients of gRPC call: one connection to a client port, over which they speak as a
//! real one does.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::tokio_stream::Stream;

/// No test waits longer for one thing.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a test that talks, until it is over.
pub(crate) fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test)
}

/// What comes soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes soon")
}

/// A connection; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    sender: SendRequest<Body>,
    address: String,
}

impl Channel {
    /// To a port of this machine.
    pub(crate) async fn to(port: u16) -> Self {
        let address = format!("127.0.0.1:{port}");
        let stream = TokioIo::new(TcpStream::connect(&address).await.unwrap());
        let (sender, connection) = handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        Self { sender, address }
    }

    /// Where requests go: HTTP/2 names it in each.
    pub(crate) fn origin(&self) -> Uri {
        format!("http://{}", self.address).parse().unwrap()
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}

/// A request that bears a token.
pub(crate) fn by<T>(token: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("token", token.parse().unwrap());
    request
}

/// The requests of a stream, sent one by one. The stream ends when the sender is dropped.
pub(crate) fn sent_one_by_one<T: Send + 'static>()
-> (mpsc::UnboundedSender<T>, impl Stream<Item = T> + Send + 'static) {
    let (sender, requests) = mpsc::unbounded_channel();
    (sender, Sent(requests))
}

struct Sent<T>(mpsc::UnboundedReceiver<T>);

impl<T> Stream for Sent<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        self.0.poll_recv(context)
    }
}

/// A refusal's code and text.
pub(crate) fn told(status: &Status) -> (tonic::Code, &str) {
    (status.code(), status.message())
}
