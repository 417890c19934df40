//! Reads what a node says: into its log file, and line by line for news.

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;

use super::log_file::LogFile;
use super::news::{News, What};

/// A longer line is kept in the file, but is no news.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Reads until the node is gone; the last error that it reported, or its last words if they were no
/// log line (a panic, for example).
pub(crate) async fn pump(
    node: u16,
    mut from: impl AsyncRead + Unpin,
    mut log: Option<LogFile>,
    news: mpsc::Sender<News>,
) -> Option<String> {
    let mut chunk = vec![0; 16 << 10];
    let mut line = Vec::new();
    let mut last = None;
    loop {
        let read = match from.read(&mut chunk).await {
            Ok(0) | Err(_) => return last,
            Ok(read) => read,
        };
        if let Some(log) = &mut log {
            log.append(&chunk[..read]);
        }
        for &byte in &chunk[..read] {
            if byte != b'\n' {
                if line.len() <= MAX_LINE_BYTES {
                    line.push(byte);
                }
                continue;
            }
            let what = What::from_log_line(&line);
            note(&mut last, what.as_ref(), &line);
            line.clear();
            if let Some(what) = what {
                // If nobody listens any more, the node must still not block on a full pipe.
                let _ = news.send(News { node, what }).await;
            }
        }
    }
}

fn note(last: &mut Option<String>, what: Option<&What>, line: &[u8]) {
    match what {
        Some(What::Error { words }) => *last = Some(words.clone()),
        Some(_) => {}
        // A line of the log, or what follows the sentence that says why the node does not start.
        None if line.is_empty() || line.starts_with(b"{") || line.starts_with(b" ") => {}
        None => {
            let words = line.strip_prefix(b"cairn: ").unwrap_or(line);
            *last = Some(crate::cli::printable(&words[..words.len().min(500)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_news_whatever_stands_between() {
        let role = r#"{"target":"cairn::role","fields":{"role":"leader","epoch":1,"leader":1}}"#;
        let long = "x".repeat(3 * MAX_LINE_BYTES);
        let text =
            format!("{role}\n{long}\n\u{1}\n{{\n{role}\ncairn: last words\n  help: x\nhalf a line");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sender, mut receiver) = mpsc::channel(8);
        let last = runtime.block_on(pump(1, text.as_bytes(), None, sender));
        assert_eq!(last.as_deref(), Some("last words"));
        let mut count = 0;
        while receiver.try_recv().is_ok() {
            count += 1;
        }
        assert_eq!(count, 2);
    }
}
