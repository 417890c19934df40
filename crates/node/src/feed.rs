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

    /// Whether this request was overtaken by one for a later chunk: its asker no longer waits for it.
    pub(crate) fn is_past(&self, to: NodeId, fetch: u64, sequence: u64) -> bool {
        let feed = self.feeds.get(&to).filter(|feed| feed.fetch == fetch);
        feed.is_some_and(|feed| sequence < feed.sequence)
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

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{Chunk, ReadError};

    struct Nothing;

    impl Checkpoint for Nothing {
        fn applied(&self) -> Position {
            Position::default()
        }

        fn read(&self, sequence: u64, _: &[u8]) -> Result<(Chunk, Bytes), ReadError> {
            Ok((Chunk { sequence, bytes: Bytes::new(), last: false }, Bytes::new()))
        }
    }

    #[test]
    fn a_request_that_was_overtaken_does_not_end_the_fetch() {
        let (to, now) = (NodeId(2), Time::from_nanos(1));
        let mut feeds = Feeds::default();
        let ask = |feeds: &mut Feeds, sequence| {
            let checkpoint = || Some(Arc::new(Nothing) as Arc<dyn Checkpoint>);
            feeds.ask(now, GroupId(1), to, 7, sequence, checkpoint)
        };
        assert!(ask(&mut feeds, 0).is_some());
        feeds.read(to, 7, 0, Bytes::new()).expect("the chunk was asked for");
        assert!(ask(&mut feeds, 1).is_some());
        assert!(feeds.is_past(to, 7, 0), "a doubled request came late");
        assert!(!feeds.is_past(to, 7, 1), "asked again, for the chunk was lost");
        assert!(!feeds.is_past(to, 8, 0), "a new fetch");
    }
}
