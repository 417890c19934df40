//! What the disk gives back, made a replica.
//!
//! The state machine's image may have been flushed before the slots under it were, and may come from another
//! replica: what the slots hold up to there need not be what was chosen. So the image is asked which
//! membership is in force; slots count as far as they prove that they are chosen, and beyond the image.

use std::sync::Arc;

use crate::common::durability::Durability;
use crate::common::lease::Grant;
use crate::common::random::Random;
use crate::membership::Memberships;
use crate::{Config, HardState, LogIndex, Membership, Restored, Time};

use super::doubt::Doubt;
use super::members::{fits_into_ballot, membership_of};
use super::slots::Slots;
use super::snapshot::of_image;
use super::{Paxos, State};

impl Paxos {
    /// A replica with what its disk gave back. It asks for nothing until its first step, which is
    /// due at once.
    ///
    /// A group of one cannot be asked what a damaged disk has lost: it stays in doubt for ever, unless
    /// it turns out to have grown. A host that starts a replica in doubt hands back only what was
    /// written before the damage, and goes on saying `in_doubt` at each start until
    /// [`News::DoubtResolved`](crate::News::DoubtResolved).
    ///
    /// # Panics
    ///
    /// When the configuration or what was restored contradicts itself.
    pub fn new(config: Config, restored: Restored, now: Time) -> Self {
        config.check();
        for id in config.voters.iter().chain([&config.id]) {
            assert!(fits_into_ballot(*id), "{id} fits into no ballot");
        }
        let Restored { hard_state, base, membership, entries, applied, image, in_doubt } = restored;
        assert!(applied.index >= base.index, "the image ends before the log begins");
        let mut random = Random::new(config.seed ^ config.id.0.rotate_left(32));
        let first = || Arc::new(config.first_membership());
        let written = membership.unwrap_or_else(first);
        let mut slots = Slots::new(base, entries);
        // At the base, the host may know the value only as the disk names it.
        let applied = if applied.index == base.index { slots.base_value() } else { applied };
        let is_ahead = applied.index > slots.last();
        if is_ahead {
            // The image was flushed before the log under it was.
            slots.rebase(of_image(applied));
        }
        let sure = slots.proven().min(applied.index);
        let memberships = memberships_of(&slots, (applied.index, image), (sure, &written));
        let mut durability = Durability::new(hard_state, slots.last(), Arc::clone(&written));
        let mut at_base = written;
        if is_ahead {
            at_base = Arc::clone(memberships.base());
            durability.base_moved(&at_base);
        }
        let highest = slots.highest_ballot();
        if highest > hard_state.epoch {
            durability.promise(HardState { epoch: highest, vote: None });
        }
        let grant = Grant::new(&config, durability.hard_state().epoch, in_doubt, now);
        let in_force = Arc::clone(memberships.latest());
        let peers = in_force.others(config.id);
        let state = if in_doubt {
            State::InDoubt(Doubt::new(&peers, &mut random))
        } else {
            State::Follower
        };
        Self {
            memberships,
            at_base,
            in_force,
            peers,
            random,
            now,
            started: false,
            durability,
            slots,
            sure,
            commit: applied.index,
            applied,
            newest: applied.epoch,
            checkpointed: applied.index,
            agreed: sure,
            leader: None,
            heard: None,
            grant,
            election_deadline: now,
            fetch: None,
            state,
            announced: None,
            config,
        }
    }
}

/// The membership in force at `applied` and those after it, at the start of a life. The image knows it, if it
/// has one; what is in the slots up to there counts as far as it is `sure`. At the base it was `at_base`.
fn memberships_of(
    slots: &Slots,
    (applied, image): (LogIndex, Option<Arc<Membership>>),
    (sure, at_base): (LogIndex, &Arc<Membership>),
) -> Memberships {
    let base = slots.base().index;
    let held = || slots.memberships(base, sure.max(base)).next_back().and_then(membership_of);
    let in_force = image.or_else(held).unwrap_or_else(|| Arc::clone(at_base));
    let mut memberships = Memberships::new(in_force);
    for entry in slots.memberships(applied, slots.last()) {
        memberships.append(entry);
    }
    memberships
}
