//! Which journal each other node had when this node first met it: who comes back under the same number
//! with another one has lost what it promised, and is not let in.
//!
//! A node that starts with an empty directory under its old number would vote again where it has voted,
//! and what only it and one other had acknowledged would be gone. It can't know that itself; the others
//! remember it for it. The file `PEERS` is written whole, and is on disk before the caller is welcome.
//! Without it (or when it is damaged) the node meets everybody anew: a weaker guard, not a wrong one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tracing::warn;
use wire::NodeId;

use super::os_disk::sync_dir;

/// The format of the file that this release writes.
const FORMAT: u32 = 1;

const PEERS: &str = "PEERS";

/// The journals of the other nodes. A node's number is given once, so an entry never changes.
#[derive(Debug)]
pub(crate) struct Journals {
    dir: PathBuf,
    known: Mutex<BTreeMap<NodeId, u64>>,
    /// Held by whoever writes the file.
    writing: Mutex<()>,
}

/// What is known of a node's journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquaintance {
    /// It was never met.
    New,
    /// It has the journal that it had.
    Same,
    /// It has another one than it had.
    Other,
}

/// `PEERS`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PeersToml {
    format: u32,
    /// Of [`lines`]: a flipped bit would turn a node that lost nothing away.
    checksum: String,
    #[serde(default)]
    journals: BTreeMap<String, String>,
}

impl Journals {
    /// Those that the data directory `dir` knows.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let known = match std::fs::read(dir.join(PEERS)) {
            Ok(bytes) => parse(&bytes).unwrap_or_else(|what| {
                warn!(what, "the file PEERS makes no sense; the other nodes are met anew");
                BTreeMap::new()
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { dir: dir.to_owned(), known: Mutex::new(known), writing: Mutex::default() })
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<NodeId, u64>> {
        // Nothing in here can panic half-way through a change.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of this node's journal.
    pub(crate) fn acquaintance(&self, node: NodeId, journal: u64) -> Acquaintance {
        match self.known().get(&node) {
            None => Acquaintance::New,
            Some(known) if *known == journal => Acquaintance::Same,
            Some(_) => Acquaintance::Other,
        }
    }

    /// Remembers a node that was never met, durably; waits for the disk. Forgets those that `has_left`
    /// says are gone for ever. Of two that come at once the first is remembered.
    pub(crate) fn remember(
        &self,
        node: NodeId,
        journal: u64,
        has_left: impl Fn(NodeId) -> bool,
    ) -> io::Result<()> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = self.known().clone();
        if known.contains_key(&node) {
            return Ok(());
        }
        known.insert(node, journal);
        known.retain(|node, _| !has_left(*node));
        self.write(&text(&known))?;
        *self.known() = known;
        Ok(())
    }

    /// Whole or not at all, and durable.
    fn write(&self, text: &str) -> io::Result<()> {
        let part = self.dir.join("PEERS.part");
        let mut file = File::create(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, self.dir.join(PEERS))?;
        sync_dir(&self.dir)
    }
}

/// An entry in each.
fn lines(known: &BTreeMap<NodeId, u64>) -> String {
    let line = |(node, journal): (&NodeId, &u64)| format!("{} = \"{journal:016x}\"\n", node.0);
    known.iter().map(line).collect::<Vec<_>>().concat()
}

fn checksum(lines: &str) -> String {
    format!("{:08x}", crc32fast::hash(lines.as_bytes()))
}

fn text(known: &BTreeMap<NodeId, u64>) -> String {
    let lines = lines(known);
    format!(
        "# Which journal each other node had when this one first met it: one that has lost its own, and\n\
         # with it what it promised, is told from one that has it.\n\
         format = {FORMAT}\nchecksum = \"{}\"\n\n[journals]\n{lines}",
        checksum(&lines)
    )
}

fn parse(bytes: &[u8]) -> Result<BTreeMap<NodeId, u64>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let toml: PeersToml = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if toml.format != FORMAT {
        return Err(format!("it has format {}, this release knows {FORMAT}", toml.format));
    }
    let entries = toml.journals.iter().map(|(node, journal)| {
        let number = node.parse().map_err(|_| format!("{node:?} is no node's number"))?;
        let journal = u64::from_str_radix(journal, 16)
            .map_err(|_| format!("{journal:?} is not a hexadecimal number"))?;
        Ok((NodeId(number), journal))
    });
    let known = entries.collect::<Result<BTreeMap<NodeId, u64>, String>>()?;
    if toml.checksum != checksum(&lines(&known)) {
        return Err("its checksum is another".to_owned());
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::test_dir::TestDir;

    #[test]
    fn whom_a_node_has_met_it_knows_after_a_restart() {
        let dir = TestDir::new();
        let journals = Journals::open(dir.path()).unwrap();
        assert_eq!(journals.acquaintance(NodeId(2), 7), Acquaintance::New);
        journals.remember(NodeId(2), 7, |_| false).unwrap();
        journals.remember(NodeId(2), 8, |_| false).unwrap();
        let journals = Journals::open(dir.path()).unwrap();
        assert_eq!(journals.acquaintance(NodeId(2), 7), Acquaintance::Same);
        assert_eq!(journals.acquaintance(NodeId(2), 8), Acquaintance::Other);
    }

    #[test]
    fn who_has_left_is_forgotten_when_the_next_one_comes() {
        let dir = TestDir::new();
        let journals = Journals::open(dir.path()).unwrap();
        journals.remember(NodeId(2), 7, |_| false).unwrap();
        journals.remember(NodeId(4), 9, |node| node == NodeId(2)).unwrap();
        let text = std::fs::read_to_string(dir.path().join(PEERS)).unwrap();
        assert!(text.ends_with("[journals]\n4 = \"0000000000000009\"\n"), "{text}");
    }

    #[test]
    fn a_damaged_file_is_as_good_as_none() {
        let dir = TestDir::new();
        for text in
            ["", "format = 2\n", "format = 1\n[journals]\nx = \"7\"\n", "format = 1\nfoo = 1"]
        {
            std::fs::write(dir.path().join(PEERS), text).unwrap();
            let journals = Journals::open(dir.path()).unwrap();
            assert_eq!(journals.acquaintance(NodeId(2), 7), Acquaintance::New);
        }
    }

    #[test]
    fn no_flipped_bit_turns_a_node_away() {
        let written = text(&BTreeMap::from([(NodeId(2), 7), (NodeId(3), 9)])).into_bytes();
        for place in 0..written.len() * 8 {
            let mut bytes = written.clone();
            bytes[place / 8] ^= 1 << (place % 8);
            // In the words above, or between the entries, it means nothing.
            let known = parse(&bytes).unwrap_or_default();
            assert!(known.is_empty() || known == parse(&written).unwrap(), "{place}: {known:?}");
        }
        assert_eq!(parse(&written).unwrap().len(), 2);
    }
}
