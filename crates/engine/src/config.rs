//! What an operator may set, and the limits that nobody needs to.

use crate::store::sealed::PAGE_BYTES;

const CACHE_BYTES: usize = 64 * 1024 * 1024;
const FLUSH_BYTES: usize = 8 * 1024 * 1024;
const FLUSH_ROWS: usize = 6_000;

// Rows in random places change a page each, and the base holds changed pages in half of its cache
// until the commit. What does not fit is written twice: with 20 000 rows a flush, 7.6 instead of
// 4.7 KB were written for each row of 256 bytes, up to a base of 600 000 rows. Above some two
// million the branches alone fill the cache, and it must grow, or pages are written twice again.
const _: () = assert!(FLUSH_ROWS * PAGE_BYTES * 5 / 4 <= CACHE_BYTES / 2);

/// How an engine is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of pages that the base keeps in memory. More makes reads of cold keys cheaper.
    /// Unused by the engine in memory.
    pub cache_bytes: usize,
    /// A flush is due when this many bytes are not yet durable. More makes flushes cheaper per
    /// key, and the replay after a crash longer.
    pub flush_bytes: usize,
    /// A flush is due when this many rows are not yet durable, however small they are. When raising
    /// it, give the cache 10 KiB for each row, or flushes write their pages twice.
    pub flush_rows: usize,
    /// Bytes of one checkpoint chunk. A chunk with a single large row may be larger.
    pub chunk_bytes: usize,
    /// Rows that one slice of a compaction visits at most; at least 2.
    pub slice_rows: usize,
    /// A fault on purpose.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES,
            flush_bytes: FLUSH_BYTES,
            flush_rows: FLUSH_ROWS,
            chunk_bytes: 1024 * 1024,
            slice_rows: 4096,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

impl Config {
    /// Whether a flush commits applied positions before the rows that they stand for.
    #[cfg_attr(
        not(feature = "planted"),
        expect(clippy::unused_self, reason = "without the feature there is nothing to look at")
    )]
    pub(crate) fn splits_applied(&self) -> bool {
        #[cfg(feature = "planted")]
        return self.planted == Some(Planted::AppliedNotAtomic);
        #[cfg(not(feature = "planted"))]
        false
    }

    /// Whether a compaction takes one version too many.
    #[cfg_attr(
        not(feature = "planted"),
        expect(clippy::unused_self, reason = "without the feature there is nothing to look at")
    )]
    pub(crate) fn drops_live(&self) -> bool {
        #[cfg(feature = "planted")]
        return self.planted == Some(Planted::CompactionDropsLive);
        #[cfg(not(feature = "planted"))]
        false
    }
}

/// A fault on purpose, for tests of the tests.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A flush commits applied positions in a transaction of their own, before the rows.
    AppliedNotAtomic,
    /// A compaction drops the newest version at or below its revision, too.
    CompactionDropsLive,
}

/// What a row in a recent table costs beyond its key and value: two nodes and their pointers.
pub(crate) const ROW_OVERHEAD_BYTES: usize = 192;

/// What a pending meta entry costs beyond its key and value.
pub(crate) const META_OVERHEAD_BYTES: usize = 64;

/// The longest chunk that is believed when a staging file or an image is read back. A row's value
/// may be as large as a command; nothing is larger.
pub(crate) const MAX_CHUNK_BYTES: usize = 256 * 1024 * 1024;

/// Rows stepped over one by one before a cursor seeks instead: a seek costs about as much.
pub(crate) const STEPS_BEFORE_SEEK: usize = 8;
