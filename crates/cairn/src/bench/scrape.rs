//! What the nodes count: journal syncs, stages of writes, and who leads, from their `/metrics`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::tcp::{Connector, Stream, host_of};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::drivers::stages::NAMES;

/// How long a node may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest answer that is read.
const LIMIT_BYTES: u64 = 1 << 20;

/// One node's counters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Counters {
    /// Journal syncs.
    pub(super) syncs: u64,
    /// Whether it leads.
    pub(super) leads: bool,
    /// Time and number of each of [`NAMES`].
    pub(super) stages: [Stage; NAMES.len()],
}

/// How often a stage was passed, and what that took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Stage {
    pub(super) seconds: f64,
    pub(super) count: f64,
}

/// The counters of these nodes, in their order; `None` for one that does not tell.
pub(super) async fn scrape(
    endpoints: &[String],
    connector: Option<&Arc<dyn Connector>>,
) -> Vec<Option<Counters>> {
    let mut tasks = JoinSet::new();
    for (place, endpoint) in endpoints.iter().cloned().enumerate() {
        let connector = connector.cloned();
        tasks.spawn(async move {
            let answer = timeout(PATIENCE, fetch(&endpoint, connector.as_deref())).await;
            (place, answer.ok().and_then(Result::ok).and_then(|text| counters(&text)))
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, counters)| counters).collect()
}

async fn fetch(endpoint: &str, connector: Option<&dyn Connector>) -> std::io::Result<String> {
    let stream = TcpStream::connect(endpoint).await?;
    let mut stream = match connector {
        None => Stream::Plain(stream),
        Some(connector) => Stream::Secure(connector.secure(stream, host_of(endpoint)).await?),
    };
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {endpoint}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut text = String::new();
    stream.take(LIMIT_BYTES).read_to_string(&mut text).await?;
    Ok(text)
}

fn counters(text: &str) -> Option<Counters> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    let values: BTreeMap<&str, &str> = lines.map(|(name, value)| (name, value.trim())).collect();
    let number = |name: &str| values.get(name)?.parse::<u64>().ok();
    let fraction = |name: String| values.get(name.as_str())?.parse::<f64>().ok();
    // A node of another version may have other stages.
    let stage = |(name, _)| Stage {
        seconds: fraction(format!("cairn_stage_{name}_seconds_sum")).unwrap_or_default(),
        count: fraction(format!("cairn_stage_{name}_seconds_count")).unwrap_or_default(),
    };
    Some(Counters {
        syncs: number("cairn_journal_fsync_seconds_count")?,
        leads: number("cairn_node_leading")? == 1,
        stages: NAMES.map(stage),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_among_the_others() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# TYPE cairn_node_leading gauge\ncairn_node_leading 1\n\
                    cairn_journal_fsync_seconds_sum 6.7\ncairn_journal_fsync_seconds_count 26129\n";
        let stages = [Stage::default(); NAMES.len()];
        assert_eq!(counters(text), Some(Counters { syncs: 26_129, leads: true, stages }));
        assert_eq!(counters("HTTP/1.1 404 Not Found\r\n\r\n"), None);
        assert_eq!(counters("cairn_node_leading 1\n"), None);
    }
}
