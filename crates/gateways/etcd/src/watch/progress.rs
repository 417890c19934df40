//! How far watches are, for clients that want to know it when nothing happens.

use wire::Revision;

use super::encode::encode_control;
use super::hub::{Hub, StreamId};
use super::outlet::NO_WATCH;
use super::standing::Standing;
use crate::pb::etcdserverpb::WatchResponse;

impl Hub {
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
}
