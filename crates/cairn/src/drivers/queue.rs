//! Work for a thread: put in without waiting, taken out in order, all that is there at once.
//!
//! # Bounds
//!
//! The queue has no bound of its own, because the node must never wait for a disk. What can be in
//! it is bounded by the node: it asks for no more writes, jobs and reads than its own limits on
//! commands and requests in flight, and waits for their completion.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue between the node's thread and others.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    wake: Condvar,
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<T>,
    sleepers: usize,
    closed: bool,
}

/// What [`Queue::take`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// At least one item.
    Some,
    /// None, and there will be none.
    Closed,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Queue<T> {
    /// An empty queue.
    pub(crate) fn new() -> Self {
        let state = State { items: VecDeque::new(), sleepers: 0, closed: false };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        // Nothing in here can panic half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts one item in.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.state();
        state.items.push_back(item);
        // To wake a thread is a system call: none where nobody sleeps.
        let wake = state.sleepers > 0;
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    /// Takes up to `most` items, waiting for the first.
    pub(crate) fn take(&self, most: usize, into: &mut Vec<T>) -> Taken {
        let mut state = self.state();
        while state.items.is_empty() {
            if state.closed {
                return Taken::Closed;
            }
            state.sleepers += 1;
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.sleepers -= 1;
        }
        let count = state.items.len().min(most);
        into.extend(state.items.drain(..count));
        Taken::Some
    }

    /// Waits for an item, for `time` at most; says whether there was none all that time.
    pub(crate) fn stays_empty(&self, time: Duration) -> bool {
        let mut state = self.state();
        state.sleepers += 1;
        let idle = |state: &mut State<T>| state.items.is_empty() && !state.closed;
        let waited = self.wake.wait_timeout_while(state, time, idle);
        let (mut state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        state.sleepers -= 1;
        result.timed_out()
    }

    /// Nothing more will come. What is in it can still be taken.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.wake.notify_all();
    }

    /// Waits until the queue is closed, for `time` at most; says whether it is.
    pub(crate) fn pause(&self, time: Duration) -> bool {
        let state = self.state();
        let (state, _) = self
            .wake
            .wait_timeout_while(state, time, |state| !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_and_in_batches() {
        let queue = Queue::new();
        (1..=5).for_each(|item| queue.push(item));
        let mut taken = Vec::new();
        assert_eq!(queue.take(3, &mut taken), Taken::Some);
        assert_eq!(queue.take(3, &mut taken), Taken::Some);
        assert_eq!(taken, [1, 2, 3, 4, 5]);
        assert!(queue.stays_empty(Duration::ZERO));
        queue.push(6);
        assert!(!queue.stays_empty(Duration::from_hours(1)));
    }

    #[test]
    fn a_closed_queue_gives_what_it_has_first() {
        let queue = Queue::new();
        queue.push(1);
        queue.close();
        let mut taken = Vec::new();
        assert_eq!(queue.take(9, &mut taken), Taken::Some);
        assert_eq!(queue.take(9, &mut taken), Taken::Closed);
        assert!(queue.pause(Duration::from_hours(1)), "it does not wait when closed");
    }
}
