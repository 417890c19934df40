//! Bodies of requests: never more in memory than there is room for, never for ever.
//!
//! What a call of one message takes while it arrives and while it is answered counts against one
//! room. Streams of messages are bounded by the flow control of their connection instead: what they
//! sent is gone once it is handled.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep};
use tonic::Status;
use tonic::codegen::StdError;

use crate::errors;

/// The longest time for a body to arrive, once the first part is awaited.
const ARRIVAL: Duration = Duration::from_mins(1);

/// Room that a request has taken; given back on drop.
#[derive(Debug)]
pub(crate) struct Taken {
    room: Arc<Semaphore>,
    bytes: AtomicUsize,
}

impl Taken {
    /// Nothing yet.
    pub(crate) fn of(room: &Arc<Semaphore>) -> Arc<Self> {
        Arc::new(Self { room: Arc::clone(room), bytes: AtomicUsize::new(0) })
    }

    fn take(&self, bytes: usize) -> Result<(), Status> {
        let count = u32::try_from(bytes).map_err(|_| errors::request_too_large())?;
        let permit = self.room.try_acquire_many(count).map_err(|_| {
            Status::resource_exhausted(
                "etcdserver: the bodies of other requests fill the memory set aside for them; retry \
                 after a pause",
            )
        })?;
        permit.forget();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.room.add_permits(*self.bytes.get_mut());
    }
}

/// A body that takes room for what arrives.
pub(crate) struct Metered<B> {
    body: B,
    /// `None` for a stream of messages.
    taken: Option<Arc<Taken>>,
    late: Option<Pin<Box<Sleep>>>,
}

impl<B> Metered<B> {
    /// The body of a request that takes room, or of a stream that does not.
    pub(crate) fn new(body: B, taken: Option<Arc<Taken>>) -> Self {
        Self { body, taken, late: None }
    }
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<StdError>,
{
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let this = &mut *self;
        let frame = match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(frame) => frame,
            Poll::Pending if this.taken.is_none() => return Poll::Pending,
            Poll::Pending => {
                // Most bodies are there at once and need no clock.
                let late = this.late.get_or_insert_with(|| Box::pin(sleep(ARRIVAL)));
                return late.as_mut().poll(context).map(|()| {
                    let seconds = ARRIVAL.as_secs();
                    let late = format!("etcdserver: the body did not arrive within {seconds} s");
                    Some(Err(Status::deadline_exceeded(late).into()))
                });
            }
        };
        if let (Some(taken), Some(Ok(frame))) = (&this.taken, &frame)
            && let Some(data) = frame.data_ref()
            && let Err(refusal) = taken.take(data.len())
        {
            return Poll::Ready(Some(Err(refusal.into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt as _, Full};

    use super::*;

    #[tokio::test]
    async fn a_body_takes_room_until_its_request_is_answered() {
        let room = Arc::new(Semaphore::new(10));
        let taken = Taken::of(&room);
        let body = Metered::new(Full::new(Bytes::from_static(b"1234567")), Some(taken.clone()));
        assert_eq!(body.collect().await.unwrap().to_bytes(), "1234567");
        assert_eq!(room.available_permits(), 3);

        let body = Metered::new(Full::new(Bytes::from_static(b"1234")), Some(Taken::of(&room)));
        let refusal = Status::from_error(body.collect().await.unwrap_err());
        assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);

        drop(taken);
        assert_eq!(room.available_permits(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_arrive_is_given_up() {
        struct Never;
        impl Body for Never {
            type Data = Bytes;
            type Error = StdError;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
                Poll::Pending
            }
        }
        let room = Arc::new(Semaphore::new(10));
        let body = Metered::new(Never, Some(Taken::of(&room)));
        let refusal = Status::from_error(body.collect().await.unwrap_err());
        assert_eq!(refusal.code(), tonic::Code::DeadlineExceeded);
    }
}
