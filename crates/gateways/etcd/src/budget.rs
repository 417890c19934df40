//! Memory for answers: how much all of them may take together until they are sent.
//!
//! A range has as many bytes as its reader asked for. Whoever gathers one takes its size from the
//! budget page by page, and gives it back when the answer has left; where nothing is left, the answer
//! is refused, and the node lives on.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Response, Status};
use wire::Item;

use crate::gateway::AnswerBody;

/// An answer of this size costs nothing: such are bounded by the number of requests.
const FREE_BYTES: usize = 4096;

/// What an item costs beyond its key and its value.
const ITEM_BYTES: usize = 64;

/// What one item costs.
pub(crate) fn cost(item: &Item) -> usize {
    item.key.len() + item.value.len() + ITEM_BYTES
}

/// What all answers may take.
#[derive(Debug)]
pub(crate) struct Budget {
    room: Arc<Semaphore>,
    bytes: usize,
}

impl Budget {
    /// Of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.min(u32::MAX as usize);
        Self { room: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// An answer's share, which is empty at first.
    pub(crate) fn share(&self) -> Share {
        Share {
            room: Arc::clone(&self.room),
            room_bytes: self.bytes,
            bytes: 0,
            permit: None,
            done: false,
        }
    }

    /// The share of an answer that tells what was done: see [`Share::is_done`].
    pub(crate) fn share_of_done(&self) -> Share {
        Share { done: true, ..self.share() }
    }
}

/// What one answer takes. It is given back on drop.
#[derive(Debug)]
pub(crate) struct Share {
    room: Arc<Semaphore>,
    room_bytes: usize,
    bytes: usize,
    permit: Option<OwnedSemaphorePermit>,
    done: bool,
}

impl Share {
    /// From now on the answer tells what was done, and must not be refused: it takes what it needs,
    /// budget or not. What writes read is bounded by the nodes.
    pub(crate) fn is_done(&mut self) {
        self.done = true;
    }

    /// The answer has grown by so much.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Status> {
        self.bytes = self.bytes.saturating_add(bytes);
        let lacking = self.bytes.saturating_sub(FREE_BYTES).saturating_sub(self.held());
        if lacking == 0 {
            return Ok(());
        }
        let permit = u32::try_from(lacking)
            .ok()
            .and_then(|lacking| Arc::clone(&self.room).try_acquire_many_owned(lacking).ok());
        let permit = match permit {
            Some(permit) => permit,
            None if self.done => return Ok(()),
            None => return Err(self.refusal()),
        };
        match &mut self.permit {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
        Ok(())
    }

    /// The answer has grown by these items.
    pub(crate) fn grow_by(&mut self, items: &[Item]) -> Result<(), Status> {
        self.grow(items.iter().map(cost).sum())
    }

    /// So much of it was dropped again.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        let spare = self.held().saturating_sub(self.bytes.saturating_sub(FREE_BYTES));
        if let Some(held) = &mut self.permit {
            drop(held.split(spare));
        }
    }

    /// The answer, which holds the share until it is sent: see [`hold`].
    pub(crate) fn keep<T>(self, message: T) -> Response<T> {
        let mut answer = Response::new(message);
        if self.permit.is_some() {
            answer.extensions_mut().insert(Kept { _share: Arc::new(self) });
        }
        answer
    }

    fn held(&self) -> usize {
        self.permit.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }

    fn refusal(&self) -> Status {
        let (bytes, room) = (self.bytes, self.room_bytes);
        Status::resource_exhausted(if bytes.saturating_sub(FREE_BYTES) > room {
            format!(
                "etcdserver: the answer takes more than {bytes} bytes, and all answers together may \
                 take {room}; ask for less by a limit, or use RangeStream"
            )
        } else {
            format!(
                "etcdserver: answers under way fill the {room} bytes set aside for them; retry after \
                 a pause, or ask for less by a limit"
            )
        })
    }
}

/// A share on its way with an answer.
#[derive(Clone)]
struct Kept {
    _share: Arc<Share>,
}

/// Has the answer's body hold the share that [`Share::keep`] gave it.
pub(crate) fn hold(answer: http::Response<AnswerBody>) -> http::Response<AnswerBody> {
    let (mut parts, body) = answer.into_parts();
    let body = match parts.extensions.remove::<Kept>() {
        Some(kept) => AnswerBody::new(Holding { body, _kept: kept }),
        None => body,
    };
    http::Response::from_parts(parts, body)
}

struct Holding {
    body: AnswerBody,
    _kept: Kept,
}

impl Body for Holding {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
    use super::*;

    #[test]
    fn shares_are_taken_and_given_back() {
        let budget = Budget::new(10_000);
        let mut one = budget.share();
        one.grow(FREE_BYTES).unwrap();
        assert_eq!(budget.room.available_permits(), 10_000);
        one.grow(6000).unwrap();
        assert_eq!(budget.room.available_permits(), 4000);

        let mut other = budget.share();
        let full = other.grow(FREE_BYTES + 5000).unwrap_err();
        assert_eq!(full.code(), tonic::Code::ResourceExhausted);
        assert!(full.message().contains("retry"), "{full}");
        drop(other);

        one.shrink(5000);
        assert_eq!(budget.room.available_permits(), 9000);
        drop(one);
        assert_eq!(budget.room.available_permits(), 10_000);
    }

    #[test]
    fn what_can_never_fit_is_told_so() {
        let refusal = Budget::new(100).share().grow(FREE_BYTES + 101).unwrap_err();
        assert!(refusal.message().contains("RangeStream"), "{refusal}");
    }

    #[test]
    fn an_answer_holds_its_share_until_its_body_is_dropped() {
        let budget = Budget::new(1000);
        let mut share = budget.share();
        share.grow(FREE_BYTES + 400).unwrap();
        let (_, (), extensions) = share.keep(()).into_parts();
        let mut answer =
            http::Response::new(AnswerBody::new(http_body_util::Full::new(Bytes::from("x"))));
        *answer.extensions_mut() = extensions;
        let held = hold(answer);
        assert_eq!(budget.room.available_permits(), 600);
        drop(held);
        assert_eq!(budget.room.available_permits(), 1000);
    }
}
