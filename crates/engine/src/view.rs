//! What readers hold: the recent tables and a snapshot of the base, fixed together.

use std::sync::Arc;

use bytes::Bytes;
use wire::{Change, Event, Item, KeyRange, Revision, SpaceId};

use crate::counts::Counts;
use crate::merge::{self, Changes, Rows};
use crate::recent::Recent;
use crate::store::{Snapshot, Span, Table};
use crate::{Cell, Head, ReadError, View, Visit, codec};

/// The tables, newest first, and the base below them. Which tables these are never changes; the
/// first one may still be written to, at revisions that no reader was handed yet.
pub(crate) struct ViewSet {
    pub(crate) tables: Vec<Arc<Recent>>,
    pub(crate) base: Arc<dyn Snapshot>,
    /// Of the state that all views since the last ingest are of.
    pub(crate) counts: Arc<Counts>,
}

impl ViewSet {
    /// The newest version at or below `at`, a deletion included. As revisions of one key only
    /// grow, what a newer table has is newer than all that an older one has: the first hit is it.
    fn version(
        &self,
        space: SpaceId,
        key: &[u8],
        at: Revision,
    ) -> Result<Option<(Revision, Option<Cell>)>, ReadError> {
        let start = codec::row_key(space, key, at);
        let (prefix, _) = codec::split_row_key(&start)?;
        for table in &self.tables {
            let found = table.row_from(&start).filter(|entry| entry.key().starts_with(prefix));
            if let Some(entry) = found {
                let (_, revision) = codec::split_row_key(entry.key())?;
                return Ok(Some((revision, entry.value().clone())));
            }
        }
        let mut found = None;
        self.base.find(&start, prefix.len(), &mut |key, value| {
            let (_, revision) = codec::split_row_key(key)?;
            found = Some((revision, codec::decode_cell(value)?));
            Ok(())
        })?;
        Ok(found)
    }

    fn rows<'a>(&'a self, span: &'a Span) -> Result<Vec<Rows<'a>>, ReadError> {
        let mut sources: Vec<_> =
            self.tables.iter().map(|table| Rows::recent(table, span)).collect();
        sources.push(Rows::base(&*self.base, span)?);
        Ok(sources)
    }

    fn changes<'a>(&'a self, span: &'a Span) -> Result<Vec<Changes<'a>>, ReadError> {
        let mut sources: Vec<_> =
            self.tables.iter().map(|table| Changes::recent(table, span)).collect();
        sources.push(Changes::base(&*self.base, span)?);
        Ok(sources)
    }

    /// Stands still at each version that is the newest one of its key at or below `at`, deletions
    /// included, in the order of keys.
    fn walk(
        &self,
        space: SpaceId,
        range: &KeyRange,
        at: Revision,
        visit: &mut dyn FnMut(&Rows<'_>, Revision) -> Result<Visit, ReadError>,
    ) -> Result<(), ReadError> {
        if range.is_empty() {
            return Ok(());
        }
        let end = range.end.as_ref().map(|end| codec::row_prefix(space, end));
        let end = end.or_else(|| codec::space_end(space));
        let span = Span { start: codec::row_prefix(space, &range.start), end };
        let mut sources = self.rows(&span)?;
        let mut target = Vec::new();
        while let Some(index) = merge::smallest(&sources) {
            let head = sources[index].head().expect("the smallest head is one");
            let (prefix, revision) = codec::split_row_key(head)?;
            if revision > at {
                target.clear();
                target.extend_from_slice(prefix);
                target.extend_from_slice(&(!at.0).to_be_bytes());
                sources[index].catch_up(&target)?;
                continue;
            }
            codec::behind_versions(prefix, &mut target);
            if visit(&sources[index], revision)? == Visit::Stop {
                return Ok(());
            }
            for source in &mut sources {
                source.catch_up(&target)?;
            }
        }
        Ok(())
    }

    /// The highest revision in the history; 0 if there is none. What was compacted from it, no read
    /// looks back behind.
    fn newest_change(&self, space: SpaceId) -> Result<Revision, ReadError> {
        let recent = self.tables.iter().filter_map(|table| table.newest_change(space));
        let newest = self.newest_change_of_base(space)?;
        Ok(recent.fold(newest, Revision::max))
    }

    /// Found by leaps, for a cursor only goes forwards.
    fn newest_change_of_base(&self, space: SpaceId) -> Result<Revision, ReadError> {
        let next = |from: u64| {
            let start = codec::history_key(space, Revision(from), 0).to_vec();
            let mut cursor =
                self.base.range(Table::History, &Span { start, end: codec::space_end(space) })?;
            let found = cursor.step()?.then(|| codec::decode_history_key(cursor.key()));
            Ok::<_, ReadError>(found.transpose()?.map(|(_, revision)| revision.0))
        };
        let (mut newest, mut leap) = (0u64, 1u64);
        while let Some(revision) = next(newest.saturating_add(leap))? {
            newest = revision;
            leap = leap.saturating_mul(2);
        }
        while leap > 1 {
            leap /= 2;
            newest = next(newest.saturating_add(leap))?.unwrap_or(newest);
        }
        Ok(Revision(newest))
    }

    /// Counts key by key, and remembers what it has counted.
    fn count_anew(&self, space: SpaceId, range: KeyRange, at: Revision) -> Result<u64, ReadError> {
        let mut tally = self.counts.tally(range.start.clone());
        self.walk(space, &range, at, &mut |source, _| {
            if source.is_live() {
                if tally.is_full() {
                    tally.cut(source.key()?);
                }
                tally.count();
            }
            Ok(Visit::Continue)
        })?;
        let (keys, counted) = tally.finish(range.end);
        self.counts.keep(space, counted, at);
        Ok(keys)
    }

    /// What happened to `key` at `revision`. `None` if a compaction took that version: it leaves
    /// some changes behind whose versions are gone, all of them at or below its revision.
    fn event(
        &self,
        space: SpaceId,
        key: Bytes,
        revision: Revision,
    ) -> Result<Option<Event>, ReadError> {
        let Some((found, cell)) = self.version(space, &key, revision)? else { return Ok(None) };
        if found != revision {
            return Ok(None);
        }
        let change = match cell {
            Some(cell) => Change::Put(item(key, revision, cell)),
            None => Change::Delete { key },
        };
        Ok(Some(Event::new(revision, change)))
    }
}

impl View for ViewSet {
    fn find(&self, space: SpaceId, key: &[u8], at: Revision) -> Result<Option<Item>, ReadError> {
        let found = self.version(space, key, at)?;
        Ok(found.and_then(|(revision, cell)| {
            cell.map(|cell| item(Bytes::copy_from_slice(key), revision, cell))
        }))
    }

    fn head(
        &self,
        space: SpaceId,
        key: &[u8],
        at: Revision,
    ) -> Result<Option<(Revision, Head)>, ReadError> {
        let start = codec::row_key(space, key, at);
        let (prefix, _) = codec::split_row_key(&start)?;
        for table in &self.tables {
            let found = table.row_from(&start).filter(|entry| entry.key().starts_with(prefix));
            if let Some(entry) = found {
                let (_, revision) = codec::split_row_key(entry.key())?;
                return Ok(entry.value().as_ref().map(|cell| (revision, cell.head())));
            }
        }
        let mut found = None;
        self.base.find(&start, prefix.len(), &mut |key, value| {
            let (_, revision) = codec::split_row_key(key)?;
            found = codec::decode_head(value)?.map(|(head, _)| (revision, head));
            Ok(())
        })?;
        Ok(found)
    }

    fn scan(
        &self,
        space: SpaceId,
        range: &KeyRange,
        at: Revision,
        visit: &mut dyn FnMut(Item) -> Visit,
    ) -> Result<(), ReadError> {
        self.walk(space, range, at, &mut |source, revision| {
            let (key, cell) = source.version()?;
            Ok(cell.map_or(Visit::Continue, |cell| visit(item(key, revision, cell))))
        })
    }

    fn afresh(&self) -> Arc<dyn View> {
        let base = self.base.afresh().unwrap_or_else(|| Arc::clone(&self.base));
        Arc::new(Self { tables: self.tables.clone(), base, counts: Arc::clone(&self.counts) })
    }

    fn count(&self, space: SpaceId, range: &KeyRange, at: Revision) -> Result<u64, ReadError> {
        if !self.counts.has_begun(space) {
            self.counts.begin(space, self.newest_change(space)?);
        }
        let mut keys = 0;
        let mut from = range.start.clone();
        loop {
            let known = self.counts.known(space, &from, range.end.as_deref(), at);
            let gap_end = known.as_ref().map(|known| known.start.clone()).or(range.end.clone());
            let gap = KeyRange { start: from, end: gap_end };
            if !gap.is_empty() {
                keys += self.count_anew(space, gap, at)?;
            }
            let Some(known) = known else { return Ok(keys) };
            keys += known.keys;
            from = known.end;
        }
    }

    fn history(
        &self,
        space: SpaceId,
        range: &KeyRange,
        from: Revision,
        to: Revision,
        visit: &mut dyn FnMut(Event) -> Visit,
    ) -> Result<(), ReadError> {
        if from > to {
            return Ok(());
        }
        let end =
            to.0.checked_add(1).map(|next| codec::history_key(space, Revision(next), 0).to_vec());
        let end = end.or_else(|| codec::space_end(space));
        let span = Span { start: codec::history_key(space, from, 0).to_vec(), end };
        let mut sources = self.changes(&span)?;
        while let Some(index) = merge::earliest(&sources) {
            let (encoded, key) = sources[index].head().expect("the earliest head is one");
            if range.contains(key) {
                let (_, revision) = codec::decode_history_key(encoded)?;
                let key = Bytes::copy_from_slice(key);
                if let Some(event) = self.event(space, key, revision)?
                    && visit(event) == Visit::Stop
                {
                    return Ok(());
                }
            }
            sources[index].step()?;
        }
        Ok(())
    }
}

fn item(key: Bytes, modified: Revision, cell: Cell) -> Item {
    Item {
        key,
        value: cell.value,
        created: cell.created,
        modified,
        version: cell.version,
        lease: cell.lease,
    }
}
