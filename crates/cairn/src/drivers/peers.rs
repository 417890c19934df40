//! Messages between nodes: each node dials every other one and speaks; what it hears comes on the
//! connections that the others opened.
//!
//! Frames go one way, many in one write. A connection that breaks, in either direction, is reported
//! to the node as a hint. Nothing here is waited for, and nothing is sent twice: consensus does that.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use client::tcp::{Connector, ReadHalf, Stream, WriteHalf, host_of};
use consensus::Protocol;
use node::Event;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use wire::{
    Frame, FrameKind, Hello, HelloError, MAGIC, NodeId, PROTOCOL_VERSION, Purpose, Reader, Welcome,
    split_frame,
};

use super::mailbox::Mailbox;
use super::metrics::Metrics;
use super::outbox::Outbox;
use super::random::{Backoff, draw_u64};
use super::refusals::{Refusals, code_of};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A peer that takes nothing for so long is given up: it is stopped, or its machine is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// The kernel gives a connection up when what it sent is not acknowledged for so long. Otherwise a
/// partition that has healed would stay cut for minutes, until the kernel's own pauses end.
const UNACKNOWLEDGED_MS: u32 = 5000;

const FIRST_PAUSE_MS: u64 = 50;
const LONGEST_PAUSE_MS: u64 = 1000;

/// Written at once, unless a single message is longer.
const WRITE_BYTES: usize = 256 << 10;

/// Who has left is still spoken to, and heard, for so long: what is on its way may tell it so.
pub(crate) const FAREWELL: Duration = Duration::from_secs(1);

/// How nodes are called: what is the same for all of them.
#[derive(Debug)]
pub(crate) struct Dialing {
    /// This node.
    pub(crate) own: NodeId,
    /// The cluster.
    pub(crate) cluster: String,
    /// By which protocol its nodes keep their logs.
    pub(crate) protocol: Protocol,
    /// Where this node is found by the others.
    pub(crate) address: String,
    /// Its journal's name.
    pub(crate) journal: u64,
    /// Whom to tell that a connection broke.
    pub(crate) mailbox: Arc<Mailbox>,
    /// Whom to tell that a node does not take us.
    pub(crate) refusals: Refusals,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// What encrypts the connections, if the nodes speak TLS among themselves.
    pub(crate) connector: Option<Arc<dyn Connector>>,
}

/// Where a node may be found, the likeliest first; `None` once it has left.
pub(crate) type Places = Option<Vec<String>>;

/// One other node, to be spoken to.
#[derive(Debug)]
pub(crate) struct Dialer {
    dialing: Arc<Dialing>,
    peer: NodeId,
    places: watch::Receiver<Places>,
    outbox: Arc<Outbox>,
    /// Where it was found last.
    found: Arc<Mutex<Option<String>>>,
    /// It is to be looked for where it is found now.
    moved: Notify,
}

#[derive(Debug, thiserror::Error)]
enum DialFault {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer")]
    Late,
    #[error("{0}")]
    Tls(String),
    #[error("what listens there is no Cairn node: {0}")]
    Garbage(String),
    #[error("{0}")]
    Refused(HelloError),
}

impl Dialer {
    /// Will speak to `peer` where `places` says, of what is in `outbox`, and tell where it was `found`.
    pub(crate) fn new(
        dialing: Arc<Dialing>,
        peer: NodeId,
        places: watch::Receiver<Places>,
        outbox: Arc<Outbox>,
        found: Arc<Mutex<Option<String>>>,
    ) -> Self {
        Self { dialing, peer, places, outbox, found, moved: Notify::new() }
    }

    /// Keeps a connection until the node has left.
    pub(crate) async fn run(self) {
        let mut seen = self.places.clone();
        let mut speaking = std::pin::pin!(self.keep());
        loop {
            let gone = tokio::select! {
                () = &mut speaking => unreachable!("it is tried again for ever"),
                // Without a sender nobody has anything to say.
                changed = seen.changed() => changed.is_err() || seen.borrow().is_none(),
            };
            if gone {
                let _ = timeout(FAREWELL, &mut speaking).await;
                return;
            }
            if !self.is_where_it_was() {
                self.moved.notify_one();
            }
        }
    }

    fn places(&self) -> Vec<String> {
        self.places.borrow().clone().unwrap_or_default()
    }

    fn found(&self) -> MutexGuard<'_, Option<String>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it may be still where it was found last.
    fn is_where_it_was(&self) -> bool {
        let places = self.places();
        self.found().as_ref().is_some_and(|found| places.contains(found))
    }

    /// Keeps a connection, for ever. Where the list says that the node is, it may not be any more: one
    /// that has moved says so when it calls, but may need to be answered before the list can be corrected.
    async fn keep(&self) {
        let mut backoff = Backoff::new(draw_u64(), FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
        let mut complaints = BTreeMap::new();
        loop {
            for address in self.places() {
                let call = Call { dialer: self, address };
                if call.once(&mut complaints).await {
                    backoff.reset();
                    break;
                }
            }
            tokio::select! {
                () = sleep(backoff.pause()) => {}
                () = self.moved.notified() => {}
            }
        }
    }
}

/// A node at one address.
struct Call<'a> {
    dialer: &'a Dialer,
    address: String,
}

/// A connection that stands. However it ends, what waits for it is dropped, and the node is told.
struct Open<'a>(&'a Dialer);

impl<'a> Open<'a> {
    fn new(dialer: &'a Dialer) -> Self {
        dialer.outbox.open();
        dialer.dialing.metrics.peers_connected.inc();
        Self(dialer)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        let Dialer { dialing, peer, outbox, .. } = self.0;
        dialing.metrics.peers_connected.dec();
        dialing.metrics.peer_dropped.inc_by(outbox.close() as u64);
        dialing.mailbox.event(Event::PeerLost(*peer));
    }
}

impl Call<'_> {
    /// Speaks to it, if it is there.
    async fn once(&self, complaints: &mut BTreeMap<String, String>) -> bool {
        let Dialer { dialing, peer, .. } = self.dialer;
        match self.connect().await {
            Ok(stream) => {
                complaints.clear();
                dialing.refusals.welcomed(*peer);
                *self.dialer.found() = Some(self.address.clone());
                self.speak(stream).await;
                true
            }
            Err(fault) => {
                self.complain(&fault, complaints);
                if let DialFault::Refused(refusal) = &fault {
                    dialing.refusals.refused(*peer, refusal);
                }
                false
            }
        }
    }

    async fn speak(&self, stream: Stream) {
        let (node, peer) = (self.dialer.dialing.own.0, self.dialer.peer.0);
        info!(node, peer, "connected");
        let open = Open::new(self.dialer);
        let error = self.pump(stream).await;
        drop(open);
        info!(node, peer, why = %error, "connection lost");
    }

    /// Once for each change: an absent node is tried again every second.
    fn complain(&self, fault: &DialFault, before: &mut BTreeMap<String, String>) {
        let now = fault.to_string();
        if before.get(&self.address) == Some(&now) {
            return;
        }
        let (node, peer) = (self.dialer.dialing.own.0, self.dialer.peer.0);
        let address = &self.address;
        match fault {
            DialFault::Io(_) | DialFault::Late => {
                info!(node, peer, address, why = now, "can't be reached; trying on");
            }
            DialFault::Refused(refusal) => {
                warn!(node, peer, address, code = code_of(refusal), "refused: {now}");
            }
            DialFault::Garbage(_) | DialFault::Tls(_) => {
                warn!(node, peer, address, "refused: {now}");
            }
        }
        before.insert(self.address.clone(), now);
    }

    async fn connect(&self) -> Result<Stream, DialFault> {
        let greeted = timeout(CONNECT_TIMEOUT, self.greet()).await;
        let fault = match greeted.map_err(|_| DialFault::Late)? {
            Err(DialFault::Io(error)) => error,
            result => return result,
        };
        let connector = self.dialer.dialing.connector.as_ref();
        let words = connector.and_then(|connector| connector.explain(&fault));
        Err(words.map_or(DialFault::Io(fault), DialFault::Tls))
    }

    async fn greet(&self) -> Result<Stream, DialFault> {
        let Dialer { dialing, peer, .. } = self.dialer;
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS)
            .map_err(io::Error::from)?;
        let mut stream = match &dialing.connector {
            None => Stream::Plain(stream),
            Some(connector) => {
                Stream::Secure(connector.secure(stream, host_of(&self.address)).await?)
            }
        };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            purpose: Purpose::Peer,
            cluster: dialing.cluster.clone(),
            node: Some(dialing.own),
            to: Some(*peer),
            consensus: dialing.protocol.to_string(),
            address: dialing.address.clone(),
            journal: dialing.journal,
        };
        let mut greeting = MAGIC.to_vec();
        greeting.extend(Frame::encode(FrameKind::Hello, 0, |out| hello.encode(out)));
        let written = async {
            stream.write_all(&greeting).await?;
            stream.flush().await
        };
        // Whoever turned us away may have hung up already, and its reason waits to be read.
        if let Err(error) = written.await
            && dialing.connector.is_none()
        {
            return Err(error.into());
        }
        let mut buffer = BytesMut::with_capacity(1024);
        let garbage = |what: String| DialFault::Garbage(what);
        let frame = loop {
            if let Some(frame) = split_frame(&mut buffer).map_err(|e| garbage(e.to_string()))? {
                break frame;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        };
        if frame.kind != FrameKind::Welcome {
            return Err(garbage(format!("it greets with a {:?}", frame.kind)));
        }
        match Welcome::decode_answer(&mut Reader::new(frame.body)) {
            Ok(Ok(_)) => Ok(stream),
            Ok(Err(refusal)) => Err(DialFault::Refused(refusal)),
            Err(error) => Err(garbage(error.to_string())),
        }
    }

    /// Sends what the node has to say. Returns why it can't any more.
    async fn pump(&self, stream: Stream) -> io::Error {
        let (mut read, mut write) = stream.into_split();
        loop {
            tokio::select! {
                error = until_closed(&mut read) => return error,
                () = self.dialer.moved.notified() => {
                    if !self.dialer.is_where_it_was() {
                        return io::Error::other("it is found elsewhere now");
                    }
                }
                () = self.dialer.outbox.ready() => {}
            }
            if let Err(error) = self.write_waiting(&mut write).await {
                return error;
            }
        }
    }

    async fn write_waiting(&self, write: &mut WriteHalf) -> io::Result<()> {
        let mut messages = Vec::new();
        let mut bytes = Vec::new();
        loop {
            self.dialer.outbox.take(&mut messages);
            if messages.is_empty() {
                return Ok(());
            }
            let last = messages.len() - 1;
            for (index, message) in messages.drain(..).enumerate() {
                let frame = Frame::encode(FrameKind::Peer, 0, |out| message.encode(out));
                if bytes.is_empty() {
                    bytes = frame;
                } else {
                    bytes.extend_from_slice(&frame);
                }
                if bytes.len() >= WRITE_BYTES || index == last {
                    let written = async {
                        write.write_all(&bytes).await?;
                        write.flush().await
                    };
                    let written = timeout(WRITE_TIMEOUT, written).await;
                    written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
                    self.dialer.dialing.metrics.peer_bytes.inc_by(bytes.len() as u64);
                    bytes.clear();
                }
            }
        }
    }
}

/// The other side says nothing on this connection; it can only hang up.
async fn until_closed(read: &mut ReadHalf) -> io::Error {
    match read.read(&mut [0; 64]).await {
        Ok(0) => io::ErrorKind::UnexpectedEof.into(),
        Ok(_) => io::Error::other("it spoke where it should only listen"),
        Err(error) => error,
    }
}
