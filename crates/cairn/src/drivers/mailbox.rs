//! What waits for the node's thread: completions, peers' messages, clients' requests.
//!
//! Three queues behind one lock, and one sleeper. A channel has one queue, and waiting on several with
//! a deadline needs a select; with all three in one place, the node's task takes everything that
//! is waiting by swapping three vectors. Whoever puts something in wakes it only if it sleeps, which is
//! a system call from another thread, and none from a task of the node's own.
//!
//! # Bounds
//!
//! * Completions and cancellations are never refused: there is at most one for each thing that the
//!   node has asked for, or that was asked of it.
//! * Peers' messages beyond [`Limits::peer_bytes`] are dropped and counted: consensus tolerates loss.
//! * Requests beyond [`Limits::requests`] or [`Limits::request_bytes`] are not taken, to be
//!   refused as busy at once. So a flood of clients can't hold up a completion.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use node::{Event, PeerEnvelope, Ticket, WriteId};
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::timeout;
use wire::Request;

use super::answers::ReplyTo;
use super::clock;
use super::outbox::weight;

/// What a request costs beyond its bytes.
const REQUEST_OVERHEAD_BYTES: usize = 256;

/// How much may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Requests, in number.
    pub(crate) requests: usize,
    /// Requests, in bytes.
    pub(crate) request_bytes: usize,
    /// Peers' messages, in bytes.
    pub(crate) peer_bytes: usize,
}

/// A request on its way to the node.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Its name.
    pub(crate) ticket: Ticket,
    /// What it asks.
    pub(crate) request: Request,
    /// Who waits for the answer.
    pub(crate) reply_to: ReplyTo,
}

/// All that was waiting.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Completions, cancellations, hints.
    pub(crate) events: Vec<Event>,
    /// Peers' messages.
    pub(crate) messages: Vec<PeerEnvelope>,
    /// Clients' requests.
    pub(crate) requests: Vec<Incoming>,
    /// The node shall end.
    pub(crate) closed: bool,
    /// When the first of them came.
    pub(crate) since: Option<Instant>,
    /// When the first sync of the journal ended that is among them.
    pub(crate) synced: Option<Instant>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.events.is_empty()
            && self.messages.is_empty()
            && self.requests.is_empty()
            && !self.closed
    }
}

/// The node's mailbox.
#[derive(Debug)]
pub(crate) struct Mailbox {
    limits: Limits,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Batch,
    request_bytes: usize,
    peer_bytes: usize,
    sleeping: bool,
}

impl Mailbox {
    /// An empty one.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), wake: Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if state.waiting.since.is_none() {
            state.waiting.since = Some(clock::instant());
        }
        let sleeping = std::mem::take(&mut state.sleeping);
        drop(state);
        if sleeping {
            self.wake.notify_one();
        }
    }

    /// A completion, a cancellation or a hint: always taken.
    pub(crate) fn event(&self, event: Event) {
        let mut state = self.state();
        state.waiting.events.push(event);
        self.wake(state);
    }

    /// A write of the journal is durable.
    pub(crate) fn journaled(&self, write: WriteId) {
        let mut state = self.state();
        state.waiting.synced = state.waiting.synced.or(Some(clock::instant()));
        state.waiting.events.push(Event::Journaled(write));
        self.wake(state);
    }

    /// Messages of another node. Returns how many were dropped.
    pub(crate) fn messages(&self, messages: &mut Vec<PeerEnvelope>) -> usize {
        let mut state = self.state();
        let mut dropped = 0;
        for message in messages.drain(..) {
            let bytes = weight(&message);
            // One is taken however large it is, or it would never get through.
            if state.peer_bytes > 0 && state.peer_bytes + bytes > self.limits.peer_bytes {
                dropped += 1;
                continue;
            }
            state.peer_bytes += bytes;
            state.waiting.messages.push(message);
        }
        self.wake(state);
        dropped
    }

    /// A client's request; `false` if there is no room for it.
    pub(crate) fn request(&self, incoming: Incoming) -> bool {
        let bytes = REQUEST_OVERHEAD_BYTES
            + match incoming.request.bare() {
                Request::Write(command) => command.len(),
                Request::Read { query, .. } => query.range.start.len(),
                Request::Watch { range, .. } => range.start.len(),
                Request::Status
                | Request::Scrub
                | Request::Transfer { .. }
                | Request::Members
                | Request::ChangeMembers(_)
                | Request::KeepAlive { .. }
                | Request::Lease { .. }
                | Request::Leases
                | Request::Auth(_)
                | Request::Authenticate { .. }
                | Request::As { .. } => 0,
            };
        let mut state = self.state();
        let full = state.waiting.requests.len() >= self.limits.requests
            || state.request_bytes + bytes > self.limits.request_bytes.max(bytes);
        if full || state.waiting.closed {
            return false;
        }
        state.request_bytes += bytes;
        state.waiting.requests.push(incoming);
        self.wake(state);
        true
    }

    /// The node shall end.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.waiting.closed = true;
        self.wake(state);
    }

    /// Waits until something is there, for `time` at most. All other tasks of the thread have had their
    /// turn meanwhile, in any case: what the sockets have joins what is there.
    pub(crate) async fn ready(&self, time: Option<Duration>) {
        if !self.falls_asleep() {
            return yield_now().await;
        }
        // A wake between the two is kept by the notification. One that is left over from a sleep that
        // ended by itself wakes once too often, which does no harm.
        let woken = self.wake.notified();
        match time {
            None => woken.await,
            // Either is what was waited for.
            Some(time) => drop(timeout(time, woken).await),
        }
    }

    /// Whether there is nothing to do. Who puts something in from then on wakes us.
    fn falls_asleep(&self) -> bool {
        let mut state = self.state();
        state.sleeping = state.waiting.is_empty();
        state.sleeping
    }

    /// Takes all that is waiting. `into` must be empty.
    pub(crate) fn take(&self, into: &mut Batch) {
        assert!(into.is_empty(), "what was taken before was carried out");
        (into.since, into.synced) = (None, None);
        let mut state = self.state();
        state.sleeping = false;
        std::mem::swap(&mut state.waiting, into);
        state.waiting.closed = into.closed;
        state.request_bytes = 0;
        state.peer_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::oneshot;
    use wire::NodeId;

    use super::*;

    const LIMITS: Limits = Limits { requests: 3, request_bytes: 10_000, peer_bytes: 1000 };

    fn write(bytes: usize) -> Incoming {
        let (reply_to, _) = oneshot::channel();
        Incoming {
            ticket: Ticket(1),
            request: Request::Write(Bytes::from(vec![0; bytes])),
            reply_to: ReplyTo::Task(reply_to),
        }
    }

    fn take(mailbox: &Mailbox) -> Batch {
        let mut batch = Batch::default();
        mailbox.take(&mut batch);
        batch
    }

    #[test]
    fn a_flood_of_requests_is_refused_and_holds_up_no_completion() {
        let mailbox = Mailbox::new(LIMITS);
        for _ in 0..3 {
            assert!(mailbox.request(write(1)));
        }
        assert!(!mailbox.request(write(1)));
        mailbox.event(Event::Journaled(node::WriteId(7)));
        let batch = take(&mailbox);
        assert_eq!((batch.events.len(), batch.requests.len()), (1, 3));
        assert!(mailbox.request(write(1)));
    }

    #[test]
    fn requests_are_bounded_in_bytes_but_one_always_fits() {
        let mailbox = Mailbox::new(LIMITS);
        assert!(mailbox.request(write(9000)));
        assert!(!mailbox.request(write(9000)));
        take(&mailbox);
        assert!(mailbox.request(write(20_000)));
    }

    #[test]
    fn messages_beyond_the_limit_are_dropped_and_counted() {
        let message = || PeerEnvelope {
            cluster: 1,
            from: NodeId(1),
            to: NodeId(2),
            message: node::PeerMessage::NoChunk { group: wire::GroupId(1), fetch: 1 },
        };
        let mailbox = Mailbox::new(LIMITS);
        let dropped = mailbox.messages(&mut (0..100).map(|_| message()).collect());
        let taken = take(&mailbox).messages.len();
        assert!(dropped > 0 && taken > 0 && dropped + taken == 100, "{taken} of 100 taken");
    }

    #[test]
    fn a_closed_mailbox_takes_no_requests_and_stays_closed() {
        let mailbox = Mailbox::new(LIMITS);
        mailbox.close();
        assert!(!mailbox.request(write(1)));
        assert!(take(&mailbox).closed);
        assert!(take(&mailbox).closed);
    }
    #[tokio::test]
    async fn whoever_sleeps_is_woken_by_what_comes_and_by_time() {
        let mailbox = std::sync::Arc::new(Mailbox::new(LIMITS));
        mailbox.ready(Some(Duration::from_millis(1))).await;
        let sleeper = std::sync::Arc::clone(&mailbox);
        let woken = tokio::spawn(async move { sleeper.ready(None).await });
        tokio::task::yield_now().await;
        mailbox.event(Event::Tick);
        woken.await.unwrap();
        mailbox.ready(None).await;
        assert_eq!(take(&mailbox).events.len(), 1);
    }
}
