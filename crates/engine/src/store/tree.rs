//! The base on disk: redb, a copy-on-write B-tree in one file, over a [`Disk`] of ours.
//!
//! Every commit is two-phase with quick repair. Two-phase, because then no page is read that was
//! not synced before something pointed at it, on which the seals of [`super::sealed`] rest; in
//! one phase, redb finds out after a crash which of two states is whole by reading torn pages.
//! Quick repair, because otherwise an opening after `kill -9` walks the whole file. Together they
//! cost one more sync and the allocator's bitmap per commit, and a commit is a whole flush.
//!
//! redb stops at the first error that the disk returns: every later call fails as well. That is
//! what we want of it (see [`crate::JobError`]).
//!
//! # Durability
//!
//! A new file is made under another name, and renamed when it is whole and synced: so a crash
//! never leaves a half-made file to be opened. A file that the disk failed is written anew before
//! it is opened (see [`super::suspect`]), and then checked as a whole: a page that was never
//! written and has left the page cache since may be an older one with a whole seal.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use disk::{Disk, File, Open};
use redb::{
    AccessGuard, CommitError, Database, DatabaseError, ReadOnlyTable, ReadableDatabase,
    ReadableTable, StorageError, TableDefinition, TableError, TransactionError, WriteTransaction,
};

use super::sealed::Sealed;
use super::suspect::{self, Watched};
use super::{Changes, Cursor, Durability, Snapshot, Span, Store, Table};
use crate::paths::{exists, make_dir, parent};
use crate::{JobError, OpenError, ReadError};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
type Guard<'a> = AccessGuard<'a, &'static [u8]>;
type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

const ROWS: Definition = TableDefinition::new("rows");
const HISTORY: Definition = TableDefinition::new("history");
const META: Definition = TableDefinition::new("meta");
const APPLIED: Definition = TableDefinition::new("applied");

/// The base on disk.
pub(crate) struct Tree {
    database: Arc<Database>,
}

impl Tree {
    /// Opens the file, or makes it.
    pub(crate) fn open(
        disk: &impl Disk,
        path: &str,
        cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        let broken = |action| move |error| OpenError::disk(action, &error);
        if !exists(disk, path).map_err(broken("look for the engine's file"))? {
            create(disk, path, cache_bytes)?;
        }
        let marked = suspect::is_marked(disk, path).map_err(broken("look for a failed sync"))?;
        if marked {
            suspect::rewrite(disk, path).map_err(broken("write the engine's file anew"))?;
        }
        // An earlier life may have ended right before it did so, and its file be there in name only.
        disk.sync_dir(parent(path).0).map_err(broken("sync the engine's directory"))?;
        let file = disk.open(path, Open::Existing).map_err(broken("open the engine's file"))?;
        let sealed = Sealed::new(Watched::new(disk, file, path));
        if !sealed.is_ours().map_err(broken("read the engine's file"))? {
            return Err(OpenError::UnknownFormat { path: path.to_owned() });
        }
        let mut database = open_database(sealed, path, cache_bytes)?;
        if marked {
            check(&mut database, path)?;
            suspect::clear(disk, path).map_err(broken("forget a failed sync"))?;
        }
        Ok(Self { database: Arc::new(database) })
    }
}

/// Makes a file with empty tables. redb keeps to itself what goes wrong when it closes one: then
/// the marker of a failed sync is there, and the opening that follows finds it.
fn create(disk: &impl Disk, path: &str, cache_bytes: usize) -> Result<(), OpenError> {
    let action = "create the engine's file";
    let broken = |error| OpenError::disk(action, &error);
    let (dir, _) = parent(path);
    let unfinished = format!("{path}.new");
    make_dir(disk, dir).map_err(broken)?;
    let file = disk.open(&unfinished, Open::OrCreate).map_err(broken)?;
    file.set_len(0).map_err(broken)?;
    let sealed = Sealed::new(Watched::new(disk, file, path));
    let tree = Tree { database: Arc::new(open_database(sealed, &unfinished, cache_bytes)?) };
    tree.write(action, &mut |_| Ok(())).map_err(|error| OpenError::job(path, error))?;
    drop(tree);
    let file = disk.open(&unfinished, Open::Existing).map_err(broken)?;
    let sealed = Sealed::new(Watched::new(disk, file, path));
    sealed.claim().map_err(broken)?;
    redb::StorageBackend::sync_data(&sealed).map_err(broken)?;
    drop(sealed);
    disk.rename(&unfinished, path).map_err(broken)?;
    disk.sync_dir(dir).map_err(broken)
}

/// Damage in the header page, the only one without a seal, might still make redb panic: that must
/// not take the process down, whose other groups may have their state elsewhere.
fn open_database<F: File>(
    file: Sealed<F>,
    path: &str,
    cache_bytes: usize,
) -> Result<Database, OpenError> {
    let open = || redb::Builder::new().set_cache_size(cache_bytes).create_with_backend(file);
    let damaged = |what: String| OpenError::Damaged { path: path.to_owned(), what };
    match catch_unwind(AssertUnwindSafe(open)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(DatabaseError::Storage(error))) => {
            Err(OpenError::read(path, read_error("open the engine's file", error)))
        }
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("the header makes no sense".into())),
    }
}

/// Checks all checksums of redb's. That the allocator's state did not hold and was made anew is no
/// damage: it only says which pages the trees use.
fn check(database: &mut Database, path: &str) -> Result<(), OpenError> {
    let damaged = |what: String| OpenError::Damaged { path: path.to_owned(), what };
    match catch_unwind(AssertUnwindSafe(|| database.check_integrity())) {
        Ok(Ok(_held)) => Ok(()),
        Ok(Err(DatabaseError::Storage(error))) => {
            Err(OpenError::read(path, read_error("check the engine's file", error)))
        }
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(_) => Err(damaged("the trees make no sense".into())),
    }
}

impl Tree {
    fn write(
        &self,
        action: &'static str,
        work: &mut dyn FnMut(&mut dyn Changes) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let mut transaction =
            self.database.begin_write().map_err(|error| begin_error(action, error))?;
        transaction.set_quick_repair(true);
        {
            let mut open = OpenTables::new(action, &transaction)?;
            work(&mut open)?;
        }
        transaction.commit().map_err(|error| match error {
            CommitError::Storage(error) => job_error(action, error),
            error => JobError::Storage { action, reason: error.to_string() },
        })
    }
}

impl Store for Tree {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, JobError> {
        let action = "take a snapshot of the base";
        contain(action, || {
            let transaction =
                self.database.begin_read().map_err(|error| begin_error(action, error))?;
            let open =
                |table| transaction.open_table(table).map_err(|error| table_error(action, error));
            let tables = [open(ROWS)?, open(HISTORY)?, open(META)?, open(APPLIED)?];
            let snapshot = TreeSnapshot { tables, _database: Arc::clone(&self.database) };
            Ok(Arc::new(snapshot) as Arc<dyn Snapshot>)
        })
        .unwrap_or_else(|error| Err(JobError::read(action, error)))
    }

    /// Durable either way: redb's lazy commits let the file grow until the next durable one.
    fn commit(
        &mut self,
        action: &'static str,
        _durability: Durability,
        work: &mut dyn FnMut(&mut dyn Changes) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        contain(action, || self.write(action, work))
            .unwrap_or_else(|error| Err(JobError::read(action, error)))
    }
}

/// The tables of one transaction.
struct OpenTables<'t> {
    action: &'static str,
    tables: [redb::Table<'t, &'static [u8], &'static [u8]>; 4],
}

impl<'t> OpenTables<'t> {
    fn new(action: &'static str, transaction: &'t WriteTransaction) -> Result<Self, JobError> {
        let open =
            |table| transaction.open_table(table).map_err(|error| table_error(action, error));
        Ok(Self { action, tables: [open(ROWS)?, open(HISTORY)?, open(META)?, open(APPLIED)?] })
    }

    fn table(&mut self, table: Table) -> &mut redb::Table<'t, &'static [u8], &'static [u8]> {
        &mut self.tables[usize::from(table.tag())]
    }
}

impl Changes for OpenTables<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<(), JobError> {
        let action = self.action;
        let put = self.table(table).insert(key, value);
        put.map(drop).map_err(|error| job_error(action, error))
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), JobError> {
        let action = self.action;
        let removed = self.table(table).remove(key);
        removed.map(drop).map_err(|error| job_error(action, error))
    }

    fn clear(&mut self, table: Table, span: &Span) -> Result<(), JobError> {
        let action = self.action;
        let cleared = self.table(table).retain_in::<&[u8], _>(bounds(span), |_, _| false);
        cleared.map_err(|error| job_error(action, error))
    }
}

/// A read transaction, with its tables open.
struct TreeSnapshot {
    tables: [ReadTable; 4],
    /// redb closes the file with its `Database`, and ends open transactions with an error.
    _database: Arc<Database>,
}

impl Snapshot for TreeSnapshot {
    fn range(&self, table: Table, span: &Span) -> Result<Box<dyn Cursor + '_>, ReadError> {
        let action = "look up a row";
        let table = &self.tables[usize::from(table.tag())];
        let range = contain(action, || ReadableTable::range::<&[u8]>(table, bounds(span)))?
            .map_err(|error| read_error(action, error))?;
        Ok(Box::new(TreeCursor { range, current: None }))
    }

    fn data_bytes(&self) -> usize {
        0
    }
}

struct TreeCursor<'a> {
    range: redb::Range<'a, &'static [u8], &'static [u8]>,
    current: Option<(Guard<'a>, Guard<'a>)>,
}

impl Cursor for TreeCursor<'_> {
    fn step(&mut self) -> Result<bool, ReadError> {
        let action = "read a row";
        let next = contain(action, || self.range.next())?.transpose();
        self.current = next.map_err(|error| read_error(action, error))?;
        Ok(self.current.is_some())
    }

    fn key(&self) -> &[u8] {
        self.current.as_ref().expect("a step found a row").0.value()
    }

    fn value(&self) -> &[u8] {
        self.current.as_ref().expect("a step found a row").1.value()
    }
}

/// Seals keep rot away from redb's parsers; this is for what no seal covers. A panic in there is
/// taken as damage, for the trees are what it was about.
fn contain<T>(action: &'static str, work: impl FnOnce() -> T) -> Result<T, ReadError> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| ReadError::Damaged { what: format!("{action}: the tree makes no sense") })
}

fn bounds(span: &Span) -> (Bound<&[u8]>, Bound<&[u8]>) {
    let end = span.end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(&span.start), end)
}

fn read_error(action: &'static str, error: StorageError) -> ReadError {
    match error {
        StorageError::Corrupted(what) => ReadError::Damaged { what },
        StorageError::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            ReadError::Damaged { what: error.to_string() }
        }
        error => ReadError::Storage { action, reason: error.to_string() },
    }
}

fn job_error(action: &'static str, error: StorageError) -> JobError {
    match error {
        StorageError::Io(error) if error.kind() != std::io::ErrorKind::InvalidData => {
            JobError::disk(action, &error)
        }
        error => JobError::read(action, read_error(action, error)),
    }
}

fn begin_error(action: &'static str, error: TransactionError) -> JobError {
    match error {
        TransactionError::Storage(error) => job_error(action, error),
        error => JobError::Storage { action, reason: error.to_string() },
    }
}

fn table_error(action: &'static str, error: TableError) -> JobError {
    match error {
        TableError::Storage(error) => job_error(action, error),
        error => JobError::Damaged { action, what: error.to_string() },
    }
}
