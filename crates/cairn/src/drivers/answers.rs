//! From the node and its readers to those who wait for answers.
//!
//! To wake a task of another thread's runtime is a system call. So the answers of one batch cross over
//! as one parcel, with one call, and are handed out on the other side.

use node::Answer;
use tokio::sync::{mpsc, oneshot};

/// Who waits for an answer.
pub(crate) type ReplyTo = oneshot::Sender<Answer>;

/// What goes over together: answers, and those who wait for them.
pub(crate) type Parcel = Vec<(ReplyTo, Answer)>;

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
        if !gathered.is_empty() {
            // Without a receiver the process is ending, and nobody waits.
            let _ = self.parcels.send(std::mem::take(gathered));
        }
    }
}

impl Delivery {
    /// Hands out for as long as there are senders.
    pub(crate) async fn run(mut self) {
        while let Some(parcel) = self.parcels.recv().await {
            for (reply_to, answer) in parcel {
                // Who has gone away has said so by a cancellation.
                let _ = reply_to.send(answer);
            }
        }
    }
}
