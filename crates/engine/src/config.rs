//! What an operator may set, and the limits that nobody needs to.

const CACHE_BYTES: usize = 64 * 1024 * 1024;
const FLUSH_BYTES: usize = 8 * 1024 * 1024;
const RUN_BYTES: usize = 8 * 1024 * 1024;
const BLOCK_BYTES: usize = 4 * 1024;
const COUNT_STRETCH_KEYS: u64 = 1024;

/// What a row is thought to be worth when a piece of upkeep is measured in rows.
const SWEPT_ROW_BYTES: usize = 2 * 1024;

/// How an engine is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of what was read of the base that are kept in memory. More makes reads of cold keys
    /// cheaper. Unused by the engine in memory.
    pub cache_bytes: usize,
    /// A flush is due when this many bytes are not yet durable. More makes fewer and larger files,
    /// and the replay after a crash longer.
    pub flush_bytes: usize,
    /// Bytes of one checkpoint chunk. A chunk with a single large row may be larger.
    pub chunk_bytes: usize,
    /// Bytes of one of the base's files, unless a single row is larger, and about what one piece
    /// of upkeep writes: a flush waits no longer than that takes.
    pub run_bytes: usize,
    /// Bytes that are read to find one row of the base, unless it is larger.
    pub block_bytes: usize,
    /// Keys whose number is remembered together once they were counted. Fewer make a count after a
    /// change walk less, and take more memory: a key and some 100 bytes for each so many keys.
    pub count_stretch_keys: u64,
    /// A fault on purpose.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_bytes: CACHE_BYTES,
            flush_bytes: FLUSH_BYTES,
            chunk_bytes: 256 * 1024,
            run_bytes: RUN_BYTES,
            block_bytes: BLOCK_BYTES,
            count_stretch_keys: COUNT_STRETCH_KEYS,
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

impl Config {
    /// Rows that one piece of upkeep visits in the base in memory.
    pub(crate) fn sweep_rows(&self) -> usize {
        (self.run_bytes / SWEPT_ROW_BYTES).max(2)
    }

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
    /// A flush commits applied positions on their own, before the rows.
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
