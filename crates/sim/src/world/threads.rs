//! The other threads of a process: the journal's, the storage worker's, and those that read.

use std::time::Duration;

use engine::Job;
use journal::{AppendError, Record};
use node::{Event, ScrubStep, ScrubTask, WriteId};

use super::{ProcessStep, World};
use crate::machine::Task;

/// How long a thread waits before it tries again on a full disk.
const FULL_DISK_PAUSE: Duration = Duration::from_millis(50);

impl World {
    // The journal's.

    pub(super) fn queue_journal(&mut self, machine: usize, write: WriteId, records: Vec<Record>) {
        let thread = &mut self.process(machine).journal;
        thread.queue.push_back((write, records));
        if thread.writing.is_none() {
            self.begin_write(machine);
        }
    }

    /// All that is waiting becomes one batch.
    fn begin_write(&mut self, machine: usize) {
        let thread = &mut self.process(machine).journal;
        let Some((mut last, mut batch)) = thread.queue.pop_front() else { return };
        for (write, mut records) in thread.queue.drain(..) {
            assert!(write > last, "journal writes come in order");
            last = write;
            batch.append(&mut records);
        }
        thread.writing = Some((last, batch));
        self.append(machine);
    }

    pub(super) fn append(&mut self, machine: usize) {
        let thread = &mut self.process(machine).journal;
        let (_, batch) = thread.writing.as_ref().expect("there is something to append");
        match thread.journal.append(batch) {
            Ok(()) => {
                if std::mem::replace(&mut thread.full, false) {
                    self.report(machine, Event::JournalFull(false));
                }
                let after = self.machines[machine].sync_time(&self.plan);
                self.plan_step(machine, after, ProcessStep::Sync);
            }
            Err(AppendError::DiskFull(_)) => {
                if !std::mem::replace(&mut thread.full, true) {
                    self.report(machine, Event::JournalFull(true));
                }
                self.plan_step(machine, FULL_DISK_PAUSE, ProcessStep::AppendAgain);
            }
            Err(error) => self.fails(machine, &format!("append to the journal: {error}")),
        }
    }

    pub(super) fn sync_journal(&mut self, machine: usize) {
        let thread = &mut self.process(machine).journal;
        if let Err(error) = thread.journal.sync() {
            return self.fails(machine, &format!("sync the journal: {error}"));
        }
        if !self.survives(machine) {
            return;
        }
        let thread = &mut self.process(machine).journal;
        let (last, _) = thread.writing.take().expect("what is synced was written");
        let idle = thread.queue.is_empty();
        if idle {
            thread.journal.seal();
        }
        self.report(machine, Event::Journaled(last));
        if self.machines[machine].disk.crashed() {
            self.fails(machine, "the power went while the journal was sealed");
        } else if idle {
            self.prepare_journal(machine);
        } else {
            self.begin_write(machine);
        }
    }

    /// Gets the next segment ready while there is nothing else to do.
    fn prepare_journal(&mut self, machine: usize) {
        let process = self.process(machine);
        if !process.rng.chance(500) {
            return;
        }
        match process.journal.journal.prepare() {
            Ok(()) | Err(AppendError::DiskFull(_)) => {}
            Err(error) => self.fails(machine, &format!("prepare a journal segment: {error}")),
        }
    }

    pub(super) fn clear_damage(&mut self, machine: usize) {
        if let Err(error) = self.process(machine).journal.journal.clear_damage() {
            self.fails(machine, &format!("clear the journal's mark of damage: {error}"));
        }
    }

    // The storage worker's.

    pub(super) fn queue_job(&mut self, machine: usize, job: Job) {
        let process = self.process(machine);
        process.jobs.push_back(job);
        if !process.works {
            process.works = true;
            self.plan_work(machine);
        }
    }

    fn plan_work(&mut self, machine: usize) {
        let after = self.machines[machine].work_time(&self.plan);
        self.plan_step(machine, after, ProcessStep::Work);
    }

    pub(super) fn work(&mut self, machine: usize) {
        if !self.survives(machine) {
            return;
        }
        self.fill_at_job(machine);
        let process = self.process(machine);
        let job = process.jobs.pop_front().expect("there is a job to do");
        let result = process.worker.run(job);
        process.works = !process.jobs.is_empty();
        if self.machines[machine].disk.crashed() {
            // The power went; this thread does not live to tell.
            return self.fails(machine, "the power went during a job");
        }
        if !self.survives(machine) {
            return;
        }
        if self.process(machine).works {
            self.plan_work(machine);
        }
        self.report(machine, Event::Worked(result));
    }

    /// The disk fills up in the middle of a flush, a compaction, or a snapshot that comes in.
    fn fill_at_job(&mut self, machine: usize) {
        let this = &mut self.machines[machine];
        if std::mem::take(&mut this.full_at_job) {
            let room = *this.rng.pick(&[0, 100, 5_000, 60_000]);
            this.disk.set_capacity(Some(this.disk.used() + room));
            self.struck("full-at-job");
        }
    }

    // Readers'.

    pub(super) fn plan_task(&mut self, machine: usize, task: Task) {
        let process = self.process(machine);
        process.next_task += 1;
        let name = process.next_task;
        process.tasks.insert(name, task);
        let after = self.machines[machine].work_time(&self.plan);
        self.plan_step(machine, after, ProcessStep::Task(name));
    }

    pub(super) fn run_task(&mut self, machine: usize, name: u64) {
        match self.process(machine).tasks.remove(&name).expect("a task is run once") {
            Task::Chunk(task) => {
                let event = task.run();
                self.report(machine, event);
            }
            Task::Scrub(task) => self.scrub(machine, task),
            Task::Read(ticket, task) => match task.run() {
                Ok(answer) => self.reply(machine, ticket, &answer),
                Err((answer, error)) => {
                    self.reply(machine, ticket, &answer);
                    self.report(machine, Event::ReadFailed(error));
                }
            },
        }
        if self.machines[machine].disk.crashed() {
            self.fails(machine, "the power went during a read");
        }
    }

    /// A step of a scrub. Most are short, so that crashes and later scrubs come between them.
    fn scrub(&mut self, machine: usize, mut task: ScrubTask) {
        let step_bytes = *self.process(machine).rng.pick(&[4_000, 60_000, 200_000]);
        match task.step(step_bytes) {
            ScrubStep::More { .. } => self.plan_task(machine, Task::Scrub(task)),
            ScrubStep::Unwanted => {}
            ScrubStep::Ended(event) => {
                // What was damaged may not be readable; but what is read is what was written.
                if let Event::Scrubbed { index, result: Ok(checksum), .. } = event {
                    let id = self.machines[machine].id();
                    let heard = self.ledger.scrubs(id, index, checksum);
                    self.contradicted(heard);
                }
                self.report(machine, event);
            }
        }
    }
}
