//! What the disk gives back, made one: a log, and what of it is durable.
//!
//! The state machine's image may have been flushed before the log under it was, and before the write that
//! held the promise under which it was accepted. Then the log begins after the image, and the promise
//! is not below the log's: nothing that reported a vote or a promise in that epoch can have left.

use std::sync::Arc;

use crate::{Config, HardState, Restored};

use super::durability::Durability;
use super::log::Log;

/// The log and its durability at the start of a replica's life.
///
/// # Panics
///
/// When what was restored contradicts itself.
pub(crate) fn restart(config: &Config, restored: Restored) -> (Log, Durability) {
    let Restored { hard_state, base, membership, entries, applied, image, in_doubt: _ } = restored;
    assert!(applied.index >= base.index, "the image ends before the log begins");
    let first = || Arc::new(config.first_membership());
    let membership = membership.unwrap_or_else(first);
    let mut log = Log::new(base, Arc::clone(&membership), entries);
    let mut is_reset = false;
    if !log.holds(applied) {
        // The image was flushed before the log under it was, or the log there never got
        // committed. What was applied is committed, so the rest of the log has no claim.
        log.reset(applied, image.unwrap_or_else(|| Arc::clone(&membership)));
        is_reset = true;
    }
    let mut durability = Durability::new(hard_state, log.last().index, membership);
    if is_reset {
        durability.base_moved(log.memberships().base());
    }
    let epoch = log.last().epoch;
    if epoch > hard_state.epoch {
        durability.promise(HardState { epoch, vote: None });
    }
    (log, durability)
}
