//! What the drivers count. Labels are bounded: there are none.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::stages::Stages;

/// The drivers' metrics. Clones share their values.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// Where a write's time goes.
    pub(crate) stages: Stages,
    /// Journal syncs.
    pub(crate) fsyncs: Histogram,
    /// Bytes written to the journal.
    pub(crate) journal_bytes: Counter,
    /// Segments that hold the journal.
    pub(crate) journal_segments: Gauge<u64, AtomicU64>,
    /// Jobs of the storage engine.
    pub(crate) storage_jobs: Histogram,
    /// When the last scrub ended, in seconds of Unix time.
    pub(crate) last_scrub: Gauge<u64, AtomicU64>,
    /// Connections on the client port.
    pub(crate) client_connections: Gauge<u64, AtomicU64>,
    /// Connections closed because there were too many.
    pub(crate) refused_connections: Counter,
    /// Connections closed because what came was not our language.
    pub(crate) garbage_connections: Counter,
    /// TLS handshakes that came to nothing.
    pub(crate) failed_handshakes: Counter,
    /// Connections closed because they spoke TLS where it is not spoken, or did not where it is.
    pub(crate) mismatched_connections: Counter,
    /// Changed certificates that were taken.
    pub(crate) tls_reloads: Counter,
    /// Changed certificates that could not be used.
    pub(crate) failed_tls_reloads: Counter,
    /// Requests refused because the node's mailbox was full.
    pub(crate) mailbox_full: Counter,
    /// Requests passed on to the leader.
    pub(crate) forwarded: Counter,
    /// Messages to other nodes dropped for want of room or of a connection.
    pub(crate) peer_dropped: Counter,
    /// Bytes sent to other nodes.
    pub(crate) peer_bytes: Counter,
    /// Connections to other nodes that stand.
    pub(crate) peers_connected: Gauge<u64, AtomicU64>,
}

impl Metrics {
    /// All at zero.
    pub(crate) fn new() -> Self {
        // From 16 us (a fast disk's cache) to 8 s (a disk about to fail).
        let buckets = || Histogram::new(exponential_buckets(16e-6, 2.0, 20));
        Self {
            stages: Stages::new(),
            fsyncs: buckets(),
            journal_bytes: Counter::default(),
            journal_segments: Gauge::default(),
            storage_jobs: buckets(),
            last_scrub: Gauge::default(),
            client_connections: Gauge::default(),
            refused_connections: Counter::default(),
            garbage_connections: Counter::default(),
            failed_handshakes: Counter::default(),
            mismatched_connections: Counter::default(),
            tls_reloads: Counter::default(),
            failed_tls_reloads: Counter::default(),
            mailbox_full: Counter::default(),
            forwarded: Counter::default(),
            peer_dropped: Counter::default(),
            peer_bytes: Counter::default(),
            peers_connected: Gauge::default(),
        }
    }

    /// Names them for whoever scrapes. The registry has the prefix `cairn`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        self.stages.register(registry);
        registry.register("journal_fsync_seconds", "Time of one journal sync", self.fsyncs.clone());
        registry.register(
            "storage_job_seconds",
            "Time of one flush, merged slice or snapshot step",
            self.storage_jobs.clone(),
        );
        let counters: [(&str, &str, &Counter); 11] = [
            ("journal_written_bytes", "Bytes written to the journal", &self.journal_bytes),
            (
                "net_refused_connections",
                "Connections closed because there were too many",
                &self.refused_connections,
            ),
            (
                "net_garbage_connections",
                "Connections closed because what came was not understood",
                &self.garbage_connections,
            ),
            (
                "tls_failed_handshakes",
                "TLS handshakes that came to nothing",
                &self.failed_handshakes,
            ),
            (
                "tls_mismatched_connections",
                "Connections closed because they spoke TLS where it is not spoken, or did not where it is",
                &self.mismatched_connections,
            ),
            ("tls_reloads", "Changed certificates that were taken", &self.tls_reloads),
            (
                "tls_failed_reloads",
                "Changed certificates that could not be used",
                &self.failed_tls_reloads,
            ),
            ("net_mailbox_full", "Requests refused because the node was full", &self.mailbox_full),
            ("net_forwarded_requests", "Requests passed on to the leader", &self.forwarded),
            ("peer_dropped_messages", "Messages to other nodes dropped", &self.peer_dropped),
            ("peer_sent_bytes", "Bytes sent to other nodes", &self.peer_bytes),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let levels: [(&str, &str, &Gauge<u64, AtomicU64>); 4] = [
            ("journal_segments", "Files that hold the journal", &self.journal_segments),
            (
                "scrub_last_end_timestamp_seconds",
                "When the last scrub ended on this node, in Unix time; 0 if none has since it started",
                &self.last_scrub,
            ),
            ("net_client_connections", "Connections on the client port", &self.client_connections),
            ("peer_connections", "Connections to other nodes that stand", &self.peers_connected),
        ];
        for (name, help, level) in levels {
            registry.register(name, help, level.clone());
        }
    }
}
