//! What a node shows of itself: metrics, health, readiness.

use std::fmt;
use std::sync::Arc;

use gateway_etcd::StorageUse;
use gateway_http::Introspect;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use wire::NodeStatus;

use crate::drivers::clock::Clock;
use crate::drivers::metrics::Metrics;
use crate::drivers::published::Published;

/// Answers `/metrics`, `/healthz` and `/readyz`, and what etcd's clients ask of a member.
pub(super) struct Introspection {
    registry: Registry,
    published: Arc<Published>,
    node: node::metrics::Metrics,
}

impl Introspection {
    /// Shows these metrics and what the node publishes.
    pub(super) fn new(
        clock: Clock,
        published: Arc<Published>,
        node: &node::metrics::Metrics,
        drivers: &Metrics,
        cluster: &str,
    ) -> Self {
        let registry = registry(clock, node, drivers, cluster);
        Self { registry, published, node: node.clone() }
    }
}

fn registry(
    clock: Clock,
    node: &node::metrics::Metrics,
    drivers: &Metrics,
    cluster: &str,
) -> Registry {
    let mut registry = Registry::default();
    let ours = registry.sub_registry_with_prefix("cairn");
    node.register(ours);
    drivers.register(ours);
    let build = Info::new(vec![
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("cluster", cluster.to_owned()),
    ]);
    ours.register("build", "The program's version and the cluster", build);
    registry.register_collector(Box::new(Process { clock }));
    registry
}

impl Introspect for Introspection {
    fn metrics(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes whatever is written");
        text
    }

    fn healthy(&self) -> Result<(), String> {
        match self.published.stuck() {
            None => Ok(()),
            Some(time) => Err(format!("the node's thread has been at one batch for {time:?}")),
        }
    }

    fn ready(&self) -> Result<(), String> {
        self.healthy()?;
        let status = self.published.status();
        if status.ready {
            return Ok(());
        }
        let unknown = || "no leader is known; are most nodes up and connected?".to_owned();
        Err(status.trouble.unwrap_or_else(unknown))
    }
}

impl gateway_etcd::Introspect for Introspection {
    fn status(&self) -> NodeStatus {
        self.published.status()
    }

    fn epoch(&self) -> u64 {
        self.published.epoch()
    }

    /// What is not flushed counts, too, so that a small store has a size. The engine's files hold little
    /// that can't be read, and that goes by itself.
    fn storage(&self) -> StorageUse {
        let bytes = self.node.engine_bytes.get() + self.node.unflushed_bytes.get();
        StorageUse { allocated: bytes, in_use: bytes }
    }
}

/// What the system says of the process.
#[derive(Debug)]
struct Process {
    clock: Clock,
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        #[expect(clippy::cast_precision_loss, reason = "bytes and descriptors stay far below 2^53")]
        let rows = [
            ("process_resident_memory_bytes", "Memory in use", resident_bytes() as f64),
            ("process_open_fds", "Open file descriptors", open_files() as f64),
            ("process_uptime_seconds", "Time since the start", self.clock.elapsed().as_secs_f64()),
        ];
        for (name, help, value) in rows {
            let gauge = ConstGauge::new(value);
            let row = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(row)?;
        }
        Ok(())
    }
}

/// 0 where the system does not tell.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// 0 where the system does not tell.
fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_metric() {
        let page = include_str!("../../../../docs/metrics.md");
        let node = node::metrics::Metrics::default();
        let registry = registry(Clock::start(), &node, &Metrics::new(), "blue");
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let types: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert!(types.len() > 20, "{text}");
        for line in types {
            let (name, kind) = line.split_once(' ').unwrap();
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let row = format!("| `{name}{suffix}` | {kind} |");
            assert!(page.contains(&row), "docs/metrics.md lacks the row {row}");
        }
    }
}
