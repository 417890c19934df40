//! What the nodes count: journal syncs, and who leads, from their `/metrics`.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a node may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest answer that is read.
const LIMIT_BYTES: u64 = 1 << 20;

/// One node's counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    /// Journal syncs.
    pub(super) syncs: u64,
    /// Whether it leads.
    pub(super) leads: bool,
}

/// The counters of these nodes, in their order; `None` for one that does not tell.
pub(super) async fn scrape(endpoints: &[String]) -> Vec<Option<Counters>> {
    let mut tasks = JoinSet::new();
    for (place, endpoint) in endpoints.iter().cloned().enumerate() {
        tasks.spawn(async move {
            let answer = timeout(PATIENCE, fetch(&endpoint)).await;
            (place, answer.ok().and_then(Result::ok).and_then(|text| counters(&text)))
        });
    }
    let mut answers = tasks.join_all().await;
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, counters)| counters).collect()
}

async fn fetch(endpoint: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(endpoint).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {endpoint}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.take(LIMIT_BYTES).read_to_string(&mut text).await?;
    Ok(text)
}

fn counters(text: &str) -> Option<Counters> {
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .find_map(|(found, value)| (found == name).then(|| value.trim().parse::<u64>().ok()))?
    };
    Some(Counters {
        syncs: value("cairn_journal_fsync_seconds_count")?,
        leads: value("cairn_node_leading")? == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_among_the_others() {
        let text = "HTTP/1.1 200 OK\r\n\r\n# TYPE cairn_node_leading gauge\ncairn_node_leading 1\n\
                    cairn_journal_fsync_seconds_sum 6.7\ncairn_journal_fsync_seconds_count 26129\n";
        assert_eq!(counters(text), Some(Counters { syncs: 26_129, leads: true }));
        assert_eq!(counters("HTTP/1.1 404 Not Found\r\n\r\n"), None);
        assert_eq!(counters("cairn_node_leading 1\n"), None);
    }
}
