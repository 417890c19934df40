//! What a [`super::MemDisk`] guards with its lock: files, names, chance, and the faults that are armed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::Counters;
use super::contents::{Contents, SECTOR, Survival};
use super::names::{FileId, Names, parent};
use super::rng::Rng;

#[derive(Debug)]
pub(super) struct State {
    pub(super) rng: Rng,
    pub(super) names: Names,
    pub(super) files: BTreeMap<FileId, Inode>,
    pub(super) next_file: FileId,
    pub(super) life: u64,
    pub(super) faults: Faults,
    /// Changes asked for since the disk was made.
    pub(super) operations: u64,
    pub(super) crashed: bool,
    /// How often something that was armed has struck.
    pub(super) struck: u64,
    pub(super) counters: BTreeMap<String, Counters>,
}

#[derive(Debug)]
pub(super) struct Inode {
    /// Its present name, or its last one.
    pub(super) path: Arc<str>,
    pub(super) contents: Contents,
    pub(super) open: Arc<()>,
}

/// What is armed.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Value of `State::operations` at which the power goes.
    pub(super) crash_at: Option<u64>,
    pub(super) capacity_bytes: Option<u64>,
    pub(super) fail_sync: Option<String>,
    pub(super) fail_reads: Option<String>,
    pub(super) misdirect_write: Option<String>,
    pub(super) lose_write: Option<String>,
    pub(super) corrupt_read: Option<String>,
    pub(super) fail_opens: bool,
}

/// What becomes of an operation that changes something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Done,
    /// The power goes while it is under way: some part of it happens, and it fails.
    Torn,
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            names: Names::default(),
            files: BTreeMap::new(),
            next_file: 1,
            life: 1,
            faults: Faults::default(),
            operations: 0,
            crashed: false,
            struck: 0,
            counters: BTreeMap::new(),
        }
    }

    pub(super) fn fork(&self, seed: u64) -> Self {
        let copy = |(file, inode): (&FileId, &Inode)| {
            let (path, contents) = (Arc::clone(&inode.path), inode.contents.clone());
            (*file, Inode { path, contents, open: Arc::new(()) })
        };
        Self {
            names: self.names.clone(),
            files: self.files.iter().map(copy).collect(),
            next_file: self.next_file,
            ..Self::new(seed)
        }
    }

    pub(super) fn disarm(&mut self) {
        self.faults = Faults::default();
    }

    pub(super) fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(power_lost()) } else { Ok(()) }
    }

    pub(super) fn inode(&mut self, file: FileId) -> &mut Inode {
        self.files.get_mut(&file).expect("a file with a name or a handle is kept")
    }

    pub(super) fn count(&mut self, path: &str) -> &mut Counters {
        if !self.counters.contains_key(path) {
            self.counters.insert(path.to_owned(), Counters::default());
        }
        self.counters.get_mut(path).expect("it was inserted just now")
    }

    /// Counts one change and carries it out, half if the power goes meanwhile.
    pub(super) fn change<T>(
        &mut self,
        act: impl FnOnce(&mut Self, Fate) -> io::Result<T>,
    ) -> io::Result<T> {
        self.alive()?;
        self.operations += 1;
        if self.faults.crash_at.is_none_or(|at| self.operations < at) {
            return act(self, Fate::Done);
        }
        // The operation may or may not have reached the disk: what it leaves is unsynced anyway,
        // and `crash` decides how much of it is seen again.
        if self.rng.coin() {
            let _lost_with_the_power = act(self, Fate::Torn);
        }
        self.crashed = true;
        self.struck += 1;
        Err(power_lost())
    }

    pub(super) fn create(&mut self, path: &str) -> io::Result<FileId> {
        if !self.names.dir_exists(parent(path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.change(|state, _| {
            if state.room() == 0 {
                state.struck += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = state.next_file;
            state.next_file += 1;
            let contents = Contents::default();
            let inode = Inode { path: path.into(), contents, open: Arc::new(()) };
            state.files.insert(file, inode);
            state.names.link(path, file);
            Ok(file)
        })
    }

    pub(super) fn write(
        &mut self,
        file: FileId,
        bytes: &[u8],
        offset: u64,
        fate: Fate,
    ) -> io::Result<()> {
        let path = Arc::clone(&self.inode(file).path);
        let len = self.inode(file).contents.len();
        let end = offset + bytes.len() as u64;
        let fits = end.min(len.saturating_add(self.room()).max(offset)) - offset;
        let reaches = if fate == Fate::Torn { self.rng.below(fits + 1) } else { fits };
        let stored = &bytes[..usize::try_from(reaches).expect("no longer than the buffer")];
        let contents = &mut self.files.get_mut(&file).expect("its handle keeps it").contents;
        if strikes(&mut self.faults.lose_write, &path) {
            self.struck += 1;
            contents.set_len(len.max(end));
        } else if strikes(&mut self.faults.misdirect_write, &path) {
            let elsewhere = misdirected(offset, stored.len() as u64, len, &mut self.rng);
            self.struck += 1;
            if let Some(elsewhere) = elsewhere {
                contents.write(stored, elsewhere);
            }
            contents.set_len(len.max(end));
        } else {
            contents.write(stored, offset);
        }
        if fits < bytes.len() as u64 {
            self.struck += 1;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    pub(super) fn used(&self) -> u64 {
        self.names
            .live()
            .filter_map(|(_, file)| self.files.get(file))
            .map(|i| i.contents.len())
            .sum()
    }

    pub(super) fn room(&self) -> u64 {
        self.faults.capacity_bytes.map_or(u64::MAX, |bytes| bytes.saturating_sub(self.used()))
    }

    pub(super) fn lose_power(&mut self, survival: Survival, survivors: usize) {
        self.names.crash(survivors);
        let Self { files, rng, .. } = self;
        for inode in files.values_mut() {
            inode.contents.crash(survival, rng);
        }
        let paths: Vec<_> = self.names.live().map(|(path, file)| (*file, path.clone())).collect();
        let mut kept = BTreeMap::new();
        for (file, path) in paths {
            let mut inode = self.files.remove(&file).expect("a named file is kept");
            inode.path = path.into();
            // Handles of the former life must not keep files of this one.
            inode.open = Arc::new(());
            kept.insert(file, inode);
        }
        self.files = kept;
        self.life += 1;
        self.crashed = false;
        self.faults.crash_at = None;
    }

    /// Frees files that no name and no handle can reach any more.
    pub(super) fn forget_unnamed(&mut self) {
        let named = self.names.named();
        self.files.retain(|file, inode| named.contains(file) || Arc::strong_count(&inode.open) > 1);
    }
}

/// Takes the fault if it is armed for `path`.
pub(super) fn strikes(armed: &mut Option<String>, path: &str) -> bool {
    armed.take_if(|prefix| path.starts_with(prefix.as_str())).is_some()
}

/// Another place in the file for a write, whole sectors away; none if the file has no such place.
fn misdirected(offset: u64, bytes: u64, len: u64, rng: &mut Rng) -> Option<u64> {
    let within = offset % SECTOR;
    let places = len.checked_sub(within + bytes)? / SECTOR + 1;
    let home = offset / SECTOR;
    let choice = rng.below(places);
    let sector = if choice == home { (choice + 1) % places } else { choice };
    (sector != home).then(|| sector * SECTOR + within)
}

pub(super) fn power_lost() -> io::Error {
    io::Error::other("the power is gone")
}
