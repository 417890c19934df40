//! How much of the log is kept behind the state machine's durable image, for followers that lag; and
//! what is left of it when another image takes its place.

use std::sync::Arc;

use crate::{LogIndex, Membership, Output, Position};

use super::durability::Durability;
use super::log::Log;

/// The log is compacted in steps of this part of what it retains, not entry by entry.
const STEPS_IN_RETAINED: usize = 8;

/// Lets the log begin where [`new_base`] says, and writes that with nothing waiting for it.
pub(crate) fn compact(
    log: &mut Log,
    durability: &mut Durability,
    (through, held_by_all): (LogIndex, Option<LogIndex>),
    retained_bytes: usize,
    out: &mut Vec<Output>,
) {
    if let Some(base) = new_base(log, through, held_by_all, retained_bytes) {
        log.compact(base);
        durability.cover(base);
        durability.base_moved(log.memberships().base());
        durability.persist(Vec::new(), log.base(), out);
    }
}

/// The state machine now is a durable image at `position`, where this membership is in force: lets the log
/// begin after it, and writes that. What lies beyond it is kept only if the log holds it.
pub(crate) fn restart_after(
    log: &mut Log,
    durability: &mut Durability,
    (position, membership): (Position, Arc<Membership>),
    out: &mut Vec<Output>,
) {
    if log.holds(position) {
        log.compact(position.index);
    } else {
        durability.truncate(position.index.next());
        log.reset(position, membership);
    }
    durability.cover(position.index);
    durability.base_moved(log.memberships().base());
    durability.persist(Vec::new(), log.base(), out);
    assert!(log.base() == position, "the log begins after its snapshot");
}

/// A witness has been told that all up to `position` is committed, and has no image that would have it: lets the
/// log begin there, and writes that. Unlike an image's, that base is durable no sooner than the write. The log
/// agreed with all others up to `agreed`.
pub(crate) fn skip_to(
    log: &mut Log,
    durability: &mut Durability,
    (position, membership): (Position, Arc<Membership>),
    agreed: LogIndex,
    out: &mut Vec<Output>,
) {
    if log.holds(position) {
        log.compact(position.index);
        durability.base_moved(log.memberships().base());
        durability.persist(Vec::new(), log.base(), out);
    } else {
        durability.truncate(agreed.next());
        log.reset(position, membership);
        durability.base_moved(log.memberships().base());
        durability.persist_through(position.index, Vec::new(), log.base(), out);
    }
    assert!(log.base() == position, "the log begins where it was sent on to");
}

/// Where the log shall begin, if it is worth moving: `through` is in the durable image, all
/// followers hold what is up to `held_by_all`, and so many bytes are kept for those that do not.
fn new_base(
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
