//! What a connection begins with: TLS where it is spoken, and a sentence for who speaks otherwise.
//!
//! A port speaks TLS or does not, as its settings say. Whoever errs learns it in HTTP/1.1, if it speaks
//! that, a later version, or TLS: every TLS library knows that a plain answer means a plain port, and every
//! HTTP client shows the answer to its plain request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use client::tcp::Stream;
use client::{Caller, Channel};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::debug;
use wire::MAGIC;

use super::clients::Server;
use super::hello::{HELLO_TIMEOUT, Port};
use super::http::HEAD_TIMEOUT;
use crate::tls::keyring::Keyring;
use crate::tls::{HANDSHAKE, identity, words};

/// What HTTP/2 begins with (RFC 9113, section 3.4).
const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Who was turned away may take so long to read why,
const LINGER: Duration = Duration::from_secs(1);

/// and send so much meanwhile. To close with bytes unread would reset the connection, and the answer
/// could be lost with it.
const LINGER_BYTES: u64 = 64 << 10;

/// The keyrings of the two ports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyrings {
    /// Of the client port, if it speaks TLS.
    pub(crate) clients: Option<Arc<Keyring>>,
    /// Of the peer port, if it speaks TLS.
    pub(crate) peers: Option<Arc<Keyring>>,
}

impl Keyrings {
    fn of(&self, port: Port) -> Option<&Arc<Keyring>> {
        match port {
            Port::Client => self.clients.as_ref(),
            Port::Peer => self.peers.as_ref(),
        }
    }
}

/// Why a connection is not let in.
enum Refused {
    /// It broke off, or said nothing.
    Broken(io::Error),
    /// It does not begin with a handshake.
    Plain(TcpStream),
    /// The handshake came to nothing.
    Handshake(TcpStream, io::Error),
}

/// What somebody speaks who does not speak TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
    Frames,
    Unknown,
}

impl Server {
    /// Lets a connection in: at once, or after its handshake. Nothing was read from it then.
    pub(super) async fn open(
        &self,
        stream: TcpStream,
        address: SocketAddr,
        port: Port,
    ) -> Option<(Stream, Arc<Caller>)> {
        let Some(keyring) = self.keyrings.of(port) else {
            return Some((Stream::Plain(stream), caller(address, Channel::Plain)));
        };
        match shake_hands(stream, keyring, port).await {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
                let common_name = shown.and_then(|certificate| identity::common_name(certificate));
                let stream = Stream::Secure(Box::new(stream));
                Some((stream, caller(address, Channel::Tls { common_name })))
            }
            Err(Refused::Broken(error)) => {
                debug!(%error, "a caller broke off");
                None
            }
            Err(Refused::Plain(stream)) => {
                self.turn_plain_away(stream, address).await;
                None
            }
            Err(Refused::Handshake(stream, error)) => {
                self.metrics.failed_handshakes.inc();
                let why = match words::fault(&error) {
                    Some(fault) => words::explain(fault, keyring.names()),
                    None => error.to_string(),
                };
                self.host.complain_of_tls(&address.ip().to_string(), &format!("TLS: {why}"));
                linger(stream).await;
                None
            }
        }
    }

    /// Turns away who speaks plainly to a port that speaks TLS.
    async fn turn_plain_away(&self, mut stream: TcpStream, address: SocketAddr) {
        let spoken = timeout(HELLO_TIMEOUT, what_is_spoken(&mut stream)).await;
        let Ok(Ok(spoken)) = spoken else { return };
        self.metrics.mismatched_connections.inc();
        let what = match spoken {
            Spoken::Http1 => "HTTP",
            Spoken::Http2 => "HTTP/2, or gRPC,",
            Spoken::Frames => "a Cairn client or node",
            Spoken::Unknown => "something",
        };
        let why = format!("{what} without TLS on a port that speaks TLS");
        self.host.complain_of_tls(&address.ip().to_string(), &why);
        // To HTTP/2 as well, and in HTTP/1.1: clients of gRPC know that sign, name it, and wait before
        // they try again. And they send no request, with all that is in it, before a server's settings.
        if matches!(spoken, Spoken::Http1 | Spoken::Http2) {
            let _ = say(&mut stream, "this port speaks TLS: use https:// instead of http://").await;
        }
        linger(stream).await;
    }

    /// Turns away who speaks TLS to a port that does not.
    pub(super) async fn turn_tls_away(&self, stream: Stream, caller: &Caller, port: Port) {
        // TLS within TLS is nobody's mistake in a setting.
        let Stream::Plain(mut stream) = stream else {
            return self.garbage("a TLS handshake within TLS");
        };
        self.metrics.mismatched_connections.inc();
        let settings = match port {
            Port::Client => "client_tls_cert and client_tls_key",
            Port::Peer => "peer_tls_cert, peer_tls_key and peer_tls_ca",
        };
        let why = format!("TLS on a port that does not speak it; {settings} make it do so");
        self.host.complain_of_tls(&caller.address.ip().to_string(), &why);
        let _ =
            say(&mut stream, "this port does not speak TLS: use http:// instead of https://").await;
        linger(stream).await;
    }
}

fn caller(address: SocketAddr, channel: Channel) -> Arc<Caller> {
    Arc::new(Caller { address, channel })
}

async fn shake_hands(
    stream: TcpStream,
    keyring: &Keyring,
    port: Port,
) -> Result<TlsStream<TcpStream>, Refused> {
    let late = || Refused::Broken(io::ErrorKind::TimedOut.into());
    // A client may connect long before it has something to say.
    let patience = if port == Port::Client { HEAD_TIMEOUT } else { HELLO_TIMEOUT };
    let mut first = [0];
    let peeked = timeout(patience, stream.peek(&mut first)).await;
    match peeked.map_err(|_| late())?.map_err(Refused::Broken)? {
        0 => return Err(Refused::Broken(io::ErrorKind::UnexpectedEof.into())),
        _ if first[0] != HANDSHAKE => return Err(Refused::Plain(stream)),
        _ => {}
    }
    let handshake = TlsAcceptor::from(keyring.server()).accept(stream).into_fallible();
    let done = timeout(HELLO_TIMEOUT, handshake).await.map_err(|_| late())?;
    done.map_err(|(error, stream)| Refused::Handshake(stream, error))
}

/// Reads until it is clear what is spoken.
async fn what_is_spoken(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Spoken> {
    let mut buffer = BytesMut::with_capacity(1024);
    loop {
        if buffer.starts_with(HTTP_2) {
            return Ok(Spoken::Http2);
        }
        if buffer.starts_with(MAGIC) {
            return Ok(Spoken::Frames);
        }
        let may_be = |words: &[u8]| words.starts_with(&buffer);
        if !may_be(HTTP_2) && !may_be(MAGIC) {
            let letter = buffer.first().is_some_and(u8::is_ascii_uppercase);
            return Ok(if letter { Spoken::Http1 } else { Spoken::Unknown });
        }
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(Spoken::Unknown);
        }
    }
}

/// Whether this is the beginning of a TLS handshake.
pub(super) fn is_handshake(buffer: &[u8]) -> bool {
    buffer.first() == Some(&HANDSHAKE)
}

async fn say(stream: &mut TcpStream, words: &str) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{words}\n",
        words.len() + 1
    );
    timeout(LINGER, stream.write_all(answer.as_bytes())).await?
}

/// Ends a connection so that what was said last is heard.
async fn linger(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut rest = stream.take(LINGER_BYTES);
    let _ = timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_no_tls_is_told_apart() {
        for (bytes, spoken) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], Spoken::Http1),
            (b"POST / HTTP/1.1\r\n\r\n", Spoken::Http1),
            (b"PUT /v1 HTTP/1.1\r\n\r\n", Spoken::Http1),
            (HTTP_2, Spoken::Http2),
            (&HTTP_2[..7], Spoken::Unknown),
            (MAGIC, Spoken::Frames),
            (&MAGIC[..2], Spoken::Unknown),
            (b"\0\0\0", Spoken::Unknown),
            (b"", Spoken::Unknown),
        ] {
            let mut bytes = bytes;
            assert_eq!(what_is_spoken(&mut bytes).await.unwrap(), spoken, "{bytes:?}");
        }
    }
}
