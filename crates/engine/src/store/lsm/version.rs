//! A shape with its runs open: what readers read.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use disk::File;

use super::cache::Cache;
use super::cursor::{Fetch, Keys, Merged, Removed};
use super::filter;
use super::run::Run;
use super::shape::Shape;
use crate::ReadError;
use crate::store::{Cursor, Due, Snapshot, Span, Table, Visitor};

/// What an empty table has for a value.
const NO_VALUE: &[u8] = &[];

/// What whoever reads all anew keeps for himself, to find the next key where he found the last.
const AFRESH_BYTES: usize = 4 << 20;

/// A state of the store. It never changes, and its runs' files stay as long as it does.
pub(super) struct Version<F> {
    pub(super) shape: Shape<Arc<Run<F>>>,
    pub(super) cache: Arc<Cache>,
    pub(super) leavings: Arc<Leavings<F>>,
    pub(super) due: Due,
}

impl<F: File> Version<F> {
    /// Walks over all layers.
    fn merged(&self, keys: Keys) -> Result<Merged<'_, F>, ReadError> {
        let layers = self.shape.layers().rev().map(|(_, parts)| parts);
        Merged::open(layers, Fetch::Cached(&self.cache), keys, Removed::Skip)
    }
}

/// `table`'s tag before a key: how runs order the four tables.
pub(super) fn tagged(table: Table, key: &[u8]) -> Bytes {
    Bytes::from([&[table.tag()], key].concat())
}

/// A span of a table, as keys of runs.
pub(super) fn keys_of(table: Table, span: &Span) -> Keys {
    let to = span
        .end
        .as_ref()
        .map_or_else(|| Bytes::copy_from_slice(&[table.tag() + 1]), |end| tagged(table, end));
    Keys { from: tagged(table, &span.start), to: Some(to) }
}

impl<F: File> Snapshot for Version<F> {
    fn range<'a>(&'a self, table: Table, span: &Span) -> Result<Box<dyn Cursor + 'a>, ReadError> {
        let merged = self.merged(keys_of(table, span))?;
        Ok(Box::new(TableCursor { merged, table, target: Vec::new() }))
    }

    /// The newest layer that has any version at or below the one asked for has the one: revisions
    /// of a key only grow. Most layers are passed by with a look at a filter.
    fn find(&self, start: &[u8], prefix: usize, visit: Visitor<'_>) -> Result<bool, ReadError> {
        let target = tagged(Table::Rows, start);
        let prefix = &target[..=prefix];
        let hash = filter::hash(prefix);
        for (_, parts) in self.shape.layers().rev() {
            let first = parts.partition_point(|part| part.to <= target);
            // A key's versions may go on in the next part.
            let parts = parts[first..].iter();
            let may_hold = |from: &[u8]| *from <= target[..] || from.starts_with(prefix);
            for part in parts.take_while(|part| may_hold(&part.from)) {
                if !part.run.may_hold(hash, &self.cache)? {
                    continue;
                }
                let from = (&target[..]).max(&part.from);
                let Some(found) = part.run.find(from, &self.cache)? else { continue };
                if found.key().starts_with(prefix) && found.key() < &part.to[..] {
                    visit(&found.key()[1..], found.value().unwrap_or(NO_VALUE))?;
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn afresh(&self) -> Option<Arc<dyn Snapshot>> {
        let (shape, leavings, due) = (self.shape.clone(), Arc::clone(&self.leavings), self.due);
        let cache = Arc::new(Cache::new(AFRESH_BYTES));
        Some(Arc::new(Self { shape, cache, leavings, due }))
    }

    fn data_bytes(&self) -> usize {
        0
    }

    fn due(&self) -> Due {
        self.due.max(if self.leavings.any() { Due::Upkeep } else { Due::Nothing })
    }
}

/// A walk over one table.
struct TableCursor<'a, F> {
    merged: Merged<'a, F>,
    table: Table,
    target: Vec<u8>,
}

impl<F: File> Cursor for TableCursor<'_, F> {
    fn step(&mut self) -> Result<bool, ReadError> {
        self.merged.step()
    }

    fn seek(&mut self, target: &[u8]) -> Result<bool, ReadError> {
        self.target.clear();
        self.target.push(self.table.tag());
        self.target.extend_from_slice(target);
        self.merged.seek(&self.target)
    }

    fn key(&self) -> &[u8] {
        &self.merged.key()[1..]
    }

    fn value(&self) -> &[u8] {
        self.merged.value().unwrap_or(NO_VALUE)
    }

    fn keep_value(&self, skip: usize) -> Bytes {
        self.merged.keep_value(skip)
    }
}

/// Runs that are no longer part of the store, and are still part of a version that someone holds.
#[derive(Debug)]
pub(super) struct Leavings<F>(Mutex<Vec<Arc<Run<F>>>>);

impl<F> Default for Leavings<F> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<F> Leavings<F> {
    pub(super) fn add(&self, runs: impl Iterator<Item = Arc<Run<F>>>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(runs);
    }

    /// Whether there is a run whose file nobody needs any more.
    fn any(&self) -> bool {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().any(|run| Arc::strong_count(run) == 1)
    }

    /// Takes out the runs whose files nobody needs any more.
    pub(super) fn take(&self) -> Vec<Arc<Run<F>>> {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let unused = |run: &mut Arc<Run<F>>| Arc::strong_count(run) == 1;
        runs.extract_if(.., unused).collect()
    }
}
