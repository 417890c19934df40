//! Looks at all that a node has on its disk while the node does not run, and says what to do.
//!
//! `journal` and `engine` tell what they find in their files; here it is judged, for only who knows
//! the cluster knows whether a damage heals by itself, and only who has seen both halves knows whether
//! they belong together. Nothing is changed: the next start mends what it can.

mod remedy;

use std::path::Path;

use disk::{Disk, File, Open};
use wire::GroupId;

use self::remedy::Remedies;
use crate::config::EngineKind;
use crate::drivers::os_disk::OsDisk;
use crate::drivers::read_disk::{Progress, ReadDisk};
use crate::errors::Fault;
use crate::serve::data_dir::{self, Identity};
use crate::serve::storage::{JOURNAL, engine_path};

/// Where the engine's files are.
const ENGINE: &str = "engine";

/// What a finding means for an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Nothing is lost, and nothing needs to be done.
    Note,
    /// Something is lost here, and the node gets it back from the others when it starts.
    Heals,
    /// Somebody has to do something.
    Damaged,
}

impl Severity {
    /// Its name, in both forms of output.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Heals => "heals",
            Self::Damaged => "damaged",
        }
    }
}

/// Something that was found, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, relative to the data directory.
    pub(crate) file: String,
    /// Where in it.
    pub(crate) offset: u64,
    pub(crate) severity: Severity,
    pub(crate) what: String,
    pub(crate) to_do: String,
}

/// What a data directory is found to be.
#[derive(Debug)]
pub(crate) struct Report {
    /// Whose it is, if that can be read.
    pub(crate) identity: Option<Identity>,
    pub(crate) findings: Vec<Finding>,
    /// Segments of the journal that count.
    pub(crate) segments: usize,
    /// Files of the engine that count.
    pub(crate) engine_files: u64,
    /// Bytes of the files that were read, some of them more than once.
    pub(crate) bytes: u64,
}

impl Report {
    /// The worst of all findings.
    pub(crate) fn severity(&self) -> Severity {
        self.findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Note)
    }
}

/// Why there is no report.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Nothing of a node is there.
    NoDataDir,
    /// A node has it, or it can't be read.
    Fault(Fault),
    /// A node began to use it meanwhile.
    Disturbed,
}

/// Reads all of the data directory `dir`. Tells how many bytes there are to be read, and then how
/// far it is.
pub(crate) fn verify(
    dir: &Path,
    total: &dyn Fn(u64),
    progress: Progress,
) -> Result<Report, Refusal> {
    if !["IDENTITY", "LOCK", JOURNAL, ENGINE].iter().any(|name| dir.join(name).exists()) {
        return Err(Refusal::NoDataDir);
    }
    let held = data_dir::hold(dir).map_err(Refusal::Fault)?;
    let disk = ReadDisk::new(OsDisk::new(dir), progress);
    let bytes = bytes_to_read(&disk);
    total(bytes);
    let mut findings = Vec::new();
    let identity = match Identity::read(dir) {
        Ok(identity) => identity,
        Err(fault) => {
            findings.push(remedy::identity(&fault));
            None
        }
    };
    let journal =
        journal::verify(disk.clone(), JOURNAL, identity.as_ref().map(Identity::journal_id));
    let kind = identity.as_ref().and_then(Identity::engine);
    let kind = kind.unwrap_or_else(|| kind_by_files(&disk));
    let path = engine_path(kind);
    let engine = match kind {
        EngineKind::Disk => engine::verify_disk(&disk, path),
        EngineKind::Memory => engine::verify_memory(&disk, path),
    };
    let remedies = Remedies {
        alone: identity.as_ref().is_some_and(Identity::is_alone),
        journal_has_all: has_all(&journal),
    };
    findings.extend(journal.findings.iter().map(|found| remedies.journal(found)));
    findings.extend(engine.findings.iter().map(|found| remedies.engine(found)));
    let keeps_epochs = identity.as_ref().is_some_and(Identity::keeps_epochs);
    findings.extend(compare(&journal, &engine, path, keeps_epochs, remedies));
    if held.is_none() && data_dir::hold(dir).map_err(Refusal::Fault)?.is_some() {
        return Err(Refusal::Disturbed);
    }
    let (segments, engine_files) = (journal.segments.len(), engine.files);
    Ok(Report { identity, findings, segments, engine_files, bytes })
}

/// Which engine's files are there, if nothing else says it.
fn kind_by_files(disk: &ReadDisk) -> EngineKind {
    let image = engine_path(EngineKind::Memory);
    match disk.open(image, Open::Existing) {
        Ok(_) => EngineKind::Memory,
        Err(_) => EngineKind::Disk,
    }
}

fn bytes_to_read(disk: &ReadDisk) -> u64 {
    let lengths = |dir: &str, wanted: fn(&str) -> bool| {
        let names = disk.list(dir).unwrap_or_default();
        let paths = names.iter().filter(|name| wanted(name)).map(|name| format!("{dir}/{name}"));
        let length = |path: String| disk.open(&path, Open::Existing)?.len();
        paths.map(|path| length(path).unwrap_or(0)).sum::<u64>()
    };
    lengths(JOURNAL, |name| Path::new(name).extension().is_some_and(|end| end == "seg"))
        + lengths(ENGINE, |_| true)
}

/// Whether the journal alone makes up the whole state.
fn has_all(journal: &journal::Verified) -> bool {
    let is_whole = is_whole(journal) && !journal.logs.is_empty();
    is_whole && journal.logs.values().all(|extent| extent.base().index.0 == 0)
}

/// Whether what the journal says of its logs is all that it had.
fn is_whole(journal: &journal::Verified) -> bool {
    use journal::Flaw;
    journal.findings.iter().all(|found| match found.flaw {
        Flaw::TornTail { .. } | Flaw::SetAside => true,
        Flaw::Damaged(_)
        | Flaw::Marked(_)
        | Flaw::CutShort { .. }
        | Flaw::WrongJournal { .. }
        | Flaw::UnknownVersion { .. }
        | Flaw::Unreadable { .. } => false,
    })
}

/// Whether the two halves belong together. Where one of them is known to be damaged, nobody knows.
fn compare(
    journal: &journal::Verified,
    engine: &engine::Verified,
    path: &str,
    keeps_epochs: bool,
    remedies: Remedies,
) -> Vec<Finding> {
    let engine_is_whole =
        engine.findings.iter().all(|found| matches!(found.flaw, engine::Flaw::Leftover { .. }));
    if !is_whole(journal) || !engine_is_whole {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (&log, extent) in &journal.logs {
        let group = GroupId(log.0);
        let applied = engine.applied.get(&group).copied().unwrap_or_default();
        let base = extent.base();
        if applied.index < base.index {
            findings.push(remedies.state_missing(path, group, applied, base));
        } else if applied.index > extent.last() {
            findings.push(remedies.log_behind(path, group, applied, extent.last()));
        } else if let Some(held) = extent.position_at(applied.index)
            && keeps_epochs
            && held != applied
        {
            findings.push(remedies.halves_differ(path, group, applied, held));
        }
    }
    for (&group, &applied) in &engine.applied {
        if applied.index.0 > 0 && !journal.logs.contains_key(&journal::LogId(group.0)) {
            findings.push(remedies.log_missing(JOURNAL, group, applied));
        }
    }
    findings
}

#[cfg(test)]
mod tests;
