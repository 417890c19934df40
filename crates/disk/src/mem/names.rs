//! Which name stands for which file: now, and after a crash.
//!
//! Creations, renames and removals wait, in their order, until their directory is synced. A crash
//! keeps some prefix of those that wait, as a journaling file system does. A rename between two
//! directories belongs to both, and takes what it rests upon with it.

use std::collections::{BTreeMap, BTreeSet};

/// Names a file, whatever it is called.
pub(super) type FileId = u64;

/// One change of the name space.
#[derive(Clone, Debug)]
enum Change {
    Link { path: String, file: FileId },
    Rename { from: String, to: String },
    Unlink { path: String },
}

/// The name space.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    live: BTreeMap<String, FileId>,
    durable: BTreeMap<String, FileId>,
    waiting: Vec<Change>,
    dirs: BTreeSet<String>,
}

impl Names {
    pub(super) fn find(&self, path: &str) -> Option<FileId> {
        self.live.get(path).copied()
    }

    pub(super) fn dir_exists(&self, dir: &str) -> bool {
        dir.is_empty() || self.dirs.contains(dir)
    }

    pub(super) fn create_dir(&mut self, dir: &str) {
        for (at, _) in dir.match_indices('/') {
            self.dirs.insert(dir[..at].to_owned());
        }
        self.dirs.insert(dir.to_owned());
    }

    pub(super) fn link(&mut self, path: &str, file: FileId) {
        self.change(Change::Link { path: path.to_owned(), file });
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) {
        self.change(Change::Rename { from: from.to_owned(), to: to.to_owned() });
    }

    pub(super) fn unlink(&mut self, path: &str) {
        self.change(Change::Unlink { path: path.to_owned() });
    }

    /// Names of files and directories right in `dir`, sorted.
    pub(super) fn list(&self, dir: &str) -> Vec<String> {
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let inside = |path: &String| {
            let name = path.strip_prefix(&prefix)?;
            (!name.contains('/')).then(|| name.to_owned())
        };
        let files = self.live.range(prefix.clone()..).map(|(path, _)| path);
        let names: BTreeSet<String> = files
            .take_while(|path| path.starts_with(&prefix))
            .chain(&self.dirs)
            .filter_map(inside)
            .collect();
        names.into_iter().collect()
    }

    /// Makes the waiting changes of `dir` durable.
    pub(super) fn sync_dir(&mut self, dir: &str) {
        let mut needed = BTreeSet::from([dir.to_owned()]);
        let mut taken = Vec::new();
        let mut kept = Vec::new();
        // Backwards, so that a change between two directories draws in what came before it there.
        while let Some(change) = self.waiting.pop() {
            if change.dirs().any(|dir| needed.contains(dir)) {
                needed.extend(change.dirs().map(str::to_owned));
                taken.push(change);
            } else {
                kept.push(change);
            }
        }
        kept.reverse();
        self.waiting = kept;
        for change in taken.into_iter().rev() {
            apply(&mut self.durable, &change);
        }
    }

    /// Keeps the first `survivors` of the waiting changes, and forgets the others.
    pub(super) fn crash(&mut self, survivors: usize) {
        for change in self.waiting.drain(..).take(survivors) {
            apply(&mut self.durable, &change);
        }
        self.live = self.durable.clone();
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Every name and its file, as programs see them.
    pub(super) fn live(&self) -> impl Iterator<Item = (&String, &FileId)> {
        self.live.iter()
    }

    /// Every name and its file, as a crash that keeps nothing would leave them.
    pub(super) fn durable(&self) -> impl Iterator<Item = (&String, &FileId)> {
        self.durable.iter()
    }

    /// Every file that some name stands for, or may stand for after a crash.
    pub(super) fn named(&self) -> BTreeSet<FileId> {
        let waiting = self.waiting.iter().filter_map(|change| match change {
            Change::Link { file, .. } => Some(*file),
            Change::Rename { .. } | Change::Unlink { .. } => None,
        });
        self.live.values().chain(self.durable.values()).copied().chain(waiting).collect()
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.live, &change);
        self.waiting.push(change);
    }
}

impl Change {
    fn dirs(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Link { path, .. } | Self::Unlink { path } => (path, path),
            Self::Rename { from, to } => (from, to),
        };
        [parent(first), parent(second)].into_iter()
    }
}

fn apply(names: &mut BTreeMap<String, FileId>, change: &Change) {
    match change {
        Change::Link { path, file } => {
            names.insert(path.clone(), *file);
        }
        Change::Rename { from, to } => {
            let file = names.remove(from).expect("changes are applied in the order they were made");
            names.insert(to.clone(), file);
        }
        Change::Unlink { path } => {
            names.remove(path);
        }
    }
}

/// The directory that `path` lies in.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}
