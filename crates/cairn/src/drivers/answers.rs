//! From the node and its readers to the tasks of the network runtime: answers, and that there are
//! messages to send.
//!
//! To wake a task of another thread's runtime is a system call. So what one batch led to crosses over
//! as one parcel, with one call, and is handed out on the other side.

use std::sync::Arc;

use node::Answer;
use tokio::sync::{mpsc, oneshot};

use super::outbox::Outbox;

/// Who waits for an answer.
pub(crate) type ReplyTo = oneshot::Sender<Answer>;

/// What goes over together.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    /// Answers to those who wait for them.
    pub(crate) answers: Vec<(ReplyTo, Answer)>,
    /// Peers that have messages to be sent.
    pub(crate) outboxes: Vec<Arc<Outbox>>,
}

/// Where parcels go in. Holds at most one answer for each request that the node has taken.
#[derive(Clone, Debug)]
pub(crate) struct Answers {
    parcels: mpsc::UnboundedSender<Parcel>,
}

/// Where they come out.
#[derive(Debug)]
pub(crate) struct Delivery {
    parcels: mpsc::UnboundedReceiver<Parcel>,
}

/// The two ends.
pub(crate) fn channel() -> (Answers, Delivery) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Answers { parcels: sender }, Delivery { parcels: receiver })
}

impl Answers {
    /// Sends off all that was gathered. Nothing is lost but what nobody waits for.
    pub(crate) fn send(&self, gathered: &mut Parcel) {
        if !(gathered.answers.is_empty() && gathered.outboxes.is_empty()) {
            // Without a receiver the process is ending, and nobody waits.
            let _ = self.parcels.send(std::mem::take(gathered));
        }
    }
}

impl Delivery {
    /// Hands out for as long as there are senders.
    pub(crate) async fn run(mut self) {
        while let Some(parcel) = self.parcels.recv().await {
            for outbox in parcel.outboxes {
                outbox.flush();
            }
            for (reply_to, answer) in parcel.answers {
                // Who has gone away has said so by a cancellation.
                let _ = reply_to.send(answer);
            }
        }
    }
}
