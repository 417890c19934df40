//! What a node counts. Counters are shared with whoever shows them; the node only adds.

use std::sync::atomic::AtomicU64;

use engine::Stats;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A number that goes up and down.
pub type Level = Gauge<u64, AtomicU64>;

/// A node's metrics. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Commands taken into the log by this node as leader.
    pub proposals: Counter,
    /// Commands applied.
    pub applied_commands: Counter,
    /// Reads handed out to be served.
    pub reads: Counter,
    /// Reads that a leader allowed by its lease, without a round.
    pub leased_reads: Counter,
    /// Answers to watches.
    pub watch_answers: Counter,
    /// Requests refused.
    pub refusals: Counter,
    /// Requests refused because a limit was reached.
    pub busy: Counter,
    /// Times that this node became leader.
    pub elections_won: Counter,
    /// Changes of role, term or known leader.
    pub role_changes: Counter,
    /// Hand-overs of leadership to a node of higher priority.
    pub priority_hand_overs: Counter,
    /// Hand-overs of leadership because this node was slow.
    pub slow_hand_overs: Counter,
    /// Messages of other nodes dropped as wrong.
    pub dropped_messages: Counter,
    /// Journal writes asked for.
    pub journal_writes: Counter,
    /// Flushes completed.
    pub flushes: Counter,
    /// Old versions removed.
    pub compacted_versions: Counter,
    /// Bytes that flushes of the storage engine have written.
    pub flushed_bytes: Counter,
    /// Bytes that its merges have written.
    pub merged_bytes: Counter,
    /// Snapshots installed.
    pub snapshots_installed: Counter,
    /// Snapshot chunks sent.
    pub snapshot_chunks_sent: Counter,
    /// Scrubs that have read all.
    pub scrubs: Counter,
    /// Scrubs that found something that can't be read.
    pub broken_scrubs: Counter,
    /// 1 while this node leads.
    pub leading: Level,
    /// Newest revision.
    pub revision: Level,
    /// Last log index applied.
    pub applied_index: Level,
    /// Bytes of log entries in memory.
    pub log_bytes: Level,
    /// Bytes applied but not flushed.
    pub unflushed_bytes: Level,
    /// Files of the storage engine.
    pub engine_runs: Level,
    /// Bytes of those.
    pub engine_bytes: Level,
    /// Layers that those form.
    pub engine_layers: Level,
    /// Bytes of commands taken but not answered.
    pub inflight_bytes: Level,
    /// Requests that wait for an answer.
    pub waiting_requests: Level,
    /// Watches that wait for a change.
    pub parked_watches: Level,
}

impl Metrics {
    /// Takes over what the storage engine counts by itself.
    pub(crate) fn count_engine(&self, stats: &Stats) {
        let raise = |counter: &Counter, to: u64| {
            counter.inc_by(to.saturating_sub(counter.get()));
        };
        raise(&self.compacted_versions, stats.removed_versions);
        raise(&self.flushed_bytes, stats.flushed_bytes);
        raise(&self.merged_bytes, stats.merged_bytes);
        self.engine_runs.set(stats.runs);
        self.engine_bytes.set(stats.run_bytes);
        self.engine_layers.set(stats.layers);
    }

    /// Names them for whoever scrapes. The registry has the prefix `cairn`.
    pub fn register(&self, registry: &mut Registry) {
        let counters: [(&str, &str, &Counter); 21] = [
            ("node_proposals", "Commands taken into the log as leader", &self.proposals),
            ("node_applied_commands", "Commands applied", &self.applied_commands),
            ("node_reads", "Reads handed out to be served", &self.reads),
            ("node_leased_reads", "Reads allowed by a lease, without a round", &self.leased_reads),
            ("node_watch_answers", "Answers to watches", &self.watch_answers),
            ("node_refusals", "Requests refused", &self.refusals),
            ("node_busy", "Requests refused because a limit was reached", &self.busy),
            ("node_elections_won", "Times that this node became leader", &self.elections_won),
            ("node_role_changes", "Changes of role, term or known leader", &self.role_changes),
            (
                "node_priority_hand_overs",
                "Times that this node handed leadership to one of higher priority",
                &self.priority_hand_overs,
            ),
            (
                "node_slow_hand_overs",
                "Times that this node handed leadership over because it was slow",
                &self.slow_hand_overs,
            ),
            ("node_dropped_messages", "Messages of other nodes dropped", &self.dropped_messages),
            ("node_journal_writes", "Journal writes asked for", &self.journal_writes),
            ("node_flushes", "Flushes of the storage engine completed", &self.flushes),
            ("node_compacted_versions", "Old versions removed", &self.compacted_versions),
            ("node_flushed_bytes", "Bytes written by flushes of the engine", &self.flushed_bytes),
            ("node_merged_bytes", "Bytes written by merges of the engine", &self.merged_bytes),
            ("node_snapshots_installed", "Snapshots installed", &self.snapshots_installed),
            ("node_snapshot_chunks_sent", "Snapshot chunks sent", &self.snapshot_chunks_sent),
            ("node_scrubs", "Scrubs that have read all", &self.scrubs),
            ("node_broken_scrubs", "Scrubs that could not read all", &self.broken_scrubs),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        let levels: [(&str, &str, &Level); 11] = [
            ("node_leading", "1 while this node leads", &self.leading),
            ("node_revision", "Newest revision of the store", &self.revision),
            ("node_applied_index", "Last log index applied", &self.applied_index),
            ("node_log_bytes", "Log entries held in memory", &self.log_bytes),
            ("node_unflushed_bytes", "State applied but not yet flushed", &self.unflushed_bytes),
            ("node_engine_runs", "Files of the storage engine", &self.engine_runs),
            ("node_engine_bytes", "Bytes of the storage engine's files", &self.engine_bytes),
            ("node_engine_layers", "Layers of the storage engine's files", &self.engine_layers),
            ("node_inflight_bytes", "Commands taken but not yet answered", &self.inflight_bytes),
            ("node_waiting_requests", "Requests that wait for an answer", &self.waiting_requests),
            ("node_parked_watches", "Watches that wait for a change", &self.parked_watches),
        ];
        for (name, help, level) in levels {
            registry.register(name, help, level.clone());
        }
    }
}
