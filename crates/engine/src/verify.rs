//! Reading all that an engine has on its disk, and telling what is not as it was written.
//!
//! An opening reads little: the rest is read when somebody asks for it, and rot may wait there for
//! years. This reads everything that counts, and changes nothing.

use std::collections::BTreeMap;
use std::io;

use consensus::Position;
use disk::Disk;
use wire::{GroupId, Revision, SpaceId};

use crate::store::{Table, image, lsm};
use crate::{OpenError, ReadError, codec, staging};

/// What an engine's files are found to be.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// What is not as it was written, and what an operator may wonder about.
    pub findings: Vec<Finding>,
    /// How far each group is, as far as that could be read.
    pub applied: BTreeMap<GroupId, Position>,
    /// Files that hold what counts.
    pub files: u64,
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
    /// Bytes are not what was written, or not there. Have the state rebuilt from elsewhere.
    Damaged {
        /// What does not hold.
        what: String,
    },
    /// It is of another release, or no engine's file at all. Start that release, or have the state
    /// rebuilt from elsewhere.
    UnknownFormat,
    /// The disk did not give it back. Mend the disk.
    Unreadable {
        /// What the disk said.
        what: String,
    },
    /// What a crash has left behind. It counts for nothing, and the next opening removes it.
    Leftover {
        /// What it is.
        what: String,
    },
}

/// Reads all files of the engine that [`crate::open_disk`] opens. Nobody may have it open.
pub fn verify_disk(disk: &impl Disk, path: &str) -> Verified {
    let mut verified = Verified::default();
    verified.leftovers(disk, path);
    lsm::verify::verify(disk, path, &mut verified);
    verified
}

/// Reads all files of the engine that [`crate::open_memory`] opens. Nobody may have it open.
pub fn verify_memory(disk: &impl Disk, path: &str) -> Verified {
    let mut verified = Verified::default();
    verified.leftovers(disk, path);
    image::verify(disk, path, &mut verified);
    verified
}

impl Verified {
    fn leftovers(&mut self, disk: &impl Disk, path: &str) {
        match staging::leftovers(disk, path) {
            Ok(found) => {
                for (file, chunks) in found {
                    let what = chunks.map_or_else(
                        || "it was never finished".to_owned(),
                        |chunks| format!("a snapshot on its way in, {chunks} whole chunks of it"),
                    );
                    self.find(file, 0, Flaw::Leftover { what });
                }
            }
            Err(error) => self.unreadable(path, &error),
        }
    }

    pub(crate) fn find(&mut self, file: impl Into<String>, offset: u64, flaw: Flaw) {
        self.findings.push(Finding { file: file.into(), offset, flaw });
    }

    pub(crate) fn unreadable(&mut self, file: &str, error: &io::Error) {
        self.find(file, 0, Flaw::Unreadable { what: error.to_string() });
    }

    /// What a reader said of a place.
    pub(crate) fn damaged(&mut self, file: &str, offset: u64, error: &ReadError) {
        let flaw = match error {
            ReadError::Damaged { what } => Flaw::Damaged { what: what.clone() },
            ReadError::Storage { action, reason } => {
                Flaw::Unreadable { what: format!("{action}: {reason}") }
            }
        };
        self.find(file, offset, flaw);
    }

    /// What an opening said.
    pub(crate) fn refused(&mut self, file: &str, error: OpenError) {
        let flaw = match error {
            OpenError::Storage { action, reason } => {
                Flaw::Unreadable { what: format!("{action}: {reason}") }
            }
            OpenError::Damaged { what, .. } => Flaw::Damaged { what },
            OpenError::UnknownFormat { .. } => Flaw::UnknownFormat,
        };
        self.find(file, 0, flaw);
    }
}

/// What all entries of a base add up to, whichever base it is and in whatever order its files are
/// read: nothing here ever goes back.
#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) applied: BTreeMap<GroupId, Position>,
    /// The newest revision among a space's rows, and in its history.
    newest: BTreeMap<SpaceId, (Revision, Revision)>,
}

impl Check {
    /// Takes in an entry that counts; an error says why nobody could read it.
    pub(crate) fn entry(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), ReadError> {
        match table {
            Table::Rows => {
                let row = codec::decode_row_key(key)?;
                codec::decode_head(value)?;
                let (newest, _) = self.newest.entry(row.space).or_default();
                *newest = row.revision.max(*newest);
            }
            Table::History => {
                let (space, revision) = codec::decode_history_key(key)?;
                let (_, newest) = self.newest.entry(space).or_default();
                *newest = revision.max(*newest);
            }
            Table::Meta => {
                codec::decode_group(key)?;
            }
            Table::Applied => {
                let (group, rest) = codec::decode_group(key)?;
                if !rest.is_empty() {
                    return Err(codec::damaged("key of an applied position"));
                }
                let position = codec::decode_position(value)?;
                let applied = self.applied.entry(group).or_default();
                *applied = position.max(*applied);
            }
        }
        Ok(())
    }

    /// Of a space that has any history, no row is newer than all of it: history goes from its old
    /// end, and a change that is not in it would never reach a watch.
    pub(crate) fn newest_agree(&self) -> Result<(), ReadError> {
        for (space, (row, change)) in &self.newest {
            if *change != Revision(0) && row > change {
                let what = format!(
                    "space {} has a row of revision {row}, and its history ends at {change}",
                    space.0
                );
                return Err(ReadError::Damaged { what });
            }
        }
        Ok(())
    }
}
