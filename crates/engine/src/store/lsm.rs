//! The base on disk: a log-structured merge tree (`O'Neil` et al., 1996) over a [`Disk`] of ours.
//!
//! A commit writes its entries, which come in order, to new files and never touches an old one;
//! files are merged later, a slice at a time, when the host has the worker do so. The parts:
//!
//! * [`run`], [`block`], [`filter`], [`index`], [`writer`]: a file of entries;
//! * [`shape`], [`manifest`]: which keys of which files count, and how that is kept;
//! * [`version`], [`cursor`], [`cache`]: reading;
//! * [`plan`], [`slice`](mod@slice): what is merged, and how; [`output`], [`open`], and commits, in
//!   this file;
//! * [`verify`]: reading all of it, and telling what is not as it was written.
//!
//! # Durability
//!
//! Files are written, synced, and their names synced; then one edit of the manifest, synced, makes
//! them count and others not. That edit is the atomic step of a commit and of a merge's slice.
//! Files that do not count are removed, by the worker and never by a reader: when no version has
//! them, or at the next opening, after the manifest that does not have them is on the disk.
//!
//! # Errors of the disk
//!
//! Where there is no room, what was written of a commit is removed, and the store is as it was. Any
//! other error may have left what was written half known, so the store refuses to go on; nothing
//! of that counts at the next opening but what the manifest, written anew there, speaks of.

mod block;
mod cache;
mod cursor;
mod filter;
mod index;
mod manifest;
mod open;
mod output;
mod plan;
mod run;
mod shape;
mod slice;
pub(crate) mod verify;
mod version;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;

use disk::Disk;
use wire::{Revision, SpaceId};

use self::cursor::Keys;
use self::manifest::{Failure, Manifest};
use self::output::{Files, Made, Output};
use self::plan::Planner;
use self::run::Run;
use self::shape::{BOTTOM, Cut, Edit, Known, LayerId, Part};
use self::version::{Version, keys_of};
use super::sieve::{Below, Floors, Sieve};
use super::{Changes, Commit, Snapshot, Span, Store, Table, Watermarks};
use crate::paths::parent;
use crate::{JobError, Stats, codec};

type RunPart<D> = Part<Arc<Run<<D as Disk>::File>>>;
type RunEdit<D> = Edit<Arc<Run<<D as Disk>::File>>>;

/// The base on disk.
pub(crate) struct Lsm<D: Disk> {
    files: Files<D>,
    floors: Floors,
    manifest: Manifest<D>,
    version: Arc<Version<D::File>>,
    planner: Planner,
    stats: Stats,
    /// An error of the disk has left its state unknown.
    broken: bool,
}

impl<D: Disk> Lsm<D> {
    /// Makes an edit durable, and its outcome the store's version. The runs of its parts are synced
    /// already, their names not. Without room, nothing has changed.
    fn publish(&mut self, mut edit: RunEdit<D>, action: &'static str) -> Result<(), JobError> {
        edit.next_run = self.files.next_run;
        let mut shape = self.version.shape.clone();
        shape.apply(&edit).unwrap_or_else(|nonsense| panic!("{}: {edit:?}", nonsense.0));
        if !edit.adds.is_empty() {
            let synced = self.files.disk.sync_dir(parent(&self.files.path).0);
            synced.map_err(|error| JobError::disk(action, &error).unknown())?;
        }
        self.manifest.append(&edit, &shape).map_err(|failure| match failure {
            Failure::NoRoom => JobError::DiskFull { action },
            Failure::Broken(error) => JobError::disk(action, &error).unknown(),
        })?;
        let left = shape.runs();
        let before = &self.version.shape;
        let gone: BTreeMap<u64, Arc<Run<D::File>>> = before
            .layers()
            .flat_map(|(_, parts)| parts)
            .map(|part| (part.run.info().number, &part.run))
            .filter(|(number, _)| !left.contains(number))
            .map(|(number, run)| (number, Arc::clone(run)))
            .collect();
        let Version { cache, leavings, .. } = &*self.version;
        let (cache, leavings) = (Arc::clone(cache), Arc::clone(leavings));
        leavings.add(gone.into_values());
        let due = self.planner.due(&shape);
        self.version = Arc::new(Version { shape, cache, leavings, due });
        self.measure();
        Ok(())
    }

    fn measure(&mut self) {
        let shape = &self.version.shape;
        let parts = shape.layers().flat_map(|(_, parts)| parts);
        let runs: BTreeMap<u64, u64> =
            parts.map(|part| part.run.info()).map(|run| (run.number, run.bytes)).collect();
        self.stats.runs = runs.len() as u64;
        self.stats.run_bytes = runs.values().sum();
        self.stats.layers = shape.layers().count() as u64;
    }

    /// Remembers an error after which nothing is known.
    fn note<T>(&mut self, result: Result<T, JobError>) -> Result<T, JobError> {
        self.broken |= result.as_ref().is_err_and(JobError::ends_the_store);
        result
    }

    fn check(&self, action: &'static str) -> Result<(), JobError> {
        if self.broken {
            let reason = "an earlier error has left the store unknown".to_owned();
            return Err(JobError::Storage { action, reason });
        }
        Ok(())
    }

    /// Removes files that nobody needs any more.
    fn sweep(&mut self) -> Result<(), JobError> {
        for run in self.version.leavings.take() {
            let removed = self.files.remove(run.info().number);
            removed.map_err(|error| JobError::disk("remove a run", &error).unknown())?;
        }
        Ok(())
    }

    fn commit_edit(
        &mut self,
        commit: &Commit,
        work: &mut dyn FnMut(&mut dyn Changes) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        let shape = &self.version.shape;
        let raised = raised(commit, &shape.watermarks);
        let mut watermarks = shape.watermarks.clone();
        watermarks.extend(&raised);
        let mut next_layer = shape.next_layer;
        let (layer, below) = if commit.clears.is_empty() {
            next_layer += 1;
            (next_layer - 1, Below::MaybeOlder)
        } else {
            (BOTTOM, Below::Nothing)
        };
        let spans: Vec<Keys> =
            commit.clears.iter().map(|(table, span)| keys_of(*table, span)).collect();
        let trims: Vec<Keys> = raised.iter().map(|(space, at)| old_history(*space, *at)).collect();
        let cuts = shape.layers().flat_map(|(layer, _)| {
            let keys = spans.iter().chain(&trims);
            keys.map(move |keys| Cut { layer, from: keys.from.clone(), to: keys.to.clone() })
        });
        let cuts: Vec<Cut> = cuts.collect();
        let sieve = Sieve::new(&watermarks, Below::MaybeOlder, self.floors);
        let sections = spans.into_iter().filter_map(|keys| keys.to).collect();
        let mut output = Output::new(&mut self.files, commit.action, below, sections, sieve);
        let written = work(&mut output).and_then(|()| output.end_run());
        let made = output.into_made();
        let (bytes, removed) = (made.written_bytes(), made.removed);
        let watermarks = raised;
        let edit = Edit { next_run: 0, next_layer, cuts, adds: Vec::new(), watermarks };
        self.publish_made(written.map(|()| edit), layer, made, commit.action)?;
        self.stats.flushed_bytes += bytes;
        self.stats.removed_versions += removed;
        Ok(())
    }

    /// Publishes an edit with the parts that were made for a layer. If it comes to nothing, and it is
    /// known that it does, the runs that were begun for it go.
    fn publish_made(
        &mut self,
        edit: Result<RunEdit<D>, JobError>,
        layer: LayerId,
        made: Made<D>,
        action: &'static str,
    ) -> Result<(), JobError> {
        let Made { parts, begun, .. } = made;
        let published = edit.and_then(|mut edit| {
            edit.adds = parts.into_iter().map(|part| (layer, part)).collect();
            self.publish(edit, action)
        });
        if published.as_ref().is_err_and(|error| !error.ends_the_store()) {
            for number in begun {
                let removed = self.files.remove(number);
                removed.map_err(|error| JobError::disk("remove a run", &error).unknown())?;
            }
        }
        published
    }
}

impl<D: Disk> Store for Lsm<D> {
    fn snapshot(&self) -> Arc<dyn Snapshot> {
        Arc::clone(&self.version) as Arc<dyn Snapshot>
    }

    fn commit(
        &mut self,
        commit: &Commit,
        work: &mut dyn FnMut(&mut dyn Changes) -> Result<(), JobError>,
    ) -> Result<(), JobError> {
        self.check(commit.action)?;
        let done = self.commit_edit(commit, work).and_then(|()| self.sweep());
        self.note(done)
    }

    fn upkeep(&mut self) -> Result<(), JobError> {
        self.check("merge runs")?;
        // What is removed first makes room.
        let done = self.sweep().and_then(|()| self.slice());
        self.note(done)
    }

    fn stats(&self) -> Stats {
        self.stats
    }
}

/// The watermarks that a commit changes.
fn raised(commit: &Commit, before: &Watermarks) -> Watermarks {
    let raised = commit.watermarks.iter().map(|(space, at)| (*space, *at));
    let raised = raised.filter(|(space, at)| *at > before.get(space).copied().unwrap_or_default());
    let mut raised: Watermarks = raised.collect();
    let cleared = |space: &SpaceId| {
        let row = codec::space_start(*space);
        let covers = |(table, span): &(Table, Span)| *table == Table::Rows && span.start == row;
        commit.clears.iter().any(covers)
    };
    raised.retain(|space, _| !cleared(space));
    raised.extend(before.keys().filter(|space| cleared(space)).map(|space| (*space, Revision(0))));
    raised
}

/// Changes of a space that are no longer history.
fn old_history(space: SpaceId, watermark: Revision) -> Keys {
    let start = codec::space_start(space);
    let end = codec::behind_revision(space, watermark);
    keys_of(Table::History, &Span { start, end })
}
