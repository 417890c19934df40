//! The names of the engine's files.

use std::io;

use disk::Disk;

/// The directory of `path`, and the name in it. The disk's root is the empty name.
pub(crate) fn parent(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Whether there is such a file.
pub(crate) fn exists(disk: &impl Disk, path: &str) -> io::Result<bool> {
    let (dir, name) = parent(path);
    Ok(disk.list(dir)?.iter().any(|found| found == name))
}

/// Makes a directory, unless it is the root.
pub(crate) fn make_dir(disk: &impl Disk, dir: &str) -> io::Result<()> {
    if dir.is_empty() { Ok(()) } else { disk.create_dir(dir) }
}

/// Removes a file, if it is there.
pub(crate) fn remove(disk: &impl Disk, path: &str) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
