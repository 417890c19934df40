//! What clients ask of the hub: watches that begin and end.

use bytes::Bytes;
use wire::{KeyRange, Revision};

use super::encode::{Flavour, encode_control};
use super::hub::{Hub, Stream, StreamId, Watcher, WatcherId};
use super::outlet::NO_WATCH;
use super::standing::Standing;
use crate::header::signed;
use crate::pb::etcdserverpb::watch_create_request::FilterType;
use crate::pb::etcdserverpb::{WatchCreateRequest, WatchResponse};

const COMPACTED: &str = "etcdserver: mvcc: required revision has been compacted";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";
const DUPLICATE: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const TOO_MANY: &str = "etcdserver: too many requests";

impl Hub {
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

    pub(super) fn end(&mut self, id: WatcherId, last_words: &WatchResponse) {
        let Some(watcher) = self.forget(id) else { return };
        let stream = self.streams.get_mut(&watcher.stream).expect("its stream is open");
        stream.watchers.remove(&watcher.watch);
        stream.outlet.force(watcher.watch, encode_control(last_words));
        stream.end_if_done();
    }
}

impl Stream {
    /// What a new watch is called: as the client wishes, or by the next free number.
    pub(super) fn name(&mut self, wish: i64) -> i64 {
        if wish != 0 {
            return wish;
        }
        while self.watchers.contains_key(&self.next_watch) {
            self.next_watch += 1;
        }
        self.next_watch += 1;
        self.next_watch - 1
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
