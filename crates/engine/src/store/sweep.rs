//! One slice of a sweep through the base in memory: which rows no reader at or above `before` sees.
//!
//! Which these are, [`super::sieve`] says. The history up to `before` goes first, so that what is
//! left of it mostly has its versions.
//!
//! Only the base is looked at. A version there that is superseded only by one in a recent table
//! is taken for a floor, and kept until next time. A deletion there may go although recent tables
//! have newer versions: what it hid is older than itself, hence in the base too, and goes with it.
//!
//! # Invariants
//!
//! * A deletion goes no earlier than the last version that it hides: or that one would come back.
//!   So a slice that is cut between the two leaves the deletion, and the next begins with it.

use bytes::Bytes;
use wire::{Revision, SpaceId};

use super::{Snapshot, Span, Table};
use crate::{ReadError, codec};

const HISTORY: u8 = 0;
const ROWS: u8 = 1;

/// What one slice removes, and where the next begins.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    pub(crate) history: Vec<Vec<u8>>,
    pub(crate) rows: Vec<Vec<u8>>,
    pub(crate) next: Option<Bytes>,
}

/// What to sweep, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope {
    pub(crate) space: SpaceId,
    pub(crate) before: Revision,
    /// The most rows that the slice visits.
    pub(crate) limit: usize,
    /// A planted fault: every floor goes.
    pub(crate) drops_live: bool,
}

/// Chooses what the slice from `cursor` on removes.
pub(crate) fn choose(
    base: &dyn Snapshot,
    scope: Scope,
    cursor: Option<&[u8]>,
) -> Result<Slice, ReadError> {
    assert!(scope.limit >= 2, "a slice must be able to pass a floor");
    match cursor.map(|cursor| cursor.split_first()) {
        None | Some(Some((&HISTORY, _))) => choose_history(base, scope),
        Some(Some((&ROWS, start))) => choose_rows(base, scope, start),
        Some(_) => Err(codec::damaged("sweep cursor")),
    }
}

/// What an earlier slice removed is gone: each begins where the history now begins.
fn choose_history(base: &dyn Snapshot, scope: Scope) -> Result<Slice, ReadError> {
    let start = codec::space_start(scope.space);
    let end = scope.before.0.checked_add(1);
    let end = end.map(|next| codec::history_key(scope.space, Revision(next), 0).to_vec());
    let end = end.or_else(|| codec::space_end(scope.space));
    let mut slice = Slice::default();
    let mut cursor = base.range(Table::History, &Span { start, end })?;
    while slice.history.len() < scope.limit {
        if !cursor.step()? {
            slice.next = Some(rows_from(&codec::space_start(scope.space)));
            return Ok(slice);
        }
        slice.history.push(cursor.key().to_vec());
    }
    slice.next = Some(Bytes::from_static(&[HISTORY]));
    Ok(slice)
}

struct Floor {
    key: Vec<u8>,
    prefix_bytes: usize,
    goes: bool,
}

fn choose_rows(base: &dyn Snapshot, scope: Scope, start: &[u8]) -> Result<Slice, ReadError> {
    let span = Span { start: start.to_vec(), end: codec::space_end(scope.space) };
    let mut slice = Slice::default();
    let mut floor: Option<Floor> = None;
    let mut cursor = base.range(Table::Rows, &span)?;
    for _ in 0..scope.limit {
        if !cursor.step()? {
            slice.rows.extend(settled(floor));
            return Ok(slice);
        }
        let (prefix, revision) = codec::split_row_key(cursor.key())?;
        if floor.as_ref().is_some_and(|floor| prefix == &floor.key[..floor.prefix_bytes]) {
            slice.rows.push(cursor.key().to_vec());
            continue;
        }
        slice.rows.extend(settled(floor.take()));
        if revision <= scope.before {
            let goes = codec::is_deletion(cursor.value()) || scope.drops_live;
            let prefix_bytes = prefix.len();
            floor = Some(Floor { key: cursor.key().to_vec(), prefix_bytes, goes });
        }
    }
    slice.next = Some(match floor {
        Some(floor) => rows_from(&floor.key),
        None => rows_from(&[cursor.key(), &[0]].concat()),
    });
    Ok(slice)
}

/// A floor whose key has no more versions.
fn settled(floor: Option<Floor>) -> Option<Vec<u8>> {
    floor.filter(|floor| floor.goes).map(|floor| floor.key)
}

fn rows_from(key: &[u8]) -> Bytes {
    Bytes::from([&[ROWS], key].concat())
}
