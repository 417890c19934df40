//! The schedule of an open loop: operation `i` starts at `begin + i / rate`.
//!
//! Clients that are free stand in line and take the next start. Nothing is queued but one start: what
//! is overdue is just a number that the line has not reached yet, so a server that is too slow costs
//! no memory. The runtime's timers tick by the millisecond, so a thread of its own keeps the time.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, mpsc};

use crate::drivers::{clock, threads};
use crate::errors::Fault;

/// How late the system may wake the thread, in nanoseconds; by itself it takes 50 000.
const SLACK_NS: NonZeroU64 = NonZeroU64::new(1000).expect("it is not zero");

/// Hands out starts.
#[derive(Debug)]
pub(super) struct Pacer {
    schedule: Schedule,
    taken: AtomicU64,
    starts: Mutex<mpsc::Receiver<Instant>>,
}

/// The schedule itself.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    begin: Instant,
    rate: u32,
    total: u64,
    /// Past this nothing is started any more.
    give_up: Instant,
}

impl Pacer {
    /// A schedule from `begin` to `end`. What could not be started by `give_up` never is.
    pub(super) fn start(
        begin: Instant,
        end: Instant,
        rate: u32,
        give_up: Instant,
    ) -> Result<Self, Fault> {
        assert!(rate > 0, "a rate is above zero");
        let mut schedule = Schedule { begin, rate, total: u64::MAX, give_up };
        schedule.total = schedule.number_at(end);
        let (sender, starts) = mpsc::channel(1);
        threads::start("pacer", move || schedule.keep(&sender))?;
        Ok(Self { schedule, taken: AtomicU64::new(0), starts: Mutex::new(starts) })
    }

    /// Waits for the next start, and says when it should have been; `None` when all are handed out
    /// or it is too late for the rest.
    pub(super) async fn next(&self) -> Option<Instant> {
        let due = self.starts.lock().await.recv().await?;
        self.taken.fetch_add(1, Ordering::Relaxed);
        Some(due)
    }

    /// How many of the starts from `begin` on were never handed out.
    pub(super) fn left(&self, begin: Instant) -> u64 {
        let taken = self.taken.load(Ordering::Relaxed);
        let before = self.schedule.number_at(begin);
        self.schedule.total - taken.max(before)
    }
}

impl Schedule {
    fn keep(self, starts: &mpsc::Sender<Instant>) {
        // Without it starts come a little late, and that is all.
        let _ = rustix::thread::set_current_timer_slack(Some(SLACK_NS));
        for number in 0..self.total {
            let due = self.due(number);
            loop {
                let left = due.saturating_duration_since(clock::instant());
                if left.is_zero() {
                    break;
                }
                std::thread::park_timeout(left);
            }
            if clock::instant() > self.give_up || starts.blocking_send(due).is_err() {
                return;
            }
        }
    }

    /// How many start before `time`.
    fn number_at(self, time: Instant) -> u64 {
        let passed = time.saturating_duration_since(self.begin);
        let number = (passed.as_nanos() * u128::from(self.rate)).div_ceil(1_000_000_000);
        u64::try_from(number).expect("a day at ten million a second").min(self.total)
    }

    fn due(self, number: u64) -> Instant {
        let nanos = u128::from(number) * 1_000_000_000 / u128::from(self.rate);
        self.begin + Duration::from_nanos(u64::try_from(nanos).expect("a day in nanoseconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn starts_keep_their_times_however_late_they_are_taken() {
        runtime().block_on(async {
            let begin = clock::instant();
            let end = begin + Duration::from_secs(1);
            let pacer = Pacer::start(begin, end, 4, end + Duration::from_mins(1)).unwrap();
            for quarter in 0..4_u64 {
                let due = pacer.next().await;
                assert_eq!(due, Some(begin + Duration::from_millis(250 * quarter)));
            }
            assert_eq!(pacer.next().await, None);
            assert_eq!(pacer.left(begin), 0);
        });
    }

    #[test]
    fn nothing_starts_early_and_nothing_after_the_end_of_patience() {
        runtime().block_on(async {
            let begin = clock::instant();
            let end = begin + Duration::from_millis(20);
            let pacer = Pacer::start(begin, end, 500, end).unwrap();
            while let Some(due) = pacer.next().await {
                assert!(clock::instant() >= due);
            }
            let late = Pacer::start(begin, end, 500, begin).unwrap();
            assert_eq!((late.next().await, late.left(begin)), (None, 10));
            assert_eq!(late.left(begin + Duration::from_millis(10)), 5);
        });
    }
}
