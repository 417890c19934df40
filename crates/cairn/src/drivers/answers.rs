//! From the node and its readers to those who wait for answers.
//!
//! To wake a task of another thread's runtime is a system call. So the answers of one batch cross over
//! as one parcel, with one call, and are handed out on the other side.

use std::sync::Arc;
use std::time::Instant;

use node::{Answer, Ticket};
use tokio::sync::{mpsc, oneshot};

use super::clock;
use super::exchange::Exchange;
use super::metrics::Metrics;
use super::stages::observe;

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum ReplyTo {
    /// A task of ours.
    Task(oneshot::Sender<Answer>),
    /// Someone at the other end of a connection.
    Connection(Arc<Exchange>, Ticket),
}

impl ReplyTo {
    /// Hands the answer over. Who has gone away has said so by a cancellation.
    pub(crate) fn answer(self, answer: Answer) {
        match self {
            Self::Task(task) => drop(task.send(answer)),
            Self::Connection(exchange, ticket) => exchange.answer(ticket, &answer),
        }
    }
}

/// What goes over together: answers, and those who wait for them.
pub(crate) type Parcel = Vec<(ReplyTo, Answer)>;

/// A parcel on its way.
#[derive(Debug)]
struct Sent {
    parcel: Parcel,
    since: Instant,
}

/// Where parcels go in. Holds at most one answer for each request that the node has taken.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    parcels: mpsc::UnboundedSender<Sent>,
}

/// Where they come out.
#[derive(Debug)]
pub(crate) struct Delivery {
    parcels: mpsc::UnboundedReceiver<Sent>,
    metrics: Metrics,
}

/// The two ends.
pub(crate) fn channel(metrics: Metrics) -> (Answers, Delivery) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Answers { parcels: sender }, Delivery { parcels: receiver, metrics })
}

impl Answers {
    /// Sends off all that was gathered. Nothing is lost but what nobody waits for.
    pub(crate) fn send(&self, gathered: &mut Parcel) {
        if !gathered.is_empty() {
            // Without a receiver the process is ending, and nobody waits.
            let sent = Sent { parcel: std::mem::take(gathered), since: clock::instant() };
            let _ = self.parcels.send(sent);
        }
    }
}

impl Delivery {
    /// Hands out for as long as there are senders.
    pub(crate) async fn run(mut self) {
        while let Some(sent) = self.parcels.recv().await {
            for (reply_to, answer) in sent.parcel {
                reply_to.answer(answer);
            }
            observe(&self.metrics.stages.deliver, sent.since.elapsed());
        }
    }
}
