//! Reading a request's body: never more than the limit, never for ever.

use std::fmt::Display;
use std::pin::pin;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Buf};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::errors::Fault;
use crate::gateway::Config;

/// How many bytes a body may have, and what to call it where it has more.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// `value` or `body`.
    pub(crate) what: &'static str,
    /// The most bytes.
    pub(crate) bytes: usize,
}

/// A body in memory, and its share of the room that all bodies have.
pub(crate) struct Received<'a> {
    /// What was sent.
    pub(crate) bytes: Bytes,
    room: Option<SemaphorePermit<'a>>,
}

impl Received<'_> {
    /// The body that nobody reads.
    pub(crate) fn nothing() -> Self {
        Self { bytes: Bytes::new(), room: None }
    }
}

/// Reads a whole body.
pub(crate) async fn receive<'a, B>(
    body: B,
    headers: &HeaderMap,
    limit: Limit,
    room: &'a Semaphore,
    config: &Config,
) -> Result<Received<'a>, Fault>
where
    B: Body,
    B::Error: Display,
{
    refuse_early(headers, limit)?;
    match timeout(config.body_timeout, collect(body, limit, room, config.body_pause)).await {
        Ok(received) => received,
        Err(_) => Err(too_slow(config.body_timeout)),
    }
}

/// An announced length saves both sides the trouble of sending what will be refused.
fn refuse_early(headers: &HeaderMap, limit: Limit) -> Result<(), Fault> {
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    match announced {
        Some(length) if length > limit.bytes => {
            Err(Fault::too_large(limit.what, length, limit.bytes))
        }
        _ => Ok(()),
    }
}

async fn collect<B>(
    body: B,
    limit: Limit,
    room: &Semaphore,
    pause: Duration,
) -> Result<Received<'_>, Fault>
where
    B: Body,
    B::Error: Display,
{
    let mut body = pin!(body);
    let mut received = Received::nothing();
    let mut more = BytesMut::new();
    loop {
        let frame = match timeout(pause, body.frame()).await {
            Err(_) => return Err(too_slow(pause)),
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
        };
        // Trailers say nothing to us.
        let Ok(mut data) = frame.into_data() else { continue };
        let size = received.bytes.len() + more.len() + data.remaining();
        if size > limit.bytes {
            return Err(Fault::too_large(limit.what, size, limit.bytes));
        }
        received.reserve(data.remaining(), room)?;
        // Most bodies come in one piece, which is then not copied.
        if size == data.remaining() {
            received.bytes = data.copy_to_bytes(size);
        } else {
            more.extend_from_slice(&std::mem::take(&mut received.bytes));
            more.extend_from_slice(&data.copy_to_bytes(data.remaining()));
        }
    }
    if !more.is_empty() {
        received.bytes = more.freeze();
    }
    Ok(received)
}

impl<'a> Received<'a> {
    fn reserve(&mut self, bytes: usize, room: &'a Semaphore) -> Result<(), Fault> {
        let Some(permit) = u32::try_from(bytes).ok().and_then(|n| room.try_acquire_many(n).ok())
        else {
            return Err(Fault::busy(
                "the bodies of other requests fill the memory set aside for them",
            ));
        };
        match &mut self.room {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }
}

fn too_slow(after: Duration) -> Fault {
    Fault::new(
        StatusCode::REQUEST_TIMEOUT,
        "body_timeout",
        format!("the body did not arrive within {} ms", after.as_millis()),
    )
}

fn broken(error: &impl Display) -> Fault {
    Fault::new(StatusCode::BAD_REQUEST, "broken_body", format!("the body broke off: {error}"))
}
