//! The thread that computes with passwords, which takes long on purpose: neither the node nor a runtime
//! has so much time, and the readers shall not wait behind whoever guesses passwords.
//!
//! # Bounds
//!
//! At most [`WAITING`] passwords wait; one more is refused as busy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;

use node::{Answer, VerifyTask};
use tokio::sync::oneshot;
use wire::{Hidden, Refusal};

use super::answers::{Answers, Parcel, ReplyTo};
use super::queue::{Queue, Taken};
use super::threads;
use crate::auth::password;
use crate::errors::Fault;

/// Passwords that may wait: some seconds of work.
const WAITING: usize = 128;

/// Where passwords are handed in. Clones lead to the same thread.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passwords {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Queue<Task>,
    waiting: AtomicUsize,
}

#[derive(Debug)]
enum Task {
    Verify { reply_to: ReplyTo, task: VerifyTask },
    Hash { password: Hidden, hashed: oneshot::Sender<Hidden> },
}

impl Passwords {
    /// Has a password compared, and answers whoever waits; if there is no room, that answer comes back.
    pub(crate) fn verify(&self, reply_to: ReplyTo, task: VerifyTask) -> Option<(ReplyTo, Answer)> {
        match *self.push(Task::Verify { reply_to, task }).err()? {
            (Task::Verify { reply_to, .. }, refusal) => Some((reply_to, Err(refusal))),
            (Task::Hash { .. }, _) => unreachable!("what was handed in comes back"),
        }
    }

    /// What is kept of a password.
    pub(crate) async fn hash(&self, password: Hidden) -> Result<Hidden, Refusal> {
        let (hashed, answer) = oneshot::channel();
        self.push(Task::Hash { password, hashed }).map_err(|rejected| rejected.1)?;
        answer.await.map_err(|_| Refusal::Unavailable { why: "the node is stopping".into() })
    }

    fn push(&self, task: Task) -> Result<(), Box<(Task, Refusal)>> {
        let waiting = &self.shared.waiting;
        if waiting.fetch_add(1, Ordering::AcqRel) >= WAITING {
            waiting.fetch_sub(1, Ordering::AcqRel);
            let what = "too many passwords wait to be compared".to_owned();
            return Err(Box::new((task, Refusal::Busy { what })));
        }
        self.shared.queue.push(task);
        Ok(())
    }

    /// Starts the thread. It ends when [`Passwords::close`] is called.
    pub(crate) fn start(&self, answers: Answers) -> Result<JoinHandle<()>, Fault> {
        let passwords = self.clone();
        threads::start("passwords", move || passwords.run(&answers))
    }

    /// Nothing more will be handed in.
    pub(crate) fn close(&self) {
        self.shared.queue.close();
    }

    fn run(&self, answers: &Answers) {
        let (mut tasks, mut gathered) = (Vec::new(), Parcel::default());
        while self.shared.queue.take(1, &mut tasks) == Taken::Some {
            for task in tasks.drain(..) {
                match task {
                    Task::Verify { reply_to, task } => {
                        let is_right = password::is_right(task.password(), task.stored());
                        gathered.push((reply_to, task.finish(is_right)));
                    }
                    Task::Hash { password, hashed } => {
                        // Whoever waited may have gone.
                        let _ = hashed.send(password::hash(&password));
                    }
                }
                self.shared.waiting.fetch_sub(1, Ordering::AcqRel);
            }
            answers.send(&mut gathered);
        }
    }
}
