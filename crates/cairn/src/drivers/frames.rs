//! Requests and answers in frames, many at a time on one connection. What is under way is in
//! [`super::exchange`], with its bounds.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use wire::{FrameKind, Reader, Request, split_frame};

use super::clients::until_true;
use super::exchange::{EXPIRY_PAUSE, Exchange};
use super::hello::frame_bytes;

/// Read at once, in bytes; also what a buffer of answers keeps for the next ones.
const BUFFER_BYTES: usize = 64 << 10;

/// Less room than this is not worth a read.
const LEAST_ROOM_BYTES: usize = 8 << 10;

/// A command shorter than this is copied out of the buffer that it came in.
const COPY_BYTES: usize = 16 << 10;

/// Makes room for the next read. What was read before may still be in use, as slices of the same
/// block; a new block for every read would let each small message keep a large one alive.
pub(crate) fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() - buffer.len() < LEAST_ROOM_BYTES {
        buffer.reserve(BUFFER_BYTES);
    }
}

/// A command stays in the log's memory for long. If it is short, the block that it came in, with
/// reads that are long answered, must not stay with it.
fn detach(request: Request) -> Request {
    match request {
        Request::Write(command) if command.len() < COPY_BYTES => {
            Request::Write(Bytes::copy_from_slice(&command))
        }
        request => request,
    }
}

/// Serves requests until the other side hangs up, or until the end is near. Returns why, if it was
/// not in order.
///
/// `frame_limit_bytes` is the longest request that is read.
pub(crate) async fn serve(
    mut read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin + Send + 'static,
    mut buffer: BytesMut,
    exchange: Arc<Exchange>,
    frame_limit_bytes: usize,
    mut ending: watch::Receiver<bool>,
) -> Result<(), String> {
    let writer = tokio::spawn(run_writer(write, Arc::clone(&exchange)));
    let mut expiry = interval(EXPIRY_PAUSE);
    expiry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut end_is_near = std::pin::pin!(until_true(&mut ending));
    let result = loop {
        if let Err(why) = take_requests(&exchange, &mut buffer, frame_limit_bytes).await {
            break Err(why);
        }
        make_room(&mut buffer);
        let read = tokio::select! {
            read = read.read_buf(&mut buffer) => read,
            _ = expiry.tick() => {
                exchange.expire();
                continue;
            }
            () = end_is_near.as_mut() => {
                // Nothing new is begun; the writer ends with the last answer under way.
                exchange.end();
                let _ = writer.await;
                return Ok(());
            }
        };
        if matches!(read, Ok(0) | Err(_)) {
            break Ok(());
        }
    };
    exchange.close();
    writer.abort();
    result
}

/// Begins every whole request in the buffer.
async fn take_requests(
    exchange: &Arc<Exchange>,
    buffer: &mut BytesMut,
    limit: usize,
) -> Result<(), String> {
    loop {
        if let Some(len) = frame_bytes(buffer)
            && len > limit
        {
            return Err(format!("a frame of {len} bytes; at most {limit} are taken"));
        }
        let Some(frame) = split_frame(buffer).map_err(|error| error.to_string())? else {
            return Ok(());
        };
        if frame.kind != FrameKind::Request {
            return Err(format!("a {:?} where a request was expected", frame.kind));
        }
        let request =
            Request::decode(&mut Reader::new(frame.body)).map_err(|error| error.to_string())?;
        exchange.room().await;
        exchange.ask(frame.stream, detach(request));
    }
}

/// What has queued meanwhile goes out in one write; nothing waits to be joined by more.
async fn run_writer(mut write: impl AsyncWrite + Unpin, exchange: Arc<Exchange>) {
    let mut answers = Vec::new();
    while let Some(places) = exchange.answers(&mut answers).await {
        // What is encrypted may wait in a buffer; a socket has nothing to flush.
        if write.write_all(&answers).await.is_err() || write.flush().await.is_err() {
            return;
        }
        answers.clear();
        answers.shrink_to(BUFFER_BYTES);
        exchange.wrote(places);
    }
    let _ = write.shutdown().await;
}
