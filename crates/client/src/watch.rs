//! A watch: every change of a range from some revision on, once each and in order.
//!
//! It asks one node after the other, always from the first revision that it has not yet handed
//! out. So whichever node answers, nothing is skipped and nothing repeated.

use std::time::Duration;

use wire::{KeyRange, NodeId, Reply, Request, Revision, WatchBatch};

use crate::{Client, Error, Kind, PATIENCE};

/// How long a node may wait for a change before it answers that there was none.
const WAIT: Duration = Duration::from_secs(5);

/// A watch under way.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    range: KeyRange,
    /// The first revision not yet handed out; 0 before "from now on" was given its number.
    position: Revision,
    /// The node that answered last.
    node: Option<NodeId>,
    /// Whether events shall bear what was before.
    previous: bool,
}

impl Watch {
    pub(crate) fn new(client: Client, range: KeyRange, from: Revision) -> Self {
        Self { client, range, position: from, node: None, previous: false }
    }

    /// The same watch, whose events bear what each key was before.
    #[must_use]
    pub fn with_previous(mut self) -> Self {
        self.previous = true;
        self
    }

    /// The first revision that has not been handed out: where another watch would carry on. 0 as long
    /// as a watch "from now on" has not begun.
    pub fn position(&self) -> Revision {
        self.position
    }

    /// Makes sure that the watch has begun: what changes after this call is seen by [`Watch::next`].
    /// That matters to a watch "from now on" only, and its first `next` does it too.
    pub async fn begin(&mut self) -> Result<Revision, Error> {
        if self.position == Revision(0) {
            // Not waiting: if this answer is lost, nothing that the caller waits for is lost with it.
            self.poll(Duration::ZERO).await?;
        }
        Ok(self.position)
    }

    /// The next changes, at least one; waits for them as long as it takes. An error leaves the watch
    /// where it is: the next call carries on, unless the revisions it needs are compacted away. May
    /// be dropped while it waits; nothing is lost.
    pub async fn next(&mut self) -> Result<WatchBatch, Error> {
        self.begin().await?;
        loop {
            let batch = self.poll(WAIT).await?;
            if !batch.events.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// The next changes, or none when `wait` is over: [`Watch::position`] has moved all the same, and
    /// tells how far the watch has come without finding anything. At most `wait` of a minute.
    pub async fn next_within(&mut self, wait: Duration) -> Result<WatchBatch, Error> {
        self.begin().await?;
        self.poll(wait).await
    }

    /// One question; empty when `wait` was over.
    async fn poll(&mut self, wait: Duration) -> Result<WatchBatch, Error> {
        let wait_ms = u32::try_from(wait.as_millis()).expect("a wait is a few seconds");
        let (range, from, previous) = (self.range.clone(), self.position, self.previous);
        let request = Request::Watch { range, from, wait_ms, previous };
        let limit = wait + self.client.timeout();
        let mut plan = self.client.plan(&request, Kind::Read, limit);
        plan.patience = PATIENCE + wait;
        if let Some(at) = plan.nodes.iter().position(|&node| Some(node) == self.node) {
            plan.nodes.rotate_left(at);
        }
        let answered = self.client.run(request, plan).await?;
        let Reply::Events(batch) = answered.reply else {
            return Err(answered.mismatch("a watch"));
        };
        check(&batch, self.position).map_err(|what| Error::Fatal {
            why: format!("{} answered a watch with {what}", self.client.name(answered.node)),
        })?;
        self.node = Some(answered.node);
        self.position = batch.next.max(self.position);
        Ok(batch)
    }
}

/// Whether a batch keeps the promise: nothing before `from`, nothing out of order.
fn check(batch: &WatchBatch, from: Revision) -> Result<(), &'static str> {
    let mut before = from;
    for event in &batch.events {
        if event.revision < before {
            return Err("changes that are out of order or were already seen");
        }
        before = event.revision;
    }
    if batch.next == Revision(0) {
        return Err("no revision to go on from");
    }
    if !batch.events.is_empty() && batch.next <= before {
        return Err("a place to go on from that repeats changes");
    }
    Ok(())
}
