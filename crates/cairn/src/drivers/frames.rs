//! Requests and answers in frames, many at a time on one connection.
//!
//! # Bounds
//!
//! * A connection has at most [`IN_FLIGHT`] requests that are not answered or whose answers are not
//!   yet written. Beyond it nothing more is read: the sender's window closes.
//! * Watches, which wait by intention, have a limit of their own; beyond it they are refused, so that
//!   they can't hold up the rest.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use wire::{Frame, FrameKind, Reader, Refusal, Reply, Request, split_frame};

use super::clients::until_true;
use super::hello::frame_bytes;
use super::local::{Local, PassOn};

/// Requests of one connection under way, watches not counted.
const IN_FLIGHT: usize = 1024;

/// Watches of one connection under way.
const WATCHES: usize = 1024;

/// Answers that wait to be written.
const QUEUE: usize = 256;

/// Read and written at once, in bytes.
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

/// An answer on its way, and the place that it takes.
struct Outgoing {
    frame: Vec<u8>,
    _place: OwnedSemaphorePermit,
}

/// Serves requests until the other side hangs up, or until the end is near. Returns why, if it was
/// not in order.
///
/// `frame_limit_bytes` is the longest request that is read.
pub(crate) async fn serve(
    mut read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin + Send + 'static,
    mut buffer: BytesMut,
    door: Local,
    pass_on: PassOn,
    frame_limit_bytes: usize,
    mut ending: watch::Receiver<bool>,
) -> Result<(), String> {
    let (answers, queue) = mpsc::channel(QUEUE);
    let writer = tokio::spawn(run_writer(write, queue));
    let session = Session {
        door,
        pass_on,
        answers,
        places: Arc::new(Semaphore::new(IN_FLIGHT)),
        watches: Arc::new(Semaphore::new(WATCHES)),
    };
    let result = loop {
        if let Err(why) = session.take_requests(&mut buffer, frame_limit_bytes).await {
            break Err(why);
        }
        make_room(&mut buffer);
        let read = tokio::select! {
            read = read.read_buf(&mut buffer) => read,
            () = until_true(&mut ending) => {
                // Nothing new is begun; the writer ends with the last answer under way.
                drop(session);
                let _ = writer.await;
                return Ok(());
            }
        };
        if matches!(read, Ok(0) | Err(_)) {
            break Ok(());
        }
    };
    // Nobody hears the answers under way: without the writer, the requests are cancelled.
    writer.abort();
    result
}

struct Session {
    door: Local,
    pass_on: PassOn,
    answers: mpsc::Sender<Outgoing>,
    places: Arc<Semaphore>,
    watches: Arc<Semaphore>,
}

impl Session {
    /// Begins every whole request in the buffer.
    async fn take_requests(&self, buffer: &mut BytesMut, limit: usize) -> Result<(), String> {
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
            self.begin(frame.stream, detach(request)).await;
        }
    }

    async fn begin(&self, stream: u64, request: Request) {
        let is_watch = matches!(request, Request::Watch { .. });
        let places = if is_watch { &self.watches } else { &self.places };
        let place = if is_watch && places.available_permits() == 0 {
            None
        } else {
            Arc::clone(places).acquire_owned().await.ok()
        };
        let (door, pass_on, answers) = (self.door.clone(), self.pass_on, self.answers.clone());
        let Some(place) = place else {
            let what = format!("{WATCHES} watches wait on this connection");
            let frame = encode(stream, &Err(Refusal::Busy { what }));
            if let Ok(place) = Arc::clone(&self.places).acquire_owned().await {
                let _ = answers.send(Outgoing { frame, _place: place }).await;
            }
            return;
        };
        tokio::spawn(async move {
            let answer = tokio::select! {
                answer = door.on_behalf(request, pass_on) => answer,
                // Nobody is there to hear: the node shall not work for nobody.
                () = answers.closed() => return,
            };
            let frame = encode(stream, &answer);
            let _ = answers.send(Outgoing { frame, _place: place }).await;
        });
    }
}

fn encode(stream: u64, answer: &node::Answer) -> Vec<u8> {
    Frame::encode(FrameKind::Answer, stream, |out| Reply::encode_answer(answer, out))
}

/// What has queued meanwhile goes out in few system calls; nothing waits to be joined by more.
async fn run_writer(write: impl AsyncWrite + Unpin, mut queue: mpsc::Receiver<Outgoing>) {
    let mut write = BufWriter::with_capacity(BUFFER_BYTES, write);
    while let Some(outgoing) = queue.recv().await {
        let mut written = write.write_all(&outgoing.frame).await;
        if written.is_ok() && queue.is_empty() {
            written = write.flush().await;
        }
        if written.is_err() {
            return;
        }
    }
    let _ = write.shutdown().await;
}
