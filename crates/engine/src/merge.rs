//! One ordered walk over the recent tables and the base.
//!
//! All sources order versions by the same bytes: by key, and within a key the newest first. So a
//! merge takes the smallest head, and once it has the version that a reader sees, it
//! skips the rest of that key's: a few steps one by one, then by a seek, so that a key with very
//! many versions costs no more than a few keys.

use bytes::Bytes;

use crate::config::STEPS_BEFORE_SEEK;
use crate::recent::{HistoryEntry, Recent, RowEntry};
use crate::store::{Cursor, Snapshot, Span, Table};
use crate::{Cell, Head, ReadError, codec};

/// A source of versions, standing at one of them or at its end.
pub(crate) struct Rows<'a> {
    span: &'a Span,
    place: RowPlace<'a>,
}

enum RowPlace<'a> {
    Recent { table: &'a Recent, at: Option<RowEntry<'a>> },
    Base { cursor: Box<dyn Cursor + 'a>, on_row: bool },
}

impl<'a> Rows<'a> {
    pub(crate) fn recent(table: &'a Recent, span: &'a Span) -> Self {
        Self { span, place: RowPlace::Recent { table, at: table.row_from(&span.start) } }
    }

    pub(crate) fn base(snapshot: &'a dyn Snapshot, span: &'a Span) -> Result<Self, ReadError> {
        let mut cursor = snapshot.range(Table::Rows, span)?;
        let on_row = cursor.step()?;
        Ok(Self { span, place: RowPlace::Base { cursor, on_row } })
    }

    /// The encoded key of the version that it stands at.
    pub(crate) fn head(&self) -> Option<&[u8]> {
        match &self.place {
            RowPlace::Recent { at, .. } => {
                let key = &at.as_ref()?.key()[..];
                self.span.end.as_ref().is_none_or(|end| key < &end[..]).then_some(key)
            }
            RowPlace::Base { cursor, on_row, .. } => on_row.then(|| cursor.key()),
        }
    }

    /// The key and the cell of the version that it stands at.
    pub(crate) fn version(&self) -> Result<(Bytes, Option<Cell>), ReadError> {
        match &self.place {
            RowPlace::Recent { at, .. } => {
                let entry = at.as_ref().expect("it stands at a version");
                Ok((codec::user_key(entry.key())?, entry.value().clone()))
            }
            RowPlace::Base { cursor, .. } => {
                let key = codec::decode_row_key(cursor.key())?.key;
                let cell = codec::decode_head(cursor.value())?.map(|(head, bytes)| {
                    let Head { created, version, lease } = head;
                    let value = cursor.keep_value(cursor.value().len() - bytes.len());
                    Cell { created, version, lease, value }
                });
                Ok((Bytes::from(key.into_owned()), cell))
            }
        }
    }

    /// The key of the version that it stands at.
    pub(crate) fn key(&self) -> Result<Bytes, ReadError> {
        let head = self.head().expect("it stands at a version");
        Ok(Bytes::from(codec::decode_row_key(head)?.key.into_owned()))
    }

    /// Whether the version that it stands at is none of a deletion.
    pub(crate) fn is_live(&self) -> bool {
        match &self.place {
            RowPlace::Recent { at, .. } => {
                at.as_ref().expect("it stands at a version").value().is_some()
            }
            RowPlace::Base { cursor, .. } => !codec::is_deletion(cursor.value()),
        }
    }

    /// Goes on to the first version at or behind `target`.
    pub(crate) fn catch_up(&mut self, target: &[u8]) -> Result<(), ReadError> {
        for _ in 0..STEPS_BEFORE_SEEK {
            if self.head().is_none_or(|head| head >= target) {
                return Ok(());
            }
            self.step()?;
        }
        if self.head().is_some_and(|head| head < target) {
            self.seek(target)?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), ReadError> {
        match &mut self.place {
            RowPlace::Recent { at, .. } => *at = at.as_ref().and_then(RowEntry::next),
            RowPlace::Base { cursor, on_row, .. } => *on_row = cursor.step()?,
        }
        Ok(())
    }

    fn seek(&mut self, target: &[u8]) -> Result<(), ReadError> {
        match &mut self.place {
            RowPlace::Recent { table, at } => *at = table.row_from(target),
            RowPlace::Base { cursor, on_row } => *on_row = cursor.seek(target)?,
        }
        Ok(())
    }
}

/// The source whose head is the smallest; of equal ones the first, which is the newest.
pub(crate) fn smallest(sources: &[Rows<'_>]) -> Option<usize> {
    let heads = sources.iter().enumerate();
    let heads = heads.filter_map(|(index, source)| Some((source.head()?, index)));
    heads.min().map(|(_, index)| index)
}

/// A source of changes in the order of making, standing at one of them or at its end.
pub(crate) struct Changes<'a> {
    span: &'a Span,
    place: ChangePlace<'a>,
}

enum ChangePlace<'a> {
    Recent { at: Option<HistoryEntry<'a>> },
    Base { cursor: Box<dyn Cursor + 'a>, on_row: bool },
}

impl<'a> Changes<'a> {
    pub(crate) fn recent(table: &'a Recent, span: &'a Span) -> Self {
        Self { span, place: ChangePlace::Recent { at: table.history_from(&span.start) } }
    }

    pub(crate) fn base(snapshot: &'a dyn Snapshot, span: &'a Span) -> Result<Self, ReadError> {
        let mut cursor = snapshot.range(Table::History, span)?;
        let on_row = cursor.step()?;
        Ok(Self { span, place: ChangePlace::Base { cursor, on_row } })
    }

    /// The history key of the change that it stands at, and the key that was changed.
    pub(crate) fn head(&self) -> Option<(&[u8], &[u8])> {
        match &self.place {
            ChangePlace::Recent { at } => {
                let entry = at.as_ref()?;
                let inside = self.span.end.as_ref().is_none_or(|end| entry.key()[..] < end[..]);
                inside.then(|| (&entry.key()[..], &entry.value()[..]))
            }
            ChangePlace::Base { cursor, on_row } => on_row.then(|| (cursor.key(), cursor.value())),
        }
    }

    pub(crate) fn step(&mut self) -> Result<(), ReadError> {
        match &mut self.place {
            ChangePlace::Recent { at } => *at = at.as_ref().and_then(HistoryEntry::next),
            ChangePlace::Base { cursor, on_row } => *on_row = cursor.step()?,
        }
        Ok(())
    }
}

/// The source whose head was made first.
pub(crate) fn earliest(sources: &[Changes<'_>]) -> Option<usize> {
    let heads = sources.iter().enumerate();
    let heads = heads.filter_map(|(index, source)| Some((source.head()?.0, index)));
    heads.min().map(|(_, index)| index)
}
