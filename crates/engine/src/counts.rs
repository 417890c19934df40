//! How many keys stretches of a space have, so that a range is counted without a walk over all of it.
//!
//! Whoever pages through a large range asks with every page how many keys there are behind it. A count
//! walks over what nobody counted yet, and leaves behind how many keys each stretch of it had; the next
//! count adds those up, and walks only where they are missing. A stretch is forgotten as soon as a key
//! comes or goes in it; new values of its keys leave it alone.
//!
//! # Invariants
//!
//! * Stretches of a space do not overlap.
//! * In a stretch that is kept, no key has come or gone after the revision at which it was counted. So
//!   its figure holds at that revision and at every later one.
//! * Memory is bounded: by [`MOST_STRETCHES`] and [`MOST_CHANGES`] for each space.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use wire::{Revision, SpaceId};

use crate::Row;

/// A piece with less than one of so many parts of a stretch's keys is not worth its place.
const PARTS_WORTH_KEEPING: u64 = 4;

/// Most stretches that are kept of one space.
const MOST_STRETCHES: usize = 1 << 16;

/// How many of the last keys that came or went are remembered: a count that was under way meanwhile
/// may still leave its stretches behind.
const MOST_CHANGES: usize = 1 << 12;

/// What is known of all spaces. Readers and the writer share it; the lock is held for a look at the maps.
#[derive(Debug)]
pub(crate) struct Counts {
    stretch_keys: u64,
    spaces: Mutex<BTreeMap<SpaceId, Stretches>>,
}

/// From its key in the map up to and without `end`.
#[derive(Debug)]
struct Stretch {
    end: Bytes,
    keys: u64,
    since: Revision,
}

#[derive(Debug, Default)]
struct Stretches {
    known: BTreeMap<Bytes, Stretch>,
    /// Keys that came or went last, oldest first.
    changes: VecDeque<(Revision, Bytes)>,
    /// All changes after this revision are among `changes`; `None` until somebody has said what had
    /// happened before the first of them.
    complete_after: Option<Revision>,
}

/// How many keys there are from `start` up to and without `end`: one stretch, or several that follow one
/// another without a gap.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) start: Bytes,
    pub(crate) end: Bytes,
    pub(crate) keys: u64,
}

impl Counts {
    /// Nothing is known. A stretch has so many keys.
    pub(crate) fn new(stretch_keys: u64) -> Self {
        Self { stretch_keys, spaces: Mutex::default() }
    }

    /// A walk from `start` on is about to begin.
    pub(crate) fn tally(&self, start: Bytes) -> Tally {
        Tally { stretch_keys: self.stretch_keys, start, keys: 0, total: 0, counted: Vec::new() }
    }

    /// Takes note of what was written.
    pub(crate) fn note(&self, rows: &[Row]) {
        let comes_or_goes = |row: &&Row| match &row.cell {
            Some(cell) => cell.created == row.revision,
            None => true,
        };
        let mut changed = rows.iter().filter(comes_or_goes).peekable();
        if changed.peek().is_none() {
            return;
        }
        let mut spaces = self.lock();
        for row in changed {
            spaces.entry(row.space).or_default().change(row);
        }
    }

    /// Whether it is known when a key of this space last came or went before this life.
    pub(crate) fn has_begun(&self, space: SpaceId) -> bool {
        self.lock().get(&space).is_some_and(|stretches| stretches.complete_after.is_some())
    }

    /// No change that was not taken note of came after `newest`.
    pub(crate) fn begin(&self, space: SpaceId, newest: Revision) {
        self.lock().entry(space).or_default().complete_after.get_or_insert(newest);
    }

    /// The first stretches at or behind `from` that are known at `at`, and end by `end`.
    pub(crate) fn known(
        &self,
        space: SpaceId,
        from: &[u8],
        end: Option<&[u8]>,
        at: Revision,
    ) -> Option<Counted> {
        let spaces = self.lock();
        let from_on = (Bound::Included(from), Bound::Unbounded);
        let fits = |stretch: &Stretch| {
            stretch.since <= at && end.is_none_or(|end| &stretch.end[..] <= end)
        };
        let mut found: Option<Counted> = None;
        for (start, stretch) in spaces.get(&space)?.known.range::<[u8], _>(from_on) {
            match &mut found {
                Some(known) if known.end != *start || !fits(stretch) => break,
                Some(known) => {
                    known.end.clone_from(&stretch.end);
                    known.keys += stretch.keys;
                }
                None if fits(stretch) => {
                    let (start, end) = (start.clone(), stretch.end.clone());
                    found = Some(Counted { start, end, keys: stretch.keys });
                }
                None if end.is_some_and(|end| &start[..] >= end) => break,
                None => {}
            }
        }
        found
    }

    /// Keeps what was counted at `at`, as far as that still holds.
    pub(crate) fn keep(&self, space: SpaceId, counted: Vec<Counted>, at: Revision) {
        if counted.is_empty() {
            return;
        }
        let fewest = self.stretch_keys / PARTS_WORTH_KEEPING;
        let mut spaces = self.lock();
        let stretches = spaces.entry(space).or_default();
        for Counted { start, end, keys } in counted {
            if keys >= fewest && stretches.would_hold(&start, &end, at) {
                stretches.known.insert(start, Stretch { end, keys, since: at });
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SpaceId, Stretches>> {
        // Whoever panicked under the lock has left whole values behind.
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stretches {
    fn change(&mut self, row: &Row) {
        let up_to_key = (Bound::Unbounded, Bound::Included(&row.key[..]));
        let before = self.known.range::<[u8], _>(up_to_key).next_back();
        if let Some((start, stretch)) = before
            && stretch.end > row.key
        {
            let start = start.clone();
            self.known.remove(&start);
        }
        if self.changes.len() == MOST_CHANGES
            && let Some((revision, _)) = self.changes.pop_front()
        {
            self.complete_after = Some(revision).max(self.complete_after);
        }
        // A copy: the key may be a slice of a large command.
        self.changes.push_back((row.revision, Bytes::copy_from_slice(&row.key)));
    }

    /// Whether what was counted at `at` between these keys still holds, and has room.
    fn would_hold(&self, start: &Bytes, end: &Bytes, at: Revision) -> bool {
        let is_told = self.complete_after.is_some_and(|complete| complete <= at);
        if self.known.len() >= MOST_STRETCHES || !is_told {
            return false;
        }
        let mut later = self.changes.iter().rev().take_while(|(revision, _)| *revision > at);
        let is_overtaken = later.any(|(_, key)| start <= key && key < end);
        let before_end = (Bound::Unbounded, Bound::Excluded(&end[..]));
        let last = self.known.range::<[u8], _>(before_end).next_back();
        !is_overtaken && last.is_none_or(|(_, stretch)| stretch.end <= *start)
    }
}

/// Cuts a walk over keys into stretches.
pub(crate) struct Tally {
    stretch_keys: u64,
    start: Bytes,
    keys: u64,
    total: u64,
    counted: Vec<Counted>,
}

impl Tally {
    /// Whether the next key is where a stretch ends.
    pub(crate) fn is_full(&self) -> bool {
        self.keys == self.stretch_keys
    }

    /// Ends the present stretch before `key`.
    pub(crate) fn cut(&mut self, key: Bytes) {
        let start = std::mem::replace(&mut self.start, key.clone());
        let keys = std::mem::take(&mut self.keys);
        self.counted.push(Counted { start, end: key, keys });
    }

    /// One more key.
    pub(crate) fn count(&mut self) {
        self.keys += 1;
        self.total += 1;
    }

    /// How many keys there were up to `end`, and in which stretches.
    pub(crate) fn finish(mut self, end: Option<Bytes>) -> (u64, Vec<Counted>) {
        if let Some(end) = end {
            self.cut(end);
        }
        (self.total, self.counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cell;

    const SPACE: SpaceId = SpaceId(1);

    fn key(number: u64) -> Bytes {
        Bytes::from(format!("{number:08}"))
    }

    fn row(number: u64, revision: u64, created: Option<u64>) -> Row {
        let cell = created.map(|created| Cell {
            created: Revision(created),
            version: 1,
            lease: 0,
            value: Bytes::new(),
        });
        Row { space: SPACE, key: key(number), revision: Revision(revision), cell }
    }

    fn keep(counts: &Counts, start: u64, end: u64, at: u64) {
        let counted = Counted { start: key(start), end: key(end), keys: 100 };
        counts.keep(SPACE, vec![counted], Revision(at));
    }

    fn known(counts: &Counts, from: u64, end: u64, at: u64) -> Option<(Bytes, Bytes)> {
        let known = counts.known(SPACE, &key(from), Some(&key(end)), Revision(at));
        known.map(|known| (known.start, known.end))
    }

    fn begun() -> Counts {
        let counts = Counts::new(100);
        counts.begin(SPACE, Revision(0));
        counts
    }

    #[test]
    fn a_stretch_holds_until_a_key_comes_or_goes_in_it() {
        let counts = begun();
        keep(&counts, 10, 20, 5);
        keep(&counts, 20, 30, 5);
        assert_eq!(known(&counts, 0, 99, 5), Some((key(10), key(30))));
        assert_eq!(known(&counts, 11, 99, 5), Some((key(20), key(30))));
        assert_eq!(known(&counts, 0, 29, 5), Some((key(10), key(20))));
        assert_eq!(known(&counts, 0, 99, 4), None, "it was counted later");
        counts.note(&[row(15, 6, Some(2))]);
        assert_eq!(known(&counts, 0, 99, 6), Some((key(10), key(30))), "a new value");
        counts.note(&[row(20, 7, None)]);
        assert_eq!(known(&counts, 0, 99, 7), Some((key(10), key(20))));
        counts.note(&[row(19, 8, Some(8))]);
        assert_eq!(known(&counts, 0, 99, 8), None);
    }

    #[test]
    fn what_was_overtaken_is_not_kept() {
        let counts = begun();
        counts.note(&[row(15, 6, None)]);
        keep(&counts, 10, 20, 5);
        assert_eq!(known(&counts, 0, 99, 9), None);
        keep(&counts, 10, 20, 6);
        assert_eq!(known(&counts, 0, 99, 9), Some((key(10), key(20))));
        keep(&counts, 5, 11, 6);
        keep(&counts, 19, 25, 6);
        assert_eq!(known(&counts, 0, 99, 9), Some((key(10), key(20))), "no overlap");
    }

    #[test]
    fn what_was_counted_of_the_past_is_not_kept_when_later_changes_are_unknown() {
        let counts = Counts::new(100);
        keep(&counts, 10, 20, 9);
        assert_eq!(known(&counts, 0, 99, 9), None);
        counts.begin(SPACE, Revision(7));
        keep(&counts, 10, 20, 6);
        assert_eq!(known(&counts, 0, 99, 9), None);
        keep(&counts, 10, 20, 7);
        assert_eq!(known(&counts, 0, 99, 9), Some((key(10), key(20))));
    }

    #[test]
    fn a_count_that_took_too_long_is_not_kept() {
        let counts = begun();
        for revision in 1..=MOST_CHANGES as u64 + 10 {
            counts.note(&[row(1_000_000, revision, None)]);
        }
        keep(&counts, 10, 20, 9);
        assert_eq!(known(&counts, 0, 99, 9000), None);
        keep(&counts, 10, 20, 10);
        assert_eq!(known(&counts, 0, 99, 9000), Some((key(10), key(20))));
    }
}
