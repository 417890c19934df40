//! One file's bytes: what a reader sees now, and what the platter would hold if the power went.
//!
//! The view that readers see lives in pages that are allocated on demand; an absent page is all
//! zeros, so that a large preallocated file costs nothing. Beside it stands, for each 512-byte
//! sector written since the last sync, what the platter held before. A sync forgets those; a crash
//! puts some of them back.
//!
//! # Invariants
//!
//! * Bytes of the view beyond `len` are zero.
//! * A sector is in `dirty` or in `lost` or in neither, never in both.

use std::collections::BTreeMap;
use std::io;

use super::rng::Rng;

/// The unit in which a crash tears. A sector is old or new, never half.
pub(super) const SECTOR: u64 = 512;
const SECTOR_BYTES: usize = 512;
const PAGE: u64 = 4096;
const PAGE_BYTES: usize = 4096;

type Sector = [u8; SECTOR_BYTES];
type Page = [u8; PAGE_BYTES];

/// Which unsynced sectors of the whole disk survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    /// None.
    AllOld,
    /// All.
    AllNew,
    /// In each file, those before some point.
    Prefix,
    /// Each for itself.
    Each,
}

/// A file's bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    len: u64,
    durable_len: u64,
    pages: BTreeMap<u64, Box<Page>>,
    /// What the platter holds where the view is newer. `None` is zeros.
    dirty: BTreeMap<u64, Option<Box<Sector>>>,
    /// The same for sectors that a failed sync has marked clean: no later sync writes them.
    lost: BTreeMap<u64, Option<Box<Sector>>>,
}

impl Contents {
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn dirty_sectors(&self) -> usize {
        self.dirty.len()
    }

    /// Fills `buf` from the view.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset.checked_add(buf.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut done = 0;
        while done < buf.len() {
            let (page, within, take) = place(offset + done as u64, buf.len() - done);
            let into = &mut buf[done..done + take];
            match self.pages.get(&page) {
                Some(bytes) => into.copy_from_slice(&bytes[within..within + take]),
                None => into.fill(0),
            }
            done += take;
        }
        Ok(())
    }

    /// Changes the view, and remembers what the platter holds.
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let mut done = 0;
        while done < bytes.len() {
            let at = offset + done as u64;
            let (page, within, take) = place(at, bytes.len() - done);
            let chunk = &bytes[done..done + take];
            if self.pages.contains_key(&page) || chunk.iter().any(|byte| *byte != 0) {
                self.note_dirty(at, take as u64);
                let into = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE_BYTES]));
                into[within..within + take].copy_from_slice(chunk);
            }
            done += take;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
    }

    /// Cuts or grows the view.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let old = self.len;
            let touched: Vec<u64> = self.pages.range(len / PAGE..).map(|(page, _)| *page).collect();
            for page in touched {
                let from = len.max(page * PAGE);
                let to = old.min((page + 1) * PAGE);
                if from < to {
                    self.note_dirty(from, to - from);
                }
            }
        }
        self.len = len;
        self.clear_beyond_len();
    }

    /// Makes the view durable, save for what an earlier failed sync has lost.
    pub(super) fn sync(&mut self) {
        self.dirty.clear();
        self.durable_len = self.len;
    }

    /// A sync that fails: dirty sectors are taken for clean, and were not written.
    pub(super) fn fail_sync(&mut self) {
        self.lost.append(&mut self.dirty);
    }

    /// The power goes, and comes back.
    pub(super) fn crash(&mut self, survival: Survival, rng: &mut Rng) {
        let dirty = std::mem::take(&mut self.dirty);
        let cut = dirty.last_key_value().map_or(0, |(last, _)| rng.below(last + 2));
        for (sector, old) in dirty {
            if !survives(survival, sector < cut, rng) {
                self.put_back(sector, old);
            }
        }
        for (sector, old) in std::mem::take(&mut self.lost) {
            self.put_back(sector, old);
        }
        if self.len != self.durable_len && !survives(survival, rng.coin(), rng) {
            self.len = self.durable_len;
        }
        self.durable_len = self.len;
        self.clear_beyond_len();
    }

    /// Flips bits in the view and on the platter alike.
    pub(super) fn flip(&mut self, offset: u64, mask: u8) {
        let (page, within, _) = place(offset, 1);
        let bytes = self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE_BYTES]));
        bytes[within] ^= mask;
        let in_sector = usize_from(offset % SECTOR);
        for saved in [&mut self.dirty, &mut self.lost] {
            if let Some(old) = saved.get_mut(&(offset / SECTOR)) {
                old.get_or_insert_with(|| Box::new([0; SECTOR_BYTES]))[in_sector] ^= mask;
            }
        }
    }

    /// Puts bytes into the view and onto the platter alike, within the file's length.
    pub(super) fn patch(&mut self, bytes: &[u8], offset: u64) {
        let room = usize_from(self.len.saturating_sub(offset).min(bytes.len() as u64));
        for (at, byte) in (offset..).zip(&bytes[..room]) {
            let (page, within, _) = place(at, 1);
            let now = self.pages.get(&page).map_or(0, |bytes| bytes[within]);
            if now != *byte {
                self.flip(at, now ^ byte);
            }
            let in_sector = usize_from(at % SECTOR);
            for saved in [&mut self.dirty, &mut self.lost] {
                if let Some(old) = saved.get_mut(&(at / SECTOR)) {
                    old.get_or_insert_with(|| Box::new([0; SECTOR_BYTES]))[in_sector] = *byte;
                }
            }
        }
    }

    /// Cuts the file, in the view and on the platter alike.
    pub(super) fn truncate(&mut self, len: u64) {
        assert!(len <= self.len, "a file that is truncated does not grow");
        self.len = len;
        self.durable_len = len;
        for saved in [&mut self.dirty, &mut self.lost] {
            let _cut = saved.split_off(&len.div_ceil(SECTOR));
        }
        self.clear_beyond_len();
    }

    /// A random byte among those that were ever written with something else than zeros.
    pub(super) fn random_written_byte(&self, rng: &mut Rng) -> Option<u64> {
        let pages = self.pages.len() as u64;
        if pages == 0 {
            return None;
        }
        let (page, _) = self.pages.iter().nth(usize_from(rng.below(pages)))?;
        let start = page * PAGE;
        let bytes = self.len.saturating_sub(start).min(PAGE);
        (bytes > 0).then(|| start + rng.below(bytes))
    }

    /// Feeds the view and the platter's differences to `hash`, zero pages left out.
    pub(super) fn digest(&self, hash: &mut impl FnMut(&[u8])) {
        hash(&self.len.to_le_bytes());
        hash(&self.durable_len.to_le_bytes());
        for (page, bytes) in &self.pages {
            if bytes.iter().any(|byte| *byte != 0) {
                hash(&page.to_le_bytes());
                hash(&bytes[..]);
            }
        }
        for (sector, old) in self.dirty.iter().chain(&self.lost) {
            hash(&sector.to_le_bytes());
            hash(old.as_ref().map_or(&[], |bytes| &bytes[..]));
        }
    }

    /// Saves what the platter holds under `len` bytes at `at`, unless that is known already.
    fn note_dirty(&mut self, at: u64, len: u64) {
        assert!(len > 0, "nothing is written");
        for sector in at / SECTOR..=(at + len - 1) / SECTOR {
            if self.dirty.contains_key(&sector) {
                continue;
            }
            let old = self.lost.remove(&sector).unwrap_or_else(|| self.sector(sector));
            self.dirty.insert(sector, old);
        }
    }

    fn sector(&self, sector: u64) -> Option<Box<Sector>> {
        let (page, within, _) = place(sector * SECTOR, SECTOR_BYTES);
        let bytes = self.pages.get(&page)?;
        let mut copy = Box::new([0; SECTOR_BYTES]);
        copy.copy_from_slice(&bytes[within..within + SECTOR_BYTES]);
        Some(copy)
    }

    fn put_back(&mut self, sector: u64, old: Option<Box<Sector>>) {
        let (page, within, _) = place(sector * SECTOR, SECTOR_BYTES);
        let Some(bytes) = self.pages.get_mut(&page) else {
            if let Some(old) = old {
                let mut bytes = Box::new([0; PAGE_BYTES]);
                bytes[within..within + SECTOR_BYTES].copy_from_slice(&old[..]);
                self.pages.insert(page, bytes);
            }
            return;
        };
        let into = &mut bytes[within..within + SECTOR_BYTES];
        match old {
            Some(old) => into.copy_from_slice(&old[..]),
            None => into.fill(0),
        }
    }

    fn clear_beyond_len(&mut self) {
        let _beyond = self.pages.split_off(&self.len.div_ceil(PAGE));
        let within = usize_from(self.len % PAGE);
        if within > 0
            && let Some(bytes) = self.pages.get_mut(&(self.len / PAGE))
        {
            bytes[within..].fill(0);
        }
    }
}

fn survives(survival: Survival, before_cut: bool, rng: &mut Rng) -> bool {
    match survival {
        Survival::AllOld => false,
        Survival::AllNew => true,
        Survival::Prefix => before_cut,
        Survival::Each => rng.coin(),
    }
}

/// Which page holds `offset`, where in it, and how many of `want` bytes it holds from there.
fn place(offset: u64, want: usize) -> (u64, usize, usize) {
    let within = usize_from(offset % PAGE);
    (offset / PAGE, within, want.min(PAGE_BYTES - within))
}

fn usize_from(small: u64) -> usize {
    usize::try_from(small).expect("a place within a page, or a count of things in memory")
}
