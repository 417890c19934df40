//! Who may watch may cease to: users change, and what they may do.
//!
//! The hub reads for all, in the name of the node itself, and so a change that comes right after a user's
//! permission was taken could reach him before anybody has asked whether he may still see it. So a change
//! of users or rights *holds* all streams at once: they fall behind, and nobody reads for them, until each
//! has been judged anew. Whoever may go on gets what he lacks.

use wire::Revision;

use super::hub::{Hub, StreamId, WatcherId};
use super::standing::Standing;

impl Hub {
    /// Users, or what they may do, have changed so often; what comes from now on may be later than that.
    pub(crate) fn heed(&mut self, changes: u64) {
        if changes <= self.changes {
            return;
        }
        self.changes = changes;
        for stream in self.streams.values_mut() {
            stream.held = true;
        }
        if let Some(feed) = &self.feed {
            self.all_fall_behind(feed.position);
        }
    }

    /// A stream's watches were judged when there had been so many changes; those that may not be are over.
    pub(crate) fn judged(&mut self, id: StreamId, changes: u64) {
        if let Some(stream) = self.streams.get_mut(&id)
            && changes >= self.changes
        {
            stream.held = false;
            self.give_turn(id);
        }
    }

    /// Whether a watcher's stream has still to be judged.
    pub(super) fn is_held(&self, watcher: WatcherId) -> bool {
        self.streams.get(&self.watchers[&watcher].stream).is_some_and(|stream| stream.held)
    }

    /// Everybody goes on alone; the synced have all before `position`.
    pub(super) fn all_fall_behind(&mut self, position: Revision) {
        let all: Vec<WatcherId> = self.watchers.keys().copied().collect();
        for watcher in all {
            let from = match self.watchers[&watcher].standing {
                Standing::Synced => position,
                Standing::Waiting(from) => from,
                Standing::Behind { .. } => continue,
            };
            self.leave(watcher);
            self.lag(watcher, from);
        }
    }
}
