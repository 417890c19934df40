//! Reading a journal as an opening would, and telling what it would find, without mending any of it.
//!
//! Damage makes all behind it void, so there is one finding of it, where it begins.

use std::collections::BTreeMap;

use consensus::{LogIndex, Position};
use disk::{Disk, File};

use crate::damage::parse_marker;
use crate::errors::{DiskFailure, OpenError};
use crate::files::{Directory, MARKER, segment_name};
use crate::layout::HEADER_BYTES;
use crate::logs::LogState;
use crate::recovery::{Choice, choose};
use crate::scan::{Found, read_header, survey};
use crate::{Config, Damage, LogId, Reason};

/// Segments are made in multiples of it, whatever the configuration was.
const SEGMENT_MULTIPLE_BYTES: u64 = 4096;

/// What a journal's files are found to be.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What is not as it was written, and what an operator may wonder about.
    pub findings: Vec<Finding>,
    /// What the journal holds of each log: of a damaged one, what stands before the damage.
    pub logs: BTreeMap<LogId, Extent>,
    /// Segments that count, each with the place where its valid batches end.
    pub segments: Vec<(String, u64)>,
}

/// Something that was found in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file's path on the disk.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// What it is.
    pub flaw: Flaw,
}

/// What can be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// What had been synced is not there any more. The next opening reports it, keeps what stands
    /// before it, and has the host repair the rest.
    Damaged(Reason),
    /// An earlier opening found this, and the host has not dealt with it yet.
    Marked(Damage),
    /// The file does not have the length that it was made with: somebody has cut it. An opening may
    /// take what is missing for a torn tail, so the host must be told to doubt the journal.
    CutShort {
        /// What is left.
        bytes: u64,
    },
    /// The next opening cuts off what a crash has left of a batch that was never acknowledged.
    TornTail {
        /// How much that is, as far as one can tell.
        bytes: u64,
    },
    /// A segment as it was when damage was found. Nothing reads it.
    SetAside,
    /// The file belongs to another journal. No opening gets past it.
    WrongJournal {
        /// Whose it is.
        found: u64,
        /// Whose it should be.
        expected: u64,
    },
    /// A later release wrote it. No opening gets past it.
    UnknownVersion {
        /// Its format.
        version: u32,
    },
    /// The disk did not give it back. No opening gets past it.
    Unreadable {
        /// What was tried, and what the disk said.
        what: String,
    },
}

/// How far a log reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent(LogState);

impl Extent {
    /// The log begins after this.
    pub fn base(&self) -> Position {
        self.0.base
    }

    /// Its last index, that of the base if it has no entries.
    pub fn last(&self) -> LogIndex {
        self.0.last_index()
    }

    /// What the log has at `index`, if it knows that.
    pub fn position_at(&self, index: LogIndex) -> Option<Position> {
        self.0.epoch_at(index).map(|epoch| Position { index, epoch })
    }
}

/// Reads all of the journal in `dir`, and changes nothing. Without a `journal_id` it is taken to be
/// the one that its first segment names.
pub fn verify(disk: impl Disk, dir: &str, journal_id: Option<u64>) -> Verified {
    let directory = Directory::new(disk, dir);
    let mut verified = Verified::default();
    if let Err(error) = verified.read(&directory, journal_id) {
        verified.findings.push(finding_of(dir, error));
    }
    verified
}

fn finding_of(dir: &str, error: OpenError) -> Finding {
    let (file, flaw) = match error {
        OpenError::WrongJournal { path, found, expected } => {
            (path, Flaw::WrongJournal { found, expected })
        }
        OpenError::UnknownVersion { path, version } => (path, Flaw::UnknownVersion { version }),
        OpenError::Io(failure) | OpenError::DiskFull(failure) => {
            let what = format!("{}: {}", failure.action, failure.source);
            (failure.path, Flaw::Unreadable { what })
        }
        OpenError::BadConfig { reason } => {
            (dir.to_owned(), Flaw::Unreadable { what: reason.to_owned() })
        }
    };
    Finding { file, offset: 0, flaw }
}

impl Verified {
    fn read<D: Disk>(
        &mut self,
        directory: &Directory<D>,
        journal_id: Option<u64>,
    ) -> Result<(), OpenError> {
        let listing = directory.list()?;
        for name in &listing.damaged {
            self.find(directory, name, 0, Flaw::SetAside);
        }
        if listing.marked {
            let earlier = parse_marker(&directory.read_marker()?);
            self.find(directory, MARKER, 0, Flaw::Marked(earlier));
        }
        for sequence in &listing.segments {
            self.measure(directory, *sequence)?;
        }
        let journal_id = match journal_id {
            Some(journal_id) => journal_id,
            None => journal_of(directory, &listing.segments)?.unwrap_or_default(),
        };
        let config = Config::new(journal_id);
        let found = survey(directory, &listing.segments, &config)?;
        let choice = choose(directory, found, &config)?;
        self.judge(directory, &choice);
        Ok(())
    }

    fn measure<D: Disk>(
        &mut self,
        directory: &Directory<D>,
        sequence: u64,
    ) -> Result<(), DiskFailure> {
        let name = segment_name(sequence);
        let path = directory.path_of(&name);
        let bytes = directory.open(&name)?.len().map_err(DiskFailure::at("measure", &path))?;
        if bytes == 0 || !bytes.is_multiple_of(SEGMENT_MULTIPLE_BYTES) {
            self.find(directory, &name, bytes, Flaw::CutShort { bytes });
        }
        Ok(())
    }

    fn judge<D: Disk>(&mut self, directory: &Directory<D>, choice: &Choice) {
        let Choice { found, scan, .. } = choice;
        if let Some(Damage { segment, offset, reason }) = scan.damage {
            self.find(directory, &segment_name(segment), offset, Flaw::Damaged(reason));
        } else if scan.torn_bytes > 0 {
            let begin = (found.first().map_or(1, |first| first.sequence), HEADER_BYTES as u64);
            let tail = scan.tail.map(|tail| (found[tail.segment].sequence, tail.offset));
            let (sequence, offset) = tail.unwrap_or(begin);
            let name = segment_name(sequence);
            // Of a file that somebody has cut nobody knows what a crash had left.
            if !self.is_cut(&directory.path_of(&name)) {
                self.find(directory, &name, offset, Flaw::TornTail { bytes: scan.torn_bytes });
            }
        }
        let ends = found.iter().zip(&scan.read);
        let path = |found: &Found| directory.path_of(&segment_name(found.sequence));
        self.segments = ends.map(|(found, read)| (path(found), read.end)).collect();
        self.logs = scan.logs.iter().map(|(log, state)| (log, Extent(state.clone()))).collect();
    }

    fn is_cut(&self, file: &str) -> bool {
        let cut = |found: &Finding| matches!(found.flaw, Flaw::CutShort { .. });
        self.findings.iter().any(|found| found.file == file && cut(found))
    }

    fn find<D: Disk>(&mut self, directory: &Directory<D>, name: &str, offset: u64, flaw: Flaw) {
        self.findings.push(Finding { file: directory.path_of(name), offset, flaw });
    }
}

/// Which journal the first segment that has a header belongs to.
fn journal_of<D: Disk>(
    directory: &Directory<D>,
    segments: &[u64],
) -> Result<Option<u64>, DiskFailure> {
    for sequence in segments {
        if let Ok(header) = read_header(directory, *sequence)? {
            return Ok(Some(header.journal_id));
        }
    }
    Ok(None)
}
