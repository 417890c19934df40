//! What goes out on one stream: a queue with a bound in bytes, between the hub, which must never wait,
//! and a client, which may.
//!
//! # Invariants
//!
//! * What was taken leaves in the order in which it was taken, and all parts of a response together.
//! * An empty outlet takes one response however large: otherwise a large one would never leave.
//! * After a refusal the stream is told, once, when there is room again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::sync::Notify;
use tonic::Status;

/// What a message costs besides its bytes.
const MESSAGE_BYTES: usize = 64;

/// The watch id that stands for no watch, or for all of a stream.
pub(super) const NO_WATCH: i64 = -1;

/// One response, or a fragment of one, as it goes out. Its bytes are shared by all watchers that get the
/// same; only the watch's id is their own.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// The response without its watch id.
    pub(crate) body: Bytes,
    /// The watch id.
    pub(crate) watch: i64,
}

/// Bytes that all outlets of a gateway hold together.
#[derive(Debug)]
pub(crate) struct Budget {
    limit_bytes: usize,
    used_bytes: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(limit_bytes: usize) -> Arc<Self> {
        Arc::new(Self { limit_bytes, used_bytes: AtomicUsize::new(0) })
    }

    /// What is held now. What many outlets share counts for each.
    pub(crate) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }
}

/// What came of offering a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It will leave.
    Taken,
    /// There is no room.
    Full,
}

/// One stream's way out.
#[derive(Debug)]
pub(crate) struct Outlet {
    limit_bytes: usize,
    budget: Arc<Budget>,
    queue: Mutex<Queue>,
    /// Notified when the client has read, or is gone.
    read: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// Each with what it counts for.
    messages: VecDeque<(Message, usize)>,
    bytes: usize,
    reader: Option<Waker>,
    /// How much room somebody who was refused waits for.
    wanted: Option<usize>,
    /// Nothing more comes; after what is queued, this is said.
    end: Option<Status>,
    /// The client is gone.
    gone: bool,
}

/// What the client's side gets.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The next message.
    pub(crate) message: Message,
    /// There is room again for what was refused.
    pub(crate) relieved: bool,
}

impl Outlet {
    pub(crate) fn new(limit_bytes: usize, budget: Arc<Budget>) -> Arc<Self> {
        let queue = Mutex::new(Queue::default());
        Arc::new(Self { limit_bytes, budget, queue, read: Notify::new() })
    }

    /// Offers one response, in its parts.
    pub(crate) fn offer(&self, watch: i64, parts: &[Bytes]) -> Offered {
        let mut queue = self.lock();
        let bytes = queue.cost(parts);
        if !queue.messages.is_empty() && !self.fits(&queue, bytes) {
            queue.wanted = Some(queue.wanted.unwrap_or(self.limit_bytes / 2).max(bytes));
            return Offered::Full;
        }
        self.take(&mut queue, watch, parts);
        Offered::Taken
    }

    /// Takes a small message, room or not: what its sender keeps few in number.
    pub(crate) fn force(&self, watch: i64, body: Bytes) {
        self.take(&mut self.lock(), watch, &[body]);
    }

    /// Whether a stream that was refused should try again, as far as this outlet knows. If not, it will
    /// be told.
    pub(crate) fn has_room(&self) -> bool {
        let mut queue = self.lock();
        let half = self.limit_bytes / 2;
        if queue.messages.is_empty() || queue.wanted.is_none() && self.fits(&queue, half) {
            return true;
        }
        queue.wanted.get_or_insert(half);
        false
    }

    /// Waits until less than the limit is queued.
    pub(crate) async fn room(&self) {
        loop {
            let read = self.read.notified();
            {
                let queue = self.lock();
                if queue.gone || queue.bytes < self.limit_bytes {
                    return;
                }
            }
            read.await;
        }
    }

    /// Ends the stream, once what is queued has left.
    pub(crate) fn end(&self, status: Status) {
        let mut queue = self.lock();
        queue.end.get_or_insert(status);
        wake(&mut queue);
    }

    /// The client is gone: nothing more is kept.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.gone = true;
        self.budget.used_bytes.fetch_sub(queue.bytes, Ordering::Relaxed);
        queue.bytes = 0;
        queue.messages = VecDeque::new();
        drop(queue);
        self.read.notify_waiters();
    }

    /// The client's side: the next message; at the end, how it ended.
    pub(crate) fn poll_take(&self, context: &mut Context<'_>) -> Poll<Result<Taken, Status>> {
        let mut queue = self.lock();
        let Some(message) = queue.messages.pop_front() else {
            if let Some(end) = &queue.end {
                return Poll::Ready(Err(end.clone()));
            }
            match &mut queue.reader {
                Some(reader) => reader.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            return Poll::Pending;
        };
        let (message, bytes) = (message.0, message.1);
        queue.bytes -= bytes;
        self.budget.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let wanted = queue.wanted.unwrap_or(self.limit_bytes / 2);
        let roomy = queue.messages.is_empty() || queue.bytes + wanted <= self.limit_bytes;
        let relieved = roomy && queue.wanted.take().is_some();
        drop(queue);
        if roomy {
            self.read.notify_waiters();
        }
        Poll::Ready(Ok(Taken { message, relieved }))
    }

    fn fits(&self, queue: &Queue, bytes: usize) -> bool {
        queue.bytes + bytes <= self.limit_bytes
            && self.budget.used_bytes() + bytes <= self.budget.limit_bytes
    }

    fn take(&self, queue: &mut Queue, watch: i64, parts: &[Bytes]) {
        if queue.gone || queue.end.is_some() {
            return;
        }
        for part in parts {
            let bytes = queue.cost(std::slice::from_ref(part));
            let message = Message { body: part.clone(), watch };
            queue.messages.push_back((message, bytes));
            queue.bytes += bytes;
            self.budget.used_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        wake(queue);
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing that runs under the lock leaves it half done.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// What these parts count for. What the watchers of one stream share lies in memory once.
    fn cost(&self, parts: &[Bytes]) -> usize {
        let cost = |(at, part): (usize, &Bytes)| match self.messages.back() {
            Some((last, _)) if at == 0 && last.body.as_ptr() == part.as_ptr() => MESSAGE_BYTES,
            _ => MESSAGE_BYTES + part.len(),
        };
        parts.iter().enumerate().map(cost).sum()
    }
}

fn wake(queue: &mut Queue) {
    if let Some(reader) = queue.reader.take() {
        reader.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(len: usize) -> Bytes {
        Bytes::from(vec![1; len])
    }

    fn take(outlet: &Outlet) -> Option<(i64, bool)> {
        let mut context = Context::from_waker(Waker::noop());
        match outlet.poll_take(&mut context) {
            Poll::Ready(Ok(taken)) => Some((taken.message.watch, taken.relieved)),
            Poll::Ready(Err(status)) => panic!("{status}"),
            Poll::Pending => None,
        }
    }

    #[test]
    fn it_is_full_at_its_limit_and_says_once_when_there_is_room() {
        let budget = Budget::new(1 << 20);
        let outlet = Outlet::new(1000, Arc::clone(&budget));
        assert_eq!(outlet.offer(1, &[body(5000)]), Offered::Taken, "the first, however large");
        assert_eq!(outlet.offer(2, &[body(10)]), Offered::Full);
        assert!(!outlet.has_room());
        assert_eq!(take(&outlet), Some((1, true)));
        assert_eq!(outlet.offer(3, &[body(100)]), Offered::Taken);
        assert_eq!(outlet.offer(3, &[body(100)]), Offered::Taken);
        assert_eq!(outlet.offer(3, &[body(500), body(500)]), Offered::Full, "all parts or none");
        assert_eq!(take(&outlet), Some((3, false)), "not yet enough");
        assert_eq!(take(&outlet), Some((3, true)));
        assert_eq!(take(&outlet), None);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn what_is_shared_counts_once_and_what_all_hold_is_bounded() {
        let budget = Budget::new(3000);
        let (outlet, other) =
            (Outlet::new(2000, Arc::clone(&budget)), Outlet::new(2000, Arc::clone(&budget)));
        let shared = [body(1000)];
        for watch in 0..10 {
            assert_eq!(outlet.offer(watch, &shared), Offered::Taken);
        }
        assert_eq!(other.offer(1, &[body(1000)]), Offered::Taken);
        assert_eq!(other.offer(1, &[body(500)]), Offered::Full);
        outlet.close();
        assert_eq!(other.offer(1, &[body(500)]), Offered::Taken);
        other.close();
        assert_eq!(budget.used_bytes(), 0);
        outlet.force(1, body(10));
        assert_eq!(budget.used_bytes(), 0, "nothing is kept for a client that is gone");
    }

    #[test]
    fn what_is_queued_leaves_before_the_end() {
        let outlet = Outlet::new(1000, Budget::new(1000));
        outlet.force(1, body(10));
        outlet.end(Status::aborted("over"));
        outlet.force(2, body(10));
        assert_eq!(take(&outlet), Some((1, false)));
        let end = outlet.poll_take(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(end, Poll::Ready(Err(status)) if status.message() == "over"));
    }
}
