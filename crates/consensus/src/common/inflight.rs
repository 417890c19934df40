//! Flow control: what was sent to one peer ahead of its answers.

use std::collections::VecDeque;

use crate::{Config, LogIndex};

/// Messages with entries that were sent and are not answered yet, oldest first.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Inflight {
    /// The last index and the bytes of each.
    messages: VecDeque<(LogIndex, usize)>,
    bytes: usize,
}

impl Inflight {
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Whether another message may go. One always may, however large the entries are.
    pub(crate) fn has_room(&self, config: &Config) -> bool {
        self.messages.len() < config.max_inflight_appends
            && (self.is_empty() || self.bytes < config.max_inflight_bytes)
    }

    pub(crate) fn sent(&mut self, last: LogIndex, bytes: usize) {
        self.messages.push_back((last, bytes));
        self.bytes += bytes;
    }

    /// The peer has all up to `matched`.
    pub(crate) fn answered(&mut self, matched: LogIndex) {
        while let Some((last, bytes)) = self.messages.front() {
            if *last > matched {
                break;
            }
            self.bytes -= bytes;
            self.messages.pop_front();
        }
    }
}
