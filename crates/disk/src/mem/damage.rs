//! Damage at rest: what time, bad cables and careless people do to bytes that nobody is writing.
//!
//! It is done to what programs see and to what would survive a loss of power alike, and needs no
//! sync. Files that are open see it too.

use super::MemDisk;
use super::state::State;

impl MemDisk {
    /// Every file under `path_prefix` and its length, in the order of their names.
    pub fn files(&self, path_prefix: &str) -> Vec<(String, u64)> {
        let state = self.lock();
        let under = state.names.live().filter(|(path, _)| path.starts_with(path_prefix));
        let len = |file| state.files.get(file).map(|inode| inode.contents.len());
        under.filter_map(|(path, file)| Some((path.clone(), len(file)?))).collect()
    }

    /// The bytes of a file, as programs see them; `None` if there is no such file. No fault strikes
    /// here, and nothing is counted.
    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let file = state.names.find(path)?;
        let contents = &state.inode(file).contents;
        let mut bytes = vec![0; usize::try_from(contents.len()).ok()?];
        contents.read(&mut bytes, 0).ok()?;
        Some(bytes)
    }

    /// Flips the bits of `mask` in one byte.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn flip_bits(&self, path: &str, offset: u64, mask: u8) {
        let mut state = self.lock();
        let file = state.names.find(path).expect("the file to rot exists");
        state.inode(file).contents.flip(offset, mask);
    }

    /// Flips one bit in some file under `path_prefix`, where something was written. Tells where.
    pub fn flip_random_bit(&self, path_prefix: &str) -> Option<(String, u64)> {
        let mut state = self.lock();
        let State { names, files, rng, .. } = &mut *state;
        let mut places = Vec::new();
        for (path, file) in names.live().filter(|(path, _)| path.starts_with(path_prefix)) {
            if let Some(offset) = files.get(file)?.contents.random_written_byte(rng) {
                places.push((path.clone(), *file, offset));
            }
        }
        if places.is_empty() {
            return None;
        }
        let chosen = usize::try_from(rng.below(places.len() as u64)).ok()?;
        let (path, file, offset) = places.swap_remove(chosen);
        let mask = 1 << rng.below(8);
        files.get_mut(&file)?.contents.flip(offset, mask);
        Some((path, offset))
    }

    /// Puts other bytes in the place of some; what reaches beyond the file's end is left out.
    ///
    /// # Panics
    ///
    /// If there is no such file.
    pub fn patch(&self, path: &str, offset: u64, bytes: &[u8]) {
        let mut state = self.lock();
        let file = state.names.find(path).expect("the file to damage exists");
        state.inode(file).contents.patch(bytes, offset);
    }

    /// Cuts a file to `len` bytes, which it has.
    ///
    /// # Panics
    ///
    /// If there is no such file, or it is shorter.
    pub fn truncate(&self, path: &str, len: u64) {
        let mut state = self.lock();
        let file = state.names.find(path).expect("the file to truncate exists");
        state.inode(file).contents.truncate(len);
    }
}
