//! What readers have read of runs and may read again: blocks, indexes and filters, up to a limit.
//!
//! In shards, so that readers seldom wait for one another; in each, what was not used for a round
//! of the hand goes when there is need of room (CLOCK, Corbató 1968). Nothing is read under a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::block::Block;
use super::filter::Filter;
use super::index::Index;

const MOST_SHARDS: usize = 16;
const SHARD_BYTES: usize = 1024 * 1024;

/// What an entry costs beside its bytes: its place in the map and in the clock.
const ENTRY_BYTES: usize = 160;

/// A part of a run: the run's number, and where the part begins in its file. Numbers are never
/// used twice, so nobody needs to say that a run is gone.
pub(super) type PartId = (u64, u64);

/// A part of a run, as it is kept.
#[derive(Clone, Debug)]
pub(super) enum Cached {
    Block(Arc<Block>),
    Index(Arc<Index>),
    Filter(Arc<Filter>),
}

impl Cached {
    fn size(&self) -> usize {
        ENTRY_BYTES
            + match self {
                Self::Block(block) => block.size(),
                Self::Index(index) => index.size(),
                Self::Filter(filter) => filter.bytes().len(),
            }
    }
}

#[derive(Debug)]
pub(super) struct Cache {
    shards: Vec<Mutex<Shard>>,
}

impl Cache {
    pub(super) fn new(limit_bytes: usize) -> Self {
        let shards = (limit_bytes / SHARD_BYTES).clamp(1, MOST_SHARDS);
        let limit = limit_bytes / shards;
        let shard = || Mutex::new(Shard { limit, ..Shard::default() });
        Self { shards: std::iter::repeat_with(shard).take(shards).collect() }
    }

    pub(super) fn find(&self, id: PartId) -> Option<Cached> {
        self.shard(id).find(id)
    }

    /// Keeps a part, if it is not too large for that.
    pub(super) fn keep(&self, id: PartId, part: Cached) {
        self.shard(id).keep(id, part);
    }

    fn shard(&self, (run, offset): PartId) -> MutexGuard<'_, Shard> {
        let scattered = (run ^ offset.rotate_left(20)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let shard = usize::try_from(scattered).unwrap_or(0) % self.shards.len();
        // A reader that panicked under the lock has left whole values behind.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Shard {
    places: BTreeMap<PartId, usize>,
    clock: Vec<Option<Slot>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    limit: usize,
}

#[derive(Debug)]
struct Slot {
    id: PartId,
    part: Cached,
    used: bool,
}

impl Shard {
    fn find(&mut self, id: PartId) -> Option<Cached> {
        let slot = self.clock[*self.places.get(&id)?].as_mut()?;
        slot.used = true;
        Some(slot.part.clone())
    }

    fn keep(&mut self, id: PartId, part: Cached) {
        let size = part.size();
        if size > self.limit || self.places.contains_key(&id) {
            return;
        }
        while self.bytes + size > self.limit {
            self.turn();
        }
        let slot = Slot { id, part, used: false };
        let place = self.free.pop().unwrap_or(self.clock.len());
        match self.clock.get_mut(place) {
            Some(free) => *free = Some(slot),
            None => self.clock.push(Some(slot)),
        }
        self.places.insert(id, place);
        self.bytes += size;
    }

    /// The hand goes on by one slot.
    fn turn(&mut self) {
        self.hand = (self.hand + 1) % self.clock.len().max(1);
        let Some(place) = self.clock.get_mut(self.hand) else { return };
        let Some(slot) = place else { return };
        if std::mem::replace(&mut slot.used, false) {
            return;
        }
        self.bytes -= slot.part.size();
        self.places.remove(&slot.id);
        *place = None;
        self.free.push(self.hand);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(bytes: usize) -> Cached {
        Cached::Filter(Arc::new(Filter::parse(vec![0; bytes]).unwrap()))
    }

    #[test]
    fn the_limit_holds_and_what_is_used_stays() {
        let cache = Cache::new(100 * (ENTRY_BYTES + 64));
        for number in 0..10_000 {
            cache.keep((number, 0), part(64));
            assert!(number == 0 || cache.find((0, 0)).is_some(), "{number}");
            assert!(cache.shards[0].lock().unwrap().bytes <= 100 * (ENTRY_BYTES + 64));
        }
        assert!((0..10_000).filter(|number| cache.find((*number, 0)).is_some()).count() > 90);
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let cache = Cache::new(1000);
        cache.keep((1, 0), part(64));
        cache.keep((2, 0), part(1024));
        assert!(cache.find((2, 0)).is_none() && cache.find((1, 0)).is_some());
    }
}
