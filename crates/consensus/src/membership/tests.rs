//! Quorums of a joint membership by brute force, and what a log's memberships come to.

use super::*;
use crate::{Epoch, Position};

fn set(ids: impl IntoIterator<Item = u64>) -> BTreeSet<ReplicaId> {
    ids.into_iter().map(ReplicaId).collect()
}

fn bits(ids: u32) -> BTreeSet<ReplicaId> {
    set((0..6).filter(|id| ids & (1 << id) != 0))
}

/// Every quorum on the way from one set of voters to another meets each of the memberships beside it.
#[test]
fn quorums_meet_at_each_step_of_a_change() {
    let cases = [(0b00_0111, 0b11_1000), (0b00_0111, 0b00_1111), (0b00_0001, 0b00_0110)];
    for (old, new) in cases {
        let before = Membership::of(bits(old));
        let joint = before.towards(Membership::of(bits(new)));
        let after = joint.settled();
        assert!(joint.is_joint() && !after.is_joint());
        for steps in [[&before, &joint], [&joint, &after], [&joint, &joint]] {
            for (one, other) in (0..64).flat_map(|one| (0..64).map(move |other| (one, other))) {
                let quorums = steps[0].is_quorum(|id| bits(one).contains(&id))
                    && steps[1].is_quorum(|id| bits(other).contains(&id));
                assert!(!quorums || one & other != 0, "{one:b} and {other:b}: {steps:?}");
            }
        }
    }
}

/// What is reached is what a quorum has: the two ways to ask agree.
#[test]
fn reached_is_the_highest_value_that_a_quorum_has() {
    let joint = Membership::of(bits(0b00_0111)).towards(Membership::of(bits(0b01_1100)));
    for seed in 0..4_u64.pow(5) {
        let value = |id: ReplicaId| seed / 4_u64.pow(u32::try_from(id.0).unwrap()) % 4;
        let model = (0..4).filter(|at| joint.is_quorum(|id| value(id) >= *at)).max();
        assert_eq!(Some(joint.reached(value)), model);
    }
}

#[test]
fn learners_change_without_a_joint_membership() {
    let before = Membership::of(set([1, 2, 3]));
    let target = Membership { learners: set([4]), ..before.clone() };
    assert_eq!(before.towards(target.clone()), target);
    assert_eq!(target.others(ReplicaId(1)), [2, 3, 4].map(ReplicaId));
    assert!(!target.is_quorum(|id| id.0 > 2), "a learner counts for nothing");
}

#[test]
fn an_unknown_membership_decides_nothing() {
    let unknown = Membership::default();
    assert!(!unknown.is_quorum(|_| true));
    assert_eq!(unknown.reached(|_| 7_u64), 0);
    assert!(unknown.check().is_err());
}

/// A replica leaves with the joint membership that has it among the old voters alone.
#[test]
fn who_leaves_does_so_where_its_vote_is_not_wanted_any_more() {
    let of = |ids: &[u64]| Membership::of(set(ids.iter().copied()));
    let (before, after) = (of(&[1, 2]), of(&[2, 3]));
    let joint = before.towards(after.clone());
    let mut log = Memberships::new(Arc::new(before));
    for (index, membership) in [(5, joint), (7, after.clone()), (9, after)] {
        let position = Position { index: LogIndex(index), epoch: Epoch::default() };
        let payload = Payload::Membership(Arc::new(membership));
        log.append(&Entry { position, payload });
    }
    let leaves_at = |log: &Memberships, id| log.leaves_at(ReplicaId(id)).map(|index| index.0);
    assert_eq!([1, 2, 3, 4].map(|id| leaves_at(&log, id)), [Some(5), None, None, None]);
    log.compact(LogIndex(6));
    assert_eq!(leaves_at(&log, 1), Some(0), "the base is joint");
    log.compact(LogIndex(8));
    assert_eq!(leaves_at(&log, 1), None, "all that it knows is without it");
}

#[test]
fn a_cut_brings_the_former_membership_back() {
    let of = |ids: &[u64]| Arc::new(Membership::of(set(ids.iter().copied())));
    let entry = |index, membership: &Arc<Membership>| Entry {
        position: Position { index: LogIndex(index), epoch: Epoch::default() },
        payload: Payload::Membership(Arc::clone(membership)),
    };
    let (one, two, three) = (of(&[1]), of(&[1, 2]), of(&[1, 2, 3]));
    let mut log = Memberships::new(Arc::clone(&one));
    log.append(&entry(5, &two));
    log.append(&entry(9, &three));
    assert_eq!((log.latest(), log.latest_index()), (&three, LogIndex(9)));
    log.truncate(LogIndex(9));
    assert_eq!((log.latest(), log.latest_index()), (&two, LogIndex(5)));
    log.compact(LogIndex(4));
    assert_eq!(log.base(), &one);
    log.compact(LogIndex(5));
    assert_eq!((log.base(), log.latest(), log.latest_index()), (&two, &two, LogIndex(0)));
    log.reset(three.clone());
    assert_eq!(log.latest(), &three);
}

/// Places that are written anew hold what was put there last, and so does what an image covers.
#[test]
fn what_is_put_replaces_what_was_there() {
    let of = |ids: &[u64]| Arc::new(Membership::of(set(ids.iter().copied())));
    let entry = |index, payload| Entry {
        position: Position { index: LogIndex(index), epoch: Epoch::default() },
        payload,
    };
    let member = |membership: &Arc<Membership>| Payload::Membership(Arc::clone(membership));
    let (one, two, three) = (of(&[1]), of(&[1, 2]), of(&[1, 2, 3]));
    let mut log = Memberships::new(Arc::clone(&one));
    log.put(&[entry(8, member(&three)), entry(9, Payload::Noop)]);
    log.put(&[entry(5, member(&two)), entry(6, Payload::Noop)]);
    assert_eq!(log.places().collect::<Vec<_>>(), [5, 8].map(LogIndex));
    assert_eq!((log.latest(), log.latest_index()), (&three, LogIndex(8)));
    log.put(&[entry(7, Payload::Noop), entry(8, Payload::Noop)]);
    assert_eq!((log.latest(), log.latest_index()), (&two, LogIndex(5)));
    log.put(&[entry(5, member(&three))]);
    assert_eq!(log.latest(), &three);
    log.put(&[entry(12, member(&one))]);
    log.rebase(LogIndex(10), Arc::clone(&two));
    assert_eq!((log.base(), log.latest(), log.latest_index()), (&two, &one, LogIndex(12)));
    log.rebase(LogIndex(12), Arc::clone(&two));
    assert_eq!((log.latest(), log.latest_index()), (&two, LogIndex(0)));
}

fn with_witnesses(voters: &[u64], witnesses: &[u64]) -> Membership {
    let [voters, witnesses] = [voters, witnesses].map(|ids| set(ids.iter().copied()));
    Membership { witnesses, ..Membership::of(voters) }
}

/// By brute force: a membership passes if and only if each of its quorums has a voter that holds the data.
#[test]
fn each_quorum_has_a_voter_that_holds_the_data() {
    for (voters, witnesses) in (1..64).flat_map(|voters| (0..64).map(move |some| (voters, some))) {
        if witnesses & !voters != 0 {
            continue;
        }
        let membership = Membership { witnesses: bits(witnesses), ..Membership::of(bits(voters)) };
        let safe = (0..64).all(|some: u32| {
            let is_quorum = membership.is_quorum(|id| bits(some).contains(&id));
            !is_quorum || some & voters & !witnesses != 0
        });
        assert_eq!(membership.check().is_ok(), safe, "{voters:b} with witnesses {witnesses:b}");
    }
}

#[test]
fn a_witness_is_a_member() {
    assert!(with_witnesses(&[1, 2, 3], &[4]).check().is_err());
    let joins = Membership { learners: set([4]), ..with_witnesses(&[1, 2, 3], &[4]) };
    assert!(joins.check().is_ok(), "a learner that is to be one");
}

#[test]
fn nobody_is_turned_into_a_witness_or_back() {
    let now = Membership { learners: set([4]), ..with_witnesses(&[1, 2, 3], &[3, 4]) };
    assert!(now.keeps_natures(&with_witnesses(&[1, 2, 3, 4], &[3, 4])));
    assert!(now.keeps_natures(&with_witnesses(&[1, 2], &[])), "who goes is nothing any more");
    assert!(now.keeps_natures(&with_witnesses(&[1, 2, 3, 5], &[3, 5])), "who comes is what it is");
    assert!(!now.keeps_natures(&with_witnesses(&[1, 2, 3], &[])));
    assert!(!now.keeps_natures(&with_witnesses(&[1, 2, 3], &[2, 3])));
    assert!(!now.keeps_natures(&with_witnesses(&[1, 2, 3, 4], &[3])));
}

/// While the voters change, who goes is still what it was.
#[test]
fn a_witness_that_leaves_is_one_until_it_has_left() {
    let joint = with_witnesses(&[1, 2, 3], &[3]).towards(with_witnesses(&[1, 2, 4], &[4]));
    assert_eq!(joint.witnesses, set([3, 4]));
    assert!(joint.check().is_ok());
    assert_eq!(joint.settled().witnesses, set([4]));
    assert!(!joint.may_be_handed(ReplicaId(4)) && joint.may_be_handed(ReplicaId(2)));
}
