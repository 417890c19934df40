//! How a leader changes who belongs to the group: what it may append, and when it leaves.
//!
//! The protocols share the rule of [`crate::membership`]; each appends and commits the entries in its own
//! way.

use std::sync::Arc;
use std::time::Duration;

use crate::membership::Memberships;
use crate::{Config, LogIndex, Membership, ReplicaId, Time};

use super::progress::Progress;

/// What a leader has to do about the membership in force once that is committed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    /// The old and the new voters agree on the joint membership: append this one, which ends it.
    Settle(Arc<Membership>),
    /// The group has new voters, and this leader is none of them: hand over and follow.
    Leave,
}

/// What to do when all up to `commit` is committed.
pub(crate) fn next(memberships: &Memberships, commit: LogIndex, id: ReplicaId) -> Next {
    let latest = memberships.latest();
    if memberships.latest_index() > commit {
        Next::Nothing
    } else if latest.is_joint() {
        Next::Settle(Arc::new(latest.settled()))
    } else if !latest.voters.contains(&id) {
        Next::Leave
    } else {
        Next::Nothing
    }
}

/// Whether a leader that has committed an entry of its own epoch may begin a change to `target` now.
pub(crate) fn may_begin(
    memberships: &Memberships,
    commit: LogIndex,
    config: &Config,
    target: &Membership,
) -> bool {
    let latest = memberships.latest();
    let is_settled = memberships.latest_index() <= commit && !latest.is_joint();
    let is_target = target.check().is_ok() && !target.is_joint();
    let is_target = is_target && target.voters.iter().all(|id| latest.may_vote_next(*id));
    let is_target = is_target && latest.keeps_natures(target);
    is_settled && is_target && config.quorums.is_none()
}

/// What a quorum of `members` has reached, given what each follower has, if it is one, and the leader
/// itself.
pub(crate) fn reached<T: Copy + Ord + Default>(
    members: &Membership,
    follower: impl Fn(ReplicaId) -> Option<T>,
    (id, own): (ReplicaId, T),
) -> T {
    members.reached(|voter| follower(voter).unwrap_or(if voter == id { own } else { T::default() }))
}

/// The one best able to lead instead: a voter in `membership`, and no witness, that answers and has most of
/// the log.
pub(crate) fn successor<'a>(
    peers: impl Iterator<Item = &'a Progress>,
    membership: &Membership,
    (now, timeout): (Time, Duration),
) -> Option<ReplicaId> {
    let peers = peers.map(|peer| (peer.peer(), peer.matched(), peer.heard));
    best_able(peers, membership, (now, timeout))
}

/// The same of peers that have so much of the log, and were last heard then.
pub(crate) fn best_able(
    peers: impl Iterator<Item = (ReplicaId, LogIndex, Time)>,
    membership: &Membership,
    (now, timeout): (Time, Duration),
) -> Option<ReplicaId> {
    let is_able = |(peer, _, heard): &(ReplicaId, LogIndex, Time)| {
        membership.may_be_handed(*peer) && now.since(*heard) < timeout
    };
    let best = peers.filter(is_able).max_by_key(|(peer, matched, _)| (*matched, *peer));
    best.map(|(peer, _, _)| peer)
}
