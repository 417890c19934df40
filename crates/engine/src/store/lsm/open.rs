//! Opening what an earlier life has left, or a new store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use disk::{Disk, File, Open};

use super::cache::Cache;
use super::manifest::{self, Failure, Manifest, Unreadable};
use super::output::Files;
use super::plan::Planner;
use super::run::{Run, file_name, run_of};
use super::shape::{RunInfo, Shape};
use super::version::Version;
use super::{Lsm, Stats};
use crate::paths::{make_dir, parent};
use crate::store::sieve::Floors;
use crate::{Config, OpenError};

/// Readings of the manifest until it is given up: two must agree, for what a bad cable did to one
/// must not become the truth.
const READS: usize = 4;

/// What the manifest may have behind its first edit, as a part of a run.
const SLACK_PART: u64 = 128;

type Runs<D> = Shape<Arc<Run<<D as Disk>::File>>>;

impl<D: Disk> Lsm<D> {
    /// Opens the store whose manifest is the file `path`, or makes it.
    pub(crate) fn open(disk: D, path: &str, config: &Config) -> Result<Self, OpenError> {
        let broken = |action| move |error| OpenError::disk(action, &error);
        let (dir, name) = parent(path);
        make_dir(&disk, dir).map_err(broken("make the engine's directory"))?;
        let names = disk.list(dir).map_err(broken("list the engine's files"))?;
        let found: BTreeSet<u64> = names.iter().filter_map(|file| run_of(path, file)).collect();
        let shape = if names.iter().any(|found| found == name) {
            read_manifest(&disk, path)?
        } else if found.is_empty() {
            Shape::default()
        } else {
            let what = "its runs are there, but it is not".to_owned();
            return Err(OpenError::Damaged { path: path.to_owned(), what });
        };
        let next_run = found.last().map_or(0, |last| last + 1).max(shape.next_run);
        let mut shape = open_runs(&disk, path, shape)?;
        shape.next_run = next_run;
        let manifest = Manifest::create(&disk, path, &shape, config.run_bytes as u64 / SLACK_PART);
        let manifest = manifest.map_err(|failure| match failure {
            Failure::NoRoom => OpenError::no_room("write the manifest"),
            Failure::Broken(error) => OpenError::disk("write the manifest", &error),
        })?;
        for number in found.difference(&shape.runs()) {
            let removed = disk.remove(&file_name(path, *number));
            removed.map_err(broken("remove runs of an earlier life"))?;
        }
        let planner = Planner::new(config.run_bytes);
        let due = planner.due(&shape);
        let (cache, leavings) = (Arc::new(Cache::new(config.cache_bytes)), Arc::default());
        let floors = if config.drops_live() { Floors::Go } else { Floors::Stay };
        let (run_bytes, block_bytes) = (config.run_bytes as u64, config.block_bytes);
        let mut store = Self {
            files: Files { disk, path: path.to_owned(), run_bytes, block_bytes, next_run },
            floors,
            manifest,
            version: Arc::new(Version { shape, cache, leavings, due }),
            planner,
            stats: Stats::default(),
            broken: false,
        };
        store.measure();
        Ok(store)
    }
}

fn read_manifest(disk: &impl Disk, path: &str) -> Result<Shape<RunInfo>, OpenError> {
    manifest::read(&manifest_bytes(disk, path)?).map_err(|unreadable| match unreadable {
        Unreadable::Foreign => OpenError::UnknownFormat { path: path.to_owned() },
        Unreadable::Damaged { what, at } => {
            let what = format!("{what} at byte {at} of the manifest");
            OpenError::Damaged { path: path.to_owned(), what }
        }
    })
}

/// The bytes of the manifest, as two readings have them alike.
pub(super) fn manifest_bytes(disk: &impl Disk, path: &str) -> Result<Bytes, OpenError> {
    let read = || {
        let file = disk.open(path, Open::Existing)?;
        let len = usize::try_from(file.len()?).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Bytes::from(bytes))
    };
    let again = || read().map_err(|error| OpenError::disk("read the manifest", &error));
    let mut bytes = again()?;
    for _ in 1..READS {
        let before = std::mem::replace(&mut bytes, again()?);
        if before == bytes {
            return Ok(bytes);
        }
    }
    let what = "it reads differently each time".to_owned();
    Err(OpenError::Damaged { path: path.to_owned(), what })
}

fn open_runs<D: Disk>(disk: &D, path: &str, shape: Shape<RunInfo>) -> Result<Runs<D>, OpenError> {
    let mut open: BTreeMap<u64, Arc<Run<D::File>>> = BTreeMap::new();
    shape.with_runs(|info| {
        if let Some(run) = open.get(&info.number) {
            return Ok(Arc::clone(run));
        }
        let run = Run::open(disk, path, info).map_err(|error| OpenError::read(path, error))?;
        let run = Arc::new(run);
        open.insert(info.number, Arc::clone(&run));
        Ok(run)
    })
}
