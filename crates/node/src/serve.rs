//! Reads that may be served now: plain values that any thread can run.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use engine::{Checkpoint, ReadError, View, Visit};
use wire::{
    Change, Event, GroupId, Header, Item, NodeId, Page, Projection, Query, Refusal, Reply,
    Revision, SpaceId, WatchBatch,
};

use crate::Answer;
use crate::txn::Pager;
use crate::watches::Watched;

/// A read of rows, at a revision that its view holds.
pub struct ReadTask {
    pub(crate) view: Arc<dyn View>,
    pub(crate) space: SpaceId,
    pub(crate) header: Header,
    pub(crate) kind: ReadKind,
    pub(crate) limit_bytes: usize,
    #[cfg(feature = "planted")]
    pub(crate) planted: Option<crate::config::Planted>,
}

/// What to read.
pub(crate) enum ReadKind {
    /// A page of keys as they were at a revision.
    Page { query: Query, at: Revision },
    /// Changes from one revision to another.
    Changes {
        watched: Watched,
        to: Revision,
        /// No state before this revision can be read: what a key was before is then not told.
        readable: Revision,
    },
}

impl fmt::Debug for ReadTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ReadKind::Page { query, at } => write!(f, "read {query:?} at {at}"),
            ReadKind::Changes { watched, to, .. } => {
                write!(f, "changes from {} to {to}", watched.from)
            }
        }
    }
}

impl ReadTask {
    /// Whether it may take long, and whoever asked knows that: many keys, or many changes.
    pub fn is_long(&self) -> bool {
        match &self.kind {
            ReadKind::Page { query, .. } => !query.range.is_single(),
            ReadKind::Changes { .. } => false,
        }
    }

    /// Reads, perhaps from the disk. On an error the answer goes to the client all the same, and the
    /// error to the node as [`crate::Event::ReadFailed`].
    #[expect(clippy::result_large_err, reason = "an error here ends the process")]
    pub fn run(self) -> Result<Answer, (Answer, ReadError)> {
        let read = match &self.kind {
            ReadKind::Page { query, at } => self.page(query, *at),
            ReadKind::Changes { watched, to, readable } => self.changes(watched, *to, *readable),
        };
        match read {
            Ok(reply) => Ok(Ok((self.header, reply))),
            Err(error) => {
                let why = format!("its storage can't be read: {error}");
                Err((Err(Refusal::Broken { why }), error))
            }
        }
    }

    fn page(&self, query: &Query, at: Revision) -> Result<Reply, ReadError> {
        if query.projection == Projection::CountOnly && !query.range.is_single() {
            let count = self.view.count(self.space, &query.range, at)?;
            return Ok(Reply::Page(Page { count, ..Page::default() }));
        }
        let mut pager = Pager::new(query, self.limit_bytes);
        if query.range.is_single() {
            if let Some(item) = self.view.find(self.space, &query.range.start, at)? {
                pager.take(item);
            }
        } else if !query.range.is_empty() {
            self.view.scan(self.space, &query.range, at, &mut |item| pager.take(item))?;
        }
        Ok(Reply::Page(pager.finish()))
    }

    /// All events of a revision go together; so the batch ends before the first event of the
    /// revision that would not fit, unless it is the batch's only one.
    fn changes(
        &self,
        watched: &Watched,
        to: Revision,
        readable: Revision,
    ) -> Result<Reply, ReadError> {
        let Watched { range, from, previous, principal: _ } = watched;
        let mut events = Vec::new();
        let mut broken = None;
        let mut bytes = 0;
        let mut next = to.next();
        self.view.history(self.space, range, *from, to, &mut |mut event| {
            let begins = events.last().is_some_and(|last: &Event| last.revision < event.revision);
            if begins && bytes >= self.limit_bytes {
                next = event.revision;
                return Visit::Stop;
            }
            bytes += event.key().len() + 64;
            if let Change::Put(item) = &event.change {
                bytes += item.value.len();
            }
            if *previous {
                match self.before(&event, readable) {
                    Ok(before) => event.previous = before,
                    Err(error) => {
                        broken = Some(error);
                        return Visit::Stop;
                    }
                }
                bytes += event.previous.as_ref().map_or(0, |item| item.value.len());
            }
            events.push(event);
            Visit::Continue
        })?;
        if let Some(error) = broken {
            return Err(error);
        }
        Ok(Reply::Events(WatchBatch { events, next }))
    }

    /// What a key was before `event`, if that can still be read.
    fn before(&self, event: &Event, readable: Revision) -> Result<Option<Item>, ReadError> {
        let is_first = matches!(&event.change, Change::Put(item) if item.version == 1);
        let at = Revision(event.revision.0 - 1);
        #[cfg(feature = "planted")]
        let at = match (self.planted, &self.kind) {
            (
                Some(crate::config::Planted::PreviousFromBatchStart),
                ReadKind::Changes { watched, .. },
            ) => Revision(watched.from.0.saturating_sub(1)),
            _ => at,
        };
        if is_first || at < readable {
            return Ok(None);
        }
        self.view.find(self.space, event.key(), at)
    }
}

/// A read of one chunk of a checkpoint, for a replica that fell behind.
pub struct ChunkTask {
    pub(crate) to: NodeId,
    pub(crate) group: GroupId,
    pub(crate) fetch: u64,
    pub(crate) checkpoint: Arc<dyn Checkpoint>,
    pub(crate) sequence: u64,
    pub(crate) cursor: Bytes,
}

impl fmt::Debug for ChunkTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk {} of {} for {}", self.sequence, self.group, self.to)
    }
}

impl ChunkTask {
    /// Reads the chunk; hand the event back to the node.
    pub fn run(self) -> crate::Event {
        let result = self.checkpoint.read(self.sequence, &self.cursor);
        crate::Event::ChunkRead { to: self.to, group: self.group, fetch: self.fetch, result }
    }
}
