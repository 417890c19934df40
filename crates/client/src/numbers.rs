//! The numbers of one client's writes, and below which of them the cluster may forget its answers.
//!
//! # Invariants
//!
//! * A number is given out once.
//! * `done_below` never exceeds a number that is in flight.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wire::Outcome;

/// So many numbers behind the newest, an answer that never came is no longer held open for a
/// retry: otherwise one lost answer would make the cluster remember all later ones for ever.
const HELD_OPEN: u64 = 64;

/// A client's count of its writes. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// The last number that was given out.
    last: u64,
    in_flight: BTreeSet<u64>,
    /// Ended without an answer: the caller may repeat these.
    unknown: BTreeSet<u64>,
}

/// A number in flight. Dropped without [`Number::settle`], it counts as unknown.
#[derive(Debug)]
pub(crate) struct Number {
    numbers: Numbers,
    /// The number itself.
    pub(crate) value: u64,
    /// The client has its answers to all numbers below this one.
    pub(crate) done_below: u64,
}

impl Numbers {
    /// The next number.
    pub(crate) fn begin(&self) -> Number {
        let mut book = self.book();
        book.last += 1;
        let number = book.last;
        book.in_flight.insert(number);
        book.unknown = book.unknown.split_off(&number.saturating_sub(HELD_OPEN));
        let open = [book.in_flight.first(), book.unknown.first()];
        let done_below = open.into_iter().flatten().copied().min().unwrap_or(number);
        assert!(done_below <= number, "a number in flight counts as done");
        Number { numbers: self.clone(), value: number, done_below }
    }

    /// A number that ended as unknown was repeated by the caller, and has its answer now.
    pub(crate) fn resolve(&self, number: u64) {
        self.book().unknown.remove(&number);
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing in here can panic half-way through a change.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Number {
    /// The write has come to this.
    pub(crate) fn settle(self, outcome: Outcome) {
        match outcome {
            Outcome::Done | Outcome::NotDone => {
                self.numbers.book().in_flight.remove(&self.value);
            }
            // What dropping does.
            Outcome::Unknown => {}
        }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        let mut book = self.numbers.book();
        if book.in_flight.remove(&self.value) {
            book.unknown.insert(self.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn done_below_waits_for_the_lowest_number_in_flight() {
        let numbers = Numbers::default();
        let first = numbers.begin();
        let second = numbers.begin();
        assert_eq!((first.value, first.done_below), (1, 1));
        assert_eq!((second.value, second.done_below), (2, 1));
        second.settle(Outcome::Done);
        assert_eq!(numbers.begin().done_below, 1);
        first.settle(Outcome::NotDone);
        // The third was dropped: nobody knows what became of it, so it is held open.
        assert_eq!(numbers.begin().done_below, 3);
        numbers.resolve(3);
        numbers.resolve(4);
        assert_eq!(numbers.begin().done_below, 5);
    }

    #[test]
    fn an_answer_that_never_came_is_held_open_for_a_bounded_number_of_writes() {
        let numbers = Numbers::default();
        numbers.begin().settle(Outcome::Unknown);
        for _ in 0..HELD_OPEN {
            let number = numbers.begin();
            assert_eq!(number.done_below, 1);
            number.settle(Outcome::Done);
        }
        let number = numbers.begin();
        assert_eq!(number.done_below, number.value);
    }
}
