//! A disk in memory that keeps the promises of [`crate`], no more, and breaks even those on demand.
//!
//! Unsynced writes and name changes are remembered as such; [`MemDisk::crash`] loses a random part
//! of them. All chance comes from the seed, so that a run can be repeated to the byte.
//!
//! Faults are armed by calls on the disk, with a path prefix where they concern some files only
//! (`""` is all of them). A fault that says *next* strikes once.
//!
//! # Crashes
//!
//! [`MemDisk::crash`] is the loss of power: each unsynced sector is old or new, of the unsynced
//! name changes a prefix survives, and handles from before are dead. [`MemDisk::crash_after`] lets
//! the power go at one of the next operations, in mid-write: that operation and all later ones
//! fail, until `crash` begins the next life. To end a process without loss of power, just drop it.
//!
//! # Where it is kinder than a real disk
//!
//! Directories are durable at once; name changes survive as a prefix, not in any combination.

mod contents;
mod damage;
mod names;
mod rng;
mod state;

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::contents::Survival;
use self::names::{FileId, parent};
use self::state::{Fate, State, power_lost, strikes};
use crate::{Disk, File, Open};

/// What was done to a disk's files since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls of [`File::read_exact_at`].
    pub reads: u64,
    /// Calls of [`File::write_all_at`].
    pub writes: u64,
    /// Bytes that those writes carried.
    pub bytes_written: u64,
    /// Calls of [`File::sync_data`].
    pub syncs: u64,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`MemDisk`].
#[derive(Debug)]
pub struct MemFile {
    disk: MemDisk,
    file: FileId,
    /// The life of the disk in which it was opened.
    life: u64,
    /// Keeps an unlinked file's bytes.
    _open: Arc<()>,
}

impl MemDisk {
    /// An empty disk whose chance comes from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(State::new(seed))) }
    }

    /// Another disk that holds the same, synced or not, with no faults armed and its own chance.
    #[must_use]
    pub fn fork(&self, seed: u64) -> Self {
        Self { state: Arc::new(Mutex::new(self.lock().fork(seed))) }
    }

    /// The power goes, and comes back: what was not synced survives in part, open handles die, and
    /// a [`MemDisk::crash_after`] that was armed or has struck is over. Other faults stay armed.
    pub fn crash(&self) {
        let mut state = self.lock();
        let waiting = state.names.waiting() as u64;
        let (survival, survivors) = match state.rng.below(4) {
            0 => (Survival::AllOld, 0),
            1 => (Survival::AllNew, waiting),
            2 => (Survival::Prefix, state.rng.below(waiting + 1)),
            _ => (Survival::Each, state.rng.below(waiting + 1)),
        };
        state
            .lose_power(survival, usize::try_from(survivors).expect("a count of things in memory"));
    }

    /// As [`MemDisk::crash`], but nothing unsynced survives.
    pub fn crash_losing_all(&self) {
        self.lock().lose_power(Survival::AllOld, 0);
    }

    /// The `n`-th change from now (1 is the next) fails half done, and so does all that follows.
    pub fn crash_after(&self, n: u64) {
        assert!(n > 0, "the first operation from now is number 1");
        let mut state = self.lock();
        state.faults.crash_at = Some(state.operations + n);
    }

    /// Whether [`MemDisk::crash_after`] has struck, and [`MemDisk::crash`] was not called since.
    pub fn crashed(&self) -> bool {
        self.lock().crashed
    }

    /// How many changes (writes, syncs, creations, renames, …) were asked for so far.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// The next sync of a file under `path_prefix` fails; its dirty sectors count as clean from
    /// then on although they were not written, so that a repeated sync succeeds and is a lie.
    pub fn fail_next_sync(&self, path_prefix: &str) {
        self.lock().faults.fail_sync = Some(path_prefix.to_owned());
    }

    /// Reads of files under `path_prefix` fail, until [`MemDisk::heal_reads`].
    pub fn fail_reads(&self, path_prefix: &str) {
        self.lock().faults.fail_reads = Some(path_prefix.to_owned());
    }

    /// Ends [`MemDisk::fail_reads`].
    pub fn heal_reads(&self) {
        self.lock().faults.fail_reads = None;
    }

    /// Limits the sum of all files' lengths. Growing a file beyond it fails with
    /// [`io::ErrorKind::StorageFull`], a write after its first part; overwriting never does.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().faults.capacity_bytes = bytes;
    }

    /// Makes the disk full as it is now. [`MemDisk::set_capacity`] with `None` ends that.
    pub fn fill(&self) {
        let mut state = self.lock();
        state.faults.capacity_bytes = Some(state.used());
    }

    /// Sum of the lengths of all files.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// The next write under `path_prefix` lands in another sector of its file, and is acknowledged.
    pub fn misdirect_next_write(&self, path_prefix: &str) {
        self.lock().faults.misdirect_write = Some(path_prefix.to_owned());
    }

    /// The next write under `path_prefix` is acknowledged, and never stored.
    pub fn lose_next_write(&self, path_prefix: &str) {
        self.lock().faults.lose_write = Some(path_prefix.to_owned());
    }

    /// The next read under `path_prefix` has one bit flipped on its way; the bytes at rest are whole.
    pub fn corrupt_next_read(&self, path_prefix: &str) {
        self.lock().faults.corrupt_read = Some(path_prefix.to_owned());
    }

    /// Opening a file fails, as it does for a process that has too many open, until
    /// [`MemDisk::heal_opens`].
    pub fn fail_opens(&self) {
        self.lock().faults.fail_opens = true;
    }

    /// Ends [`MemDisk::fail_opens`].
    pub fn heal_opens(&self) {
        self.lock().faults.fail_opens = false;
    }

    /// How often a fault that was armed here has struck: a sync that failed, a write that was lost
    /// or went astray, a read that was corrupted or failed, no room, no more open files, a power cut
    /// in the middle of something.
    pub fn strikes(&self) -> u64 {
        self.lock().struck
    }

    /// Disarms every fault. Does not undo what has struck.
    pub fn heal(&self) {
        self.lock().disarm();
    }

    /// What was done to files under `path_prefix`, by the names that they had at the time.
    pub fn counters(&self, path_prefix: &str) -> Counters {
        let state = self.lock();
        let mut sum = Counters::default();
        for (_, one) in state.counters.iter().filter(|(path, _)| path.starts_with(path_prefix)) {
            sum.reads += one.reads;
            sum.writes += one.writes;
            sum.bytes_written += one.bytes_written;
            sum.syncs += one.syncs;
        }
        sum
    }

    /// A number that two disks share if they hold the same, now and after a crash.
    pub fn fingerprint(&self) -> u64 {
        let state = self.lock();
        let mut digest = Digest::default();
        for (path, file) in state.names.live().chain(state.names.durable()) {
            digest.add(path.as_bytes());
            if let Some(inode) = state.files.get(file) {
                inode.contents.digest(&mut |bytes| digest.add(bytes));
            }
        }
        digest.0
    }

    /// One line per file: name, length, unsynced sectors, fingerprint of its bytes.
    pub fn dump(&self) -> String {
        let state = self.lock();
        let mut lines = String::new();
        for (path, inode) in state.names.live().filter_map(|(p, f)| Some((p, state.files.get(f)?)))
        {
            let mut digest = Digest::default();
            inode.contents.digest(&mut |bytes| digest.add(bytes));
            let (len, dirty) = (inode.contents.len(), inode.contents.dirty_sectors());
            writeln!(lines, "{path} {len} bytes, {dirty} dirty, {:016x}", digest.0)
                .expect("a string takes everything");
        }
        lines
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A test that panicked under the lock has left whole values behind: each change is small.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for MemDisk {
    type File = MemFile;

    fn open(&self, path: &str, how: Open) -> io::Result<MemFile> {
        let mut state = self.lock();
        state.alive()?;
        if state.faults.fail_opens {
            state.struck += 1;
            return Err(io::Error::other("injected: too many open files"));
        }
        let file = match (state.names.find(path), how) {
            (Some(_), Open::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, Open::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (Some(file), Open::Existing | Open::OrCreate) => file,
            (None, Open::New | Open::OrCreate) => state.create(path)?,
        };
        let life = state.life;
        let open = Arc::clone(&state.inode(file).open);
        Ok(MemFile { disk: self.clone(), file, life, _open: open })
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let state = self.lock();
        state.alive()?;
        Ok(state.names.list(dir))
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.change(|state, _| {
            state.names.create_dir(dir);
            Ok(())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.alive()?;
        let file = state.names.find(from).ok_or(io::ErrorKind::NotFound)?;
        if !state.names.dir_exists(parent(to)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change(|state, _| {
            state.names.rename(from, to);
            state.inode(file).path = to.into();
            state.forget_unnamed();
            Ok(())
        })
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.alive()?;
        state.names.find(path).ok_or(io::ErrorKind::NotFound)?;
        state.change(|state, _| {
            state.names.unlink(path);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.change(|state, fate| {
            if fate == Fate::Done {
                state.names.sync_dir(dir);
                state.forget_unnamed();
            }
            Ok(())
        })
    }
}

impl File for MemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.lock()?.inode(self.file).contents.len())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        let path = Arc::clone(&state.inode(self.file).path);
        state.count(&path).reads += 1;
        if state.faults.fail_reads.as_ref().is_some_and(|prefix| path.starts_with(prefix)) {
            state.struck += 1;
            return Err(io::Error::other("injected: this read failed"));
        }
        state.inode(self.file).contents.read(buf, offset)?;
        if !buf.is_empty() && strikes(&mut state.faults.corrupt_read, &path) {
            state.struck += 1;
            let bit = state.rng.below(buf.len() as u64 * 8);
            buf[usize::try_from(bit / 8).expect("within the buffer")] ^= 1 << (bit % 8);
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        let path = Arc::clone(&state.inode(self.file).path);
        let count = state.count(&path);
        count.writes += 1;
        count.bytes_written += bytes.len() as u64;
        state.change(|state, fate| state.write(self.file, bytes, offset, fate))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.lock()?;
        state.change(|state, _| {
            let old = state.inode(self.file).contents.len();
            if len.saturating_sub(old) > state.room() {
                state.struck += 1;
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.inode(self.file).contents.set_len(len);
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.lock()?;
        let path = Arc::clone(&state.inode(self.file).path);
        state.count(&path).syncs += 1;
        state.change(|state, fate| {
            if strikes(&mut state.faults.fail_sync, &path) {
                state.struck += 1;
                state.inode(self.file).contents.fail_sync();
                return Err(io::Error::other("injected: this sync failed"));
            }
            if fate == Fate::Done {
                state.inode(self.file).contents.sync();
            }
            Ok(())
        })
    }
}

impl MemFile {
    /// The disk's state, if this handle is of its present life.
    fn lock(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.lock();
        state.alive()?;
        if state.life == self.life { Ok(state) } else { Err(power_lost()) }
    }
}

/// A running 64-bit FNV-1a hash: enough to compare two runs, and nobody's protection.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.0 = (self.0 ^ bytes.len() as u64).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

#[cfg(test)]
mod tests;
