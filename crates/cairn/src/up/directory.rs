//! The directory of a cluster on this machine: whose it is, and who holds it now.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use super::cluster::{Cluster, Wanted};
use super::tls;
use crate::cli::Failure;
use crate::drivers::random;

const LOCK: &str = "up.lock";
const CLUSTER: &str = "cluster.toml";

/// Longest `cluster.toml` that is read, in bytes.
const MAX_CLUSTER_BYTES: u64 = 64 * 1024;

/// A directory that this process holds.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Held until this value is dropped; the system lets go of it even if the process is killed.
    _lock: File,
}

/// Where a node's things are.
#[derive(Clone, Debug)]
pub(crate) struct NodeFiles {
    /// Its number.
    pub(crate) node: u16,
    /// Its configuration.
    pub(crate) config: PathBuf,
    /// Its data.
    pub(crate) data: PathBuf,
}

impl Directory {
    /// Takes a directory, making it if need be. It is refused if somebody holds it, or if it holds
    /// what `up` has not written.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        check_foreign(path)?;
        fs::create_dir_all(path).map_err(|error| Failure::file(path, "make directory", &error))?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| Failure::file(&lock_path, "open", &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(path, &mut lock)),
            Err(TryLockError::Error(error)) => {
                return Err(Failure::file(&lock_path, "lock", &error));
            }
        }
        // The pid is for the sentence that refuses the next one: nothing hangs on it.
        let noted = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        noted.map_err(|error| Failure::file(&lock_path, "write", &error))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    /// The cluster that is kept here, or a new one.
    pub(crate) fn cluster(&self, wanted: &Wanted) -> Result<Cluster, Failure> {
        let path = self.path.join(CLUSTER);
        let text = match File::open(&path) {
            Ok(file) => {
                let mut text = String::new();
                let read = file.take(MAX_CLUSTER_BYTES).read_to_string(&mut text);
                read.map_err(|error| Failure::file(&path, "read", &error))?;
                Some(text)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::file(&path, "open", &error)),
        };
        let Some(text) = text else {
            return Cluster::new(wanted, random::draw()).map_err(Failure::usage);
        };
        let there = Cluster::from_toml(&text).map_err(|why| {
            Failure::damaged(format!("{} makes no sense: {why}", path.display()))
                .help("correct it, or name another directory with --dir")
        })?;
        there.resume(wanted).map_err(|why| {
            Failure::refused("other_cluster", format!("{}: {why}", self.path.display())).help(
                "leave that flag out to carry on with it, or name another directory with --dir",
            )
        })
    }

    /// Writes down what the cluster is and how its nodes are started, and makes certificates if it
    /// speaks TLS.
    pub(crate) fn prepare(
        &self,
        cluster: &Cluster,
    ) -> Result<(Vec<NodeFiles>, Option<tls::Files>), Failure> {
        let base = fs::canonicalize(&self.path)
            .map_err(|error| Failure::file(&self.path, "find", &error))?;
        self.replace(&self.path.join(CLUSTER), &cluster.to_toml())?;
        let tls = cluster.tls.then(|| tls::Files::prepare(&base, cluster)).transpose()?;
        let tls_dir = base.join("tls").display().to_string();
        let mut nodes = Vec::new();
        for node in cluster.numbers() {
            let data = base.join(format!("node-{node}"));
            fs::create_dir_all(&data)
                .map_err(|error| Failure::file(&data, "make directory", &error))?;
            let Some(data_dir) = data.to_str() else {
                let why =
                    format!("{} is not UTF-8, so no configuration can name it", data.display());
                return Err(Failure::usage(why).help("name another directory with --dir"));
            };
            let config = self.path.join(format!("node-{node}.toml"));
            self.replace(&config, &cluster.node_toml(node, data_dir, &tls_dir))?;
            nodes.push(NodeFiles { node, config, data });
        }
        Ok((nodes, tls))
    }

    /// Writes a file so that a crash leaves the old one or the new one.
    fn replace(&self, path: &Path, text: &str) -> Result<(), Failure> {
        let part = path.with_extension("toml.part");
        let write = || {
            let mut file = File::create(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, path)?;
            File::open(&self.path)?.sync_all()
        };
        write().map_err(|error| Failure::file(path, "write", &error))
    }
}

fn held(path: &Path, lock: &mut File) -> Failure {
    let mut pid = String::new();
    let _ = lock.take(32).read_to_string(&mut pid);
    let by = pid.trim().parse::<u32>().map(|pid| format!(" (pid {pid})")).unwrap_or_default();
    let message = format!("{} is held by a `cairn up` that runs{by}", path.display());
    Failure::refused("directory_held", message)
        .help("stop that one with Ctrl-C, or name another directory with --dir")
}

/// Refuses a directory that holds anything but what `up` writes before it has written
/// `cluster.toml`.
fn check_foreign(path: &Path) -> Result<(), Failure> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Failure::file(path, "read directory", &error)),
    };
    let mut foreign = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Failure::file(path, "read directory", &error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == CLUSTER {
            return Ok(());
        }
        if name != LOCK && name != format!("{CLUSTER}.part") {
            foreign.push(name);
        }
    }
    foreign.sort();
    match foreign.first() {
        None => Ok(()),
        Some(name) => {
            let path = path.display();
            let message = format!("{path} is no directory of `cairn up`: it holds {name:?}");
            Err(Failure::refused("foreign_directory", message)
                .help("name an empty or a new directory with --dir"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::test_dir::TestDir;

    #[test]
    fn a_directory_is_held_by_one() {
        let dir = TestDir::new();
        let first = Directory::open(dir.path()).unwrap();
        let refused = Directory::open(dir.path()).unwrap_err();
        assert_eq!(refused.code, "directory_held");
        assert!(refused.message.contains(&std::process::id().to_string()), "{}", refused.message);
        drop(first);
        Directory::open(dir.path()).unwrap();
    }

    #[test]
    fn foreign_files_are_left_alone() {
        let dir = TestDir::new();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        let refused = Directory::open(dir.path()).unwrap_err();
        assert_eq!(refused.code, "foreign_directory");
        assert!(refused.message.contains("thesis.tex"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was written");
    }

    #[test]
    fn the_cluster_is_remembered() {
        let dir = TestDir::new();
        let directory = Directory::open(dir.path()).unwrap();
        let cluster = directory.cluster(&Wanted::default()).unwrap();
        let (nodes, tls) = directory.prepare(&cluster).unwrap();
        assert!(tls.is_none());
        assert_eq!(nodes.len(), 3);
        assert!(nodes.iter().all(|node| node.config.is_file() && node.data.is_dir()));
        drop(directory);
        let directory = Directory::open(dir.path()).unwrap();
        assert_eq!(directory.cluster(&Wanted::default()).unwrap(), cluster);
        let five = Wanted { nodes: Some(5), ..Wanted::default() };
        assert_eq!(directory.cluster(&five).unwrap_err().code, "other_cluster");
    }

    #[test]
    fn a_damaged_file_is_not_overwritten() {
        let dir = TestDir::new();
        fs::write(dir.path().join(CLUSTER), "cluster = ").unwrap();
        let directory = Directory::open(dir.path()).unwrap();
        let refused = directory.cluster(&Wanted::default()).unwrap_err();
        assert_eq!(refused.exit, crate::cli::exit::FILE);
        assert_eq!(fs::read_to_string(dir.path().join(CLUSTER)).unwrap(), "cluster = ");
    }
}
