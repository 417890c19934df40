//! Where each watcher stands, and how it comes from one place to another.

use std::collections::BTreeMap;
use std::sync::Arc;

use wire::Revision;

use super::encode::Flavour;
use super::feed::Feed;
use super::hub::{Hub, WatcherId};
use super::outlet::Outlet;

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

impl Hub {
    /// Gives a watcher that stands nowhere its place.
    pub(super) fn place(&mut self, watcher: WatcherId, from: Revision) {
        if self.is_held(watcher) {
            return self.lag(watcher, from);
        }
        match &self.feed {
            Some(feed) if from >= feed.position => self.join(watcher, from),
            None if from > self.newest => {
                let position = self.newest.next();
                self.feed = Some(Feed::at(position));
                self.wants.start = true;
                self.join(watcher, from);
            }
            Some(_) | None => self.lag(watcher, from),
        }
    }

    pub(super) fn join(&mut self, id: WatcherId, from: Revision) {
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
        self.wants.kick |= feed.joined(&watcher.range, watcher.flavour.previous);
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
}
