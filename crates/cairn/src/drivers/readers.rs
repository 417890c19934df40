//! The threads that run reads: they may block on the disk, the node may not.

use std::sync::Arc;
use std::thread::JoinHandle;

use engine::ReadError;
use node::{Answer, ChunkTask, Event, ReadTask};

use super::answers::{Answers, Parcel, ReplyTo};
use super::mailbox::Mailbox;
use super::manners::politely;
use super::queue::{Queue, Taken};
use super::threads;
use crate::errors::Fault;

/// Reads taken at once. Their answers go out together, so it must be small enough that the first
/// does not wait long for the last.
const BATCH: usize = 16;

/// One read.
#[derive(Debug)]
pub(crate) enum Read {
    /// For a client.
    Answer {
        /// Who waits.
        reply_to: ReplyTo,
        /// What to read.
        task: ReadTask,
    },
    /// For another node.
    Chunk(ChunkTask),
}

/// Starts the threads. They end when the queue is closed.
pub(crate) fn start(
    count: usize,
    queue: &Arc<Queue<Read>>,
    mailbox: &Arc<Mailbox>,
    answers: &Answers,
) -> Result<Vec<JoinHandle<()>>, Fault> {
    (0..count)
        .map(|_| {
            let (queue, mailbox) = (Arc::clone(queue), Arc::clone(mailbox));
            let answers = answers.clone();
            threads::start("reader", move || run(&queue, &mailbox, &answers))
        })
        .collect()
}

#[expect(clippy::result_large_err, reason = "an error here ends the process")]
fn run_one(task: ReadTask) -> Result<Answer, (Answer, ReadError)> {
    if task.is_long() { politely(None, || task.run()) } else { task.run() }
}

fn run(queue: &Queue<Read>, mailbox: &Mailbox, answers: &Answers) {
    let mut reads = Vec::with_capacity(BATCH);
    let mut gathered = Parcel::default();
    while queue.take(BATCH, &mut reads) == Taken::Some {
        for read in reads.drain(..) {
            match read {
                Read::Answer { reply_to, task } => match run_one(task) {
                    Ok(answer) => gathered.push((reply_to, answer)),
                    Err((answer, error)) => {
                        gathered.push((reply_to, answer));
                        mailbox.event(Event::ReadFailed(error));
                    }
                },
                Read::Chunk(task) => mailbox.event(politely(None, || task.run())),
            }
        }
        answers.send(&mut gathered);
    }
}
