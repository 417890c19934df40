//! The feed: one watch of the cluster for all watchers that are synced.

use wire::{KeyRange, Revision};

use super::hub::Hub;

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

impl Feed {
    /// One that begins here, once somebody has joined.
    pub(super) fn at(position: Revision) -> Self {
        Self { position, asked: None, stale: true }
    }

    /// Somebody joins who watches this range, and perhaps what was before. Whether what is being asked
    /// must be asked anew.
    pub(super) fn joined(&mut self, range: &KeyRange, previous: bool) -> bool {
        let covered = self
            .asked
            .as_ref()
            .is_some_and(|asked| covers(&asked.range, range) && (asked.previous || !previous));
        let anew = !covered && !self.stale;
        self.stale |= anew;
        anew
    }
}

impl Hub {
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
        self.all_fall_behind(feed.position);
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
