//! Where the time of a write goes, stage by stage, as each node sees it.
//!
//! ```text
//!   wait ─► batch ─┬─► journal wait ─► journal write ─► journal return ─┐
//!                  └─► the followers do the same                        ├─► deliver
//!                  └──────────────────── commit ────────────────────────┘
//! ```
//!
//! A stage is measured once for each batch, for the one that waited longest: what it costs does not
//! grow with the load. What lies between the nodes is the leader's `commit` less the followers' own
//! stages.

use std::time::Duration;

use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The stages, in the order of [`NAMES`]. Clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Stages {
    /// Something comes in → the node takes it in.
    pub(crate) wait: Histogram,
    /// The node takes a batch in → all that follows from it is handed on.
    pub(crate) batch: Histogram,
    /// A write is handed to the journal → its thread takes it.
    pub(crate) journal_wait: Histogram,
    /// → written and synced.
    pub(crate) journal_write: Histogram,
    /// → the node knows.
    pub(crate) journal_return: Histogram,
    /// The node takes a write in → its answer is ready.
    pub(crate) commit: Histogram,
    /// An answer is ready → it is with the connection that waits for it.
    pub(crate) deliver: Histogram,
}

/// Names and what they mean.
pub(crate) const NAMES: [(&str, &str); 7] = [
    ("wait", "Time from an arrival, the oldest of a batch, until the node takes it in"),
    ("batch", "Time that the node takes for one batch"),
    ("journal_wait", "Time until the journal's thread takes a write"),
    ("journal_write", "Time that writing and syncing takes"),
    ("journal_return", "Time from the end of a sync until the node knows"),
    ("commit", "Time from a write, the oldest of a batch, until its answer"),
    ("deliver", "Time until an answer is with the connection that waits for it"),
];

impl Stages {
    /// All at zero.
    pub(super) fn new() -> Self {
        // From 4 us, less than waking a thread takes, to 4 s.
        let buckets = || Histogram::new(exponential_buckets(4e-6, 2.0, 21));
        Self {
            wait: buckets(),
            batch: buckets(),
            journal_wait: buckets(),
            journal_write: buckets(),
            journal_return: buckets(),
            commit: buckets(),
            deliver: buckets(),
        }
    }

    fn all(&self) -> [&Histogram; 7] {
        [
            &self.wait,
            &self.batch,
            &self.journal_wait,
            &self.journal_write,
            &self.journal_return,
            &self.commit,
            &self.deliver,
        ]
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        for ((name, help), histogram) in NAMES.into_iter().zip(self.all()) {
            registry.register(format!("stage_{name}_seconds"), help, histogram.clone());
        }
    }
}

/// One more in a histogram.
pub(crate) fn observe(stage: &Histogram, time: Duration) {
    stage.observe(time.as_secs_f64());
}
