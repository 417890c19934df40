//! A node's data directory: who holds it, and whose it is.
//!
//! `LOCK` is locked as long as the process lives, and names it. `IDENTITY` says which node of which
//! cluster the directory belongs to; it is written once. A node must never start on another's
//! promises, nor without its own: that would elect two leaders. Who the other nodes are it says for the
//! beginning only, for those change; the configuration never says it again, save where they are found.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::config::{Config, EngineKind};
use crate::drivers::journals::Journals;
use crate::drivers::os_disk::{OsDisk, create_dir_durably, sync_dir};
use crate::drivers::random;
use crate::drivers::refusals::Directory;
use crate::errors::Fault;

/// The format of the directory that this release writes.
const FORMAT: u32 = 1;

const LOCK: &str = "LOCK";
const IDENTITY: &str = "IDENTITY";

/// An open data directory; nobody else has it open.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    identity: Identity,
    age: Directory,
    /// Unlocked when it is closed, at the latest when the process ends, however it ends.
    _lock: File,
}

/// Whose directory it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    format: u32,
    /// The cluster's name.
    pub(crate) cluster: String,
    /// The node's number.
    pub(crate) node: u64,
    /// The numbers of all nodes with which the cluster began, for consensus to begin with: who alone
    /// believes itself alone elects itself. Of a node that joined later, those whom it could ask.
    pub(crate) members: Vec<u64>,
    /// Of which cluster it was, if it was left over by another that is lost; see `recover`.
    #[serde(default)]
    pub(crate) left_over_by: Option<String>,
    /// Whether the node joined a cluster that was there.
    #[serde(default)]
    pub(crate) joined: bool,
    /// Whether the node is a witness: it keeps the log without the data.
    #[serde(default)]
    pub(crate) witness: bool,
    /// The journal's name, in hexadecimal.
    journal: String,
    /// The consensus protocol: what one has promised means nothing to another. Absent in directories
    /// of release 0.1, which knew only Raft.
    #[serde(default = "raft")]
    protocol: String,
    /// `disk` or `memory`: one does not find the other's state.
    engine: String,
    /// The release that made the directory.
    created_by: String,
}

impl DataDir {
    /// Opens the directory that the configuration names, or makes it.
    pub(super) fn open(config: &Config) -> Result<Self, Fault> {
        let path = config.data_dir.clone();
        create_dir_durably(&path).map_err(unusable("create the data directory", &path))?;
        let lock = lock(&path)?;
        let wanted = |cluster: String| Identity {
            format: FORMAT,
            cluster,
            node: config.node.0,
            members: config.members.iter().map(|member| member.node.0).collect(),
            left_over_by: None,
            joined: config.join,
            witness: config.witness,
            journal: format!("{:016x}", random::draw_u64()),
            protocol: config.protocol.to_string(),
            engine: engine_name(config.engine).to_owned(),
            created_by: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let (identity, age) = if let Some(found) = Identity::read(&path)? {
            let cluster = config.cluster.clone().unwrap_or_else(|| found.cluster.clone());
            found.check(&path, &wanted(cluster))?;
            (found, Directory::Old)
        } else {
            let draw = || format!("cairn-{:08x}", random::draw_u64() >> 32);
            let identity = wanted(config.cluster.clone().unwrap_or_else(draw));
            identity.write(&path)?;
            (identity, Directory::New)
        };
        Ok(Self { path, identity, age, _lock: lock })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whose it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The journals of the other nodes, as far as it knows them.
    pub(super) fn journals(&self) -> Result<Arc<Journals>, Fault> {
        let opened = Journals::open(&self.path);
        opened.map(Arc::new).map_err(unusable("read PEERS in", &self.path))
    }

    /// Whether it was there before this process.
    pub(super) fn age(&self) -> Directory {
        self.age
    }

    /// The files in it.
    pub(super) fn disk(&self) -> OsDisk {
        OsDisk::new(&self.path)
    }
}

impl Identity {
    /// The journal's name.
    pub(crate) fn journal_id(&self) -> u64 {
        u64::from_str_radix(&self.journal, 16).expect("checked when it was read")
    }

    /// Whether the node began as its cluster's only one, so that nobody could give it back what it lost
    /// unless others joined since.
    pub(crate) fn is_alone(&self) -> bool {
        self.members.len() == 1 && !self.joined
    }

    /// How it keeps its log. An error says which ways there are.
    pub(crate) fn protocol(&self) -> Result<consensus::Protocol, String> {
        self.protocol.parse().map_err(|what| format!("`protocol` is {:?}: {what}", self.protocol))
    }

    /// The same node, as the only one of another cluster.
    #[must_use]
    pub(crate) fn alone_in(self, cluster: &str) -> Self {
        Self { cluster: cluster.to_owned(), left_over_by: Some(self.cluster), ..self }
    }

    /// Where its state is kept; `None` if this release knows no such engine.
    pub(crate) fn engine(&self) -> Option<EngineKind> {
        let kinds = [EngineKind::Disk, EngineKind::Memory];
        kinds.into_iter().find(|kind| engine_name(*kind) == self.engine)
    }

    /// Whether positions of its log never get another epoch once they are chosen.
    pub(crate) fn keeps_epochs(&self) -> bool {
        self.protocol == raft()
    }

    /// Reads the file of a directory; `None` if the directory holds nothing of a node yet.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, Fault> {
        let path = dir.join(IDENTITY);
        let damaged = |what: String| Fault::IdentityDamaged { path: path.clone(), what };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if dir.join("journal").exists() {
                    return Err(damaged("it is missing, although there is a journal".to_owned()));
                }
                return Ok(None);
            }
            Err(error) => return Err(unusable("read", &path)(error)),
        };
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8".to_owned()))?;
        Self::parse(&text).map(Some).map_err(damaged)
    }

    /// Reads the file's text. An error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let identity: Self = toml::from_str(text).map_err(|error| error.message().to_owned())?;
        if identity.format != FORMAT {
            return Err(format!(
                "the directory has format {}, this release knows {FORMAT}; it was made by another release",
                identity.format
            ));
        }
        if u64::from_str_radix(&identity.journal, 16).is_err() {
            return Err("`journal` is not a hexadecimal number".to_owned());
        }
        Ok(identity)
    }

    /// The file's text.
    pub(crate) fn text(&self) -> String {
        let members: Vec<String> = self.members.iter().map(u64::to_string).collect();
        let former = self.left_over_by.as_ref();
        let left_over_by =
            former.map_or_else(String::new, |cluster| format!("left_over_by = \"{cluster}\"\n"));
        format!(
            "# Whose data this is. Written once, never to be changed: a node that starts with another's\n\
             # promises, or without its own, can lose what was acknowledged.\n\
             format = {}\ncluster = \"{}\"\n{}node = {}\nmembers = [{}]\n{}{}journal = \"{}\"\nprotocol = \"{}\"\n\
             engine = \"{}\"\n\
             created_by = \"{}\"\n",
            self.format,
            self.cluster,
            left_over_by,
            self.node,
            members.join(", "),
            if self.joined { "joined = true\n" } else { "" },
            if self.witness { "witness = true\n" } else { "" },
            self.journal,
            self.protocol,
            self.engine,
            self.created_by,
        )
    }

    /// Whole or not at all, and durable.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), Fault> {
        let part = dir.join("IDENTITY.part");
        let write = || {
            let mut file = File::create(&part)?;
            file.write_all(self.text().as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&part, dir.join(IDENTITY))?;
            sync_dir(dir)
        };
        write().map_err(unusable("write", &dir.join(IDENTITY)))
    }

    fn check(&self, dir: &Path, wanted: &Self) -> Result<(), Fault> {
        let same = self.cluster == wanted.cluster
            && self.node == wanted.node
            && self.protocol == wanted.protocol
            && self.engine == wanted.engine;
        if same {
            return Ok(());
        }
        let (theirs, ours) = (self.describe(), wanted.describe());
        Err(Fault::Identity { dir: dir.to_owned(), theirs, ours })
    }

    fn describe(&self) -> String {
        format!(
            "node {} in cluster {:?}, which keeps its log by {}, with the {} engine",
            self.node, self.cluster, self.protocol, self.engine
        )
    }
}

fn raft() -> String {
    consensus::Protocol::Raft.to_string()
}

fn engine_name(engine: EngineKind) -> &'static str {
    match engine {
        EngineKind::Disk => "disk",
        EngineKind::Memory => "memory",
    }
}

fn lock(dir: &Path) -> Result<File, Fault> {
    let path = dir.join(LOCK);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = take(dir, opened.map_err(unusable("open", &path))?)?;
    let written = file
        .set_len(0)
        .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    written.map_err(unusable("write", &path))?;
    Ok(file)
}

/// Keeps others from the directory as long as what is returned lives, and changes nothing in it: the
/// file goes on naming who had it last. `None` if no process ever had it.
pub(crate) fn hold(dir: &Path) -> Result<Option<File>, Fault> {
    let path = dir.join(LOCK);
    match File::open(&path) {
        Ok(file) => take(dir, file).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable("open", &path)(error)),
    }
}

fn take(dir: &Path, file: File) -> Result<File, Fault> {
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Without its number the message is still right.
            let _ = file.take(20).read_to_string(&mut holder);
            let pid = if holder.trim().is_empty() { "unknown" } else { holder.trim() };
            Err(Fault::Locked { dir: dir.to_owned(), pid: pid.to_owned() })
        }
        Err(TryLockError::Error(error)) => Err(unusable("lock", &dir.join(LOCK))(error)),
    }
}

fn unusable(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Fault {
    move |source| Fault::DataDir { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::test_dir::TestDir;

    fn identity() -> Identity {
        Identity {
            format: FORMAT,
            cluster: "blue".into(),
            node: 1,
            members: vec![1, 2, 3],
            left_over_by: None,
            joined: false,
            witness: false,
            journal: "00000000000000ff".into(),
            protocol: "raft".into(),
            engine: "disk".into(),
            created_by: "0.1.0".into(),
        }
    }

    #[test]
    fn an_identity_is_read_back() {
        let dir = TestDir::new();
        assert_eq!(Identity::read(dir.path()).unwrap(), None);
        identity().write(dir.path()).unwrap();
        let found = Identity::read(dir.path()).unwrap().unwrap();
        assert_eq!(found, identity());
        assert_eq!(found.journal_id(), 255);
    }

    #[test]
    fn another_node_or_cluster_is_refused() {
        let ours = identity();
        let others = [
            Identity { cluster: "green".into(), ..identity() },
            Identity { node: 2, ..identity() },
            Identity { engine: "memory".into(), ..identity() },
            Identity { protocol: "zab".into(), ..identity() },
        ];
        for other in others {
            let fault = other.check(Path::new("d"), &ours).unwrap_err();
            assert_eq!((fault.code(), fault.exit()), ("data-identity", 3), "{fault}");
        }
        let elsewhere = Identity { created_by: "9.9.9".into(), journal: "1".into(), ..identity() };
        elsewhere.check(Path::new("d"), &ours).unwrap();
        // Who the others are the cluster says.
        Identity { members: vec![1], ..identity() }.check(Path::new("d"), &ours).unwrap();
    }

    #[test]
    fn who_joined_is_remembered() {
        let dir = TestDir::new();
        let joined = Identity { joined: true, witness: true, members: vec![1], ..identity() };
        joined.write(dir.path()).unwrap();
        let found = Identity::read(dir.path()).unwrap().unwrap();
        assert!(found.joined && !found.is_alone());
        assert_eq!(found, joined);
    }

    #[test]
    fn who_was_left_over_remembers_by_whom() {
        let dir = TestDir::new();
        let second = identity().alone_in("green");
        second.write(dir.path()).unwrap();
        let found = Identity::read(dir.path()).unwrap().unwrap();
        assert_eq!((&*found.cluster, found.left_over_by.as_deref()), ("green", Some("blue")));
        assert_eq!(found.journal_id(), identity().journal_id());
    }

    #[test]
    fn a_journal_without_an_identity_is_refused() {
        let dir = TestDir::new();
        std::fs::create_dir(dir.path().join("journal")).unwrap();
        let fault = Identity::read(dir.path()).unwrap_err();
        assert_eq!(fault.code(), "data-identity-damaged");
    }

    #[test]
    fn an_identity_of_another_format_is_refused() {
        let dir = TestDir::new();
        Identity { format: 2, ..identity() }.write(dir.path()).unwrap();
        let fault = Identity::read(dir.path()).unwrap_err();
        assert!(fault.to_string().contains("made by another release"), "{fault}");
        std::fs::write(dir.path().join(IDENTITY), "colour = 1").unwrap();
        assert_eq!(Identity::read(dir.path()).unwrap_err().code(), "data-identity-damaged");
    }

    #[test]
    fn a_locked_directory_names_its_holder() {
        let dir = TestDir::new();
        let held = lock(dir.path()).unwrap();
        let fault = lock(dir.path()).unwrap_err();
        let pid = std::process::id();
        assert!(fault.to_string().ends_with(&format!("in use by process {pid}")), "{fault}");
        assert_eq!(hold(dir.path()).unwrap_err().code(), "data-locked");
        drop(held);
        let held = hold(dir.path()).unwrap();
        assert!(held.is_some());
        assert_eq!(lock(dir.path()).unwrap_err().code(), "data-locked");
        drop(held);
        lock(dir.path()).unwrap();
        assert!(hold(TestDir::new().path()).unwrap().is_none());
    }
}
