//! Files of a node that is down go bad: a bit flips, or the end is gone. Any file that the node has.
//!
//! What may come of it, and nothing else:
//!
//! * the node notices, and is repaired by the others;
//! * the node refuses to go on, with the code of failed storage, at its start or when it meets the
//!   damage. Then an operator does what docs/errors says: puts a file of the top directory back, or
//!   takes the engine's directory away, and starts it again;
//! * nothing: the byte was not in use, or nobody can tell it from a torn tail.
//!
//! In all cases the cluster serves on, and no client sees anything wrong. The journal is held to
//! more: a flipped bit in a batch that a later one proves to have been synced must be noticed.
//!
//! Only one node's files go bad at a time, and only while the others are whole and stay so until
//! it is repaired: what two nodes of three have lost nobody can give back. A file that is restored to
//! an older copy is not among the faults. Nobody can tell it from the truth.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::chance::Chance;
use crate::cluster::Cluster;
use crate::rot;

/// Exit codes with which a node may refuse to go on (docs/errors).
const REFUSALS: [i32; 2] = [3, 4];

/// How long a rebuilt state, or one that may be bad, is served from before the next thing happens.
const CALM: Duration = Duration::from_millis(500);

/// How long a snapshot is waited for.
const TRANSIT_PATIENCE: Duration = Duration::from_secs(15);

/// A file that went bad.
#[derive(Debug)]
pub(crate) struct Decay {
    victim: u16,
    /// Below the data directory.
    file: PathBuf,
    /// What it held before.
    original: Vec<u8>,
    /// Where, in words.
    place: String,
    must_be_noticed: bool,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The node was repaired by the others.
    Repaired,
    /// The node refused, and an operator helped.
    Refused,
    /// Nobody noticed.
    Unnoticed,
}

impl Outcome {
    /// As it is told.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Repaired => "noticed and repaired",
            Self::Refused => "refused, and mended by hand",
            Self::Unnoticed => "not noticed",
        }
    }
}

impl Decay {
    /// Flips a bit in the journal of a node that is down, where it must be noticed.
    pub(crate) fn of_journal(
        victim: u16,
        cluster: &mut Cluster,
        chance: &mut Chance,
    ) -> Option<Self> {
        let node = cluster.node(victim);
        let journal = node.journal();
        rot::noticed(&journal);
        let place = rot::flip(&journal, chance)?;
        let (file, original) = (PathBuf::from("journal"), Vec::new());
        Some(Self { victim, file, original, place, must_be_noticed: true })
    }

    /// Spoils any file of a node that is down; each kind of file is as likely as any other.
    pub(crate) fn of_any(victim: u16, cluster: &mut Cluster, chance: &mut Chance) -> Option<Self> {
        let data = cluster.node(victim).data();
        rot::noticed(&data.join("journal"));
        let mut kinds: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        for file in files(&data) {
            kinds.entry(kind_of(&file)).or_default().push(file);
        }
        let kinds: Vec<Vec<PathBuf>> = kinds.into_values().collect();
        if kinds.is_empty() {
            return None;
        }
        let kind = chance.pick(&kinds);
        let file = chance.pick(&kind);
        Some(Self::spoil(victim, &data, file, chance))
    }

    /// Waits until a node receives a snapshot, kills it, and spoils what it had received. `None` if
    /// no file of that kind turned up.
    pub(crate) fn in_transit(
        victim: u16,
        cluster: &mut Cluster,
        chance: &mut Chance,
    ) -> Result<Option<Self>, String> {
        let data = cluster.node(victim).data();
        // Its state is gone, and that is no damage: it asks the others for a snapshot.
        take_away(&data, Path::new("engine"));
        cluster.launch(&[victim]);
        let begun = Instant::now();
        let staged = loop {
            cluster.bury()?;
            let found = files(&data).into_iter().find(|file| is_staged(file));
            if found.is_some() || begun.elapsed() > TRANSIT_PATIENCE {
                break found;
            }
        };
        sleep(chance.time_ms(0, 10));
        cluster.node(victim).kill();
        let Some(file) = staged.filter(|file| data.join(file).exists()) else { return Ok(None) };
        Ok(Some(Self::spoil(victim, &data, file, chance)))
    }

    fn spoil(victim: u16, data: &Path, file: PathBuf, chance: &mut Chance) -> Self {
        let path = data.join(&file);
        let original = fs::read(&path).unwrap();
        let mut bytes = original.clone();
        let is_segment = file.extension().is_some_and(|extension| extension == "seg");
        let what = if bytes.is_empty() || is_segment || chance.one_in(4) {
            let kept = chance.below(bytes.len() as u64 + 1);
            bytes.truncate(usize::try_from(kept).unwrap());
            format!("cut to {kept} of {} bytes", original.len())
        } else {
            let at = usize::try_from(chance.below(bytes.len() as u64)).unwrap();
            bytes[at] ^= 1 << chance.below(8);
            format!("a bit flipped at byte {at} of {}", bytes.len())
        };
        fs::write(&path, bytes).unwrap();
        let place = format!("{}: {what}", file.display());
        Self { victim, file, original, place, must_be_noticed: false }
    }

    /// Where it is, in words.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The node was started. Waits until the cluster is whole again, and helps as an operator would.
    pub(crate) fn outlive(self, cluster: &mut Cluster) -> Result<Outcome, String> {
        let Self { victim, ref place, .. } = self;
        let mut refused = false;
        while let Some(status) = cluster.wait_for_outcome(victim)? {
            let words = cluster.last_words(victim);
            let known = status.code().is_some_and(|code| REFUSALS.contains(&code));
            if !known || refused || self.room() == Some("journal") {
                return Err(format!("node {victim}, {place}: it ended ({status}): {words}"));
            }
            refused = true;
            self.mend(cluster);
            cluster.launch(&[victim]);
        }
        let noticed = rot::noticed(&cluster.node(victim).journal());
        if self.must_be_noticed && !noticed {
            return Err(format!("node {victim} did not notice the flipped bit in {place}"));
        }
        if refused {
            return Ok(Outcome::Refused);
        }
        if noticed {
            return Ok(Outcome::Repaired);
        }
        if self.room() == Some("engine") {
            return self.rebuild(cluster);
        }
        Ok(Outcome::Unnoticed)
    }

    /// What nobody has noticed yet may show itself at any later time. So it serves for a moment, as
    /// it is, and then the state is fetched anew.
    fn rebuild(&self, cluster: &mut Cluster) -> Result<Outcome, String> {
        let mut outcome = Outcome::Unnoticed;
        let begun = Instant::now();
        while begun.elapsed() < CALM {
            if let Some(status) = cluster.node(self.victim).ended() {
                if !status.code().is_some_and(|code| REFUSALS.contains(&code)) {
                    let words = cluster.last_words(self.victim);
                    return Err(format!("node {}: ended ({status}): {words}", self.victim));
                }
                outcome = Outcome::Refused;
            }
            sleep(Duration::from_millis(20));
        }
        cluster.node(self.victim).kill();
        self.mend(cluster);
        cluster.launch(&[self.victim]);
        cluster.wait_until_whole()?;
        Ok(outcome)
    }

    /// What docs/errors tells an operator to do.
    fn mend(&self, cluster: &mut Cluster) {
        let data = cluster.node(self.victim).data();
        match self.room() {
            Some(room) => take_away(&data, Path::new(room)),
            None => fs::write(data.join(&self.file), &self.original).unwrap(),
        }
    }

    /// The directory that the file is in; `None` for the top one.
    fn room(&self) -> Option<&str> {
        let mut parts = self.file.iter();
        let first = parts.next().and_then(|part| part.to_str());
        // The journal's own place is a directory.
        if parts.next().is_some() || self.must_be_noticed { first } else { None }
    }
}

/// Flips one bit in every file of a node that is down. Says where.
pub(crate) fn flip_everywhere(data: &Path, chance: &mut Chance) -> Vec<String> {
    let mut places = Vec::new();
    for file in files(data) {
        let path = data.join(&file);
        let mut bytes = fs::read(&path).unwrap();
        // What was only made room for means nothing yet.
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
        if used == 0 {
            continue;
        }
        let at = usize::try_from(chance.below(used as u64)).unwrap();
        bytes[at] ^= 1 << chance.below(8);
        fs::write(&path, bytes).unwrap();
        places.push(format!("{} at byte {at}", file.display()));
    }
    places
}

/// As an operator would move it: the disk is small, so it does not stay.
pub(crate) fn take_away(data: &Path, room: &Path) {
    let _ = fs::remove_dir_all(data.join(room));
}

/// All files below the data directory, relative to it.
fn files(data: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (Vec::new(), vec![PathBuf::new()]);
    while let Some(dir) = open.pop() {
        // A file may vanish while we look.
        for entry in fs::read_dir(data.join(&dir)).into_iter().flatten().flatten() {
            let path = dir.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(path),
                Ok(kind) if kind.is_file() => found.push(path),
                Ok(_) | Err(_) => {}
            }
        }
    }
    found.sort();
    found
}

/// Files that differ by a number only are of one kind.
fn kind_of(file: &Path) -> String {
    file.to_string_lossy().chars().filter(|letter| !letter.is_ascii_digit()).collect()
}

fn is_staged(file: &Path) -> bool {
    file.to_string_lossy().contains("staging")
}
