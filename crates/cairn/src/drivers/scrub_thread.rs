//! The thread that scrubs: it reads all that the node holds, in steps, and leaves processors and disk to
//! others between them.
//!
//! # Bounds
//!
//! In the queue are as many tasks as there are scrubs in the log that nobody has looked at yet; all but the
//! last are no longer wanted, and end at their first step.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use node::{ScrubStep, ScrubTask};

use super::mailbox::Mailbox;
use super::manners::politely;
use super::metrics::Metrics;
use super::queue::{Queue, Taken};
use super::{clock, threads};
use crate::errors::Fault;

/// What a scrub reads in a second at most: little beside what a disk can do, and a terabyte in five hours.
const BYTES_PER_SECOND: u64 = 64 << 20;

/// What it reads at once.
const STEP_BYTES: usize = 1 << 20;

/// Starts the thread. It ends when the queue is closed, wherever it is.
pub(crate) fn start(
    queue: Arc<Queue<ScrubTask>>,
    mailbox: Arc<Mailbox>,
    metrics: Metrics,
) -> Result<JoinHandle<()>, Fault> {
    threads::start("scrub", move || {
        let mut tasks = Vec::new();
        while queue.take(1, &mut tasks) == Taken::Some {
            for task in tasks.drain(..) {
                scrub(task, &queue, &mailbox, &metrics);
            }
        }
    })
}

fn scrub(mut task: ScrubTask, queue: &Queue<ScrubTask>, mailbox: &Mailbox, metrics: &Metrics) {
    loop {
        let begun = clock::instant();
        match politely(None, || task.step(STEP_BYTES)) {
            ScrubStep::More { bytes } => {
                if queue.pause(time_of(bytes).saturating_sub(begun.elapsed())) {
                    return;
                }
            }
            ScrubStep::Ended(event) => {
                metrics.last_scrub.set(clock::wall_ms() / 1000);
                return mailbox.event(event);
            }
            ScrubStep::Unwanted => return,
        }
    }
}

/// How long so many bytes may take at least.
fn time_of(bytes: usize) -> Duration {
    Duration::from_micros(bytes as u64 * 1_000_000 / BYTES_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrub_keeps_to_its_pace() {
        assert_eq!(time_of(64 << 20), Duration::from_secs(1));
        assert_eq!(time_of(STEP_BYTES), Duration::from_secs(1) / 64);
    }
}
