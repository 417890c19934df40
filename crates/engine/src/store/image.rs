//! The base in memory: four ordered maps of shared leaves, and an image of them in a file.
//!
//! A snapshot shares all leaves with the base; a change copies the leaves that it touches and that
//! a snapshot still holds. So a snapshot costs nothing to take, and stays what it is.
//!
//! A durable commit writes everything: the host asks for one only when as much has changed as
//! makes that worth while (`Config::flush_bytes`, or half of the data).
//!
//! # Durability
//!
//! The image is written under another name, synced, renamed over the old one, and the directory
//! synced. A crash leaves the old image or the new one. An image that bears its name was synced
//! before it got it, and nothing writes to it afterwards: so a failed sync leaves nothing to be
//! suspicious of but the unfinished image, which is removed unread.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;
use std::slice;
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, File, Open};
use wire::{Revision, SpaceId};

use super::sweep::{self, Scope};
use super::{Changes, Commit, Cursor, Due, Snapshot, Span, Store, Table, Visitor, Watermarks};
use crate::chunk::{self, ChunkReader, ChunkWriter, Follows};
use crate::paths::{self, exists, make_dir, parent};
use crate::verify::{Check, Verified};
use crate::{Config, JobError, OpenError, ReadError, Stats, codec};

/// Entries of a leaf before it is split: copying one must be cheap, walking a map of them too.
const LEAF_ENTRIES: usize = 128;

/// The base in memory.
pub(crate) struct Image<D> {
    disk: D,
    path: String,
    config: Config,
    tables: Tables,
    /// Spaces where some versions may go, and where the sweep for them goes on.
    sweeps: BTreeMap<SpaceId, (Revision, Option<Bytes>)>,
    watermarks: Watermarks,
    removed_versions: u64,
}

impl<D: Disk> Image<D> {
    /// Reads the image, if there is one.
    pub(crate) fn open(disk: D, path: &str, config: &Config) -> Result<Self, OpenError> {
        let action = "open the engine's image";
        let broken = |error| OpenError::disk(action, &error);
        let (dir, _) = parent(path);
        make_dir(&disk, dir).map_err(broken)?;
        // An earlier life may have ended between the renaming and this: then the old image would
        // come back from under the new one.
        disk.sync_dir(dir).map_err(broken)?;
        let mut tables = Tables::default();
        if exists(&disk, path).map_err(broken)? {
            tables = load(&disk.open(path, Open::Existing).map_err(broken)?, path)?;
        }
        Ok(Self {
            disk,
            path: path.to_owned(),
            config: config.clone(),
            tables,
            sweeps: BTreeMap::new(),
            watermarks: Watermarks::new(),
            removed_versions: 0,
        })
    }

    fn write_image(&self, tables: &Tables) -> std::io::Result<()> {
        let (dir, _) = parent(&self.path);
        let unfinished = self.unfinished();
        let file = self.disk.open(&unfinished, Open::New)?;
        let mut out = ImageWriter { file, at: 0, chunk: ChunkWriter::new(0), sequence: 0 };
        for (table, leaves) in Table::ALL.into_iter().zip(&tables.leaves) {
            for (key, value) in leaves.iter() {
                out.add(table, key, value, self.config.chunk_bytes)?;
            }
        }
        out.finish()?;
        self.disk.rename(&unfinished, &self.path)?;
        self.disk.sync_dir(dir)
    }

    fn unfinished(&self) -> String {
        format!("{}.new", self.path)
    }

    /// A full disk is full before the image gets its name: what there is of it is removed.
    fn give_up(&self, action: &'static str, error: &std::io::Error) -> JobError {
        let failed = JobError::disk(action, error);
        match paths::remove(&self.disk, &self.unfinished()) {
            Ok(()) => failed,
            Err(_) => failed.unknown(),
        }
    }
}

impl<D: Disk> Store for Image<D> {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::new(self.tables.clone())
    }

    fn commit(
        &mut self,
        commit: &Commit,
        work: &mut dyn FnMut(&mut dyn Changes) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let mut tables = self.tables.clone();
        let (mut watermarks, mut sweeps) = (self.watermarks.clone(), self.sweeps.clone());
        for (table, span) in &commit.clears {
            tables.table(*table).clear(span);
            let cleared =
                |space: &SpaceId| *table == Table::Rows && span.start == codec::space_start(*space);
            watermarks.retain(|space, _| !cleared(space));
            sweeps.retain(|space, _| !cleared(space));
        }
        work(&mut tables)?;
        for (&space, &at) in &commit.watermarks {
            if watermarks.get(&space).is_none_or(|before| at > *before) {
                watermarks.insert(space, at);
                // One under way begins again: what it has passed may have more to give.
                sweeps.insert(space, (at, None));
            }
        }
        tables.due = if sweeps.is_empty() { Due::Nothing } else { Due::Upkeep };
        self.write_image(&tables).map_err(|error| self.give_up(commit.action, &error))?;
        (self.tables, self.watermarks, self.sweeps) = (tables, watermarks, sweeps);
        Ok(())
    }

    /// Sweeps on. What is removed is gone from the disk with the next commit.
    fn upkeep(&mut self) -> Result<(), JobError> {
        let Some((&space, (before, cursor))) = self.sweeps.first_key_value() else { return Ok(()) };
        let (limit, drops_live) = (self.config.sweep_rows(), self.config.drops_live());
        let scope = Scope { space, before: *before, limit, drops_live };
        let slice = sweep::choose(&self.tables, scope, cursor.as_deref())
            .map_err(|error| JobError::read("sweep old versions", error))?;
        let mut next = self.tables.clone();
        slice.history.iter().for_each(|key| next.table(Table::History).remove(key));
        slice.rows.iter().for_each(|key| next.table(Table::Rows).remove(key));
        self.removed_versions += slice.rows.len() as u64;
        if slice.next.is_some() {
            self.sweeps.insert(space, (*before, slice.next));
        } else {
            self.sweeps.remove(&space);
        }
        next.due = if self.sweeps.is_empty() { Due::Nothing } else { Due::Upkeep };
        self.tables = next;
        Ok(())
    }

    fn stats(&self) -> Stats {
        Stats { removed_versions: self.removed_versions, ..Stats::default() }
    }
}

struct ImageWriter<F> {
    file: F,
    at: u64,
    chunk: ChunkWriter,
    sequence: u64,
}

impl<F: File> ImageWriter<F> {
    fn add(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
        chunk_bytes: usize,
    ) -> std::io::Result<()> {
        if self.chunk.len() >= chunk_bytes {
            self.sequence += 1;
            let full = std::mem::replace(&mut self.chunk, ChunkWriter::new(self.sequence));
            self.at = chunk::append(&self.file, self.at, &full.finish(Follows::More))?;
        }
        self.chunk.add(table, key, value);
        Ok(())
    }

    fn finish(self) -> std::io::Result<()> {
        chunk::append(&self.file, self.at, &self.chunk.finish(Follows::Nothing))?;
        self.file.sync_data()
    }
}

fn load(file: &impl File, path: &str) -> Result<Tables, OpenError> {
    let mut tables = Tables::default();
    let damaged = |what: String| OpenError::Damaged { path: path.to_owned(), what };
    let mut at = 0;
    for sequence in 0.. {
        let chunk = chunk::read(file, at)
            .map_err(|error| OpenError::disk("read the engine's image", &error))?;
        let (bytes, next) = chunk.ok_or_else(|| damaged(format!("no chunk {sequence}")))?;
        let follows = load_chunk(&mut tables, &bytes, sequence)
            .map_err(|error| damaged(format!("chunk {sequence}: {error}")))?;
        at = next;
        if follows == Follows::Nothing {
            break;
        }
    }
    Ok(tables)
}

/// Reads the image `path`, and tells what is not as it was written. Changes nothing.
pub(crate) fn verify(disk: &impl Disk, path: &str, verified: &mut Verified) {
    let mut check = Check::default();
    let read = |verified: &mut Verified, check: &mut Check| -> std::io::Result<()> {
        if exists(disk, path)? {
            verify_chunks(&disk.open(path, Open::Existing)?, path, check, verified)?;
        }
        Ok(())
    };
    if let Err(error) = read(verified, &mut check) {
        verified.unreadable(path, &error);
    }
    verified.files = u64::from(exists(disk, path).unwrap_or(false));
    if let Err(error) = check.newest_agree() {
        verified.damaged(path, 0, &error);
    }
    verified.applied = check.applied;
}

fn verify_chunks(
    file: &impl File,
    path: &str,
    check: &mut Check,
    verified: &mut Verified,
) -> std::io::Result<()> {
    let mut at = 0;
    let mut last = None;
    for sequence in 0.. {
        let Some((bytes, next)) = chunk::read(file, at)? else {
            let what = format!("chunk {sequence} is not there as a whole");
            verified.damaged(path, at, &ReadError::Damaged { what });
            break;
        };
        match verify_chunk(&bytes, sequence, check, &mut last) {
            Ok(Follows::More) => {}
            Ok(Follows::Nothing) => break,
            Err(error) => {
                let what = format!("chunk {sequence}: {error}");
                verified.damaged(path, at, &ReadError::Damaged { what });
            }
        }
        at = next;
    }
    Ok(())
}

fn verify_chunk(
    bytes: &Bytes,
    sequence: u64,
    check: &mut Check,
    last: &mut Option<(Table, Bytes)>,
) -> Result<Follows, ReadError> {
    let malformed = |error: wire::DecodeError| codec::damaged(&error.to_string());
    let mut chunk = ChunkReader::open(bytes).map_err(malformed)?;
    if chunk.sequence != sequence {
        return Err(codec::damaged("another chunk stands here"));
    }
    while let Some(entry) = chunk.next().map_err(malformed)? {
        check.entry(entry.table, &entry.key, &entry.value)?;
        let this = Some((entry.table, entry.key));
        if *last >= this {
            return Err(codec::damaged("keys are out of order"));
        }
        *last = this;
    }
    Ok(chunk.follows)
}

fn load_chunk(
    tables: &mut Tables,
    bytes: &Bytes,
    sequence: u64,
) -> Result<Follows, wire::DecodeError> {
    let mut chunk = ChunkReader::open(bytes)?;
    if chunk.sequence != sequence {
        return Err(wire::DecodeError { what: "chunk sequence", at: 0 });
    }
    while let Some(entry) = chunk.next()? {
        // Entries are slices of their chunk: a copy lets the chunk go when they do.
        let [key, value] = [&entry.key, &entry.value].map(|bytes| Bytes::copy_from_slice(bytes));
        tables.table(entry.table).insert(key, value);
    }
    Ok(chunk.follows)
}

/// The four maps. A clone shares their leaves.
#[derive(Clone)]
struct Tables {
    leaves: [Leaves; 4],
    due: Due,
}

impl Default for Tables {
    fn default() -> Self {
        Self { leaves: Default::default(), due: Due::Nothing }
    }
}

impl Tables {
    fn table(&mut self, table: Table) -> &mut Leaves {
        &mut self.leaves[usize::from(table.tag())]
    }
}

impl Changes for Tables {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), JobError> {
        let [key, value] = [key, value].map(Bytes::copy_from_slice);
        self.table(table).insert(key, value);
        Ok(())
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), JobError> {
        self.table(table).remove(key);
        Ok(())
    }
}

impl Snapshot for Tables {
    fn range<'a>(&'a self, table: Table, span: &Span) -> Result<Box<dyn Cursor + 'a>, ReadError> {
        Ok(Box::new(self.leaves[usize::from(table.tag())].range(span)))
    }

    fn find(&self, start: &[u8], prefix: usize, visit: Visitor<'_>) -> Result<bool, ReadError> {
        let span = Span { start: start.to_vec(), end: None };
        let rows = &self.leaves[usize::from(Table::Rows.tag())];
        let found = rows.range(&span).next().filter(|(key, _)| key.starts_with(&start[..prefix]));
        found.map_or(Ok(false), |(key, value)| visit(key, value).map(|()| true))
    }

    fn data_bytes(&self) -> usize {
        self.leaves.iter().map(|leaves| leaves.bytes).sum()
    }

    fn due(&self) -> Due {
        self.due
    }
}

type Leaf = Vec<(Bytes, Bytes)>;

/// An ordered map in shared leaves. Each leaf stands under a key that is not greater than its
/// first and greater than the last of the leaf before. The first stands under the empty key, and
/// is the only one that may have no entries.
#[derive(Clone, Default)]
struct Leaves {
    leaves: Arc<BTreeMap<Bytes, Arc<Leaf>>>,
    bytes: usize,
}

impl Leaves {
    fn insert(&mut self, key: Bytes, value: Bytes) {
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(place) = leaf_of(leaves, &key) else {
            self.bytes += key.len() + value.len();
            leaves.insert(Bytes::new(), Arc::new(vec![(key, value)]));
            return;
        };
        let leaf = Arc::make_mut(leaves.get_mut(&place).expect("it was just found"));
        match leaf.binary_search_by(|(found, _)| found.cmp(&key)) {
            Ok(at) => {
                self.bytes = self.bytes + value.len() - leaf[at].1.len();
                leaf[at].1 = value;
            }
            Err(at) => {
                self.bytes += key.len() + value.len();
                leaf.insert(at, (key, value));
            }
        }
        if leaf.len() > LEAF_ENTRIES {
            let upper = leaf.split_off(LEAF_ENTRIES / 2);
            leaves.insert(upper[0].0.clone(), Arc::new(upper));
        }
    }

    fn remove(&mut self, key: &[u8]) {
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(place) = leaf_of(leaves, key) else { return };
        let leaf = leaves.get_mut(&place).expect("it was just found");
        let Ok(at) = leaf.binary_search_by(|(found, _)| found[..].cmp(key)) else { return };
        let leaf = Arc::make_mut(leaf);
        let (key, value) = leaf.remove(at);
        self.bytes -= key.len() + value.len();
        if leaf.is_empty() && !place.is_empty() {
            leaves.remove(&place);
        }
    }

    fn clear(&mut self, span: &Span) {
        let doomed: Vec<Bytes> = self.range(span).map(|(key, _)| key.clone()).collect();
        for key in doomed {
            self.remove(&key);
        }
    }

    fn iter(&self) -> impl Iterator<Item = &(Bytes, Bytes)> {
        self.leaves.values().flat_map(|leaf| leaf.iter())
    }

    fn range(&self, span: &Span) -> LeafCursor<'_> {
        let mut cursor = LeafCursor {
            all: self,
            leaves: self.leaves.range::<[u8], _>(..),
            leaf: [].iter(),
            end: span.end.clone(),
            current: None,
        };
        cursor.go_to(&span.start);
        cursor
    }
}

/// Under which key the leaf stands that holds `key`, or would. `None` if there are no leaves.
fn leaf_of(leaves: &BTreeMap<Bytes, Arc<Leaf>>, key: &[u8]) -> Option<Bytes> {
    let before = leaves.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
    before.map(|(place, _)| place.clone())
}

struct LeafCursor<'a> {
    all: &'a Leaves,
    leaves: btree_map::Range<'a, Bytes, Arc<Leaf>>,
    leaf: slice::Iter<'a, (Bytes, Bytes)>,
    end: Option<Vec<u8>>,
    current: Option<&'a (Bytes, Bytes)>,
}

impl LeafCursor<'_> {
    /// Stands before the first key at or behind `target`.
    fn go_to(&mut self, target: &[u8]) {
        let place = leaf_of(&self.all.leaves, target).unwrap_or_default();
        self.leaves = self.all.leaves.range(place..);
        let first = self.leaves.next().map_or(&[][..], |(_, leaf)| &leaf[..]);
        let skip = first.partition_point(|(key, _)| key[..] < *target);
        self.leaf = first[skip..].iter();
    }
}

impl<'a> Iterator for LeafCursor<'a> {
    type Item = &'a (Bytes, Bytes);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.leaf.next() {
                let inside = self.end.as_ref().is_none_or(|end| entry.0[..] < end[..]);
                return inside.then_some(entry);
            }
            self.leaf = self.leaves.next()?.1.iter();
        }
    }
}

impl Cursor for LeafCursor<'_> {
    fn step(&mut self) -> Result<bool, ReadError> {
        self.current = self.next();
        Ok(self.current.is_some())
    }

    fn seek(&mut self, target: &[u8]) -> Result<bool, ReadError> {
        self.go_to(target);
        self.step()
    }

    fn key(&self) -> &[u8] {
        &self.current.expect("a step found a row").0
    }

    fn value(&self) -> &[u8] {
        &self.current.expect("a step found a row").1
    }

    fn keep_value(&self, skip: usize) -> Bytes {
        self.current.expect("a step found a row").1.slice(skip..)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn leaves_are_an_ordered_map(
            steps in prop::collection::vec((any::<u16>(), prop::option::of(any::<u8>())), 0..2000),
            (from, to) in (any::<u16>(), any::<u16>()),
        ) {
            let mut model = BTreeMap::new();
            let mut leaves = Leaves::default();
            for (key, value) in steps {
                let key = Bytes::copy_from_slice(&(key % 1024).to_be_bytes());
                let held = leaves.clone();
                let before = held.iter().count();
                if let Some(value) = value {
                    model.insert(key.clone(), Bytes::copy_from_slice(&[value]));
                    leaves.insert(key, Bytes::copy_from_slice(&[value]));
                } else {
                    model.remove(&key);
                    leaves.remove(&key);
                }
                prop_assert_eq!(held.iter().count(), before);
            }
            let span = Span { start: from.to_be_bytes().into(), end: Some(to.to_be_bytes().into()) };
            let inside = |key: &Bytes| key[..] >= span.start[..] && Some(&key[..]) < span.end.as_deref();
            let expected: Vec<_> = model.clone().into_iter().filter(|(key, _)| inside(key)).collect();
            prop_assert_eq!(leaves.range(&span).cloned().collect::<Vec<_>>(), expected);
            leaves.clear(&span);
            model.retain(|key, _| !inside(key));
            prop_assert_eq!(leaves.bytes, model.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>());
            prop_assert_eq!(leaves.iter().cloned().collect::<Vec<_>>(), model.into_iter().collect::<Vec<_>>());
        }
    }
}
