//! Leases for reads, move by move: what takes many moves, or must be found where it is planted.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::paxos::{Cause, Message};
use consensus::{
    ClockDrift, Config, Epoch, Input, LogIndex, Membership, Protocol, ReplicaId, Role,
};

use crate::cluster::{Cluster, Mail};

const HEARTBEATS: Duration = Duration::from_millis(300);
const R1: ReplicaId = ReplicaId(1);
const R2: ReplicaId = ReplicaId(2);
const R3: ReplicaId = ReplicaId(3);

fn with_leases(config: &mut Config) {
    config.lease = ClockDrift::per_mille(10);
}

/// Three replicas of which one leads, with a lease.
fn leased(protocol: Protocol, adjust: impl Fn(&mut Config)) -> (Cluster, ReplicaId) {
    let mut cluster = Cluster::of(protocol, 3, adjust);
    cluster.pass(Duration::from_secs(2), &[]);
    let leader = leader(&cluster);
    (cluster, leader)
}

fn leader(cluster: &Cluster) -> ReplicaId {
    let leads = |id: &ReplicaId| cluster.status(*id).role == Role::Leader;
    [R1, R2, R3].into_iter().find(leads).expect("one leads")
}

/// Whether a read is served at once.
fn serves(cluster: &mut Cluster, leader: ReplicaId) -> bool {
    cluster.trace.clear();
    cluster.read(leader, 1);
    cluster.trace.iter().any(|line| line.contains("serve"))
}

fn all() -> [Protocol; 3] {
    Protocol::ALL
}

#[test]
fn without_the_option_nothing_is_served_at_once() {
    for protocol in all() {
        let (mut cluster, leader) = leased(protocol, |_| {});
        assert!(!serves(&mut cluster, leader), "{protocol}");
    }
}

/// A leader with leases and followers without: they grant none, and all goes on as before.
#[test]
fn followers_without_leases_grant_none() {
    for protocol in all() {
        let (mut cluster, leader) = leased(protocol, with_leases);
        assert!(serves(&mut cluster, leader), "{protocol}: with the option it is");
        for only in [R1, R2, R3] {
            let adjust = |config: &mut Config| {
                if config.id == only {
                    with_leases(config);
                }
            };
            let (mut cluster, leader) = leased(protocol, adjust);
            assert!(!serves(&mut cluster, leader), "{protocol}: one of three is no quorum");
            cluster.settle();
            let served = cluster.trace.iter().any(|line| line.contains("serve"));
            assert!(served, "{protocol}: a round serves it");
        }
    }
}

/// A follower whose election timeout is shorter grants less, and the leader counts on no more.
#[test]
fn a_lease_is_no_longer_than_what_a_quorum_grants() {
    for protocol in all() {
        let adjust = |config: &mut Config| {
            with_leases(config);
            config.election_timeout = Duration::from_secs(3);
        };
        let hasty = |config: &mut Config| {
            with_leases(config);
            if config.id != R3 {
                config.election_timeout = Duration::from_millis(330);
            }
        };
        let (mut cluster, leader) = leased(protocol, adjust);
        cluster.advance(Duration::from_millis(1500));
        assert!(serves(&mut cluster, leader), "{protocol}: half of what all grant");
        let (mut cluster, _) = leased(protocol, hasty);
        if self::leader(&cluster) != R3 {
            let from = self::leader(&cluster);
            cluster.input(from, Input::Transfer { to: R3 });
            cluster.pass(HEARTBEATS, &[]);
        }
        assert_eq!(self::leader(&cluster), R3, "{protocol}");
        assert!(serves(&mut cluster, R3), "{protocol}");
        cluster.advance(Duration::from_millis(330));
        assert!(!serves(&mut cluster, R3), "{protocol}: the others may elect another by now");
    }
}

/// As soon as other members stand in the log, a read takes a round by them; its answers give a lease again.
fn serves_across_change(protocol: Protocol, adjust: impl Fn(&mut Config)) -> bool {
    let (mut cluster, leader) = leased(protocol, adjust);
    assert!(serves(&mut cluster, leader), "{protocol}: before");
    cluster.join(ReplicaId(4));
    let (voters, learners) = (BTreeSet::from([R1, R2, R3]), BTreeSet::from([ReplicaId(4)]));
    cluster.change(leader, Membership { learners, ..Membership::of(voters) });
    // By Paxos it is proposed once all before it is held.
    while !cluster.status(leader).membership.contains(ReplicaId(4)) {
        assert!(!cluster.mail.is_empty(), "{protocol}: the change is under way");
        let next = cluster.mail.pop_front().expect("one");
        cluster.hand_in(next);
    }
    let across = serves(&mut cluster, leader);
    cluster.pass(HEARTBEATS, &[]);
    assert!(serves(&mut cluster, leader), "{protocol}: afterwards");
    across
}

#[test]
fn other_members_end_a_lease() {
    for protocol in all() {
        assert!(!serves_across_change(protocol, with_leases), "{protocol}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn a_lease_kept_across_a_change_is_found() {
    for protocol in all() {
        let planted = |config: &mut Config| {
            with_leases(config);
            let mistake = consensus::PlantedLease::KeptAcrossChange;
            config.planted = Some(consensus::Planted::Lease(mistake));
        };
        assert!(serves_across_change(protocol, planted), "{protocol}");
    }
}

/// A leader whose transfer comes to nothing leads on, by rounds: what it has said may yet be acted on.
fn serves_after_vain_transfer(protocol: Protocol, adjust: impl Fn(&mut Config)) -> bool {
    let (mut cluster, leader) = leased(protocol, adjust);
    let to = if leader == R1 { R2 } else { R1 };
    cluster.input(leader, Input::Transfer { to });
    let lost = cluster.take(|_| true);
    assert!(!lost.is_empty(), "{protocol}: it was told");
    cluster.pass(Duration::from_secs(1), &[to]);
    assert_eq!(self::leader(&cluster), leader, "{protocol}: it leads on");
    let at_once = serves(&mut cluster, leader);
    cluster.settle_without(&[to]);
    let served = cluster.trace.iter().any(|line| line.contains("serve"));
    assert!(served, "{protocol}: a round serves it");
    at_once
}

#[test]
fn who_has_handed_over_in_vain_has_no_lease_any_more() {
    for protocol in all() {
        assert!(!serves_after_vain_transfer(protocol, with_leases), "{protocol}");
    }
}

#[cfg(feature = "planted")]
#[test]
fn a_lease_kept_in_a_transfer_is_found() {
    for protocol in all() {
        let planted = |config: &mut Config| {
            with_leases(config);
            let mistake = consensus::PlantedLease::KeptInTransfer;
            config.planted = Some(consensus::Planted::Lease(mistake));
        };
        assert!(serves_after_vain_transfer(protocol, planted), "{protocol}");
    }
}

/// Who is alone waits after a restart as well: it may have been one of several. Then it leads.
#[test]
fn who_is_alone_leads_when_its_grants_are_over() {
    for protocol in all() {
        let mut cluster = Cluster::of(protocol, 1, with_leases);
        assert!(serves(&mut cluster, R1), "{protocol}: at its first start it has granted nothing");
        cluster.crash(R1);
        cluster.restart(R1, false);
        cluster.pass(Duration::from_millis(500), &[]);
        assert_ne!(cluster.status(R1).role, Role::Leader, "{protocol}");
        cluster.pass(Duration::from_millis(500), &[]);
        assert!(serves(&mut cluster, R1), "{protocol}");
    }
}

/// Ballots interleave: a late candidate of a transfer may have a higher one than a leader that was elected
/// after it was told to stand. It frees no voter of what that one was granted.
#[test]
fn a_late_word_of_a_former_leader_does_not_end_the_grant_of_a_later_one() {
    let (mut cluster, leader) = leased(Protocol::Paxos, with_leases);
    let now = cluster.status(leader).epoch;
    let [voter, late] = [R1, R2, R3]
        .into_iter()
        .filter(|id| *id != leader)
        .collect::<Vec<_>>()
        .try_into()
        .expect("two others");
    let mut ask = |of: Epoch| {
        let ballot = Epoch { round: now.round + 1, proposer: late.0 };
        let cause = Cause::Transfer { of };
        let message = Message::Prepare { ballot, from: LogIndex(1), cause, nonce: 1 };
        let message = consensus::Message::Paxos(message);
        cluster.trace.clear();
        cluster.hand_in(Mail { from: late, to: voter, message });
        cluster.trace.iter().any(|line| line.contains("promise"))
    };
    let before = Epoch { round: now.round - 1, proposer: now.proposer };
    assert!(!ask(before), "the leader of an earlier ballot has handed over");
    assert!(ask(now), "this one has");
}
