//! The journal's thread: group commit.
//!
//! Whatever has queued while the last sync ran goes out in one append and one sync, of all groups.
//! Nothing waits to be joined by more: an idle journal writes at once.
//!
//! # Durability
//!
//! [`Event::Journaled`] is reported after `sync` has returned, and for nothing else. A failed write
//! or sync is never tried again: after it the page cache lies, so the process ends. Only a disk that
//! is full *before* anything was written is waited for.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use journal::{AppendError, Journal, Record};
use node::{Event, WriteId};

use super::mailbox::Mailbox;
use super::metrics::Metrics;
use super::os_disk::OsDisk;
use super::queue::{Queue, Taken};
use super::stages::observe;
use super::{clock, threads};
use crate::errors::{Fault, chain};

/// Pause before a full disk is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// Nothing came for so long: the journal is idle. To seal after every sync would cost a lone client
/// a write for each of its own.
const IDLE: Duration = Duration::from_millis(5);

/// What the node wants of its journal.
#[derive(Debug)]
pub(crate) enum Task {
    /// Append these and sync.
    Write {
        /// Under this name.
        write: WriteId,
        /// What.
        records: Vec<Record>,
        /// Since when it waits.
        since: Instant,
    },
    /// The damage that was found is repaired.
    ClearDamage,
}

/// Starts the thread. When the queue is closed, it writes what is in it, closes the journal cleanly and
/// ends.
pub(crate) fn start(
    journal: Journal<OsDisk>,
    queue: Arc<Queue<Task>>,
    mailbox: Arc<Mailbox>,
    metrics: Metrics,
) -> Result<JoinHandle<()>, Fault> {
    let writer = Writer { journal, queue, mailbox, metrics };
    threads::start("journal", move || writer.run())
}

struct Writer {
    journal: Journal<OsDisk>,
    queue: Arc<Queue<Task>>,
    mailbox: Arc<Mailbox>,
    metrics: Metrics,
}

impl Writer {
    fn run(mut self) {
        let mut tasks = Vec::new();
        while self.queue.take(usize::MAX, &mut tasks) == Taken::Some {
            if !self.carry_out(&mut tasks) {
                return;
            }
            if self.queue.stays_empty(IDLE) {
                self.idle();
            }
        }
        if let Err(error) = self.journal.close() {
            failed(&error);
        }
    }

    /// Returns `false` if the process ends before the disk has room.
    fn carry_out(&mut self, tasks: &mut Vec<Task>) -> bool {
        let mut gathered = Vec::new();
        let mut last = None;
        let mut oldest = None;
        let mut clear = false;
        for task in tasks.drain(..) {
            match task {
                Task::Write { write, records, since } => {
                    oldest = oldest.or(Some(since));
                    assert!(last < Some(write), "writes come in their order");
                    last = Some(write);
                    if gathered.is_empty() {
                        gathered = records;
                    } else {
                        gathered.extend(records);
                    }
                }
                Task::ClearDamage => clear = true,
            }
        }
        if let Some(last) = last {
            let begun = clock::instant();
            let waited = oldest.map_or(Duration::ZERO, |since| begun - since);
            observe(&self.metrics.stages.journal_wait, waited);
            if !self.append(&gathered) {
                return false;
            }
            self.sync();
            observe(&self.metrics.stages.journal_write, begun.elapsed());
            self.mailbox.journaled(last);
            self.prepare();
        }
        if clear && let Err(error) = self.journal.clear_damage() {
            failed(&error);
        }
        self.count();
        true
    }

    fn append(&mut self, records: &[Record]) -> bool {
        let mut full = false;
        loop {
            match self.journal.append(records) {
                Ok(()) => break,
                Err(AppendError::DiskFull(_)) => {
                    if !full {
                        self.mailbox.event(Event::JournalFull(true));
                    }
                    full = true;
                    if self.queue.pause(FULL_PAUSE) {
                        return false;
                    }
                }
                Err(error) => failed(&error),
            }
        }
        if full {
            self.mailbox.event(Event::JournalFull(false));
        }
        true
    }

    fn sync(&mut self) {
        let begun = clock::instant();
        if let Err(error) = self.journal.sync() {
            failed(&error);
        }
        self.metrics.fsyncs.observe(begun.elapsed().as_secs_f64());
    }

    /// Nothing waits: now is the time for what would only delay a batch.
    fn idle(&mut self) {
        self.journal.seal();
        self.prepare();
    }

    /// A little of the next segment at a time, so that none is wanted before it is there.
    fn prepare(&mut self) {
        match self.journal.prepare() {
            // A full disk is found again, and told, when a batch needs the room.
            Ok(()) | Err(AppendError::DiskFull(_)) => {}
            Err(error) => failed(&error),
        }
    }

    fn count(&self) {
        let stats = self.journal.stats();
        self.metrics.journal_bytes.inner().store(stats.bytes, std::sync::atomic::Ordering::Relaxed);
        self.metrics.journal_segments.set(self.journal.segments() as u64);
    }
}

/// The journal can't go on, and so nor can the process. Nothing that was not durable has been said.
fn failed(error: &(dyn std::error::Error + 'static)) -> ! {
    let what = chain(error);
    Fault::JournalFailed { what }.end_process()
}
