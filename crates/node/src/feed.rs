//! Feeding a replica that fell behind: its node asks for one chunk of a checkpoint after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Position, Time};
use engine::Checkpoint;
use wire::{GroupId, NodeId};

use crate::ChunkTask;

/// A checkpoint keeps disk space from being reused, so one that nobody asks for is let go.
const IDLE_LIMIT: Duration = Duration::from_secs(30);

/// One node that is being fed.
struct Feed {
    fetch: u64,
    checkpoint: Arc<dyn Checkpoint>,
    sequence: u64,
    cursor: Bytes,
    next_cursor: Option<Bytes>,
    last_asked: Time,
}

/// All nodes that one group feeds here: at most one checkpoint for each.
#[derive(Default)]
pub(crate) struct Feeds {
    feeds: BTreeMap<NodeId, Feed>,
}

impl Feeds {
    /// What to read for this request; `None` if it fits no fetch that is under way, so that the asker
    /// must begin again.
    pub(crate) fn ask(
        &mut self,
        now: Time,
        group: GroupId,
        to: NodeId,
        fetch: u64,
        sequence: u64,
        checkpoint: impl FnOnce() -> Option<Arc<dyn Checkpoint>>,
    ) -> Option<ChunkTask> {
        let known = self.feeds.get(&to).is_some_and(|feed| feed.fetch == fetch);
        if sequence == 0 && !known {
            let checkpoint = checkpoint()?;
            let cursor = Bytes::new();
            let next_cursor = None;
            let feed = Feed { fetch, checkpoint, sequence, cursor, next_cursor, last_asked: now };
            self.feeds.insert(to, feed);
        }
        let feed = self.feeds.get_mut(&to).filter(|feed| feed.fetch == fetch)?;
        if sequence == feed.sequence + 1 {
            feed.cursor = feed.next_cursor.take()?;
            feed.sequence = sequence;
        }
        if sequence != feed.sequence {
            return None;
        }
        feed.last_asked = now;
        let (checkpoint, cursor) = (Arc::clone(&feed.checkpoint), feed.cursor.clone());
        Some(ChunkTask { to, group, fetch, checkpoint, sequence, cursor })
    }

    /// A chunk was read; gives the position that its checkpoint has.
    pub(crate) fn read(
        &mut self,
        to: NodeId,
        fetch: u64,
        sequence: u64,
        cursor: Bytes,
    ) -> Option<Position> {
        let feed = self.feeds.get_mut(&to)?;
        if feed.fetch != fetch || feed.sequence != sequence {
            return None;
        }
        feed.next_cursor = Some(cursor);
        Some(feed.checkpoint.applied())
    }

    /// Lets go of checkpoints that nobody asks for any more.
    pub(crate) fn expire(&mut self, now: Time) {
        self.feeds.retain(|_, feed| feed.last_asked + IDLE_LIMIT > now);
    }

    /// When there will be something to let go of.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.feeds.values().map(|feed| feed.last_asked + IDLE_LIMIT).min()
    }
}
