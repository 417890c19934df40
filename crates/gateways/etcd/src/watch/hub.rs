//! The hub: who watches what, and how far each has come. One for all streams of a gateway.
//!
//! A watcher *stands* in one of three ways. *Synced*, it has everything before the feed's position, and
//! gets what the feed brings ([`super::fanout`]): one watch of the cluster feeds all of them. *Waiting*,
//! it will be synced once the feed reaches the revision where it begins. *Behind*, it is a cursor: a
//! range and a revision, nothing more; it reads for itself ([`super::catchup`]) when its client has room,
//! and is synced again at the moment at which it has come as far as the feed.
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
//! * A client that does not read costs what its outlet holds, and its cursors.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;
use wire::{KeyRange, Revision};

use super::catchup::Lag;
use super::encode::{Flavour, Sizes, encode_control};
use super::index::Index;
use super::outlet::{Budget, Outlet};
use crate::header::{HeaderOf, signed};
use crate::pb::etcdserverpb::watch_create_request::FilterType;
use crate::pb::etcdserverpb::{WatchCreateRequest, WatchResponse};

/// The watch id that stands for no watch, or for all of a stream.
const NO_WATCH: i64 = -1;

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const DUPLICATE: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const TOO_MANY: &str = "etcdserver: too many requests";

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
pub(crate) struct WatcherId(u64);

pub(crate) struct Hub {
    pub(super) limits: Limits,
    pub(super) header: HeaderOf,
    budget: Arc<Budget>,
    pub(super) streams: BTreeMap<StreamId, Stream>,
    pub(super) watchers: BTreeMap<WatcherId, Watcher>,
    last_id: u64,
    /// Those who are synced or waiting, by what they watch.
    pub(super) groups: Index<Group>,
    pub(super) waiting: BTreeSet<(Revision, WatcherId)>,
    /// How many of them want to know what was before.
    previous: usize,
    pub(super) feed: Option<Feed>,
    /// Those behind, by what they watch.
    pub(super) lags: Index<Lag>,
    /// Streams with somebody behind, and with room, in the order of their turns.
    pub(super) turns: VecDeque<StreamId>,
    pub(super) reads: usize,
    /// The highest revision of which is known that it exists.
    pub(super) newest: Revision,
    /// Streams that want to be told when all their watchers have passed this revision.
    progress: BTreeMap<StreamId, Revision>,
    wants: Wants,
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
    watchers: BTreeMap<i64, WatcherId>,
    next_watch: i64,
    /// Those behind in the order of their turns; some are not behind any more.
    pub(super) behind: VecDeque<WatcherId>,
    /// How many are behind.
    pub(super) lagging: usize,
    /// Whether it is among the hub's `turns`.
    pub(super) in_turns: bool,
    /// The client will ask for nothing more.
    half_closed: bool,
}

pub(super) struct Watcher {
    pub(super) stream: StreamId,
    pub(super) watch: i64,
    pub(super) range: KeyRange,
    pub(super) flavour: Flavour,
    /// Wants to hear how far it is when nothing happens.
    progress: bool,
    pub(super) standing: Standing,
}

/// Where a watcher stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Synced,
    /// From this revision on, which the feed has not reached.
    Waiting(Revision),
    Behind {
        /// The first revision that it has not got.
        from: Revision,
        /// Whether it is in its stream's queue.
        queued: bool,
    },
}

/// Those who watch the same range.
#[derive(Default)]
pub(super) struct Group {
    /// The synced ones, by what they want to see.
    pub(super) synced: BTreeMap<Flavour, BTreeMap<WatcherId, Member>>,
    waiting: usize,
    /// Which of the changes being handed out concern it.
    pub(super) marked: Vec<usize>,
}

/// What is needed to give a synced watcher something.
pub(super) struct Member {
    pub(super) outlet: Arc<Outlet>,
    pub(super) watch: i64,
}

/// The watch that feeds all who are synced.
pub(super) struct Feed {
    /// All before is handed out.
    pub(super) position: Revision,
    /// What is being asked for.
    asked: Option<FeedQuestion>,
    /// Somebody has joined whom the question does not cover.
    stale: bool,
}

/// What to ask the cluster for the synced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FeedQuestion {
    pub(crate) range: KeyRange,
    pub(crate) from: Revision,
    pub(crate) previous: bool,
    /// Somebody waits to hear how far the feed is: ask without waiting for a change.
    pub(crate) hurry: bool,
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

    /// Begins a watch, unless it is denied. `now` is a revision that existed after the client had asked.
    pub(crate) fn create(
        &mut self,
        id: StreamId,
        request: WatchCreateRequest,
        now: Revision,
        denial: Option<&str>,
    ) {
        self.newest = self.newest.max(now);
        let reached = self.feed.as_ref().map_or(Revision(0), |feed| Revision(feed.position.0 - 1));
        let now = now.max(reached);
        let header = Some((self.header)(now));
        let limit = self.limits.watchers_per_stream;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let range = range_of(request.key, request.range_end);
        let refusal = if denial.is_some() {
            denial
        } else if request.start_revision < 0 {
            Some(COMPACTED)
        } else if range.is_empty() {
            Some(EMPTY_RANGE)
        } else if request.watch_id != 0 && stream.watchers.contains_key(&request.watch_id) {
            Some(DUPLICATE)
        } else if stream.watchers.len() >= limit {
            Some(TOO_MANY)
        } else {
            None
        };
        if let Some(why) = refusal {
            let response = WatchResponse {
                header,
                created: true,
                canceled: true,
                cancel_reason: why.to_owned(),
                ..WatchResponse::default()
            };
            return stream.outlet.force(NO_WATCH, encode_control(&response));
        }
        self.last_id += 1;
        let watcher = WatcherId(self.last_id);
        let watch = stream.name(request.watch_id);
        stream.watchers.insert(watch, watcher);
        let created = WatchResponse { header, created: true, ..WatchResponse::default() };
        stream.outlet.force(watch, encode_control(&created));
        let unwanted = |kind: FilterType| request.filters.contains(&i32::from(kind));
        let flavour = Flavour {
            previous: request.prev_kv,
            puts: !unwanted(FilterType::Noput),
            deletes: !unwanted(FilterType::Nodelete),
            fragment: request.fragment,
        };
        let from = match u64::try_from(request.start_revision) {
            Ok(0) | Err(_) => now.next(),
            Ok(start) => Revision(start),
        };
        let progress = request.progress_notify;
        let standing = Standing::Synced;
        let stream = id;
        let record = Watcher { stream, watch, range, flavour, progress, standing };
        self.watchers.insert(watcher, record);
        self.place(watcher, from);
    }

    /// Ends a watch. One that there isn't is passed over, as etcd does.
    pub(crate) fn cancel(&mut self, id: StreamId, watch: i64) {
        let header = Some((self.header)(self.newest));
        let Some(stream) = self.streams.get(&id) else { return };
        let Some(&watcher) = stream.watchers.get(&watch) else { return };
        let canceled = WatchResponse { header, canceled: true, ..WatchResponse::default() };
        self.end(watcher, &canceled);
    }

    /// What a stream watches.
    pub(crate) fn watched_by(&self, id: StreamId) -> Vec<(i64, KeyRange)> {
        let watchers = self.streams.get(&id).map(|stream| &stream.watchers).into_iter().flatten();
        watchers.map(|(watch, id)| (*watch, self.watchers[id].range.clone())).collect()
    }

    /// Ends a watch that may not be any more.
    pub(crate) fn bar(&mut self, id: StreamId, watch: i64, why: &str) {
        let header = Some((self.header)(self.newest));
        let Some(stream) = self.streams.get(&id) else { return };
        let Some(&watcher) = stream.watchers.get(&watch) else { return };
        let cancel_reason = why.to_owned();
        let last_words =
            WatchResponse { header, canceled: true, cancel_reason, ..WatchResponse::default() };
        self.end(watcher, &last_words);
    }

    /// Tells a stream, once all of its watchers have everything up to `now`.
    pub(crate) fn request_progress(&mut self, id: StreamId, now: Revision) {
        self.newest = self.newest.max(now);
        self.progress.insert(id, now);
        self.answer_progress();
        // The feed may lie before it, with nothing to bring it on.
        self.wants.kick |= self.progress.contains_key(&id);
    }

    /// Tells the watchers of a stream that want to know how far they are.
    pub(crate) fn tick(&mut self, id: StreamId) {
        let Some(feed) = &self.feed else { return };
        let header = Some((self.header)(Revision(feed.position.0 - 1)));
        let body = encode_control(&WatchResponse { header, ..WatchResponse::default() });
        let Some(stream) = self.streams.get(&id) else { return };
        for (watch, watcher) in &stream.watchers {
            let watcher = &self.watchers[watcher];
            let behind = matches!(watcher.standing, Standing::Behind { .. });
            if watcher.progress && !behind {
                // Whoever has no room hears it another time.
                let _ = stream.outlet.offer(*watch, std::slice::from_ref(&body));
            }
        }
    }

    /// What to ask for next; `None` when nobody is left who wants to know, and the feed ends.
    pub(crate) fn next_feed(&mut self) -> Option<FeedQuestion> {
        let (Some(feed), Some(range)) = (&mut self.feed, self.groups.hull()) else {
            self.feed = None;
            return None;
        };
        let question = FeedQuestion {
            range,
            from: feed.position,
            previous: self.previous > 0,
            hurry: self.progress.values().any(|target| *target >= feed.position),
        };
        feed.asked = Some(question.clone());
        feed.stale = false;
        Some(question)
    }

    /// Whether what the feed was asked last covers all who wait for it.
    pub(super) fn feed_covers(&self) -> bool {
        self.feed.as_ref().is_some_and(|feed| !feed.stale)
    }

    /// The feed's position is compacted away: everybody goes on alone, and hears it if need be.
    pub(crate) fn feed_compacted(&mut self) {
        let Some(feed) = self.feed.take() else { return };
        let all: Vec<WatcherId> = self.watchers.keys().copied().collect();
        for watcher in all {
            let from = match self.watchers[&watcher].standing {
                Standing::Synced => feed.position,
                Standing::Waiting(from) => from,
                Standing::Behind { .. } => continue,
            };
            self.leave(watcher);
            self.lag(watcher, from);
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

    /// Gives a watcher that stands nowhere its place.
    pub(super) fn place(&mut self, watcher: WatcherId, from: Revision) {
        match &self.feed {
            Some(feed) if from >= feed.position => self.join(watcher, from),
            None if from > self.newest => {
                let position = self.newest.next();
                self.feed = Some(Feed { position, asked: None, stale: true });
                self.wants.start = true;
                self.join(watcher, from);
            }
            Some(_) | None => self.lag(watcher, from),
        }
    }

    fn join(&mut self, id: WatcherId, from: Revision) {
        let watcher = self.watchers.get_mut(&id).expect("who joins exists");
        let feed = self.feed.as_mut().expect("there is something to join");
        let place = self.groups.place(&watcher.range, Group::default);
        let group = self.groups.value_mut(place);
        if from == feed.position {
            watcher.standing = Standing::Synced;
            let outlet = Arc::clone(&self.streams[&watcher.stream].outlet);
            let member = Member { outlet, watch: watcher.watch };
            group.synced.entry(watcher.flavour).or_default().insert(id, member);
        } else {
            watcher.standing = Standing::Waiting(from);
            group.waiting += 1;
            self.waiting.insert((from, id));
        }
        self.previous += usize::from(watcher.flavour.previous);
        let covered = feed.asked.as_ref().is_some_and(|asked| {
            covers(&asked.range, &watcher.range) && (asked.previous || !watcher.flavour.previous)
        });
        if !covered && !feed.stale {
            feed.stale = true;
            self.wants.kick = true;
        }
    }

    /// Takes a watcher from where it stands.
    pub(super) fn leave(&mut self, id: WatcherId) {
        let watcher = self.watchers.get(&id).expect("who leaves exists");
        match watcher.standing {
            Standing::Synced | Standing::Waiting(_) => {
                let place = self.groups.find(&watcher.range).expect("it stands in a group");
                let group = self.groups.value_mut(place);
                if let Standing::Waiting(from) = watcher.standing {
                    group.waiting -= 1;
                    self.waiting.remove(&(from, id));
                } else if let Some(members) = group.synced.get_mut(&watcher.flavour) {
                    members.remove(&id);
                    if members.is_empty() {
                        group.synced.remove(&watcher.flavour);
                    }
                }
                if group.synced.is_empty() && group.waiting == 0 {
                    self.groups.remove(place);
                    // The feed may be over, or have less to ask for.
                    self.wants.kick |= self.groups.hull().is_none();
                }
                self.previous -= usize::from(watcher.flavour.previous);
            }
            Standing::Behind { from, .. } => self.leave_behind(id, from),
        }
    }

    /// Moves those who wait for the feed's position to the synced.
    pub(super) fn admit_waiting(&mut self, position: Revision) {
        while let Some(&(from, id)) = self.waiting.first()
            && from <= position
        {
            assert!(from == position, "the feed has passed somebody who waited for it");
            self.leave(id);
            self.join(id, from);
        }
    }

    /// Tells those who asked, and whose watchers all are as far as they wanted to know.
    pub(super) fn answer_progress(&mut self) {
        if self.progress.is_empty() {
            return;
        }
        let position = self.feed.as_ref().map_or(Revision(0), |feed| feed.position);
        let (streams, header) = (&self.streams, &self.header);
        self.progress.retain(|id, target| {
            let Some(stream) = streams.get(id) else { return false };
            if stream.watchers.is_empty() {
                // etcd says nothing either.
                return false;
            }
            if stream.lagging > 0 || position <= *target {
                return true;
            }
            let header = Some(header(Revision(position.0 - 1)));
            let response = WatchResponse { header, ..WatchResponse::default() };
            stream.outlet.force(NO_WATCH, encode_control(&response));
            false
        });
    }

    /// A watcher's revisions are gone: `asked` was refused, `compacted` is the newest that is compacted.
    pub(super) fn end_compacted(&mut self, id: WatcherId, asked: Revision, compacted: Revision) {
        // Clients begin anew from the revision that they are told, so it must be one that works.
        let oldest = if asked < compacted { compacted } else { compacted.next() };
        let response = WatchResponse {
            header: Some((self.header)(self.newest.max(compacted))),
            canceled: true,
            compact_revision: signed(oldest.0),
            cancel_reason: COMPACTED.to_owned(),
            ..WatchResponse::default()
        };
        self.end(id, &response);
    }

    fn end(&mut self, id: WatcherId, last_words: &WatchResponse) {
        let Some(watcher) = self.forget(id) else { return };
        let stream = self.streams.get_mut(&watcher.stream).expect("its stream is open");
        stream.watchers.remove(&watcher.watch);
        stream.outlet.force(watcher.watch, encode_control(last_words));
        stream.end_if_done();
    }

    fn forget(&mut self, id: WatcherId) -> Option<Watcher> {
        if self.watchers.contains_key(&id) {
            self.leave(id);
        }
        self.watchers.remove(&id)
    }
}

impl Stream {
    /// What a new watch is called: as the client wishes, or by the next free number.
    fn name(&mut self, wish: i64) -> i64 {
        if wish != 0 {
            return wish;
        }
        while self.watchers.contains_key(&self.next_watch) {
            self.next_watch += 1;
        }
        self.next_watch += 1;
        self.next_watch - 1
    }

    fn end_if_done(&mut self) {
        if self.half_closed && self.watchers.is_empty() {
            self.outlet.end(Status::ok(""));
        }
    }
}

/// The keys that a request names.
pub(crate) fn range_of(key: Bytes, range_end: Bytes) -> KeyRange {
    let start = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
    match &range_end[..] {
        [] => KeyRange::single(start),
        [0] => KeyRange { start, end: None },
        _ => KeyRange { start, end: Some(range_end) },
    }
}

fn covers(outer: &KeyRange, inner: &KeyRange) -> bool {
    outer.start <= inner.start
        && match (&outer.end, &inner.end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(outer), Some(inner)) => inner <= outer,
        }
}
