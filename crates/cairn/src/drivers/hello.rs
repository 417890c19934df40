//! The first words on a connection that others opened: who calls, and may they.
//!
//! Until a caller has said who it is, it gets a small buffer and a short time.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use consensus::Protocol;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use tracing::warn;
use wire::{
    FRAME_HEADER_BYTES, Frame, FrameKind, Hello, HelloError, MAGIC, NodeId, Purpose, Reader,
    Welcome, split_frame,
};

use super::entrance::is_handshake;
use super::refusals::code_of;
use super::roster::{Roster, Visit};

/// How long a caller may take to say who it is.
pub(crate) const HELLO_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest hello, in bytes.
const HELLO_BYTES: usize = 1024;

/// Complaints about callers that are remembered, so that each is logged once.
const COMPLAINTS: usize = 64;

/// Who is called.
#[derive(Debug)]
pub(crate) struct Host {
    /// This node.
    pub(crate) node: NodeId,
    /// Its cluster.
    pub(crate) cluster: String,
    /// The other nodes, who are to be judged by it.
    pub(crate) roster: Arc<Roster>,
    /// By which protocol they keep their logs.
    pub(crate) protocol: Protocol,
    complaints: Mutex<BTreeSet<String>>,
}

/// Which port was called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// That of clients.
    Client,
    /// That of other nodes, and of what they pass on.
    Peer,
}

/// Why a caller was turned away.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HelloFault {
    /// It broke off, or was too slow.
    #[error("it broke off: {0}")]
    Io(#[from] io::Error),
    /// It does not speak our language.
    #[error("it does not speak our language: {0}")]
    Garbage(String),
    /// It speaks TLS.
    #[error("it speaks TLS")]
    Tls,
    /// It is someone else's.
    #[error(transparent)]
    Refused(#[from] HelloError),
}

impl Host {
    /// A host that has met nobody yet.
    pub(crate) fn new(
        node: NodeId,
        cluster: String,
        roster: Arc<Roster>,
        protocol: Protocol,
    ) -> Self {
        Self { node, cluster, roster, protocol, complaints: Mutex::default() }
    }

    /// Reads the hello, [`MAGIC`] included, and answers it. What was read behind it stays in `buffer`.
    /// `caller` is the address that it comes from. Another node is there for as long as its visit lives.
    pub(crate) async fn welcome(
        &self,
        caller: &str,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        buffer: &mut BytesMut,
        port: Port,
        applied: u64,
    ) -> Result<(Hello, Option<Visit<'_>>), HelloFault> {
        let read = timeout(HELLO_TIMEOUT, read_hello(stream, buffer)).await;
        let hello = read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if hello.purpose == Purpose::Peer {
            // The node tells it with the first that it says.
            let told = timeout(HELLO_TIMEOUT, self.roster.until(|_| true)).await;
            told.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?;
        }
        let verdict = match self.judge(&hello, port) {
            Ok(()) => self.meet(&hello).await?,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &verdict {
            self.complain(caller, refusal);
        }
        let (welcome, visit) = match verdict {
            Ok(visit) => {
                (Ok(Welcome { node: self.node, cluster: self.cluster.clone(), applied }), visit)
            }
            Err(refusal) => (Err(refusal), None),
        };
        let answer =
            Frame::encode(FrameKind::Welcome, 0, |out| Welcome::encode_answer(&welcome, out));
        let write = async {
            stream.write_all(&answer).await?;
            stream.flush().await
        };
        let written = timeout(HELLO_TIMEOUT, write).await;
        written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        welcome?;
        Ok((hello, visit))
    }

    /// Takes note of another node that may come in, before it is told so.
    async fn meet(&self, hello: &Hello) -> io::Result<Result<Option<Visit<'_>>, HelloError>> {
        let Some(node) = hello.node.filter(|_| hello.purpose == Purpose::Peer) else {
            return Ok(Ok(None));
        };
        let met = self.roster.meet(node, hello.journal, &hello.address).await?;
        Ok(met.map(Some))
    }

    fn judge(&self, hello: &Hello, port: Port) -> Result<(), HelloError> {
        if port == Port::Client && hello.purpose == Purpose::Peer {
            return Err(HelloError::NotHere);
        }
        let protocol = self.protocol.name();
        hello.check(&self.cluster, self.node, protocol, |caller| {
            self.roster.judge(caller, hello.journal)
        })
    }

    fn complain(&self, from: &str, refusal: &HelloError) {
        if self.is_news(from, &refusal.to_string()) {
            let code = code_of(refusal);
            warn!(node = self.node.0, from, code, "a caller is refused: {refusal}");
        }
    }

    /// Complains about somebody who was refused before the hello.
    pub(super) fn complain_of_tls(&self, from: &str, why: &str) {
        if self.is_news(from, why) {
            warn!(node = self.node.0, from, code = "tls-refused", "a caller is refused: {why}");
        }
    }

    /// Once for each caller and reason: a misconfigured node tries again every second.
    fn is_news(&self, from: &str, why: &str) -> bool {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.len() < COMPLAINTS && complaints.insert(format!("{from} {why}"))
    }
}

async fn read_hello(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> Result<Hello, HelloFault> {
    while buffer.len() < MAGIC.len() {
        read_some(stream, buffer).await?;
    }
    if is_handshake(buffer) {
        return Err(HelloFault::Tls);
    }
    if !buffer.starts_with(MAGIC) {
        return Err(HelloFault::Garbage("wrong first bytes".to_owned()));
    }
    buffer.advance(MAGIC.len());
    let garbage = |what: String| HelloFault::Garbage(what);
    let frame = loop {
        if let Some(len) = frame_bytes(buffer)
            && len > HELLO_BYTES
        {
            return Err(garbage(format!("a hello of {len} bytes")));
        }
        if let Some(frame) = split_frame(buffer).map_err(|error| garbage(error.to_string()))? {
            break frame;
        }
        read_some(stream, buffer).await?;
    };
    if frame.kind != FrameKind::Hello {
        return Err(garbage(format!("a {:?} before a hello", frame.kind)));
    }
    Hello::decode(&mut Reader::new(frame.body)).map_err(|error| garbage(error.to_string()))
}

/// What the next frame says of its own length, if that much is there.
pub(crate) fn frame_bytes(buffer: &BytesMut) -> Option<usize> {
    let len = buffer.get(..FRAME_HEADER_BYTES)?.get(..4)?;
    Some(u32::from_le_bytes(len.try_into().expect("four bytes")) as usize)
}

async fn read_some(stream: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<()> {
    if stream.read_buf(buffer).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}
