//! What the feed brings goes to all synced watchers that it concerns.
//!
//! What a watcher costs here is one look at its outlet, and a place in it: the bytes are made once for
//! all who watch the same range in the same way, and shared.

use wire::{Event, Revision, WatchBatch};

use super::encode::Encoder;
use super::hub::{Hub, WatcherId};
use super::index::Place;
use super::outlet::Offered;

impl Hub {
    /// Hands out what the feed was asked for last; how many responses that made.
    pub(crate) fn feed(&mut self, batch: &WatchBatch) -> usize {
        if !self.feed_covers() {
            return 0;
        }
        let mut told = 0;
        let mut rest = &batch.events[..];
        // Whoever begins amidst the batch is synced at its revision.
        while let Some(&(from, _)) = self.waiting.first()
            && from < batch.next
        {
            let before = rest.partition_point(|event| event.revision < from);
            let (now, after) = rest.split_at(before);
            told += self.hand_out(now);
            self.advance(from);
            rest = after;
        }
        told += self.hand_out(rest);
        self.advance(batch.next);
        self.newest = self.newest.max(Revision(batch.next.0 - 1));
        self.answer_progress();
        told
    }

    fn advance(&mut self, position: Revision) {
        let Some(feed) = &mut self.feed else { return };
        feed.position = feed.position.max(position);
        let position = feed.position;
        self.admit_waiting(position);
    }

    fn hand_out(&mut self, events: &[Event]) -> usize {
        let mut told = 0;
        let mut concerned: Vec<Place> = Vec::new();
        for (at, event) in events.iter().enumerate() {
            self.groups.holding(event.key(), |place, group| {
                if group.marked.is_empty() {
                    concerned.push(place);
                }
                group.marked.push(at);
            });
        }
        let header = (self.header)(Revision(0));
        let mut encoder = Encoder::new(header, self.limits.sizes, events);
        let mut refused: Vec<(WatcherId, Revision)> = Vec::new();
        for place in concerned {
            let group = self.groups.value_mut(place);
            let marked = std::mem::take(&mut group.marked);
            for (flavour, members) in &group.synced {
                let responses = encoder.responses(marked.iter().copied(), *flavour);
                told += members.len() * responses.len();
                for (id, member) in members {
                    let full = responses.iter().find(|response| {
                        member.outlet.offer(member.watch, &response.parts) == Offered::Full
                    });
                    if let Some(first) = full {
                        refused.push((*id, first.first));
                    }
                }
            }
        }
        for (id, from) in refused {
            self.leave(id);
            self.lag(id, from);
        }
        told
    }
}
