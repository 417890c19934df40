//! Versioned ordered keys: where a node's state machines keep their state.
//!
//! Two halves, so that no disk is touched on the node's thread except to read: the node owns the
//! [`Engine`] and writes to it in memory; a [`Worker`], on a thread of its own, flushes, compacts,
//! stages and ingests when the node hands it a [`Job`], and its [`Done`] comes back as an event.
//! Reads go through a [`View`], which any thread may hold.
//!
//! ```text
//!   node's thread           any thread              worker's thread
//!   ┌────────┐  view()   ┌──────────────┐         ┌──────────────┐
//!   │ Engine │──────────►│ View: recent │  Job    │ Worker       │
//!   │        │           │ tables+base  │ ───────►│ base on disk │
//!   └────────┘           └──────────────┘ ◄─────── └──────────────┘
//!                                           Done
//! ```
//!
//! # Invariants
//!
//! * A row is `(space, key, revision)`; it is written once and never changed. Within a space,
//!   revisions of one key only grow.
//! * A group's applied position is made durable in the same atomic step as the rows it produced.
//! * Nothing here is durable before a flush, and need not be: the journal is the durability.
//!   Recovery replays the journal from [`Engine::durable`].
//! * A [`View`] at revision `r` shows exactly the state after revision `r`, however much is
//!   written, flushed, compacted or merged meanwhile, as long as `r` was not below the watermark of
//!   the space ([`Engine::compact`]) when the view was taken. The host knows the watermark, and
//!   refuses reads below it: a view does not.
//!
//! # Reference
//!
//! The split into a table of recent versions and sorted files below it, which are merged later, is
//! that of a log-structured merge tree (`O'Neil` et al., 1996); see `store::lsm`.

mod checkpoint;
mod chunk;
mod codec;
mod config;
mod counts;
mod error;
mod front;
mod jobs;
mod merge;
mod paths;
mod recent;
mod staging;
mod store;
mod verify;
mod view;
mod worker;

use std::sync::Arc;

use bytes::Bytes;
use consensus::Position;
use disk::Disk;
use wire::{Event, GroupId, Item, KeyRange, Revision, SpaceId};

pub use config::Config;
#[cfg(feature = "planted")]
pub use config::Planted;
pub use error::{JobError, OpenError, ReadError};
pub use verify::{Finding, Flaw, Verified, verify_disk, verify_memory};

use front::Front;
use store::Store;
use store::image::Image;
use store::lsm::Lsm;
use worker::BaseWorker;

/// The two halves of one engine.
pub type Halves = (Box<dyn Engine>, Box<dyn Worker>);

/// Opens the engine whose base is on disk: its manifest is the file `path`. Or makes it, with its
/// directory.
///
/// The engine, its worker and all views, checkpoints, jobs and dones of an earlier opening must be
/// gone. Next to the file, names that begin with its name and a dot are the engine's.
pub fn open_disk(disk: impl Disk, path: &str, config: Config) -> Result<Halves, OpenError> {
    staging::clean(&disk, path)?;
    let lsm = Lsm::open(disk.clone(), path, &config)?;
    open(disk, path, config, lsm)
}

/// Opens the engine whose base is in memory, with an image of it in the file `path`.
///
/// Everything is in memory, and a flush writes all of it: for small states that are read much.
/// [`open_disk`] says what else must hold.
pub fn open_memory(disk: impl Disk, path: &str, config: Config) -> Result<Halves, OpenError> {
    staging::clean(&disk, path)?;
    let image = Image::open(disk.clone(), path, &config)?;
    open(disk, path, config, image)
}

fn open(
    disk: impl Disk,
    path: &str,
    config: Config,
    store: impl Store + 'static,
) -> Result<Halves, OpenError> {
    let front = Front::open(config.clone(), store.snapshot())
        .map_err(|error| OpenError::read(path, error))?;
    Ok((Box::new(front), Box::new(BaseWorker::new(config, disk, path, store))))
}

/// One version of a key, as a command wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The keyspace.
    pub space: SpaceId,
    /// The key; never empty.
    pub key: Bytes,
    /// The revision that wrote it.
    pub revision: Revision,
    /// The value; `None` marks a deletion.
    pub cell: Option<Cell>,
}

/// A value and what is kept with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Revision that brought the key into being.
    pub created: Revision,
    /// Writes since then, this one included.
    pub version: u64,
    /// Lease it hangs on; 0 is none.
    pub lease: u64,
    /// The bytes.
    pub value: Bytes,
}

impl Cell {
    /// Everything but the value.
    pub fn head(&self) -> Head {
        Head { created: self.created, version: self.version, lease: self.lease }
    }
}

/// What is kept with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Revision that brought the key into being.
    pub created: Revision,
    /// Writes since then.
    pub version: u64,
    /// Lease it hangs on; 0 is none.
    pub lease: u64,
}

/// What applying some log entries of one group changes, atomically.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose.
    pub group: GroupId,
    /// The last entry whose effect is in here. Never goes back.
    pub applied: Position,
    /// New versions, in the order in which they were made. All rows of one revision of a space
    /// come in one batch; of two with the same key and revision, the last one counts.
    pub rows: Vec<Row>,
    /// The group's own small unversioned state (revision counters, request memory, …): key to
    /// value, or to `None` to remove it. Read back only at start and in checkpoints.
    pub meta: Vec<(Bytes, Option<Bytes>)>,
}

/// How a range is visited by [`View::scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visit {
    /// Go on.
    Continue,
    /// Enough.
    Stop,
}

/// A consistent look at all spaces, from any thread. Cheap to take, cheap to hold for a while:
/// holding one keeps memory and disk space from being reused.
pub trait View: Send + Sync {
    /// The newest version of `key` at or below `at`, unless it is a deletion.
    fn find(&self, space: SpaceId, key: &[u8], at: Revision) -> Result<Option<Item>, ReadError>;

    /// What is kept with the value that [`View::find`] would find, and the revision that wrote it:
    /// much cheaper where the value itself is not wanted.
    fn head(
        &self,
        space: SpaceId,
        key: &[u8],
        at: Revision,
    ) -> Result<Option<(Revision, Head)>, ReadError>;

    /// Visits the keys of `range` that exist at `at`, in order, each with its newest version at
    /// or below `at`.
    fn scan(
        &self,
        space: SpaceId,
        range: &KeyRange,
        at: Revision,
        visit: &mut dyn FnMut(Item) -> Visit,
    ) -> Result<(), ReadError>;

    /// The same look, past whatever is kept in memory of the disk: for whoever wants to know whether all can
    /// be read, and does not want to take room from those who read the same keys often.
    fn afresh(&self) -> Arc<dyn View>;

    /// How many keys of `range` exist at `at`: what [`View::scan`] would visit, and much cheaper if the
    /// range, or most of it, was counted before and few keys came or went since.
    fn count(&self, space: SpaceId, range: &KeyRange, at: Revision) -> Result<u64, ReadError>;

    /// Visits all changes with `from <= revision <= to`, in order of revision and, within one, in
    /// the order in which they were made. Changes of keys outside `range` are skipped, cheaply.
    /// A key changed twice in one revision is reported once, with its last version.
    fn history(
        &self,
        space: SpaceId,
        range: &KeyRange,
        from: Revision,
        to: Revision,
        visit: &mut dyn FnMut(Event) -> Visit,
    ) -> Result<(), ReadError>;
}

/// Work for the [`Worker`]: plain data. Opaque to the host.
#[derive(Debug)]
pub struct Job(jobs::JobKind);

/// What came of a [`Job`]; hand it to [`Engine::done`].
#[derive(Debug)]
pub struct Done(jobs::DoneKind);

/// What [`Engine::done`] tells the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A flush is durable: [`Engine::durable`] has moved.
    Flushed,
    /// A piece of upkeep is done: there may be more.
    KeptUp,
    /// A flush or a piece of upkeep found no room on the disk. Nothing was done and nothing is
    /// lost: [`Engine::flush`] and [`Engine::upkeep`] give the job again, when it may have room.
    NoRoom,
    /// Chunk `sequence` is staged.
    Staged {
        /// The group.
        group: GroupId,
        /// The chunk's number.
        sequence: u64,
    },
    /// The staged snapshot has replaced the group's state, durably, at this position.
    Ingested {
        /// The group.
        group: GroupId,
        /// Where the group is now.
        applied: Position,
    },
}

/// What the base has done since it was opened, and how large it is. The base in memory counts
/// only the versions that it removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of files that flushes have written.
    pub flushed_bytes: u64,
    /// Bytes of files that merges have written.
    pub merged_bytes: u64,
    /// Old versions that flushes and merges have left out.
    pub removed_versions: u64,
    /// Files.
    pub runs: u64,
    /// Their bytes.
    pub run_bytes: u64,
    /// Layers that the files form: places where a key is looked for.
    pub layers: u64,
}

/// One piece of a checkpoint, in the format of `docs/formats/checkpoint.md`: rows and meta entries
/// with a checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Counted from 0.
    pub sequence: u64,
    /// The encoded rows, checksum included.
    pub bytes: Bytes,
    /// Whether it is the last one.
    pub last: bool,
}

/// A group's whole durable state at one position, to be streamed to a replica that fell behind.
/// Any thread may read it. It stays what it is while the engine goes on.
pub trait Checkpoint: Send + Sync {
    /// The last entry whose effect is in it.
    fn applied(&self) -> Position;

    /// The chunk with this number; chunks are read in order, and the last one may be asked for again.
    /// `cursor` is what the chunk before returned (empty at first); returns the next cursor.
    fn read(&self, sequence: u64, cursor: &[u8]) -> Result<(Chunk, Bytes), ReadError>;
}

/// The half that the node's thread owns.
pub trait Engine: Send {
    /// Takes in what a command changed. In memory, never fails, never touches the disk.
    fn write(&mut self, batch: Batch);

    /// Position of the last [`Batch`] (or ingested snapshot) of this group; zero if none.
    fn applied(&self, group: GroupId) -> Position;

    /// Position up to which this group's state survives a crash.
    fn durable(&self, group: GroupId) -> Position;

    /// The group's meta entries, in key order. Meant for start-up and after an ingest.
    fn meta(&self, group: GroupId) -> Result<Vec<(Bytes, Bytes)>, ReadError>;

    /// A look at everything written so far.
    fn view(&self) -> Arc<dyn View>;

    /// Bytes written but not yet durable, frozen tables included. The host refuses writes when
    /// this grows beyond its limit, and flushes when [`Engine::wants_flush`]. The engine in memory
    /// scales it, so that a flush is due at [`Config::flush_bytes`] there, too.
    fn unflushed_bytes(&self) -> usize;

    /// Whether enough has gathered for a flush, and one may begin.
    fn wants_flush(&self) -> bool;

    /// Begins a flush of all that was written so far. `None` if there is nothing, if one is under
    /// way, or if so much upkeep is due that it comes first.
    fn flush(&mut self) -> Option<Job>;

    /// Begins a bounded piece of what keeps the base small and quick, if there is some to do and
    /// none is under way. To be asked for whenever a job is done, and after reads.
    fn upkeep(&mut self) -> Option<Job>;

    /// Raises the watermark of `space`: no read below `before` will be asked for. It counts from the
    /// next flush on, durably and together with all that was written before: so if what allows it
    /// was written as well, neither survives a crash without the other. From then on, versions
    /// that no read at or above the watermark can see are left out by flushes and upkeep as they
    /// come by, and changes up to the watermark are no longer history.
    fn compact(&mut self, space: SpaceId, before: Revision);

    /// What the base has done, as of the last job.
    fn stats(&self) -> Stats;

    /// The group's durable state, `spaces` being the keyspaces (whole, today) that it holds.
    fn checkpoint(&self, group: GroupId, spaces: &[SpaceId]) -> Arc<dyn Checkpoint>;

    /// Stages one chunk of a snapshot for `group`. Chunk 0 discards what was staged before.
    fn stage(&mut self, group: GroupId, chunk: Chunk) -> Job;

    /// Replaces the group's state, rows of `spaces` included, by the staged snapshot, in one
    /// atomic durable step, and forgets the spaces' watermarks. Everything written before must be flushed or is dropped with it: the
    /// host writes nothing for this group between its last flush and [`Progress::Ingested`]. After
    /// an ingest that failed, too: the group waits for one that succeeds, or for a new opening.
    fn ingest(&mut self, group: GroupId, spaces: &[SpaceId]) -> Job;

    /// Takes back what a worker did. Jobs are done in the order in which they were made.
    fn done(&mut self, done: Done) -> Progress;
}

/// The half that does the slow work, on a thread that may block.
pub trait Worker: Send {
    /// Does one job. Jobs must be run in the order in which the engine made them.
    fn run(&mut self, job: Job) -> Result<Done, JobError>;
}
