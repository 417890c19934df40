//! Which versions pass when rows are written or merged, and which go because no reader at or above
//! the watermark sees them.
//!
//! Of each key, the newest version at or below the watermark is the *floor*. What is older goes. So
//! does the floor itself if it is a deletion and nothing older can lie below, for a key without
//! versions is as good as deleted. Changes at or below the watermark are no longer history.
//!
//! # Invariants
//!
//! * A deletion goes no earlier than the last version that it hides, or that one would come back.
//!   So a deletion goes only from the oldest place of all, and together with all of that place's
//!   versions of its key: a walk ends between two keys.

use wire::{Revision, SpaceId};

use super::{Table, Watermarks};
use crate::{ReadError, codec};

/// What may lie below the rows that pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Below {
    /// Older versions of the same keys, perhaps.
    MaybeOlder,
    /// Nothing: all versions of a key that are not newer come by.
    Nothing,
}

/// How strict a sieve is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floors {
    /// As it should be.
    Stay,
    /// A planted fault: each floor goes, though readers see it.
    Go,
}

/// Decides, entry by entry, in the order of keys.
pub(crate) struct Sieve<'a> {
    watermarks: &'a Watermarks,
    below: Below,
    floors: Floors,
    /// What the versions of the present key begin with.
    prefix: Vec<u8>,
    watermark: Revision,
    space: Option<SpaceId>,
    /// The present key's floor came by.
    passed_floor: bool,
    /// Versions that went.
    pub(crate) removed: u64,
}

impl<'a> Sieve<'a> {
    pub(crate) fn new(watermarks: &'a Watermarks, below: Below, floors: Floors) -> Self {
        Self {
            watermarks,
            below,
            floors,
            prefix: Vec::new(),
            watermark: Revision(0),
            space: None,
            passed_floor: false,
            removed: 0,
        }
    }

    /// Whether this entry stays.
    pub(crate) fn keeps(
        &mut self,
        table: Table,
        key: &[u8],
        value: &[u8],
    ) -> Result<bool, ReadError> {
        match table {
            Table::Rows => {
                let kept = self.keeps_row(key, value)?;
                self.removed += u64::from(!kept);
                Ok(kept)
            }
            Table::History => {
                let (space, revision) = codec::decode_history_key(key)?;
                self.enter(space);
                Ok(revision > self.watermark)
            }
            Table::Meta | Table::Applied => Ok(true),
        }
    }

    /// Whether this entry is a version of the same key as the one before it.
    pub(crate) fn is_same_key(&self, table: Table, key: &[u8]) -> Result<bool, ReadError> {
        Ok(table == Table::Rows && codec::split_row_key(key)?.0 == self.prefix)
    }

    fn keeps_row(&mut self, key: &[u8], value: &[u8]) -> Result<bool, ReadError> {
        let (prefix, revision) = codec::split_row_key(key)?;
        if prefix != self.prefix {
            self.prefix.clear();
            self.prefix.extend_from_slice(prefix);
            self.passed_floor = false;
            self.enter(codec::space_of(prefix)?);
        }
        if revision > self.watermark {
            return Ok(true);
        }
        if std::mem::replace(&mut self.passed_floor, true) {
            return Ok(false);
        }
        let hides_nothing = self.below == Below::Nothing && codec::is_deletion(value);
        Ok(!hides_nothing && self.floors == Floors::Stay)
    }

    fn enter(&mut self, space: SpaceId) {
        if self.space != Some(space) {
            self.space = Some(space);
            self.watermark = self.watermarks.get(&space).copied().unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions of two keys, newest first: which revisions stay of a key with these.
    fn kept(below: Below, versions: &[(u64, bool)]) -> Vec<u64> {
        let watermarks = Watermarks::from([(SpaceId(1), Revision(10))]);
        let mut sieve = Sieve::new(&watermarks, below, Floors::Stay);
        let mut kept = Vec::new();
        for key in [b"a", b"b"] {
            kept.clear();
            for &(revision, deleted) in versions {
                let encoded = codec::row_key(SpaceId(1), key, Revision(revision));
                let value: &[u8] = if deleted { &[0] } else { &[1, 1, 1, 0] };
                if sieve.keeps(Table::Rows, &encoded, value).unwrap() {
                    kept.push(revision);
                }
            }
        }
        kept
    }

    #[test]
    fn the_floor_stays_and_what_is_below_goes() {
        for below in [Below::MaybeOlder, Below::Nothing] {
            let versions = [(12, false), (10, false), (9, false), (3, true), (1, false)];
            assert_eq!(kept(below, &versions), [12, 10]);
            assert_eq!(kept(below, &[(12, true), (11, false), (9, false)]), [12, 11, 9]);
        }
    }

    #[test]
    fn a_deletion_goes_only_where_it_hides_nothing() {
        let versions = [(12, false), (9, true), (3, false)];
        assert_eq!(kept(Below::MaybeOlder, &versions), [12, 9]);
        assert_eq!(kept(Below::Nothing, &versions), [12]);
    }

    #[test]
    fn history_goes_up_to_the_watermark_and_other_spaces_stay() {
        let watermarks = Watermarks::from([(SpaceId(1), Revision(10))]);
        let mut sieve = Sieve::new(&watermarks, Below::Nothing, Floors::Stay);
        let mut keeps = |space, revision| {
            let key = codec::history_key(SpaceId(space), Revision(revision), 0);
            sieve.keeps(Table::History, &key, b"k").unwrap()
        };
        assert!(!keeps(1, 10) && keeps(1, 11) && keeps(2, 1));
    }
}
