//! The names of the engine's files.

use std::io;

use disk::Disk;

/// The directory of `path`, and the name in it. The disk's root is the empty name.
pub(crate) fn parent(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Makes a directory, unless it is the root.
pub(crate) fn make_dir(disk: &impl Disk, dir: &str) -> io::Result<()> {
    if dir.is_empty() { Ok(()) } else { disk.create_dir(dir) }
}
