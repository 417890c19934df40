//! Long work that can wait, on processors and a disk that others need.
//!
//! **Processors.** A thread that is woken while all processors are busy waits until the scheduler looks,
//! which may be milliseconds later: each flush, merge and page of a backup would hold up the writes of
//! its time. A lower priority (`nice`) does not help: it says how much a thread gets, and hardly when
//! it has to stop. So this work looks up by itself, after each [`TURN`], and lets others run.
//!
//! **The disk** does one thing after the other: a journal's sync waits for what was written before it,
//! and for blocks that are freed. So this work writes and frees a little at a time, syncs that, and
//! pauses for [`PAUSE`] (see [`super::os_disk`]).
//!
//! **Invariant:** work that presses ([`Pressure`]) lets nobody go first, so that a store under full load
//! does not fall behind its own flushes.

use std::cell::RefCell;
use std::thread::{sleep, yield_now};
use std::time::{Duration, Instant};

use node::metrics::Level;

use super::clock;

/// How long such work goes on before it lets others run.
const TURN: Duration = Duration::from_micros(200);

/// How long such work leaves the disk to others.
const PAUSE: Duration = Duration::from_millis(1);

/// Tells whether work presses.
#[derive(Clone, Debug)]
pub(crate) struct Pressure {
    /// What has gathered.
    pub(crate) gathered: Level,
    /// Beyond this it presses.
    pub(crate) limit: u64,
}

impl Pressure {
    fn is_high(&self) -> bool {
        self.gathered.get() > self.limit
    }
}

struct Manners {
    since: Instant,
    pressure: Option<Pressure>,
}

thread_local! {
    static MANNERS: RefCell<Option<Manners>> = const { RefCell::new(None) };
}

/// Does `work` politely: it lets others run whenever it breathes, unless it presses.
pub(crate) fn politely<T>(pressure: Option<&Pressure>, work: impl FnOnce() -> T) -> T {
    let manners = Manners { since: clock::instant(), pressure: pressure.cloned() };
    MANNERS.set(Some(manners));
    // A panic ends the process, so there is nothing to be tidied up after one.
    let result = work();
    MANNERS.set(None);
    result
}

/// Whether this thread is at work that lets others go first.
pub(crate) fn is_polite() -> bool {
    MANNERS.with_borrow(|manners| {
        manners.as_ref().is_some_and(|manners| {
            manners.pressure.as_ref().is_none_or(|pressure| !pressure.is_high())
        })
    })
}

/// Leaves the disk to others for a moment.
#[expect(clippy::disallowed_methods, reason = "a thread that may block, and nobody waits for it")]
pub(crate) fn pause() {
    sleep(PAUSE);
}

/// Lets others run, if this thread does something politely and has had its turn.
pub(crate) fn breathe() {
    MANNERS.with_borrow_mut(|manners| {
        let Some(manners) = manners else { return };
        if manners.since.elapsed() < TURN {
            return;
        }
        if manners.pressure.as_ref().is_none_or(|pressure| !pressure.is_high()) {
            yield_now();
        }
        manners.since = clock::instant();
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_polite_until_it_presses() {
        let pressure = Pressure { gathered: Level::default(), limit: 10 };
        assert!(!is_polite());
        politely(Some(&pressure), || {
            assert!(is_polite());
            pressure.gathered.set(11);
            assert!(!is_polite());
            breathe();
            pressure.gathered.set(10);
            assert!(is_polite());
        });
        assert!(!is_polite());
        breathe();
    }
}
