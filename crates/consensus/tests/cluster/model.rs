//! Small models, explored to the last state: three production replicas, and *every* run of them in which
//! no more goes wrong than the bounds allow.
//!
//! The storms draw a few runs out of very many; here nothing is drawn. What is checked is the same, after
//! every move: `checks`, and whatever a replica asserts of itself.
//!
//! # What a run is
//!
//! Without faults a world has one future: messages arrive one after another as they were sent, writes
//! are on disk at once, and no time passes. Each departure from that is a choice:
//!
//! * a timer runs out ([`Bounds::timeouts`]): elections, heartbeats, retries, a leader's giving up;
//! * a client proposes, or reads, wherever somebody believes that it leads;
//! * a fault: a message is *held back*, to arrive at any later time or never; it arrives *twice*; a replica
//!   is *cut off*, which loses all that is on its way to it or from it, until it is cut off no more; a disk
//!   *stalls*, so that nothing reaches it until it goes on; a replica *crashes* and starts again, and of the
//!   writes under way any first few had been done.
//!
//! Faults strike at every message. Timers run out, and clients come, only while no message is on its way
//! save those that were held back: what they would meet in the middle of an exchange, they meet where a
//! message of it is late or a replica is cut off.
//!
//! Within the bounds all choices are combined in all ways. Bounded like this, exploration goes deep where
//! few things go wrong, while one bounded by depth alone would not get beyond the first election. It is
//! Emmi, Qadeer and Rakamarić, *Delay-Bounded Scheduling* (2011), with faults among the delays.
//!
//! # What is abstracted
//!
//! * **Time.** One clock for all. It moves only when a timer is made to run out, and then exactly to that
//!   deadline; whose deadline comes first doesn't matter, for any may be late. Two worlds are taken for the
//!   same if their times agree in what `digest` says: what is to come, in which order, and what has been
//!   within the last election timeout. How much longer ago is not told apart.
//! * **Chance.** Jitter decides nothing here, by the above. Nonces are told apart by equality alone.
//! * **When timers and clients come in**: see above. A run in which they interrupt an exchange whose messages
//!   are all on time is not among those that are explored.
//! * **Numbers of writes**, which count on in each life, keep worlds apart that are otherwise alike: that
//!   costs time and hides nothing.
//! * **What is left out**: checkpoints, snapshots and compaction; damaged journals, and so doubt; transfers
//!   of leadership; the transport's hints; full windows; configurations other than three voters that are
//!   majorities. The storms and `sim` have these.
//! * A message that is held back is lost if it never arrives, so there is no other loss of a single one.
//!   Replies are as free to be late as requests.
//! * Worlds are compared by 128 bits of a digest. A collision would hide a world, and is not expected.
//!
//! # How to run it
//!
//! `cargo test -p consensus --test cluster model` stays within [`DAILY`]. With `MODEL=deep` it goes as far as
//! [`DEEP`], which wants `--release`; `--nocapture` shows how many worlds were seen. See `docs/testing.md`.

mod digest;
mod explore;
mod world;

use std::time::Instant;

use consensus::Config;

use crate::host::Protocol;
use crate::{PAXOS, RAFT, ZAB};
use explore::{Seen, explore};

/// How much may happen in one run.
#[derive(Clone, Copy, Debug, Hash)]
struct Bounds {
    timeouts: u8,
    commands: u8,
    reads: u8,
    /// All faults together; each kind has its own bound besides.
    faults: u8,
    cuts: u8,
    delays: u8,
    doubles: u8,
    stalls: u8,
    crashes: u8,
}

impl Bounds {
    /// Nothing happens at all.
    #[cfg(feature = "planted")]
    const NONE: Self = Self {
        timeouts: 0,
        commands: 0,
        reads: 0,
        faults: 0,
        cuts: 0,
        delays: 0,
        doubles: 0,
        stalls: 0,
        crashes: 0,
    };
}

/// What each `cargo test` explores: two elections, and one fault.
const DAILY: Bounds = Bounds {
    timeouts: 2,
    commands: 1,
    reads: 1,
    faults: 1,
    cuts: 1,
    delays: 1,
    doubles: 1,
    stalls: 1,
    crashes: 1,
};

/// More, for `MODEL=deep`: two faults of any kinds.
const DEEP: Bounds =
    Bounds { faults: 2, cuts: 2, delays: 2, doubles: 2, stalls: 2, crashes: 2, reads: 0, ..DAILY };

/// A command less than [`DEEP`], for Paxos says more than Raft.
const DEEP_PAXOS: Bounds = Bounds { commands: 0, ..DEEP };

/// Zab's first election needs no timer, but so many messages that to hold back any of them, besides what
/// else may happen, leads too far.
const DEEP_ZAB: Bounds = Bounds { timeouts: 1, commands: 0, delays: 0, doubles: 0, ..DEEP };

/// A replica is cut off for a while: leaders come and go, and clients read.
#[cfg(feature = "planted")]
const COUPS: Bounds = Bounds { timeouts: 4, reads: 1, faults: 1, cuts: 1, ..Bounds::NONE };

/// Besides, a disk stalls, and its replica crashes.
#[cfg(feature = "planted")]
const CRASHES: Bounds =
    Bounds { timeouts: 2, faults: 3, cuts: 1, stalls: 1, crashes: 1, ..Bounds::NONE };

/// A replica is cut off, and a message comes late.
#[cfg(feature = "planted")]
const LATE: Bounds = Bounds { timeouts: 2, faults: 2, cuts: 1, delays: 1, ..Bounds::NONE };

/// Explores a model and says what was seen.
fn see(protocol: Protocol, bounds: Bounds, adjust: impl Fn(&mut Config) + Copy) -> Seen {
    #[expect(clippy::disallowed_methods, reason = "how long it took is told, and decides nothing")]
    let begin = Instant::now();
    let seen = explore(protocol, bounds, adjust);
    let Seen { worlds, moves, depth, .. } = seen;
    eprintln!("{worlds} worlds, {moves} moves, depth {depth}, {:.1?}", begin.elapsed());
    seen
}

fn holds(protocol: Protocol, deep: Bounds) {
    let is_deep = std::env::var("MODEL").is_ok_and(|depth| depth == "deep");
    let bounds = if is_deep { deep } else { DAILY };
    if let Some(violation) = see(protocol, bounds, |_| {}).violation {
        panic!("{}", violation.tell(protocol, bounds, |_| {}));
    }
}

#[test]
fn every_run_of_raft_within_bounds_is_safe() {
    holds(RAFT, DEEP);
}

#[test]
fn every_run_of_paxos_within_bounds_is_safe() {
    holds(PAXOS, DEEP_PAXOS);
}

#[test]
fn every_run_of_zab_within_bounds_is_safe() {
    holds(ZAB, DEEP_ZAB);
}

/// The exploration can fail: each of these is found, by a way that is told.
#[cfg(feature = "planted")]
mod planted {
    use consensus::Planted;

    use super::*;

    #[test]
    fn a_vote_of_raft_before_it_is_durable() {
        is_found(RAFT, Planted::Raft(consensus::raft::Planted::VoteBeforeDurable), CRASHES);
    }

    #[test]
    fn an_acknowledgement_of_raft_before_it_is_durable() {
        is_found(RAFT, Planted::Raft(consensus::raft::Planted::AckBeforeDurable), CRASHES);
    }

    #[test]
    fn an_election_of_raft_without_restriction() {
        is_found(RAFT, Planted::Raft(consensus::raft::Planted::NoElectionRestriction), COUPS);
    }

    #[test]
    fn a_stale_append_of_raft_accepted() {
        is_found(RAFT, Planted::Raft(consensus::raft::Planted::StaleAppendAccepted), LATE);
    }

    #[test]
    fn a_read_of_raft_without_a_quorum() {
        is_found(RAFT, Planted::Raft(consensus::raft::Planted::ReadWithoutQuorum), COUPS);
    }

    #[test]
    fn an_acceptance_of_paxos_below_the_promise() {
        is_found(PAXOS, Planted::Paxos(consensus::paxos::Planted::AcceptBelowPromise), LATE);
    }

    #[test]
    fn an_acknowledgement_of_paxos_before_it_is_durable() {
        is_found(PAXOS, Planted::Paxos(consensus::paxos::Planted::AckBeforeDurable), CRASHES);
    }

    #[test]
    fn a_new_leader_of_paxos_with_its_own_values_only() {
        is_found(PAXOS, Planted::Paxos(consensus::paxos::Planted::OwnValuesOnly), COUPS);
    }

    #[test]
    fn a_read_of_paxos_without_a_quorum() {
        is_found(PAXOS, Planted::Paxos(consensus::paxos::Planted::ReadWithoutQuorum), COUPS);
    }

    #[test]
    fn an_acknowledgement_of_zab_before_it_is_durable() {
        is_found(ZAB, Planted::Zab(consensus::zab::Planted::AckBeforeDurable), CRASHES);
    }

    #[test]
    fn a_leader_of_zab_that_counts_itself_before_it_is_durable() {
        is_found(ZAB, Planted::Zab(consensus::zab::Planted::OwnAckBeforeDurable), CRASHES);
    }

    #[test]
    fn a_promise_of_zab_before_it_is_durable() {
        is_found(ZAB, Planted::Zab(consensus::zab::Planted::PromiseBeforeDurable), CRASHES);
    }

    #[test]
    fn a_read_of_zab_without_a_quorum() {
        is_found(ZAB, Planted::Zab(consensus::zab::Planted::ReadWithoutQuorum), COUPS);
    }

    fn is_found(protocol: Protocol, mistake: Planted, bounds: Bounds) {
        let adjust = |config: &mut Config| config.planted = Some(mistake);
        let violation = see(protocol, bounds, adjust).violation;
        let violation = violation.unwrap_or_else(|| panic!("{mistake:?} was not found"));
        let told = violation.tell(protocol, bounds, adjust);
        eprintln!("{mistake:?} is found in {} moves: {told}", violation.trace.len());
    }
}
