//! Messages between nodes: each node dials every other one and speaks; what it hears comes on the
//! connections that the others opened.
//!
//! Frames go one way, many in one write. A connection that breaks, in either direction, is reported
//! to the node as a hint. Nothing here is waited for, and nothing is sent twice: consensus does that.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use client::tcp::{Connector, ReadHalf, Stream, WriteHalf, host_of};
use consensus::Protocol;
use node::{Event, PeerEnvelope};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use wire::{
    Frame, FrameKind, Hello, HelloError, MAGIC, Member, NodeId, PROTOCOL_VERSION, Purpose, Reader,
    Welcome, split_frame,
};

use super::frames::make_room;
use super::mailbox::Mailbox;
use super::metrics::Metrics;
use super::outbox::Outbox;
use super::random::Backoff;

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

/// One other node, to be spoken to.
pub(crate) struct Dialer {
    /// This node.
    pub(crate) own: NodeId,
    /// The cluster.
    pub(crate) cluster: String,
    /// By which protocol its nodes keep their logs.
    pub(crate) protocol: Protocol,
    /// The other node.
    pub(crate) peer: Member,
    /// What to tell it.
    pub(crate) outbox: Arc<Outbox>,
    /// Whom to tell that a connection broke.
    pub(crate) mailbox: Arc<Mailbox>,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// What encrypts the connection, if the nodes speak TLS among themselves.
    pub(crate) connector: Option<Arc<dyn Connector>>,
    /// Of the pauses' jitter.
    pub(crate) seed: u64,
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
    /// Keeps a connection for as long as the process lives.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(self.seed, FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
        let mut complaint = String::new();
        loop {
            match self.connect().await {
                Ok(stream) => {
                    complaint.clear();
                    backoff.reset();
                    self.speak(stream).await;
                }
                Err(fault) => self.complain(&fault, &mut complaint),
            }
            sleep(backoff.pause()).await;
        }
    }

    async fn speak(&self, stream: Stream) {
        let peer = self.peer.node;
        info!(node = self.own.0, peer = peer.0, "connected");
        self.outbox.open();
        self.metrics.peers_connected.inc();
        let error = self.pump(stream).await;
        self.metrics.peers_connected.dec();
        self.metrics.peer_dropped.inc_by(self.outbox.close() as u64);
        self.mailbox.event(Event::PeerLost(peer));
        info!(node = self.own.0, peer = peer.0, why = %error, "connection lost");
    }

    /// Once for each change: an absent node is tried again every second.
    fn complain(&self, fault: &DialFault, before: &mut String) {
        let now = fault.to_string();
        if *before == now {
            return;
        }
        let (node, peer, address) = (self.own.0, self.peer.node.0, &self.peer.peer_address);
        match fault {
            DialFault::Io(_) | DialFault::Late => {
                info!(node, peer, address, why = now, "can't be reached; trying on");
            }
            DialFault::Garbage(_) | DialFault::Refused(_) | DialFault::Tls(_) => {
                warn!(node, peer, address, "refused: {now}");
            }
        }
        *before = now;
    }

    async fn connect(&self) -> Result<Stream, DialFault> {
        let greeted = timeout(CONNECT_TIMEOUT, self.greet()).await;
        let fault = match greeted.map_err(|_| DialFault::Late)? {
            Err(DialFault::Io(error)) => error,
            result => return result,
        };
        let words = self.connector.as_ref().and_then(|connector| connector.explain(&fault));
        Err(words.map_or(DialFault::Io(fault), DialFault::Tls))
    }

    async fn greet(&self) -> Result<Stream, DialFault> {
        let stream = TcpStream::connect(&self.peer.peer_address).await?;
        stream.set_nodelay(true)?;
        rustix::net::sockopt::set_tcp_user_timeout(&stream, UNACKNOWLEDGED_MS)
            .map_err(io::Error::from)?;
        let mut stream = match &self.connector {
            None => Stream::Plain(stream),
            Some(connector) => {
                let host = host_of(&self.peer.peer_address);
                Stream::Secure(connector.secure(stream, host).await?)
            }
        };
        let hello = Hello {
            version: PROTOCOL_VERSION,
            purpose: Purpose::Peer,
            cluster: self.cluster.clone(),
            node: Some(self.own),
            to: Some(self.peer.node),
            consensus: self.protocol.to_string(),
        };
        let mut greeting = MAGIC.to_vec();
        greeting.extend(Frame::encode(FrameKind::Hello, 0, |out| hello.encode(out)));
        let written = async {
            stream.write_all(&greeting).await?;
            stream.flush().await
        };
        // Whoever turned us away may have hung up already, and its reason waits to be read.
        if let Err(error) = written.await
            && self.connector.is_none()
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
                () = self.outbox.ready() => {}
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
            self.outbox.take(&mut messages);
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
                    self.metrics.peer_bytes.inc_by(bytes.len() as u64);
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

/// Hears what node `from` has to say, until it hangs up. Returns why, if it was not in order.
pub(crate) async fn hear(
    mut stream: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
    from: NodeId,
    mailbox: &Mailbox,
    metrics: &Metrics,
) -> Result<(), String> {
    let mut messages = Vec::new();
    let result = loop {
        if let Err(why) = take_messages(&mut buffer, from, &mut messages) {
            break Err(why);
        }
        if !messages.is_empty() {
            metrics.peer_dropped.inc_by(mailbox.messages(&mut messages) as u64);
        }
        make_room(&mut buffer);
        match stream.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break Ok(()),
            Ok(_) => {}
        }
    };
    mailbox.event(Event::PeerLost(from));
    result
}

fn take_messages(
    buffer: &mut BytesMut,
    from: NodeId,
    into: &mut Vec<PeerEnvelope>,
) -> Result<(), String> {
    while let Some(frame) = split_frame(buffer).map_err(|error| error.to_string())? {
        if frame.kind != FrameKind::Peer {
            return Err(format!("a {:?} where a node's message was expected", frame.kind));
        }
        let message = PeerEnvelope::decode(&mut Reader::new(frame.body))
            .map_err(|error| error.to_string())?;
        if message.from != from {
            return Err(format!("a message of {} on the connection of {from}", message.from));
        }
        into.push(message);
    }
    Ok(())
}
