//! The hub: who watches what, and how far each has come. One for all streams of a gateway.
//!
//! A watcher *stands* in one of three ways. *Synced*, it has everything before the feed's position, and
//! gets what the feed brings ([`super::fanout`]): one watch of the cluster feeds all of them. *Waiting*,
//! it will be synced once the feed reaches the revision where it begins. *Behind*, it is a cursor: a
//! range and a revision, nothing more; it reads for itself ([`super::catchup`]) when its client has room,
//! and is synced again at the moment at which it has come as far as the feed. How it moves from one to
//! another stands in [`super::standing`], and what clients ask for in [`super::requests`].
//!
//! Nothing here waits or asks: what shall be read is asked for ([`Hub::next_feed`], [`Hub::next_read`]),
//! and what was read is told. All of it is derived from the cluster and may be lost at any moment.
//!
//! # Invariants
//!
//! * A watcher gets each change from its first revision on, in order, once: it stands in one place, and
//!   moves from place to place with the revision of the first change that it did not get.
//! * What the feed was asked for covers all who are synced or waiting; what was asked for before somebody
//!   joined whom it does not cover is thrown away and asked again.
//! * Who may watch no more is told nothing that came after he was allowed to.
//! * A client that does not read costs what its outlet holds, and its cursors.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use tonic::Status;
use wire::{KeyRange, Revision};

use super::catchup::Lag;
use super::encode::{Flavour, Sizes};
use super::feed::Feed;
use super::index::Index;
use super::outlet::{Budget, Outlet};
use super::standing::{Group, Standing};
use crate::header::HeaderOf;

/// The hub's limits.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) streams: usize,
    pub(crate) watchers_per_stream: usize,
    /// Reads of those behind that are under way at once.
    pub(crate) reads: usize,
    /// What one stream may have queued.
    pub(crate) stream_bytes: usize,
    /// What all streams may have queued together.
    pub(crate) total_bytes: usize,
    pub(crate) sizes: Sizes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StreamId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WatcherId(pub(super) u64);

pub(crate) struct Hub {
    pub(super) limits: Limits,
    pub(super) header: HeaderOf,
    budget: Arc<Budget>,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    pub(super) watchers: BTreeMap<WatcherId, Watcher>,
    pub(super) last_id: u64,
    /// Those who are synced or waiting, by what they watch.
    pub(super) groups: Index<Group>,
    pub(super) waiting: BTreeSet<(Revision, WatcherId)>,
    /// How many of them want to know what was before.
    pub(super) previous: usize,
    pub(super) feed: Option<Feed>,
    /// Those behind, by what they watch.
    pub(super) lags: Index<Lag>,
    /// Streams with somebody behind, and with room, in the order of their turns.
    pub(super) turns: VecDeque<StreamId>,
    pub(super) reads: usize,
    /// The highest revision of which is known that it exists.
    pub(super) newest: Revision,
    /// Streams that want to be told when all their watchers have passed this revision.
    pub(super) progress: BTreeMap<StreamId, Revision>,
    pub(super) wants: Wants,
    /// How often users and rights have changed, as far as it matters.
    pub(super) changes: u64,
}

/// What the hub wants done now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    /// Begin to ask for [`Hub::next_feed`], again and again.
    pub(crate) start: bool,
    /// Let go of what the feed waits for, and ask anew.
    pub(crate) kick: bool,
}

pub(super) struct Stream {
    pub(super) outlet: Arc<Outlet>,
    pub(super) watchers: BTreeMap<i64, WatcherId>,
    pub(super) next_watch: i64,
    /// Those behind in the order of their turns; some are not behind any more.
    pub(super) behind: VecDeque<WatcherId>,
    /// How many are behind.
    pub(super) lagging: usize,
    /// Whether it is among the hub's `turns`.
    pub(super) in_turns: bool,
    /// Nothing is told until it is judged what may be: [`super::rights`].
    pub(super) held: bool,
    /// The client will ask for nothing more.
    half_closed: bool,
}

pub(super) struct Watcher {
    pub(super) stream: StreamId,
    pub(super) watch: i64,
    pub(super) range: KeyRange,
    pub(super) flavour: Flavour,
    /// Wants to hear how far it is when nothing happens.
    pub(super) progress: bool,
    pub(super) standing: Standing,
}

impl Hub {
    pub(crate) fn new(limits: Limits, header: HeaderOf) -> Self {
        Self {
            budget: Budget::new(limits.total_bytes),
            limits,
            header,
            streams: BTreeMap::new(),
            watchers: BTreeMap::new(),
            last_id: 0,
            groups: Index::new(),
            waiting: BTreeSet::new(),
            previous: 0,
            feed: None,
            lags: Index::new(),
            turns: VecDeque::new(),
            reads: 0,
            newest: Revision(0),
            progress: BTreeMap::new(),
            wants: Wants::default(),
            changes: 0,
        }
    }

    /// What is queued for all streams together.
    #[cfg(test)]
    pub(super) fn used_bytes(&self) -> usize {
        self.budget.used_bytes()
    }

    /// A new stream, if there is place for one.
    pub(crate) fn open(&mut self) -> Option<(StreamId, Arc<Outlet>)> {
        if self.streams.len() >= self.limits.streams {
            return None;
        }
        self.last_id += 1;
        let id = StreamId(self.last_id);
        let outlet = Outlet::new(self.limits.stream_bytes, Arc::clone(&self.budget));
        let stream = Stream {
            outlet: Arc::clone(&outlet),
            watchers: BTreeMap::new(),
            next_watch: 0,
            behind: VecDeque::new(),
            lagging: 0,
            in_turns: false,
            held: false,
            half_closed: false,
        };
        self.streams.insert(id, stream);
        Some((id, outlet))
    }

    /// A stream's client is gone.
    pub(crate) fn close(&mut self, id: StreamId) {
        let Some(stream) = self.streams.remove(&id) else { return };
        stream.outlet.close();
        self.progress.remove(&id);
        for watcher in stream.watchers.into_values() {
            self.forget(watcher);
        }
    }

    /// A stream's client asks for nothing more. It may still listen, as long as there is something to
    /// hear: so those do who send one request by other means than gRPC.
    pub(crate) fn half_close(&mut self, id: StreamId) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.half_closed = true;
            stream.end_if_done();
        }
    }

    /// Nothing will feed anybody: all streams hear why, and are over.
    pub(crate) fn fail(&mut self, status: &Status) {
        self.feed_compacted();
        for stream in self.streams.values() {
            stream.outlet.end(status.clone());
        }
    }

    /// What was wanted since the last time.
    pub(crate) fn take_wants(&mut self) -> Wants {
        std::mem::take(&mut self.wants)
    }

    pub(super) fn forget(&mut self, id: WatcherId) -> Option<Watcher> {
        if self.watchers.contains_key(&id) {
            self.leave(id);
        }
        self.watchers.remove(&id)
    }
}

impl Stream {
    pub(super) fn end_if_done(&mut self) {
        if self.half_closed && self.watchers.is_empty() {
            self.outlet.end(Status::ok(""));
        }
    }
}
