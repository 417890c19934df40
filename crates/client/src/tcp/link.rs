//! One live TCP connection: a task that writes, a task that reads, and the requests in between.
//!
//! # Invariants
//!
//! * What may still be written is bounded in number ([`QUEUE`]) and in bytes ([`QUEUE_BYTES`]), what
//!   waits for an answer in number ([`MAX_WAITING`]). Who finds no room is told so; nothing grows.
//! * A request that was handed to the writer ends with an answer or as lost, never as not sent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};
use wire::{
    Denial, Frame, FrameKind, Hello, MAGIC, MAX_FRAME_BYTES, PROTOCOL_VERSION, Reader, Refusal,
    Reply, Request, Welcome, split_frame,
};

use super::address::host_of;
use super::connection::Settings;
use super::login::Login;
use super::stream::{ReadHalf, Stream, WriteHalf};
use crate::{Answer, CallError};

/// Requests that may wait to be written.
const QUEUE: usize = 1024;

/// Bytes that may wait to be written; the longest frame must fit.
const QUEUE_BYTES: usize = MAX_FRAME_BYTES + (1 << 20);

/// Requests that may wait for an answer.
const MAX_WAITING: usize = 16_384;

/// A connection on which nothing at all was heard while a request waited for so long is given up:
/// a machine that vanished does not close its connections.
const SILENCE: Duration = Duration::from_secs(1);

const READ_BYTES: usize = 64 * 1024;

/// What a port that speaks TLS does to those who do not.
const HINT_AT_TLS: &str = "; if that port speaks TLS, write https://";

/// An answer up to this long is copied out of the read buffer: who keeps a small value for long
/// must not keep the whole buffer with it.
const COPY_BYTES: usize = 16 * 1024;

/// One live connection.
#[derive(Debug)]
pub(super) struct Link {
    address: String,
    outgoing: mpsc::Sender<Outgoing>,
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
    /// Held by whoever logs in.
    logins: tokio::sync::Mutex<()>,
    /// How often that was done.
    login_count: AtomicU64,
}

#[derive(Debug)]
struct Outgoing {
    frame: Vec<u8>,
    /// Gives its bytes' room back when it is written.
    _room: OwnedSemaphorePermit,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// How many times something was received.
    heard: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    last_stream: u64,
    answers: BTreeMap<u64, oneshot::Sender<Answer>>,
    /// Why the connection is of no use any more.
    closed: Option<String>,
}

/// A request that waits for its answer; forgotten when dropped.
struct Wait<'a> {
    shared: &'a Shared,
    stream: u64,
    answer: oneshot::Receiver<Answer>,
}

impl Link {
    /// A link over a connection on which the greetings are exchanged; `buffer` is what was read
    /// behind them.
    pub(super) fn new(address: String, stream: Stream, buffer: BytesMut) -> Self {
        let (read, write) = stream.into_split();
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let shared = Arc::new(Shared::default());
        let writer = tokio::spawn(run_writer(write, queue, Arc::clone(&shared)));
        let reader = tokio::spawn(run_reader(read, buffer, Arc::clone(&shared)));
        let tasks = [writer.abort_handle(), reader.abort_handle()];
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        let (logins, login_count) = (tokio::sync::Mutex::default(), AtomicU64::new(0));
        Self { address, outgoing, room, shared, tasks, logins, login_count }
    }

    /// Whether requests can still be sent on it.
    pub(super) fn is_open(&self) -> bool {
        self.shared.waiting().closed.is_none()
    }

    /// How often somebody has proven who he is on it.
    pub(super) fn logins(&self) -> u64 {
        self.login_count.load(Ordering::Acquire)
    }

    /// Proves who uses it, unless that was done more than `count` times already. Where nobody is asked
    /// who he is, that counts as done.
    pub(super) async fn log_in(
        &self,
        login: &Login,
        count: u64,
        timeout: Duration,
        until: Instant,
    ) -> Result<Result<(), Refusal>, CallError> {
        if self.logins() > count {
            return Ok(Ok(()));
        }
        let Ok(_turn) = timeout_at(until, self.logins.lock()).await else {
            return Err(self.not_sent(format!("nobody was logged in within {timeout:?}")));
        };
        if self.logins() > count {
            return Ok(Ok(()));
        }
        let (user, password) = (login.user.clone(), login.password.clone());
        let request = Request::Authenticate { user, password };
        // Whatever came of it, what it was for has not been sent.
        let answer = self.call(&request, timeout, until).await;
        match answer.map_err(|error| self.not_sent(format!("log in: {error}")))? {
            Ok(_) | Err(Refusal::Denied { denial: Denial::NotEnabled }) => {
                self.login_count.fetch_add(1, Ordering::AcqRel);
                Ok(Ok(()))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    /// Sends a request and waits for the answer; `until` is `timeout` from the beginning.
    pub(super) async fn call(
        &self,
        request: &Request,
        timeout: Duration,
        until: Instant,
    ) -> Result<Answer, CallError> {
        let heard = self.shared.heard.load(Ordering::Acquire);
        let Ok(sent) = timeout_at(until, self.send(request)).await else {
            return Err(self.not_sent(format!("its queue had no room for {timeout:?}")));
        };
        let mut wait = match sent? {
            Ok(wait) => wait,
            Err(refusal) => return Ok(Err(refusal)),
        };
        match timeout_at(until, &mut wait.answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(self.lost(self.shared.why_closed())),
            Err(_) => {
                if timeout >= SILENCE && self.shared.heard.load(Ordering::Acquire) == heard {
                    self.shared.close("the node has fallen silent");
                }
                Err(self.lost(format!("no answer within {timeout:?}")))
            }
        }
    }

    /// Queues a request. When this is cancelled, or fails, nothing was queued.
    async fn send(&self, request: &Request) -> Result<Result<Wait<'_>, Refusal>, CallError> {
        let closed = || self.not_sent(self.shared.why_closed());
        let slot = self.outgoing.reserve().await.map_err(|_| closed())?;
        let wait = self.shared.register().map_err(|why| self.not_sent(why))?;
        let frame = Frame::encode(FrameKind::Request, wait.stream, |out| request.encode(out));
        if frame.len() > MAX_FRAME_BYTES {
            return Ok(Err(too_large(frame.len())));
        }
        let bytes = u32::try_from(frame.len()).expect("a frame is at most 64 MiB");
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        slot.send(Outgoing { frame, _room: room.map_err(|_| closed())? });
        Ok(Ok(wait))
    }

    fn not_sent(&self, why: String) -> CallError {
        CallError::NotSent { target: self.address.clone(), why }
    }

    fn lost(&self, why: String) -> CallError {
        CallError::Lost { target: self.address.clone(), why }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Nobody waits for an answer any more. The writer may hang on a machine that vanished.
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can panic half-way through a change.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn register(&self) -> Result<Wait<'_>, String> {
        let mut waiting = self.waiting();
        if let Some(why) = &waiting.closed {
            return Err(why.clone());
        }
        if waiting.answers.len() >= MAX_WAITING {
            return Err(format!("{MAX_WAITING} requests already wait for an answer"));
        }
        waiting.last_stream += 1;
        let stream = waiting.last_stream;
        let (sender, answer) = oneshot::channel();
        waiting.answers.insert(stream, sender);
        Ok(Wait { shared: self, stream, answer })
    }

    /// An answer to a request that nobody waits for any more is dropped.
    fn deliver(&self, stream: u64, answer: Answer) {
        let sender = self.waiting().answers.remove(&stream);
        if let Some(sender) = sender {
            let _ = sender.send(answer);
        }
    }

    /// Of no use any more: whoever waits is told so. The first reason is kept.
    fn close(&self, why: &str) {
        let mut waiting = self.waiting();
        waiting.closed.get_or_insert_with(|| why.to_owned());
        waiting.answers.clear();
    }

    fn why_closed(&self) -> String {
        self.waiting().closed.clone().unwrap_or_else(|| "the connection was closed".into())
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.shared.waiting().answers.remove(&self.stream);
    }
}

/// Connects and says hello. What was read behind the welcome comes back too.
pub(super) async fn greet(settings: &Settings) -> Result<(Stream, BytesMut, Welcome), CallError> {
    let Settings { address, cluster, node, to, connector, .. } = settings;
    let not_sent = |why: String| CallError::NotSent { target: address.clone(), why };
    let fatal = |why: String| CallError::Fatal { target: address.clone(), why };
    let broken = |e: std::io::Error| match connector.as_ref().and_then(|c| c.explain(&e)) {
        Some(why) => fatal(why),
        None => not_sent(format!("connect: {e}")),
    };
    let stream = TcpStream::connect(address).await.map_err(broken)?;
    stream.set_nodelay(true).map_err(broken)?;
    let mut stream = match connector {
        None => Stream::Plain(stream),
        Some(connector) => {
            let secured = connector.secure(stream, host_of(address)).await;
            Stream::Secure(secured.map_err(broken)?)
        }
    };
    let hello = Hello {
        version: PROTOCOL_VERSION,
        purpose: wire::Purpose::Client,
        cluster: cluster.clone(),
        node: *node,
        to: *to,
        consensus: String::new(),
        address: String::new(),
        journal: 0,
    };
    let mut greeting = MAGIC.to_vec();
    greeting.extend(Frame::encode(FrameKind::Hello, 0, |out| hello.encode(out)));
    // Whoever turned us away may have hung up already, and its reason waits to be read.
    if let Err(error) = write_all(&mut stream, &greeting).await
        && connector.is_none()
    {
        return Err(broken(error));
    }
    let mut buffer = BytesMut::with_capacity(READ_BYTES);
    let frame = loop {
        if buffer.starts_with(b"HTTP/") {
            return Err(fatal("an HTTP server that is no Cairn node listens there".into()));
        }
        match split_frame(&mut buffer) {
            Ok(Some(frame)) => break frame,
            Ok(None) => {}
            Err(e) => return Err(fatal(format!("what listens there is no Cairn node: {e}"))),
        }
        if stream.read_buf(&mut buffer).await.map_err(broken)? == 0 {
            let hint = if connector.is_none() { HINT_AT_TLS } else { "" };
            return Err(not_sent(format!("it closed the connection without a greeting{hint}")));
        }
    };
    if frame.kind != FrameKind::Welcome {
        return Err(fatal(format!("it greets with a frame of kind {:?}", frame.kind)));
    }
    match Welcome::decode_answer(&mut Reader::new(frame.body)) {
        Ok(Ok(welcome)) => Ok((stream, buffer, welcome)),
        Ok(Err(refusal)) => Err(fatal(refusal.to_string())),
        Err(e) => Err(fatal(format!("its greeting can't be read: {e}"))),
    }
}

async fn write_all(stream: &mut Stream, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn run_writer(write: WriteHalf, mut queue: mpsc::Receiver<Outgoing>, shared: Arc<Shared>) {
    // What has queued meanwhile goes out in few system calls; nothing waits to be joined by more.
    let mut write = BufWriter::with_capacity(READ_BYTES, write);
    let mut result = Ok(());
    while let Some(outgoing) = queue.recv().await {
        result = write.write_all(&outgoing.frame).await;
        if result.is_ok() && queue.is_empty() {
            result = write.flush().await;
        }
        if result.is_err() {
            break;
        }
    }
    match result {
        Ok(()) => shared.close("the connection was closed"),
        Err(e) => shared.close(&format!("write: {e}")),
    }
}

async fn run_reader(mut read: ReadHalf, mut buffer: BytesMut, shared: Arc<Shared>) {
    let why = loop {
        match take_answers(&mut buffer, &shared) {
            Ok(()) => {}
            Err(why) => break why,
        }
        buffer.reserve(READ_BYTES);
        match read.read_buf(&mut buffer).await {
            Ok(0) => break "the node closed the connection".into(),
            Ok(_) => shared.heard.fetch_add(1, Ordering::AcqRel),
            Err(e) => break format!("read: {e}"),
        };
    };
    shared.close(&why);
}

/// Delivers every whole answer in the buffer.
fn take_answers(buffer: &mut BytesMut, shared: &Shared) -> Result<(), String> {
    loop {
        let frame = match split_frame(buffer) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(()),
            Err(e) => return Err(format!("the node sent something that is no frame: {e}")),
        };
        if frame.kind != FrameKind::Answer {
            return Err(format!("the node sent a frame of kind {:?}", frame.kind));
        }
        let short = frame.body.len() <= COPY_BYTES;
        let body = if short { Bytes::copy_from_slice(&frame.body) } else { frame.body };
        let answer = Reply::decode_answer(&mut Reader::new(body))
            .map_err(|e| format!("the node sent an answer that can't be read: {e}"))?;
        shared.deliver(frame.stream, answer);
    }
}

fn too_large(size: usize) -> Refusal {
    Refusal::TooLarge {
        what: "request".into(),
        size: size as u64,
        limit: MAX_FRAME_BYTES as u64,
        flag: None,
    }
}
