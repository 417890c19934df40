//! The storage engine's thread: flushes, compactions, snapshots, one job after the other.
//!
//! A job that failed is reported like one that worked. What it means is the node's decision: only a
//! damaged chunk of a snapshot lets it go on.

use std::sync::Arc;
use std::thread::JoinHandle;

use engine::{Job, Worker};
use node::Event;

use super::mailbox::Mailbox;
use super::manners::{Pressure, politely};
use super::metrics::Metrics;
use super::queue::{Queue, Taken};
use super::{clock, threads};
use crate::errors::Fault;

/// Starts the thread. It ends when the queue is closed and empty.
pub(crate) fn start(
    mut worker: Box<dyn Worker>,
    queue: Arc<Queue<Job>>,
    mailbox: Arc<Mailbox>,
    metrics: Metrics,
    pressure: Pressure,
) -> Result<JoinHandle<()>, Fault> {
    threads::start("storage", move || {
        let mut jobs = Vec::new();
        while queue.take(1, &mut jobs) == Taken::Some {
            for job in jobs.drain(..) {
                let begun = clock::instant();
                let result = politely(Some(&pressure), || worker.run(job));
                metrics.storage_jobs.observe(begun.elapsed().as_secs_f64());
                mailbox.event(Event::Worked(result));
            }
        }
    })
}
