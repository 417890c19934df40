//! Walks over parts, over a layer of them, and over all layers at once.

use std::sync::Arc;

use bytes::Bytes;
use disk::File;

use super::block::{Block, BlockCursor};
use super::cache::Cache;
use super::index::{Index, Place};
use super::run::Run;
use super::shape::Part;
use crate::ReadError;

/// Bytes that a merge reads at once.
const AHEAD_BYTES: u64 = 128 * 1024;

/// How blocks are come by.
#[derive(Clone, Copy)]
pub(super) enum Fetch<'a> {
    /// One by one, by way of the cache: for readers.
    Cached(&'a Cache),
    /// Many at once, past the cache, which is for those who come again.
    Ahead,
}

/// Keys from a first one up to and without an end; both begin with a table's tag.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    pub(super) from: Bytes,
    pub(super) to: Option<Bytes>,
}

impl Keys {
    /// Whether a key lies before the end.
    fn reach(&self, key: &[u8]) -> bool {
        self.to.as_ref().is_none_or(|to| key < &to[..])
    }
}

/// Stands at an entry of one part.
struct PartCursor<'a, F> {
    part: &'a Part<Arc<Run<F>>>,
    fetch: Fetch<'a>,
    index: Arc<Index>,
    /// The number of the block that comes next.
    next: usize,
    entries: BlockCursor,
    ahead: (u64, Vec<u8>),
}

impl<'a, F: File> PartCursor<'a, F> {
    /// Stands at the first entry at or behind `target`; `None` if the part has none.
    fn open(
        part: &'a Part<Arc<Run<F>>>,
        fetch: Fetch<'a>,
        target: &[u8],
    ) -> Result<Option<Self>, ReadError> {
        let cache = if let Fetch::Cached(cache) = fetch { Some(cache) } else { None };
        let index = part.run.index(cache)?;
        let target = target.max(&part.from);
        let number = index.find(target);
        let Some(place) = index.place(number) else { return Ok(None) };
        let mut ahead = (0, Vec::new());
        let block = load(&part.run, fetch, place, &mut ahead)?;
        let entries = BlockCursor::new(block);
        let mut cursor = Self { part, fetch, index, next: number + 1, entries, ahead };
        let found = cursor.entries.seek(target)? || cursor.next_block()?;
        Ok((found && cursor.is_inside()).then_some(cursor))
    }

    /// Goes to the next entry; `false` at the part's end.
    fn step(&mut self) -> Result<bool, ReadError> {
        Ok((self.entries.step()? || self.next_block()?) && self.is_inside())
    }

    /// Goes to the first entry at or behind `target`, which lies ahead; `false` at the part's end.
    fn seek(&mut self, target: &[u8]) -> Result<bool, ReadError> {
        let number = self.index.find(target);
        if number >= self.next {
            let Some(place) = self.index.place(number) else { return Ok(false) };
            let block = load(&self.part.run, self.fetch, place, &mut self.ahead)?;
            self.entries.enter(block);
            self.next = number + 1;
        }
        Ok((self.entries.seek(target)? || self.next_block()?) && self.is_inside())
    }

    fn next_block(&mut self) -> Result<bool, ReadError> {
        let Some(place) = self.index.place(self.next) else { return Ok(false) };
        let block = load(&self.part.run, self.fetch, place, &mut self.ahead)?;
        self.entries.enter(block);
        self.next += 1;
        self.entries.step()
    }

    fn is_inside(&self) -> bool {
        self.entries.key() < &self.part.to[..]
    }
}

fn load<F: File>(
    run: &Run<F>,
    fetch: Fetch<'_>,
    place: Place,
    (start, bytes): &mut (u64, Vec<u8>),
) -> Result<Arc<Block>, ReadError> {
    run.breathe()?;
    if let Fetch::Cached(cache) = fetch {
        return run.block(place, cache);
    }
    let behind = *start + bytes.len() as u64;
    if place.offset < *start || place.end() > behind {
        *bytes = run.read_unchecked(place, place.end().max(place.offset + AHEAD_BYTES))?;
        *start = place.offset;
    }
    let skip = usize::try_from(place.offset - *start).expect("within what was read");
    let found = &bytes[skip..];
    let block = if run.is_whole(place, found) {
        found[..place.len as usize].to_vec()
    } else {
        // Perhaps only this reading of it was wrong.
        run.read(place)?
    };
    Ok(Arc::new(Block::parse(block)?))
}

/// Stands at an entry of a layer, or at its end.
struct LayerCursor<'a, F> {
    parts: &'a [Part<Arc<Run<F>>>],
    /// The part that comes next.
    next: usize,
    at: Option<PartCursor<'a, F>>,
}

impl<'a, F: File> LayerCursor<'a, F> {
    fn open(
        parts: &'a [Part<Arc<Run<F>>>],
        fetch: Fetch<'a>,
        keys: &Keys,
    ) -> Result<Self, ReadError> {
        let next = parts.partition_point(|part| part.to <= keys.from);
        let mut cursor = Self { parts, next, at: None };
        cursor.next_part(fetch, keys, &keys.from)?;
        Ok(cursor)
    }

    /// Goes to the first part from the next one on that has an entry at or behind `target`.
    fn next_part(&mut self, fetch: Fetch<'a>, keys: &Keys, target: &[u8]) -> Result<(), ReadError> {
        self.at = None;
        while let Some(part) = self.parts.get(self.next)
            && keys.reach(&part.from)
        {
            self.next += 1;
            self.at = PartCursor::open(part, fetch, target)?;
            if self.at.is_some() {
                break;
            }
        }
        self.stop_outside(keys);
        Ok(())
    }

    fn step(&mut self, fetch: Fetch<'a>, keys: &Keys) -> Result<(), ReadError> {
        let Some(at) = &mut self.at else { return Ok(()) };
        if at.step()? {
            self.stop_outside(keys);
            return Ok(());
        }
        self.next_part(fetch, keys, &[])
    }

    fn seek(&mut self, fetch: Fetch<'a>, keys: &Keys, target: &[u8]) -> Result<(), ReadError> {
        let Some(at) = &mut self.at else { return Ok(()) };
        if at.entries.key() >= target {
            return Ok(());
        }
        if target < &at.part.to[..] && at.seek(target)? {
            self.stop_outside(keys);
            return Ok(());
        }
        let skipped = self.parts[self.next..].partition_point(|part| &part.to[..] <= target);
        self.next += skipped;
        self.next_part(fetch, keys, target)
    }

    fn stop_outside(&mut self, keys: &Keys) {
        if self.key().is_some_and(|key| !keys.reach(key)) {
            self.at = None;
        }
    }

    fn key(&self) -> Option<&[u8]> {
        self.at.as_ref().map(|at| at.entries.key())
    }
}

/// What is made of keys that were removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// They are skipped, with what they hide.
    Skip,
    /// They are shown, for something older may lie below.
    Show,
}

/// All layers as one: of several entries with the same key, the newest layer's is the only one.
pub(super) struct Merged<'a, F> {
    fetch: Fetch<'a>,
    keys: Keys,
    removed: Removed,
    /// The newest first.
    layers: Vec<LayerCursor<'a, F>>,
    /// Layers that are not at their end, the smallest key first, of equal ones the newest.
    order: Vec<usize>,
    begun: bool,
}

impl<'a, F: File> Merged<'a, F> {
    /// Of these layers, the newest first. Stands before the first entry.
    pub(super) fn open(
        layers: impl Iterator<Item = &'a [Part<Arc<Run<F>>>]>,
        fetch: Fetch<'a>,
        keys: Keys,
        removed: Removed,
    ) -> Result<Self, ReadError> {
        let open = |parts| LayerCursor::open(parts, fetch, &keys);
        let layers = layers.map(open).collect::<Result<Vec<_>, _>>()?;
        let mut merged = Self { fetch, keys, removed, layers, order: Vec::new(), begun: false };
        merged.sort();
        Ok(merged)
    }

    /// Steps to the next entry; `false` at the end.
    pub(super) fn step(&mut self) -> Result<bool, ReadError> {
        if std::mem::replace(&mut self.begun, true) {
            self.advance(0)?;
        }
        self.settle()
    }

    /// Steps to the first entry at or behind `target`; `false` at the end.
    pub(super) fn seek(&mut self, target: &[u8]) -> Result<bool, ReadError> {
        self.begun = true;
        for layer in &mut self.layers {
            layer.seek(self.fetch, &self.keys, target)?;
        }
        self.sort();
        self.settle()
    }

    /// The key of the entry that it stands at.
    pub(super) fn key(&self) -> &[u8] {
        self.head().key()
    }

    /// Its value; `None` if the key was removed.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.head().value()
    }

    /// See [`crate::store::Cursor::keep_value`].
    pub(super) fn keep_value(&self, skip: usize) -> Bytes {
        self.head().keep_value(skip)
    }

    fn head(&self) -> &BlockCursor {
        let first = self.order.first().and_then(|first| self.layers[*first].at.as_ref());
        &first.expect("a step found an entry").entries
    }

    fn sort(&mut self) {
        let layers = &self.layers;
        self.order = (0..layers.len()).filter(|layer| layers[*layer].at.is_some()).collect();
        self.order.sort_by(|a, b| layers[*a].key().cmp(&layers[*b].key()).then(a.cmp(b)));
    }

    /// Takes away what the entry at the head hides, and removed keys if they are not to be seen.
    fn settle(&mut self) -> Result<bool, ReadError> {
        while let Some(&first) = self.order.first() {
            while let Some(&second) = self.order.get(1)
                && self.layers[second].key() == self.layers[first].key()
            {
                self.advance(1)?;
            }
            if self.removed == Removed::Show || self.value().is_some() {
                return Ok(true);
            }
            self.advance(0)?;
        }
        Ok(false)
    }

    /// Steps the layer at this place of the order, and puts it where it belongs then. Mostly that
    /// is where it was: the oldest layer has most of the keys.
    fn advance(&mut self, mut place: usize) -> Result<(), ReadError> {
        let Some(&layer) = self.order.get(place) else { return Ok(()) };
        self.layers[layer].step(self.fetch, &self.keys)?;
        if self.layers[layer].at.is_none() {
            self.order.remove(place);
            return Ok(());
        }
        while let Some(&next) = self.order.get(place + 1)
            && (self.layers[next].key(), next) < (self.layers[layer].key(), layer)
        {
            self.order.swap(place, place + 1);
            place += 1;
        }
        Ok(())
    }
}
