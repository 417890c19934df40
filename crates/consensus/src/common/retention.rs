//! How much of the log is kept behind the state machine's durable image, for followers that lag.

use crate::LogIndex;

use super::log::Log;

/// The log is compacted in steps of this part of what it retains, not entry by entry.
const STEPS_IN_RETAINED: usize = 8;

/// Where the log shall begin, if it is worth moving: `through` is in the durable image, all
/// followers hold what is up to `held_by_all`, and so many bytes are kept for those that do not.
pub(crate) fn new_base(
    log: &Log,
    through: LogIndex,
    held_by_all: Option<LogIndex>,
    retained_bytes: usize,
) -> Option<LogIndex> {
    let base = log.base().index;
    let through = through.max(base);
    let needed_by_none = held_by_all.map_or(base, |held| held.min(through));
    let target = log.keep_within(through, retained_bytes).max(needed_by_none);
    let dropped_bytes = log.bytes_between(base, target);
    let is_worth_it = target == through || dropped_bytes >= retained_bytes / STEPS_IN_RETAINED;
    (target > base && is_worth_it).then_some(target)
}
