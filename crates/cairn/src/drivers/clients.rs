//! The two ports: that of clients, which speaks HTTP of both versions and frames, and that of the other
//! nodes. Whether in TLS, [`super::entrance`] knows.
//!
//! # Bounds
//!
//! * Connections are bounded in number; one more is closed at once, and counted.
//! * Who has not said what it wants within a few seconds is closed. What is not understood is closed,
//!   and counted, and nobody else notices.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use client::tcp::Stream;
use client::{Caller, Channel};
use rustix::net::sockopt;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};
use wire::{MAGIC, Principal, Purpose};

use super::entrance::{Keyrings, is_handshake};
use super::exchange::Exchange;
use super::hello::{HELLO_TIMEOUT, HelloFault, Host, Port};
use super::http::{HEAD_TIMEOUT, HTTP2, Version, Web};
use super::local::{Local, PassOn};
use super::mailbox::Mailbox;
use super::metrics::Metrics;
use super::prefixed::Prefixed;
use super::{frames, hearing};

/// Connections on the peer port: the nodes', what they pass on, and some for those who err.
pub(crate) const PEER_CONNECTIONS: usize = 256;

/// A connection that is silent for so long is probed,
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);

/// and then as often as this, until the system gives it up.
const KEEPALIVE_PAUSE: Duration = Duration::from_secs(10);

/// Pause after the system refused to accept: most often there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What connections need.
pub(crate) struct Server {
    /// Who we are.
    pub(crate) host: Host,
    /// What we show of ourselves, where TLS is spoken.
    pub(crate) keyrings: Keyrings,
    /// The door to the nodes.
    pub(crate) door: Local,
    /// The node's mailbox, for its peers.
    pub(crate) mailbox: Arc<Mailbox>,
    /// What speaks HTTP.
    pub(crate) web: Arc<Web>,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// The longest request in a frame.
    pub(crate) frame_limit_bytes: usize,
    /// Becomes true when connections shall end.
    pub(crate) ending: watch::Receiver<bool>,
}

/// Accepts connections until the end is near, then waits for those that are there to finish.
pub(crate) async fn serve_port(
    server: Arc<Server>,
    listener: TcpListener,
    port: Port,
    limit: usize,
) {
    let places = Arc::new(Semaphore::new(limit));
    let mut ending = server.ending.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = until_true(&mut ending) => break,
        };
        match accepted {
            Ok((stream, from)) => accept(&server, stream, from, port, &places),
            Err(error) => {
                warn!(%error, "a connection can't be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(limit).expect("validated: a limit on connections is small");
    // Fails only if the semaphore is closed, which nobody does.
    let _ = places.acquire_many(all).await;
}

fn accept(
    server: &Arc<Server>,
    stream: TcpStream,
    from: SocketAddr,
    port: Port,
    places: &Arc<Semaphore>,
) {
    let Ok(place) = Arc::clone(places).try_acquire_owned() else {
        server.metrics.refused_connections.inc();
        return;
    };
    // A socket that is gone already shows when it is read.
    let _ = prepare(&stream);
    let server = Arc::clone(server);
    tokio::spawn(async move {
        let _place: OwnedSemaphorePermit = place;
        match port {
            Port::Client => {
                server.metrics.client_connections.inc();
                server.client_port(stream, from).await;
                server.metrics.client_connections.dec();
            }
            Port::Peer => server.peer_port(stream, from).await,
        }
    });
}

/// Small answers leave at once, and a caller whose machine has vanished is noticed.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_PAUSE)?;
    Ok(())
}

impl Server {
    async fn client_port(&self, stream: TcpStream, from: SocketAddr) {
        let opened = self.open(stream, from, Port::Client).await;
        let Some((mut stream, caller)) = opened else { return };
        let mut buffer = BytesMut::with_capacity(1024);
        match timeout(HEAD_TIMEOUT, language(&mut stream, &mut buffer)).await {
            Ok(Ok(Language::Frames)) => self.framed(stream, buffer, &caller, Port::Client).await,
            Ok(Ok(Language::Http(_))) if is_handshake(&buffer) => {
                self.turn_tls_away(stream, &caller, Port::Client).await;
            }
            Ok(Ok(Language::Http(version))) => {
                self.http(version, Prefixed::new(buffer, stream), &caller).await;
            }
            // It said nothing, or went away.
            Ok(Err(_)) | Err(_) => {}
        }
    }

    async fn peer_port(&self, stream: TcpStream, from: SocketAddr) {
        let Some((stream, caller)) = self.open(stream, from, Port::Peer).await else { return };
        self.framed(stream, BytesMut::with_capacity(1024), &caller, Port::Peer).await;
    }

    async fn framed(&self, mut stream: Stream, mut buffer: BytesMut, caller: &Caller, port: Port) {
        let applied = self.door.applied();
        let address = caller.address.ip().to_string();
        let welcome = self.host.welcome(&address, &mut stream, &mut buffer, port, applied);
        let (hello, visit) = match welcome.await {
            Ok(met) => met,
            Err(HelloFault::Io(error)) => return debug!(%error, "a caller broke off"),
            Err(HelloFault::Refused(_)) => return,
            Err(HelloFault::Tls) => return self.turn_tls_away(stream, caller, port).await,
            Err(HelloFault::Garbage(why)) => return self.garbage(&why),
        };
        let result = match (hello.purpose, hello.node) {
            // To the very end: the last messages hand leadership over.
            (Purpose::Peer, Some(from)) => {
                let gone = self.host.roster.until_gone(from);
                let heard =
                    hearing::hear(stream, buffer, from, gone, &self.mailbox, &self.metrics).await;
                drop(visit);
                heard
            }
            (Purpose::Peer, None) => unreachable!("a hello without a node was refused"),
            (Purpose::Client, _) => {
                let pass_on = if port == Port::Client { PassOn::Yes } else { PassOn::No };
                let name = caller.common_name().filter(|name| !name.is_empty());
                let proven = name.map(Principal::of_certificate);
                let exchange = Arc::new(Exchange::new(self.door.clone(), pass_on, proven));
                let (read, write) = stream.into_split();
                let (limit, ending) = (self.frame_limit_bytes, self.ending.clone());
                frames::serve(read, write, buffer, exchange, limit, ending).await
            }
        };
        if let Err(why) = result {
            self.garbage(&why);
        }
    }

    pub(super) fn garbage(&self, why: &str) {
        self.metrics.garbage_connections.inc();
        debug!(why, "a connection is closed, for what came was not understood");
    }

    /// A request that came in TLS bears its [`Caller`] among its extensions; one without came in the
    /// clear, from somebody who has proven nothing.
    async fn http(&self, version: Version, stream: Prefixed, caller: &Arc<Caller>) {
        let caller = (caller.channel != Channel::Plain).then(|| Arc::clone(caller));
        if let Err(why) = self.web.serve(version, stream, caller, self.ending.clone()).await {
            self.garbage(&why);
        }
    }
}

/// Waits until the end is near.
pub(crate) async fn until_true(ending: &mut watch::Receiver<bool>) {
    // Without a sender the process has ended already.
    let _ = ending.wait_for(|ending| *ending).await;
}

/// What a caller on the client port speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    Frames,
    Http(Version),
}

/// Reads until it is clear what is spoken.
async fn language(stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<Language> {
    Ok(if begins_with(stream, buffer, MAGIC).await? {
        Language::Frames
    } else if begins_with(stream, buffer, HTTP2).await? {
        Language::Http(Version::Two)
    } else {
        Language::Http(Version::One)
    })
}

/// Reads until it is clear whether `sign` stands at the beginning.
async fn begins_with(stream: &mut Stream, buffer: &mut BytesMut, sign: &[u8]) -> io::Result<bool> {
    loop {
        let count = buffer.len().min(sign.len());
        if count > 0 && buffer[..count] != sign[..count] {
            return Ok(false);
        }
        if count == sign.len() {
            return Ok(true);
        }
        let patience = if count == 0 { HEAD_TIMEOUT } else { HELLO_TIMEOUT };
        let read = timeout(patience, stream.read_buf(buffer)).await;
        if read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
